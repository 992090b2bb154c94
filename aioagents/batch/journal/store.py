"""Writes a journal's rows in SQLite. A store belongs to the thread that opened it.

Each statement handles many rows: between two statements the thread releases the interpreter lock, and a busy event
loop gives it back only after milliseconds.
"""

import os
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager, suppress
from datetime import datetime
from typing import Final, Self

from ...errors import JournalError
from . import checking, opening
from .chunks import chunks
from .encoding import (
    REF,
    SENDING,
    SETTLED,
    EncodedChange,
    EncodedRow,
    decode_spilled,
    encode_spilled,
    to_micros,
)
from .faults import damaged, not_whole
from .guard import Guard
from .planning import CachedRow, ChangePlan, ClaimPlan, cached
from .schema import (
    CLAIMED,
    NEW,
    NUMBERED,
    STATE,
    change_of,
)
from .stored import StoredRows
from .wholeness import Extent

#: How long closing waits for others that read; the log then stays, and is merged by the next opening.
_MERGE_PATIENCE: Final = 5.0
#: How many rows that are not settled are cached, so that they need not be read for each change.
_MOST_CACHED: Final = 4096


class Store(StoredRows):
    """One journal, open and locked. All methods may raise sqlite3.Error."""

    def __init__(self, path: str, connection: sqlite3.Connection, guard: Guard) -> None:
        super().__init__(connection)
        self._path = path
        self._guard = guard
        #: How far it has come; `_next` is that within a transaction, and `_written` that in the file beside it.
        self._extent = self._next = checking.read_header(connection).extent
        self._written: Extent | None = None
        self._owner = ""
        self._is_fresh = True
        self._settled = 0
        self._last = 0
        self._file_ids: Sequence[tuple[int, int] | None] = ()
        self._cache: dict[str, CachedRow] = {}
        self._version: int | None = None

    @classmethod
    def open(
        cls, path: str | os.PathLike[str], *, owner: str, now: datetime, options: opening.OpeningOptions
    ) -> Self:
        """Lock and open the journal; create it if there is none. Raise JournalError, OSError or sqlite3.Error."""
        opening.check_sqlite_version()
        real, accepts_loss = opening.resolve(path), options.accepts_loss
        if opening.exists(real):
            opening.check_format(real)
        elif not accepts_loss:
            checking.check_not_emptied(real)
        with ExitStack() as stack:
            guard = stack.enter_context(closing(checking.lock(real)))
            # Checked again: another process may have created it before the lock was taken.
            if not opening.exists(real):
                checking.check_is_new(real, guard, accepts_loss=accepts_loss)
                opening.create(real, now=now)
            opening.check_format(real)
            loss = checking.check_integrity(real, guard.extent)
            if loss and not accepts_loss:
                raise not_whole(real, loss)
            writing = opening.open_for_writing(real, patience=options.lock_timeout)
            store = cls(real, stack.enter_context(closing(writing)), guard)
            store._begin(owner, now, is_lost=bool(loss))
            stack.pop_all()
        return store

    def _begin(self, owner: str, now: datetime, *, is_lost: bool) -> None:
        """Record the opening, in the file itself: only the owner of the last one may write."""
        execute = self._connection.execute
        self._owner = owner
        if is_lost:  # what was lost is accepted with this commit, and not before it: no extent is taken back
            writes = max(self._extent.writes, self._guard.extent.writes if self._guard.extent else 0)
            total = execute("SELECT ifnull(sum(checksum), 0) FROM row").fetchone()[0]
            self._next = self._extent._replace(writes=writes, total=total)
        else:
            self._guard.prepare(self._extent)
        execute("BEGIN IMMEDIATE")
        self._owners = dict(execute("SELECT number, owner FROM opening").fetchall())
        self._settled = execute("SELECT ifnull(max(settled), 0) FROM row").fetchone()[0]
        self._opening = max(self._owners, default=0)
        self._take_in()
        self._open(now)
        execute("UPDATE batch SET inode = ?, copied_at = NULL", (opening.inode_of(self._path),))
        execute("COMMIT")
        self._extent = self._next
        if execute("PRAGMA wal_checkpoint(FULL)").fetchone()[0]:
            raise JournalError(
                f"the journal {self._path} is being read by another program for too long: end that, then run the "
                "same again",
                is_passing=True,
            )
        self._guard.prepare(self._extent)
        self._written = self._extent
        self._guard.clear()
        self._file_ids = self._find_file_ids()

    def _write(self, growth: int) -> Extent:
        """Return the number of a new write, and the sum of all checksums after it."""
        extent = self._next
        self._next = Extent(extent.journal, extent.writes + 1, extent.total + growth)
        return self._next

    def _number(self) -> None:
        """Record a write that changes no row."""
        extent = self._write(0)
        self._connection.execute(NUMBERED, (extent.writes, extent.total))

    def _open(self, now: datetime) -> None:
        execute = self._connection.execute
        execute("INSERT INTO opening (owner, opened_at) VALUES (?, ?)", (self._owner, to_micros(now)))
        self._opening = execute("SELECT max(number) FROM opening").fetchone()[0]
        self._owners[self._opening] = self._owner
        self._is_fresh = True
        self._number()

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
        with suppress(sqlite3.Error, JournalError, OSError), closing(self._guard), closing(self._connection):
            with self.transaction():
                self._take_in()
                self._end(now)
            self._guard.clear()
            self._connection.execute(f"PRAGMA busy_timeout = {_MERGE_PATIENCE * 1000:.0f}")
            self._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")

    def _end(self, now: datetime) -> None:
        self._connection.execute(
            "UPDATE opening SET closed_at = ? WHERE number = ?", (to_micros(now), self._opening)
        )
        self._number()

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
        opening, settled = self._opening, self._settled
        self._write_extent()  # if it could not be written after the last commit
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
            self._settled, self._next = settled, self._extent
            if self._connection.in_transaction:  # some errors end it by themselves
                execute("ROLLBACK")
            raise
        self._extent = self._next
        with suppress(OSError):  # the commit is made; the next one has to write the extent first
            self._write_extent()

    def _write_extent(self) -> None:
        """Write how far the journal has come beside it, before anybody acts on that."""
        if self._written is not self._extent:
            self._guard.write(self._extent)
            self._written = self._extent

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
        last, total = self._connection.execute(STATE).fetchone()
        if total != self._extent.total or checking.read_header(self._connection).extent != self._extent:
            raise damaged(self._path, "another program has changed it")
        self._last, self._version = last, version

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
        keys = list(dict.fromkeys(row[0] for claim in claims for row in claim))
        rows = {row.key: row for row in self._load(keys)}
        return ClaimPlan(rows, opening=self._opening, owners=self._owners, last=self._last)

    def save_claims(self, plan: ClaimPlan) -> None:
        """Write the rows that were claimed."""
        if plan.new:
            extent = self._write(plan.growth)
            for size, some in chunks(plan.new, width=5):
                self._connection.execute(
                    NEW[size], (*some, self._opening, self._opening, extent.writes, extent.total)
                )
        for size, some in chunks(plan.known):
            self._connection.execute(CLAIMED[size], (self._opening, *some))
        self._last, self._is_fresh = plan.last, False
        self._cache.update(plan.cached)
        self._trim_cache()

    def plan_changes(self, changes: Iterable[Sequence[EncodedChange]]) -> ChangePlan:
        """Read the rows that changes name, and return a plan to which the changes can be added."""
        missing = {each[0] for some in changes for each in some}.difference(self._cache)
        self._cache.update((row.key, cached(row)) for row in self._load(list(missing)))
        return ChangePlan(self._cache, settled=self._settled)

    def save_changes(self, plan: ChangePlan) -> None:
        """Write the rows that were changed."""
        changes, extent = self.changes, self._write(plan.growth)
        for shapes in plan.passes:
            for shape, values in shapes.items():
                width = change_of(shape, 1)[1]
                for size, some in chunks(values, width=width):
                    self._connection.execute(
                        change_of(shape, size)[0], (*some, self._opening, extent.writes, extent.total)
                    )
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

    def spill(self, changes: Iterable[Sequence[EncodedChange]]) -> None:
        """Keep the references of runs that could not be recorded beside the journal, for the next opening.

        Each with the checksum of its row, so that it is not used once the row was changed otherwise.
        """
        begun = {each[0]: each for some in changes for each in some if each[4] & REF}
        with suppress(sqlite3.Error, OSError):
            for row in self._load(list(begun)):
                if row.state == SENDING:
                    self._guard.spill(encode_spilled(row.checksum, begun[row.key]))

    def _take_in(self) -> None:
        """Make the changes that were spilled, of rows that are as they were. Within a transaction."""
        spilled = [decode_spilled(each) for each in self._guard.spilled()]
        known = {change[0]: (checksum, change) for checksum, change in spilled}
        changes = [known[row.key][1] for row in self._load(list(known)) if row.checksum == known[row.key][0]]
        if changes:
            plan = self.plan_changes([changes])
            plan.change(changes)
            self.save_changes(plan)

    def clear_cache(self) -> None:
        """Read rows again before they are changed: a plan that is not saved leaves the cache wrong."""
        self._cache.clear()

    def _trim_cache(self) -> None:
        """Remove the rows that were cached first, down to the limit."""
        cache = self._cache
        while len(cache) > _MOST_CACHED:
            del cache[next(iter(cache))]
