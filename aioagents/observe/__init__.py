"""What happens, told to whoever listens: events, hooks and the log."""

from .events import (
    Event,
    PollFailed,
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
from .hooks import Dispatcher, Hook

__all__ = [
    "Dispatcher",
    "Event",
    "Hook",
    "PollFailed",
    "RateLowered",
    "RequestDone",
    "RetryScheduled",
    "RunChanged",
    "RunStarted",
    "StartAbandoned",
    "StatusUnknown",
    "TokenFailed",
    "TokenRenewed",
    "TokenStoreFailed",
]
