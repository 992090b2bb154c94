"""What holds the polls of a run back: polls that failed in a row, and the time that a server asked for.

Pure: it neither waits nor reads a clock.
"""

import math
from typing import Final, NamedTuple, Self, TypeAlias

from ..errors import AgentsError, AuthenticationError, ReplyError, copy_of
from ..retry import RetryPolicy, is_page

#: Polls that fail for the same reason, in a row, until that is reported: the wait may be hopeless.
HOPELESS: Final = 10
_FORGOTTEN: Final = 600.0  # seconds without such a failure, after which the same reason is reported again

#: What makes two failures the same: class, HTTP status, and the vendor's error code.
Cause: TypeAlias = tuple[type[AgentsError], int | None, str]


class Backoff(NamedTuple):
    """The polls of a run that failed in a row, and the time before which the server wants none."""

    failures: int = 0
    #: How many of them had a page or a reply that cannot be read, and how many of the latest failed for one reason.
    unreadable: int = 0
    alike: int = 0
    #: When the first of them was that said that the credentials are refused.
    refused_at: float = math.inf
    #: The latest one's error, without traceback and cause: it may be kept for long.
    error: AgentsError | None = None
    #: Before this moment, the server wants no poll.
    until: float = -math.inf

    def after(self, error: AgentsError, now: float) -> Self:
        """Return what follows from one more failure."""
        is_alike = self.error is not None and cause_of(self.error) == cause_of(error)
        return self._replace(
            failures=self.failures + 1,
            unreadable=self.unreadable + is_page(error),
            refused_at=min(self.refused_at, now)
            if isinstance(error, AuthenticationError)
            else self.refused_at,
            alike=self.alike + 1 if is_alike else 1,
            error=copy_of(error),
        )

    def may_pass(self, error: AgentsError, retry: RetryPolicy, now: float) -> bool:
        """Return whether a poll after the latest one, which failed with `error`, may succeed.

        Pages of others end no wait of an account that has had answers of the vendor's, but for those from the first
        answer on: the base URL may be wrong. Credentials that were good are given up after a time of refusals.
        """
        if isinstance(error, AuthenticationError):
            return error.is_passing and now - self.refused_at < retry.tolerance
        return error.is_passing or (is_page(error) and self.unreadable < retry.attempts)

    def __str__(self) -> str:
        if self.error is None:
            return ""
        polls = "the last poll" if self.failures == 1 else f"the last {self.failures} polls"
        status = "" if self.error.status is None else f" {self.error.status}"
        return f"{polls} failed ({type(self.error).__name__}{status})"


NO_BACKOFF: Final = Backoff()


def cause_of(error: AgentsError) -> Cause:
    """Return what two errors of the same cause have in common."""
    return type(error), error.status, error.code if isinstance(error, ReplyError) else ""


class Reported:
    """The reasons for which an account's polls keep failing, so that each is reported once and not for every run."""

    __slots__ = ("_latest",)

    def __init__(self) -> None:
        self._latest: dict[Cause, float] = {}  # when the latest such failure was

    def is_new(self, backoff: Backoff, now: float) -> bool:
        """Note a failed poll. Return whether it is the first of its account that keeps failing for this reason.

        A reason is new again once no run has kept failing for it for ten minutes.
        """
        if backoff.error is None or backoff.alike < HOPELESS:
            return False
        cause = cause_of(backoff.error)
        latest = self._latest.get(cause, -math.inf)
        if cause not in self._latest:  # few are ever kept
            self._latest = {each: at for each, at in self._latest.items() if now - at <= _FORGOTTEN}
        self._latest[cause] = now
        return now - latest > _FORGOTTEN
