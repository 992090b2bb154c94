"""Counts of durations, and the hazard rate made of them."""

import math
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aioagents.polling.durations import BINS, EDGES, WIDTHS, Durations, bin_of

_SECONDS = st.floats(0, 1e9, allow_nan=False)


def _alive(hazard: list[float], seconds: float) -> float:
    """Return the share that lasts longer than an edge near `seconds`."""
    pairs = zip(hazard, WIDTHS, strict=True)
    return math.exp(-sum(rate * width for rate, width in list(pairs)[: bin_of(seconds)]))


@given(_SECONDS)
def test_a_duration_lies_between_the_edges_of_its_bin(seconds: float) -> None:
    """The bin of a duration begins before it and ends behind it; the last one has all that is longer."""
    number = bin_of(seconds)
    assert EDGES[number] <= seconds * 1.000001
    assert number == BINS - 1 or seconds <= EDGES[number + 1] * 1.000001


@given(st.lists(st.tuples(_SECONDS, _SECONDS, st.booleans()), max_size=60))
def test_the_hazard_rate_is_a_positive_number_whatever_was_seen(
    seen: list[tuple[float, float, bool]],
) -> None:
    """Any mixture of ends and survivals, at any duration, leaves a rate that can be reckoned with."""
    durations = Durations()
    for first, second, ended in seen:
        since, until = sorted((first, second))
        (durations.end if ended else durations.survive)(since, until)
    assert all(0.0 < rate < math.inf for rate in durations.hazard())


def test_without_data_no_duration_is_preferred() -> None:
    """The rate of an empty count is 1 / t: the same share ends in each factor of time."""
    hazard = Durations().hazard()
    products = [rate * (EDGES[number] + EDGES[number + 1]) / 2 for number, rate in enumerate(hazard)]
    assert max(products) == pytest.approx(min(products))


@pytest.mark.parametrize("median", [2.0, 60.0, 7200.0])
def test_finds_the_share_that_has_ended(median: float) -> None:
    """After a thousand runs the shares of a broad distribution are right to a twentieth."""
    chance = random.Random(1)
    durations = Durations()
    for _ in range(1000):
        durations.end(0.0, median * math.exp(chance.gauss(0, 1)))
    hazard = durations.hazard()
    for share, factor in ((0.84, 1 / math.e), (0.5, 1.0), (0.16, math.e)):
        assert _alive(hazard, median * factor) == pytest.approx(share, abs=0.05)


def test_a_narrow_peak_is_found_from_few_runs() -> None:
    """Fifty runs of 300 s, a tenth more or less, leave next to no rate outside of that tenth."""
    chance = random.Random(2)
    durations = Durations()
    for _ in range(50):
        durations.end(0.0, chance.uniform(270, 330))
    hazard = durations.hazard()
    assert _alive(hazard, 250) > 0.93
    assert _alive(hazard, 345) < 0.07


def test_runs_that_go_on_keep_the_rate_unbiased() -> None:
    """Where ten of a thousand runs have ended after 10 s and the others go on, few are expected to end by then."""
    durations = Durations()
    for _ in range(10):
        durations.end(0.0, 10.0)
    assert _alive(durations.hazard(), 12) < 0.2
    for _ in range(990):
        durations.survive(0.0, 5.0)
        durations.survive(5.0, 12.0)
    assert _alive(durations.hazard(), 12) > 0.95


def test_a_survival_that_is_recorded_in_steps_counts_once() -> None:
    """Three polls of a run that goes on say the same as one."""
    steps, once = Durations(), Durations()
    for durations in (steps, once):
        durations.end(0.0, 40.0)
    once.survive(0.0, 60.0)
    for since, until in ((0.0, 3.0), (3.0, 25.0), (25.0, 60.0)):
        steps.survive(since, until)
    assert steps.hazard() == pytest.approx(once.hazard())


def test_old_runs_fade() -> None:
    """After a thousand runs of another duration, the first thousand count for a tenth at most."""
    durations = Durations()
    for seconds in (10.0, 1000.0):
        for _ in range(1000):
            durations.end(0.0, seconds)
    assert _alive(durations.hazard(), 20) > 0.9
    assert durations.ended < 401


def test_scaling_down_changes_nothing() -> None:
    """Counts that have become large are scaled down, and say the same afterwards."""
    chance = random.Random(3)
    durations = Durations()
    for _ in range(6000):
        durations.end(0.0, chance.uniform(50, 60))
    hazard = durations.hazard()
    assert _alive(hazard, 50) > 0.97
    assert _alive(hazard, 62) < 0.03


def test_json_keeps_what_was_counted() -> None:
    """Counts that were saved and loaded give the same rate."""
    durations = Durations()
    for seconds in (3.0, 5.0, 400.0):
        durations.end(0.0, seconds)
    durations.survive(0.0, 100.0)
    again = Durations.from_json(durations.to_json())
    assert again.hazard() == pytest.approx(durations.hazard())
    assert (again.seen, again.ended) == (durations.seen, durations.ended)
