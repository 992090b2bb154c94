"""AGH Runtime: its words for where a run stands. Pure.

There are two kinds of runs: of automations (AGH automation API, section 7), and of tasks, to which an automation
run may be delegated (section 8).
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from ...model import RunState

#: Two words say less than they seem to: `failed` may be tried again under the same id (`finality`), and
#: `scheduled` never goes on where a delivery error stands beside it (`records`).
RUN_STATES: Final[Mapping[str, RunState]] = MappingProxyType(
    {
        "scheduled": RunState.QUEUED,
        "running": RunState.RUNNING,
        # Never changes again, though the work goes on: its end is that of the task run.
        "delegated": RunState.RUNNING,
        "completed": RunState.COMPLETED,
        "failed": RunState.FAILED,
        "canceled": RunState.ABORTED,
    }
)

TASK_RUN_STATES: Final[Mapping[str, RunState]] = MappingProxyType(
    {
        "queued": RunState.QUEUED,
        "claimed": RunState.QUEUED,
        "starting": RunState.RUNNING,
        "running": RunState.RUNNING,
        # Nothing happens until somebody acts.
        "needs_attention": RunState.PAUSED,
        "completed": RunState.COMPLETED,
        "failed": RunState.FAILED,
        "canceled": RunState.ABORTED,
    }
)


def run_state_of(status: str) -> RunState:
    """Return the state for an automation run's word; one that is not known is watched on, never an end."""
    return RUN_STATES.get(status, RunState.UNKNOWN)


def task_run_state_of(status: str) -> RunState:
    """Return the state for a task run's word; one that is not known is watched on, never an end."""
    return TASK_RUN_STATES.get(status, RunState.UNKNOWN)
