"""Plans claims and changes: checks them against the rows they name and collects what is to be written. Pure."""

from collections.abc import Mapping, Sequence
from typing import Any, Final, TypeAlias

from attrs import evolve

from ...errors import JournalError
from ..record import BY_HAND, MOVES, Record, RowState
from .checksums import (
    NO_FACTS,
    FactSums,
    checksum_of,
    content_checksum,
    planned_checksum,
    sums_of,
    with_facts,
)
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

#: What is cached of a row, which is all that a change of it needs: its number, its state, when it was sent, the
#: checksums of its facts, whether its result was written to the output, the checksum of its content, and its own.
CachedRow: TypeAlias = tuple[int, str, int | None, FactSums, int, int, int]
#: What changes have in common that one statement can make: the new state, whether old facts are cleared, and which
#: facts are given.
Shape: TypeAlias = tuple[str, bool, int]


def cached(row: StoredRow) -> CachedRow:
    """Return what is cached of a stored row."""
    content = content_checksum(row.id, row.key, row.target, row.digest)
    return row.id, row.state, row.sent_at, sums_of(row), row.is_emitted, content, row.checksum


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
        #: By how much the sum of all checksums grows.
        self.growth = 0
        #: Values of rows to be inserted: number, key, target, digest and checksum, row after row.
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
            content = content_checksum(self.last, key, target, digest)
            checksum = planned_checksum(content)
            self.growth += checksum
            self.new += (self.last, key, target, digest, checksum)
            self.cached[key] = (self.last, PLANNED, None, NO_FACTS, 0, content, checksum)
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
            self.cached[row.key] = cached(row)
        is_changed = row.changed_in == self._opening
        return decode_row(row, self._owners, is_repeated=is_repeated, is_changed=is_changed)


class ChangePlan:
    """What a group of changes does to the rows it names, one change after the other. `rows` is updated.

    Neither may be used any further once a change was refused.
    """

    def __init__(self, rows: dict[str, CachedRow], *, settled: int) -> None:
        self._cached = rows
        self._pass_keys: set[str] = set()
        self._pass: dict[Shape, list[Any]] = {}
        #: What is to be written, pass after pass; no row is in a pass twice. For each shape: row by row, its number
        #: and the new values, in the order of the shape's statement.
        self.passes = [self._pass]
        #: By how much the sum of all checksums grows.
        self.growth = 0
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
        rows, pass_keys = self._cached, self._pass_keys
        self.count += len(changes)
        for key, state, at, run_ended, given, facts, is_asked_by_hand in changes:
            number, before, sent_at, sums, is_emitted, content, checksum = rows.get(key) or _no_row(key)
            is_by_hand = is_asked_by_hand and state in _BY_HAND.get(before, ())
            if state not in _MOVES[before] and not is_by_hand:
                raise JournalError(
                    f"the row {key!r} is {before}, and cannot become {state} from there", key=key
                )
            if not given & REF and (state == STARTED or (before == SENDING and state in ENDED)):
                raise JournalError(f"the row {key!r} cannot be started without its run's reference", key=key)
            # A new attempt, and a row that was settled by hand, drop the errors of earlier attempts.
            is_cleared = before in SETTLED or is_by_hand or (state == SENDING and sums != NO_FACTS)
            if is_emitted:
                self.is_output_stale = True
            if key in pass_keys:
                pass_keys.clear()
                self._pass = {}
                self.passes.append(self._pass)
            pass_keys.add(key)
            if is_cleared:
                sums = NO_FACTS
            if given:
                sums = with_facts(sums, given, facts)
            values = self._pass.setdefault((state, is_cleared, given), [])
            if state in SETTLED:
                # If the end lies before the start, the clock that reported it is wrong.
                ended_at = run_ended if sent_at is not None and sent_at <= run_ended else at
                new = checksum_of(content, state, sent_at, ended_at, sums)
                self.settled += 1
                values += (number, new, ended_at, self.settled, *facts)
                self.ended.append(key)
            else:
                sent_at = at if state == SENDING else None if state == PLANNED else sent_at
                new = checksum_of(content, state, sent_at, None, sums)
                values += (number, new, at, *facts) if state == SENDING else (number, new, *facts)
            self.growth += new - checksum
            rows[key] = (number, state, sent_at, sums, 0, content, new)


def _no_row(key: str) -> CachedRow:
    raise JournalError(f"there is no row {key!r}: claim it first", key=key)
