"""How far a batch is, and how fast it goes: figures alone."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aioagents.batch import BatchStatistics, RowState
from aioagents.cli.batch.figures import Rate, RateLimiter, span, times

S = RowState


@given(st.floats(0.1, 1000), st.lists(st.floats(0.01, 10), min_size=1, max_size=30), st.integers(0, 500))
def test_steady_rate_is_what_it_is(length: float, gaps: list[float], per_second: int) -> None:
    """What comes steadily has its rate from the first figure on, however unevenly it is asked for."""
    rate = Rate(length, now=100.0)
    now = 100.0
    for gap in gaps:
        now += gap
        rate.tell(
            round(per_second * (now - 100.0) * 1e6), now
        )  # a fraction of one would be a rate of its own
    assert rate.per_second == pytest.approx(per_second * 1e6, abs=200 * 1e6 / 1e6)


def test_latest_rate_counts_most() -> None:
    """A rate forgets what is longer ago than its span, and a clock that stands still changes nothing."""
    rate = Rate(2.0, now=0.0)
    assert rate.per_second == 0.0
    rate.tell(100, 1.0)
    assert rate.per_second == pytest.approx(100.0)
    rate.tell(5000, 1.0)
    assert rate.per_second == pytest.approx(100.0)
    for second in range(2, 22):
        rate.tell(100, float(second))
    assert rate.per_second < 0.1


def test_progress() -> None:
    """Rows are counted where they stand; the time left is reckoned from what this run of the batch has done."""
    pace = RateLimiter(now=0.0)
    pace.total = 2000
    states = {S.COMPLETED: 1080, S.PLANNED: 1, S.STARTED: 2, S.UNKNOWN: 7}
    batch = BatchStatistics(
        read=1500, faulty=10, ready=30, sending=4, in_flight=24, starts=50, replayed=1000, states=states
    )
    seen = pace.progress(batch, polls=300, retries=0, limit=math.inf, now=10.0)
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


def test_what_nobody_knows_is_not_told() -> None:
    """Without a total, or before anything is done, no time is told; a total that was too small gives way."""
    pace = RateLimiter(now=0.0)
    batch = BatchStatistics(states={S.COMPLETED: 5})
    seen = pace.progress(batch, polls=0, retries=0, limit=math.inf, now=1.0)
    assert (seen.figure, seen.total, seen.left) == ("5", None, "")
    pace.total = 3
    seen = pace.progress(batch, polls=0, retries=0, limit=math.inf, now=2.0)
    assert (seen.total, seen.seconds_left) == (5, 0.0)
    idle = RateLimiter(now=0.0)
    idle.total = 10
    assert idle.progress(BatchStatistics(), polls=0, retries=0, limit=math.inf, now=1.0).left == ""
    slow = RateLimiter(now=0.0)
    slow.total = 10**12
    assert slow.progress(batch, polls=0, retries=0, limit=math.inf, now=1.0).left == ""


def test_throttling() -> None:
    """A limit is told while it holds something up, later how often there was one."""
    pace = RateLimiter(now=0.0)
    batch = BatchStatistics(starts=100)
    assert pace.progress(batch, polls=0, retries=0, limit=50.0, now=1.0).throttled_to is None
    pace.throttles = 1
    held = pace.progress(batch, polls=100, retries=3, limit=50.0, now=2.0)
    assert held.throttled_to == 50.0
    assert held.pace[2:] == ["throttled to 50.0/s", "tried again 3 times"]
    free = pace.progress(batch, polls=200, retries=1, limit=1e5, now=3.0)
    assert free.pace[2:] == ["throttled once", "tried again once"]


def test_words() -> None:
    """Lengths of time and counts are written for people."""
    assert [span(each) for each in (0.4, 59.4, 59.6, 61, 3600, 36_061)] == [
        "0 s",
        "59 s",
        "1:00",
        "1:01",
        "1:00:00",
        "10:01:01",
    ]
    assert [times(each) for each in (1, 2, 1000)] == ["once", "2 times", "1,000 times"]
