"""Checks a journal before it is used: who has it open, whether it is damaged, and whether it is whole.

What is refused stays unchanged, byte for byte.
"""

import sqlite3
from contextlib import ExitStack, closing, suppress
from pathlib import Path
from typing import Final

from ...errors import JournalError
from .checksums import is_intact
from .encoding import StoredRow, from_micros
from .faults import damaged, journal_error, not_whole
from .guard import Guard, LockTaken, read_extent
from .opening import check_format, connect, exists, inode_of
from .schema import ALL_ROWS, HEADER, TABLES
from .wholeness import MIXED, Extent, Header, loss_of

_UNWRITABLE: Final = frozenset({sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_PERM})


def lock(path: str) -> Guard:
    """Lock the journal for this process until the returned guard is closed or the process ends in any way.

    The journal itself stays readable. Raise JournalError that names the owner if another process has the lock.
    """
    try:
        return Guard.acquire(path)
    except LockTaken:
        raise JournalError(
            f"the journal {path} is in use by {_owner(path)}: let that end first", is_passing=True
        ) from None
    except OSError as exc:
        raise journal_error(exc, path) from exc


def _owner(path: str) -> str:
    with suppress(sqlite3.Error, OSError), closing(connect(path, "mode=ro")) as connection:
        row = connection.execute(
            "SELECT owner, opened_at FROM opening ORDER BY number DESC LIMIT 1"
        ).fetchone()
        if row is not None:
            return f"{row[0]} since {from_micros(row[1]):%Y-%m-%d %H:%M:%S} UTC"
    return "another process"


def check_is_new(path: str, guard: Guard, *, accepts_loss: bool) -> None:
    """Raise JournalError if there was a journal at `path` before, which is gone."""
    if guard.extent is not None and not accepts_loss:
        raise JournalError(
            f"the journal {path} is not there, but {path}-lock is, so there was one: put it back. If it is lost and "
            "its rows may be started again, remove that file too"
        )


def check_not_emptied(path: str) -> None:
    """Raise JournalError for an empty file beside a lock. What creates journals leaves none: so it was a journal."""
    if Path(path).exists() and Path(f"{path}-lock").exists():
        raise JournalError(
            f"the journal {path} is empty, but {path}-lock is there, so it was one: put it back. If it is lost and "
            "its rows may be started again, remove both"
        )


def check_integrity(path: str, extent: Extent | None) -> str:
    """Raise JournalError for a damaged journal. Return what shows that it is not whole, or an empty string.

    Reads everything, compares the index of keys with the rows, since a row that is not found by its key would be
    started again, and each row with its checksum. Takes about five seconds for a million rows.
    """
    try:
        # Read-only: the last connection that may write applies the log as it closes, and the file must not change.
        with closing(connect(path, "mode=ro")) as connection:
            connection.execute("BEGIN")
            words = str(connection.execute("PRAGMA integrity_check(1)").fetchone()[0])
            if words != "ok":
                raise damaged(path, words.splitlines()[-1])
            check_tables(connection, path)
            total = _check_rows(connection, path)
            header = read_header(connection)
            return _loss_at(path, header, extent) or ("" if total == header.total else MIXED)
    except sqlite3.Error as exc:
        raise journal_error(exc, path) from exc
    except (TypeError, AttributeError) as exc:
        raise damaged(path, "a row is not as it was written") from exc


def read_header(connection: sqlite3.Connection) -> Header:
    """Return what a journal says of itself as a whole."""
    return Header(*connection.execute(HEADER).fetchone())


def _loss_at(path: str, header: Header, extent: Extent | None) -> str:
    return loss_of(path, header, extent, inode=inode_of(path))


def _check_rows(connection: sqlite3.Connection, path: str) -> int:
    """Return the sum of the checksums of all rows. Raise JournalError for a row that does not have its own."""
    total = 0
    for values in connection.execute(ALL_ROWS):
        row = StoredRow(*values)
        if not is_intact(row):
            raise damaged(path, f"the row {row.key!r} is not as it was written")
        total += row.checksum
    return total


def check_tables(connection: sqlite3.Connection, path: str) -> None:
    """Raise JournalError if the journal's tables are not as they were created."""
    found = dict(connection.execute("SELECT name, sql FROM sqlite_master").fetchall())
    wrong = [name for name, statement in TABLES.items() if found.get(name) != statement]
    if wrong:
        raise damaged(path, f"not as it was made: {', '.join(wrong)}")
    if connection.execute("SELECT count(*) FROM batch").fetchone()[0] != 1:
        raise damaged(path, "not as it was made: batch")


def open_for_reading(path: str, *, accepts_loss: bool = False) -> sqlite3.Connection:
    """Open a journal that may be in use, or on a read-only disk. Raise JournalError, OSError or sqlite3.Error."""
    if not exists(path):
        raise JournalError(f"there is no journal {path}")
    check_format(path)
    try:
        return _open_checked(path, "mode=ro", accepts_loss=accepts_loss)
    except sqlite3.OperationalError as exc:
        # If the files beside it cannot be created and there is no log, nobody is writing to it.
        if exc.sqlite_errorcode & 0xFF not in _UNWRITABLE or Path(f"{path}-wal").exists():
            raise
        return _open_checked(path, "mode=ro&immutable=1", accepts_loss=accepts_loss)


def _open_checked(path: str, options: str, *, accepts_loss: bool) -> sqlite3.Connection:
    extent = None if accepts_loss else read_extent(path)
    with ExitStack() as stack:
        connection = stack.enter_context(closing(connect(path, options)))
        check_tables(connection, path)
        header = read_header(connection)
        # A backup says what it is, and is there to be read.
        loss = "" if accepts_loss or header.copied_at is not None else _loss_at(path, header, extent)
        if loss:
            raise not_whole(path, loss)
        stack.pop_all()
    return connection
