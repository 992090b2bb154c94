"""All waits of a pool: one heap, one timer, a fixed crew of lookers."""

import random
from collections.abc import Callable, Coroutine
from typing import Any, Final

from attrs import frozen

from ..clock import Clock
from ..errors import AgentsError, DecodeError, PoolClosed, Throttled
from ..model import Run, RunState
from ..observe import Dispatcher, PollFailed, RunChanged, StatusUnknown
from ..retry import RetryPolicy
from .cadence import Cadence
from .listeners import (
    Within,
    add_waiter,
    context_of,
    copy_of,
    count_waiting,
    fail,
    finish,
    is_awaited,
    remove_waiter,
    run_within,
)
from .pollers import Pollers
from .reader import ListReader, Reader
from .round import Round
from .runs import PolledRun, Source, Waiter
from .timetable import Timetable

_EVER: Final = 1e12  # seconds
_SHORTEST: Final = 0.05  # seconds between a failed poll and the next
_WORTH: Final = 0.25  # a list is asked again only if it told of so large a share of its runs


@frozen(kw_only=True)
class PollStatistics:
    """What a scheduler does: runs watched and who waits for them, polls made, failed, and due but not begun.

    A look at many runs at once counts as one.
    """

    watched: int
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
    """Looks at each run that somebody waits for, at the times the cadence gives.

    At most `lookers` polls are under way at once. Where a vendor lists runs, a poll of one of a group tells of all
    of them, and plans all their next polls.
    """

    def __init__(
        self,
        *,
        clock: Clock,
        cadence: Cadence,
        retry: RetryPolicy,
        emit: Dispatcher,
        spawn: Callable[[Coroutine[Any, Any, None]], object],
        ensure_open: Callable[[], None],
        pollers: int,
        chance: Callable[[], float] = random.random,
    ) -> None:
        self.clock = clock
        self._cadence = cadence
        self._retry = retry
        self._emit = emit
        self._ensure_open = ensure_open
        self._chance = chance
        self._sources: list[Source] = []
        self._pollers = Pollers(
            most=pollers, poll=self._poll, gather=self._gather, drop=self._forget, spawn=spawn
        )
        self._times = Timetable(clock, self._pollers.add)
        self._plan = self._times.plan
        self._polls = 0
        self._failed_polls = 0
        self._is_closed = False
        self._unknown: set[tuple[str, str]] = set()

    def source(self, reader: Reader, vendor: str) -> ScheduledSource:
        """Make the source of one account."""
        source = Source(reader, vendor)
        self._sources.append(source)
        return ScheduledSource(self, source)

    def statistics(self) -> PollStatistics:
        """Return the present numbers; costs a walk over all watched runs."""
        waits = [count_waiting(polled) for source in self._sources for polled in source.runs.values()]
        return PollStatistics(
            watched=sum(waiting > 0 for waiting in waits),
            waiting=sum(waits),
            polls=self._polls,
            polls_failed=self._failed_polls,
            overdue=sum(polled.is_ready for source in self._sources for polled in source.ready),
            polling=self._pollers.polling,
            pollers=self._pollers.hired,
        )

    def join(self, polled: PolledRun, waiter: Waiter) -> PolledRun:
        """Wait for a run. Returns the watch that is really polled, perhaps another one. Raises `PoolClosed`."""
        self._ensure_open()
        runs = polled.source.runs
        known = runs.setdefault(polled.ref, polled)
        if known is not polled:
            known.is_woken |= polled.is_woken
            known.begun_at = polled.begun_at if known.begun_at is None else known.begun_at
            known.target = known.target or polled.target
            polled = known
        was_awaited = is_awaited(polled)
        add_waiter(polled, waiter, is_first=not was_awaited)
        if not was_awaited:
            polled.source.enter(polled)
            if not polled.is_polling:
                try:
                    self._resume(polled)
                except Exception:  # a cadence of the user's
                    self.leave(polled, waiter)
                    raise
        elif polled.is_woken and not polled.is_polling:
            self._plan(polled, self.clock.now())
        return polled

    def leave(self, polled: PolledRun, waiter: Waiter) -> None:
        """Wait no more. The run is not polled again once nobody waits for it."""
        remove_waiter(polled, waiter)
        if not is_awaited(polled):
            self._forget(polled)

    def wake(self, polled: PolledRun) -> None:
        """Look at the run now, if anybody waits for it, else as soon as somebody does."""
        polled = polled.source.runs.get(polled.ref, polled)
        polled.is_woken = True
        if is_awaited(polled) and not polled.is_polling and not self._is_closed:
            self._plan(polled, self.clock.now())

    def lose_push(self, polled: PolledRun) -> None:
        """Look at the times the cadence gives: nobody announces the run's end any more."""
        if polled.push is None:
            return
        polled.push = None
        if polled.is_queued and not self._is_closed:
            self._settle(polled, self._hasten)
        elif not polled.is_polling:
            polled.due_at = 0.0  # whoever comes back begins with a gap

    def seen(self, polled: PolledRun, run: Run) -> None:
        """Take in what a poll saw, and tell everybody whom it concerns."""
        previous = polled.last
        if previous is not None and previous.state.is_terminal:
            return  # an answer that was overtaken on its way
        if previous is None or previous.state is not run.state or previous.status != run.status:
            polled.since = self.clock.now()
        polled.last, polled.is_seen = run, True
        polled.failures = polled.unreadable = 0
        if polled.source.lists is not None and is_awaited(polled):
            polled.source.enter(polled)
        if not run.is_same_as(previous):
            self._emit(RunChanged(vendor=polled.source.vendor, run=run, previous=previous))
            if run.state is RunState.UNKNOWN and (polled.source.vendor, run.status) not in self._unknown:
                self._unknown.add((polled.source.vendor, run.status))
                self._emit(StatusUnknown(vendor=polled.source.vendor, run=run))
        for listener in polled.listeners or ():
            listener.show(run)
        if run.state.is_terminal:
            finish(polled, run)
            self._forget(polled)

    def close(self) -> None:
        """End all waits with `PoolClosed`. May be called twice."""
        self._is_closed = True
        self._pollers.close()
        self._times.close()
        for source in self._sources:
            source.ready.clear()
            runs, source.runs = source.runs, {}
            for polled in runs.values():
                error = PoolClosed(
                    "the pool was closed during the wait; the run goes on",
                    vendor=source.vendor,
                    ref=polled.ref,
                )
                error.run = polled.last
                fail(polled, error)

    # When to look

    def _resume(self, polled: PolledRun) -> None:
        """Plan the first poll of somebody's wait: as planned before, at once if that is past, or after a gap."""
        now = self.clock.now()
        if polled.since is None:
            polled.since = now
        if polled.is_woken:
            self._plan(polled, now)
        else:
            # Who waits in short turns would never see a poll if each turn began with a gap of its own.
            self._plan(polled, max(polled.due_at, now) if polled.due_at else now + self._gap(polled, 0.0))

    def _gap(self, polled: PolledRun, elapsed: float) -> float:
        if polled.push is not None:
            elapsed = _EVER  # the end will be announced: as rarely as the cadence goes
        state = "" if polled.last is None else polled.last.state._value_  # `.value` costs ten times as much
        key = f"{polled.source.vendor}:{polled.target}:{state}"
        gap = self._cadence.gap(elapsed, key=key, chance=self._chance())
        if not gap > 0:  # NaN too, at which a poll would never be due
            raise ValueError(f"{self._cadence!r} gave a gap of {gap!r} seconds; it has to be above 0")
        return gap

    def _hasten(self, polled: PolledRun) -> None:
        """Plan the next poll anew, unless it is due sooner."""
        now = self.clock.now()
        self._plan(polled, min(polled.due_at, now + self._gap(polled, now - (polled.since or now))))

    def _plan_or_keep(self, polled: PolledRun, at: float) -> None:
        """Plan a poll, or keep its time for whoever comes back."""
        if is_awaited(polled):
            self._plan(polled, at)
        else:
            polled.due_at = at
            self._forget(polled)

    def _forget(self, polled: PolledRun) -> None:
        """Stop watching. Whoever comes back resumes at the time that was planned."""
        self._times.drop(polled)
        polled.context = None
        polled.source.exit(polled)
        if polled.source.runs.get(polled.ref) is polled:
            del polled.source.runs[polled.ref]

    # Looking

    def _gather(self, first: PolledRun) -> Round | None:
        """Gather those that one list tells of together with `first`; None where looking at it alone is better."""
        group = first.group
        if group is None or not group.is_worth_it:
            return None
        if group.alone and first.ref in group.alone:
            group.alone.discard(first.ref)
            return None
        together = Round(group, first)
        for polled in together.early:
            self._times.drop(polled)
        return together

    def _poll(self, polled: PolledRun, together: Round | None) -> Coroutine[Any, Any, None]:
        lists = polled.source.lists
        if together is None or lists is None:
            return self._poll_alone(polled)
        return self._poll_together(together, polled, lists)

    async def _poll_alone(self, polled: PolledRun) -> None:
        if not is_awaited(polled):  # any more
            self._settle(polled, self._forget)
            return
        context = context_of(polled.context)
        was_woken, polled.is_woken = polled.is_woken, False
        self._polls += 1
        age = None if polled.begun_at is None else self.clock.now() - polled.begun_at
        try:
            polling = polled.source.reader.poll(polled.ref, age=age, last=polled.last)
            run = await (polling if context is None else Within(context, polling))
        except AgentsError as error:
            self._failed_polls += 1
            self._settle(polled, self._failed, error, was_woken)
        except Exception as exc:  # noqa: BLE001 - a fault of ours must reach who waits, not end the looker
            self._settle(polled, self._end, fault_of(polled, exc))
        else:
            self._settle(polled, self._took, run, was_woken)

    def _settle(self, polled: PolledRun, act: Callable[..., None], *arguments: object) -> None:
        """Act upon what became of a poll, in the context of whoever waits. A fault ends this wait and no other."""
        polled.is_polling = False
        context = polled.context
        try:
            run_within(context, act, polled, *arguments)
        except Exception as exc:  # noqa: BLE001 - a cadence of the user's
            run_within(context, self._end, polled, fault_of(polled, exc))

    async def _poll_together(self, together: Round, first: PolledRun, lists: ListReader) -> None:
        """Look at many runs with one request; whom it does not tell of goes back, but `first` is read by itself."""
        group, context = together.group, context_of(first.context)
        is_found = True
        self._polls += 1
        try:
            polling = lists.poll_many(group.name, together.lasts())
            found = await (polling if context is None else Within(context, polling))
            group.is_sparse = len(found) < len(together) * _WORTH
            group.alone.clear()
            is_found = first.ref in found
            for polled, run, was_woken in together.told(found):
                self._settle(polled, self._took, run, was_woken)
        except AgentsError as error:
            self._failed_polls += 1
            is_found = error.is_passing
            group.is_sparse |= not is_found  # the list is of no use: whoever is due is read by itself
            for polled, was_woken in together.failed(error) if is_found else ():
                self._settle(polled, self._failed, copy_of(error), was_woken)
        except Exception as exc:  # noqa: BLE001 - as above
            is_found = group.is_sparse = True
            self._settle(first, self._end, fault_of(first, exc))
        finally:
            self._put_back(first, *together.rest())
        if not is_found:
            await self._poll_alone(first)

    def _put_back(self, first: PolledRun, due: list[PolledRun], early: list[PolledRun]) -> None:
        """Have those polled that were due, but `first`, and the others at the time that was planned."""
        self._pollers.add(polled for polled in due if polled is not first)
        for polled in early:
            self._plan_or_keep(polled, self.clock.now() if polled.is_woken else polled.due_at)

    def _took(self, polled: PolledRun, run: Run, was_woken: bool) -> None:  # noqa: FBT001 - as a context calls it
        """Take in a poll's outcome and plan the next one."""
        self.seen(polled, run)
        push = polled.push
        if run.state.is_terminal:
            if push is not None and not (was_woken or polled.is_woken):
                push.missed()
            return
        now = self.clock.now()
        if was_woken and push is not None:
            # Announced, and not over yet: there will be no second announcement to rely on.
            polled.push = None
            polled.since = now
        at = now if polled.is_woken else now + self._gap(polled, now - (polled.since or now))
        self._plan_or_keep(polled, at)

    def _failed(self, polled: PolledRun, error: AgentsError, was_woken: bool) -> None:  # noqa: FBT001 - as above
        """Plan the next poll after one that failed, or end the wait where trying again is of no use."""
        if polled.push is not None and (was_woken or polled.is_woken):
            polled.push, polled.since = None, self.clock.now()  # as in _took: announced once, and not seen
        polled.failures += 1
        is_passing = error.is_passing
        if isinstance(error, DecodeError):
            polled.unreadable += 1
            is_passing = polled.unreadable < self._retry.attempts
        if not is_passing:
            self._end(polled, error)
            return
        now = self.clock.now()
        delay = self._gap(polled, now - (polled.since or now))
        # A 429 is no fault of the line: sooner than the cadence would only be more of the same.
        if not isinstance(error, Throttled) and polled.source.reader.may_retry():
            delay = min(delay, self._retry.backoff(polled.failures, chance=self._chance()))
        delay = max(delay, error.retry_after or 0.0, _SHORTEST)
        vendor, failures = polled.source.vendor, polled.failures
        self._emit(PollFailed(vendor=vendor, ref=polled.ref, failures=failures, delay=delay, error=error))
        self._plan_or_keep(polled, now + delay)

    def _end(self, polled: PolledRun, error: AgentsError) -> None:
        error.ref = polled.ref
        error.run = polled.last
        fail(polled, error)
        self._forget(polled)


def fault_of(polled: PolledRun, exc: Exception) -> AgentsError:
    """Return the error that tells who waits of a fault that is not the vendor's."""
    fault = AgentsError(f"looking at {polled.ref} failed: {type(exc).__name__}")
    fault.__cause__ = exc
    return fault
