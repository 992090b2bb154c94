"""What an error or the end of a run means for a row of a batch. Pure."""

import math
from collections.abc import Mapping
from datetime import datetime
from types import MappingProxyType
from typing import Final

from attrs import frozen

from ..errors import (
    AgentsError,
    AuthenticationError,
    NotSent,
    PoolClosed,
    ReplyError,
    RunAborted,
    RunCancelled,
    RunFailed,
    StartUnknown,
)
from ..model import Run, RunRef, RunState
from .record import Change, Record, RowState

ENDS: Final[Mapping[RunState, RowState]] = MappingProxyType(
    {
        RunState.COMPLETED: RowState.COMPLETED,
        RunState.FAILED: RowState.FAILED,
        RunState.ABORTED: RowState.ABORTED,
    }
)
CHECK_BY_HAND: Final = "Check on the vendor's side for a run of this target and time."
_FIRST_CLIENT_STATUS: Final = 400
# Refusals that may pass: payment required, rights that are lacking for the moment, request timeout, too early. Such a
# row stays planned; a refused one is never sent again by itself.
_LATER: Final = frozenset({402, 403, 408, 425})
_RIGHTS: Final = frozenset({402, 403})  # the vendor is well: other rows may be started


@frozen
class StartFailure:
    """What becomes of a row whose start failed.

    `stops`: every other row would fail in the same way. `is_trouble`: others may, while it lasts.
    """

    state: RowState
    stops: bool = False
    is_trouble: bool = True


def classify(error: Exception) -> StartFailure:
    """Return what becomes of a row whose start raised `error`.

    A client promises that no run began where its start raises anything but `StartUnknown`. An error that no
    client raises on purpose is a fault in its code, and its promise counts for nothing then.
    """
    if isinstance(error, StartUnknown):
        return StartFailure(RowState.UNKNOWN)
    if isinstance(error, AuthenticationError | PoolClosed):
        return StartFailure(RowState.PLANNED, stops=True)
    if isinstance(error, AgentsError):
        if _is_final(error):
            return StartFailure(RowState.REFUSED, is_trouble=False)
        return StartFailure(RowState.PLANNED, is_trouble=error.status not in _RIGHTS)
    if isinstance(error, ValueError | TypeError):
        return StartFailure(RowState.REFUSED, is_trouble=False)  # the row cannot be sent to this vendor
    return StartFailure(RowState.UNKNOWN)


def _is_final(error: AgentsError) -> bool:
    """Return whether the same row would be refused again."""
    if error.is_passing or not isinstance(error, ReplyError) or error.status is None:
        return False
    return error.status >= _FIRST_CLIENT_STATUS and error.status not in _LATER


def no_delay(_: AgentsError, __: int) -> None:
    """Return that no start was refused for want of a slot."""
    return


def check_delay(seconds: float | None) -> float | None:
    """Return `seconds`, which a client returned. Raises ValueError for what would let a slot rest for ever."""
    if seconds is not None and not 0 <= seconds < math.inf:
        raise ValueError(f"retry_delay has to return 0 or more seconds, or None, not {seconds!r}")
    return seconds


def words_of(error: Exception) -> str:
    """Return what a journal keeps of an error: our message, and the vendor's own words where there are any."""
    detail = error.detail if isinstance(error, AgentsError) else ""
    return f"{error} ({detail})" if detail else str(error)


def unstarted(key: str, state: RowState, error: Exception, *, at: datetime) -> Change:
    """Return the change of a row whose start led to no known run."""
    return Change(key=key, state=state, at=at, kind=type(error).__name__, error=words_of(error))


def ended(key: str, run: Run, *, ref: RunRef | None = None, is_cancelled: bool = False) -> Change:
    """Return the change of a row whose run has ended; with its reference where the row is not STARTED."""
    error = fault_of(run, is_cancelled=is_cancelled)
    return Change(
        key=key,
        state=ENDS[run.state],
        ref=ref,
        at=run.seen_at,
        ended_at=run.ended_at,
        status=run.status,
        kind="" if error is None else type(error).__name__,
        error=run.error or "",
        output=run.output,
    )


def fault_of(run: Run, *, is_cancelled: bool = False) -> AgentsError | None:
    """Return the error that `RunHandle.result` raises for an end, None for a completed run.

    `is_cancelled`: the vendor was asked to cancel the run. Then it is `RunCancelled`, also where the vendor calls the
    run completed; one that failed all the same has failed.
    """
    if is_cancelled and run.state is not RunState.FAILED:
        words = f"run {run.ref} was cancelled by its batch, and ended as {run.status}"
        return RunCancelled(words, vendor=run.ref.vendor, ref=run.ref, run=run)
    if run.state is RunState.COMPLETED:
        return None
    kind = RunFailed if run.state is RunState.FAILED else RunAborted
    return kind(f"run {run.ref} ended as {run.status}", vendor=run.ref.vendor, ref=run.ref, run=run)


def lost_start(record: Record) -> StartUnknown:
    """Return the error of a row that is SENDING with nobody sending it."""
    return StartUnknown(
        f"an earlier run of the batch ended while the start of {record.key!r} was under way: whether a run began "
        "cannot be known",
        target=record.target,
        sent_at=record.sent_at,
        advice=CHECK_BY_HAND,
    )


def cut_off_start(key: str, target: str, sent_at: datetime | None, error: Exception | None) -> AgentsError:
    """Return the error of a start that was cancelled, or broke in a client's code: it may have been sent.

    That is `error` itself where it says what became of the start.
    """
    if isinstance(error, AgentsError) and not isinstance(error, NotSent | PoolClosed):
        return error
    unknown = StartUnknown(
        f"whether the start of {key!r} began a run cannot be known: {type(error).__name__}",
        target=target,
        sent_at=sent_at,
        advice=CHECK_BY_HAND,
    )
    unknown.__cause__ = error
    return unknown


def as_exception(fault: BaseException | None) -> Exception:
    """Return what ended a task as an error that can be an outcome."""
    return fault if isinstance(fault, Exception) else AgentsError(f"ended by {fault!r}")
