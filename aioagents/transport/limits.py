"""The pool's settings for connections, quotas and time. Pure."""

import math
from typing import Any

from attrs import Attribute, field, frozen


def _above_zero(_: object, attribute: "Attribute[Any]", value: Any) -> None:
    if isinstance(value, bool) or not isinstance(value, int | float) or not value > 0:
        raise ValueError(f"{attribute.name} has to be a number above 0, not {value!r}")


def _above_zero_or_none(_: object, attribute: "Attribute[Any]", value: Any) -> None:
    if value is not None:
        _above_zero(_, attribute, value)


def _above_zero_and_finite(_: object, attribute: "Attribute[Any]", value: Any) -> None:
    _above_zero(_, attribute, value)
    if math.isinf(value):
        raise ValueError(f"{attribute.name} has to be a number above 0 and below infinity")


def _count(_: object, attribute: "Attribute[Any]", value: Any) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise ValueError(f"{attribute.name} has to be a whole number above 0, not {value!r}")


def _endless(value: float | None) -> float | None:
    return None if value == math.inf else value


@frozen
class RateLimit:
    """At most `requests` in any `seconds`. Requests leave evenly spaced: there is no burst above the quota."""

    requests: float = field(validator=_above_zero)
    seconds: float = field(default=1.0, validator=_above_zero)

    @property
    def per_second(self) -> float:
        """Return the quota as requests a second."""
        return self.requests / self.seconds


def _rate(value: "float | RateLimit | None") -> "RateLimit | None":
    return value if value is None or isinstance(value, RateLimit) else RateLimit(value)


@frozen(kw_only=True)
class PoolLimits:
    """What a pool may use at most.

    For each account: `requests_at_once`, and `requests_per_second` over all its requests (None: until the
    vendor throttles). Looks have a purse of their own: they never take the last places, give way to starts,
    and may be held to `polls_per_second`. For each host: `per_host` connections, and no account has more
    requests than that at once, so that none waits for a connection after the quota let it out. Where several
    accounts share a host, that still happens unless `requests_at_once` of them all fit into `per_host`; and what
    waits for a connection to be made leaves when it is.
    Requests that are answered when the work is done (synchronous runs, streams, AGH's triggers and deliveries) have
    connections of their own and count among neither once they are sent: of them, `long_at_once` for each account.
    What is beyond waits for its turn before it is sent.
    For the pool: `lookers` polls under way at once, of which no single account ever gets more than half, and
    `reply_bytes` for one reply; of a refusal never more than 64 KiB are read.
    """

    requests_at_once: int = field(default=100, validator=_count)
    per_host: int = field(default=100, validator=_count)
    long_at_once: int = field(default=1000, validator=_count)
    requests_per_second: RateLimit | None = field(default=None, converter=_rate)
    polls_per_second: RateLimit | None = field(default=None, converter=_rate)
    pollers: int = field(default=64, validator=_count)
    reply_bytes: int = field(default=64 * 1024 * 1024, validator=_count)


@frozen(kw_only=True)
class Timeouts:
    """How long things may take, in seconds; None means without end.

    `connect`: to get a connection, waiting for a free one included. `read`: from the moment at which a call that
    may be repeated is sent to the end of its reply, connecting not counted. `start`: the same for a call that
    starts a run; generous, since giving up on one leaves a run nobody knows of. `token`: the same for the token
    endpoint. A timeout that is given with one call bounds its connecting and its reply together. Over an aiohttp
    session of the caller's, where sending cannot be seen, `read`, `start` and `token` bound each silence, and with
    `connect` added the whole.
    `silence`: the longest pause in a reply that comes bit by bit, and before it. `close`: how long closing the pool
    waits for starts whose reply is still out. `keep_alive`: how long an idle connection is kept; longer than the
    cadence's longest gap, or each poll pays for a new connection.
    """

    connect: float | None = field(default=10.0, converter=_endless, validator=_above_zero_or_none)
    read: float | None = field(default=30.0, converter=_endless, validator=_above_zero_or_none)
    start: float | None = field(default=120.0, converter=_endless, validator=_above_zero_or_none)
    token: float | None = field(default=30.0, converter=_endless, validator=_above_zero_or_none)
    silence: float | None = field(default=300.0, converter=_endless, validator=_above_zero_or_none)
    close: float = field(default=5.0, validator=_above_zero_and_finite)
    keep_alive: float = field(default=75.0, validator=_above_zero_and_finite)

    def total(self, seconds: float | None) -> float | None:
        """Return the bound on connecting and reading together, None where one of them has no end."""
        return None if seconds is None or self.connect is None else seconds + self.connect
