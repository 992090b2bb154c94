"""AGH Runtime: its status words, and the state that each is mapped to. Pure.

There are two kinds of runs: of automations (AGH automation API, section 7), and of tasks, to which an automation
run may be delegated (section 8).
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from ...model import RunState

#: Two words need more than this table: a `failed` run may be retried under the same id, and a `scheduled` one with a
#: delivery error never runs (both in `finality`).
RUN_STATES: Final[Mapping[str, RunState]] = MappingProxyType(
    {
        "scheduled": RunState.QUEUED,
        "running": RunState.RUNNING,
        # The record never changes again, though the work goes on: its end is that of the task run.
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
        # Nothing happens until a person acts.
        "needs_attention": RunState.PAUSED,
        "completed": RunState.COMPLETED,
        "failed": RunState.FAILED,
        "canceled": RunState.ABORTED,
    }
)


def run_state_of(status: str) -> RunState:
    """Return the state of an automation run's status; an unknown word is `UNKNOWN`, polled on and never an end."""
    return RUN_STATES.get(status, RunState.UNKNOWN)


def task_run_state_of(status: str) -> RunState:
    """Return the state of a task run's status; an unknown word is `UNKNOWN`, polled on and never an end."""
    return TASK_RUN_STATES.get(status, RunState.UNKNOWN)
