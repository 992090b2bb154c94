"""AGH Runtime: requests to its automation API, and the reading of their answers. Pure.

Paths begin with `/api` and never end in a slash. Requests have no signature and no `Origin` header, for which the
server would refuse them (AGH automation API, section 1).
"""

from collections.abc import Callable, Mapping
from typing import Any, Final, TypeVar, cast, get_origin
from urllib.parse import quote, urlencode

from ... import codec
from ...contract import path_segment
from ...model import Purpose, Reply, Request
from .records import CODEC, AutomationRun, Job, Trigger
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
        body=_definition(body),
        refused_by=REFUSED,
    )


def update_request(url: str, call: str, body: Mapping[str, Any]) -> Request:
    """Build a change, which may be repeated: it sets its members to the same values again."""
    return Request(method="PATCH", url=url, call=call, headers=_JSON, body=_definition(body))


def this_run_in(reply: Reply, run_id: str, call: str) -> AutomationRun:
    """Read the answer that holds a run, which has to be the one that was asked for. Raises DecodeError."""
    run = run_in(reply, call)
    codec.check_id(run.id, run_id, vendor=VENDOR, call=call, path="$.run.id")
    return run


def act_request(url: str, call: str, body: Mapping[str, Any] | None = None) -> Request:
    """Build a request that changes a run, a task or a session, and may be repeated."""
    content = None if body is None else codec.encode_json(body)
    return Request(method="POST", url=url, call=call, headers={} if body is None else _JSON, body=content)


def task_run_in(reply: Reply, task_run_id: str, call: str) -> tuple[Mapping[str, Any], Mapping[str, Any]]:
    """Read the answer that holds a task run and its task.

    Raises DecodeError where the run has no status, or is not the one that was asked for.
    """
    outer = member_in(reply, "run", call)
    found, path = (outer.get("run"), "$.run.run") if isinstance(outer, dict) else (None, "$.run")
    task = outer.get("task") if isinstance(outer, dict) else None
    task_run = _task_run(found, call, path)
    codec.check_id(task_run.get("id"), task_run_id, vendor=VENDOR, call=call, path=f"{path}.id")
    return task_run, task if isinstance(task, dict) else {}


def changed_task_run_in(reply: Reply, call: str) -> Mapping[str, Any]:
    """Read the answer to a change of a task run, which holds the run alone. Raises DecodeError."""
    return _task_run(member_in(reply, "run", call), call, "$.run")


def _task_run(found: Any, call: str, path: str) -> Mapping[str, Any]:
    codec.text_in(found, "status", vendor=VENDOR, call=call, path=path)
    return cast("Mapping[str, Any]", found)


def session_workspace_in(reply: Reply, call: str, session_id: str) -> str:
    """Return the workspace of one of the sessions in a list; empty where it is not listed, or has none."""
    listed = member_in(reply, "sessions", call)
    for each in listed if isinstance(listed, list) else ():
        if isinstance(each, dict) and each.get("id") == session_id:
            workspace = each.get("workspace_id")
            return workspace if isinstance(workspace, str) else ""
    return ""


def member_in(reply: Reply, name: str, call: str) -> Any:
    """Return one member of an answer's JSON. Raises DecodeError where it is missing."""
    raw = codec.decode(reply.body, vendor=VENDOR, call=call)
    if not isinstance(raw, dict) or name not in raw:
        raise CODEC.wrong(call, f"$.{name}" if isinstance(raw, dict) else "$")
    return raw[name]


def check_size(body: bytes, name: str, *, most: int) -> bytes:
    """Return a body that the server accepts. Raises ValueError that calls it `name`."""
    if len(body) > most:
        raise ValueError(f"{name}: the server accepts {most} bytes at most, and these are {len(body)}")
    return body


def _definition(body: Mapping[str, Any]) -> bytes:
    return check_size(codec.encode_object(body, "the definition"), "the definition", most=MOST)


def _reader(name: str, shape: type[T]) -> Callable[[Reply, str], T]:
    """Return a function that reads one member of the answer to a call. It raises DecodeError."""
    is_list = get_origin(shape) is list

    def read(reply: Reply, call: str) -> T:
        found = member_in(reply, name, call)
        if found is None and is_list:
            found = []  # Go writes a nil slice as null
        return CODEC.read(found, shape, call=call, path=f"$.{name}")

    return read


job_in: Final = _reader("job", Job)
jobs_in: Final = _reader("jobs", list[Job])
trigger_in: Final = _reader("trigger", Trigger)
triggers_in: Final = _reader("triggers", list[Trigger])
run_in: Final = _reader("run", AutomationRun)
runs_in: Final = _reader("runs", list[AutomationRun])  # newest first
