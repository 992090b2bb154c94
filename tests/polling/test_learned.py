"""The cadence that learns durations."""

import math
import random
from collections.abc import Callable
from pathlib import Path
from statistics import mean
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aioagents.polling import Growing, Learned, Steady
from aioagents.polling.cadence import Cadence

Draw = Callable[[random.Random], float]


def _follow(cadence: Cadence, duration: float, chance: random.Random, *, teaches: bool) -> tuple[int, float]:
    """Poll a run of this duration to its end; return the number of polls, and how late the last one was."""
    at, polls = 0.0, 0
    while True:
        before, polls = at, polls + 1
        at += cadence.gap(at, key="k", chance=chance.random())
        if isinstance(cadence, Learned) and teaches:
            if at < duration:
                cadence.observe(at, key="k", ended=False, since=before)
            else:
                cadence.observe((before + at) / 2, key="k", since=before)
        if at >= duration:
            return polls, at - duration


def _cost(cadence: Cadence, draw: Draw, runs: int = 600, *, teaches: bool = False) -> tuple[float, float]:
    chance = random.Random(7)
    seen = [_follow(cadence, draw(chance), chance, teaches=teaches) for _ in range(runs)]
    return mean(polls for polls, _ in seen), mean(delay for _, delay in seen)


def _taught(draw: Draw, runs: int = 200, **settings: Any) -> Learned:
    cadence = Learned(**settings)
    chance = random.Random(3)
    for _ in range(runs):
        _follow(cadence, draw(chance), chance, teaches=True)
    return cadence


def _lognormal(chance: random.Random) -> float:
    return 60 * math.exp(chance.gauss(0, 1))


def _narrow(chance: random.Random) -> float:
    return chance.uniform(270, 330)


@pytest.mark.parametrize(
    "settings",
    [{"polls_per_run": 5, "delay": 1}, {"polls_per_run": 0}, {"delay": math.inf}, {"cap": math.nan}],
)
def test_refuses_settings_that_make_no_sense(settings: dict[str, Any]) -> None:
    """Two aims at once, and numbers that are not positive."""
    with pytest.raises(ValueError, match=r"polls_per_run|delay|cap"):
        Learned(**settings)
    with pytest.raises(ValueError, match="above cap"):
        Learned(floor=31)


def test_polls_as_the_fallback_until_ends_are_known() -> None:
    """Four ends teach nothing, five do."""
    cadence = Learned(fallback=Steady(7.0))
    for _ in range(4):
        cadence.observe(100.0, key="k")
    assert cadence.gap(50.0, key="k") == 7.0
    assert cadence.learned_from("k") == 0
    cadence.observe(100.0, key="k")
    assert cadence.gap(50.0, key="k") > 7.0
    assert cadence.learned_from("k") == 5
    assert cadence.gap(50.0, key="other") == 7.0


@given(
    st.lists(st.tuples(st.floats(0, 1e7), st.floats(0, 1e7), st.booleans()), max_size=40),
    st.floats(0, 1e8),
    st.floats(0, 1, exclude_max=True),
)
def test_gaps_keep_within_their_bounds(
    seen: list[tuple[float, float, bool]], elapsed: float, chance: float
) -> None:
    """Whatever was observed, a gap is between floor and cap."""
    cadence = Learned(floor=0.5, cap=20.0)
    for first, second, ended in seen:
        since, until = sorted((first, second))
        cadence.observe(until, key="k", ended=ended, since=since)
    assert 0.5 <= cadence.gap(elapsed, key="k", chance=chance) <= 20.0


@pytest.mark.parametrize(("draw", "factor"), [(_lognormal, 1.4), (_narrow, 3.0)])
def test_sees_ends_sooner_than_growing_gaps_with_as_many_polls(draw: Draw, factor: float) -> None:
    """Without an aim of its own it spends no more polls than the fallback, for much less delay."""
    cadence = _taught(draw)
    polls, delay = _cost(cadence, draw)
    growing_polls, growing_delay = _cost(Growing(cap=30.0), draw)
    assert polls < 1.15 * growing_polls
    assert factor * delay < growing_delay


@pytest.mark.parametrize("polls_per_run", [6.0, 12.0])
def test_keeps_to_the_polls_asked_for(polls_per_run: float) -> None:
    """The number of polls a run is what was asked for, an eighth more or less."""
    polls, _ = _cost(_taught(_lognormal, polls_per_run=polls_per_run), _lognormal)
    assert polls == pytest.approx(polls_per_run, rel=0.125)


def test_keeps_to_the_delay_asked_for() -> None:
    """The mean delay is what was asked for, a quarter more or less."""
    _, delay = _cost(_taught(_lognormal, delay=3.0), _lognormal)
    assert delay == pytest.approx(3.0, rel=0.25)


def test_a_change_of_durations_is_learned_anew() -> None:
    """When runs become six times shorter, 100 of them are enough to see them as soon as before, in proportion."""
    cadence = _taught(_narrow, polls_per_run=14.0)
    chance = random.Random(5)
    for _ in range(100):
        _follow(cadence, _narrow(chance) / 6, chance, teaches=True)
    _, delay = _cost(cadence, lambda chance: _narrow(chance) / 6)
    assert delay < 1.5


def test_without_a_change_nothing_is_forgotten_at_once() -> None:
    """Ends that are seen with the resolution of polls alone do not look like a change."""
    for draw in (_lognormal, _narrow):
        cadence = _taught(draw, runs=800, polls_per_run=8.0)
        assert cadence.remembered("k") > 200


def test_runs_started_together_do_not_mislead() -> None:
    """While most runs of a batch go on, the few that ended early do not make all others be polled often."""
    cadence = Learned(polls_per_run=10.0)
    for _ in range(50):
        cadence.observe(10.0, key="k", since=9.0)
    for _ in range(950):
        for since, until in ((0.0, 4.0), (4.0, 9.0), (9.0, 12.0)):
            cadence.observe(until, key="k", ended=False, since=since)
    gaps = [cadence.gap(elapsed, key="k") for elapsed in (8.0, 9.0, 10.0, 11.0)]
    assert min(gaps) > 0.8


def test_the_keys_that_were_not_observed_lately_are_forgotten() -> None:
    """A bounded number of keys is remembered."""
    cadence = Learned()
    for number in range(520):
        for _ in range(5 if number in {0, 19, 20, 519} else 1):
            cadence.observe(100.0, key=f"key {number}")
        if number % 100 == 0:
            cadence.observe(100.0, key="busy")
    assert cadence.learned_from("key 0") == 0
    assert cadence.learned_from("key 19") == 0
    assert cadence.learned_from("key 519") == 5
    assert cadence.learned_from("busy") == 6


def test_what_was_learned_is_saved_and_loaded(tmp_path: Path) -> None:
    """Another process polls as this one does."""
    cadence = _taught(_narrow, polls_per_run=9.0)
    cadence.save(tmp_path / "learned.json")
    other = Learned(polls_per_run=9.0)
    other.load(tmp_path / "learned.json")
    assert [other.gap(at, key="k") for at in (0.0, 100.0, 280.0)] == pytest.approx(
        [cadence.gap(at, key="k") for at in (0.0, 100.0, 280.0)], rel=0.05
    )
    assert list(tmp_path.iterdir()) == [tmp_path / "learned.json"]


@pytest.mark.parametrize(
    "content",
    [b"", b"[]", b'{"version": 2, "durations": {}}', b'{"version": 1, "durations": {"k": {"ended": 1}}}'],
)
def test_refuses_a_file_that_it_did_not_write(tmp_path: Path, content: bytes) -> None:
    """A file of another kind or version raises ValueError, and nothing is learned of it."""
    file = tmp_path / "learned.json"
    file.write_bytes(content)
    with pytest.raises(ValueError, match=r"learned\.json"):
        Learned().load(file)
