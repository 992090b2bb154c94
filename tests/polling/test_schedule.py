"""Polls placed by a hazard rate."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aioagents.polling.durations import BINS, EDGES, Durations
from aioagents.polling.schedule import Schedule


def _constant(rate: float, *, cap: float = 1e9, floor: float = 1e-3) -> Schedule:
    return Schedule([rate] * BINS, floor=floor, cap=cap)


@pytest.mark.parametrize("elapsed", [0.0, 1.0, 77.0, 5000.0])
def test_a_constant_rate_makes_a_constant_gap(elapsed: float) -> None:
    """Nothing can be learned of an exponential duration: the gap is the spacing over the root of the rate."""
    schedule = _constant(0.01)
    schedule.spacing = 0.5
    assert schedule.gap(elapsed) == pytest.approx(5.0)
    assert schedule.gap(elapsed, stretch=2.0) == pytest.approx(10.0)


def test_gaps_are_as_the_root_of_the_rate() -> None:
    """A hundredfold rate makes gaps ten times shorter."""
    hazard = [0.01 if edge < 1000 else 1.0 for edge in EDGES[:-1]]
    schedule = Schedule(hazard, floor=1e-3, cap=1e9)
    schedule.spacing = 0.5
    assert schedule.gap(10.0) == pytest.approx(10 * schedule.gap(2000.0), rel=1e-6)


@given(st.floats(0, 1e8), st.floats(0.1, 5), st.floats(5, 1e4), st.floats(1e-6, 1e6))
def test_gaps_keep_within_their_bounds(elapsed: float, floor: float, cap: float, spacing: float) -> None:
    """Whatever the spacing, and however long a run has lasted."""
    schedule = Schedule(Durations().hazard(), floor=floor, cap=cap)
    schedule.spacing = spacing
    assert floor <= schedule.gap(elapsed) <= cap


def test_the_cost_of_an_exponential_duration_is_known() -> None:
    """With a mean of 100 s and gaps of 10 s it takes 1 / (1 - exp(-0.1)) polls; the delay follows from that."""
    cost = _constant(0.01).cost(lambda _: 10.0)
    polls = 1 / (1 - math.exp(-0.1))
    assert cost.polls == pytest.approx(polls, rel=0.01)
    assert cost.delay == pytest.approx(10 * polls - 100, rel=0.05)


@pytest.mark.parametrize("polls", [3.0, 10.0, 30.0])
def test_finds_the_spacing_for_a_number_of_polls(polls: float) -> None:
    """The narrowest spacing that costs no more polls costs nearly as many."""
    schedule = _constant(0.01)
    schedule.set_spacing(lambda cost: cost.polls > polls)
    assert 0.95 * polls < schedule.cost().polls <= polls


def test_finds_the_spacing_for_a_delay() -> None:
    """The spacing for a delay has about that delay."""
    schedule = _constant(0.01)
    schedule.set_spacing(lambda cost: cost.delay < 4.0)
    assert schedule.cost().delay == pytest.approx(4.0, rel=0.05)


def test_few_long_runs_do_not_decide_what_polls_cost() -> None:
    """A share that is negligible counts for nothing."""
    hazard = [1e-9 if edge > 20 else 1.0 for edge in EDGES[:-1]]  # nearly all end by 20 s, the others never
    hazard[0] = 1e-9
    polls = [
        Schedule(hazard, floor=0.5, cap=30.0, negligible=share).cost(lambda _: 10.0).polls
        for share in (0.0, 0.01)
    ]
    assert polls[1] <= polls[0]
    assert polls[1] < 4
