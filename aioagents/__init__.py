"""Starts agent and workflow runs over HTTP, never twice by accident, and awaits their end."""

from contextlib import suppress
from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

from .auth import FileTokenStore, MemoryTokenStore, TokenCache
from .errors import (
    AgentsError,
    AuthenticationError,
    AuthorizationRequired,
    BadReference,
    BadRequest,
    Conflict,
    DecodeError,
    ForeignReply,
    JournalError,
    NotFound,
    NotSent,
    PermissionDenied,
    PoolClosed,
    ReplyError,
    ReplyLost,
    RunAborted,
    RunCancelled,
    RunFailed,
    ServerError,
    StartUnknown,
    StreamCut,
    Throttled,
    TransportError,
    Unsupported,
    WaitTimeout,
    WebhookRejected,
)
from .model import Run, RunRef, RunState, Secret
from .polling import Growing, Learned, RunHandle, Steady
from .pool import PoolStatistics, SessionPool
from .retry import RetryPolicy
from .transport import PoolLimits, RateLimit, Timeouts

# For type checkers, which cannot list a folder. At runtime `__getattr__` finds all this without these lines, and also
# vendors that they do not name; the classes of those are typed where they are imported from the vendor's folder.
if TYPE_CHECKING:
    from .batch import Batch, BatchRow, Journal
    from .providers.agent_platform import AgentPlatform
    from .providers.agh import Agh
    from .providers.leap import Leap
    from .providers.leena import Leena, LeenaCredentials, LeenaEndpoints
    from .webhooks import WebhookReceiver

    __all__ = [
        "AgentPlatform",
        "AgentsError",
        "Agh",
        "AuthenticationError",
        "AuthorizationRequired",
        "BadReference",
        "BadRequest",
        "Batch",
        "BatchRow",
        "Conflict",
        "DecodeError",
        "FileTokenStore",
        "ForeignReply",
        "Growing",
        "Journal",
        "JournalError",
        "Leap",
        "Learned",
        "Leena",
        "LeenaCredentials",
        "LeenaEndpoints",
        "MemoryTokenStore",
        "NotFound",
        "NotSent",
        "PermissionDenied",
        "PoolClosed",
        "PoolLimits",
        "PoolStatistics",
        "RateLimit",
        "ReplyError",
        "ReplyLost",
        "RetryPolicy",
        "Run",
        "RunAborted",
        "RunCancelled",
        "RunFailed",
        "RunHandle",
        "RunRef",
        "RunState",
        "Secret",
        "ServerError",
        "SessionPool",
        "StartUnknown",
        "Steady",
        "StreamCut",
        "Throttled",
        "Timeouts",
        "TokenCache",
        "TransportError",
        "Unsupported",
        "WaitTimeout",
        "WebhookReceiver",
        "WebhookRejected",
    ]

# A program uses a vendor or two: all vendors, and what runs batches, are imported when they are first asked for.
_LATER: Final = {
    "Batch": ".batch",
    "BatchRow": ".batch",
    "Journal": ".batch",
    "WebhookReceiver": ".webhooks",
}


def __getattr__(name: str) -> Any:
    globals()[name] = found = _public_names() if name == "__all__" else _find(name)
    return found


def _find(name: str) -> Any:
    if name in _LATER:
        return getattr(import_module(_LATER[name], __name__), name)
    # Vendors have classes here, and no other names: `from . import codec` must not import them to find its module.
    if name[0].isupper():
        from .providers import find_public  # noqa: PLC0415 - as above

        with suppress(LookupError):
            return find_public(name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def _public_names() -> list[str]:
    from .providers import public_names  # noqa: PLC0415 - as above

    own = [
        name
        for name, value in globals().items()
        if getattr(value, "__module__", "").startswith(f"{__name__}.")
    ]
    return sorted({*own, *_LATER, *public_names()})


def __dir__() -> list[str]:
    return sorted({*globals(), *_public_names()})
