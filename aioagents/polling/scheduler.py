"""All waits of a pool: one heap, one timer, a fixed crew of lookers."""

import random
from collections.abc import Callable, Coroutine
from typing import Any, Final

from ..clock import Clock
from ..errors import AgentsError, DecodeError, PoolClosed, Throttled
from ..model import Run, RunState
from ..observe import LookFailed, RunChanged, StatusUnknown, Teller
from ..retry import RetryPolicy
from .cadence import Cadence
from .context import Within, within
from .lane import Lane, ListSource, PollStatistics, RunSource
from .lookers import Lookers
from .round import Round
from .timetable import Timetable
from .watch import Listener, Waiter, Watch, copy_of, fault_of

_EVER: Final = 1e12  # seconds
_SHORTEST: Final = 0.05  # seconds between a failed look and the next
_WORTH: Final = 0.25  # a list is asked again only if it told of so large a share of its runs


class Scheduler:
    """Looks at each run that somebody waits for, at the times the cadence gives.

    At most `lookers` looks are under way at once. Where a vendor lists runs, a look at one of a group tells of all
    of them, and plans all their next looks.
    """

    def __init__(
        self,
        *,
        clock: Clock,
        cadence: Cadence,
        retry: RetryPolicy,
        tell: Teller,
        spawn: Callable[[Coroutine[Any, Any, None]], object],
        ensure_open: Callable[[], None],
        lookers: int,
        chance: Callable[[], float] = random.random,
    ) -> None:
        self.clock = clock
        self._cadence = cadence
        self._retry = retry
        self._tell = tell
        self._ensure_open = ensure_open
        self._chance = chance
        self._lanes: list[Lane] = []
        self._lookers = Lookers(
            most=lookers, look=self._look, gather=self._gather, drop=self._forget, spawn=spawn
        )
        self._times = Timetable(clock, self._lookers.add)
        self._plan = self._times.plan
        self._looks = 0
        self._failed_looks = 0
        self._is_closed = False
        self._unknown: set[tuple[str, str]] = set()

    def lane(self, source: RunSource, vendor: str) -> Lane:
        """Make the lane of one account."""
        lane = Lane(self, source, vendor)
        self._lanes.append(lane)
        return lane

    def statistics(self) -> PollStatistics:
        """Give the present numbers; costs a walk over all watched runs."""
        waits = [watch.waiting for lane in self._lanes for watch in lane.watches.values()]
        return PollStatistics(
            watched=sum(waiting > 0 for waiting in waits),
            waiting=sum(waits),
            looks=self._looks,
            looks_failed=self._failed_looks,
            overdue=sum(watch.is_ready for lane in self._lanes for watch in lane.ready),
            looking=self._lookers.looking,
            lookers=self._lookers.hired,
        )

    def join(self, watch: Watch, waiter: Waiter | None = None, listener: Listener | None = None) -> Watch:
        """Wait for a run. Gives the watch that is really polled, perhaps another one. Raises `PoolClosed`."""
        self._ensure_open()
        watches = watch.lane.watches
        known = watches.setdefault(watch.ref, watch)
        if known is not watch:
            known.is_woken |= watch.is_woken
            known.begun_at = watch.begun_at if known.begun_at is None else known.begun_at
            known.target = known.target or watch.target
            watch = known
        was_awaited = watch.is_awaited
        watch.enter(waiter or listener, is_first=not was_awaited)
        if waiter is not None:
            watch.add(waiter)
        if listener is not None:
            watch.listen(listener)
        if not was_awaited:
            watch.lane.enter(watch)
            if not watch.is_looking:
                try:
                    self._resume(watch)
                except Exception:  # a cadence of the user's
                    self.leave(watch, waiter, listener)
                    raise
        elif watch.is_woken and not watch.is_looking:
            self._plan(watch, self.clock.now())
        return watch

    def leave(self, watch: Watch, waiter: Waiter | None = None, listener: Listener | None = None) -> None:
        """Wait no more. The run is not looked at again once nobody waits for it."""
        if waiter is not None:
            watch.remove(waiter)
        if listener is not None:
            watch.unlisten(listener)
        if not watch.is_awaited:
            self._forget(watch)

    def wake(self, watch: Watch) -> None:
        """Look at the run now, if anybody waits for it, else as soon as somebody does."""
        watch = watch.lane.watches.get(watch.ref, watch)
        watch.is_woken = True
        if watch.is_awaited and not watch.is_looking and not self._is_closed:
            self._plan(watch, self.clock.now())

    def lose_push(self, watch: Watch) -> None:
        """Look at the times the cadence gives: nobody announces the run's end any more."""
        if watch.push is None:
            return
        watch.push = None
        if watch.is_queued and not self._is_closed:
            self._settle(watch, self._hasten)
        elif not watch.is_looking:
            watch.due_at = 0.0  # whoever comes back begins with a gap

    def seen(self, watch: Watch, run: Run) -> None:
        """Take in what a look saw, and tell everybody whom it concerns."""
        previous = watch.last
        if previous is not None and previous.state.is_terminal:
            return  # an answer that was overtaken on its way
        if previous is None or previous.state is not run.state or previous.status != run.status:
            watch.since = self.clock.now()
        watch.last, watch.is_seen = run, True
        watch.failures = watch.unreadable = 0
        if watch.lane.lists is not None and watch.is_awaited:
            watch.lane.enter(watch)
        if not run.is_same_as(previous):
            self._tell(RunChanged(vendor=watch.lane.vendor, run=run, previous=previous))
            if run.state is RunState.UNKNOWN and (watch.lane.vendor, run.status) not in self._unknown:
                self._unknown.add((watch.lane.vendor, run.status))
                self._tell(StatusUnknown(vendor=watch.lane.vendor, run=run))
        for listener in watch.listeners or ():
            listener.show(run)
        if run.state.is_terminal:
            watch.finish(run)
            self._forget(watch)

    def close(self) -> None:
        """End all waits with `PoolClosed`. May be called twice."""
        self._is_closed = True
        self._lookers.close()
        self._times.close()
        for lane in self._lanes:
            lane.ready.clear()
            watches, lane.watches = lane.watches, {}
            for watch in watches.values():
                error = PoolClosed(
                    "the pool was closed during the wait; the run goes on", vendor=lane.vendor, ref=watch.ref
                )
                error.run = watch.last
                watch.fail(error)

    # When to look

    def _resume(self, watch: Watch) -> None:
        """Plan the first look of somebody's wait: as planned before, at once if that is past, or after a gap."""
        now = self.clock.now()
        if watch.since is None:
            watch.since = now
        if watch.is_woken:
            self._plan(watch, now)
        else:
            # Who waits in short turns would never see a look if each turn began with a gap of its own.
            self._plan(watch, max(watch.due_at, now) if watch.due_at else now + self._gap(watch, 0.0))

    def _gap(self, watch: Watch, elapsed: float) -> float:
        if watch.push is not None:
            elapsed = _EVER  # the end will be announced: as rarely as the cadence goes
        state = "" if watch.last is None else watch.last.state._value_  # `.value` costs ten times as much
        key = f"{watch.lane.vendor}:{watch.target}:{state}"
        gap = self._cadence.gap(elapsed, key=key, chance=self._chance())
        if not gap > 0:  # NaN too, at which a look would never be due
            raise ValueError(f"{self._cadence!r} gave a gap of {gap!r} seconds; it has to be above 0")
        return gap

    def _hasten(self, watch: Watch) -> None:
        """Plan the next look anew, unless it is due sooner."""
        now = self.clock.now()
        self._plan(watch, min(watch.due_at, now + self._gap(watch, now - (watch.since or now))))

    def _plan_or_keep(self, watch: Watch, at: float) -> None:
        """Plan a look, or keep its time for whoever comes back."""
        if watch.is_awaited:
            self._plan(watch, at)
        else:
            watch.due_at = at
            self._forget(watch)

    def _forget(self, watch: Watch) -> None:
        """Stop watching. Whoever comes back resumes at the time that was planned."""
        self._times.drop(watch)
        watch.context = None
        watch.lane.exit(watch)
        if watch.lane.watches.get(watch.ref) is watch:
            del watch.lane.watches[watch.ref]

    # Looking

    def _gather(self, first: Watch) -> Round | None:
        """Gather those that one list tells of together with `first`; None where looking at it alone is better."""
        group = first.group
        if group is None or not group.is_worth_it:
            return None
        if group.alone and first.ref in group.alone:
            group.alone.discard(first.ref)
            return None
        together = Round(group, first)
        for watch in together.early:
            self._times.drop(watch)
        return together

    def _look(self, watch: Watch, together: Round | None) -> Coroutine[Any, Any, None]:
        lists = watch.lane.lists
        if together is None or lists is None:
            return self._look_alone(watch)
        return self._look_together(together, watch, lists)

    async def _look_alone(self, watch: Watch) -> None:
        if not watch.is_awaited:  # any more
            self._settle(watch, self._forget)
            return
        context = watch.context
        was_woken, watch.is_woken = watch.is_woken, False
        self._looks += 1
        age = None if watch.begun_at is None else self.clock.now() - watch.begun_at
        try:
            looking = watch.lane.source.look(watch.ref, age=age, last=watch.last)
            run = await (looking if context is None else Within(context, looking))
        except AgentsError as error:
            self._failed_looks += 1
            self._settle(watch, self._failed, error, was_woken)
        except Exception as exc:  # noqa: BLE001 - a fault of ours must reach who waits, not end the looker
            self._settle(watch, self._end, fault_of(watch, exc))
        else:
            self._settle(watch, self._took, run, was_woken)

    def _settle(self, watch: Watch, act: Callable[..., None], *arguments: object) -> None:
        """Act upon what became of a look, in the context of whoever waits. A fault ends this wait and no other."""
        watch.is_looking = False
        context = watch.context
        try:
            within(context, act, watch, *arguments)
        except Exception as exc:  # noqa: BLE001 - a cadence of the user's
            within(context, self._end, watch, fault_of(watch, exc))

    async def _look_together(self, together: Round, first: Watch, lists: ListSource) -> None:
        """Look at many runs with one request; whom it does not tell of goes back, but `first` is read by itself."""
        group, context = together.group, first.context
        is_told = True
        self._looks += 1
        try:
            looking = lists.look_many(group.name, together.lasts())
            found = await (looking if context is None else Within(context, looking))
            group.is_sparse = len(found) < len(together) * _WORTH
            group.alone.clear()
            is_told = first.ref in found
            for watch, run, was_woken in together.told(found):
                self._settle(watch, self._took, run, was_woken)
        except AgentsError as error:
            self._failed_looks += 1
            is_told = error.is_passing
            group.is_sparse |= not is_told  # the list is of no use: whoever is due is read by itself
            for watch, was_woken in together.failed(error) if is_told else ():
                self._settle(watch, self._failed, copy_of(error), was_woken)
        except Exception as exc:  # noqa: BLE001 - as above
            is_told = group.is_sparse = True
            self._settle(first, self._end, fault_of(first, exc))
        finally:
            self._put_back(first, *together.rest())
        if not is_told:
            await self._look_alone(first)

    def _put_back(self, first: Watch, due: list[Watch], early: list[Watch]) -> None:
        """Have those looked at that were due, but `first`, and the others at the time that was planned."""
        self._lookers.add(watch for watch in due if watch is not first)
        for watch in early:
            self._plan_or_keep(watch, self.clock.now() if watch.is_woken else watch.due_at)

    def _took(self, watch: Watch, run: Run, was_woken: bool) -> None:  # noqa: FBT001 - as a context calls it
        """Take in a look's outcome and plan the next one."""
        self.seen(watch, run)
        push = watch.push
        if run.state.is_terminal:
            if push is not None and not (was_woken or watch.is_woken):
                push.missed()
            return
        now = self.clock.now()
        if was_woken and push is not None:
            # Announced, and not over yet: there will be no second announcement to rely on.
            watch.push = None
            watch.since = now
        at = now if watch.is_woken else now + self._gap(watch, now - (watch.since or now))
        self._plan_or_keep(watch, at)

    def _failed(self, watch: Watch, error: AgentsError, was_woken: bool) -> None:  # noqa: FBT001 - as above
        """Plan the next look after one that failed, or end the wait where trying again is of no use."""
        if watch.push is not None and (was_woken or watch.is_woken):
            watch.push, watch.since = None, self.clock.now()  # as in _took: announced once, and not seen
        watch.failures += 1
        is_passing = error.is_passing
        if isinstance(error, DecodeError):
            watch.unreadable += 1
            is_passing = watch.unreadable < self._retry.attempts
        if not is_passing:
            self._end(watch, error)
            return
        now = self.clock.now()
        delay = self._gap(watch, now - (watch.since or now))
        # A 429 is no fault of the line: sooner than the cadence would only be more of the same.
        if not isinstance(error, Throttled) and watch.lane.source.may_retry():
            delay = min(delay, self._retry.backoff(watch.failures, chance=self._chance()))
        delay = max(delay, error.retry_after or 0.0, _SHORTEST)
        self._tell(
            LookFailed(
                vendor=watch.lane.vendor, ref=watch.ref, failures=watch.failures, delay=delay, error=error
            )
        )
        self._plan_or_keep(watch, now + delay)

    def _end(self, watch: Watch, error: AgentsError) -> None:
        error.ref = watch.ref
        error.run = watch.last
        watch.fail(error)
        self._forget(watch)
