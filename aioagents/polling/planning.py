"""Who waits for which run, and when each is due: half of the core of the polling engine, below `core.py`.

Pure: it neither waits nor reads a clock.
"""

import math
from collections.abc import Callable
from typing import Final, TypeVar

from ..errors import AgentsError, PoolClosed
from ..model import Run
from ..retry import RetryPolicy
from .cadence import Cadence
from .due_queue import DueQueue
from .effects import Effect, End, fault_of
from .groups import enter_group, leave_group
from .reader import Reader
from .rotation import Rotation
from .runs import PLANNED, RESTING, Contexts, PolledRun, Source
from .slow_start import OUTAGE, SlowStart
from .timing import Timing

T = TypeVar("T")
#: Runs that are joined within so many seconds share one float as their time: it would be a twentieth of their memory.
_TICK: Final = 0.001
_CLOSED: Final = "the pool was closed during the wait; the run goes on"


class PollPlan:
    """The runs of a pool that somebody waits for, in the order in which they are due; `is_awaited` finds waiters.

    `outage` is how many polls of an account have to fail in a row until polls begin slowly.
    """

    def __init__(
        self,
        *,
        cadence: Cadence,
        retry: RetryPolicy,
        pollers: int,
        is_awaited: Callable[[PolledRun], bool],
        chance: Callable[[], float],
        outage: int = OUTAGE,
    ) -> None:
        self._timing = Timing(cadence, retry, chance)
        self._retry = retry
        self._is_awaited = is_awaited
        self._outage = outage
        self._queue: DueQueue[PolledRun] = DueQueue()
        self._joined_at = -math.inf
        self._slow: set[Source] = set()  # those whose polls are bounded by an outage, or were until lately
        self._unknown: set[tuple[str, str]] = set()  # vendors' status words that were reported
        self.polls = 0
        self.polls_failed = 0
        self.rotation = Rotation(pollers)
        self.sources: list[Source] = []
        #: When `take_due` is to be called, infinite while nothing is planned.
        self.wake_at = math.inf
        #: What the driver has to carry out, in this order, each in one of these contexts if there are any.
        self.effects: list[tuple[Contexts, Effect]] = []

    def source(self, reader: Reader, vendor: str, *, cannot_cancel: str = "") -> Source:
        """Return a new source for the runs of one account."""
        source = Source(reader, vendor, SlowStart(self._outage), cannot_cancel=cannot_cancel)
        self.sources.append(source)
        return source

    def take_effects(self) -> list[tuple[Contexts, Effect]]:
        """Return the effects of what was reported since the last call."""
        effects, self.effects = self.effects, []
        return effects

    # Who waits

    def join(self, run: PolledRun, now: float) -> PolledRun:
        """Plan a poll for a new waiter. Return the run that is polled: there is one for each reference.

        Raise what the cadence raises, and ValueError for a gap that is not above 0; nothing is planned then.
        """
        known = run.source.runs.setdefault(run.ref, run)
        if known is not run:
            known.is_woken |= run.is_woken
            known.is_cancel_requested |= run.is_cancel_requested
            known.begun_at = run.begun_at if known.begun_at is None else known.begun_at
            known.target = known.target or run.target
            run = known
        if self._is_awaited(run):
            if run.is_woken and run.phase is PLANNED:
                self._plan(run, now)
            return run
        try:
            enter_group(run)
            if run.phase in {RESTING, PLANNED}:
                if now - self._joined_at > _TICK:
                    self._joined_at = now
                if run.since == -math.inf:
                    run.since = self._joined_at
                self._plan(run, self._timing.first_at(run, now))
        except Exception:  # of a cadence of the user's
            self._forget(run)
            raise
        return run

    def leave(self, run: PolledRun) -> None:
        """Record that a waiter is gone. A run without waiters is not polled any more."""
        if not self._is_awaited(run):
            self._forget(run)

    def close(self) -> None:
        """End all waits with `PoolClosed`, and plan no further polls. May be called twice."""
        self.rotation.clear()
        for source in self.sources:
            for run in list(source.runs.values()):
                error = PoolClosed(_CLOSED, vendor=source.vendor, ref=run.ref, run=run.last)
                self._release(run, error, None)
                self._forget(run)

    def _release(self, run: PolledRun, end: Run | AgentsError, contexts: Contexts) -> None:
        self.effects.append((contexts, End(run.waiters, end)))
        run.waiters = None

    def _end(self, run: PolledRun, error: AgentsError) -> None:
        error.ref, error.run = run.ref, run.last
        self._release(run, error, run.contexts)
        self._forget(run)

    def _forget(self, run: PolledRun) -> None:
        """Stop polling a run. A later `join` keeps the time that was planned."""
        self._queue.drop(run)
        leave_group(run)
        run.contexts = None
        if run.source.runs.get(run.ref) is run:
            del run.source.runs[run.ref]

    # Wakes and pushes

    def wake(self, run: PolledRun, now: float) -> None:
        """Poll a run now if it has waiters, else as soon as it gets one: a webhook said that it changed."""
        run = run.source.runs.get(run.ref, run)
        run.is_woken = True
        if run.phase is PLANNED and self._is_awaited(run):
            self._plan(run, now)

    def lose_push(self, run: PolledRun, now: float) -> None:
        """Poll a run as often as the cadence says, since no push wakes it when it ends any more."""
        if run.push is None:
            return
        run.push = None
        if run.phase is PLANNED:
            self._settle(run, self._hasten, run.due_at, now)
        elif run.phase is RESTING:
            run.due_at = math.inf  # the next wait begins with a gap

    def _hasten(self, run: PolledRun, planned_at: float, now: float) -> None:
        """Plan the next poll by the cadence, unless it was planned for a sooner time."""
        at = self._timing.as_wanted(run, now + self._timing.gap(run, now - run.since))
        self._plan(run, min(planned_at, at))

    # When each is due

    def _plan(self, run: PolledRun, at: float) -> None:
        self._queue.push(run, at)
        if at < self.wake_at:  # noqa: PLR1730 - calling `min` takes three times as long, and each poll is planned
            self.wake_at = at

    def _plan_or_keep(self, run: PolledRun, at: float) -> None:
        """Plan a poll, or keep its time for a later `join` if nobody waits."""
        if self._is_awaited(run):
            self._plan(run, at)
        else:
            run.due_at = at
            self._forget(run)

    def take_due(self, now: float) -> None:
        """Take runs that are due out of the queue, in order; `next_poll` returns them as the bounds allow.

        Where very many are due, it takes some of them, and `wake_at` stays at the time of the others.
        """
        for run in self._queue.take_due(now):
            self.rotation.add(run)
        self.wake_at = self._queue.head_at
        if self._slow:
            for source in tuple(self._slow):
                source.slow_start.grant(now)
                self._await_grant(source)

    def _await_grant(self, source: Source) -> None:
        """Make `take_due` be called when more polls of a source may begin, as long as any is due."""
        grant_at = source.slow_start.grant_at
        if grant_at == math.inf:
            self._slow.discard(source)
        else:
            self._slow.add(source)
            if source.due:
                self.wake_at = min(self.wake_at, grant_at)

    def _settle(
        self, run: PolledRun, act: Callable[[PolledRun, T, float], None], what: T, now: float
    ) -> None:
        """Call `act`, which plans the next poll. An exception in it ends the waits for this run only."""
        try:
            act(run, what, now)
        except Exception as exc:  # noqa: BLE001 - a cadence of the user's, or a vendor's reader
            self._end(run, fault_of(run, exc))
