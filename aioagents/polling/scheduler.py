"""Does what the core decides: poll workers, one timer, and callers who wait, for all runs of a pool."""

import asyncio
import math
import random
from collections.abc import Callable, Coroutine
from functools import partial
from typing import Any, Final

from attrs import frozen

from ..clock import Clock, Timer
from ..errors import PoolClosed
from ..model import Run, RunRef
from ..observe import Dispatcher, Event
from ..retry import RetryPolicy
from .cadence import Cadence
from .core import PollCore
from .effects import Effect, End, Show
from .explanation import Explanation
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
from .poll_worker import PollWorker, fault_of_poll, raise_if_cancelled
from .reader import Hinted, Reader
from .runs import DUE, PolledRun, Source, Waiter

_TICK: Final = 0.001  # seconds


@frozen(kw_only=True)
class PollStatistics:
    """What a scheduler does: `runs` that are polled, callers that are `waiting`, polls made, and those that failed.

    `overdue` counts runs whose poll is due and not begun, `failing` those whose latest poll failed, `polling` the
    polls under way, `pollers` the poll workers made so far. A poll of many runs at once counts as one.
    """

    runs: int
    waiting: int
    polls: int
    polls_failed: int
    overdue: int
    failing: int
    polling: int
    pollers: int


@frozen
class ScheduledSource:
    """The runs of one account and the scheduler that polls them: what handles of these runs are made from."""

    scheduler: "Scheduler"
    source: Source

    def is_awaited(self, ref: RunRef) -> bool:
        """Return whether anybody waits for the run of `ref`, so that it is of use to report a state of it."""
        run = self.source.runs.get(ref)
        return run is not None and is_awaited(run)

    def report(self, run: Run, *, asked_at: float) -> None:
        """Inform all who wait for a run of a state that was learned otherwise than by its polls; no poll is made.

        `asked_at` is when the request was made whose reply has the state, on the pool's clock: it is passed over if a
        newer one is known, and so is what comes after an end. For a run that nobody waits for, nothing happens.
        """
        polled = self.source.runs.get(run.ref)
        if polled is not None:
            self.scheduler.seen(polled, run, asked_at=asked_at)


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
        self.emit = emit
        self.spawn = spawn
        self.ensure_open = ensure_open
        self._most = pollers
        self._made = 0
        self._idle: list[PollWorker] = []
        self._timer: Timer | None = None
        self._timer_at = math.inf
        # The present moment. Those of one millisecond share a float: each run keeps the moment of its last request.
        self._asked_at = -math.inf
        self._is_closed = False

    def source(self, reader: Reader, vendor: str, *, cannot_cancel: str = "") -> ScheduledSource:
        """Return a new source, of the runs of one account; `cannot_cancel` may say why these cannot be cancelled."""
        return ScheduledSource(self, self._core.source(reader, vendor, cannot_cancel=cannot_cancel))

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
            failing=sum(run.backoff.failures > 0 for run in runs),
            polling=core.rotation.polling,
            pollers=self._made,
        )

    # Callers

    def join(self, run: PolledRun, waiter: Waiter) -> PolledRun:
        """Add `waiter` to those who wait for a run. Return the run that is polled, perhaps one that others know.

        Raise `PoolClosed`, and what the cadence raises.
        """
        self.ensure_open()
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

    def seen(self, run: PolledRun, seen: Run | Hinted[Run], *, asked_at: float) -> None:
        """Inform all who wait for a run of what a caller's own request saw, in the caller's context."""
        now = self.clock.now()
        self._core.reported(run, seen, now, min(asked_at, now))
        self._follow_up()

    def explain(self, run: PolledRun) -> Explanation:
        """Return what the wait for a run is doing."""
        return Explanation.of(run, waiting=count_waiting(run), now=self.clock.now())

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
            self.emit(effect)
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
        self._core.take_due(self._now())
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
                worker = PollWorker(poll)
                try:
                    self.spawn(self._work(worker), partial(self._ended, worker))
                except PoolClosed:  # the pool's tasks were cancelled, as a loop that ends does
                    self.close()
                    return

    async def _work(self, worker: PollWorker) -> None:
        """Make polls until the pool closes, beginning with the assigned one."""
        core = self._core
        while True:
            poll = worker.take()
            if isinstance(poll, PolledRun) and not is_awaited(poll):
                core.not_made(poll, self._now())  # everybody left since it was assigned
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

    def _ended(self, worker: PollWorker, task: "asyncio.Task[Any]") -> None:
        """Replace a poll worker whose task somebody cancelled, and have the poll made that it was assigned."""
        if self._is_closed:
            return
        self._made -= 1
        if worker in self._idle:
            self._idle.remove(worker)
        if worker.poll is not None:
            self._core.not_made(worker.poll, self._now())
        if not task.cancelled() and (fault := task.exception()) is not None:
            context = {"message": "aioagents: a poll worker failed", "exception": fault, "task": task}
            task.get_loop().call_exception_handler(context)
        self._follow_up()
        self._assign()

    async def _poll(self, run: PolledRun) -> None:
        core = self._core
        context = None if run.contexts is None else context_of(run.contexts)
        asked_at = self._asked_at
        age = None if run.begun_at is None else asked_at - run.begun_at
        try:
            polling = run.source.reader.poll(run.ref, age=age, last=run.last)
            seen = await (polling if context is None else Within(context, polling))
        except (Exception, asyncio.CancelledError) as error:  # noqa: BLE001 - no fault ends a poll worker
            core.poll_failed(run, fault_of_poll(error), self._now())
            raise_if_cancelled(error)
        else:
            core.polled(run, seen, self._now(), asked_at)

    def _now(self) -> float:
        """Return the present time. Requests that are made next, without waiting, have it as theirs."""
        now = self.clock.now()
        if now - self._asked_at > _TICK:
            self._asked_at = now
        return now

    async def _poll_list(self, poll: ListPoll) -> PolledRun | None:
        """Read many runs with one request. Return the run that is next polled by itself, in the list's stead."""
        core, context = self._core, context_of(poll.first.contexts)
        asked_at = self._asked_at
        try:
            polling = poll.lists.poll_many(poll.group.name, poll.lasts())
            found = await (polling if context is None else Within(context, polling))
            first = core.list_polled(poll, found, self._now(), asked_at)
        except (Exception, asyncio.CancelledError) as error:  # noqa: BLE001 - as above
            first = core.list_failed(poll, fault_of_poll(error), self._now())
            raise_if_cancelled(error)
        self._assign()  # what the list left out is due again
        return first
