"""Kore Agent Platform: requests and answers about dock jobs, background work on tools, models, guardrails. Pure.

The member with a job's id is spelled in four ways, and a job may already be over when its start is answered (Agent
Platform API, sections 8.3 and 8.4).
"""

from datetime import datetime
from typing import Any, Final

import attrs
from attrs import frozen

from ... import codec
from ...codec import member
from ...contract import path_segment
from ...model import Purpose, Reply, Request, Run, RunRef, RunState
from .settings import VENDOR
from .states import dock_state
from .wire import KORE, object_in

#: The detail in references to dock jobs.
DOCK: Final = "dock"
STATUS: Final = "dock.status"


@frozen(kw_only=True)
class DockJob:
    """The status of a dock job: the output of its `Run`, also while it is in progress.

    `tool_id` or `model_id` is its target, if the platform names it; `progress` is a percentage, if there is one.
    `download_url` may be set before the file exists. `action` is not reliable: it may be `EXPORT` for the import of a
    model. Agent Platform API, sections 8.1 and 9.
    """

    job_id: str = member("dockStatusId", "_id", default="")
    status: str = ""
    job_type: str = ""
    action: str = ""
    tool_id: str = ""
    model_id: str = ""
    progress: float | None = member("percentageComplete", default=None)
    # Both samples begin with a space (sections 9.0.3 and 9.2).
    download_url: str = member(
        "response.downloadUrl", "downloadUrl", default="", repr=False, converter=str.strip
    )


def status_request(tools_url: str, ref: RunRef) -> Request:
    """Build the request that polls a dock job. Raises ValueError for an invalid id."""
    return Request(
        method="GET",
        url=f"{tools_url}/dock-status/{path_segment(ref.id, 'job_id')}",
        call=STATUS,
        purpose=Purpose.POLL,
    )


def read_started(reply: Reply, scope: str, call: str, seen_at: datetime) -> Run:
    """Read the answer to the start of a job. Raises DecodeError if it names none."""
    raw = object_in(reply, call)
    job = KORE.read(raw, DockJob, call=call)
    job_id = job.job_id.strip()
    if not job_id:
        raise KORE.wrong(call, "$.dockStatusId")
    status = raw.get("status")
    return _run(raw, job, RunRef(VENDOR, scope, job_id), status if isinstance(status, str) else "", seen_at)


def read_job(reply: Reply, ref: RunRef, seen_at: datetime) -> Run:
    """Read the answer to a poll. Raises DecodeError if it has no status."""
    raw = object_in(reply, STATUS)
    status = codec.text_in(raw, "status", vendor=VENDOR, call=STATUS)
    job = KORE.read(raw, DockJob, call=STATUS)
    codec.check_id(job.job_id, ref.id, vendor=VENDOR, call=STATUS, path="$.dockStatusId")
    return _run(raw, job, ref, status, seen_at)


@frozen
class _Failure:
    """Why a job failed; where the platform reports that is undocumented."""

    reason: str = member(
        "error",
        "errorMessage",
        "message",
        "failureReason",
        "error.message",
        "response.error",
        "response.errorMessage",
        "response.message",
        "response.failureReason",
        default="",
    )


def _run(raw: dict[str, Any], job: DockJob, ref: RunRef, status: str, seen_at: datetime) -> Run:
    state = dock_state(status)
    has_failed = state is RunState.FAILED
    return Run(
        ref=ref,
        state=state,
        status=status,
        output=attrs.evolve(job, job_id=ref.id, status=status),
        error=KORE.read(raw, _Failure, call=STATUS).reason or None if has_failed else None,
        raw=raw,
        seen_at=seen_at,
    )
