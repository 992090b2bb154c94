"""Leena AI: its words for where a run stands. Pure."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from ...model import RunState

#: Answer of execute alone; the status call never says it.
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
    """Return the state for a status word; one that is not known is watched on, never an end."""
    return STATES.get(status, RunState.UNKNOWN)
