"""What happens, as frozen values told to hooks. None holds a secret or personal data in its repr."""

from datetime import datetime

from attrs import field, frozen

from ..errors import AgentsError
from ..model import Run, RunRef
from ..model.quick import quick


@frozen(kw_only=True)
class Event:
    """Something that happened at a vendor's account."""

    vendor: str


@frozen(kw_only=True)
class RequestDone(Event):
    """A request was answered, or failed (`status` is None). `seconds` runs from sending to the whole reply.

    Told only while somebody listens: a hook, or the logger at DEBUG.
    """

    call: str
    method: str
    status: int | None
    seconds: float
    error: AgentsError | None = None


@frozen(kw_only=True)
class RetryScheduled(Event):
    """A call failed for the n-th time and is tried again after `delay` seconds."""

    call: str
    failures: int
    delay: float
    error: AgentsError


@frozen(kw_only=True)
class RateLowered(Event):
    """The vendor throttles: the account now sends `per_second` at most, and nothing for `hold` seconds."""

    per_second: float
    hold: float


@frozen(kw_only=True)
class TokenRenewed(Event):
    """A token was obtained; `from_store` when another process had fetched it."""

    lifetime: float
    seconds: float
    from_store: bool = False


@frozen(kw_only=True)
class TokenFailed(Event):
    """No token could be obtained."""

    error: AgentsError


@frozen(kw_only=True)
class TokenStoreFailed(Event):
    """The token store could not be read, written or locked; the token is had without it."""

    error: Exception


@quick
@frozen(kw_only=True)
class RunStarted(Event):
    """A start was accepted."""

    target: str
    run: Run


@frozen(kw_only=True)
class StartAbandoned(Event):
    """Nobody waits any more for a start that was sent.

    `run` is what began, or None where that cannot be known (`error` is then a `StartUnknown`) or nothing
    began (any other error). This is the only trace of such a run: keep it.
    """

    target: str
    sent_at: datetime
    ref: RunRef | None = None
    run: Run | None = None
    error: AgentsError | None = None


@quick
@frozen(kw_only=True)
class RunChanged(Event):
    """A look saw something new; `previous` is None at the first poll."""

    run: Run
    previous: Run | None = field(repr=False)


@frozen(kw_only=True)
class StatusUnknown(Event):
    """A run shows a status word that is not known here. It is watched on. Told once for each word."""

    run: Run


@frozen(kw_only=True)
class PollFailed(Event):
    """A look failed for a passing reason; the next one comes after `delay` seconds."""

    ref: RunRef
    failures: int
    delay: float
    error: AgentsError
