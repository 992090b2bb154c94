"""The log as one listener: logger `aioagents`, never a secret, never personal data."""

import logging
from collections.abc import Mapping
from typing import Any, Final

from . import events

_LOG: Final = logging.getLogger("aioagents")
_LEVELS: Final[Mapping[type[events.Event], int]] = {
    events.RequestDone: logging.DEBUG,
    events.RunChanged: logging.DEBUG,
    events.RunStarted: logging.DEBUG,
    events.TokenRenewed: logging.DEBUG,
    events.PollFailed: logging.INFO,
    events.RateLowered: logging.INFO,
    events.RetryScheduled: logging.INFO,
    events.StatusUnknown: logging.WARNING,
    events.TokenFailed: logging.WARNING,
    events.TokenStoreFailed: logging.WARNING,
    events.StartAbandoned: logging.WARNING,
}


def is_verbose() -> bool:
    """Return whether the log wants what happens with every request."""
    return _LOG.isEnabledFor(logging.DEBUG)


def log_event(event: events.Event) -> None:
    """Log `event`; the event itself is in the record as `event`."""
    level = _LEVELS.get(type(event), logging.DEBUG)
    if _LOG.isEnabledFor(level):
        _LOG.log(level, "%r", event, extra={"event": event})


def log_hook_error(hook: Any, error: Exception) -> None:
    """Log, once for each hook, that it raised."""
    _LOG.error("the hook %r raised; further errors of it are not logged", hook, exc_info=error)
