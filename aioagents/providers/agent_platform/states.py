"""Kore Agent Platform: its words for where runs and dock jobs stand. Pure."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from ...model import RunState

# Written in either case on the vendor's page, so compared in lower case. `processing` stands in acknowledgements
# alone, outside of the set that the status call lists (Agent Platform API, sections 6.5.3 and 6.6).
RUN_STATES: Final[Mapping[str, RunState]] = MappingProxyType(
    {
        "pending": RunState.QUEUED,
        "processing": RunState.QUEUED,
        "running": RunState.RUNNING,
        "success": RunState.COMPLETED,
        "failed": RunState.FAILED,
    }
)

# Section 8.2; one page prints `IN PROGRESS` and `IN_ PROGRESS`.
DOCK_STATES: Final[Mapping[str, RunState]] = MappingProxyType(
    {
        "IN_PROGRESS": RunState.RUNNING,
        "SUCCESS": RunState.COMPLETED,
        "FAILED": RunState.FAILED,
    }
)


def run_state(status: str) -> RunState:
    """Return the state for a run's status word; one that is not known is watched on, never an end."""
    return RUN_STATES.get(status.strip().lower(), RunState.UNKNOWN)


def dock_state(status: str) -> RunState:
    """Return the state for a dock job's status word; one that is not known is watched on, never an end."""
    return DOCK_STATES.get("_".join(status.replace("_", " ").split()).upper(), RunState.UNKNOWN)
