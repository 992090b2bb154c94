"""The seven states of a run, the same for every vendor."""

from enum import StrEnum


class RunState(StrEnum):
    """The state of a run. `COMPLETED`, `FAILED` and `ABORTED` are final, the others are not.

    `UNKNOWN` stands for a status word of the vendor's that is not known here; such a run is polled on.
    """

    QUEUED = "queued"
    RUNNING = "running"
    PAUSED = "paused"
    COMPLETED = "completed"
    FAILED = "failed"
    ABORTED = "aborted"
    UNKNOWN = "unknown"

    is_terminal: bool  # a plain attribute, since it is read with every poll


for _state in RunState:
    _state.is_terminal = _state in {RunState.COMPLETED, RunState.FAILED, RunState.ABORTED}
del _state
