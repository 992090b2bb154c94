"""Logs events with the logger `aioagents`; no secret and no personal data is logged."""

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
    events.AnswerSent: logging.INFO,
    events.CancelSent: logging.INFO,
    events.PollFailed: logging.INFO,
    events.RateLowered: logging.INFO,
    events.RetryScheduled: logging.INFO,
    events.PollsFailing: logging.WARNING,
    events.StatusUnknown: logging.WARNING,
    events.TokenFailed: logging.WARNING,
    events.TokenStoreFailed: logging.WARNING,
    events.StartAbandoned: logging.WARNING,
}


def is_verbose() -> bool:
    """Return whether the logger is enabled for DEBUG, at which every request is logged."""
    return _LOG.isEnabledFor(logging.DEBUG)


def log_event(event: events.Event) -> None:
    """Log `event`; the log record has it as its attribute `event`."""
    level = _LEVELS.get(type(event), logging.DEBUG)
    if _LOG.isEnabledFor(level):
        _LOG.log(level, "%r", event, extra={"event": event})


def log_hook_error(hook: Any, error: Exception) -> None:
    """Log that `hook` raised; to be called once for each hook."""
    _LOG.error("the hook %r raised; further errors of it are not logged", hook, exc_info=error)
