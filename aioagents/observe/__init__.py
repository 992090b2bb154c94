"""What happens, told to whoever listens: events, hooks and the log."""

from .events import (
    Event,
    LookFailed,
    RateLowered,
    RequestDone,
    RetryScheduled,
    RunChanged,
    RunStarted,
    StartAbandoned,
    StatusUnknown,
    TokenFailed,
    TokenRenewed,
    TokenStoreFailed,
)
from .hooks import Hook, Teller

__all__ = [
    "Event",
    "Hook",
    "LookFailed",
    "RateLowered",
    "RequestDone",
    "RetryScheduled",
    "RunChanged",
    "RunStarted",
    "StartAbandoned",
    "StatusUnknown",
    "Teller",
    "TokenFailed",
    "TokenRenewed",
    "TokenStoreFailed",
]
