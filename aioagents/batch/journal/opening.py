"""Finds, creates and opens a journal's file.

A file that SQLite has open is never opened by other means: closing it would drop this process's locks on it.
"""

import os
import sqlite3
import stat
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from datetime import datetime
from pathlib import Path
from typing import Final

from attrs import frozen

from ...errors import JournalError
from .encoding import to_micros
from .faults import journal_error
from .schema import APPLICATION, FORMAT, TABLES

#: For other programs that lock the file while it is only read.
_PATIENCE: Final = 5.0
#: After a large change the log is truncated to this size.
_LOG_LIMIT: Final = 16 * 1024 * 1024
#: The first version with UPDATE FROM, which changes many rows in one statement.
_SQLITE: Final = (3, 33, 0)


@frozen(kw_only=True)
class OpeningOptions:
    """How a journal is opened: whether one that is not whole is used, and how long locks of others are waited for."""

    accepts_loss: bool = False
    lock_timeout: float = 60.0


def check_sqlite_version() -> None:
    """Raise JournalError if this Python's SQLite is too old to write journals."""
    if sqlite3.sqlite_version_info < _SQLITE:
        raise JournalError(
            f"journals need SQLite {'.'.join(map(str, _SQLITE))} or newer, and this Python has "
            f"{sqlite3.sqlite_version}: use another build of Python"
        )


def resolve(path: str | os.PathLike[str]) -> str:
    """Return the absolute path with symbolic links resolved, which is the same for all names of the file."""
    return os.path.realpath(path)


def exists(path: str) -> bool:
    """Return whether `path` exists; False means that a journal can be created. Raise JournalError if neither is true.

    An empty file counts as missing: tools that reserve a name leave one.
    """
    try:
        found = Path(path).stat()
    except FileNotFoundError:
        parent = Path(path).parent
        if not parent.is_dir():
            raise JournalError(
                f"there is no folder {parent}: make it first, or name another journal"
            ) from None
        _check_no_log(path)
        return False
    except OSError as exc:
        raise journal_error(exc, path) from exc
    if not stat.S_ISREG(found.st_mode):
        kind = "a folder" if stat.S_ISDIR(found.st_mode) else "not a regular file"
        raise JournalError(f"{path} is {kind}: name the file that is to be the journal")
    if found.st_nlink > 1:
        # SQLite names its log after the file: opened by another name, the log would not be found.
        raise JournalError(f"the journal {path} has further names (hard links): remove those, or copy it")
    if not found.st_size:
        _check_no_log(path)
    return bool(found.st_size)


def _check_no_log(path: str) -> None:
    """Raise JournalError for a log whose journal is gone: SQLite would apply it to a new journal."""
    for end in ("-wal", "-journal"):
        log = Path(path + end)
        with suppress(OSError):
            if log.stat().st_size:
                raise JournalError(
                    f"{path} is not there, but {log.name} is, which belongs to it: put both back, or remove that"
                )


def check_format(path: str) -> None:
    """Raise JournalError for a file that is not a journal, or has a newer format. Changes nothing."""
    try:
        try:
            # Immutable: SQLite then takes no lock and makes no files beside one that may not be ours.
            application, version = _read_header(path, "mode=ro&immutable=1")
        except sqlite3.DatabaseError as exc:
            if exc.sqlite_errorcode & 0xFF != sqlite3.SQLITE_CORRUPT:
                raise
            # The log is only half applied: it is being applied now, or the process died, or the disk was full.
            application, version = _read_header(path, "mode=ro")
    except sqlite3.Error as exc:
        if getattr(exc, "sqlite_errorcode", None) == sqlite3.SQLITE_NOTADB:
            raise JournalError(f"{path} is not a journal, and was left as it is: name another file") from exc
        raise journal_error(exc, path) from exc
    if application != APPLICATION:
        raise JournalError(f"{path} is another program's database, and was left as it is: name another file")
    if version < FORMAT:
        raise JournalError(
            f"the journal {path} was written by an older aioagents (format {version}; this one has {FORMAT}), and "
            "was left as it is: let that version end its batch, or name another journal"
        )
    if version > FORMAT:
        raise JournalError(
            f"the journal {path} was written by a newer aioagents (format {version}; this one knows {FORMAT}), and "
            "was left as it is: upgrade aioagents"
        )


@contextmanager
def new_file(path: str) -> Iterator[str]:
    """Create a file that gets its name `path` when the block ends; if that fails, none is left."""
    name = ""
    try:
        handle, name = tempfile.mkstemp(prefix=f".{Path(path).name}.", suffix=".new", dir=Path(path).parent)
        os.close(handle)
        yield name
        Path(name).replace(path)
    except (OSError, sqlite3.Error) as exc:
        raise journal_error(exc, path) from exc
    finally:
        for end in ("", "-journal", "-wal", "-shm") if name else ():
            with suppress(OSError):
                Path(name + end).unlink(missing_ok=True)


def create(path: str, *, now: datetime) -> None:
    """Create an empty journal, readable by its owner alone. It appears as a whole or not at all."""
    # Its directory entry is on disk with the first commit: SQLite syncs the folder when it creates a log.
    with new_file(path) as name:
        with closing(connect(name, "mode=rw")) as connection:
            mode = _fill(connection, now)
        if mode != "wal":
            raise JournalError(
                f"the disk of {path} cannot share memory between processes: put the journal on a local one"
            )


def _fill(connection: sqlite3.Connection, now: datetime) -> str:
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute("BEGIN IMMEDIATE")
    connection.execute(f"PRAGMA application_id = {APPLICATION}")
    connection.execute(f"PRAGMA user_version = {FORMAT}")
    for statement in TABLES.values():
        connection.execute(statement)
    connection.execute(
        "INSERT INTO batch (id, created_at, journal, inode) VALUES (1, ?, ?, 0)",
        (to_micros(now), os.urandom(16)),
    )
    connection.execute("COMMIT")
    return str(connection.execute("PRAGMA journal_mode = WAL").fetchone()[0])


def open_for_writing(path: str, *, patience: float) -> sqlite3.Connection:
    """Open a journal so that commits survive a loss of power. Raise sqlite3.Error."""
    connection = connect(path, "mode=rw", patience=patience)
    for pragma in (
        "synchronous = FULL",
        "fullfsync = ON",
        "checkpoint_fullfsync = ON",
        "wal_autocheckpoint = 1000",
        f"journal_size_limit = {_LOG_LIMIT}",
        "cell_size_check = ON",
        "trusted_schema = OFF",
        "temp_store = MEMORY",
    ):
        connection.execute(f"PRAGMA {pragma}")
    return connection


def inode_of(path: str) -> int:
    """Return the number of the file on its disk."""
    return Path(path).stat().st_ino


def connect(path: str, options: str, *, patience: float = _PATIENCE) -> sqlite3.Connection:
    """Connect to a file, which is locked by other programs for at most `patience` seconds."""
    # Autocommit: transactions begin and end by explicit statements.
    return sqlite3.connect(
        f"{Path(path).as_uri()}?{options}", uri=True, timeout=patience, isolation_level=None
    )


def _read_header(path: str, options: str) -> tuple[int, int]:
    """Return the application and the version of the format in the file's header."""
    with closing(connect(path, options)) as connection:
        ask = connection.execute
        return ask("PRAGMA application_id").fetchone()[0], ask("PRAGMA user_version").fetchone()[0]
