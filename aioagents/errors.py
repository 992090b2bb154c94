"""Everything that can go wrong, in one tree. The branch says who is at fault.

    AgentsError
    ├── TransportError               no reply came, or not the whole of it
    │   ├── NotSent                  the server surely saw nothing (DNS, refused, TLS, no connection in time)
    │   ├── ReplyLost                the server may have acted (reset, timeout, cut body)
    │   └── StreamCut                the answer came bit by bit, and broke off in the middle
    ├── ReplyError                   the vendor said no
    │   ├── BadRequest               400, 413, 415, 422
    │   ├── AuthenticationError      401, also from the token endpoint
    │   ├── PermissionDenied         403
    │   ├── NotFound                 404, 410
    │   ├── Conflict                 409
    │   ├── Throttled                429
    │   └── ServerError              5xx
    ├── DecodeError                  the vendor's answer has the wrong shape
    ├── StartUnknown                 a start was sent, and whether a run began cannot be known
    ├── RunFailed, RunAborted        the run itself; raised by `result()` alone
    ├── WaitTimeout                  the wait's own deadline; also a TimeoutError
    ├── PoolClosed                   the pool is closed, not yet open, or of another event loop
    ├── AuthorizationRequired        an end user has to sign in first
    ├── WebhookRejected              a delivery that cannot be trusted
    └── JournalError                 a batch's journal cannot be used

Each survives pickling and prints neither secrets nor personal data. What the server itself said is in
`detail`, which no message contains.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime
    from typing import Any

    from .model import Run, RunRef


class AgentsError(Exception):
    """Root of all errors of this package.

    Facts, each `None` or empty where it does not apply: `vendor`, `call` (`aop.status`), `ref` and `run`
    (the last `Run` seen), `status` (HTTP), `retry_after` (seconds the server asked for), `request_id` (the
    vendor's, for its support), `detail` (the server's own words, at most 500 characters, never printed), `tries`
    (how many times the request was made).
    """

    vendor: str = ""
    call: str = ""
    ref: RunRef | None = None
    run: Run | None = None
    status: int | None = None
    retry_after: float | None = None
    request_id: str | None = None
    detail: str = ""
    tries: int = 1
    #: Whether the same call may well succeed later.
    is_passing: bool = False

    def __init__(self, message: str = "", **facts: object) -> None:
        super().__init__(message)
        for name, value in facts.items():
            setattr(self, name, value)


class TransportError(AgentsError):
    """No reply came, or not the whole of it."""

    is_passing = True


class NotSent(TransportError):
    """The request surely did not reach the server; repeating it is safe."""


class ReplyLost(TransportError):
    """The request was sent and no whole reply came back; the server may have acted on it."""


class StreamCut(TransportError):
    """A streamed answer broke off in the middle: the connection was lost, or it ended inside an event.

    `events` counts those that came whole, and were given before; `received` is what came of the next one, at most
    64 KiB of it (never printed). `run` tells of the run, which goes on at the vendor's side for all that is known.
    """

    is_passing = False  # it is not the same call that is of use now, but a poll at the run
    received: bytes = b""
    events: int = 0


class ReplyError(AgentsError):
    """The vendor answered, and the answer is no. `code` is its own word for why, empty where it gives none."""

    code: str = ""


class BadRequest(ReplyError):
    """The vendor does not accept what was sent."""


class AuthenticationError(ReplyError):
    """Credentials or token were not accepted, also after one renewal."""


class PermissionDenied(ReplyError):
    """The token is good and lacks the right; a new token does not help."""


class NotFound(ReplyError):
    """There is no such thing."""


class Conflict(ReplyError):
    """The request contradicts the present state.

    Where the vendor tells them: `reason` (a word, empty when unknown), `retry_at` (the earliest useful moment),
    `active` (how many are) and `limit` (how many may be).
    """

    reason: str = ""
    retry_at: datetime | None = None
    active: int | None = None
    limit: int | None = None


class Throttled(ReplyError):
    """The vendor asks for fewer requests; nothing was executed."""

    is_passing = True


class ServerError(ReplyError):
    """The vendor's side failed."""

    is_passing = True


class DecodeError(AgentsError):
    """The answer has the wrong shape. `path` says where in the body (`$.result.rows[3].runId`)."""

    path: str = "$"


class StartUnknown(AgentsError):
    """A start was sent, and whether a run began cannot be known. It was not and will not be sent again.

    `target` is what was to be started, `sent_at` when (UTC), `body` what was sent (never printed), `advice`
    how to find out later, `deed` what cannot be known to have happened. The `__cause__` is what happened to the
    reply.
    """

    action: str = "started a run"
    target: str = ""
    sent_at: datetime | None = None
    body: bytes | None = None
    advice: str = ""


class RunFailed(AgentsError):
    """The run ended as failed; `run` has its error."""


class RunAborted(AgentsError):
    """The run was aborted or cancelled at the vendor's side."""


class WaitTimeout(AgentsError, TimeoutError):
    """The wait's deadline passed; the run goes on. `run` is the last state seen, if any look succeeded."""


class PoolClosed(AgentsError):
    """The pool is closed, was never entered, or belongs to another event loop."""


class AuthorizationRequired(AgentsError):
    """An end user has to sign in before the run can go on.

    `pending_authorizations` are the sign-ins that are owed, `reply` is what the vendor answered besides, if it did.
    """

    pending_authorizations: Sequence[Any] = ()
    reply: Any = None


class WebhookRejected(AgentsError):
    """A webhook delivery that is forged, old, repeated, oversized or malformed."""


class JournalError(AgentsError):
    """A batch's journal is damaged, foreign, newer or in use, or cannot be written; the message says what to do.

    `key` names the row that it is about, where it is about one.
    """

    key: str = ""


_BY_STATUS: Final[Mapping[int, type[ReplyError]]] = {
    400: BadRequest,
    401: AuthenticationError,
    403: PermissionDenied,
    404: NotFound,
    409: Conflict,
    410: NotFound,
    413: BadRequest,
    415: BadRequest,
    422: BadRequest,
    429: Throttled,
}
_FIRST_SERVER_STATUS: Final = 500


def error_class(status: int) -> type[ReplyError]:
    """Say which error a status that is not a success stands for."""
    if status >= _FIRST_SERVER_STATUS:
        return ServerError
    return _BY_STATUS.get(status, ReplyError)
