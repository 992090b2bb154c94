"""Kore Agent Platform: requests and answers about dock jobs, background work on tools, models, guardrails. Pure.

The member with a job's id is spelled in four ways, and a job may already be over when its start is answered (Agent
Platform API, sections 8.3 and 8.4).
"""

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final

from attrs import field, frozen

from ... import codec
from ...contract import path_segment
from ...model import Purpose, Reply, Request, Run, RunRef, RunState
from .reading import Fields, object_in, wrong
from .session_wire import JSON
from .settings import VENDOR
from .states import dock_state

#: The scope of references to dock jobs. In references to runs, the scope names the session.
DOCK: Final = "dock"
STATUS: Final = "dock.status"
#: `dock-statusId` and `dockstatusId` are the same to `Fields`.
_IDS: Final = ("dockStatusId", "_id")


@frozen(kw_only=True)
class DockJob:
    """The status of a dock job: the output of its `Run`, also while it is in progress.

    `tool_id` or `model_id` is its target, if the platform names it; `progress` is a percentage, if there is one.
    `download_url` may be set before the file exists. `action` is not reliable: it may be `EXPORT` for the import of a
    model. Agent Platform API, sections 8.1 and 9.
    """

    job_id: str
    status: str
    job_type: str = ""
    action: str = ""
    tool_id: str = ""
    model_id: str = ""
    progress: float | None = None
    download_url: str = field(default="", repr=False)


def status_request(tools_url: str, ref: RunRef) -> Request:
    """Build the request that polls a dock job. Raises ValueError for an invalid id."""
    return Request(
        method="GET",
        url=f"{tools_url}/dock-status/{path_segment(ref.id, 'job_id')}",
        call=STATUS,
        purpose=Purpose.POLL,
    )


def start_request(
    url: str,
    call: str,
    body: Mapping[str, Any] | None = None,
    *,
    is_long: bool = False,
    timeout: float | None = None,
) -> Request:
    """Build the request that starts a dock job, which is sent once."""
    return Request(
        method="POST",
        url=url,
        call=call,
        purpose=Purpose.START,
        headers=JSON if body is not None else {},
        body=None if body is None else codec.encode_json(body),
        is_long=is_long,
        timeout=timeout,
    )


def read_started(reply: Reply, call: str, seen_at: datetime) -> Run:
    """Read the answer to the start of a job. Raises DecodeError if it names none."""
    raw = object_in(reply, call)
    job_id = Fields(raw).text(*_IDS).strip()
    if not job_id:
        raise wrong(call, "$.dockStatusId")
    status = raw.get("status")
    return _run(raw, RunRef(VENDOR, DOCK, job_id), status if isinstance(status, str) else "", seen_at)


def read_job(reply: Reply, ref: RunRef, seen_at: datetime) -> Run:
    """Read the answer to a poll. Raises DecodeError if it has no status."""
    raw = object_in(reply, STATUS)
    return _run(raw, ref, codec.text_in(raw, "status", vendor=VENDOR, call=STATUS), seen_at)


def _run(raw: dict[str, Any], ref: RunRef, status: str, seen_at: datetime) -> Run:
    found = Fields(raw)
    response = found.inner("response")
    job = DockJob(
        job_id=ref.id,
        status=status,
        job_type=found.text("jobType"),
        action=found.text("action"),
        tool_id=found.text("toolId"),
        model_id=found.text("modelId"),
        progress=found.number("percentageComplete"),
        # Both samples begin with a space (sections 9.0.3 and 9.2).
        download_url=(response.text("downloadUrl") or found.text("downloadUrl")).strip(),
    )
    state = dock_state(status)
    return Run(
        ref=ref,
        state=state,
        status=status,
        output=job,
        error=_reason(found, response) if state is RunState.FAILED else None,
        raw=raw,
        seen_at=seen_at,
    )


def _reason(raw: Fields, response: Fields) -> str | None:
    """Return why a job failed, None if unknown; where the platform reports that is undocumented."""
    names = ("error", "errorMessage", "message", "failureReason")
    return raw.text(*names) or raw.inner("error").text("message") or response.text(*names) or None
