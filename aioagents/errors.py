"""All errors, in one tree. The branch says where the fault lies.

    AgentsError
    ├── TransportError               no reply came, or not the whole of it
    │   ├── NotSent                  the server surely saw nothing (DNS, refused, TLS, no connection in time)
    │   ├── ReplyLost                the server may have acted (reset, timeout, truncated body)
    │   └── StreamCut                a streamed reply broke off in the middle
    ├── ReplyError                   the vendor refused
    │   ├── BadRequest               400, 413, 415, 422
    │   ├── AuthenticationError      401, also from the token endpoint
    │   ├── PermissionDenied         403
    │   ├── NotFound                 404, 410
    │   ├── Conflict                 409
    │   ├── Throttled                429
    │   ├── ServerError              5xx
    │   └── ForeignReply             any other status, with a page that is not the vendor's
    ├── DecodeError                  the vendor's reply has the wrong shape
    ├── StartUnknown                 a start was sent, and whether a run began cannot be known
    ├── RunFailed                    the run itself; raised by `result()` alone
    ├── RunAborted                   the same
    │   └── RunCancelled             the run ended after a batch asked the vendor to cancel it
    ├── WaitTimeout                  the wait's own deadline; also a TimeoutError
    ├── BadReference                 a text is no reference, or a reference is not of this endpoint; also a ValueError
    ├── PoolClosed                   the pool is closed, not yet open, or of another event loop
    ├── Unsupported                  the vendor has no call for this; nothing was sent
    ├── AuthorizationRequired        an end user has to sign in first
    ├── WebhookRejected              a delivery that cannot be trusted
    └── JournalError                 a batch's journal cannot be used

Each can be pickled, and prints neither secrets nor personal data. The server's own message is in `detail`, which no
message of ours contains.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from .model.run import AgentsError, BadReference

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime
    from typing import Any

__all__ = [
    "AgentsError",
    "AuthenticationError",
    "AuthorizationRequired",
    "BadReference",
    "BadRequest",
    "Conflict",
    "DecodeError",
    "ForeignReply",
    "JournalError",
    "NotFound",
    "NotSent",
    "PermissionDenied",
    "PoolClosed",
    "ReplyError",
    "ReplyLost",
    "RunAborted",
    "RunFailed",
    "ServerError",
    "StartUnknown",
    "StreamCut",
    "Throttled",
    "TransportError",
    "WaitTimeout",
    "WebhookRejected",
    "error_class",
]


class TransportError(AgentsError):
    """No reply came, or not the whole of it."""

    is_passing = True


class NotSent(TransportError):
    """The request did not reach the server for certain; repeating it is safe."""


class ReplyLost(TransportError):
    """The request was sent and no whole reply came back; the server may have acted on it."""


class StreamCut(TransportError):
    """A streamed reply broke off in the middle: the connection was lost, or the reply ended inside an event.

    `events` counts the events that arrived whole, and were returned before; `received` is what arrived of the next
    one, at most 64 KiB of it (never printed). `run` is the run, which as far as is known goes on at the vendor.
    """

    is_passing = False  # repeating the call would not help, but polling the run does
    received: bytes = b""
    events: int = 0


class ReplyError(AgentsError):
    """The vendor refused. `code` is the error code that it gave, empty where there is none."""

    code: str = ""


class BadRequest(ReplyError):
    """The vendor does not accept what was sent."""


class AuthenticationError(ReplyError):
    """Credentials or token were not accepted, also after one renewal."""


class PermissionDenied(ReplyError):
    """The token is valid but lacks a permission; a new token does not help."""


class NotFound(ReplyError):
    """There is no such thing."""


class Conflict(ReplyError):
    """The request contradicts the present state.

    Where the vendor says so: `reason` (a word, empty when unknown), `retry_at` (when a retry may succeed at the
    earliest), `active` (how many there are) and `limit` (how many are allowed).
    """

    reason: str = ""
    retry_at: datetime | None = None
    active: int | None = None
    limit: int | None = None


class Throttled(ReplyError):
    """The vendor asks for fewer requests; nothing was executed."""

    is_passing = True


class ServerError(ReplyError):
    """The vendor's server failed."""

    is_passing = True


class ForeignReply(ReplyError):
    """A gateway, a proxy or another server answered, and not the vendor: a redirect, or a page in its own form.

    `host` is who answered. If an answer of the same account was the vendor's before, the error `is_passing`: such
    pages end no wait, and calls are repeated for `RetryPolicy.tolerance` seconds. If none was, the base URL may be
    wrong, and the error is raised after the usual attempts. Of a start, nothing began.
    """

    is_foreign = True


class DecodeError(AgentsError):
    """The reply has the wrong shape. `path` says where in the body (`$.result.rows[3].runId`).

    It `is_foreign` if the body is no JSON at all, such as a page that says that the service is being maintained.
    """

    path: str = "$"


class StartUnknown(AgentsError):
    """A start was sent, and whether a run began cannot be known. It was not and will not be sent again.

    `target` is what was to be started, `action` what may have been done ("started a run", "created a session"),
    `sent_at` when it was sent (UTC), `body` what was sent (never printed), and `advice` how to find out later. The
    `__cause__` says what happened to the reply.
    """

    action: str = "started a run"
    target: str = ""
    sent_at: datetime | None = None
    body: bytes | None = None
    advice: str = ""


class RunFailed(AgentsError):
    """The run ended as failed; `run` has its error."""


class RunAborted(AgentsError):
    """The run was aborted or cancelled at the vendor."""


class RunCancelled(RunAborted):
    """The run ended after a batch asked the vendor to cancel it. `run` has the end, whatever the vendor calls it."""


class WaitTimeout(AgentsError, TimeoutError):
    """The wait's deadline passed; the run goes on. `run` is the run as last seen, if any poll succeeded.

    `last_error` is the error of the last poll, if that failed, and `failures` how many polls failed in a row.
    """

    last_error: AgentsError | None = None
    failures: int = 0


class PoolClosed(AgentsError):
    """The pool is closed, was never entered, or belongs to another event loop."""


class Unsupported(AgentsError):
    """The vendor has no call for what was asked. Nothing was sent."""


class AuthorizationRequired(AgentsError):
    """An end user has to sign in before the run can go on.

    `pending_authorizations` are the sign-ins that are needed, `reply` is what else the vendor answered, if anything.
    """

    pending_authorizations: Sequence[Any] = ()
    reply: Any = None


class WebhookRejected(AgentsError):
    """A webhook delivery is forged, old, repeated, oversized or malformed."""


class JournalError(AgentsError):
    """A batch's journal is damaged, foreign, newer or in use, or cannot be written; the message says what to do.

    `key` is that of the row concerned, if it is one row.
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
_KNOWN_ANYWHERE: Final = frozenset({401, 429})
_FIRST_SERVER_STATUS: Final = 500


def error_class(status: int, *, is_foreign: bool = False) -> type[ReplyError]:
    """Return the class of the error for an HTTP status that is not 2xx, of the vendor's or on a foreign page.

    What 401, 429 and 5xx mean is known whoever answers.
    """
    if status >= _FIRST_SERVER_STATUS:
        return ServerError
    if is_foreign and status not in _KNOWN_ANYWHERE:
        return ForeignReply
    return _BY_STATUS.get(status, ReplyError)


def copy_of(error: AgentsError) -> AgentsError:
    """Return a new error equal to `error`, without its traceback and its cause."""
    kind = type(error)
    copy = kind.__new__(kind, *error.args)
    vars(copy).update(vars(error))
    return copy
