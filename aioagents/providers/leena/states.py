"""Leena AI: its status words, and the state that each is mapped to. Pure."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from ...model import RunState

#: Only in the answer to execute; the status call never returns it.
ACCEPTED: Final = "accepted"

STATES: Final[Mapping[str, RunState]] = MappingProxyType(
    {
        "in_progress": RunState.RUNNING,
        "paused": RunState.PAUSED,
        "completed": RunState.COMPLETED,
        "failed": RunState.FAILED,
        "aborted": RunState.ABORTED,
    }
)


def state_of(status: str) -> RunState:
    """Return the state of a status word; an unknown word is `UNKNOWN`, which is polled on and never an end."""
    return STATES.get(status, RunState.UNKNOWN)
