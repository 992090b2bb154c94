"""What polls teach a cadence that learns."""

from datetime import timedelta

import attrs
import pytest
from attrs import define, field

from aioagents import Learned, RunState, SessionPool, Steady
from aioagents.polling import Cadence
from aioagents.polling.runs import PolledRun
from tests.polling.core_rig import GAP, SEEN_AT, CoreRig, seen
from tests.polling.rig import begin, rig, until_end


@define
class _Pupil:
    """A steady cadence that notes what it is taught: key, since, duration, and whether the state ended."""

    lessons: list[tuple[str, float, float, bool]] = field(factory=list)
    fallback: Cadence = field(factory=lambda: Steady(4 * GAP))

    def gap(self, elapsed: float, *, key: str = "", chance: float = 0.5) -> float:
        """Return the same gap always."""
        return GAP

    def observe(self, duration: float, *, key: str = "", ended: bool = True, since: float = 0.0) -> None:
        """Note a lesson."""
        self.lessons.append((key, since, duration, ended))


class _Push:
    """A webhook that wakes a run when it ends."""

    def will_wake_again(self, _: object) -> bool:
        return False

    def missed(self) -> None:
        pass


def _started(core: CoreRig, *, push: _Push | None = None) -> PolledRun:
    run = core.run(core.source(), "a", push=push)
    run.begun_at, run.target = core.now, "t"
    return core.wait(run)[0]


def _poll(core: CoreRig, state: RunState, *, after: float = GAP) -> None:
    core.advance(after)
    core.polled(core.begin_one(), state)


def test_polls_teach_how_long_a_state_lasts() -> None:
    """Each poll that sees no change says how long it has lasted, and the end lies in the middle of two polls."""
    pupil = _Pupil()
    core = CoreRig(cadence=pupil)
    _started(core)
    for state in (RunState.RUNNING, RunState.RUNNING, RunState.PAUSED, RunState.PAUSED, RunState.COMPLETED):
        _poll(core, state)
    assert pupil.lessons == [
        ("v:t:running", 0.0, 10.0, False),
        ("v:t:running", 10.0, 20.0, False),
        ("v:t:running", 20.0, 25.0, True),
        ("v:t:paused", 0.0, 10.0, False),
        ("v:t:paused", 10.0, 15.0, True),
    ]


@pytest.mark.parametrize(
    ("ago", "duration"), [(3.0, 17.0), (0.0, 20.0), (9.9, 10.1), (-1.0, 15.0), (500.0, 15.0)]
)
def test_the_vendors_own_time_is_used_where_it_fits(ago: float, duration: float) -> None:
    """An end that the vendor dates between the last two polls is believed; any other clock is wrong."""
    pupil = _Pupil()
    core = CoreRig(cadence=pupil)
    run = _started(core)
    _poll(core, RunState.RUNNING)
    core.advance(GAP)
    end = attrs.evolve(seen(run.ref, RunState.FAILED), ended_at=SEEN_AT - timedelta(seconds=ago))
    core.core.polled(core.begin_one(), end, core.now, core.now)
    (_, since, learned, ended) = pupil.lessons[-1]
    assert learned == pytest.approx(duration)
    assert (since, ended) == (10.0, True)


def test_what_others_started_teaches_nothing() -> None:
    """When the state of a run began that others started is not known."""
    pupil = _Pupil()
    core = CoreRig(cadence=pupil)
    core.wait(core.run(core.source(), "a"))
    _poll(core, RunState.RUNNING)
    _poll(core, RunState.COMPLETED)
    assert pupil.lessons == []


def test_a_wake_dates_the_end() -> None:
    """A run that a webhook woke ended just now, however long ago the last poll was."""
    pupil = _Pupil()
    core = CoreRig(cadence=pupil)
    run = _started(core, push=_Push())
    core.advance(33.0)
    core.core.wake(run, core.now)
    core.advance(0.0)
    core.polled(core.begin_one(), RunState.COMPLETED)
    assert pupil.lessons == [("v:t:running", 0.0, 33.0, True)]


def test_runs_that_are_pushed_are_polled_as_the_fallback_says() -> None:
    """What was learned of ends says nothing of how often to make sure that a webhook is not lost."""
    core = CoreRig(cadence=_Pupil())
    run = _started(core, push=_Push())
    assert run.due_at == core.now + 4 * GAP


def test_an_end_in_a_long_pause_of_polls_teaches_nothing() -> None:
    """Where nobody waited for hours, the end may lie anywhere in them; that it went on before is known."""
    pupil = _Pupil()
    core = CoreRig(cadence=pupil)
    run = _started(core)
    _poll(core, RunState.RUNNING)
    (caller,) = [run.waiters]
    core.leave(run, caller)  # type: ignore[arg-type]
    core.now += 3600.0
    core.wait(run)
    _poll(core, RunState.COMPLETED, after=0.0)
    assert pupil.lessons == [("v:t:running", 0.0, 10.0, False)]


def test_answers_that_overtook_each_other_count_once() -> None:
    """No second of a run's life is recorded twice: an older answer that comes late teaches nothing."""
    pupil = _Pupil()
    core = CoreRig(cadence=pupil)
    run = _started(core)
    core.advance(GAP)
    poll = core.begin_one()
    core.core.reported(run, seen(run.ref), core.now, core.now - 1.0)
    core.polled(poll, RunState.RUNNING, asked_at=core.now - 2.0)
    assert pupil.lessons == [("v:t:running", 0.0, 9.0, False)]


def test_pools_learn_unless_told_otherwise() -> None:
    """The default cadence of a pool learns."""
    assert isinstance(SessionPool().cadence, Learned)


async def test_a_pool_sees_runs_end_sooner_with_as_many_polls() -> None:
    """After a dozen runs of the same length, their end is seen within a second or two, with about as many polls."""
    async with rig(("in_progress", 100.0), "completed", cadence=Learned()) as made:
        costs = []
        for _ in range(12):
            made.polls.clear()
            began_at = made.now
            waiter = await begin(until_end(await made.start()))
            while not waiter.done():
                await made.clock.advance(1.0)
            costs.append((len(made.polls), made.now - began_at - 100.0))
    (polls_first, delay_first), (polls_last, delay_last) = costs[0], costs[-1]
    assert polls_last <= polls_first + 2
    assert delay_last < min(delay_first, 4.0)
