"""How fast an account's polls may begin while its vendor is down, and after that: slowly at first, then ever faster.

Pure: it neither waits nor reads a clock.
"""

import math
from typing import Final

from ..errors import AgentsError, DecodeError, ForeignReply, ServerError, TransportError

#: Polls of an account that fail in a row until that counts as an outage.
OUTAGE: Final = 20
FIRST_RATE: Final = 16.0  # polls a second in an outage, and in the first second after it
DOUBLINGS: Final = 10  # the rate doubles every second, so often; after that there is no bound
_GRANTED_EVERY: Final = 0.25  # seconds
# Signs of a vendor that is down. A 429 is none: the rate limiter heeds it.
_FAULTS: Final = (TransportError, ServerError, DecodeError, ForeignReply)


def rate_after(seconds: float) -> float:
    """Return how many polls a second may begin so long after an outage ended."""
    return FIRST_RATE * 2.0 ** int(seconds) if seconds < DOUBLINGS else math.inf


class SlowStart:
    """How many polls an account may begin: any number, but for an outage and the time just after it.

    Thousands of polls are overdue when a vendor comes back, and all of them at once could bring it down again.
    """

    __slots__ = ("_ended_at", "_outage", "allowed", "failures", "grant_at")

    def __init__(self, outage: int = OUTAGE) -> None:
        self._outage = outage
        #: How many polls may begin until the next grant.
        self.allowed = math.inf
        #: When to call `grant`; infinite while there is no bound.
        self.grant_at = math.inf
        #: How many polls of the account failed in a row, as far as the vendor may be down.
        self.failures = 0
        self._ended_at = math.inf

    def failed(self, error: AgentsError, now: float) -> None:
        """Record that a poll failed: with too many in a row, an outage begins."""
        if not isinstance(error, _FAULTS) or (error.is_foreign and not error.is_passing):
            return  # the vendor is not down where it never answered: waits that cannot succeed end soon
        self.failures += 1
        if self.failures < self._outage:
            return
        self._ended_at = math.inf
        if self.grant_at == math.inf:
            self.grant_at = now
            self.grant(now)

    def succeeded(self, now: float) -> None:
        """Record that a poll succeeded, which ends an outage."""
        if self.failures >= self._outage:
            self._ended_at = now
        self.failures = 0

    def grant(self, now: float) -> None:
        """Allow as many polls as may begin until the next call; those that were not begun before are forfeit."""
        if now < self.grant_at:
            return
        rate = rate_after(max(now - self._ended_at, 0.0))
        self.allowed = rate * _GRANTED_EVERY
        self.grant_at = now + _GRANTED_EVERY if rate < math.inf else math.inf
