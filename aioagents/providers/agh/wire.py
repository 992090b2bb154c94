"""AGH Runtime: requests to its automation API, and the reading of their answers. Pure.

Paths begin with `/api` and never end in a slash. Requests have no signature and no `Origin` header, for which the
server would refuse them (AGH automation API, section 1).
"""

from collections.abc import Callable, Mapping
from typing import Any, Final, TypeVar, cast
from urllib.parse import quote, urlencode

from ... import codec
from ...contract import path_segment
from ...errors import DecodeError
from ...model import Purpose, Reply, Request
from .records import AutomationRun, Job, Trigger, read_job, read_run, read_trigger
from .settings import VENDOR

T = TypeVar("T")

#: Statuses that mean that nothing was executed (section 11).
REFUSED: Final = frozenset({503})
#: Bytes that the server accepts in a body.
MOST: Final = 4_194_304
_JSON: Final = {"Content-Type": "application/json"}


def status_request(base_url: str) -> Request:
    """Build a request for the daemon's status."""
    return Request(method="GET", url=f"{base_url}/api/status", call="status")


def list_request(url: str, call: str, query: Mapping[str, str]) -> Request:
    """Build a request for a list. The whole query is percent-encoded, also the plus of a time zone."""
    asked = f"?{urlencode(query, quote_via=quote, safe='')}" if query else ""
    return Request(method="GET", url=f"{url}{asked}", call=call)


def get_request(url: str, call: str) -> Request:
    """Build a request for one item."""
    return Request(method="GET", url=url, call=call)


def item_url(url: str, item_id: str, name: str) -> str:
    """Return the URL of one item. Raises ValueError or TypeError, naming the argument, for an impossible id."""
    if not isinstance(item_id, str):
        raise TypeError(f"{name} has to be a string, not {type(item_id).__name__}")
    return f"{url}/{path_segment(item_id.strip(), name)}"


def create_request(url: str, call: str, body: Mapping[str, Any]) -> Request:
    """Build a request that creates something. Sent once: a second one would create a second thing."""
    return Request(
        method="POST",
        url=url,
        call=call,
        purpose=Purpose.START,
        headers=_JSON,
        body=_encoded(body),
        refused_by=REFUSED,
    )


def update_request(url: str, call: str, body: Mapping[str, Any]) -> Request:
    """Build a change, which may be repeated: it sets its members to the same values again."""
    return Request(method="PATCH", url=url, call=call, headers=_JSON, body=_encoded(body))


def job_in(reply: Reply, call: str) -> Job:
    """Read the answer that holds a job. Raises DecodeError."""
    return read_job(member_in(reply, "job", call), call=call)


def jobs_in(reply: Reply, call: str) -> list[Job]:
    """Read the answer that holds jobs. Raises DecodeError."""
    return _list(reply, "jobs", call, read_job)


def trigger_in(reply: Reply, call: str) -> Trigger:
    """Read the answer that holds a trigger. Raises DecodeError."""
    return read_trigger(member_in(reply, "trigger", call), call=call)


def triggers_in(reply: Reply, call: str) -> list[Trigger]:
    """Read the answer that holds triggers. Raises DecodeError."""
    return _list(reply, "triggers", call, read_trigger)


def run_in(reply: Reply, call: str) -> AutomationRun:
    """Read the answer that holds a run. Raises DecodeError."""
    return read_run(member_in(reply, "run", call), call=call)


def runs_in(reply: Reply, call: str) -> list[AutomationRun]:
    """Read the answer that holds runs, newest first. Raises DecodeError."""
    return _list(reply, "runs", call, read_run)


def task_run_in(reply: Reply, call: str) -> Mapping[str, Any]:
    """Read the answer that holds a task run, beside its task. Raises DecodeError where it has no status."""
    outer = member_in(reply, "run", call)
    found, path = (outer.get("run"), "$.run.run") if isinstance(outer, dict) else (None, "$.run")
    codec.text_in(found, "status", vendor=VENDOR, call=call, path=path)
    return cast("Mapping[str, Any]", found)


def _list(reply: Reply, name: str, call: str, read: Callable[..., T]) -> list[T]:
    found = member_in(reply, name, call)
    if found is None:  # how Go writes a nil slice
        return []
    if not isinstance(found, list):
        raise _wrong(call, f"$.{name}")
    return [read(each, call=call, path=f"$.{name}[{index}]") for index, each in enumerate(found)]


def member_in(reply: Reply, name: str, call: str) -> Any:
    """Return one member of an answer's JSON. Raises DecodeError where it is missing."""
    raw = codec.decode(reply.body, vendor=VENDOR, call=call)
    if not isinstance(raw, dict) or name not in raw:
        raise _wrong(call, f"$.{name}" if isinstance(raw, dict) else "$")
    return raw[name]


def _wrong(call: str, path: str) -> DecodeError:
    message = f"{VENDOR}: the answer to {call} has the wrong shape at {path}"
    return DecodeError(message, vendor=VENDOR, call=call, path=path)


def _encoded(body: Mapping[str, Any]) -> bytes:
    encoded = codec.encode_object(body, "the definition")
    if len(encoded) > MOST:
        raise ValueError(f"the server accepts {MOST} bytes at most, and these are {len(encoded)}")
    return encoded
