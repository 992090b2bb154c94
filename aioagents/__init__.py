"""Starts agent and workflow runs over HTTP, never twice by accident, and awaits their end."""

from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

from .auth import FileTokenStore, MemoryTokenStore, TokenCache
from .errors import (
    AgentsError,
    AuthenticationError,
    AuthorizationRequired,
    BadRequest,
    Conflict,
    DecodeError,
    JournalError,
    NotFound,
    NotSent,
    PermissionDenied,
    PoolClosed,
    ReplyError,
    ReplyLost,
    RunAborted,
    RunFailed,
    ServerError,
    StartUnknown,
    StreamCut,
    Throttled,
    TransportError,
    WaitTimeout,
    WebhookRejected,
)
from .model import Run, RunRef, RunState, Secret
from .polling import Growing, RunHandle, Steady
from .pool import PoolStatistics, SessionPool
from .retry import RetryPolicy
from .transport import PoolLimits, RateLimit, Timeouts

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
    "BadRequest",
    "Batch",
    "BatchRow",
    "Conflict",
    "DecodeError",
    "FileTokenStore",
    "Growing",
    "Journal",
    "JournalError",
    "Leap",
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
    "WaitTimeout",
    "WebhookReceiver",
    "WebhookRejected",
]

# A program uses a vendor or two: the others, and what runs batches, are imported when they are first asked for.
_LATER: Final = {
    "AgentPlatform": ".providers.agent_platform",
    "Agh": ".providers.agh",
    "Batch": ".batch",
    "BatchRow": ".batch",
    "Journal": ".batch",
    "Leap": ".providers.leap",
    "Leena": ".providers.leena",
    "LeenaCredentials": ".providers.leena",
    "LeenaEndpoints": ".providers.leena",
    "WebhookReceiver": ".webhooks",
}


def __getattr__(name: str) -> Any:
    if name not in _LATER:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    globals()[name] = found = getattr(import_module(_LATER[name], __name__), name)
    return found


def __dir__() -> list[str]:
    return sorted({*globals(), *_LATER})
