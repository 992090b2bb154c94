"""What a batch reports of its rows, and of itself."""

from collections.abc import Mapping
from datetime import datetime
from typing import Final

from attrs import field, frozen

from .. import errors
from ..errors import AgentsError, RunCancelled, StartUnknown
from ..model import Run, RunRef
from ..model.quick import quick
from .plan import ENDS, fault_of
from .record import Record, RowState

_RUN_STATES: Final = {row: run for run, row in ENDS.items()}
_FOREIGN: Final[Mapping[str, type[Exception]]] = {"ValueError": ValueError, "TypeError": TypeError}


@quick
@frozen(kw_only=True)
class Outcome:
    """What came of a row.

    `state` is what the journal has. Where it is settled, that is the end of it. Else the row is left for the next
    time the batch is run: `PLANNED`, its start surely began nothing (`error` says why); `STARTED`, its run goes on,
    and the wait for it ended with `error`; `SENDING`, what became of its start could not be recorded.

    `run` is the run as it was seen last, `error` what went wrong: the error of the start or of the wait, `RunFailed`
    or `RunAborted` for such an end, `RunCancelled` for one that the batch asked for, `RowFault` for a line that is no
    row (`key` is then empty where none could be read), ValueError for a key that stands twice (a `RowFault` where the
    row's line is known). `is_replayed`: the row was settled by an earlier run of the batch and comes from the
    journal; `run` then has what is kept there, and no `raw`.
    """

    key: str
    state: RowState
    target: str = ""
    ref: RunRef | None = None
    run: Run | None = None
    error: Exception | None = None
    is_replayed: bool = False

    @property
    def is_settled(self) -> bool:
        """Return whether the batch has nothing left to do for the row."""
        return self.state.is_settled

    @property
    def is_cancelled(self) -> bool:
        """Return whether the run ended because the batch asked the vendor to cancel it, whatever its `state` is."""
        return isinstance(self.error, RunCancelled)

    @classmethod
    def of_run(cls, key: str, target: str, run: Run, *, is_cancelled: bool = False) -> "Outcome":
        """Return the outcome of a run that ended."""
        error = fault_of(run, is_cancelled=is_cancelled)
        return cls(key=key, state=ENDS[run.state], target=target, ref=run.ref, run=run, error=error)

    @classmethod
    def of_record(cls, record: Record) -> "Outcome":
        """Return the outcome of a row that was settled before."""
        run = _run_of(record)
        return cls(
            key=record.key,
            state=record.state,
            target=record.target,
            ref=record.ref,
            run=run,
            error=_error_of(record)
            if run is None
            else fault_of(run, is_cancelled=record.kind == RunCancelled.__name__),
            is_replayed=True,
        )


def _run_of(record: Record) -> Run | None:
    state = _RUN_STATES.get(record.state)
    if state is None or record.ref is None or record.ended_at is None:
        return None
    return Run(
        ref=record.ref,
        state=state,
        status=record.status,
        ended_at=record.ended_at,
        output=record.output,
        error=record.error or None,
        seen_at=record.ended_at,
    )


def _error_of(record: Record) -> Exception | None:
    """Return an error of the kind that was recorded, with its words; facts beyond these were not kept."""
    if not record.kind:
        return None
    if record.kind in _FOREIGN:
        return _FOREIGN[record.kind](record.error)
    kind = getattr(errors, record.kind, AgentsError)
    if kind is StartUnknown:
        return StartUnknown(record.error, target=record.target, sent_at=record.sent_at)
    is_ours = isinstance(kind, type) and issubclass(kind, AgentsError)
    return (kind if is_ours else AgentsError)(record.error)


@frozen(kw_only=True)
class BatchStatistics:
    """What a batch did since it was begun, and what it is doing.

    Rows: `read` from the input so far, of which `faulty` are no rows or stand twice; `ready` are claimed and wait
    to be started; `sending` have their start sent, and `in_flight` are those and the ones whose run is followed;
    `resumed` were in flight when an earlier run of the batch ended. `starts` counts runs begun, `replayed` the
    rows that were settled before, `states` the outcomes by state, replayed ones included, faulty rows not; `unread`
    outcomes wait for the reader. `begun_at` is None before the first run.
    """

    begun_at: datetime | None = None
    read: int = 0
    faulty: int = 0
    ready: int = 0
    sending: int = 0
    in_flight: int = 0
    resumed: int = 0
    starts: int = 0
    replayed: int = 0
    unread: int = 0
    states: Mapping[RowState, int] = field(factory=dict)
    is_stopping: bool = False

    @property
    def settled(self) -> int:
        """Return how many rows are settled, also those that were before."""
        return sum(count for state, count in self.states.items() if state.is_settled)

    @property
    def unknown(self) -> int:
        """Return how many rows were sent without anybody knowing whether a run began."""
        return self.states.get(RowState.UNKNOWN, 0)
