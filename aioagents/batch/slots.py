"""How many rows of a batch may be sent, and when. Pure: time and the result of each start come in by parameter.

A row takes a slot before it is recorded as SENDING and frees it when its start has ended. A start that failed for
a reason that may affect other starts leaves its slot resting for a while: an outage must not use up the whole input.
"""

import math
from heapq import heappop, heappush

from ..errors import AgentsError
from ..retry import RetryPolicy
from ..transport import RateLimit, RateLimiter
from .states import Row


class Slots:
    """At most `most` rows are being sent; one at a time after `outage` failures in a row.

    With a `rate`, a row waits for its moment twice: before it is recorded, so that few rows are SENDING at any time,
    and once more before it is sent, since the time that recording takes varies, and the starts have to be evenly
    spaced.
    """

    def __init__(
        self, *, most: int, outage: int, rate: RateLimit | None = None, retry: RetryPolicy | None = None
    ) -> None:
        self._most = most
        self._outage = outage
        self._retry = retry or RetryPolicy()
        self._limiters = None if rate is None else (RateLimiter(rate), RateLimiter(rate))
        self._rests: list[float] = []
        self._failures = 0  # since a row was started last
        self._refusals = 0  # since then, because the vendor had no slot
        self._probe: Row | None = None  # the one row that is tried during an outage
        self._failed_probes = 0
        #: Rows that are being sent.
        self.sending = 0

    @property
    def is_outage(self) -> bool:
        """Return whether rows are tried one at a time."""
        return self._failures >= self._outage

    @property
    def has_free(self) -> bool:
        """Return whether one more row may take a slot."""
        return self.sending + len(self._rests) < (1 if self.is_outage else self._most)

    @property
    def ready_at(self) -> float:
        """Return the moment from which the rate lets one more row take a slot."""
        return -math.inf if self._limiters is None else self._limiters[0].ready_at

    @property
    def rested_at(self) -> float:
        """Return the moment at which the next slot has rested, infinity where none rests."""
        return self._rests[0] if self._rests else math.inf

    def end_rests(self, now: float) -> None:
        """Free the slots that have rested."""
        while self._rests and self._rests[0] <= now:
            heappop(self._rests)

    def take(self, row: Row, now: float) -> None:
        """Occupy a free slot with `row`."""
        self.sending += 1
        self._probe = row if self.is_outage else None
        if self._limiters is not None:
            self._limiters[0].take(now)

    @property
    def send_at(self) -> float:
        """Return the moment from which the rate lets one more recorded row be sent."""
        return -math.inf if self._limiters is None else self._limiters[1].ready_at

    def sent(self, now: float) -> None:
        """Record that a row is sent."""
        if self._limiters is not None:
            self._limiters[1].take(now)

    def free(self) -> None:
        """Free a slot."""
        self.sending -= 1

    def started(self) -> None:
        """Record that a row was started: an outage is over."""
        self._failures = self._refusals = self._failed_probes = 0

    def failed(self, row: Row, error: Exception, now: float) -> None:
        """Record that a start failed for a reason that may affect others, and let a slot rest.

        The rest doubles with each failed probe of an outage; what was sent before the outage does not lengthen it.
        What the vendor asks for (`Retry-After`) is heeded up to `RetryPolicy.patience`.
        """
        self._failures += 1
        self._failed_probes += row is self._probe
        rest = self._retry.backoff(1 + self._failed_probes, chance=1.0)
        asked = error.retry_after if isinstance(error, AgentsError) else None
        self.rest(max(rest, min(asked or 0.0, self._retry.patience)), now)

    @property
    def refusals(self) -> int:
        """Return about how often a row was refused because the vendor had no slot, including this time."""
        return 1 + self._refusals // self._most

    def refused(self, seconds: float, now: float) -> None:
        """Record that the vendor had no slot, and let a slot rest for `seconds`."""
        self._refusals += 1
        self.rest(seconds, now)

    def rest(self, seconds: float, now: float) -> None:
        """Leave a slot empty for a while."""
        heappush(self._rests, now + seconds)
