"""A pool's settings: limits and timeouts. Pure."""

import math
from typing import Any

from attrs import Attribute, field, frozen

from ..model import Purpose


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
    """At most `requests` in any `seconds`. Requests are evenly spaced: there is no burst above the quota."""

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

    For each account: `requests_at_once`, and `requests_per_second` over all its requests (None: no bound until the
    vendor throttles). Polls have a budget of their own: they never take the last permits, give way to starts, and may
    be limited to `polls_per_second`.
    For each host: `per_host` connections. No account has more requests than that at once, so that none waits for a
    connection after the rate limit let it through. Where several accounts share a host, that still happens unless
    their `requests_at_once` together fit into `per_host`; and a request that waits for a connection to be made is
    sent when it is.
    For each account, `long_at_once` requests that are answered when the work is done (synchronous runs, streams,
    AGH's triggers and deliveries). They have connections of their own, and count towards neither of the bounds above
    once they are sent; further ones wait before they are sent.
    For the pool: `pollers` polls under way at once, of which no single account ever gets more than half, and
    `reply_bytes` for one reply, `poll_bytes` for one to a poll; of a refusal never more than 64 KiB are read. Where
    replies under way have more than `reply_bytes_at_once` together, only one of them is received at a time. The
    headers of a reply may have `header_bytes` together, and be `header_lines` in number.
    """

    requests_at_once: int = field(default=100, validator=_count)
    per_host: int = field(default=100, validator=_count)
    long_at_once: int = field(default=1000, validator=_count)
    requests_per_second: RateLimit | None = field(default=None, converter=_rate)
    polls_per_second: RateLimit | None = field(default=None, converter=_rate)
    pollers: int = field(default=64, validator=_count)
    reply_bytes: int = field(default=64 * 1024 * 1024, validator=_count)
    reply_bytes_at_once: int = field(default=64 * 1024 * 1024, validator=_count)
    poll_bytes: int = field(default=16 * 1024 * 1024, validator=_count)
    header_bytes: int = field(default=64 * 1024, validator=_count)
    header_lines: int = field(default=200, validator=_count)

    def bytes_for(self, purpose: Purpose) -> int:
        """Return how large a reply may be."""
        return min(self.poll_bytes, self.reply_bytes) if purpose is Purpose.POLL else self.reply_bytes


@frozen(kw_only=True)
class Timeouts:
    """How long things may take, in seconds; None means without end.

    `connect`: to get a connection, waiting for a free one included. `read`: from the moment at which a call that
    may be repeated is sent to the end of its reply; connecting is not included. `start`: the same for a call that
    starts a run; long, since giving up on one leaves a run that nobody knows of. `token`: the same for the token
    endpoint. A timeout that is given for one call bounds connecting and reply together. Over an aiohttp session of
    the caller's, where sending cannot be observed, `read`, `start` and `token` bound each pause, and with `connect`
    added the whole.
    `silence`: the longest pause before and within a streamed reply. `close`: how long closing the pool waits for
    starts that are in flight. `keep_alive`: how long an idle connection is kept; it should be longer than the
    cadence's longest gap, or each poll needs a new connection.
    """

    connect: float | None = field(default=10.0, converter=_endless, validator=_above_zero_or_none)
    read: float | None = field(default=30.0, converter=_endless, validator=_above_zero_or_none)
    start: float | None = field(default=120.0, converter=_endless, validator=_above_zero_or_none)
    token: float | None = field(default=30.0, converter=_endless, validator=_above_zero_or_none)
    silence: float | None = field(default=300.0, converter=_endless, validator=_above_zero_or_none)
    close: float = field(default=5.0, validator=_above_zero_and_finite)
    keep_alive: float = field(default=75.0, validator=_above_zero_and_finite)

    def seconds_for(self, purpose: Purpose) -> float | None:
        """Return the bound on a reply, counted from the sending of its request; None for no bound."""
        if purpose is Purpose.START:
            return self.start
        return self.token if purpose is Purpose.TOKEN else self.read

    def total(self, seconds: float | None) -> float | None:
        """Return the bound on connecting and reading together, None where one of them has no end."""
        return None if seconds is None or self.connect is None else seconds + self.connect
