"""A world around the core of the polling engine alone: what callers, vendors, webhooks and time do is drawn.

One seed is one world: its bounds, its sources, who waits for what, and how each poll ends. After every event all that
the core counts is recounted, and at the end every wait must have come to its own.
"""

import math
import random
from typing import Final

from aioagents import (
    DecodeError,
    Growing,
    NotFound,
    NotSent,
    PoolClosed,
    ReplyLost,
    RetryPolicy,
    Run,
    RunRef,
    RunState,
    ServerError,
    Steady,
    Throttled,
)
from aioagents.polling import Cadence, Hinted
from aioagents.polling.groups import ListPoll
from aioagents.polling.listeners import is_awaited
from aioagents.polling.runs import Phase, PolledRun, Source
from tests.polling.core_rig import GAP, Caller, CoreRig, runs_of, seen

_STEPS: Final = 150
_PATIENCE: Final = RetryPolicy().patience
_SHORTEST: Final = 0.05  # seconds between a failed poll and the next
_FAULTS: Final = (ServerError, ReplyLost, NotSent, Throttled, NotFound, DecodeError, KeyError)


class _Moody:
    """A cadence that now and then fails, or returns what is no gap."""

    def __init__(self, chance: random.Random) -> None:
        self._chance = chance

    def gap(self, elapsed: float, *, key: str = "", chance: float = 0.5) -> float:
        """Return a gap, mostly."""
        mood = self._chance.random()
        if mood < 0.02:
            raise LookupError("a cadence of the user's")
        return math.nan if mood < 0.03 else GAP


def _cadence(chance: random.Random) -> Cadence:
    cadences: list[Cadence] = [Steady(GAP), Growing(first=1.0, cap=GAP), _Moody(chance)]
    return chance.choice(cadences)


class _Receiver:
    """A webhook receiver that counts the ends it missed."""

    misses = 0

    def __init__(self, chance: random.Random) -> None:
        self._chance = chance

    def will_wake_again(self, _: Run) -> bool:
        """Return either."""
        return self._chance.random() < 0.5

    def missed(self) -> None:
        """Count one."""
        self.misses += 1


class PollingWorld:
    """Callers that come and go, runs that end or fail, and a core that has to keep up."""

    def __init__(self, seed: int) -> None:
        self.chance = random.Random(seed)
        self.pollers = self.chance.choice([1, 2, 3, 8])
        self.outage = self.chance.choice([2, 5, 20])
        self.rig = CoreRig(pollers=self.pollers, cadence=_cadence(self.chance), outage=self.outage)
        self.sources = [self.rig.source(f"v{n}", lists=n != 1, retries=3) for n in range(3)]
        self.receiver = _Receiver(self.chance)
        self.callers: list[tuple[PolledRun, Caller]] = []
        self.under_way: list[PolledRun | ListPoll] = []
        #: Handles' runs, and before which moment each is not polled by itself.
        self.known: dict[RunRef, PolledRun] = {}
        self.not_before: dict[PolledRun, float] = {}
        #: Runs that were woken and not polled since.
        self.woken: set[PolledRun] = set()
        #: Runs that a list left out and that were not polled since.
        self.left_out: set[PolledRun] = set()
        #: When what is known of a run was asked for.
        self.asked_at: dict[PolledRun, float] = {}
        #: Of each source: polls that failed in a row, when its outage ended, and polls begun since the last grant.
        self.failed = dict.fromkeys(self.sources, 0)
        self.ended_at: dict[Source, float] = {}
        self.begun: dict[Source, tuple[float, int]] = {}
        self.is_down = False
        #: What is drawn, some of it more often; which faults there are at all.
        acts = [self.leave, self.wake, self.lose_push, self.report, self.take_back, self.go_down]
        self.acts = [self.wait, self.wait, self.pass_time, self.answer, self.answer]
        self.acts += self.chance.sample(acts, self.chance.randrange(len(acts) + 1))
        self.faults = self.chance.sample(_FAULTS, self.chance.randrange(len(_FAULTS) + 1))

    def run(self) -> None:
        """Make things happen, then close the core or end every run. Raises AssertionError for a broken promise."""
        for _ in range(_STEPS):
            self.chance.choice(self.acts)()
            self.begin()
        if self.chance.random() < 0.3:
            self.rig.core.close()
            self.rig.carry_out()
            assert all(isinstance(caller.end, PoolClosed) or caller.done() for _, caller in self.callers)
        self.finish()
        assert all(caller.done() for _, caller in self.callers), "a wait has no end"
        for source in self.sources:
            assert (source.runs, source.groups, source.polling) == ({}, {}, 0)
        assert not self.rig.core.rotation.sources

    def begin(self) -> None:
        """Begin what may begin, and recount."""
        polls = self.rig.begin()
        for poll in polls:
            self._count_begun(runs_of(poll)[0].source)
            if isinstance(poll, PolledRun):
                early = self.rig.now < self.not_before.get(poll, -math.inf)
                assert not early or poll in self.woken, "polled before its time"
                self.left_out.discard(poll)
            assert self.left_out.isdisjoint(runs_of(poll)), "listed again before it was polled by itself"
            self.woken.difference_update(runs_of(poll))
        self.under_way += polls
        self.rig.check(*self.under_way)
        for run in self.woken:
            if run.phase is Phase.PLANNED and is_awaited(run):
                assert run.due_at <= self.rig.now, "woken and not polled"
        assert len(self.under_way) <= self.pollers
        assert all(source.polling <= (self.pollers + 1) // 2 for source in self.sources)

    def wait(self) -> None:
        """Add one who waits, by a handle of its own or by one that is known."""
        source = self.chance.choice(self.sources)
        push = self.receiver if self.chance.random() < 0.2 else None
        name = f"{self.chance.choice('abz')}{self.chance.randrange(4)}"
        run = self.rig.run(source, name, push=push, is_known=self.chance.random() < 0.8)
        if self.chance.random() < 0.5:
            run = self.known.get(run.ref, run)
        if run.last is not None and run.last.state.is_terminal:
            return
        try:
            polled, caller = self.rig.wait(run)
        except (LookupError, ValueError):
            return
        self.callers.append((polled, caller))
        self.known[run.ref] = polled
        if run in self.woken:  # which it hands over
            self.woken.add(polled)

    def leave(self) -> None:
        """Make a caller leave: by saying so, or as a future that is cancelled."""
        if self.callers:
            run, caller = self.callers.pop(self.chance.randrange(len(self.callers)))
            if self.chance.random() < 0.5:
                caller.has_left = True
            else:
                self.rig.leave(run, caller)

    def _some_run(self) -> PolledRun | None:
        return self.chance.choice(list(self.known.values())) if self.known else None

    def wake(self) -> None:
        """Wake a run, as a webhook does that has news of it."""
        if (run := self._some_run()) is not None:
            self.rig.core.wake(run, self.rig.now)
            self.woken.add(run.source.runs.get(run.ref, run))

    def lose_push(self) -> None:
        """Take a run's push away, as when its handle is collected."""
        if (run := self._some_run()) is not None:
            self.rig.core.lose_push(run, self.rig.now)
            self.rig.carry_out()
            self.not_before.pop(run, None)

    def _count_begun(self, source: Source) -> None:
        """Count a poll that was begun; few in an outage, and more from second to second after it."""
        grant_at = source.slow_start.grant_at
        if grant_at == math.inf:
            return
        last, count = self.begun.get(source, (grant_at, 0))
        count = count + 1 if last == grant_at else 1
        self.begun[source] = (grant_at, count)
        elapsed = max(0.0, self.rig.now - self.ended_at.get(source, math.inf))
        assert count <= 4 * 2 ** int(elapsed), "too many polls after an outage"

    def go_down(self) -> None:
        """Let the vendors be away, or come back."""
        self.is_down = not self.is_down

    def report(self) -> None:
        """Report a state of a run that no poll saw: a caller's own request, asked for just now or a while ago."""
        if (run := self._some_run()) is not None:
            run = run.source.runs.get(run.ref, run)
            asked_at, before = self.rig.now - self.chance.choice([0.0, 0.0, 0.5, 2 * GAP]), run.last
            seen, hint = self._seen(run), self.chance.choice([None, None, 3.0, 1e9])
            self.rig.core.reported(run, seen if hint is None else Hinted(seen, hint), self.rig.now, asked_at)
            self.rig.carry_out()
            self._expect(run, before, seen, asked_at)
            if hint is not None and run.phase is Phase.PLANNED and run not in self.woken:
                self.not_before[run] = max(
                    self.not_before.get(run, -math.inf), self.rig.now + min(hint, _PATIENCE)
                )

    def _expect(self, run: PolledRun, before: Run | None, seen: Run, asked_at: float) -> None:
        """Check that what is known is the newest, and that an end stays."""
        if before is not None and before.state.is_terminal:
            assert run.last is before, "an end that did not stay"
        elif asked_at < self.asked_at.get(run, -math.inf) and not seen.state.is_terminal:
            assert run.last is before, "an older state in place of a newer one"
        else:
            assert run.last is seen
            self.asked_at[run] = asked_at

    def take_back(self) -> None:
        """Make everybody leave after a poll was begun and before it is made."""
        polls = [poll for poll in self.under_way if isinstance(poll, PolledRun)]
        if polls:
            poll = self.chance.choice(polls)
            for run, caller in self.callers:
                caller.has_left |= run is poll
            self.under_way.remove(poll)
            self.woken |= {poll} if poll.was_woken else set()
            self.rig.core.not_made(poll, self.rig.now)

    def pass_time(self) -> None:
        """Make time pass."""
        self.rig.advance(self.chance.choice([0.0, 0.5, GAP]))

    def answer(self) -> None:
        """End a poll, well or not."""
        if self.under_way:
            self.end(self.under_way.pop(self.chance.randrange(len(self.under_way))))

    def _seen(self, run: PolledRun) -> Run:
        state = self.chance.choice([RunState.RUNNING, RunState.RUNNING, RunState.UNKNOWN, RunState.COMPLETED])
        return seen(run.ref, state)

    def _fault(self) -> Exception | None:
        if self.is_down:
            return ServerError("down")
        return (
            self.chance.choice(self.faults)("drawn") if self.faults and self.chance.random() < 0.4 else None
        )

    def end(self, poll: PolledRun | ListPoll, *, is_good: bool = False) -> None:
        """Report the end of a poll; with `is_good` its runs are over."""
        fault = None if is_good else self._fault()
        self._note(runs_of(poll)[0].source, fault)
        now, runs = self.rig.now, runs_of(poll)
        was_woken = {run for run in runs if run.was_woken}
        state = RunState.COMPLETED if is_good else self.chance.choice([RunState.RUNNING, RunState.COMPLETED])
        settled, hint = set(runs), self.chance.choice([None, None, None, 3.0, 1e9])
        if isinstance(poll, PolledRun):
            if fault is None:
                asked_at, before = now - self.chance.choice([0.0, 0.0, 0.5]), poll.last
                self.rig.polled(poll, state, hint=hint, asked_at=asked_at)
                self._expect(poll, before, self.rig.answer, asked_at)
            else:
                self.rig.failed(poll, fault)
        else:
            names = [run.ref.id for run in runs if is_good or self.chance.random() < 0.6]
            settled = {run for run in runs if run.ref.id in names}
            if fault is None:
                first = self.rig.listed(poll, *names, state=state, hint=hint)
                self.asked_at.update(dict.fromkeys(settled, now))
                self.left_out |= set(runs) - settled
            else:
                is_passing = getattr(fault, "is_passing", False)
                settled = set(poll.due.values()) if is_passing else set()
                first = self.rig.list_failed(poll, fault)
            self.woken |= was_woken - settled  # their wakes are not answered yet
            if first is not None:
                self.woken.discard(first)
                self.left_out.discard(first)
                self.under_way.append(first)
        for run in settled:
            self.not_before.pop(run, None)
            if fault is not None:
                self.woken.discard(run)  # a poll that fails is repeated in its own time
            if isinstance(poll, PolledRun) and run.phase is Phase.PLANNED:
                self.not_before[run] = now + (1.0 if fault is None else _SHORTEST)
                if fault is None and hint is not None and not poll.is_woken:
                    self.not_before[run] = now + max(1.0, min(hint, _PATIENCE))

    def _note(self, source: Source, fault: Exception | None) -> None:
        """Note what the end of a poll says of its vendor."""
        if fault is None:
            if self.failed[source] >= self.outage:
                self.ended_at[source] = self.rig.now
            self.failed[source] = 0
        elif isinstance(fault, ServerError | ReplyLost | NotSent | DecodeError):
            self.failed[source] += 1
            if self.failed[source] >= self.outage:
                self.ended_at.pop(source, None)

    def finish(self) -> None:
        """End all polls well from now on, until nobody waits."""
        for _ in range(60):
            while self.under_way:
                self.end(self.under_way.pop(), is_good=True)
                self.begin()
            self.rig.advance(GAP)
            self.begin()
