"""AGH Runtime: what a run's record says of the run, and whether it is the end. Pure.

Three records say something else than their status: `failed` may be tried again under the same id, `delegated` goes
on as a run of a task, and `scheduled` with a delivery error never goes on (AGH automation API, sections 7 and 8).
"""

import math
from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final

from ...codec import parse_moment
from ...model import Run, RunRef, RunState
from .records import AutomationRun
from .states import run_state_of, task_run_state_of
from .values import Retry

#: Seconds that the next attempt may take to show, over and above its delay.
MARGIN: Final = 5.0
_FAILED: Final = "failed"
_SCHEDULED: Final = "scheduled"
_NO_RETRY: Final = "none"
_LONGEST_EXPONENT: Final = 60
_BROKEN: Final = frozenset({RunState.FAILED, RunState.ABORTED})


def needs_policy(record: AutomationRun) -> bool:
    """Return whether its owner's retry policy has to be known to tell if this record is the end."""
    return record.status == _FAILED and bool(record.fire_id)


def seconds_until_final(record: AutomationRun, retry: Retry | None, now: datetime) -> float:
    """Say how long it takes until a record of `failed` is surely the end; 0 when it is, for any other status too.

    `retry` is the owner's, None where the owner is gone; `now` is the server's time. Infinite as long as the record
    does not say when it failed. Only scheduled fires and webhooks, which have a `fire_id`, are tried again under the
    same id; whether the server gave up before the last attempt its record does not tell, so that is waited for.
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


def read_record(
    record: AutomationRun,
    ref: RunRef,
    seen_at: datetime,
    *,
    is_final: bool = True,
    task_run: Mapping[str, Any] | None = None,
) -> Run:
    """Make a run of its record, and of the task run that it was delegated to where that was read.

    A failed record that is not final is a run whose next attempt waits. `raw` holds both records, as `run` and
    `task_run`; `output` is what the task run gave, for automation runs give none.
    """
    if task_run is not None:
        return _of_task_run(record, ref, seen_at, task_run)
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


def _of_task_run(record: AutomationRun, ref: RunRef, seen_at: datetime, task_run: Mapping[str, Any]) -> Run:
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
    )
