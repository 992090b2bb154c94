"""What a journal in memory keeps of rows and results. Pure: each method is one step, as a transaction is."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

import attrs

from aioagents.batch import BY_HAND, MOVES, BatchRow, Change, Record, RowState
from aioagents.batch.plan import ENDS
from aioagents.errors import JournalError

_FACTS = ("ref", "status", "kind", "error", "output")
_PAGE = 3


class Disk:
    """What is kept of rows and results."""

    def __init__(self) -> None:
        self.records: dict[str, Record] = {}
        self.claimed_in: set[tuple[str, int]] = set()
        self.changed_in: dict[str, int] = {}
        self.owners: dict[int, str] = {}
        self.openings = 0
        #: Who has a row in hand, and who is alive.
        self.holders: dict[str, str] = {}
        self.alive: set[str] = set()
        self.settled: list[str] = []
        self.emitted: set[str] = set()
        self.size = 0
        self.is_stale = False

    # What the journal does in one step. All raise JournalError, and have then changed nothing.

    def open(self, owner: str) -> int:
        """Begin another opening and give its number."""
        self.openings += 1
        self.owners[self.openings] = owner
        return self.openings

    def claim(self, rows: Sequence[tuple[BatchRow, bytes]], opening: int, owner: str) -> list[Record]:
        """Take rows on."""
        taken: set[str] = set()
        for row, digest in rows:
            known = self.records.get(row.key)
            if (
                known is not None
                and row.key not in taken
                and (row.key, opening) not in self.claimed_in
                and known.digest != digest
            ):
                raise JournalError(f"the row {row.key!r} is known with another content", key=row.key)
            taken.add(row.key)
        found, new = [], []
        for row, digest in rows:
            is_repeated = (row.key, opening) in self.claimed_in
            if row.key not in self.records:
                self.records[row.key] = Record(
                    key=row.key, target=row.target, digest=digest, state=RowState.PLANNED, owner=owner
                )
                new.append(row.key)
            is_held = self.is_held(row.key, owner)
            if not is_held:
                self.holders[row.key] = owner
            self.claimed_in.add((row.key, opening))
            is_changed = self.changed_in.get(row.key) == opening
            found.append(
                attrs.evolve(
                    self.records[row.key], is_repeated=is_repeated, is_changed=is_changed, is_held=is_held
                )
            )
        self.changed_in.update(dict.fromkeys(new, opening))
        return found

    def is_held(self, key: str, owner: str) -> bool:
        """Return whether somebody else who is alive has a row in hand."""
        holder = self.holders.get(key, owner)
        return holder != owner and holder in self.alive

    def record(self, changes: Sequence[Change], opening: int, owner: str) -> list[tuple[Change, Record]]:
        """Make changes, and give what became of each row."""
        after: dict[str, Record] = {}
        made = []
        for change in changes:
            before = after.get(change.key, self.records.get(change.key))
            if before is None:
                raise JournalError(f"there is no row {change.key!r}", key=change.key)
            if self.is_held(change.key, owner):
                raise JournalError(f"somebody else has {change.key!r}", key=change.key)
            is_by_hand = change.is_by_hand and change.state in BY_HAND.get(before.state, ())
            if change.state not in MOVES[before.state] and not is_by_hand:
                raise JournalError(
                    f"{change.key!r} cannot go from {before.state} to {change.state}", key=change.key
                )
            is_begun = change.state is RowState.STARTED or (
                before.state is RowState.SENDING and change.state in ENDS.values()
            )
            if is_begun and change.ref is None:
                raise JournalError(f"{change.key!r} cannot be started without a reference", key=change.key)
            after[change.key] = record = _changed(before, change, owner, is_by_hand=is_by_hand)
            made.append((change, before, record))
        for change, before, record in made:
            self._make(change, before, record, opening)
        return [(change, record) for change, _, record in made]

    def _make(self, change: Change, before: Record, record: Record, opening: int) -> None:
        key = change.key
        self.records[key] = record
        self.changed_in[key] = opening
        if before.state.is_settled:
            self.is_stale |= key in self.emitted
            self.settled.remove(key)
        self.emitted.discard(key)
        if change.state.is_settled:
            self.settled.append(key)

    def unfinished(self, after: int, opening: int, owner: str) -> tuple[int, list[Record]]:
        """Return a page of open rows, and where the next one begins; what is read is in the reader's hand."""
        page: list[Record] = []
        keys = list(self.records)
        while after < len(keys) and len(page) < _PAGE:
            key = keys[after]
            after += 1
            record = self.records[key]
            if record.state in (RowState.SENDING, RowState.STARTED) and not self.is_held(key, owner):
                self.holders[key] = owner
                page.append(attrs.evolve(record, is_changed=self.changed_in.get(key) == opening))
        return after, page

    def unemitted(self, limit: int) -> list[Record]:
        """Return settled rows whose result was not given out."""
        return [self.records[key] for key in self.settled if key not in self.emitted][:limit]

    def record_emitted(self, keys: Sequence[str], size: int) -> None:
        """Note that results were given out."""
        if len(set(keys)) != len(keys) or any(key not in self.settled or key in self.emitted for key in keys):
            raise JournalError("a row's result can be given out once, when the row is settled")
        self.emitted.update(keys)
        self.size = size

    def reset_emission(self) -> None:
        """Emit all results again."""
        self.emitted.clear()
        self.size, self.is_stale = 0, False


def _changed(before: Record, change: Change, owner: str, *, is_by_hand: bool) -> Record:
    known: Mapping[str, Any] = {name: getattr(before, name) for name in _FACTS}
    if before.state.is_settled or is_by_hand or change.state is RowState.SENDING:
        known = {"ref": None, "status": "", "kind": "", "error": "", "output": None}
    given = {name: getattr(change, name) for name in _FACTS if getattr(change, name) not in (None, "")}
    sent_at = before.sent_at
    if change.state is RowState.SENDING:
        sent_at = change.at
    elif change.state is RowState.PLANNED:
        sent_at = None
    ended_at = _end_of(change, sent_at) if change.state.is_settled else None
    return attrs.evolve(
        before, **{**known, **given}, state=change.state, owner=owner, sent_at=sent_at, ended_at=ended_at
    )


def _end_of(change: Change, sent_at: datetime | None) -> datetime:
    """Return when a row was settled: by the vendor's clock where that can be."""
    end = change.ended_at
    if end is None or end > change.at or sent_at is None or end < sent_at:
        return change.at
    return end
