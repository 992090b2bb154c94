"""The phases of a row in a running batch, and the commands that its core returns. Data only.

A phase says what is known of a row and which change the journal was asked to record, so that the answer needs no
callback. `J` is the state that the journal has, `asks` the change that is being recorded.

    phase        J         asks                          leaves on: for the next phase
    REPLANNING   UNKNOWN*  PLANNED                       answer: READY in input order, or gone
    LOST         SENDING   UNKNOWN                       answer: outcome UNKNOWN, or gone
    READY        PLANNED                                 slot and rate: RECORDING
    RECORDING    PLANNED   SENDING                       answer: RECORDED, or gone
    RECORDED     SENDING                                 its moment: SENT; stop: RETURNING
    SENT         SENDING                                 handle: CONFIRMING; ended run: ENDING_AT_ONCE;
                                                         error: FAILING, RETURNING; lost: outcome
    RETURNING    SENDING   PLANNED                       answer: READY at the back, or outcome SENDING
    CONFIRMING   SENDING   STARTED                       answer: FOLLOWED, or outcome SENDING with the reference
    ENDING_AT_ONCE
                 SENDING   the end                       answer: outcome, or outcome SENDING with the reference
    FAILING      SENDING   REFUSED, UNKNOWN or PLANNED   answer: outcome
    WAITING      STARTED                                 slot: FOLLOWED
    FOLLOWED     STARTED                                 end of the run: ENDING; error, deadline: outcome STARTED
    ENDING       STARTED   the end                       answer: outcome, or gone

    * or SENDING, where an earlier run left the row and it is to be sent again
"""

from collections.abc import Callable, Mapping, Sequence
from enum import Enum
from types import MappingProxyType
from typing import TYPE_CHECKING, Final, NamedTuple, TypeAlias

from ..contract import BatchRow
from ..model import Run, RunRef
from .outcome import Outcome
from .record import Change, Record, RowState

if TYPE_CHECKING:
    from datetime import datetime

    from ..polling import RunHandle


class Phase(Enum):
    """Where a row stands in a running batch."""

    __hash__ = object.__hash__  # members are singletons: hashing by identity is faster than by name

    REPLANNING = "replanning"
    LOST = "lost"
    READY = "ready"
    RECORDING = "recording"
    RECORDED = "recorded"
    SENT = "sent"
    RETURNING = "returning"
    CONFIRMING = "confirming"
    ENDING_AT_ONCE = "ending at once"
    FAILING = "failing"
    WAITING = "waiting"
    FOLLOWED = "followed"
    ENDING = "ending"
    GONE = "gone"


PHASE_MOVES: Final[Mapping[Phase, frozenset[Phase]]] = MappingProxyType(
    {
        Phase.REPLANNING: frozenset({Phase.READY, Phase.GONE}),
        Phase.LOST: frozenset({Phase.GONE}),
        Phase.READY: frozenset({Phase.RECORDING, Phase.GONE}),
        Phase.RECORDING: frozenset({Phase.RECORDED, Phase.GONE}),
        Phase.RECORDED: frozenset({Phase.SENT, Phase.RETURNING}),
        Phase.SENT: frozenset(
            {Phase.CONFIRMING, Phase.ENDING_AT_ONCE, Phase.FAILING, Phase.RETURNING, Phase.GONE}
        ),
        Phase.RETURNING: frozenset({Phase.READY, Phase.GONE}),
        Phase.CONFIRMING: frozenset({Phase.FOLLOWED, Phase.GONE}),
        Phase.ENDING_AT_ONCE: frozenset({Phase.GONE}),
        Phase.FAILING: frozenset({Phase.GONE}),
        Phase.WAITING: frozenset({Phase.FOLLOWED}),
        Phase.FOLLOWED: frozenset({Phase.ENDING, Phase.GONE}),
        Phase.ENDING: frozenset({Phase.GONE}),
        Phase.GONE: frozenset(),
    }
)
#: Rows whose start may have been sent: a killed process leaves at most these unknown.
SENDING_PHASES: Final = frozenset({Phase.RECORDING, Phase.RECORDED, Phase.SENT})
#: Rows that count as in flight.
IN_FLIGHT_PHASES: Final = SENDING_PHASES | {
    Phase.RETURNING,
    Phase.CONFIRMING,
    Phase.ENDING_AT_ONCE,
    Phase.FAILING,
    Phase.FOLLOWED,
    Phase.ENDING,
}


class Row:
    """One row of a running batch, from its claim, or from the journal of an earlier run, until its outcome."""

    __slots__ = (
        "error",
        "handle",
        "input",
        "is_cancelled",
        "key",
        "phase",
        "ref",
        "run",
        "sent_at",
        "state",
        "target",
        "unfollow",
    )

    def __init__(
        self, key: str, target: str, phase: Phase, *, row: BatchRow | None = None, ref: RunRef | None = None
    ) -> None:
        self.key = key
        self.target = target
        self.phase = phase
        #: The row of the input; None for a row that an earlier run left.
        self.input = row
        self.ref = ref
        self.handle: RunHandle | None = None
        #: When its start was sent (UTC); None as long as it was certainly not sent.
        self.sent_at: datetime | None = None
        #: The state to record after a failed start, and the error of that start.
        self.state = RowState.SENDING
        self.error: Exception | None = None
        #: The run where it has ended, or where the answer to its start was no handle.
        self.run: Run | None = None
        #: Whether the vendor was asked to cancel the run before it ended.
        self.is_cancelled = False
        #: Removes the callback by which the driver learns of the run's end.
        self.unfollow: Callable[[], None] | None = None

    def move(self, phase: Phase) -> None:
        """Enter `phase`. Raises RuntimeError for a move that the table does not have."""
        if phase not in PHASE_MOVES[self.phase]:
            raise RuntimeError(f"row {self.key!r} cannot go from {self.phase.value} to {phase.value}")
        self.phase = phase

    @property
    def last(self) -> Run | None:
        """Return the run as it was seen last, None before that."""
        return self.run if self.handle is None else self.handle.last

    def __repr__(self) -> str:
        return f"<Row {self.key!r} {self.phase.value}>"


class ReadOpen(NamedTuple):
    """Continue reading the rows that an earlier run left open."""


class ReadInput(NamedTuple):
    """Continue reading the input."""


class Claim(NamedTuple):
    """Claim rows in the journal. There is no other claim before this one is answered."""

    rows: Sequence[BatchRow]


class Save(NamedTuple):
    """Record changes in the journal. There is no other `Save` before this one is answered."""

    changes: Sequence[Change]


class Start(NamedTuple):
    """Send the start of the row, which the journal has as SENDING."""

    row: Row


class CancelUnsent(NamedTuple):
    """Send no further request for the starts in progress."""


class Follow(NamedTuple):
    """Report the end of the row's run to the core; attach to the run if there is no handle."""

    row: Row


class Unfollow(NamedTuple):
    """Stop reporting the end of the row's run."""

    row: Row


class Cancel(NamedTuple):
    """Ask the vendor to cancel the row's run, which is followed."""

    row: Row


class Emit(NamedTuple):
    """Pass an outcome to the reader. `row` is set if the journal does not have what the outcome says."""

    outcome: Outcome
    row: Row | None


class Abandon(NamedTuple):
    """Emit `StartAbandoned`: the reader has left, and the journal does not have the outcome of the start."""

    row: Row
    error: Exception | None


class Found(NamedTuple):
    """Report a row of the input that is not started, since the journal or this process has it already."""

    row: BatchRow
    record: Record


class WakeAt(NamedTuple):
    """Ask for commands again at this time, infinity for never. Replaces the previous time."""

    at: float


class End(NamedTuple):
    """End the iteration: the reader gets the outcomes emitted so far, then `error` if there is one."""

    error: Exception | None


Command: TypeAlias = (
    ReadOpen
    | ReadInput
    | Claim
    | Save
    | Start
    | CancelUnsent
    | Follow
    | Unfollow
    | Cancel
    | Emit
    | Abandon
    | Found
    | WakeAt
    | End
)
