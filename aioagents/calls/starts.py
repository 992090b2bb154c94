"""Starts of one pool: each travels in a task of the pool's, sent at most once unless it surely began nothing."""

import asyncio
import math
from collections.abc import Awaitable, Callable, Collection, Coroutine
from functools import partial
from typing import Any, Protocol, TypeVar

import anyio
import anyio.lowlevel

from ..clock import Clock
from ..errors import AgentsError, PoolClosed
from ..model import Reply, Request
from ..observe import Dispatcher
from ..retry import is_outcome_unknown, is_reply_lost
from ..tasks import Supervisor
from .account import Account
from .pending import PendingStart, Search, Start, StartRequest
from .refusals import note_reply

T = TypeVar("T")


class Exchange(Protocol):
    """What starts need of the calls of their pool."""

    async def send(
        self,
        account: Account,
        request: Request,
        pending: PendingStart[Any] | None = None,
        *,
        run_inline: Callable[..., Awaitable[Reply]] | None = None,
    ) -> Reply:
        """Send once within the limits, and once more with a new token after a 401. Raises for a no.

        `carry` sends in place of the pool's own `Send`.
        """
        ...

    async def wait_to_retry(
        self,
        account: Account | None,
        request: Request,
        error: AgentsError,
        *,
        failures: int,
        deadline: float,
        is_safe: bool = False,
    ) -> None:
        """Wait until the next try is due; raise `error` when there is to be none."""
        ...


class Starts:
    """Makes the starts of one pool, and knows which are out."""

    def __init__(self, exchange: Exchange, *, supervisor: Supervisor, clock: Clock, emit: Dispatcher) -> None:
        self._exchange = exchange
        self._supervisor = supervisor
        self._clock = clock
        self._emit = emit
        self._pending: dict[asyncio.Task[Any], PendingStart[Any]] = {}
        self._callers: dict[asyncio.Task[Any], Callable[[asyncio.Task[Any]], object]] = {}
        self._cancelled_unsent: set[asyncio.Task[Any]] = set()
        self._is_draining = False
        self.accepted = 0

    def start(self, account: Account, start: Start[T]) -> Coroutine[Any, Any, T]:
        """Send what starts a run, and give the result; see `Caller.start`."""
        account.budget.earn()
        caller = asyncio.current_task()
        if caller is not None and caller in self._callers:
            return self._inline(account, start, caller)
        return self._handed_over(account, start)

    async def _handed_over(self, account: Account, start: Start[T]) -> T:
        """Have it travel in a task of its own, since the caller may be cancelled at any moment."""
        deadline = anyio.current_effective_deadline()
        caller = asyncio.current_task()
        if deadline == -math.inf or (caller is not None and caller.cancelling()):
            await anyio.lowlevel.checkpoint()  # who was cancelled already must not send what outlives them
        if self._is_draining:  # while the caller looked up what it needs for this
            raise PoolClosed(f"the pool was closed before {start.request.call} was sent", vendor=start.vendor)
        outcome: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        pending = PendingStart(start, clock=self._clock, emit=self._emit, caller=caller, outcome=outcome)
        task = self._supervisor.spawn(self._make(account, start, pending, deadline), on_end=self._ended)
        self._pending[task] = pending
        try:
            return await outcome
        except asyncio.CancelledError:
            pending.left(task)
            raise

    async def _inline(self, account: Account, start: Start[T], caller: asyncio.Task[Any]) -> T:
        """Have it travel in the caller's task, which nobody but the pool cancels."""
        pending: PendingStart[T] = PendingStart(start, clock=self._clock, emit=self._emit, caller=caller)
        pending.is_cancelled_unsent = caller in self._cancelled_unsent
        if (
            pending.is_cancelled_unsent or self._is_draining
        ):  # while the caller looked up what it needs for this
            raise pending.fault(asyncio.CancelledError())
        self._pending[caller] = pending
        try:
            result = await self._make(account, start, pending, math.inf)
        except asyncio.CancelledError as exc:
            caller.uncancel()
            fault = pending.fault(exc)
            raise fault from fault.__cause__
        except Exception as exc:
            fault = pending.fault(exc)
            if fault is exc:
                raise
            raise fault from exc
        finally:
            del self._pending[caller]
        self.accept(start)
        pending.drain(result)
        return result

    def run_inline(
        self, work: Coroutine[Any, Any, None], on_end: Callable[[asyncio.Task[Any]], object]
    ) -> "asyncio.Task[None]":
        """Do `work` in a task whose starts need none of their own; see `Caller.carry`."""
        task = self._supervisor.spawn(work, on_end=self._put_down)
        self._callers[task] = on_end
        return task

    def _put_down(self, task: asyncio.Task[Any]) -> None:
        self._cancelled_unsent.discard(task)
        self._callers.pop(task)(task)

    def accept(self, start: StartRequest) -> None:
        """Count what was accepted."""
        self.accepted += start.is_run

    def _ended(self, task: asyncio.Task[Any]) -> None:
        pending = self._pending.pop(task)
        if pending.settle(task):
            self.accept(pending.start)

    def cancel_unsent(self, callers: Collection[asyncio.Task[Any]]) -> None:
        """Have nothing more sent of the starts that these tasks wait for; see `Caller.call_off`."""
        self._cancelled_unsent.update(task for task in callers if task in self._callers)
        for task, pending in self._pending.items():
            if pending.caller in callers:
                pending.is_cancelled_unsent = True
                pending.cancel_unsent(task)

    async def drain(self, seconds: float) -> None:
        """Wait, for at most so long, until no start is out any more; those that were not sent end at once."""
        self._is_draining = True
        for task, pending in self._pending.items():
            pending.cancel_unsent(task)
        if self._pending:
            await asyncio.wait(tuple(self._pending), timeout=seconds)

    def _make(
        self, account: Account, start: Start[T], pending: PendingStart[T], deadline: float
    ) -> Coroutine[Any, Any, T]:
        travel = self._attempts if start.search is None else self._searched
        return travel(account, start, pending, deadline)

    async def _searched(
        self, account: Account, start: Start[T], pending: PendingStart[T], deadline: float
    ) -> T:
        """Make the start, and find by other means what it began where the reply does not tell."""
        search = start.search
        assert search is not None  # noqa: S101 - this is what it is for
        answers: list[T | Exception] = []
        sightings: list[T | Exception] = []

        async def take(work: Callable[[], Awaitable[T]], outcomes: list[T | Exception]) -> None:
            try:
                outcomes.append(await work())
            except Exception as exc:  # noqa: BLE001 - as a value: it does not end the other in the middle
                outcomes.append(exc)
            group.cancel_scope.cancel()

        async with anyio.create_task_group() as group:
            group.start_soon(take, partial(self._attempts, account, start, pending, deadline), answers)
            group.start_soon(take, lambda: search.find(pending), sightings)
        for answer in answers:
            if not isinstance(answer, Exception):
                return await search.confirm(answer)
        # What was seen in the very moment of a refusal is not what this start began.
        for sighting in sightings if pending.is_sent or not answers else ():
            if not isinstance(sighting, Exception):
                return sighting
        for fault in (*answers, *sightings):
            if isinstance(fault, Exception):
                return await self._found(search, pending, fault)
        raise asyncio.CancelledError  # ended from outside: its own cancellation is on its way

    async def _found(self, search: Search[T], pending: PendingStart[T], fault: Exception) -> T:
        """Return what is found after the reply told nothing, or raise why it did not."""
        found = await search.recover(fault, pending) if isinstance(fault, AgentsError) else None
        if found is None:
            raise fault
        return found

    async def _attempts(
        self, account: Account, start: Start[T], pending: PendingStart[T], deadline: float
    ) -> T:
        failures = 0
        request = start.request
        while True:
            reply = None
            try:
                reply = await self._exchange.send(account, request, pending)
                return start.read(reply)
            except AgentsError as error:
                if reply is not None:
                    note_reply(error, reply)
                failures += 1
                error.tries = failures
                is_renewable = start.next_attempt is not None and is_reply_lost(error)
                if not (pending.is_sent and is_outcome_unknown(request, error)):
                    pending.clear()
                elif is_renewable:
                    pending.may_have_begun = True
                else:
                    raise
                if not pending.may_resend:
                    raise
                await self._exchange.wait_to_retry(
                    account, request, error, failures=failures, deadline=deadline, is_safe=is_renewable
                )
                renewed = request if start.next_attempt is None else start.next_attempt()
                if renewed is None or not pending.may_resend:
                    raise  # it is too late, or nobody waits any more
                request = renewed
