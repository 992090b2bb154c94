"""The progress and the rates of a batch, as numbers."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aioagents.batch import BatchStatistics, RowState
from aioagents.cli.batch.progress import ProgressMeter, Rate, span, times

S = RowState


@given(st.floats(0.1, 1000), st.lists(st.floats(0.01, 10), min_size=1, max_size=30), st.integers(0, 500))
def test_steady_rate_is_what_it_is(length: float, gaps: list[float], per_second: int) -> None:
    """A steady rate is right from the first update on, however uneven the updates are."""
    rate = Rate(length, now=100.0)
    now = 100.0
    for gap in gaps:
        now += gap
        rate.update(
            round(per_second * (now - 100.0) * 1e6), now
        )  # a rounded count is a slightly different rate
    assert rate.per_second == pytest.approx(per_second * 1e6, abs=200 * 1e6 / 1e6)


def test_latest_rate_counts_most() -> None:
    """A rate forgets what is older than its span, and an update without any time between changes nothing."""
    rate = Rate(2.0, now=0.0)
    assert rate.per_second == 0.0
    rate.update(100, 1.0)
    assert rate.per_second == pytest.approx(100.0)
    rate.update(5000, 1.0)
    assert rate.per_second == pytest.approx(100.0)
    for second in range(2, 22):
        rate.update(100, float(second))
    assert rate.per_second < 0.1


def test_progress() -> None:
    """Rows are counted by state; the time left is computed from what this run of the batch has done."""
    meter = ProgressMeter(now=0.0)
    meter.total = 2000
    states = {S.COMPLETED: 1080, S.PLANNED: 1, S.STARTED: 2, S.UNKNOWN: 7}
    batch = BatchStatistics(
        read=1500, faulty=10, ready=30, sending=4, in_flight=24, starts=50, replayed=1000, states=states
    )
    seen = meter.progress(batch, polls=300, retries=0, limit=math.inf, now=10.0)
    assert (seen.done, seen.total, seen.figure) == (1100, 2000, "1,100/2,000")
    assert dict(seen.counts) == {
        "waiting": 30,
        "sending": 4,
        "running": 20,
        "completed": 1080,
        "unknown": 7,
        "put off": 1,
        "not over": 2,
        "faulty": 10,
    }
    assert list(seen.counts)[:4] == ["waiting", "sending", "running", "completed"]
    assert (seen.starts_per_second, seen.polls_per_second) == pytest.approx((5.0, 30.0))
    assert seen.seconds_left == pytest.approx(90.0)  # 900 rows at 10 a second
    assert str(seen) == (
        "1,100/2,000 rows; 30 waiting, 4 sending, 20 running, 1,080 completed, 7 unknown, 1 put off, 2 not over, "
        "10 faulty; 5.0 starts/s, 30.0 polls/s; 1:30 left"
    )


def test_unknown_times_are_not_shown() -> None:
    """Without a total, or before anything is done, no time is shown; a total that is too small is corrected."""
    meter = ProgressMeter(now=0.0)
    batch = BatchStatistics(states={S.COMPLETED: 5})
    seen = meter.progress(batch, polls=0, retries=0, limit=math.inf, now=1.0)
    assert (seen.figure, seen.total, seen.left) == ("5", None, "")
    meter.total = 3
    seen = meter.progress(batch, polls=0, retries=0, limit=math.inf, now=2.0)
    assert (seen.total, seen.seconds_left) == (5, 0.0)
    idle = ProgressMeter(now=0.0)
    idle.total = 10
    assert idle.progress(BatchStatistics(), polls=0, retries=0, limit=math.inf, now=1.0).left == ""
    slow = ProgressMeter(now=0.0)
    slow.total = 10**12
    assert slow.progress(batch, polls=0, retries=0, limit=math.inf, now=1.0).left == ""


def test_throttling() -> None:
    """A limit is shown while it delays requests, afterwards the number of throttles."""
    meter = ProgressMeter(now=0.0)
    batch = BatchStatistics(starts=100)
    assert meter.progress(batch, polls=0, retries=0, limit=50.0, now=1.0).throttled_to is None
    meter.throttles = 1
    held = meter.progress(batch, polls=100, retries=3, limit=50.0, now=2.0)
    assert held.throttled_to == 50.0
    assert held.rates[2:] == ["throttled to 50.0/s", "retried 3 times"]
    free = meter.progress(batch, polls=200, retries=1, limit=1e5, now=3.0)
    assert free.rates[2:] == ["throttled once", "retried once"]


def test_texts() -> None:
    """Durations and counts are written for people."""
    assert [span(each) for each in (0.4, 59.4, 59.6, 61, 3600, 36_061)] == [
        "0 s",
        "59 s",
        "1:00",
        "1:01",
        "1:00:00",
        "10:01:01",
    ]
    assert [times(each) for each in (1, 2, 1000)] == ["once", "2 times", "1,000 times"]
