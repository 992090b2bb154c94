"""Finds, locks, creates, checks and opens a journal's file. A file that is refused stays unchanged, byte for byte.

A file that SQLite has open is never opened by other means: closing it would drop this process's locks on it.
"""

import os
import sqlite3
import stat
import tempfile
from contextlib import ExitStack, closing, suppress
from datetime import datetime
from pathlib import Path
from typing import Final

from ...errors import JournalError
from .encoding import from_micros, to_micros
from .faults import damaged, journal_error
from .schema import APPLICATION, FORMAT, TABLES

#: Two processes that open it at the same instant may block each other; one succeeds well within this time.
_LOCK_PATIENCE: Final = 0.5
#: For other programs that write to the file.
_BUSY_PATIENCE: Final = 5.0
#: After a large change the log is truncated to this size.
_LOG_LIMIT: Final = 16 * 1024 * 1024
#: The first version with UPDATE FROM, which changes many rows in one statement.
_SQLITE: Final = (3, 33, 0)
_UNWRITABLE: Final = frozenset({sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_PERM})


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
    if version > FORMAT:
        raise JournalError(
            f"the journal {path} was written by a newer aioagents (format {version}; this one knows {FORMAT}), and "
            "was left as it is: upgrade aioagents"
        )


def lock(path: str) -> sqlite3.Connection:
    """Lock the journal for this process until the returned connection is closed or the process ends in any way.

    The lock is a transaction on an empty database beside it, which the operating system releases by itself. The
    journal itself stays readable. Raise JournalError that names the owner if another process has the lock.
    """
    name = f"{path}-lock"
    try:
        with suppress(FileExistsError):  # only a new file may be opened without SQLite
            os.close(os.open(name, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))
        connection = sqlite3.connect(
            f"{Path(name).as_uri()}?mode=rw", uri=True, timeout=_LOCK_PATIENCE, isolation_level=None
        )
    except (OSError, sqlite3.Error) as exc:
        raise journal_error(exc, path) from exc
    try:
        connection.execute("PRAGMA journal_mode = MEMORY")  # nothing is written, so no file is left behind
        connection.execute("BEGIN EXCLUSIVE")
    except sqlite3.Error as exc:
        connection.close()
        if getattr(exc, "sqlite_errorcode", 0) & 0xFF != sqlite3.SQLITE_BUSY:
            raise journal_error(exc, path) from exc
        raise JournalError(
            f"the journal {path} is in use by {_owner(path)}: let that end first", is_passing=True
        ) from None
    return connection


def _owner(path: str) -> str:
    with suppress(sqlite3.Error, OSError), closing(_connect(path, "mode=ro")) as connection:
        row = connection.execute(
            "SELECT owner, opened_at FROM opening ORDER BY number DESC LIMIT 1"
        ).fetchone()
        if row is not None:
            return f"{row[0]} since {from_micros(row[1]):%Y-%m-%d %H:%M:%S} UTC"
    return "another process"


def is_locked(path: str) -> bool:
    """Return whether a process has the journal open."""
    try:
        with closing(
            sqlite3.connect(f"{Path(f'{path}-lock').as_uri()}?mode=ro", uri=True, timeout=0)
        ) as connection:
            connection.execute("SELECT count(*) FROM sqlite_master")
    except sqlite3.Error as exc:
        return getattr(exc, "sqlite_errorcode", 0) & 0xFF == sqlite3.SQLITE_BUSY
    return False


def create(path: str, *, now: datetime) -> None:
    """Create an empty journal, readable by its owner alone. It appears as a whole or not at all."""
    name = ""
    try:
        handle, name = tempfile.mkstemp(prefix=f".{Path(path).name}.", suffix=".new", dir=Path(path).parent)
        os.close(handle)
        with closing(_connect(name, "mode=rw")) as connection:
            mode = _fill(connection, now)
        if mode != "wal":
            raise JournalError(
                f"the disk of {path} cannot share memory between processes: put the journal on a local one"
            )
        # Its directory entry is on disk with the first commit: SQLite syncs the folder when it creates a log.
        Path(name).replace(path)
    except (OSError, sqlite3.Error) as exc:
        raise journal_error(exc, path) from exc
    finally:
        for end in ("", "-journal", "-wal", "-shm") if name else ():
            with suppress(OSError):
                Path(name + end).unlink(missing_ok=True)


def _fill(connection: sqlite3.Connection, now: datetime) -> str:
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute("BEGIN IMMEDIATE")
    connection.execute(f"PRAGMA application_id = {APPLICATION}")
    connection.execute(f"PRAGMA user_version = {FORMAT}")
    for statement in TABLES.values():
        connection.execute(statement)
    connection.execute("INSERT INTO batch (id, created_at) VALUES (1, ?)", (to_micros(now),))
    connection.execute("COMMIT")
    return str(connection.execute("PRAGMA journal_mode = WAL").fetchone()[0])


def check_integrity(path: str) -> None:
    """Raise JournalError for a damaged journal.

    Reads everything and compares the index of keys with the rows, since a row that is not found by its key would be
    started again. Takes about two seconds for a million rows.
    """
    try:
        # Read-only: the last connection that may write applies the log as it closes, and the file must not change.
        with closing(_connect(path, "mode=ro")) as connection:
            words = str(connection.execute("PRAGMA integrity_check(1)").fetchone()[0])
            if words != "ok":
                raise damaged(path, words.splitlines()[-1])
            check_tables(connection, path)
    except sqlite3.Error as exc:
        raise journal_error(exc, path) from exc


def check_tables(connection: sqlite3.Connection, path: str) -> None:
    """Raise JournalError if the journal's tables are not as they were created."""
    found = dict(connection.execute("SELECT name, sql FROM sqlite_master").fetchall())
    wrong = [name for name, statement in TABLES.items() if found.get(name) != statement]
    if wrong:
        raise damaged(path, f"not as it was made: {', '.join(wrong)}")
    if connection.execute("SELECT count(*) FROM batch").fetchone()[0] != 1:
        raise damaged(path, "not as it was made: batch")


def open_for_reading(path: str) -> sqlite3.Connection:
    """Open a journal that may be in use, or on a read-only disk. Raise JournalError or sqlite3.Error."""
    if not exists(path):
        raise JournalError(f"there is no journal {path}")
    check_format(path)
    try:
        return _open_checked(path, "mode=ro")
    except sqlite3.OperationalError as exc:
        # If the files beside it cannot be created and there is no log, nobody is writing to it.
        if exc.sqlite_errorcode & 0xFF not in _UNWRITABLE or Path(f"{path}-wal").exists():
            raise
        return _open_checked(path, "mode=ro&immutable=1")


def _open_checked(path: str, options: str) -> sqlite3.Connection:
    with ExitStack() as stack:
        connection = stack.enter_context(closing(_connect(path, options)))
        check_tables(connection, path)
        stack.pop_all()
    return connection


def open_for_writing(path: str) -> sqlite3.Connection:
    """Open a journal so that commits survive a loss of power. Raise sqlite3.Error."""
    connection = _connect(path, "mode=rw")
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


def _connect(path: str, options: str) -> sqlite3.Connection:
    # Autocommit: transactions begin and end by explicit statements.
    return sqlite3.connect(
        f"{Path(path).as_uri()}?{options}", uri=True, timeout=_BUSY_PATIENCE, isolation_level=None
    )


def _read_header(path: str, options: str) -> tuple[int, int]:
    """Return the application and the version of the format in the file's header."""
    with closing(_connect(path, options)) as connection:
        ask = connection.execute
        return ask("PRAGMA application_id").fetchone()[0], ask("PRAGMA user_version").fetchone()[0]
