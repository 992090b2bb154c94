"""Reads and writes a journal's rows in SQLite. A store belongs to the thread that opened it.

Each statement handles many rows: between two statements the thread releases the interpreter lock, and a busy event
loop gives it back only after milliseconds.
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
from .encoding import SETTLED, EncodedChange, EncodedRow, StoredRow, decode_row, to_micros
from .faults import damaged
from .planning import CachedRow, ChangePlan, ClaimPlan
from .schema import (
    CLAIMED,
    COUNT_UNEMITTED,
    LOAD,
    LOAD_CACHED,
    MOST_ROWS,
    MOST_VALUES,
    NEW,
    OPEN_PAGE,
    SET_EMITTED,
    UNEMITTED_PAGE,
    change_of,
)

T = TypeVar("T")

#: How many rows are read at a time; their outputs may be large.
PAGE: Final = 64
#: How many rows that are not settled are cached, so that they need not be read for each change.
_MOST_CACHED: Final = 4096


class Store:
    """One journal, open and locked. All methods may raise sqlite3.Error."""

    def __init__(self, path: str, connection: sqlite3.Connection, lock: sqlite3.Connection) -> None:
        self._path = path
        self._connection = connection
        self._lock = lock
        self._owner = ""
        self._opening = 0
        self._is_fresh = True
        self._owners: dict[int, str] = {}
        self._settled = 0
        self._last = 0
        self._file_ids: Sequence[tuple[int, int] | None] = ()
        self._cache: dict[str, CachedRow] = {}
        self._version: int | None = None

    @classmethod
    def open(cls, path: str | os.PathLike[str], *, owner: str, now: datetime) -> Self:
        """Lock and open the journal; create it if there is none. Raise JournalError or sqlite3.Error."""
        opening.check_sqlite_version()
        real = opening.resolve(path)
        if opening.exists(real):
            opening.check_format(real)
        with ExitStack() as stack:
            lock = stack.enter_context(closing(opening.lock(real)))
            if not opening.exists(
                real
            ):  # checked again: another process may have created it before the lock was taken
                opening.create(real, now=now)
            opening.check_format(real)
            opening.check_integrity(real)
            connection = stack.enter_context(closing(opening.open_for_writing(real)))
            store = cls(real, connection, lock)
            store._begin(owner, now)
            stack.pop_all()
        return store

    def _begin(self, owner: str, now: datetime) -> None:
        """Record the opening: only the owner of the last one may write."""
        execute = self._connection.execute
        self._owner = owner
        execute("BEGIN IMMEDIATE")
        self._open(now)
        execute("COMMIT")
        self._owners = dict(execute("SELECT number, owner FROM opening").fetchall())
        self._settled = execute("SELECT ifnull(max(settled), 0) FROM row").fetchone()[0]
        self._file_ids = self._find_file_ids()

    def _open(self, now: datetime) -> None:
        execute = self._connection.execute
        execute("INSERT INTO opening (owner, opened_at) VALUES (?, ?)", (self._owner, to_micros(now)))
        self._opening = execute("SELECT max(number) FROM opening").fetchone()[0]
        self._owners[self._opening] = self._owner
        self._is_fresh = True

    @property
    def path(self) -> str:
        """Return the file's real path."""
        return self._path

    @property
    def changes(self) -> int:
        """Return the number of rows written since the journal was opened."""
        return self._connection.total_changes

    def close(self, *, now: datetime) -> None:
        """Merge the log into the file and release the lock. What was acknowledged is safe without this."""
        with suppress(sqlite3.Error, JournalError), closing(self._lock), closing(self._connection):
            with self.transaction():
                self._end(now)
            self._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")

    def _end(self, now: datetime) -> None:
        self._connection.execute(
            "UPDATE opening SET closed_at = ? WHERE number = ?", (to_micros(now), self._opening)
        )

    # Writing

    def begin(self, now: datetime) -> None:
        """Begin another opening, to which later claims and changes belong, unless this one has none yet."""
        if not self._is_fresh:
            self._end(now)
            self._open(now)

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Commit the block, or undo all of it on an error. Raise JournalError if the journal is no longer ours."""
        execute = self._connection.execute
        opening = self._opening
        execute("BEGIN IMMEDIATE")
        try:
            self._check_opening()
            yield
            self._check_file_ids()
            execute("COMMIT")
        except BaseException:
            self._cache.clear()
            self._version = None
            self._opening, self._is_fresh = opening, False
            if self._connection.in_transaction:  # some errors end it by themselves
                execute("ROLLBACK")
            raise

    def _check_opening(self) -> None:
        version = self._connection.execute("PRAGMA data_version").fetchone()[0]
        if version == self._version:  # no other connection has written since
            return
        self._cache.clear()
        if self._connection.execute("SELECT max(number) FROM opening").fetchone()[0] != self._opening:
            raise JournalError(
                f"the journal {self._path} was opened by another process, though it was locked: was "
                f"{self._path}-lock removed? Let one of the two end, and run it again afterwards"
            )
        self._last = self._connection.execute("SELECT ifnull(max(id), 0) FROM row").fetchone()[0]
        self._version = version

    def _check_file_ids(self) -> None:
        if self._find_file_ids() != self._file_ids:
            raise JournalError(
                f"the journal {self._path} was moved or removed while it was in use: put it back, with its -wal file"
            )

    def _find_file_ids(self) -> Sequence[tuple[int, int] | None]:
        """Return device and inode of the journal and of its log, None for a file that is missing."""
        found: list[tuple[int, int] | None] = []
        for name in (self._path, f"{self._path}-wal"):
            try:
                stat = os.stat(name)  # noqa: PTH116 - twice in each commit, and a Path costs more than the call
            except OSError:
                found.append(None)
            else:
                found.append((stat.st_dev, stat.st_ino))
        return found

    def plan_claims(self, claims: Iterable[Sequence[EncodedRow]]) -> ClaimPlan:
        """Read the rows that claims name, and return a plan to which the claims can be added."""
        rows: dict[str, StoredRow] = {}
        keys = list(dict.fromkeys(row[0] for claim in claims for row in claim))
        for size, some in _chunks(keys):
            for row in _stored_rows(self._connection.execute(LOAD[size], some).fetchone()[0]):
                rows[row.key] = row
        return ClaimPlan(rows, opening=self._opening, owners=self._owners, last=self._last)

    def save_claims(self, plan: ClaimPlan) -> None:
        """Write the rows that were claimed."""
        for size, some in _chunks(plan.new, width=4):
            self._connection.execute(NEW[size], (*some, self._opening, self._opening))
        for size, some in _chunks(plan.known):
            self._connection.execute(CLAIMED[size], (self._opening, *some))
        self._last, self._is_fresh = plan.last, False
        self._cache.update(plan.cached)
        self._trim_cache()

    def plan_changes(self, changes: Iterable[Sequence[EncodedChange]]) -> ChangePlan:
        """Read the rows that changes name, and return a plan to which the changes can be added."""
        missing = {each[0] for some in changes for each in some}.difference(self._cache)
        for size, some in _chunks(list(missing)):
            page = self._connection.execute(LOAD_CACHED[size], some).fetchone()[0]
            for key, number, state, is_blank, is_emitted in decode_json(page.encode()):
                self._cache[key] = number, state, bool(is_blank), bool(is_emitted)
        return ChangePlan(self._cache, settled=self._settled)

    def save_changes(self, plan: ChangePlan) -> None:
        """Write the rows that were changed."""
        changes = self.changes
        for shapes in plan.passes:
            for shape, values in shapes.items():
                width = change_of(shape, 1)[1]
                for size, some in _chunks(values, width=width):
                    self._connection.execute(change_of(shape, size)[0], (*some, self._opening))
        if self.changes - changes != plan.count:  # pragma: no cover - rows are read again if others write
            raise damaged(self._path, "a row is gone")
        self._settled, self._is_fresh = plan.settled, False
        cache = self._cache
        for key in plan.ended:
            if key in cache and cache[key][1] in SETTLED:
                del cache[key]
        self._trim_cache()
        if plan.is_output_stale:
            self._connection.execute("UPDATE batch SET is_output_stale = 1")

    def clear_cache(self) -> None:
        """Read rows again before they are changed: a plan that is not saved leaves the cache wrong."""
        self._cache.clear()

    def _trim_cache(self) -> None:
        """Remove the rows that were cached first, down to the limit."""
        cache = self._cache
        while len(cache) > _MOST_CACHED:
            del cache[next(iter(cache))]

    # Results

    def unemitted(self, limit: int) -> list[Record]:
        """Return settled rows whose result is not in the output yet, in the order of settling."""
        found: list[Record] = []
        after = 0
        while len(found) < limit:
            size = min(PAGE, limit - len(found))
            page = self._read(UNEMITTED_PAGE, after, size)[1]
            found += (decode_row(row, self._owners) for row in page)
            if len(page) < size:
                break
            after = page[-1].settled or 0
        return found

    def record_emitted(self, keys: Sequence[str], size: int) -> None:
        """Record that results are in the output, which has `size` bytes. Raise JournalError if one was before."""
        chunks = list(_chunks(list(dict.fromkeys(keys))))
        count = sum(self._connection.execute(COUNT_UNEMITTED[n], some).fetchone()[0] for n, some in chunks)
        if count != len(keys):
            raise JournalError(
                "a row's result can be recorded as emitted once, when the row is settled, and one of these cannot: "
                "call unemitted() again"
            )
        for n, some in chunks:
            self._connection.execute(SET_EMITTED[n], some)
        self._connection.execute("UPDATE batch SET emitted_bytes = ?", (size,))

    def emitted_size(self) -> int:
        """Return the size of the output when results were last recorded as emitted."""
        return int(self._connection.execute("SELECT emitted_bytes FROM batch").fetchone()[0])

    def is_output_stale(self) -> bool:
        """Return whether a row has changed whose result is in the output."""
        return bool(self._connection.execute("SELECT is_output_stale FROM batch").fetchone()[0])

    def reset_emission(self) -> None:
        """Record that no result is in the output."""
        self._connection.execute("UPDATE row SET is_emitted = 0 WHERE is_emitted = 1")
        self._connection.execute("UPDATE batch SET emitted_bytes = 0, is_output_stale = 0")

    # Reading

    def open_rows(self, after: int) -> tuple[int, list[Record]]:
        """Return a page of rows that are SENDING or STARTED, and the position after it."""
        last, page = self._read(OPEN_PAGE, after, PAGE)
        now = self._opening
        return last, [decode_row(row, self._owners, is_changed=row.changed_in == now) for row in page]

    def _read(self, page: str, after: int, limit: int) -> tuple[int, list[StoredRow]]:
        last, rows = self._connection.execute(page, (after, limit)).fetchone()
        return last or after, list(_stored_rows(rows))


def _stored_rows(rows: str) -> Iterator[StoredRow]:
    """Return rows that SQLite returned as JSON."""
    values: list[Any]
    for values in decode_json(rows.encode()):
        values[3] = bytes.fromhex(values[3])
        yield StoredRow(*values)


def _chunks(values: Sequence[T], *, width: int = 1) -> Iterator[tuple[int, Sequence[T | None]]]:
    """Split the values of rows, `width` for each, into sizes that statements exist for, the last padded with nulls.

    A row of nulls costs less than a second statement, for which the thread has to wait for the interpreter lock.
    """
    most = MOST_ROWS if MOST_ROWS * width < MOST_VALUES else MOST_ROWS // 2
    for start in range(0, len(values), most * width):
        some = values[start : start + most * width]
        size = 1 << (len(some) // width - 1).bit_length()
        yield size, [*some, *[None] * (size * width - len(some))]
