"""What a journal knows of a row, and how that may change. Pure.

    PLANNED -> SENDING -> STARTED -> COMPLETED, FAILED, ABORTED
                  |
                  +-> REFUSED      the run surely did not begin, and trying again is of no use
                  +-> PLANNED      it surely did not begin, and may be tried again
                  +-> UNKNOWN      it was sent, and whether a run began cannot be known

An unknown row is settled by hand alone: STARTED with the run that was found, PLANNED to send it once more,
DROPPED to leave it. The same may be done by hand, and by no batch, where a row would never get any further:

    STARTED -> STARTED with another run, PLANNED, DROPPED
    REFUSED -> PLANNED, DROPPED
"""

from collections.abc import AsyncIterator, Mapping, Sequence
from datetime import datetime
from enum import StrEnum
from types import MappingProxyType
from typing import Any, Final, Protocol

from attrs import field, frozen

from ..contract import BatchRow
from ..model import RunRef
from ..model.quick import quick


class RowState(StrEnum):
    """Where a row of a batch stands. What is settled is never touched again, but for UNKNOWN and REFUSED by hand."""

    PLANNED = "planned"
    SENDING = "sending"
    STARTED = "started"
    COMPLETED = "completed"
    FAILED = "failed"
    ABORTED = "aborted"
    UNKNOWN = "unknown"
    REFUSED = "refused"
    DROPPED = "dropped"

    @property
    def is_settled(self) -> bool:
        """Return whether the batch has nothing left to do for the row."""
        return self not in _OPEN


_OPEN: Final = frozenset({RowState.PLANNED, RowState.SENDING, RowState.STARTED})
_ENDS: Final = frozenset({RowState.COMPLETED, RowState.FAILED, RowState.ABORTED})

TRANSITIONS: Final[Mapping[RowState, frozenset[RowState]]] = MappingProxyType(
    {
        RowState.PLANNED: frozenset({RowState.SENDING, RowState.REFUSED}),
        RowState.SENDING: frozenset({RowState.STARTED, RowState.REFUSED, RowState.PLANNED, RowState.UNKNOWN}),
        RowState.STARTED: _ENDS,
        RowState.UNKNOWN: frozenset({RowState.STARTED, RowState.PLANNED, RowState.DROPPED}),
        **dict.fromkeys((*_ENDS, RowState.REFUSED, RowState.DROPPED), frozenset()),
    }
)

#: Moves besides these that people may have made, by a `Change` that says so.
BY_HAND: Final[Mapping[RowState, frozenset[RowState]]] = MappingProxyType(
    {
        RowState.STARTED: frozenset({RowState.STARTED, RowState.PLANNED, RowState.DROPPED}),
        RowState.REFUSED: frozenset({RowState.PLANNED, RowState.DROPPED}),
    }
)


@quick
@frozen(kw_only=True)
class Record:
    """One row as its journal knows it.

    `digest` is of the row's content, which the journal does not keep. `owner` names who changed it last (host,
    process, batch). `sent_at` is when the start was about to leave, `ended_at` when its run ended, both UTC.
    `kind` and `error` tell of what went wrong (`RunFailed`, words), `status` is the vendor's own last word,
    `output` the run's, as JSON values.

    `is_changed`: this owner changed the row in this run of the batch before it was claimed or read, so its outcome
    was, or will be, told without that. Claims tell more: `is_repeated`, the same key was claimed before in this run,
    so it stands twice in the input. `is_held`, another owner, who is alive, has the row in hand, and its outcome is
    told there.
    """

    key: str
    target: str
    digest: bytes = field(repr=False)
    state: RowState
    owner: str
    ref: RunRef | None = None
    sent_at: datetime | None = None
    ended_at: datetime | None = None
    status: str = ""
    kind: str = ""
    error: str = field(default="", repr=False)
    output: Any = field(default=None, repr=False)
    is_repeated: bool = False
    is_changed: bool = False
    is_held: bool = False


@quick
@frozen(kw_only=True)
class Change:
    """What a row becomes. Members as in `Record`; those that are not given stay as they are.

    `at` is when it was seen. `ended_at` is when the run ended by the vendor's clock; it counts where it lies between
    the start and `at`, and otherwise `at` does. `is_by_hand` says that a person asked for it: the moves of `BY_HAND`
    may be made as well.
    """

    key: str
    state: RowState
    ref: RunRef | None = None
    at: datetime
    status: str = ""
    kind: str = ""
    error: str = field(default="", repr=False)
    output: Any = field(default=None, repr=False)
    ended_at: datetime | None = None
    is_by_hand: bool = False


class BatchJournal(Protocol):
    """Where a batch keeps what must not be lost. One file here; a database shared by machines fits as well.

    Every method raises `JournalError`, and has then changed nothing. One run uses a journal at a time.

    A journal that several owners use at one time gives each row, whatever its state, to one of them only: to who
    claims it first, or is given it as unfinished, in one indivisible step. Who has a row in hand keeps it until its
    next `begin`, or until it is gone, which the journal decides; to all others the row is `is_held`.
    """

    async def begin(self) -> None:
        """Begin a run of a batch: what is claimed and changed from now on counts as of this run."""
        ...

    async def claim(self, rows: Sequence[BatchRow]) -> Sequence[Record]:
        """Take rows on: those not known yet become PLANNED. Returns each one's record, in order.

        A key that was claimed before in this run is repeated, whatever its content. Else a row whose key is known
        with another content is refused.
        """
        ...

    async def record(self, changes: Sequence[Change]) -> None:
        """Make changes; they are on disk when this returns.

        Refuses a move that the tables do not have, and a row that somebody else has in hand: an owner who was taken
        for gone must not go on.
        """
        ...

    def unfinished(self) -> AsyncIterator[Record]:
        """Return the rows that are SENDING or STARTED, and that this owner has, or one who is gone.

        It is read slowly, while rows are changed: those that this run has changed are `is_changed`, or left out.
        """
        ...
