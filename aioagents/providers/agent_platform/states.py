"""Kore Agent Platform: its status words of runs and dock jobs. Pure."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from ...model import RunState

# The vendor's page writes them in either case, so they are compared in lower case. `processing` occurs only in
# acknowledgements, not in the list of the status call (Agent Platform API, sections 6.5.3 and 6.6).
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
    """Return the state for a run's status word: UNKNOWN, which is not terminal, for unknown words."""
    return RUN_STATES.get(status.strip().lower(), RunState.UNKNOWN)


def dock_state(status: str) -> RunState:
    """Return the state for a dock job's status word: UNKNOWN, which is not terminal, for unknown words."""
    return DOCK_STATES.get("_".join(status.replace("_", " ").split()).upper(), RunState.UNKNOWN)
