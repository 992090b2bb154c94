"""The states of a row and their transitions, and what a journal keeps of a row. Pure.

    PLANNED -> SENDING -> STARTED -> COMPLETED, FAILED, ABORTED
                  |
                  +-> COMPLETED, FAILED, ABORTED      the answer to the start was the end of its run
                  +-> REFUSED      no run began, and another attempt would not help
                  +-> PLANNED      no run began, and the start may be tried again
                  +-> UNKNOWN      the start was sent, and whether a run began cannot be known

An unknown row is settled only by hand: STARTED with the run that was found, PLANNED to send it again, DROPPED to
leave it. A person, but no batch, may also change a row that would not get any further by itself:

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
    """The state of a row. Settled rows never change again, except UNKNOWN and REFUSED ones by hand."""

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

MOVES: Final[Mapping[RowState, frozenset[RowState]]] = MappingProxyType(
    {
        RowState.PLANNED: frozenset({RowState.SENDING, RowState.REFUSED}),
        RowState.SENDING: _ENDS | {RowState.STARTED, RowState.REFUSED, RowState.PLANNED, RowState.UNKNOWN},
        RowState.STARTED: _ENDS,
        RowState.UNKNOWN: frozenset({RowState.STARTED, RowState.PLANNED, RowState.DROPPED}),
        **dict.fromkeys((*_ENDS, RowState.REFUSED, RowState.DROPPED), frozenset()),
    }
)

#: Further transitions, for a `Change` that is made by hand.
BY_HAND: Final[Mapping[RowState, frozenset[RowState]]] = MappingProxyType(
    {
        RowState.STARTED: frozenset({RowState.STARTED, RowState.PLANNED, RowState.DROPPED}),
        RowState.REFUSED: frozenset({RowState.PLANNED, RowState.DROPPED}),
    }
)


@quick
@frozen(kw_only=True)
class Record:
    """One row as its journal has it.

    `digest` is a digest of the row's content, which the journal does not keep. `owner` names the process that changed
    the row last. `sent_at` is the time just before the start was sent, `ended_at` the time when its run ended, both
    UTC. `kind` and `error` are the type and the message of an error, `status` is the vendor's last word for the run,
    `output` is the run's output, as JSON values.

    `is_changed`: this owner changed the row in this run of the batch before it was claimed or read, so its outcome is
    reported anyway. In records that a claim returns: `is_repeated`, the key was claimed before in this run, so it is
    in the input twice; `is_held`, another owner that is alive works on the row, and reports its outcome.
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
    """A change of a row. Members are as in `Record`; those that are not given stay as they are.

    `at` is the time of the change. `ended_at` is the time when the run ended by the vendor's clock; it is used if it
    lies between the start and `at`, otherwise `at` is. `is_by_hand` says that a person made the change, which allows
    the transitions of `BY_HAND` as well.
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
    """Where a batch records the state of each row: a file, or a database shared by several machines.

    Every method may raise `JournalError`, and has then changed nothing. A journal is used by one run at a time.

    A journal that several owners use at the same time assigns each row, in whatever state, to one of them only, in
    one atomic step: to the owner that claims it first, or that receives it as unfinished. An owner holds a row until
    its next `begin`, or until the journal decides that the owner is gone; for all others the row is `is_held`.
    """

    async def begin(self) -> None:
        """Begin a run of a batch, to which later claims and changes belong."""
        ...

    async def claim(self, rows: Sequence[BatchRow]) -> Sequence[Record]:
        """Claim rows for this run, and return their records in the same order. New rows become PLANNED.

        If a key was claimed before in this run, the record is `is_repeated`, whatever the row's content. Raise
        JournalError for a key that an earlier run claimed with another content.
        """
        ...

    async def record(self, changes: Sequence[Change]) -> None:
        """Make changes; they are on disk when this returns.

        Raise JournalError for a transition that the tables do not have, for a row that is STARTED, or has ended
        right after SENDING, without the reference of its run, and for a row that another owner holds: an owner that
        was believed to be gone must not go on.
        """
        ...

    def unfinished(self) -> AsyncIterator[Record]:
        """Return the rows that are SENDING or STARTED, and that this owner holds or one that is gone held.

        They are read slowly, while rows change: rows that this run has changed are `is_changed`, or left out.
        """
        ...
