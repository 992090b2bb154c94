"""Starts of one pool: each travels in a task of the pool's, sent at most once unless it surely began nothing."""

import asyncio
import math
from collections.abc import Awaitable, Callable, Collection, Coroutine
from functools import partial
from typing import Any, Protocol, TypeVar

import anyio
import anyio.lowlevel

from ..clock import Clock
from ..crew import Crew
from ..errors import AgentsError, PoolClosed
from ..model import Reply, Request
from ..observe import Teller
from ..retry import is_fate_unknown, is_lost
from .account import Account
from .flight import Flight, Launch, Search, Start
from .refusals import note_reply

T = TypeVar("T")


class Exchange(Protocol):
    """What starts need of the calls of their pool."""

    async def send(
        self,
        account: Account,
        request: Request,
        flight: Flight[Any] | None = None,
        *,
        carry: Callable[..., Awaitable[Reply]] | None = None,
    ) -> Reply:
        """Send once within the limits, and once more with a new token after a 401. Raises for a no.

        `carry` sends in place of the pool's own `Send`.
        """
        ...

    async def pause(
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

    def __init__(self, exchange: Exchange, *, crew: Crew, clock: Clock, tell: Teller) -> None:
        self._exchange = exchange
        self._crew = crew
        self._clock = clock
        self._tell = tell
        self._flights: dict[asyncio.Task[Any], Flight[Any]] = {}
        self._carriers: dict[asyncio.Task[Any], Callable[[asyncio.Task[Any]], object]] = {}
        self._called_off: set[asyncio.Task[Any]] = set()
        self._is_landing = False
        self.accepted = 0

    def start(self, account: Account, start: Start[T]) -> Coroutine[Any, Any, T]:
        """Send what starts a run, and give the result; see `Caller.start`."""
        account.budget.earn()
        caller = asyncio.current_task()
        if caller is not None and caller in self._carriers:
            return self._carried(account, start, caller)
        return self._handed_over(account, start)

    async def _handed_over(self, account: Account, start: Start[T]) -> T:
        """Have it travel in a task of its own, since the caller may be cancelled at any moment."""
        deadline = anyio.current_effective_deadline()
        caller = asyncio.current_task()
        if deadline == -math.inf or (caller is not None and caller.cancelling()):
            await anyio.lowlevel.checkpoint()  # who was cancelled already must not send what outlives them
        if self._is_landing:  # while the caller looked up what it needs for this
            raise PoolClosed(f"the pool was closed before {start.request.call} was sent", vendor=start.vendor)
        outcome: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        flight = Flight(start, clock=self._clock, tell=self._tell, caller=caller, outcome=outcome)
        task = self._crew.spawn(self._travel(account, start, flight, deadline), on_end=self._ended)
        self._flights[task] = flight
        try:
            return await outcome
        except asyncio.CancelledError:
            flight.left(task)
            raise

    async def _carried(self, account: Account, start: Start[T], caller: asyncio.Task[Any]) -> T:
        """Have it travel in the caller's task, which nobody but the pool cancels."""
        flight: Flight[T] = Flight(start, clock=self._clock, tell=self._tell, caller=caller)
        flight.is_called_off = caller in self._called_off
        if flight.is_called_off or self._is_landing:  # while the caller looked up what it needs for this
            raise flight.fault(asyncio.CancelledError())
        self._flights[caller] = flight
        try:
            result = await self._travel(account, start, flight, math.inf)
        except asyncio.CancelledError as exc:
            caller.uncancel()
            fault = flight.fault(exc)
            raise fault from fault.__cause__
        except Exception as exc:
            fault = flight.fault(exc)
            if fault is exc:
                raise
            raise fault from exc
        finally:
            del self._flights[caller]
        self.accept(start)
        flight.land(result)
        return result

    def carry(
        self, work: Coroutine[Any, Any, None], on_end: Callable[[asyncio.Task[Any]], object]
    ) -> "asyncio.Task[None]":
        """Do `work` in a task whose starts need none of their own; see `Caller.carry`."""
        task = self._crew.spawn(work, on_end=self._put_down)
        self._carriers[task] = on_end
        return task

    def _put_down(self, task: asyncio.Task[Any]) -> None:
        self._called_off.discard(task)
        self._carriers.pop(task)(task)

    def accept(self, launch: Launch) -> None:
        """Count what was accepted."""
        self.accepted += launch.is_run

    def _ended(self, task: asyncio.Task[Any]) -> None:
        flight = self._flights.pop(task)
        if flight.settle(task):
            self.accept(flight.launch)

    def call_off(self, callers: Collection[asyncio.Task[Any]]) -> None:
        """Have nothing more sent of the starts that these tasks wait for; see `Caller.call_off`."""
        self._called_off.update(task for task in callers if task in self._carriers)
        for task, flight in self._flights.items():
            if flight.caller in callers:
                flight.is_called_off = True
                flight.ground(task)

    async def land(self, seconds: float) -> None:
        """Wait, for at most so long, until no start is out any more; those that were not sent end at once."""
        self._is_landing = True
        for task, flight in self._flights.items():
            flight.ground(task)
        if self._flights:
            await asyncio.wait(tuple(self._flights), timeout=seconds)

    def _travel(
        self, account: Account, start: Start[T], flight: Flight[T], deadline: float
    ) -> Coroutine[Any, Any, T]:
        travel = self._journey if start.search is None else self._searched
        return travel(account, start, flight, deadline)

    async def _searched(self, account: Account, start: Start[T], flight: Flight[T], deadline: float) -> T:
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
            group.start_soon(take, partial(self._journey, account, start, flight, deadline), answers)
            group.start_soon(take, lambda: search.watch(flight), sightings)
        for answer in answers:
            if not isinstance(answer, Exception):
                return await search.answered(answer)
        # What was seen in the very moment of a refusal is not what this start began.
        for sighting in sightings if flight.is_sent or not answers else ():
            if not isinstance(sighting, Exception):
                return sighting
        for fault in (*answers, *sightings):
            if isinstance(fault, Exception):
                return await self._found(search, flight, fault)
        raise asyncio.CancelledError  # ended from outside: its own cancellation is on its way

    async def _found(self, search: Search[T], flight: Flight[T], fault: Exception) -> T:
        """Give what is found after the reply told nothing, or raise why it did not."""
        found = await search.failed(fault, flight) if isinstance(fault, AgentsError) else None
        if found is None:
            raise fault
        return found

    async def _journey(self, account: Account, start: Start[T], flight: Flight[T], deadline: float) -> T:
        failures = 0
        request = start.request
        while True:
            reply = None
            try:
                reply = await self._exchange.send(account, request, flight)
                return start.read(reply)
            except AgentsError as error:
                if reply is not None:
                    note_reply(error, reply)
                failures += 1
                error.tries = failures
                is_renewable = start.renew is not None and is_lost(error)
                if not (flight.is_sent and is_fate_unknown(request, error)):
                    flight.clear()
                elif is_renewable:
                    flight.is_owed = True
                else:
                    raise
                if not flight.may_resend:
                    raise
                await self._exchange.pause(
                    account, request, error, failures=failures, deadline=deadline, is_safe=is_renewable
                )
                renewed = request if start.renew is None else start.renew()
                if renewed is None or not flight.may_resend:
                    raise  # it is too late, or nobody waits any more
                request = renewed
