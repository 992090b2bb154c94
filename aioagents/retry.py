"""Whether and when a request is retried. Pure: given what happened, it returns seconds or None.

`may_repeat` decides whether a request, a POST that starts a run among them, may be sent again.
"""

import math
import re
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Final

from attrs import field, frozen, validators

from .errors import (
    AgentsError,
    AuthenticationError,
    DecodeError,
    ForeignReply,
    NotSent,
    ReplyError,
    ReplyLost,
    ServerError,
    Throttled,
)
from .model import Purpose, Request

if TYPE_CHECKING:
    from datetime import datetime

# Redirects that say that the request was not handled here (RFC 9110, 15.4); a 303 may follow an action.
_NOT_HERE: Final = frozenset({301, 302, 307, 308})
_FIRST_CLIENT_STATUS: Final = 400
# Sent by a gateway that got no answer from the server, or none in time, and by a server that got no whole request.
_GATEWAYS: Final = frozenset({408, 502, 504})
# Sent before the request was processed: by another server than was meant, and to data that may be a replay.
_UNPROCESSED: Final = frozenset({421, 425})
_REQUEST_TIMEOUT: Final = 408
#: Statuses below 500 that pass, whoever sends them.
PASSING: Final = _UNPROCESSED | {_REQUEST_TIMEOUT}
#: Seconds above which no `Retry-After` is taken at its word: a month. What is waited for is bounded by the policy.
LONGEST_RETRY_AFTER: Final = 31 * 86400.0
# The first number that is a moment, in seconds since 1970, and the first in milliseconds.
_FIRST_MOMENT: Final = 1e9
_FIRST_MOMENT_MS: Final = 1e12
_NUMBER: Final = re.compile(r"[0-9]{1,300}(\.[0-9]{1,300})?", flags=re.ASCII)
_DATE: Final = re.compile(
    r"([A-Z][a-z]+,? )?[ 0-9]?[0-9][ -][A-Z][a-z]{2}[ -]([0-9]{2}|[0-9]{4}) [0-9]{2}:[0-9]{2}:[0-9]{2} "
    r"(GMT|UTC|Z|[+-][0-9]{4})|[A-Z][a-z]{2} [A-Z][a-z]{2} [ 0-9]?[0-9] [0-9]{2}:[0-9]{2}:[0-9]{2} [0-9]{4}",
    flags=re.ASCII,
)
_LONGEST_EXPONENT: Final = 60
_SPREAD: Final = 0.1


def may_repeat(request: Request, error: AgentsError) -> bool:
    """Return whether sending `request` again after `error` may help and can do no harm.

    A POST that starts a run is sent again only where no run began for certain: it was not sent, or it was refused. A
    body that cannot be read twice is sent again only where none of it was read.
    """
    if request.is_spent:
        return isinstance(error, NotSent)
    if isinstance(error, AuthenticationError):
        return False  # it was sent again with a new token already
    if request.is_repeatable:
        if isinstance(
            error, DecodeError
        ):  # a page; of a token, repeating what cannot be read does no harm either
            return error.is_foreign or request.purpose is Purpose.TOKEN
        return error.is_passing or error.is_foreign
    if isinstance(error, NotSent | Throttled):
        return True
    return isinstance(error, ReplyError) and _began_nothing(request, error)


def _began_nothing(request: Request, error: ReplyError) -> bool:
    """Return whether a refusal that may pass says that `request` was not processed."""
    if isinstance(error, ServerError):
        return error.status in request.refused_by and not error.is_foreign
    if isinstance(error, ForeignReply):
        return not is_outcome_unknown(request, error)
    return error.status in _UNPROCESSED


def is_outcome_unknown(request: Request, error: AgentsError) -> bool:
    """Return whether, after `error`, it cannot be known if `request` started something."""
    if request.is_repeatable:
        return False
    if isinstance(error, ReplyLost | DecodeError):
        return True
    if isinstance(error, ServerError):
        return not _began_nothing(request, error)
    if isinstance(error, ReplyError) and error.status is not None:
        if error.status < _FIRST_CLIENT_STATUS:
            return error.status not in _NOT_HERE
        return error.status == _REQUEST_TIMEOUT
    return False


def is_reply_lost(error: AgentsError) -> bool:
    """Return whether the reply was lost, so that the request may have been acted upon or not."""
    return isinstance(error, ReplyLost) or (isinstance(error, ReplyError) and error.status in _GATEWAYS)


def is_page(error: AgentsError) -> bool:
    """Return whether the vendor did not answer, or not such that it can be read: what may be somebody else's page."""
    return isinstance(error, ForeignReply | DecodeError)


@frozen
class RetryPolicy:
    """How failed calls are retried. Times are seconds.

    A call is sent at most `attempts` times. Answers that are not the vendor's (a gateway's pages) are bounded by time
    instead, if the account has had answers of the vendor's: calls that get them are repeated for `tolerance` seconds.
    They end no wait. As long, a wait goes on after 401s, if the account had been accepted before: those of a moment
    are a fault of the vendor's. The wait before attempt n is drawn uniformly from [0, min(`cap`,
    `first` * 2**(n-2))] (full jitter). A server's `Retry-After` is waited in full; a call whose `Retry-After` is
    longer than `patience` is not retried. Each account may spend `reserve` retries a minute, and `share` more for
    each call it makes, so that an outage does not become a storm; retries after a 429 cost none, since the rate
    limit slows them down.
    """

    attempts: int = field(default=5, validator=validators.ge(1))
    first: float = field(default=0.5, validator=validators.gt(0))
    cap: float = field(default=30.0, validator=validators.gt(0))
    patience: float = field(default=300.0, validator=validators.ge(0))
    tolerance: float = field(default=60.0, validator=validators.ge(0))
    reserve: float = field(default=30.0, validator=validators.ge(0))
    share: float = field(default=0.2, validator=validators.ge(0))

    def backoff(self, failures: int, *, chance: float) -> float:
        """Return the wait in seconds after so many failures in a row; `chance` in [0, 1) is the jitter."""
        return chance * min(self.cap, self.first * 2.0 ** min(failures - 1, _LONGEST_EXPONENT))

    def delay(
        self,
        request: Request,
        error: AgentsError,
        *,
        failures: int,
        chance: float,
        left: float = math.inf,
        is_safe: bool = False,
        elapsed: float | None = None,
    ) -> float | None:
        """Return the seconds to wait before the next attempt, or None when there must be none.

        `failures` includes this one; `left` are the seconds until the caller's own deadline. `is_safe` says that this
        request may be repeated after any passing error, whatever the request itself says. `elapsed` are the seconds
        since the first failure, None where pages that are not the vendor's count as attempts.
        """
        is_safe = is_safe and error.is_passing and not request.is_spent
        if not (may_repeat(request, error) or is_safe):
            return None
        if elapsed is not None and error.is_passing and is_page(error):
            left = min(left, self.tolerance - elapsed)
        elif failures >= self.attempts:
            return None
        wait = self.backoff(failures, chance=chance)
        if error.retry_after is not None:
            if error.retry_after > self.patience:
                return None
            # Spread out, so that not all come at the time that the server named, which may be now or past.
            wait = max(wait, error.retry_after + min(wait, max(error.retry_after, self.first) * _SPREAD))
        return wait if wait < left else None


class RetryBudget:
    """How many retries an account may still spend. It is given the time, and reads no clock."""

    __slots__ = ("_at", "_balance", "_most", "_policy", "_share")

    def __init__(self, policy: RetryPolicy) -> None:
        self._policy = policy
        self._balance = policy.reserve
        self._share = policy.share
        self._most = max(2 * policy.reserve, policy.attempts)
        self._at: float | None = None

    @property
    def balance(self) -> float:
        """Return how many retries are left."""
        return self._balance

    def earn(self) -> None:
        """Add the share of one call; the balance grows to at most twice the reserve, or to what one call may use."""
        if self._balance < self._most:
            self._balance += self._share

    def spend(self, now: float) -> bool:
        """Spend one retry; return whether there was one."""
        if self._at is not None and self._balance < self._policy.reserve:
            refill = (now - self._at) * self._policy.reserve / 60.0
            self._balance = min(self._balance + refill, self._policy.reserve)
        self._at = now
        if self._balance < 1.0:
            return False
        self._balance -= 1.0
        return True


def read_retry_after(text: str | None, *, utcnow: "datetime") -> float | None:
    """Return the seconds of a `Retry-After` header, from 0 to `LONGEST_RETRY_AFTER`; None when absent or malformed.

    It is a number in ASCII digits, or an HTTP date in one of its three forms, counted from now. Some servers send
    what is neither, and is understood: fractions, offsets in place of `GMT`, and moments as seconds or milliseconds
    since 1970, which are as large as no time to wait can be.
    """
    if text is None:
        return None
    text = text.strip()
    if _NUMBER.fullmatch(text):
        seconds = float(text)
        if seconds >= _FIRST_MOMENT:
            seconds = (seconds / 1000.0 if seconds >= _FIRST_MOMENT_MS else seconds) - utcnow.timestamp()
    elif _DATE.fullmatch(text):
        try:
            moment = parsedate_to_datetime(text)
            if moment.tzinfo is None:
                moment = moment.replace(tzinfo=utcnow.tzinfo)
            seconds = (moment - utcnow).total_seconds()
        except (ValueError, TypeError, IndexError, OverflowError):
            return None
    else:
        return None
    return min(max(seconds, 0.0), LONGEST_RETRY_AFTER)
