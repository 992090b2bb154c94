"""Does what the core decides: poll workers, one timer, and callers who wait, for all runs of a pool."""

import asyncio
import math
import random
from collections.abc import Callable, Coroutine
from functools import partial
from typing import Any

from attrs import frozen

from ..clock import Clock, Timer
from ..errors import PoolClosed, TransportError
from ..model import Run
from ..observe import Dispatcher, Event
from ..retry import RetryPolicy
from .cadence import Cadence
from .core import PollCore
from .effects import Effect, End, Show
from .groups import ListPoll
from .listeners import (
    Within,
    add_waiter,
    context_of,
    count_waiting,
    end_waits,
    is_awaited,
    remove_waiter,
    show,
)
from .reader import Reader
from .runs import DUE, PolledRun, Source, Waiter


@frozen(kw_only=True)
class PollStatistics:
    """What a scheduler does: `runs` that are polled, callers that are `waiting`, polls made, and those that failed.

    `overdue` counts runs whose poll is due and not begun, `polling` the polls under way, `pollers` the poll workers
    made so far. A poll of many runs at once counts as one.
    """

    runs: int
    waiting: int
    polls: int
    polls_failed: int
    overdue: int
    polling: int
    pollers: int


@frozen
class ScheduledSource:
    """The runs of one account and the scheduler that polls them: what handles of these runs are made from."""

    scheduler: "Scheduler"
    source: Source


class Scheduler:
    """Polls each run that somebody waits for, at the times the core decides.

    At most `pollers` poll workers are made, as they are needed, by `spawn`, which gives them no context variables and
    calls its second argument with a poll worker's task once that has ended.
    """

    def __init__(
        self,
        *,
        clock: Clock,
        cadence: Cadence,
        retry: RetryPolicy,
        emit: Dispatcher,
        spawn: Callable[[Coroutine[Any, Any, None], Callable[["asyncio.Task[Any]"], object]], object],
        ensure_open: Callable[[], None],
        pollers: int,
        chance: Callable[[], float] = random.random,
    ) -> None:
        self.clock = clock
        self._core = PollCore(
            cadence=cadence, retry=retry, pollers=pollers, is_awaited=is_awaited, chance=chance
        )
        self._emit = emit
        self._spawn = spawn
        self._ensure_open = ensure_open
        self._most = pollers
        self._made = 0
        self._idle: list[_Worker] = []
        self._timer: Timer | None = None
        self._timer_at = math.inf
        self._is_closed = False

    def source(self, reader: Reader, vendor: str) -> ScheduledSource:
        """Return a new source, of the runs of one account."""
        return ScheduledSource(self, self._core.source(reader, vendor))

    def statistics(self) -> PollStatistics:
        """Return the present numbers; costs a walk over all polled runs."""
        core = self._core
        runs = [run for source in core.sources for run in source.runs.values()]
        waiting = [count_waiting(run) for run in runs]
        return PollStatistics(
            runs=sum(count > 0 for count in waiting),
            waiting=sum(waiting),
            polls=core.polls,
            polls_failed=core.polls_failed,
            overdue=sum(run.phase is DUE for run in runs),
            polling=core.rotation.polling,
            pollers=self._made,
        )

    # Callers

    def join(self, run: PolledRun, waiter: Waiter) -> PolledRun:
        """Add `waiter` to those who wait for a run. Return the run that is polled, perhaps one that others know.

        Raise `PoolClosed`, and what the cadence raises.
        """
        self._ensure_open()
        run = self._core.join(run, self.clock.now())
        add_waiter(run, waiter, is_first=not is_awaited(run))
        self._follow_up()
        return run

    def leave(self, run: PolledRun, waiter: Waiter) -> None:
        """Remove `waiter`. The run is not polled again once nobody waits for it."""
        remove_waiter(run, waiter)
        self._core.leave(run)

    def wake(self, run: PolledRun) -> None:
        """Poll a run now if anybody waits for it, else as soon as somebody does."""
        self._core.wake(run, self.clock.now())
        self._follow_up()

    def lose_push(self, run: PolledRun) -> None:
        """Poll a run as often as the cadence says: nothing wakes it at its end any more."""
        self._core.lose_push(run, self.clock.now())
        self._follow_up()

    def seen(self, run: PolledRun, seen: Run) -> None:
        """Inform all who wait for a run of what a caller's own poll saw, in the caller's context."""
        self._core.seen(run, seen, self.clock.now())
        self._follow_up()

    def close(self) -> None:
        """End all waits with `PoolClosed`, and make no poll any more. May be called twice."""
        self._is_closed = True
        self._core.close()
        self._follow_up()
        self._cancel_timer()

    # What the core decided

    def _follow_up(self) -> None:
        """Carry out the effects of what was reported, and keep the timer as early as the core wants it."""
        core = self._core
        if core.effects:
            for contexts, effect in core.take_effects():
                context = None if contexts is None else context_of(contexts)
                if context is None:
                    self._carry_out(effect)
                else:
                    context.run(self._carry_out, effect)
        if core.wake_at < self._timer_at:
            self._set_timer()

    def _carry_out(self, effect: Effect) -> None:
        if isinstance(effect, Event):
            self._emit(effect)
        elif isinstance(effect, Show):
            show(effect.waiters, effect.run)
        elif isinstance(effect, End):
            end_waits(effect.waiters, effect.end)
        else:
            effect.push.missed()

    def _set_timer(self) -> None:
        """Set the one timer to when the next run is due. Before that time it is only ever set to an earlier one."""
        self._cancel_timer()
        self._timer_at = self._core.wake_at
        if self._timer_at != math.inf:
            self._timer = self.clock.call_at(self._timer_at, self._on_time)

    def _cancel_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _on_time(self) -> None:
        self._timer = None
        self._core.take_due(self.clock.now())
        self._set_timer()
        self._assign()

    # Poll workers

    def _assign(self) -> None:
        """Assign due polls to poll workers, as far as there are both."""
        while self._idle or self._made < self._most:
            poll = self._core.next_poll()
            if poll is None:
                return
            if self._idle:
                self._idle.pop().assign(poll)
            else:
                self._made += 1
                worker = _Worker(poll)
                try:
                    self._spawn(self._work(worker), partial(self._ended, worker))
                except PoolClosed:  # the pool's tasks were cancelled, as a loop that ends does
                    self.close()
                    return

    async def _work(self, worker: "_Worker") -> None:
        """Make polls until the pool closes, beginning with the assigned one."""
        core = self._core
        while True:
            poll = worker.take()
            if isinstance(poll, PolledRun) and not is_awaited(poll):
                core.not_made(poll, self.clock.now())  # everybody left since it was assigned
                poll = core.next_poll()
            while poll is not None and not self._is_closed:
                if isinstance(poll, ListPoll):
                    poll = await self._poll_list(poll)
                else:
                    await self._poll(poll)
                    poll = None
                if core.effects or core.wake_at < self._timer_at:
                    self._follow_up()
                if poll is None:
                    poll = core.next_poll()
                if self._idle and core.rotation.sources:
                    self._assign()  # the end of one poll can make room for two, of different sources
            if self._is_closed:
                return
            self._idle.append(worker)
            await worker.until_assigned()

    def _ended(self, worker: "_Worker", task: "asyncio.Task[Any]") -> None:
        """Replace a poll worker whose task somebody cancelled, and have the poll made that it was assigned."""
        if self._is_closed:
            return
        self._made -= 1
        if worker in self._idle:
            self._idle.remove(worker)
        if worker.poll is not None:
            self._core.not_made(worker.poll, self.clock.now())
        if not task.cancelled() and (fault := task.exception()) is not None:
            context = {"message": "aioagents: a poll worker failed", "exception": fault, "task": task}
            task.get_loop().call_exception_handler(context)
        self._follow_up()
        self._assign()

    async def _poll(self, run: PolledRun) -> None:
        core = self._core
        context = None if run.contexts is None else context_of(run.contexts)
        age = None if run.begun_at is None else self.clock.now() - run.begun_at
        try:
            polling = run.source.reader.poll(run.ref, age=age, last=run.last)
            seen = await (polling if context is None else Within(context, polling))
        except (Exception, asyncio.CancelledError) as error:  # noqa: BLE001 - no fault ends a poll worker
            core.poll_failed(run, _fault_of(error), self.clock.now())
            _raise_if_cancelled(error)
        else:
            core.polled(run, seen, self.clock.now())

    async def _poll_list(self, poll: ListPoll) -> PolledRun | None:
        """Read many runs with one request. Return the run that is next polled by itself, in the list's stead."""
        core, context = self._core, context_of(poll.first.contexts)
        try:
            polling = poll.lists.poll_many(poll.group.name, poll.lasts())
            found = await (polling if context is None else Within(context, polling))
            first = core.list_polled(poll, found, self.clock.now())
        except (Exception, asyncio.CancelledError) as error:  # noqa: BLE001 - as above
            first = core.list_failed(poll, _fault_of(error), self.clock.now())
            _raise_if_cancelled(error)
        self._assign()  # what the list left out is due again
        return first


class _Worker:
    """A poll worker: the poll that it was assigned, and what it waits for while it has none."""

    __slots__ = ("_wake", "poll")

    def __init__(self, poll: PolledRun | ListPoll) -> None:
        #: The poll that was assigned and not begun.
        self.poll: PolledRun | ListPoll | None = poll
        self._wake: asyncio.Future[None] | None = None

    def assign(self, poll: PolledRun | ListPoll) -> None:
        """Assign the next poll to a worker that is idle."""
        self.poll = poll
        if self._wake is not None and not self._wake.done():  # else its task is being cancelled
            self._wake.set_result(None)

    async def until_assigned(self) -> None:
        """Wait until a poll is assigned."""
        self._wake = asyncio.get_running_loop().create_future()
        await self._wake

    def take(self) -> PolledRun | ListPoll | None:
        """Return the assigned poll, which is begun now."""
        poll, self.poll = self.poll, None
        return poll


def _fault_of(error: Exception | asyncio.CancelledError) -> Exception:
    """Return what a poll failed with. A cancellation is none of the vendor's, and passes."""
    if not isinstance(error, asyncio.CancelledError):
        return error
    task = asyncio.current_task()
    if task is not None and task.cancelling():
        fault: Exception = TransportError("the poll was cancelled together with its poll worker")
    else:
        fault = RuntimeError("a poll was cancelled, though its poll worker was not")
    fault.__cause__ = error
    return fault


def _raise_if_cancelled(error: Exception | asyncio.CancelledError) -> None:
    task = asyncio.current_task()
    if isinstance(error, asyncio.CancelledError) and (task is None or task.cancelling()):
        raise error
