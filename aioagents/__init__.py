"""Starts agent and workflow runs over HTTP, never twice by accident, and awaits their end."""

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
from .providers.agent_platform import AgentPlatform
from .providers.agh import Agh
from .providers.leap import Leap
from .providers.leena import Leena, LeenaCredentials, LeenaEndpoints
from .retry import RetryPolicy
from .transport import PoolLimits, RateLimit, Timeouts
from .webhooks import WebhookReceiver

__all__ = [
    "AgentPlatform",
    "AgentsError",
    "Agh",
    "AuthenticationError",
    "AuthorizationRequired",
    "BadRequest",
    "Conflict",
    "DecodeError",
    "FileTokenStore",
    "Growing",
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
