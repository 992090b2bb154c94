"""Plans claims and changes: checks them against the rows they name and collects what is to be written. Pure."""

from collections.abc import Mapping, Sequence
from typing import Any, Final, TypeAlias

from attrs import evolve

from ...errors import JournalError
from ..record import BY_HAND, MOVES, Record, RowState
from .encoding import (
    ENDED,
    PLANNED,
    REF,
    SENDING,
    SETTLED,
    STARTED,
    EncodedChange,
    EncodedRow,
    StoredRow,
    decode_row,
)

_MOVES: Final = {state.value: frozenset(new.value for new in news) for state, news in MOVES.items()}
_BY_HAND: Final = {state.value: frozenset(new.value for new in news) for state, news in BY_HAND.items()}

#: What is cached of a row, which is all that a change of it needs: its number, its state, whether it has no facts
#: (reference, status, error, output), and whether its result was written to the output.
CachedRow: TypeAlias = tuple[int, str, bool, bool]
#: What changes have in common that one statement can make: the new state, whether old facts are cleared, and which
#: facts are given.
Shape: TypeAlias = tuple[str, bool, int]


class ClaimPlan:
    """What a group of claims does to the rows it names. Must not be used any further once a claim was refused."""

    def __init__(
        self, rows: Mapping[str, StoredRow], *, opening: int, owners: Mapping[int, str], last: int
    ) -> None:
        self._rows = rows
        self._opening = opening
        self._owners = owners
        self._claimed: dict[str, Record] = {}
        #: The highest number given to a row.
        self.last = last
        #: Values of rows to be inserted: number, key, target and digest, row after row.
        self.new: list[Any] = []
        #: Numbers of rows that an earlier run of the batch claimed.
        self.known: list[int] = []
        #: The rows that are likely to be changed next.
        self.cached: dict[str, CachedRow] = {}

    def claim(self, rows: Sequence[EncodedRow]) -> list[Record]:
        """Claim rows and return their records.

        Raise JournalError for a key that an earlier run claimed with another content.
        """
        return [self._claim(*row) for row in rows]

    def _claim(self, key: str, target: str, digest: bytes) -> Record:
        claimed = self._claimed.get(key)
        if claimed is not None:  # with whatever content: the error is of this row alone
            return evolve(claimed, is_repeated=True)
        row = self._rows.get(key)
        if row is None:
            owner = self._owners[self._opening]
            record = Record(key=key, target=target, digest=digest, state=RowState.PLANNED, owner=owner)
            self.last += 1
            self.new += (self.last, key, target, digest)
            self.cached[key] = (self.last, PLANNED, True, False)
        else:
            record = self._claim_known(row, digest)
        self._claimed[key] = record
        return record

    def _claim_known(self, row: StoredRow, digest: bytes) -> Record:
        is_repeated = row.claimed_in == self._opening
        if row.digest != digest and not is_repeated:
            raise JournalError(
                f"the row {row.key!r} is known with another content (target, message or input): restore its input "
                "as it was, or give it another key, or use another journal",
                key=row.key,
            )
        if not is_repeated:
            self.known.append(row.id)
        if row.state not in SETTLED:
            is_blank = not (row.ref or row.status or row.kind or row.error or row.output)
            self.cached[row.key] = (row.id, row.state, is_blank, False)
        is_changed = row.changed_in == self._opening
        return decode_row(row, self._owners, is_repeated=is_repeated, is_changed=is_changed)


class ChangePlan:
    """What a group of changes does to the rows it names, one change after the other. `cached` is updated.

    Neither may be used any further once a change was refused.
    """

    def __init__(self, cached: dict[str, CachedRow], *, settled: int) -> None:
        self._cached = cached
        self._pass_keys: set[str] = set()
        self._pass: dict[Shape, list[Any]] = {}
        #: What is to be written, pass after pass; no row is in a pass twice. For each shape: row by row, its number
        #: and the new values, in the order of the shape's statement.
        self.passes = [self._pass]
        #: The number of changes.
        self.count = 0
        #: The last position given in the order of settling.
        self.settled = settled
        #: Keys of rows that were settled, though a later change may have reopened them.
        self.ended: list[str] = []
        #: Whether a row was changed whose result had been written to the output.
        self.is_output_stale = False

    def change(self, changes: Sequence[EncodedChange]) -> None:
        """Add changes. Raise JournalError for an unknown row and for a transition that the tables do not have."""
        cached, pass_keys = self._cached, self._pass_keys
        self.count += len(changes)
        for key, state, at, run_ended, given, facts, is_asked_by_hand in changes:
            number, before, is_blank, is_emitted = cached.get(key) or _no_row(key)
            is_by_hand = is_asked_by_hand and state in _BY_HAND.get(before, ())
            if state not in _MOVES[before] and not is_by_hand:
                raise JournalError(
                    f"the row {key!r} is {before}, and cannot become {state} from there", key=key
                )
            if not given & REF and (state == STARTED or (before == SENDING and state in ENDED)):
                raise JournalError(f"the row {key!r} cannot be started without its run's reference", key=key)
            # A new attempt, and a row that was settled by hand, drop the errors of earlier attempts.
            is_cleared = before in SETTLED or is_by_hand or (state == SENDING and not is_blank)
            if is_emitted:
                self.is_output_stale = True
            if key in pass_keys:
                pass_keys.clear()
                self._pass = {}
                self.passes.append(self._pass)
            pass_keys.add(key)
            values = self._pass.setdefault((state, is_cleared, given), [])
            values.append(number)
            if state == SENDING:
                values += (at, *facts)
            elif state not in SETTLED:
                values += facts
            else:
                self.settled += 1
                values += (run_ended, self.settled, *facts, at)
                self.ended.append(key)
            cached[key] = (number, state, not given and (is_blank or is_cleared), False)


def _no_row(key: str) -> CachedRow:
    raise JournalError(f"there is no row {key!r}: claim it first", key=key)
