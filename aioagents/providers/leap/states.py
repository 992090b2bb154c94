"""Leap: its words for where a run stands. Pure."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from ...model import RunState

# Three of the words are in every source; `queued` and `cancelled` came in March 2024. That `cancelled` is an
# end follows from the word alone.
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
    """Return the state for a status word; one that is not known is watched on, never an end."""
    return STATES.get(status, RunState.UNKNOWN)
