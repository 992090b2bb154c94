"""Events: frozen values that are emitted to hooks. The repr of none contains a secret or personal data."""

from datetime import datetime

from attrs import field, frozen

from ..errors import AgentsError
from ..model import Run, RunRef
from ..model.quick import quick


@frozen(kw_only=True)
class Event:
    """Something that happened in the use of a vendor."""

    vendor: str


@frozen(kw_only=True)
class RequestDone(Event):
    """A request was answered, or failed (`status` is None), after `seconds`, the reading of its reply included.

    Emitted only where there is a hook, or the logger is at DEBUG.
    """

    call: str
    method: str
    status: int | None
    seconds: float
    error: AgentsError | None = None


@frozen(kw_only=True)
class RetryScheduled(Event):
    """A call failed for the n-th time (`failures`) and is retried after `delay` seconds."""

    call: str
    failures: int
    delay: float
    error: AgentsError


@frozen(kw_only=True)
class RateLowered(Event):
    """The vendor throttles: the account now sends at most `per_second`, and nothing for `hold` seconds."""

    per_second: float
    hold: float


@frozen(kw_only=True)
class TokenRenewed(Event):
    """A token was obtained; `from_store` says that another pool or process had fetched it."""

    lifetime: float
    seconds: float
    from_store: bool = False


@frozen(kw_only=True)
class TokenFailed(Event):
    """No token could be obtained."""

    error: AgentsError


@frozen(kw_only=True)
class TokenStoreFailed(Event):
    """The token store could not be read, written or locked; the token is obtained without it."""

    error: Exception


@quick
@frozen(kw_only=True)
class RunStarted(Event):
    """A start was accepted."""

    target: str
    run: Run


@frozen(kw_only=True)
class StartAbandoned(Event):
    """The outcome of a start that was sent, and that nobody waits for any more.

    `run` is the run that began. It is None where that cannot be known (`error` is then a `StartUnknown`) or where
    none began (any other error). This is the only trace of such a run: keep it.
    """

    target: str
    sent_at: datetime
    ref: RunRef | None = None
    run: Run | None = None
    error: AgentsError | None = None


@quick
@frozen(kw_only=True)
class RunChanged(Event):
    """A poll found a change, or the answer to a start was an end. `previous` is None for the first time."""

    run: Run
    previous: Run | None = field(repr=False)


@frozen(kw_only=True)
class StatusUnknown(Event):
    """A run has a status word that is not known here. It is polled on. Emitted once for each word."""

    run: Run


@frozen(kw_only=True)
class PollFailed(Event):
    """A poll failed for a passing reason; the next one is due after `delay` seconds."""

    ref: RunRef
    failures: int
    delay: float
    error: AgentsError


@frozen(kw_only=True)
class CancelSent(Event):
    """A vendor was asked to cancel a run. `run` is what its reply said of the run, None where it said nothing.

    With an `error` the run may go on. Emitted also where the run was found to have ended before.
    """

    ref: RunRef
    run: Run | None = None
    error: AgentsError | None = None


@frozen(kw_only=True)
class AnswerSent(Event):
    """An answer that a run asked for was sent to its vendor; otherwise as `CancelSent`."""

    ref: RunRef
    answer: str
    run: Run | None = None
    error: AgentsError | None = None


@frozen(kw_only=True)
class PollsFailing(Event):
    """Polls keep failing for the same reason, those of `ref` by now `failures` times in a row.

    Waiting may be hopeless; it goes on. Emitted once for an account and a reason (class, status and code of the
    error), however many of its runs fail so; `runs` is how many runs of the account are waited for.
    """

    ref: RunRef
    failures: int
    runs: int
    error: AgentsError
