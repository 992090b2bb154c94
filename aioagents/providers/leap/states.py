"""Leap: its status words, and the state that each is mapped to. Pure."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from ...model import RunState

# Three of the words are in every source; `queued` and `cancelled` were added in March 2024. No source says that
# `cancelled` is final; that follows from the word alone.
STATES: Final[Mapping[str, RunState]] = MappingProxyType(
    {
        "queued": RunState.QUEUED,
        "running": RunState.RUNNING,
        "completed": RunState.COMPLETED,
        "failed": RunState.FAILED,
        "cancelled": RunState.ABORTED,
    }
)


def state_of(status: str) -> RunState:
    """Return the state of a status word; an unknown word is `UNKNOWN`, which is polled on and never an end."""
    return STATES.get(status, RunState.UNKNOWN)
