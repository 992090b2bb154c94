"""A start on its way: sent at most once, and never forgotten.

From the first byte on, a start goes on to its end whatever becomes of the task that asked for it. Every path
from there leads to the result, to an error that says the run surely did not begin, or to `StartUnknown`; and
where nobody waits any more, to the event `StartAbandoned`.
"""

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar

from attrs import frozen

from ..clock import Clock
from ..errors import AgentsError, NotSent, PoolClosed, ReplyError, ReplyLost, StartUnknown
from ..model import Reply, Request, Run
from ..model.quick import quick
from ..observe import Dispatcher, RunStarted, StartAbandoned
from ..polling import RunHandle

if TYPE_CHECKING:
    from datetime import datetime

T = TypeVar("T")


@quick
@frozen(kw_only=True, eq=False)
class StartRequest:
    """What is to be started, and how it is told of where nobody can know its fate.

    `advice` says how to find out later, `deed` what cannot be known to have happened when the reply is lost, `is_run`
    whether it is a run that counts, `shown` what the error then carries in place of a body that holds a secret.
    Where a signature does not hold for long, `sign` makes what is sent of the request once its turn has come. In a
    result that is no handle itself, `handle` finds the run's.
    """

    vendor: str
    request: Request
    target: str
    advice: str | Callable[[], str]
    action: str = "started a run"
    is_run: bool = True
    redacted_body: bytes | None = None
    sign: Callable[[Request], Request] | None = None
    find_handle: Callable[[Any], RunHandle | None] | None = None


@quick
@frozen(kw_only=True, eq=False)
class Start(StartRequest, Generic[T]):
    """A launch whose whole reply is awaited: `read` makes a result of it.

    With a `search`, the result may be found while the reply is out, or after it was lost. Where the vendor takes the
    same start twice for one, `renew` makes the request for another try, or gives None when it is too late for that.
    """

    read: Callable[[Reply], T]
    search: "Search[T] | None" = None
    next_attempt: Callable[[], Request | None] | None = None


class Search(Protocol[T]):
    """Finds by other means what a start began."""

    async def find(self, pending: "PendingStart[T]") -> T:
        """Return the result once it is found, while the reply is out. Cancelled when the reply is there.

        An `AgentsError` that it raises drops the connection, and counts as what became of the reply.
        """
        ...

    async def confirm(self, result: T) -> T:
        """Return the result that really is this start's, now that `result` was read in the reply."""
        ...

    async def recover(self, error: AgentsError, pending: "PendingStart[T]") -> T | None:
        """Look once more after `error`, which is raised where this finds nothing."""
        ...


class PendingStart(Generic[T]):
    """One start, from the moment somebody asks for it until its fate is known and told."""

    def __init__(
        self,
        start: StartRequest,
        *,
        clock: Clock,
        emit: Dispatcher,
        caller: "asyncio.Task[Any] | None" = None,
        outcome: "asyncio.Future[T] | None" = None,
    ) -> None:
        #: Who waits for it.
        self.caller = caller
        #: Whether nothing is to be sent any more, though its caller waits and the pool is open.
        self.is_cancelled_unsent = False
        #: What was asked for.
        self.start = start
        self._clock = clock
        self._emit = emit
        # For its caller alone, whose cancellation cancels this in that very moment; None where both are one task.
        self._outcome = outcome
        #: Whether bytes may have left that were not surely refused.
        self.is_sent = False
        #: Whether bytes ever left, refused or not.
        self.was_sent = False
        #: Whether an earlier try may have begun something, which no later refusal takes back.
        self.may_have_begun = False
        #: Whether a refusal may be followed by another try: somebody waits for it, and the pool is not closing.
        self.may_resend = True
        self._was_out: bool | None = None  # when the caller noticed its cancellation
        self._sent_at: datetime | None = None
        #: When the first byte left, on the monotonic clock; None while nothing is out.
        self.in_flight_since: float | None = None

    def signed(self, request: Request) -> Request:
        """Return what is to be sent now for `request`."""
        sign = self.start.sign
        return request if sign is None else sign(request)

    def mark(self) -> None:
        """Note that the first byte is about to leave. Raises CancelledError where none must leave any more."""
        if not (self.is_sent or (self.may_resend and self._is_awaited)):
            raise asyncio.CancelledError  # called off a moment ago: the task's own cancellation is still on its way
        self.is_sent = self.was_sent = True
        if not self.may_have_begun:
            self._sent_at = self._clock.utcnow()
        self.in_flight_since = self._clock.now()

    def clear(self) -> None:
        """Note that the vendor refused, and started nothing by this try."""
        if not self.may_have_begun:
            self.is_sent = False
            self.in_flight_since = None

    def note_may_have_begun(self) -> None:
        """Note that something may have begun all the same, though the vendor refused."""
        self.is_sent = self.may_have_begun = True

    def cancel_unsent(self, task: asyncio.Task[Any]) -> None:
        """Send nothing any more. What is out goes on; `task` ends at once where nothing is."""
        self.may_resend = False
        if not self.is_sent and task is not asyncio.current_task():  # a hook may ask for this from within
            task.cancel()

    def left(self, task: "asyncio.Task[T]") -> None:
        """Note that the caller was cancelled. Where nothing is out, `task` ends and nothing is sent."""
        outcome = self._outcome
        if outcome is None or outcome.cancelled():
            self._was_out = None if task.done() else self.is_sent  # done a moment ago, and not settled yet
            self.cancel_unsent(task)
        elif (error := outcome.exception()) is None:
            # It came in the very moment of the cancellation: the caller will not see it.
            self.abandon(self._run_of(outcome.result()), None)
        elif isinstance(error, AgentsError) and _is_news(error):
            self.abandon(None, error)

    def settle(self, task: "asyncio.Task[T]") -> bool:
        """Settle the outcome by how `task` ended, and say whether it succeeded."""
        fault = asyncio.CancelledError() if task.cancelled() else task.exception()
        if fault is None:
            self.drain(task.result())
            return True
        error = self.fault(fault)
        if self._is_awaited:
            self._set(error)
        elif _is_news(error) if self._was_out is None else self._was_out:
            self.abandon(None, error)
        return False

    def fault(self, exc: BaseException) -> AgentsError:
        """Return what is to be raised of what broke the journey off; the pool does so by cancelling it."""
        if isinstance(exc, asyncio.CancelledError):
            return self._closed()
        error = exc if isinstance(exc, AgentsError) else self.foreign(exc)
        return self.start_unknown(error) if self.is_sent else error  # whatever broke, a run may have begun

    def drain(self, result: T) -> None:
        """Note that the start led to `result`."""
        run = self._run_of(result)
        if run is not None:
            self._emit(RunStarted(vendor=self.start.vendor, target=self.start.target, run=run))
        if not self._is_awaited:
            self.abandon(run, None)
        elif self._outcome is not None:
            self._outcome.set_result(result)

    @property
    def _is_awaited(self) -> bool:
        """Return whether the caller waits."""
        return self._outcome is None or not self._outcome.cancelled()

    def _set(self, error: AgentsError) -> None:
        if self._outcome is not None:
            self._outcome.set_exception(error)

    def abandon(self, run: Run | None, error: AgentsError | None) -> None:
        """Tell what became of a start that nobody waits for any more."""
        self._emit(
            StartAbandoned(
                vendor=self.start.vendor,
                target=self.start.target,
                sent_at=self._sent_at or self._clock.utcnow(),
                run=run,
                error=error,
            )
        )

    def _run_of(self, result: T) -> Run | None:
        find = self.start.find_handle
        handle = result if find is None else find(result)
        return handle.accepted or handle.last if isinstance(handle, RunHandle) else None

    def _closed(self) -> AgentsError:
        call = self.start.request.call
        if not self.is_sent and self.is_cancelled_unsent:
            return NotSent(f"{call} was called off before it was sent", vendor=self.start.vendor, call=call)
        if not self.is_sent:
            return PoolClosed(
                f"the pool was closed before {call} was sent", vendor=self.start.vendor, call=call
            )
        return self.start_unknown(
            ReplyLost(f"the pool was closed while the reply to {call} was out", call=call)
        )

    def start_unknown(self, cause: AgentsError) -> StartUnknown:
        """Build the error for a start whose fate cannot be known, because of `cause`."""
        start = self.start
        advice = start.advice if isinstance(start.advice, str) else start.advice()
        error = StartUnknown(
            f"{start.vendor}: whether {start.request.call} {start.action} cannot be known: {cause}. {advice}",
            vendor=start.vendor,
            call=start.request.call,
            action=start.action,
            target=start.target,
            sent_at=self._sent_at,
            body=start.request.body if start.redacted_body is None else start.redacted_body,
            advice=advice,
            status=cause.status,
            request_id=cause.request_id,
        )
        error.__cause__ = cause
        return error

    def foreign(self, exc: BaseException) -> AgentsError:
        """Build the error for what is none of this package's."""
        call = self.start.request.call
        error = AgentsError(f"{call} failed: {type(exc).__name__}", vendor=self.start.vendor, call=call)
        error.__cause__ = exc
        return error


def _is_news(error: AgentsError) -> bool:
    """Return whether the vendor was asked, so that somebody has to be told though nobody waits."""
    return isinstance(error, StartUnknown | ReplyError)
