"""Makes the starts of one pool. Each is sent at most once, unless an attempt surely began nothing."""

import asyncio
import math
from collections.abc import Awaitable, Callable, Collection, Coroutine
from functools import partial
from typing import Any, Final, TypeVar

import anyio
import anyio.lowlevel

from ..clock import Clock
from ..errors import AgentsError, PoolClosed
from ..model import Request
from ..observe import Dispatcher
from ..retry import is_outcome_unknown, is_reply_lost
from ..tasks import Supervisor
from .account import Account
from .pending import PendingStart, Start, StartRequest
from .sender import RequestSender

T = TypeVar("T")

#: Seconds after which the look-up of a start whose reply was lost is given up.
LONGEST_FIND: Final = 120.0


class Starts:
    """Makes the starts of one pool, and knows those that are pending."""

    def __init__(
        self, sender: RequestSender, *, supervisor: Supervisor, clock: Clock, emit: Dispatcher
    ) -> None:
        self._sender = sender
        self._supervisor = supervisor
        self._clock = clock
        self._emit = emit
        # By the task that makes the start: its own, or that of an inline start's caller.
        self._pending: dict[asyncio.Task[Any], PendingStart[Any]] = {}
        # The tasks of `run_inline`, and what each calls when it has ended.
        self._inline_tasks: dict[asyncio.Task[Any], Callable[[asyncio.Task[Any]], object]] = {}
        # Those of them whose further starts are not sent.
        self._cancelled_unsent: set[asyncio.Task[Any]] = set()
        self._is_draining = False
        #: How many runs were accepted.
        self.accepted = 0

    def start(self, account: Account, start: Start[T]) -> Coroutine[Any, Any, T]:
        """Make a start and return its result; see `Caller.start`."""
        account.budget.earn()
        caller = asyncio.current_task()
        if caller is not None and caller in self._inline_tasks:
            return self._start_inline(account, start, caller)
        return self._start_in_own_task(account, start)

    async def _start_in_own_task(self, account: Account, start: Start[T]) -> T:
        """Make the start in a task of its own, since the caller may be cancelled at any moment."""
        deadline = anyio.current_effective_deadline()
        caller = asyncio.current_task()
        if deadline == -math.inf or (caller is not None and caller.cancelling()):
            await anyio.lowlevel.checkpoint()  # raises: a caller that is cancelled already sends nothing
        if self._is_draining:  # it began while the caller prepared this start
            raise PoolClosed(f"the pool was closed before {start.request.call} was sent", vendor=start.vendor)
        outcome: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        pending = PendingStart(start, clock=self._clock, emit=self._emit, waiter=caller, outcome=outcome)
        task = self._supervisor.spawn(self._make(account, start, pending, deadline), on_end=self._task_ended)
        self._pending[task] = pending
        try:
            return await outcome
        except asyncio.CancelledError:
            pending.note_waiter_cancelled(task)
            raise

    async def _start_inline(self, account: Account, start: Start[T], caller: asyncio.Task[Any]) -> T:
        """Make the start in the caller's task, which only the pool cancels."""
        pending: PendingStart[T] = PendingStart(start, clock=self._clock, emit=self._emit, waiter=caller)
        pending.is_cancelled_unsent = caller in self._cancelled_unsent
        if pending.is_cancelled_unsent or self._is_draining:  # while the caller prepared this start
            raise pending.error_for(asyncio.CancelledError())
        self._pending[caller] = pending
        try:
            result = await self._make(account, start, pending, math.inf)
        except asyncio.CancelledError as exc:
            caller.uncancel()
            error = pending.error_for(exc)
            raise error from error.__cause__
        except Exception as exc:
            error = pending.error_for(exc)
            if error is exc:
                raise
            raise error from exc
        finally:
            del self._pending[caller]
        self.count_accepted(start)
        pending.succeed(result)
        return result

    def run_inline(
        self, work: Coroutine[Any, Any, None], on_end: Callable[[asyncio.Task[Any]], object]
    ) -> "asyncio.Task[None]":
        """Run `work` in a task whose starts are inline starts; see `Caller.run_inline`."""
        task = self._supervisor.spawn(work, on_end=self._inline_task_ended)
        self._inline_tasks[task] = on_end
        return task

    def _inline_task_ended(self, task: asyncio.Task[Any]) -> None:
        self._cancelled_unsent.discard(task)
        self._inline_tasks.pop(task)(task)

    def count_accepted(self, start: StartRequest) -> None:
        """Count a start that was accepted, if it counts as a run."""
        self.accepted += start.is_run

    def _task_ended(self, task: asyncio.Task[Any]) -> None:
        pending = self._pending.pop(task)
        if pending.settle(task):
            self.count_accepted(pending.start)

    def cancel_unsent(self, waiters: Collection[asyncio.Task[Any]]) -> None:
        """Send nothing more of the starts that these tasks wait for; see `Caller.cancel_unsent`."""
        self._cancelled_unsent.update(task for task in waiters if task in self._inline_tasks)
        for task, pending in self._pending.items():
            if pending.waiter in waiters:
                pending.is_cancelled_unsent = True
                pending.cancel_unsent(task)

    async def drain(self, seconds: float) -> None:
        """Cancel the starts that are unsent, and wait for at most `seconds` until none is in flight."""
        self._is_draining = True
        for task, pending in self._pending.items():
            pending.cancel_unsent(task)
        if self._pending:
            await asyncio.wait(tuple(self._pending), timeout=seconds)

    def _make(
        self, account: Account, start: Start[T], pending: PendingStart[T], deadline: float
    ) -> Coroutine[Any, Any, T]:
        make = self._attempt if start.find_early is None else self._attempt_and_find_early
        return make(account, start, pending, deadline)

    async def _attempt(
        self, account: Account, start: Start[T], pending: PendingStart[T], deadline: float
    ) -> T:
        """Make attempts until one succeeds, its outcome is unknown, or no other is allowed; then use `find_start`."""
        failures = 0
        request = start.request
        while True:
            try:
                reply = await self._sender.send(account, request, pending)
                return account.read(request, reply, start.read)
            except AgentsError as error:
                failures += 1
                error.tries = failures
                next_request = await self._next_request(
                    account, start, pending, request, error=error, deadline=deadline
                )
                if next_request is not None:
                    request = next_request
                elif start.find_start is None or start.find_early is not None:
                    raise
                else:
                    return await self._find(start, pending, error)

    async def _next_request(
        self,
        account: Account,
        start: Start[T],
        pending: PendingStart[T],
        request: Request,
        *,
        error: AgentsError,
        deadline: float,
    ) -> Request | None:
        """Wait until another attempt is due after `error`; return its request, None where there must be none."""
        is_safe = start.next_attempt is not None and is_reply_lost(error)
        if not (pending.is_sent and is_outcome_unknown(request, error)):
            pending.note_refused()
        elif is_safe:
            pending.may_have_begun = True
        else:
            return None
        if not pending.may_resend:
            return None
        try:
            await self._sender.wait_to_retry(
                account, request, error, failures=error.tries, deadline=deadline, is_safe=is_safe
            )
        except AgentsError:  # `error` itself
            return None
        next_request = request if start.next_attempt is None else start.next_attempt()
        return next_request if pending.may_resend else None  # or it is too late, since nobody waits any more

    async def _find(self, start: Start[T], pending: PendingStart[T], error: Exception) -> T:
        """Return what `find_start` finds within its time. Raises `error` where it finds nothing."""
        if start.find_start is None or not isinstance(error, AgentsError):
            raise error
        found = None
        with anyio.CancelScope() as scope:
            timer = self._clock.call_at(self._clock.now() + LONGEST_FIND, scope.cancel)
            try:
                found = await start.find_start(pending, error)
            finally:
                timer.cancel()
        if found is None:
            raise error
        return found

    async def _attempt_and_find_early(
        self, account: Account, start: Start[T], pending: PendingStart[T], deadline: float
    ) -> T:
        """Make the start, and look for its result elsewhere while the reply is outstanding."""
        find_early = start.find_early
        assert find_early is not None  # noqa: S101 - this is what it is for
        replies: list[T | Exception] = []
        findings: list[T | Exception] = []

        async def collect(work: Callable[[], Awaitable[T]], outcomes: list[T | Exception]) -> None:
            try:
                outcomes.append(await work())
            except Exception as exc:  # noqa: BLE001 - kept as a value, so that the other one is not cancelled halfway
                outcomes.append(exc)
            group.cancel_scope.cancel()

        async with anyio.create_task_group() as group:
            group.start_soon(collect, partial(self._attempt, account, start, pending, deadline), replies)
            group.start_soon(collect, partial(find_early, pending), findings)
        for reply in replies:
            if not isinstance(reply, Exception):
                return reply if start.confirm is None else await start.confirm(reply)
        # What was found in the same step of the loop in which the start was refused is not what this start began.
        for finding in findings if pending.is_sent or not replies else ():
            if not isinstance(finding, Exception):
                return finding
        for error in (*replies, *findings):
            if isinstance(error, Exception):
                return await self._find(start, pending, error)
        raise asyncio.CancelledError  # cancelled from outside: the cancellation of this task is already scheduled
