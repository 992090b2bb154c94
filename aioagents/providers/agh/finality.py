"""AGH Runtime: the state of a run by its record, and whether a record of `failed` is final. Pure.

Three statuses do not mean what they say: a `failed` run may be retried under the same id, a `delegated` one goes on
as a run of a task, and a `scheduled` one with a delivery error never runs (AGH automation API, sections 7 and 8).
"""

import math
from collections.abc import Mapping
from datetime import datetime
from types import MappingProxyType
from typing import Any, Final

from ...codec import parse_moment
from ...model import Run, RunRef, RunState
from .records import AutomationRun
from .states import run_state_of, task_run_state_of
from .values import Retry

#: Seconds, in addition to its delay, within which the next attempt shows in the record.
MARGIN: Final = 5.0
_FAILED: Final = "failed"
_DELEGATED: Final = "delegated"
_SCHEDULED: Final = "scheduled"
_NO_RETRY: Final = "none"
_NOTHING: Final[Mapping[str, Any]] = MappingProxyType({})
#: The answer that lets a paused task go on.
RESUME: Final = "resume"
_LONGEST_EXPONENT: Final = 60
_BROKEN: Final = frozenset({RunState.FAILED, RunState.ABORTED})


def is_delegated(record: AutomationRun) -> bool:
    """Return whether the record does not have the end of the work: that is in the task run it was delegated to."""
    return record.status == _DELEGATED and bool(record.task_run_id)


def needs_policy(record: AutomationRun) -> bool:
    """Return whether it depends on the owner's retry policy if this record is final."""
    return record.status == _FAILED and bool(record.fire_id)


def seconds_until_final(record: AutomationRun, retry: Retry | None, now: datetime) -> float:
    """Return in how many seconds a record of `failed` is surely final; 0 if it is, and for any other status.

    `retry` is the owner's policy, None where the owner was deleted; `now` is the server's time. Infinite while the
    record has no end's date. Only scheduled fires and webhooks, which have a `fire_id`, are retried under the same
    id. A record does not say whether the server gave up before the last attempt, so the time of that one is waited
    for.
    """
    if not needs_policy(record) or retry is None or retry.strategy == _NO_RETRY:
        return 0.0
    attempt = max(record.attempt, 1)
    if attempt > retry.max_retries:
        return 0.0
    if record.ended_at is None:
        return math.inf
    delay = (retry.base_seconds or 0.0) * 2.0 ** min(attempt - 1, _LONGEST_EXPONENT)
    return max(delay + MARGIN - (now - record.ended_at).total_seconds(), 0.0)


def run_from_record(
    record: AutomationRun,
    ref: RunRef,
    seen_at: datetime,
    *,
    is_final: bool = True,
    task_run: Mapping[str, Any] | None = None,
    task: Mapping[str, Any] = _NOTHING,
) -> Run:
    """Return the run of a record; with the task run to which it was delegated, and its `task`, where these were read.

    A failed record that is not final is `QUEUED`: its next attempt is still to come. `raw` holds both records, as
    `run` and `task_run`; `output` is the task run's result, since automation runs have none.
    """
    if task_run is not None:
        asks = (RESUME,) if task.get("paused") is True else ()
        return _of_task_run(record, ref, seen_at, task_run, asks)
    state = run_state_of(record.status)
    is_undelivered = record.status == _SCHEDULED and bool(record.delivery_error)
    if is_undelivered:
        state = RunState.FAILED
    elif record.status == _FAILED and not is_final:
        state = RunState.QUEUED
    ended_at = record.delivery_error_at if is_undelivered else record.ended_at
    return Run(
        ref=ref,
        state=state,
        status=record.status,
        created_at=record.started_at,
        started_at=record.started_at,
        ended_at=ended_at if state.is_terminal else None,
        error=record.error or (record.delivery_error if state in _BROKEN else "") or None,
        raw={"run": record.raw},
        seen_at=seen_at,
    )


def _of_task_run(
    record: AutomationRun, ref: RunRef, seen_at: datetime, task_run: Mapping[str, Any], asks: tuple[str, ...]
) -> Run:
    status, error = task_run.get("status"), task_run.get("error")
    word = status if isinstance(status, str) else ""
    state = task_run_state_of(word)
    return Run(
        ref=ref,
        state=state,
        status=word,
        created_at=record.started_at,
        started_at=parse_moment(task_run.get("started_at")),
        ended_at=parse_moment(task_run.get("ended_at")) if state.is_terminal else None,
        output=task_run.get("result"),
        error=error if isinstance(error, str) and error else None,
        raw={"run": record.raw, "task_run": task_run},
        seen_at=seen_at,
        asks=() if state.is_terminal else asks,
    )
