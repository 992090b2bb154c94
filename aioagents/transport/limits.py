"""The pool's settings for connections, quotas and time. Pure."""

import math
from typing import Any

from attrs import Attribute, field, frozen


def _above_zero(_: object, attribute: "Attribute[Any]", value: Any) -> None:
    if value is None or isinstance(value, RateLimit):
        return
    if isinstance(value, bool) or not isinstance(value, int | float) or not value > 0:
        raise ValueError(f"{attribute.name} has to be a number above 0, not {value!r}")


def _count(_: object, attribute: "Attribute[Any]", value: Any) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise ValueError(f"{attribute.name} has to be a whole number above 0, not {value!r}")


@frozen
class RateLimit:
    """At most `requests` in any `seconds`. Requests leave evenly spaced: there is no burst above the quota."""

    requests: float = field(validator=_above_zero)
    seconds: float = field(default=1.0, validator=_above_zero)

    @property
    def per_second(self) -> float:
        """Give the quota as requests a second."""
        return self.requests / self.seconds


def _rate(value: "float | RateLimit | None") -> "RateLimit | None":
    return value if value is None or isinstance(value, RateLimit) else RateLimit(value)


@frozen(kw_only=True)
class PoolLimits:
    """What a pool may use at most.

    For each account: `requests_at_once`, and `requests_per_second` over all its requests (None: until the
    vendor throttles). Looks have a purse of their own: they never take the last places, give way to starts,
    and may be held to `looks_per_second`. For each host: `per_host` connections. For the pool: `lookers`
    looks under way at once, of which no single account ever gets more than half, and `reply_bytes` for one
    reply.
    """

    requests_at_once: int = field(default=100, validator=_count)
    per_host: int = field(default=100, validator=_count)
    requests_per_second: RateLimit | None = field(default=None, converter=_rate)
    looks_per_second: RateLimit | None = field(default=None, converter=_rate)
    lookers: int = field(default=64, validator=_count)
    reply_bytes: int = field(default=64 * 1024 * 1024, validator=_count)


@frozen(kw_only=True)
class Timeouts:
    """How long things may take, in seconds; None means without end.

    `connect`: to get a connection, waiting for a free one included. `read`: for a whole reply to a call that
    may be repeated. `start`: the same for a call that starts a run; generous, since giving up on one leaves
    a run nobody knows of. `token`: the same for the token endpoint. `close`: how long closing the pool waits
    for starts whose reply is still out. `keep_alive`: how long an idle connection is kept; longer than the
    cadence's longest gap, or each look pays for a new connection.
    """

    connect: float | None = field(default=10.0, validator=_above_zero)
    read: float | None = field(default=30.0, validator=_above_zero)
    start: float | None = field(default=120.0, validator=_above_zero)
    token: float | None = field(default=30.0, validator=_above_zero)
    close: float = field(default=5.0, validator=_above_zero)
    keep_alive: float = field(default=75.0, validator=_above_zero)

    def total(self, seconds: float | None) -> float | None:
        """Give the bound on connecting and reading together."""
        return None if seconds is None else seconds + (self.connect or math.inf)
