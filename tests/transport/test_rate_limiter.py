"""A quota is never exceeded, and a rate is learned from 429s."""

import math
import random
from bisect import bisect_left

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aioagents.transport import RateLimit
from aioagents.transport.rate_limiter import RateLimiter


def _most_in_a_window(moments: list[float], seconds: float) -> int:
    """Return the largest number of moments that any half-open window of so many seconds holds."""
    span = seconds * (1 - 1e-9)  # rounding in the last digit breaks no quota
    return max(bisect_left(moments, moment + span) - index for index, moment in enumerate(moments))


def _send(rate_limiter: RateLimiter, arrivals: list[float], lateness: list[float]) -> list[float]:
    """Send requests in order, each when due, or later by the lateness of its timer; return when they were sent."""
    left: list[float] = []
    now = 0.0
    for index, arrival in enumerate(arrivals):
        now = max(now, arrival)
        if rate_limiter.ready_at > now:
            now = rate_limiter.ready_at + lateness[index % len(lateness)]
        rate_limiter.take(now)
        left.append(now)
    return left


_QUOTAS = st.builds(
    RateLimit,
    st.integers(1, 3000),
    st.sampled_from([0.05, 0.25, 0.5, 1.0, 1.5, 2.0, 2.5, 7.0, 10.0, 60.0]),
)
_LATENESS = st.lists(st.sampled_from([0.0, 0.0005, 0.003, 0.009, 0.05]), min_size=1, max_size=5)


@pytest.mark.parametrize("requests", [1e7, 1e19, 1e300])
def test_quota_that_nobody_reaches_is_none(requests: float) -> None:
    """A quota of more than a process can send costs nothing to keep, and is no bound."""
    rate_limiter = RateLimiter(RateLimit(requests))
    rate_limiter.take(0.0)
    assert (rate_limiter.is_bound, rate_limiter.rate(0.0), rate_limiter.ready_at) == (
        False,
        math.inf,
        -math.inf,
    )


@settings(max_examples=50, deadline=None)
@given(
    quota=_QUOTAS,
    gaps=st.lists(st.sampled_from([0.0, 0.0, 0.0, 0.0001, 0.01, 0.3, 1.0, 20.0]), min_size=1, max_size=8),
    lateness=_LATENESS,
)
def test_no_window_sees_more_than_the_quota(
    quota: RateLimit, gaps: list[float], lateness: list[float]
) -> None:
    """However requests arrive and however late timers are, no window of the quota's length sees too many."""
    arrivals, now = [], 0.0
    for index in range(2500):
        now += gaps[index % len(gaps)] if index % 400 == 0 else 0.0
        arrivals.append(now)
    left = _send(RateLimiter(quota), arrivals, lateness)
    assert _most_in_a_window(left, quota.seconds) <= quota.requests


@settings(max_examples=40, deadline=None)
@given(quota=_QUOTAS, refusals=st.lists(st.integers(0, 900), max_size=5), lateness=_LATENESS)
def test_throttling_never_raises_a_rate(quota: RateLimit, refusals: list[int], lateness: list[float]) -> None:
    """The quota holds as well while the rate is lowered and rises again."""
    rate_limiter, left, now = RateLimiter(quota), [], 0.0
    for index in range(1000):
        now = max(now, rate_limiter.ready_at) + (lateness[index % len(lateness)] if index % 3 == 0 else 0.0)
        rate_limiter.take(now)
        left.append(now)
        if index in refusals:
            rate_limiter.note_throttled(now, sent_at=now, retry_after=None)
        else:
            rate_limiter.note_answer(now)
    assert _most_in_a_window(left, quota.seconds) <= quota.requests


@pytest.mark.parametrize("per_second", [150, 2000])
def test_fast_quotas_are_reached_with_late_timers(per_second: int) -> None:
    """A timer that comes some milliseconds late costs nothing of a quota that is faster than timers."""
    chance = random.Random(7)
    rate_limiter, left, now = RateLimiter(RateLimit(per_second)), [], 0.0
    while now < 10.0:
        now += chance.uniform(0.0005, 0.009)
        while rate_limiter.ready_at <= now:
            rate_limiter.take(now)
            left.append(now)
    assert len(left) >= 0.97 * per_second * 10
    assert _most_in_a_window(left, 1.0) <= per_second


def test_slow_quotas_have_no_burst() -> None:
    """Requests are evenly spaced, also the first ones and those after a pause."""
    left = _send(RateLimiter(RateLimit(4)), [0.0] * 5 + [100.0] * 5, [0.0])
    assert left == [0.0, 0.25, 0.5, 0.75, 1.0, 100.0, 100.25, 100.5, 100.75, 101.0]


def test_no_quota_is_no_bound() -> None:
    """Without a quota everything is sent at once."""
    rate_limiter = RateLimiter()
    assert rate_limiter.rate(0.0) == math.inf
    assert not rate_limiter.is_bound
    assert _send(rate_limiter, [0.0] * 100, [0.0]) == [0.0] * 100
    assert RateLimiter(RateLimit(math.inf)).rate(0.0) == math.inf


def _serve(
    rate_limiter: RateLimiter, *, capacity: float, seconds: float, start: float = 0.0
) -> tuple[int, int]:
    """Send as fast as allowed, at most 200 a second, to a vendor with a capacity; return answers and refusals."""
    now, answers, refusals = start, 0, 0
    credit = capacity
    asked_at = start
    while now < start + seconds:
        now = max(now + 0.005, rate_limiter.ready_at)
        credit = min(credit + (now - asked_at) * capacity, capacity)
        asked_at = now
        if rate_limiter.is_bound:
            rate_limiter.take(now)
        if credit >= 1:
            credit -= 1
            answers += 1
            rate_limiter.note_answer(now)
        else:
            refusals += 1
            rate_limiter.note_throttled(now, sent_at=now, retry_after=None)
    return answers, refusals


def test_a_real_quota_is_found() -> None:
    """An unknown quota of the vendor's is found within seconds: it is mostly used, and rarely exceeded."""
    rate_limiter = RateLimiter()
    _serve(rate_limiter, capacity=20, seconds=20)
    answers, refusals = _serve(rate_limiter, capacity=20, seconds=120, start=20)
    assert answers >= 0.6 * 20 * 120
    assert refusals <= 0.5 * answers  # without any limit: nine refusals to one answer


def test_a_stray_refusal_costs_little() -> None:
    """One 429 among many answers lowers the rate to that of the answers, which rises again to no bound."""
    rate_limiter = RateLimiter()
    now = 0.0
    for _ in range(2000):
        now += 0.01
        rate_limiter.note_answer(now)
    assert rate_limiter.note_throttled(now, sent_at=now, retry_after=30.0) == 0.0  # one holds nobody
    assert 80 <= rate_limiter.rate(now) <= 120
    assert rate_limiter.rate(now + 10) > rate_limiter.rate(now)
    assert rate_limiter.rate(now + 61) == math.inf
    assert not rate_limiter.is_bound


def test_refusals_of_earlier_requests_lower_once() -> None:
    """Refusals of requests that were sent before the rate was lowered say nothing new."""
    rate_limiter = RateLimiter(RateLimit(50))
    for index in range(200):
        rate_limiter.note_answer(index / 50)
    assert rate_limiter.note_throttled(4.0, sent_at=3.9, retry_after=None) == 0.0
    lowered = rate_limiter.rate(4.0)
    for _ in range(10):
        assert rate_limiter.note_throttled(4.2, sent_at=3.95, retry_after=None) is None
        assert rate_limiter.note_throttled(6.0, sent_at=3.99, retry_after=None) is None
    assert rate_limiter.rate(4.0) == lowered
    assert rate_limiter.note_throttled(6.0, sent_at=5.0, retry_after=None) is not None


def test_retry_after_holds_above_a_share_of_refusals() -> None:
    """A Retry-After holds the account once refusals are more than a few, and is never shortened."""
    rate_limiter = RateLimiter()
    rate_limiter.note_throttled(10.0, sent_at=9.9, retry_after=60.0)
    rate_limiter.note_throttled(10.0, sent_at=9.9, retry_after=60.0)
    assert rate_limiter.ready_at <= 10.0
    rate_limiter.note_throttled(10.0, sent_at=9.9, retry_after=60.0)
    assert rate_limiter.ready_at == 70.0
    rate_limiter.note_throttled(10.0, sent_at=9.9, retry_after=1.0)
    assert rate_limiter.ready_at == 70.0


def test_something_is_always_tried() -> None:
    """An account that is only ever refused still sends one request in ten seconds."""
    rate_limiter = RateLimiter()
    for second in range(0, 100, 5):
        rate_limiter.note_throttled(float(second), sent_at=float(second), retry_after=None)
    assert rate_limiter.rate(95.0) == pytest.approx(0.1)
    rate_limiter.take(95.0)
    assert rate_limiter.ready_at == pytest.approx(105.0)
