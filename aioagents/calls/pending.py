"""A start that was asked for and whose outcome is not known yet.

A start is made of attempts. Each is unsent until its first byte leaves, and sent from then on. Once sent, the start
goes on whatever happens to the task that asked for it, and has one outcome: the result, an error that says that no
run began, or `StartUnknown`. Where nobody waits for it any more, the outcome is emitted as `StartAbandoned`.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from attrs import field, frozen

from ..clock import Clock
from ..errors import AgentsError, NotSent, PoolClosed, ReplyError, ReplyLost, StartUnknown
from ..model import Reply, Request, Run
from ..model.quick import quick
from ..observe import Dispatcher, RunChanged, RunStarted, StartAbandoned
from ..polling import RunHandle

if TYPE_CHECKING:
    from datetime import datetime

T = TypeVar("T")


@quick
@frozen(kw_only=True, eq=False)
class StartRequest:
    """What is to be started, and how to describe it if its outcome cannot be known.

    `advice` says how to find out later, `action` what may have been done when the reply is lost ("started a run"),
    and `is_run` whether it counts as a run. `redacted_body` stands in `StartUnknown` for a body with a secret.
    `sign` makes the request that is sent, right before each attempt, for signatures that do not hold for long.
    `find_handle` finds the run's handle in a result that is not a handle itself.
    """

    vendor: str
    request: Request
    target: str
    advice: str | Callable[[], str]
    action: str = "started a run"
    is_run: bool = True
    redacted_body: bytes | None = field(default=None, repr=False)
    sign: Callable[[Request], Request] | None = None
    find_handle: Callable[[Any], RunHandle | None] | None = None


@quick
@frozen(kw_only=True, eq=False)
class Start(StartRequest, Generic[T]):
    """A start whose whole reply is awaited; `read` makes the result of it.

    `find_start` looks up what began, by other means than the reply. It is called once the start has failed, with the
    error, and returns None to have that raised; if it raises an error of its own, that one is raised.
    `PendingStart.is_sent` says whether anything may have begun: always after a reply that was lost; it then goes on
    without its caller, as the start does. It is cancelled after two minutes, and when the pool closes. A start that
    is answered pays nothing for it.

    `find_early` looks for the result while the reply is outstanding, which costs two tasks. It is cancelled when the
    reply arrives; the result that was read of that may be replaced by `confirm`. An `AgentsError` that it raises
    closes the connection and is handled as if the reply had failed with it.

    Where the vendor treats a repeated start as the same one, `next_attempt` builds the request of another attempt, or
    returns None when it is too late for one.
    """

    read: Callable[[Reply], T]
    find_start: "Callable[[PendingStart[T], AgentsError], Awaitable[T | None]] | None" = None
    find_early: "Callable[[PendingStart[T]], Awaitable[T]] | None" = None
    confirm: Callable[[T], Awaitable[T]] | None = None
    next_attempt: Callable[[], Request | None] | None = None


class PendingStart(Generic[T]):
    """One start, from the moment it is asked for until its outcome is known and reported."""

    def __init__(
        self,
        start: StartRequest,
        *,
        clock: Clock,
        emit: Dispatcher,
        waiter: "asyncio.Task[Any] | None" = None,
        outcome: "asyncio.Future[T] | None" = None,
    ) -> None:
        #: The task that waits for the outcome.
        self.waiter = waiter
        #: Whether it was cancelled unless sent, although its waiter still waits and the pool is open.
        self.is_cancelled_unsent = False
        #: What was asked for.
        self.start = start
        self._clock = clock
        self._emit = emit
        # Only the waiter awaits it, so cancelling the waiter cancels it at once. None for an inline start, which runs
        # in its waiter's own task.
        self._outcome = outcome
        #: Whether the vendor may have acted: bytes may have left, and were not refused for certain.
        self.is_sent = False
        #: Whether bytes of any attempt ever left, refused or not.
        self.was_sent = False
        #: Whether an earlier attempt may have begun something; no later refusal changes that.
        self.may_have_begun = False
        #: Whether a refused attempt may be followed by another: somebody waits, and the pool is not closing.
        self.may_resend = True
        self._was_sent_when_cancelled: bool | None = None  # None while the waiter was not cancelled
        self._sent_at: datetime | None = None
        #: When the first byte of the present attempt left, on the monotonic clock; None while none is in flight.
        self.in_flight_since: float | None = None

    def sign(self, request: Request) -> Request:
        """Return the request to send now for `request`."""
        sign = self.start.sign
        return request if sign is None else sign(request)

    def note_sent(self) -> None:
        """Record that the first byte is about to leave.

        Raises CancelledError where nothing may be sent any more: the cancellation of the task is already scheduled.
        """
        if not (self.is_sent or (self.may_resend and self._is_awaited)):
            raise asyncio.CancelledError
        self.is_sent = self.was_sent = True
        if not self.may_have_begun:
            self._sent_at = self._clock.utcnow()
        self.in_flight_since = self._clock.now()

    def note_refused(self) -> None:
        """Record that the vendor refused the present attempt, which therefore began nothing."""
        if not self.may_have_begun:
            self.is_sent = False
            self.in_flight_since = None

    def note_may_have_begun(self) -> None:
        """Record that something may have begun although the vendor refused."""
        self.is_sent = self.may_have_begun = True

    def cancel_unsent(self, task: asyncio.Task[Any]) -> None:
        """Send nothing more. Cancels `task`, which makes the start, unless an attempt is in flight."""
        self.may_resend = False
        if not self.is_sent and task is not asyncio.current_task():  # a hook may call this from within `task`
            task.cancel()

    def note_waiter_cancelled(self, task: "asyncio.Task[T]") -> None:
        """Record that the waiter was cancelled. Cancels `task` unless an attempt is in flight."""
        outcome = self._outcome
        if outcome is None or outcome.cancelled():
            # `task` may be done and its outcome not set yet: then `settle` decides what to report.
            self._was_sent_when_cancelled = None if task.done() else self.is_sent
            self.cancel_unsent(task)
        elif (error := outcome.exception()) is None:
            # The outcome was set just before the cancellation, and the waiter never sees it.
            self.emit_abandoned(self._run_of(outcome.result()), None)
        elif isinstance(error, AgentsError) and _reached_vendor(error):
            self.emit_abandoned(None, error)

    def settle(self, task: "asyncio.Task[T]") -> bool:
        """Set the outcome from the ended `task`, which made the start; return whether it succeeded."""
        exc = asyncio.CancelledError() if task.cancelled() else task.exception()
        if exc is None:
            self.succeed(task.result())
            return True
        error = self.error_for(exc)
        if self._is_awaited:
            self._set_error(error)
        elif (
            _reached_vendor(error) if self._was_sent_when_cancelled is None else self._was_sent_when_cancelled
        ):
            self.emit_abandoned(None, error)
        return False

    def error_for(self, exc: BaseException) -> AgentsError:
        """Return the error to raise for `exc`, which ended the start; a cancellation comes from the closing pool."""
        if isinstance(exc, asyncio.CancelledError):
            return self._cancelled_error()
        error = exc if isinstance(exc, AgentsError) else self.wrap(exc)
        return self.start_unknown(error) if self.is_sent else error

    def succeed(self, result: T) -> None:
        """Set `result` as the outcome, and emit that a run started."""
        vendor, run = self.start.vendor, self._run_of(result)
        if run is not None:
            self._emit(RunStarted(vendor=vendor, target=self.start.target, run=run))
            if run.state.is_terminal:  # there will be no poll that finds it
                self._emit(RunChanged(vendor=vendor, run=run, previous=None))
        if not self._is_awaited:
            self.emit_abandoned(run, None)
        elif self._outcome is not None:
            self._outcome.set_result(result)

    @property
    def _is_awaited(self) -> bool:
        """Return whether the waiter still waits."""
        return self._outcome is None or not self._outcome.cancelled()

    def _set_error(self, error: AgentsError) -> None:
        if self._outcome is not None:
            self._outcome.set_exception(error)

    def emit_abandoned(self, run: Run | None, error: AgentsError | None) -> None:
        """Emit the outcome of a start that nobody waits for any more."""
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
        if isinstance(handle, RunHandle):
            return handle.accepted or handle.last
        return handle if isinstance(handle, Run) else None

    def _cancelled_error(self) -> AgentsError:
        vendor, call = self.start.vendor, self.start.request.call
        if self.is_sent:
            return self.start_unknown(
                ReplyLost(f"the pool was closed before the reply to {call} arrived", call=call)
            )
        if self.is_cancelled_unsent:
            return NotSent(f"{call} was cancelled before it was sent", vendor=vendor, call=call)
        return PoolClosed(f"the pool was closed before {call} was sent", vendor=vendor, call=call)

    def start_unknown(self, cause: AgentsError) -> StartUnknown:
        """Return the error for a start whose outcome cannot be known because of `cause`."""
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

    def wrap(self, exc: BaseException) -> AgentsError:
        """Return an `AgentsError` for an exception that is none."""
        call = self.start.request.call
        error = AgentsError(f"{call} failed: {type(exc).__name__}", vendor=self.start.vendor, call=call)
        error.__cause__ = exc
        return error


def _reached_vendor(error: AgentsError) -> bool:
    """Return whether the vendor got the request, so that the outcome is reported though nobody waits for it."""
    return isinstance(error, StartUnknown | ReplyError)
