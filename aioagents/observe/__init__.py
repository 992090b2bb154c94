"""Events, and the hooks and the log that they are emitted to."""

from .events import (
    AnswerSent,
    CancelSent,
    Event,
    PollFailed,
    PollsFailing,
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
    "AnswerSent",
    "CancelSent",
    "Dispatcher",
    "Event",
    "Hook",
    "PollFailed",
    "PollsFailing",
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
