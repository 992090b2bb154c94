"""The timelines of a fake server's runs: scripted or drawn, and what a run shows of them."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aioagents.contract.fake import FakeRun, RunPlan, StatusWords, Step, Timeline, Timelines, seeded

_WORDS = StatusWords(queued="submitted", running="working", aborted="canceled")
_SCRIPT = (Step("submitted", 2), Step("working", 3), Step("Canceled", 1), Step("working"))


def _run(timeline: Timeline, created_at: float = 10.0) -> FakeRun:
    return FakeRun(id="r-1", created_at=created_at, timeline=timeline)


def test_scripts_are_found_by_the_first_name_that_has_one() -> None:
    """A run has the script of the first of its names with one; without any, its timeline is drawn."""
    timelines = Timelines(RunPlan(scripts={"a": _SCRIPT, "b": [Step("working")]}), _WORDS)
    assert timelines.make(["x", "b", "a"], seeded(1)) == timelines.scripted(["b"])
    assert timelines.scripted(["x"]) is None
    assert timelines.make(["x"], seeded(1)) == timelines.drawn(seeded(1))


def test_nothing_follows_an_end() -> None:
    """A script is cut after the first final word, in any case, and the plan's delay prolongs its first step."""
    timeline = Timelines(RunPlan(scripts={"a": _SCRIPT}, delay=1.0), _WORDS).scripted(["a"])
    assert timeline == Timeline([(0.0, "submitted"), (3.0, "working"), (6.0, "Canceled")], has_end=True)


def test_a_run_shows_its_status_and_end() -> None:
    """A run has each status from its moment on, and its end is known from the start."""
    timeline = Timelines(RunPlan(scripts={"a": _SCRIPT}), _WORDS).scripted(["a"])
    assert timeline is not None
    run = _run(timeline)
    assert [run.status_at(now) for now in (0.0, 11.9, 12.0, 14.9, 15.0, 1e9)] == [
        (10.0, "submitted"),
        (10.0, "submitted"),
        (12.0, "working"),
        (12.0, "working"),
        (15.0, "Canceled"),
        (15.0, "Canceled"),
    ]
    assert (run.end, run.ended_at, run.until) == ((15.0, "Canceled"), 15.0, 15.0)
    assert (run.is_over(14.9), run.is_over(15.0)) == (False, True)
    run.end_at_start()
    assert (run.end, run.status_at(10.0)) == ((10.0, "Canceled"), (10.0, "Canceled"))


def test_a_run_may_never_end() -> None:
    """Without a final word a run goes on for ever."""
    run = _run(Timeline([(0.0, "working")], has_end=False))
    assert (run.end, run.ended_at, run.until, run.is_over(1e9)) == (None, None, math.inf, False)


@pytest.mark.parametrize(
    ("words", "statuses"),
    [
        (StatusWords(running="on"), ["on", "completed"]),
        (StatusWords(queued="in line", running="on"), ["in line", "on", "completed"]),
        (StatusWords(running="on", paused="held", completed="done"), ["on", "held", "on", "done"]),
    ],
)
def test_drawn_runs_have_the_vendors_words(words: StatusWords, statuses: list[str]) -> None:
    """A drawn run is queued and pauses only where the vendor has words for that."""
    plan = RunPlan(pausing=1.0, outcomes={"completed": 1.0})
    timeline = Timelines(plan, words).drawn(seeded("a"))
    assert [word for _, word in timeline.steps] == statuses
    assert timeline.has_end


@given(
    seed=st.integers(),
    delay=st.floats(0, 100),
    outcome=st.sampled_from(["completed", "failed", "aborted"]),
)
def test_drawn_timelines_go_forward(seed: int, delay: float, outcome: str) -> None:
    """The statuses of a drawn run follow each other in time, after the plan's delay, up to the outcome."""
    plan = RunPlan(delay=delay, pausing=0.5, outcomes={outcome: 1.0})
    words = StatusWords(queued="q", running="on", paused="held", aborted="gone")
    timeline = Timelines(plan, words).drawn(seeded(seed))
    moments = [since for since, _ in timeline.steps]
    assert moments == sorted(moments)
    assert moments[0] == 0.0
    assert moments[1] >= delay
    assert timeline.steps[-1][1] == {"aborted": "gone"}.get(outcome, outcome)


def test_empty_scripts_are_refused() -> None:
    """A plan has no script without steps."""
    with pytest.raises(ValueError, match="'a' has no steps"):
        RunPlan(scripts={"a": ()})
