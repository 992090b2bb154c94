"""The seven states that runs of every vendor are told in."""

from enum import StrEnum


class RunState(StrEnum):
    """Where a run stands. `COMPLETED`, `FAILED` and `ABORTED` are ends; nothing else is.

    `UNKNOWN` stands for a vendor's word that is not known here: such a run is watched on.
    """

    QUEUED = "queued"
    RUNNING = "running"
    PAUSED = "paused"
    COMPLETED = "completed"
    FAILED = "failed"
    ABORTED = "aborted"
    UNKNOWN = "unknown"

    is_terminal: bool  # a plain attribute, since every poll asks for it


for _state in RunState:
    _state.is_terminal = _state in {RunState.COMPLETED, RunState.FAILED, RunState.ABORTED}
del _state
