"""How polls come back after an outage: slowly at first, and an account's own affair."""

import math
from itertools import pairwise

import pytest

from aioagents import DecodeError, NotFound, NotSent, ReplyLost, RunState, ServerError, Steady, Throttled
from aioagents.errors import AgentsError
from aioagents.polling.runs import PolledRun, Source
from aioagents.polling.slow_start import DOUBLINGS, OUTAGE, SlowStart, rate_after
from tests.polling.core_rig import GAP, CoreRig, runs_of
from tests.polling.rig import begin, reply, rig


@pytest.mark.parametrize(
    ("seconds", "rate"),
    [(0.0, 16), (0.9, 16), (1.0, 32), (2.5, 64), (5.0, 512), (9.9, 8192), (10.0, math.inf), (1e9, math.inf)],
)
def test_rate_doubles_every_second(seconds: float, rate: float) -> None:
    """Polls begin at 16 a second after an outage, two times as many with each second, and freely after ten."""
    assert rate_after(seconds) == rate


def _slow(*, failures: int = OUTAGE, error: AgentsError | None = None) -> SlowStart:
    slow = SlowStart()
    for _ in range(failures):
        slow.failed(error or ServerError("away"), 100.0)
    return slow


@pytest.mark.parametrize(
    ("error", "is_outage"),
    [
        (ServerError("away"), True),
        (ReplyLost("cut"), True),
        (NotSent("refused"), True),
        (DecodeError("a page"), True),
        (Throttled("slow"), False),
        (NotFound("not yet"), False),
    ],
)
def test_what_counts_as_an_outage(error: AgentsError, is_outage: bool) -> None:
    """Twenty polls in a row that failed as those of a vendor that is down do; a refusal shows that it is up."""
    assert _slow(failures=OUTAGE - 1, error=error).allowed == math.inf
    assert _slow(error=error).allowed == (4 if is_outage else math.inf)


def test_success_in_between_is_no_outage() -> None:
    """A vendor that answers some polls is not down."""
    slow = _slow(failures=OUTAGE - 1)
    slow.succeeded(100.0)
    for _ in range(OUTAGE - 1):
        slow.failed(ServerError("away"), 100.0)
    assert (slow.allowed, slow.grant_at) == (math.inf, math.inf)


def test_grants() -> None:
    """Each quarter of a second a few polls are allowed; those that were not used are not added up."""
    slow = _slow()
    slow.allowed -= 3
    slow.grant(100.2)
    assert (slow.allowed, slow.grant_at) == (1, 100.25)
    slow.grant(100.25)
    assert (slow.allowed, slow.grant_at) == (4, 100.5)
    slow.succeeded(100.3)
    slow.grant(160.0 - 58.0)
    assert slow.allowed == 8
    slow.grant(100.3 + DOUBLINGS)
    assert (slow.allowed, slow.grant_at) == (math.inf, math.inf)


def test_outage_that_comes_back_begins_anew() -> None:
    """A vendor that goes down again within the slow start gets the first rate again, until it is up."""
    slow = _slow()
    slow.succeeded(100.0)
    slow.grant(105.0)
    assert slow.allowed == 128
    for _ in range(OUTAGE):
        slow.failed(ReplyLost("cut"), 105.1)
    slow.grant(110.0)
    assert slow.allowed == 4
    slow.succeeded(110.0)
    slow.grant(111.0)
    assert slow.allowed == 8


def _down(runs: int) -> tuple[CoreRig, Source, list[PolledRun]]:
    """Return a rig with that many overdue runs of a vendor that has just come back, and the one that was read."""
    rig = CoreRig(cadence=Steady(60.0), pollers=10_000)
    source = rig.source()
    polled = rig.wait_all(source, *(f"r{number}" for number in range(runs)))
    rig.advance(66.0)
    for poll in rig.begin():
        for run in runs_of(poll):
            rig.failed(run, ServerError("away", retry_after=60.0))
    rig.advance(60.0)
    return rig, source, polled


def test_overdue_polls_come_back_ever_faster() -> None:
    """Of 5,000 runs that are due when their vendor is back, few are polled at first, and all within ten seconds."""
    rig, source, runs = _down(5000)
    (first, *others) = rig.begin()
    assert len(others) == 3
    for poll in (first, *others):
        rig.polled(runs_of(poll)[0], RunState.COMPLETED)
    assert len(source.due) == 4996
    begun = [0] * 10
    for quarter in range(40):
        rig.advance(0.25)
        polls = rig.begin()
        begun[quarter // 4] += len(polls)
        for poll in polls:
            rig.polled(runs_of(poll)[0], RunState.COMPLETED)
    assert begun[0] <= 20
    assert all(later <= 2.2 * sooner for sooner, later in pairwise(begun))
    assert sum(begun) == 4996
    assert all(run.last is not None and run.last.state is RunState.COMPLETED for run in runs)


def test_other_accounts_do_not_wait() -> None:
    """The slow start of one account delays no poll of another."""
    rig, source, _ = _down(500)
    assert len(rig.begin()) == 4
    other = rig.source("w")
    rig.wait_all(other, *(f"o{number}" for number in range(300)))
    rig.advance(66.0)
    begun = [runs_of(poll)[0].source for poll in rig.begin()]
    assert begun.count(other) == 300
    assert begun.count(source) == 4


def test_polls_left_out_by_a_list_come_too() -> None:
    """What a list left out in an outage is polled as soon as the slow start allows it, with no timer of others."""
    rig = CoreRig(outage=1)
    source = rig.source(lists=True)
    rig.wait_all(source, *(f"a{number}" for number in range(12)), "z0")
    rig.advance(GAP)
    single, listed = sorted(rig.begin(), key=lambda poll: len(runs_of(poll)))
    assert isinstance(single, PolledRun)
    assert not isinstance(listed, PolledRun)
    rig.failed(single, ServerError("away", retry_after=300.0))
    first = rig.listed(listed, "a1", "a2", "a3", state=RunState.COMPLETED)
    assert first is not None
    left = 8
    for _ in range(4):
        left -= len(rig.begin())
        rig.advance(0.25)
    assert left == 0


async def test_starts_are_not_slowed_down() -> None:
    """Starts go on at their own pace while polls of the account come back slowly; the runs end in the end."""
    async with rig(("in_progress", 25.0), "completed") as r:
        runs = [await r.start() for _ in range(100)]
        waits = [await begin(run.wait()) for run in runs]
        r.faults += [reply(503, retry_after="20")] * 100
        await r.clock.advance(10)
        assert OUTAGE <= len(r.polls) <= OUTAGE + 36  # half of the poll workers had begun one each
        before = r.now
        await r.start()
        assert r.now == before
        await r.clock.advance(120)
        assert all(wait.done() for wait in waits)
