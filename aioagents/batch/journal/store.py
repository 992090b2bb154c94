"""Rows in SQLite, and what is known of their results. Belongs to the thread that opened it.

Statements take and give many rows in one step: between two steps the thread gives up the interpreter, and gets it
back from a busy event loop only after milliseconds.
"""

import os
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager, suppress
from datetime import datetime
from typing import Any, Final, Self, TypeVar

from ...codec import decode_json
from ...errors import JournalError
from ..record import Record
from . import opening
from .faults import damaged
from .ledger import SETTLED, Claims, Entry, Line, Mark, Moves, Step, micros_of, record_of
from .schema import (
    CLAIMED,
    COUNT_UNEMITTED,
    LOAD,
    MARK_EMITTED,
    MARKS,
    MOST_ROWS,
    MOST_VALUES,
    NEW,
    OPEN_PAGE,
    UNEMITTED_PAGE,
    change_of,
)

T = TypeVar("T")

#: How many rows are read in one go; their outputs may be large.
PAGE: Final = 64
#: How many rows that are not settled are remembered as they stand, so that they need not be read for each change.
_MOST_KNOWN: Final = 4096


class Store:
    """One journal, open and locked. All methods raise sqlite3.Error as it comes."""

    def __init__(self, path: str, connection: sqlite3.Connection, held: sqlite3.Connection) -> None:
        self._path = path
        self._connection = connection
        self._held = held
        self._owner = ""
        self._opening = 0
        self._is_fresh = True
        self._owners: dict[int, str] = {}
        self._settled = 0
        self._last = 0
        self._places: Sequence[tuple[int, int] | None] = ()
        self._known: dict[str, Mark] = {}
        self._version: int | None = None

    @classmethod
    def open(cls, path: str | os.PathLike[str], *, owner: str, now: datetime) -> Self:
        """Take the journal for this process, and make it where there is none. Raises JournalError too."""
        opening.see_to_sqlite()
        real = opening.find(path)
        if opening.exists(real):
            opening.identify(real)
        with ExitStack() as stack:
            held = stack.enter_context(closing(opening.lock(real)))
            if not opening.exists(real):  # polled once more: until now another process may have made it
                opening.make(real, now=now)
            opening.identify(real)
            opening.look_over(real)
            connection = stack.enter_context(closing(opening.open_to_write(real)))
            store = cls(real, connection, held)
            store._begin(owner, now)
            stack.pop_all()
        return store

    def _begin(self, owner: str, now: datetime) -> None:
        """Write down who opened it: whoever did so last is the one that may write."""
        execute = self._connection.execute
        self._owner = owner
        execute("BEGIN IMMEDIATE")
        self._open(now)
        execute("COMMIT")
        self._owners = dict(execute("SELECT number, owner FROM opening").fetchall())
        self._settled = execute("SELECT ifnull(max(settled), 0) FROM row").fetchone()[0]
        self._places = self._find_places()

    def _open(self, now: datetime) -> None:
        execute = self._connection.execute
        execute("INSERT INTO opening (owner, opened_at) VALUES (?, ?)", (self._owner, micros_of(now)))
        self._opening = execute("SELECT max(number) FROM opening").fetchone()[0]
        self._owners[self._opening] = self._owner
        self._is_fresh = True

    @property
    def path(self) -> str:
        """Return the file's real path."""
        return self._path

    @property
    def changes(self) -> int:
        """Count the rows that were written since the journal was opened."""
        return self._connection.total_changes

    def close(self, *, now: datetime) -> None:
        """Put the log away and let others have the journal. What was acknowledged is safe without this."""
        with suppress(sqlite3.Error, JournalError), closing(self._held), closing(self._connection):
            with self.transaction():
                self._end(now)
            self._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")

    def _end(self, now: datetime) -> None:
        self._connection.execute(
            "UPDATE opening SET closed_at = ? WHERE number = ?", (micros_of(now), self._opening)
        )

    # Writing

    def begin(self, now: datetime) -> None:
        """Have what is claimed and changed from now on count as of another opening, if anything was in this one."""
        if not self._is_fresh:
            self._end(now)
            self._open(now)

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Commit what is done within, or undo all of it. Raises JournalError where the journal is no longer ours."""
        execute = self._connection.execute
        opening = self._opening
        execute("BEGIN IMMEDIATE")
        try:
            self._check_opening()
            yield
            self._check_places()
            execute("COMMIT")
        except BaseException:
            self._known.clear()
            self._version = None
            self._opening, self._is_fresh = opening, False
            if self._connection.in_transaction:  # some failures have ended it already
                execute("ROLLBACK")
            raise

    def _check_opening(self) -> None:
        version = self._connection.execute("PRAGMA data_version").fetchone()[0]
        if version == self._version:  # nobody but this connection has written since
            return
        self._known.clear()
        if self._connection.execute("SELECT max(number) FROM opening").fetchone()[0] != self._opening:
            raise JournalError(
                f"the journal {self._path} was opened by another process, though it was locked: was "
                f"{self._path}-lock removed? Let one of the two end, and run it again afterwards"
            )
        self._last = self._connection.execute("SELECT ifnull(max(id), 0) FROM row").fetchone()[0]
        self._version = version

    def _check_places(self) -> None:
        if self._find_places() != self._places:
            raise JournalError(
                f"the journal {self._path} was moved or removed while it was in use: put it back, with its -wal file"
            )

    def _find_places(self) -> Sequence[tuple[int, int] | None]:
        """Tell which files stand under the names of the journal and its log."""
        places: list[tuple[int, int] | None] = []
        for name in (self._path, f"{self._path}-wal"):
            try:
                found = os.stat(name)  # noqa: PTH116 - twice in each commit, and a path costs more than the call
            except OSError:
                places.append(None)
            else:
                places.append((found.st_dev, found.st_ino))
        return places

    def claims(self, asked: Iterable[Sequence[Entry]]) -> Claims:
        """Read the rows that claims name, for these to be made."""
        lines: dict[str, Line] = {}
        keys = list(dict.fromkeys(entry[0] for entries in asked for entry in entries))
        for size, some in _chunks(keys):
            for line in _lines(self._connection.execute(LOAD[size], some).fetchone()[0]):
                lines[line.key] = line
        return Claims(lines, opening=self._opening, owners=self._owners, last=self._last)

    def save_claims(self, claims: Claims) -> None:
        """Write what claims made of the rows."""
        for size, some in _chunks(claims.new, width=4):
            self._connection.execute(NEW[size], (*some, self._opening, self._opening))
        for size, some in _chunks(claims.known):
            self._connection.execute(CLAIMED[size], (self._opening, *some))
        self._last, self._is_fresh = claims.last, False
        self._known.update(claims.marks)
        self._tidy()

    def moves(self, asked: Iterable[Sequence[Step]]) -> Moves:
        """Read the rows that changes name, for these to be made."""
        unknown = {step[0] for steps in asked for step in steps}.difference(self._known)
        for size, some in _chunks(list(unknown)):
            page = self._connection.execute(MARKS[size], some).fetchone()[0]
            for key, number, state, is_blank, is_emitted in decode_json(page.encode()):
                self._known[key] = number, state, bool(is_blank), bool(is_emitted)
        return Moves(self._known, settled=self._settled)

    def save_moves(self, moves: Moves) -> None:
        """Write what changes made of the rows."""
        changes = self.changes
        for wave in moves.waves:
            for shape, values in wave.items():
                width = change_of(shape, 1)[1]
                for size, some in _chunks(values, width=width):
                    self._connection.execute(change_of(shape, size)[0], (*some, self._opening))
        if self.changes - changes != moves.count:  # pragma: no cover - rows are read anew if others write
            raise damaged(self._path, "a row is gone")
        self._settled, self._is_fresh = moves.settled, False
        known = self._known
        for key in moves.ended:
            if key in known and known[key][1] in SETTLED:
                del known[key]
        self._tidy()
        if moves.is_output_stale:
            self._connection.execute("UPDATE batch SET is_output_stale = 1")

    def forget(self) -> None:
        """Have rows read anew: what is known of them may not be so."""
        self._known.clear()

    def _tidy(self) -> None:
        """Forget those rows, of more than are good, that have been known for longest."""
        known = self._known
        while len(known) > _MOST_KNOWN:
            del known[next(iter(known))]

    # Results

    def unemitted(self, limit: int) -> list[Record]:
        """Return settled rows whose result was not given out, in the order of settling."""
        found: list[Record] = []
        after = 0
        while len(found) < limit:
            size = min(PAGE, limit - len(found))
            page = self._read(UNEMITTED_PAGE, after, size)[1]
            found += (record_of(line, self._owners) for line in page)
            if len(page) < size:
                break
            after = page[-1].settled or 0
        return found

    def record_emitted(self, keys: Sequence[str], size: int) -> None:
        """Note that results were given out, after which the output had `size` bytes. Raises JournalError."""
        chunks = list(_chunks(list(dict.fromkeys(keys))))
        count = sum(self._connection.execute(COUNT_UNEMITTED[n], some).fetchone()[0] for n, some in chunks)
        if count != len(keys):
            raise JournalError(
                "a row's result can be given out once, when the row is settled, and one of these cannot: ask "
                "unemitted() again"
            )
        for n, some in chunks:
            self._connection.execute(MARK_EMITTED[n], some)
        self._connection.execute("UPDATE batch SET emitted_bytes = ?", (size,))

    def emitted_size(self) -> int:
        """Return how long the output was when results were last given out."""
        return int(self._connection.execute("SELECT emitted_bytes FROM batch").fetchone()[0])

    def is_output_stale(self) -> bool:
        """Return whether a row changed whose result was given out."""
        return bool(self._connection.execute("SELECT is_output_stale FROM batch").fetchone()[0])

    def reset_emission(self) -> None:
        """Have all results given out anew."""
        self._connection.execute("UPDATE row SET is_emitted = 0 WHERE is_emitted = 1")
        self._connection.execute("UPDATE batch SET emitted_bytes = 0, is_output_stale = 0")

    # Reading

    def open_rows(self, after: int) -> tuple[int, list[Record]]:
        """Return rows that are SENDING or STARTED, a page of them, and where the next page begins."""
        last, page = self._read(OPEN_PAGE, after, PAGE)
        now = self._opening
        return last, [record_of(line, self._owners, is_changed=line.changed_in == now) for line in page]

    def _read(self, page: str, after: int, limit: int) -> tuple[int, list[Line]]:
        last, rows = self._connection.execute(page, (after, limit)).fetchone()
        return last or after, list(_lines(rows))


def _lines(rows: str) -> Iterator[Line]:
    """Read rows that SQLite wrote as JSON."""
    values: list[Any]
    for values in decode_json(rows.encode()):
        values[3] = bytes.fromhex(values[3])
        yield Line(*values)


def _chunks(values: Sequence[T], *, width: int = 1) -> Iterator[tuple[int, Sequence[T | None]]]:
    """Cut values of rows, `width` of each, into pieces for which there are statements, the last filled up with nulls.

    A row of nulls costs less than a second statement: for each the thread has to get the interpreter back.
    """
    most = MOST_ROWS if MOST_ROWS * width < MOST_VALUES else MOST_ROWS // 2
    for start in range(0, len(values), most * width):
        some = values[start : start + most * width]
        size = 1 << (len(some) // width - 1).bit_length()
        yield size, [*some, *[None] * (size * width - len(some))]
