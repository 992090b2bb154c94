"""How fast one account may send: its quota, and what 429s taught. Pure: it is given the time and never waits."""

import math
from collections import deque
from typing import Final

from .limits import RateLimit

_WINDOW: Final = 5.0  # seconds over which the rate of answers is averaged
_SLOT: Final = 0.5  # seconds of answers that are averaged at once
_SLOWEST: Final = 0.1  # requests a second below which the rate never falls
_RECOVERY: Final = 30.0  # seconds after which a lowered rate is back at what it was
_STRAY_RECOVERY: Final = 1.0  # where 429s are rare: any slower, and a few of them would choke the account
_SETTLING: Final = 1.0  # seconds after a lowering in which further 429s say nothing new
_WEIGHT: Final = 0.1  # of the newest answer in the share of 429s
_STRAY_SHARE: Final = 0.2  # share of 429s above which a Retry-After holds the whole account
_FAST: Final = 100.0  # requests a second above which timers are too coarse to space requests by themselves
_FASTEST: Final = 1e6  # requests a second that no process sends: a quota above that is no bound
_LATENESS: Final = 0.01  # seconds of a timer's delay that are made up for


class RateLimiter:
    """When the next request may leave.

    Within a quota requests are evenly spaced. After a 429 the rate falls to the recent rate of answers that were
    not 429, and rises again, the faster the rarer 429s are: a few of them cost little, and a real quota is found
    within seconds. Once 429s are more than a few, a `Retry-After` holds the whole account.
    """

    __slots__ = (
        "_answered",
        "_answered_at",
        "_ceiling",
        "_count",
        "_first_at",
        "_latest",
        "_lowered_at",
        "_rate",
        "_slope",
        "_span",
        "_throttled",
        "is_bound",
        "ready_at",
    )

    def __init__(self, quota: RateLimit | None = None) -> None:
        self._ceiling = math.inf if quota is None or quota.per_second > _FASTEST else quota.per_second
        self._rate = self._ceiling  # the rate at `_lowered_at`
        self._slope = 0.0
        self._latest: deque[float] | None = None
        self._span = 1.0
        if quota is not None and _FAST < self._ceiling < math.inf:
            # Making up for late timers must not break the quota: the latest requests of a part of its time, at most
            # a second long, are remembered.
            parts = math.ceil(quota.seconds)
            self._span = quota.seconds / parts
            if quota.requests >= parts:
                self._latest = deque[float](maxlen=int(quota.requests / parts))
        self._lowered_at = -math.inf
        self._answered = 0.0  # answers a second, averaged
        self._answered_at = -math.inf
        self._count = 0  # answers since then
        self._first_at = math.inf  # when the average began
        self._throttled = 0.0  # share of 429s among the latest answers
        #: The moment from which the next request may leave.
        self.ready_at = -math.inf
        #: Whether there is a bound at all; if not, `take` need not be called.
        self.is_bound = self._ceiling < math.inf

    def rate(self, now: float) -> float:
        """Return the present rate in requests a second; infinite when there is no bound."""
        if self._rate >= self._ceiling:
            return self._ceiling
        rate = self._rate + self._slope * (now - self._lowered_at)
        if rate < self._ceiling and now - self._lowered_at < 2 * _RECOVERY:
            return rate
        self._rate = self._ceiling
        self.is_bound = self._ceiling < math.inf
        return self._ceiling

    def take(self, now: float) -> None:
        """Record that a request is sent now, and set when the next one may be."""
        rate = self.rate(now)
        if rate == math.inf:
            return
        if self._latest is None:
            self.ready_at = now + 1.0 / rate
            return
        self._latest.append(now)
        lateness = _LATENESS if rate > _FAST else 0.0
        self.ready_at = max(self.ready_at, now - lateness) + 1.0 / rate
        if len(self._latest) == self._latest.maxlen:
            self.ready_at = max(self.ready_at, self._latest[0] + self._span)

    def note_answer(self, now: float) -> None:
        """Record an answer that was not 429."""
        self._throttled -= _WEIGHT * self._throttled
        self._count += 1
        if now - self._answered_at > _SLOT:
            self._first_at = min(self._first_at, now)
            self._answered = self._decayed(now)
            self._answered_at = now
            self._count = 0

    def note_throttled(self, now: float, *, sent_at: float, retry_after: float | None) -> float | None:
        """Lower the rate after a 429 to a request that was sent at `sent_at`.

        Return the seconds for which nothing is sent, or None when this 429 says nothing new.
        """
        self._throttled += _WEIGHT * (1.0 - self._throttled)
        hold = 0.0
        if retry_after is not None and self._throttled > _STRAY_SHARE:
            hold = max(retry_after, 0.0)
            self.ready_at = max(self.ready_at, now + hold)
        if sent_at < self._lowered_at or now - self._lowered_at < _SETTLING:
            return None
        before = self.rate(now)
        # In the beginning, the average covers only the time since the first answer.
        known = -math.expm1(-max(now - self._first_at, _SLOT / 10) / _WINDOW)
        lowered = max(self._decayed(now) / known, _SLOWEST)
        recovery = _RECOVERY if self._throttled > _STRAY_SHARE else _STRAY_RECOVERY
        self._slope = (max(lowered, 1.0) if math.isinf(before) else before) / recovery
        self._rate = min(lowered, before)
        self.is_bound = True
        self._lowered_at = now
        return hold

    def _decayed(self, now: float) -> float:
        return self._answered * math.exp(-(now - self._answered_at) / _WINDOW) + self._count / _WINDOW
