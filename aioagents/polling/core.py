"""Which run is polled next, and what each answer means for those who wait: the decisions of the polling engine.

Pure: it neither waits nor reads a clock. The driver (`scheduler.py`) reports what happened and when, makes the polls
that `next_poll` returns, calls `take_due` at `wake_at`, and carries out the effects that `take_effects` returns.

Read `runs.py` first: it has the data. `timing.py` says how long until a poll, `rotation.py` bounds polls per account,
`groups.py` knows which runs one list reads.
"""

import math
from collections.abc import Callable, Iterable, Mapping
from typing import Final, TypeVar

from ..errors import AgentsError, DecodeError, PoolClosed
from ..model import Run, RunRef, RunState
from ..observe import PollFailed, RunChanged, StatusUnknown
from ..retry import RetryPolicy
from .cadence import Cadence
from .due_queue import DueQueue
from .effects import Effect, End, Missed, Show, fault_of
from .groups import ListPoll, enter_group, gather, leave_group
from .reader import Reader
from .rotation import Rotation
from .runs import NO_FAILURES, PLANNED, POLLING, RESTING, Contexts, Failures, Listener, PolledRun, Source
from .timing import Timing

T = TypeVar("T")
#: Runs that are joined within so many seconds share one float as their time: it would be a twentieth of their memory.
_TICK: Final = 0.001
_CLOSED: Final = "the pool was closed during the wait; the run goes on"
_MAY_LISTEN: Final = (Listener, dict)


class PollCore:
    """Decides when each run of a pool is polled, at most `pollers` at a time; `is_awaited` finds its waiters."""

    def __init__(
        self,
        *,
        cadence: Cadence,
        retry: RetryPolicy,
        pollers: int,
        is_awaited: Callable[[PolledRun], bool],
        chance: Callable[[], float],
    ) -> None:
        self._timing = Timing(cadence, retry, chance)
        self._attempts = retry.attempts
        self._is_awaited = is_awaited
        self._queue: DueQueue[PolledRun] = DueQueue()
        self._unknown: set[tuple[str, str]] = set()  # vendors' status words that were reported
        self._joined_at = -math.inf
        self.rotation = Rotation(pollers)
        self.sources: list[Source] = []
        #: When `take_due` is to be called, infinite while nothing is planned.
        self.wake_at = math.inf
        #: What the driver has to carry out, in this order, each in one of these contexts if there are any.
        self.effects: list[tuple[Contexts, Effect]] = []
        self.polls = 0
        self.polls_failed = 0

    def source(self, reader: Reader, vendor: str) -> Source:
        """Return a new source for the runs of one account."""
        source = Source(reader, vendor)
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
        self._plan(run, min(planned_at, now + self._timing.gap(run, now - run.since)))

    # Which run is polled next

    def _plan(self, run: PolledRun, at: float) -> None:
        self._queue.push(run, at)
        self.wake_at = min(self.wake_at, at)

    def _plan_or_keep(self, run: PolledRun, at: float) -> None:
        """Plan a poll, or keep its time for a later `join` if nobody waits."""
        if self._is_awaited(run):
            self._plan(run, at)
        else:
            run.due_at = at
            self._forget(run)

    def take_due(self, now: float) -> None:
        """Take the runs that are due out of the queue, in order; `next_poll` returns them as the bounds allow."""
        for run in self._queue.take_due(now):
            self.rotation.add(run)
        self.wake_at = self._queue.head_at

    def next_poll(self) -> PolledRun | ListPoll | None:
        """Return the next poll to make, of one run or of a list, counted as begun; None if none may begin now."""
        while (run := self.rotation.take()) is not None:
            if not self._is_awaited(run):
                self.rotation.free(run.source)
                run.phase = RESTING
                self._forget(run)
                continue
            self.polls += 1
            if run.group is not None and (poll := self._begin_list(run)) is not None:
                return poll
            self._begin(run)
            return run
        return None

    def _begin(self, run: PolledRun) -> None:
        """Count a run as being polled. A wake from now on may report a change that this poll does not see."""
        run.phase = POLLING
        run.was_woken, run.is_woken = run.is_woken, False
        run.is_left_out = False

    def _begin_list(self, first: PolledRun) -> ListPoll | None:
        """Return one poll of the run's whole group; None if the run is better polled alone."""
        poll = gather(first, self._is_awaited)
        if poll is not None:
            for run in poll.early.values():
                self._queue.drop(run)
            for run in poll.runs():
                self._begin(run)
        return poll

    def _count_out(self, run: PolledRun) -> None:
        """Count a run as not polled after all, and keep the wake that asked for the poll."""
        run.phase = RESTING
        run.is_woken |= run.was_woken

    # What a poll saw, or how it failed

    def not_made(self, poll: PolledRun | ListPoll, now: float) -> None:
        """Record that a begun poll was not made after all. What was due is due again, as long as anybody waits."""
        self.polls -= 1
        if isinstance(poll, PolledRun):
            self._put_back((poll,), (), now)
            self.rotation.free(poll.source)
        else:
            self._put_back(poll.due.values(), poll.early.values(), now)
            self.rotation.free(poll.first.source)

    def polled(self, run: PolledRun, seen: Run, now: float) -> None:
        """Record what a poll saw."""
        self.rotation.free(run.source)
        run.phase = RESTING
        self._settle(run, self._take, seen, now)

    def poll_failed(self, run: PolledRun, error: Exception, now: float) -> None:
        """Record that a poll failed. A fault that is no `AgentsError` ends the waits for the run."""
        self.rotation.free(run.source)
        run.phase = RESTING
        if isinstance(error, AgentsError):
            self.polls_failed += 1
            self._settle(run, self._fail, error, now)
        else:
            self._end(run, fault_of(run, error))

    def list_polled(self, poll: ListPoll, found: Mapping[RunRef, Run], now: float) -> PolledRun | None:
        """Record what a list saw; each run that it left out is polled by itself next.

        Return the first run if it was left out: its own poll is begun instead.
        """
        for run, seen in poll.answered(found):
            run.phase = RESTING
            self._settle(run, self._take, seen, now)
        return self._end_list(poll, now)

    def list_failed(self, poll: ListPoll, error: Exception, now: float) -> PolledRun | None:
        """Record that a list failed, as in `poll_failed`. Return the first run if its own poll is begun instead."""
        if isinstance(error, AgentsError):
            self.polls_failed += 1
            for run in poll.failed(error):
                run.phase = RESTING
                self._settle(run, self._fail, error, now)
        else:
            poll.group.is_sparse = True
            poll.due.pop(poll.first.ref, None)
            poll.first.phase = RESTING
            self._end(poll.first, fault_of(poll.first, error))
        return self._end_list(poll, now)

    def _put_back(self, due: Iterable[PolledRun], early: Iterable[PolledRun], now: float) -> None:
        for run in due:
            self._count_out(run)
            self.rotation.add(run)
        for run in early:
            self._count_out(run)
            self._plan_or_keep(run, now if run.is_woken else run.due_at)

    def _end_list(self, poll: ListPoll, now: float) -> PolledRun | None:
        """Put back the runs that the list left out: due ones are due again, others keep their planned time."""
        first = poll.due.pop(poll.first.ref, None)
        self._put_back(poll.due.values(), poll.early.values(), now)
        if first is not None:
            self._count_out(first)
            if self._is_awaited(first):
                self.polls += 1
                self._begin(first)
                return first
            self._forget(first)
        self.rotation.free(poll.first.source)
        return None

    def _settle(
        self, run: PolledRun, act: Callable[[PolledRun, T, float], None], what: T, now: float
    ) -> None:
        """Call `act`, which plans the next poll. An exception in it ends the waits for this run only."""
        try:
            act(run, what, now)
        except Exception as exc:  # noqa: BLE001 - a cadence of the user's, or a vendor's reader
            self._end(run, fault_of(run, exc))

    def _take(self, run: PolledRun, seen: Run, now: float) -> None:
        """Record what a poll saw, and plan the next one."""
        self.seen(run, seen, now, run.contexts)
        push = run.push
        if seen.state.is_terminal:
            if push is not None and not (run.was_woken or run.is_woken):
                self.effects.append((None, Missed(push)))
            return
        if push is not None and run.was_woken and not push.will_wake_again(seen):
            # Woken although it has not ended: do not rely on a second wake.
            run.push, run.since = None, now
        self._plan_or_keep(run, now if run.is_woken else now + self._timing.gap(run, now - run.since))

    def seen(self, run: PolledRun, seen: Run, now: float, contexts: Contexts = None) -> None:
        """Record the state that a poll saw, or a caller's own poll, and inform the waiters. Plan no poll."""
        previous = run.last
        if previous is not None and previous.state.is_terminal:
            return  # an older answer that arrived late
        if previous is None or previous.state is not seen.state or previous.status != seen.status:
            run.since = now
        run.last, run.is_seen, run.failures = seen, True, NO_FAILURES
        if run.source.lists is not None and self._is_awaited(run):
            enter_group(run)
        if not seen.is_same_as(previous):
            vendor = run.source.vendor
            self.effects.append((contexts, RunChanged(vendor=vendor, run=seen, previous=previous)))
            if seen.state is RunState.UNKNOWN and (vendor, seen.status) not in self._unknown:
                self._unknown.add((vendor, seen.status))
                self.effects.append((contexts, StatusUnknown(vendor=vendor, run=seen)))
        if seen.state.is_terminal:
            self._release(run, seen, contexts)
            self._forget(run)
        elif isinstance(run.waiters, _MAY_LISTEN):
            self.effects.append((contexts, Show(run.waiters, seen)))

    def _fail(self, run: PolledRun, error: AgentsError, now: float) -> None:
        """Plan the next poll after one that failed, or end the waits if another cannot succeed."""
        if run.push is not None and (run.was_woken or run.is_woken):
            run.push, run.since = None, now  # as in `_take`: woken once, and not seen
        count, unreadable = run.failures
        is_passing = error.is_passing
        if isinstance(error, DecodeError):
            unreadable += 1
            is_passing = unreadable < self._attempts
        run.failures = Failures(count + 1, unreadable)
        if not is_passing:
            self._end(run, error)
            return
        delay, vendor = self._timing.delay_after(run, error, now), run.source.vendor
        event = PollFailed(vendor=vendor, ref=run.ref, failures=count + 1, delay=delay, error=error)
        self.effects.append((run.contexts, event))
        # The next poll sees what changed; it is not made sooner than the server asks for.
        run.is_woken = False
        self._plan_or_keep(run, now + delay)

    def _end(self, run: PolledRun, error: AgentsError) -> None:
        error.ref, error.run = run.ref, run.last
        self._release(run, error, run.contexts)
        self._forget(run)
