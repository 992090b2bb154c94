"""How long to wait until the next poll."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aioagents import Growing, Steady
from aioagents.polling import Cadence

_CHANCES = st.floats(0, 1, exclude_max=True)
_ELAPSED = st.floats(0, 1e9)
_SECONDS = st.floats(0.001, 1e6)
_GROWING = st.builds(Growing, first=_SECONDS, factor=st.floats(1, 10), cap=_SECONDS)


@pytest.mark.parametrize(
    ("cadence", "elapsed", "chance", "gap"),
    [
        (Steady(10), 0, 0.5, 10),
        (Steady(10), 5000, 0.5, 10),
        (Steady(10), 0, 0.0, 9),
        (Steady(10), 0, 0.75, 10.5),
        (Growing(), 0, 0.5, 1),
        (Growing(), 4, 0.5, 2),
        (Growing(), 100, 0.5, 26),
        (Growing(), 236, 0.5, 60),
        (Growing(), 86400, 0.5, 60),
        (Growing(), 86400, 0.99, 60),
        (Growing(), 86400, 0.0, 54),
        (Growing(), -5, 0.5, 1),
        (Growing(first=2, factor=2, cap=30), 0, 0.5, 2),
        (Growing(first=2, factor=2, cap=30), 10, 0.5, 12),
        (Growing(first=2, factor=2, cap=30), 28, 0.5, 30),
        (Growing(first=2, factor=1, cap=30), 28, 0.5, 2),
        (Growing(first=50, factor=2, cap=30), 0, 0.5, 30),
    ],
)
def test_gaps(cadence: Cadence, elapsed: float, chance: float, gap: float) -> None:
    """A gap is what the cadence's formula says, a tenth more or less."""
    assert cadence.gap(elapsed, chance=chance) == pytest.approx(gap)


def test_growing_is_geometric_in_the_time_waited() -> None:
    """The n-th gap of a run that stays as it is, is the first one times factor to the n."""
    cadence, elapsed = Growing(first=1, factor=1.5, cap=1e9), 0.0
    for n in range(20):
        gap = cadence.gap(elapsed)
        assert gap == pytest.approx(1.5**n)
        elapsed += gap


@given(cadence=_GROWING, elapsed=_ELAPSED, chance=_CHANCES)
def test_growing_is_bounded(cadence: Growing, elapsed: float, chance: float) -> None:
    """A gap is positive, never above the cap, and never shorter than nine tenths of what is asked for."""
    gap = cadence.gap(elapsed, chance=chance)
    least = min(cadence.cap, cadence.first + (cadence.factor - 1) * elapsed)
    assert 0 < gap <= cadence.cap
    assert gap >= 0.9 * least * (1 - 1e-9)
    assert gap <= 1.1 * least * (1 + 1e-9)


@given(cadence=_GROWING, one=_ELAPSED, other=_ELAPSED, chance=_CHANCES)
def test_growing_never_shrinks(cadence: Growing, one: float, other: float, chance: float) -> None:
    """Who has waited longer waits no shorter for the next poll."""
    early, late = sorted((one, other))
    assert cadence.gap(early, chance=chance) <= cadence.gap(late, chance=chance)


@given(seconds=_SECONDS, elapsed=_ELAPSED, low=_CHANCES, high=_CHANCES)
def test_steady_is_jittered_within_a_tenth(seconds: float, elapsed: float, low: float, high: float) -> None:
    """Chance alone moves a steady gap, evenly and by a tenth at most."""
    low, high = sorted((low, high))
    cadence = Steady(seconds)
    assert 0.9 * seconds <= cadence.gap(elapsed, chance=low) * (1 + 1e-9)
    assert cadence.gap(elapsed, chance=low) <= cadence.gap(0, chance=high) <= 1.1 * seconds * (1 + 1e-9)


@given(cadence=_GROWING, elapsed=_ELAPSED, key=st.text())
def test_key_teaches_nothing(cadence: Growing, elapsed: float, key: str) -> None:
    """A cadence that does not learn answers the same for every key, every time."""
    assert cadence.gap(elapsed, key=key) == cadence.gap(elapsed)


@pytest.mark.parametrize("seconds", [0, -1, math.nan, math.inf, "10", None])
def test_odd_seconds_are_refused(seconds: float) -> None:
    """A duration is a positive, finite number, and the error says so."""
    for make in (Steady, lambda value: Growing(first=value), lambda value: Growing(cap=value)):
        with pytest.raises(ValueError, match="positive number of seconds"):
            make(seconds)


@pytest.mark.parametrize("factor", [0.99, 0, -2, math.nan, math.inf, "2", None])
def test_odd_factors_are_refused(factor: float) -> None:
    """A factor is at least 1 and finite, and the error says so."""
    with pytest.raises(ValueError, match="factor has to be 1 or more"):
        Growing(factor=factor)
