"""A `PollCore` driven by hand: no event loop, no clock, no reader that reads."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime

from aioagents import AgentsError, RetryPolicy, Run, RunRef, RunState, Steady
from aioagents.observe import Event
from aioagents.polling import Cadence, Hinted
from aioagents.polling.core import PollCore
from aioagents.polling.effects import End, Missed, Show
from aioagents.polling.groups import ListPoll
from aioagents.polling.listeners import end_waits, is_awaited, remove_waiter
from aioagents.polling.runs import Phase, PolledRun, Push, Source
from aioagents.polling.slow_start import OUTAGE

GAP = 10.0
SEEN_AT = datetime(2026, 1, 5, 9, 0, tzinfo=UTC)


class Caller:
    """Waits for the end of a run, and notes what it gets."""

    def __init__(self) -> None:
        self.end: Run | AgentsError | None = None
        self.has_left = False

    def done(self) -> bool:
        """Return whether it waits no more."""
        return self.has_left or self.end is not None

    def set_result(self, result: Run, /) -> None:
        """Note the run's end."""
        self.end = result

    def set_exception(self, exception: AgentsError, /) -> None:
        """Note the error."""
        self.end = exception


class FakeReader:
    """A reader that is never asked to read."""

    def __init__(self, *, retries: int = 0) -> None:
        self.retries = retries

    async def poll(self, ref: RunRef, *, age: float | None, last: Run | None) -> Run:
        """Fail: the core makes no poll."""
        raise NotImplementedError

    read = poll

    def may_retry(self) -> bool:
        """Return whether a retry is left."""
        self.retries -= 1
        return self.retries >= 0


class FakeLister(FakeReader):
    """A reader whose vendor lists runs by the letter of a status like `to b`, or of their id; no list has `z`."""

    page_size = 1000

    def group_of(self, run: Run) -> str | None:
        """Return the letter."""
        if run.status.startswith("to "):
            return run.status[3:].replace("z", "") or None
        return None if run.id.startswith("z") else run.id[0]

    async def poll_many(self, group: str, runs: Sequence[Run]) -> Mapping[RunRef, Run]:
        """Fail: the core makes no poll."""
        raise NotImplementedError


class CoreRig:
    """A core, the moment, and all effects so far."""

    def __init__(
        self,
        *,
        cadence: Cadence | None = None,
        pollers: int = 64,
        retry: RetryPolicy | None = None,
        outage: int = OUTAGE,
    ) -> None:
        self.now = 1000.0
        self.core = PollCore(
            cadence=cadence or Steady(GAP),
            retry=retry or RetryPolicy(),
            pollers=pollers,
            is_awaited=is_awaited,
            chance=lambda: 0.5,
            outage=outage,
        )
        self.events: list[Event] = []
        self.shown: list[Run] = []
        #: The latest answer to a poll.
        self.answer: Run
        #: Every run that was made.
        self.runs: list[PolledRun] = []

    def source(self, vendor: str = "v", *, lists: bool = False, retries: int = 0) -> Source:
        """Return a source of runs."""
        return self.core.source(FakeLister(retries=retries) if lists else FakeReader(retries=retries), vendor)

    def run(self, source: Source, name: str, *, push: Push | None = None, is_known: bool = True) -> PolledRun:
        """Return a run that nobody waits for, last seen as running."""
        ref = RunRef(source.vendor, "", name)
        run = PolledRun(source, ref, last=seen(ref) if is_known else None, push=push)
        self.runs.append(run)
        return run

    def wait(self, run: PolledRun) -> tuple[PolledRun, Caller]:
        """Wait for a run. Return the run that is polled, and the caller who waits."""
        run = self.core.join(run, self.now)
        caller = Caller()
        if isinstance(run.waiters, dict):
            run.waiters[caller] = None
        elif run.waiters is None or run.waiters.done():
            run.waiters = caller
        else:
            run.waiters = {run.waiters: None, caller: None}
        return run, caller

    def wait_all(self, source: Source, *names: str) -> list[PolledRun]:
        """Wait for each of these runs. Return them."""
        return [self.wait(self.run(source, name))[0] for name in names]

    def leave(self, run: PolledRun, caller: Caller) -> None:
        """Make a caller leave."""
        caller.has_left = True
        remove_waiter(run, caller)
        self.core.leave(run)

    def advance(self, seconds: float) -> None:
        """Make time pass, and hand over what is due then."""
        self.now += seconds
        while self.core.wake_at <= self.now:
            self.core.take_due(self.now)

    def begin(self) -> list[PolledRun | ListPoll]:
        """Return all polls that may begin now."""
        polls = []
        while (poll := self.core.next_poll()) is not None:
            polls.append(poll)
        return polls

    def begin_one(self) -> PolledRun:
        """Return the poll of one run, the only one that may begin now."""
        (poll,) = self.begin()
        assert isinstance(poll, PolledRun)
        return poll

    def begin_list(self) -> ListPoll:
        """Return the poll of a list, the only one that may begin now."""
        (poll,) = self.begin()
        assert isinstance(poll, ListPoll)
        return poll

    def polled(
        self,
        run: PolledRun,
        state: RunState = RunState.RUNNING,
        status: str = "",
        *,
        hint: float | None = None,
        asked_at: float | None = None,
    ) -> None:
        """Report what a poll saw, and carry out what follows; it was asked for just now if nothing else is said."""
        answer = self.answer = seen(run.ref, state, status)
        moment = self.now if asked_at is None else asked_at
        self.core.polled(run, answer if hint is None else Hinted(answer, hint), self.now, moment)
        self.carry_out()

    def failed(self, run: PolledRun, error: Exception) -> None:
        """Report that a poll failed, and carry out what follows."""
        self.core.poll_failed(run, error, self.now)
        self.carry_out()

    def listed(
        self,
        poll: ListPoll,
        *names: str,
        state: RunState = RunState.RUNNING,
        status: str = "",
        hint: float | None = None,
    ) -> PolledRun | None:
        """Report which runs a list had. Return the run whose own poll was begun instead."""
        found = {run.ref: seen(run.ref, state, status) for run in poll.runs() if run.ref.id in names}
        answer = found if hint is None else Hinted[Mapping[RunRef, Run]](found, hint)
        first = self.core.list_polled(poll, answer, self.now, self.now)
        self.carry_out()
        return first

    def list_failed(self, poll: ListPoll, error: Exception) -> PolledRun | None:
        """Report that a list failed. Return the run whose own poll was begun instead."""
        first = self.core.list_failed(poll, error, self.now)
        self.carry_out()
        return first

    def check(self, *under_way: PolledRun | ListPoll) -> None:
        """Recount what the core counts, from the phases of all runs and the polls that are under way."""
        core, polling = self.core, set[PolledRun]()
        for poll in under_way:
            assert polling.isdisjoint(runs_of(poll)), "a run is polled twice at once"
            polling.update(runs_of(poll))
        assert core.rotation.polling == len(under_way)
        for source in core.sources:
            assert source.polling == sum(runs_of(poll)[0].source is source for poll in under_way)
            assert (source in core.rotation.sources) == bool(source.due)
            for group in source.groups.values():
                assert group.members
                assert group.alone <= group.members.keys()
        planned = 0
        for run in self.runs:
            is_known = run.source.runs.get(run.ref) is run
            planned += run.phase is Phase.PLANNED
            assert (run.phase is Phase.POLLING) == (run in polling)
            assert run.phase is not Phase.POLLING or not run.is_left_out
            if is_known:
                assert run.phase is not Phase.RESTING, "a wait without a poll to come"
                assert run.phase is not Phase.DUE or run in run.source.due
                assert run.phase is not Phase.PLANNED or core.wake_at <= run.due_at
                assert run.group is None or run.group.members[run.ref] is run
            else:
                assert not is_awaited(run)
                assert run.phase is not Phase.PLANNED, "a poll that nobody waits for"
                assert run.group is None
        assert len(core._queue) == planned  # noqa: SLF001 - what a queue counts and what it holds

    def carry_out(self) -> None:
        """Carry out the effects, as the driver does."""
        for _, effect in self.core.take_effects():
            if isinstance(effect, Event):
                self.events.append(effect)
            elif isinstance(effect, End):
                end_waits(effect.waiters, effect.end)
            elif isinstance(effect, Show):
                self.shown.append(effect.run)
            else:
                assert isinstance(effect, Missed)
                effect.push.missed()


def seen(ref: RunRef, state: RunState = RunState.RUNNING, status: str = "") -> Run:
    """Return a run as a poll sees it."""
    return Run(ref=ref, state=state, status=status or state.value, seen_at=SEEN_AT)


def runs_of(poll: PolledRun | ListPoll) -> list[PolledRun]:
    """Return the runs that a poll reads."""
    return [poll] if isinstance(poll, PolledRun) else poll.runs()


def ids(polls: Sequence[PolledRun | ListPoll]) -> list[str]:
    """Return the ids of single polls, and those of lists joined by a plus."""
    return ["+".join(run.ref.id for run in runs_of(poll)) for poll in polls]
