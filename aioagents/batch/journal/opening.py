"""How a journal's file is found, locked, made, looked over and opened. Refusals leave it byte for byte as it is.

No file that SQLite has open is ever opened by other means: closing it would drop this process's locks on it.
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
from .faults import damaged, fault
from .ledger import micros_of, moment_of
from .schema import APPLICATION, FORMAT, TABLES

#: Two that open at the same instant may stand in each other's way; one gets through well within this.
_LOCK_PATIENCE: Final = 0.5
#: For a program that is not ours and writes into the file.
_BUSY_PATIENCE: Final = 5.0
#: Above 16 MB what is left of the log after a large change is given back.
_LOG_LIMIT: Final = 16 * 1024 * 1024
#: The first that changes many rows by one statement.
_SQLITE: Final = (3, 33, 0)
_UNWRITABLE: Final = frozenset({sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_PERM})


def see_to_sqlite() -> None:
    """Raise JournalError where Python came with a SQLite that is too old to write journals."""
    if sqlite3.sqlite_version_info < _SQLITE:
        raise JournalError(
            f"journals need SQLite {'.'.join(map(str, _SQLITE))} or newer, and this Python has "
            f"{sqlite3.sqlite_version}: use another build of Python"
        )


def find(path: str | os.PathLike[str]) -> str:
    """Return the one name that stands for all names of the file, symbolic links resolved."""
    return os.path.realpath(path)


def exists(path: str) -> bool:
    """Return whether there is a journal at `path`; False where one can be made. Raises JournalError otherwise.

    An empty file counts as none: that is what tools leave that reserve a name.
    """
    try:
        found = Path(path).stat()
    except FileNotFoundError:
        parent = Path(path).parent
        if not parent.is_dir():
            raise JournalError(
                f"there is no folder {parent}: make it first, or name another journal"
            ) from None
        return _is_none(path)
    except OSError as exc:
        raise fault(exc, path) from exc
    if not stat.S_ISREG(found.st_mode):
        kind = "a folder" if stat.S_ISDIR(found.st_mode) else "no ordinary file"
        raise JournalError(f"{path} is {kind}: name the file that is to be the journal")
    if found.st_nlink > 1:
        # SQLite names its log after the file: under another name it would not be found.
        raise JournalError(f"the journal {path} has further names (hard links): remove those, or copy it")
    return bool(found.st_size) or _is_none(path)


def _is_none(path: str) -> bool:
    """Say False, unless a log stands there whose journal is gone: SQLite would play it into a new one."""
    for end in ("-wal", "-journal"):
        log = Path(path + end)
        with suppress(OSError):
            if log.stat().st_size:
                raise JournalError(
                    f"{path} is not there, but {log.name} is, which belongs to it: put both back, or remove that"
                )
    return False


def identify(path: str) -> None:
    """Raise JournalError for a file that is not a journal, or a newer one. Changes nothing."""
    try:
        try:
            # Immutable: no lock, no log, and no file beside one that is not ours.
            application, version = _marks(path, "mode=ro&immutable=1")
        except sqlite3.DatabaseError as exc:
            if exc.sqlite_errorcode & 0xFF != sqlite3.SQLITE_CORRUPT:
                raise
            # Half of the log is played back: right now, or when the process died or the disk was full.
            application, version = _marks(path, "mode=ro")
    except sqlite3.Error as exc:
        if getattr(exc, "sqlite_errorcode", None) == sqlite3.SQLITE_NOTADB:
            raise JournalError(f"{path} is not a journal, and was left as it is: name another file") from exc
        raise fault(exc, path) from exc
    if application != APPLICATION:
        raise JournalError(f"{path} is another program's database, and was left as it is: name another file")
    if version > FORMAT:
        raise JournalError(
            f"the journal {path} was written by a newer aioagents (format {version}; this one knows {FORMAT}), and "
            "was left as it is: upgrade aioagents"
        )


def lock(path: str) -> sqlite3.Connection:
    """Take the journal for this process, until the connection is closed or the process ends in whatever way.

    The lock is a transaction on an empty database beside it, which the operating system releases by itself. The
    journal proper stays readable. Raises JournalError that names the owner.
    """
    name = f"{path}-lock"
    try:
        with suppress(FileExistsError):  # only one that is new may be opened by hand
            os.close(os.open(name, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))
        held = sqlite3.connect(
            f"{Path(name).as_uri()}?mode=rw", uri=True, timeout=_LOCK_PATIENCE, isolation_level=None
        )
    except (OSError, sqlite3.Error) as exc:
        raise fault(exc, path) from exc
    try:
        held.execute("PRAGMA journal_mode = MEMORY")  # nothing is written, so nothing is left behind
        held.execute("BEGIN EXCLUSIVE")
    except sqlite3.Error as exc:
        held.close()
        if getattr(exc, "sqlite_errorcode", 0) & 0xFF != sqlite3.SQLITE_BUSY:
            raise fault(exc, path) from exc
        raise JournalError(
            f"the journal {path} is in use by {_owner(path)}: let that end first", is_passing=True
        ) from None
    return held


def _owner(path: str) -> str:
    with suppress(sqlite3.Error, OSError), closing(_connect(path, "mode=ro")) as connection:
        row = connection.execute(
            "SELECT owner, opened_at FROM opening ORDER BY number DESC LIMIT 1"
        ).fetchone()
        if row is not None:
            return f"{row[0]} since {moment_of(row[1]):%Y-%m-%d %H:%M:%S} UTC"
    return "another process"


def is_locked(path: str) -> bool:
    """Return whether a process has the journal open."""
    try:
        with closing(
            sqlite3.connect(f"{Path(f'{path}-lock').as_uri()}?mode=ro", uri=True, timeout=0)
        ) as held:
            held.execute("SELECT count(*) FROM sqlite_master")
    except sqlite3.Error as exc:
        return getattr(exc, "sqlite_errorcode", 0) & 0xFF == sqlite3.SQLITE_BUSY
    return False


def make(path: str, *, now: datetime) -> None:
    """Make an empty journal, readable by its owner alone; it is there as a whole or not at all."""
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
        # Its folder's entry is on disk with the first commit: SQLite syncs the folder where it makes a log.
        Path(name).replace(path)
    except (OSError, sqlite3.Error) as exc:
        raise fault(exc, path) from exc
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
    connection.execute("INSERT INTO batch (id, created_at) VALUES (1, ?)", (micros_of(now),))
    connection.execute("COMMIT")
    return str(connection.execute("PRAGMA journal_mode = WAL").fetchone()[0])


def look_over(path: str) -> None:
    """Raise JournalError for a damaged journal.

    Everything is read, keys against rows included, since a row that is not found by its key would be started again:
    some two seconds for a million rows.
    """
    try:
        # Read-only: the last connection that may write plays the log back as it closes, and the file is to be kept.
        with closing(_connect(path, "mode=ro")) as connection:
            words = str(connection.execute("PRAGMA integrity_check(1)").fetchone()[0])
            if words != "ok":
                raise damaged(path, words.splitlines()[-1])
            check_tables(connection, path)
    except sqlite3.Error as exc:
        raise fault(exc, path) from exc


def check_tables(connection: sqlite3.Connection, path: str) -> None:
    """Raise JournalError for a journal whose tables are not what they were made as."""
    found = dict(connection.execute("SELECT name, sql FROM sqlite_master").fetchall())
    wrong = [name for name, statement in TABLES.items() if found.get(name) != statement]
    if wrong:
        raise damaged(path, f"not as it was made: {', '.join(wrong)}")
    if connection.execute("SELECT count(*) FROM batch").fetchone()[0] != 1:
        raise damaged(path, "not as it was made: batch")


def open_to_read(path: str) -> sqlite3.Connection:
    """Open a journal that may be in use, or lie where nothing can be written. Raises sqlite3.Error too."""
    if not exists(path):
        raise JournalError(f"there is no journal {path}")
    identify(path)
    try:
        return _open_checked(path, "mode=ro")
    except sqlite3.OperationalError as exc:
        # Where the files beside it cannot be made, and no log is there, it lies still.
        if exc.sqlite_errorcode & 0xFF not in _UNWRITABLE or Path(f"{path}-wal").exists():
            raise
        return _open_checked(path, "mode=ro&immutable=1")


def _open_checked(path: str, options: str) -> sqlite3.Connection:
    with ExitStack() as stack:
        connection = stack.enter_context(closing(_connect(path, options)))
        check_tables(connection, path)
        stack.pop_all()
    return connection


def open_to_write(path: str) -> sqlite3.Connection:
    """Open a journal so that what is committed survives the loss of power. Raises sqlite3.Error."""
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
    # Autocommit: transactions begin and end where the code says so.
    return sqlite3.connect(
        f"{Path(path).as_uri()}?{options}", uri=True, timeout=_BUSY_PATIENCE, isolation_level=None
    )


def _marks(path: str, options: str) -> tuple[int, int]:
    """Read whose file it is, and in which format."""
    with closing(_connect(path, options)) as connection:
        ask = connection.execute
        return ask("PRAGMA application_id").fetchone()[0], ask("PRAGMA user_version").fetchone()[0]
