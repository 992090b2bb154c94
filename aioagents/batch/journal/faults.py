"""Converts errors of SQLite and of the operating system to a `JournalError` that says what to do."""

import errno
import sqlite3
from types import MappingProxyType
from typing import Final

from ...errors import JournalError
from .wholeness import ADVICE

_DAMAGED: Final = (
    "it is damaged. Put a copy back, or save what `sqlite3 FILE .recover` can still read; a batch without its "
    "journal starts its rows again"
)
_DISK: Final = (
    "reading or writing failed: the disk is full, over its quota, read-only or failing; see to "
    "it, then run the same again"
)
_RIGHTS: Final = "it cannot be opened: see to the rights to the file and its folder"
_FULL: Final = "the disk is full: make room, then run the same again"
#: By the number of the operating system's error: what to do.
_SYSTEM_ADVICE: Final = MappingProxyType(
    dict.fromkeys((errno.ENOSPC, errno.EFBIG, errno.EDQUOT), _FULL)
    | dict.fromkeys((errno.EACCES, errno.EPERM), _RIGHTS)
)
#: By SQLite's primary error code: what to do, and whether the same call may then succeed.
_ADVICE: Final = MappingProxyType(
    {
        sqlite3.SQLITE_FULL: (_FULL, True),
        sqlite3.SQLITE_IOERR: (_DISK, True),
        sqlite3.SQLITE_READONLY: (
            "it cannot be written: the file, its folder or the disk is read-only",
            True,
        ),
        sqlite3.SQLITE_CANTOPEN: (_RIGHTS, True),
        sqlite3.SQLITE_PERM: (_RIGHTS, True),
        sqlite3.SQLITE_BUSY: ("another program has it locked: end that, then run the same again", True),
        sqlite3.SQLITE_LOCKED: ("another program has it locked: end that, then run the same again", True),
        sqlite3.SQLITE_CORRUPT: (_DAMAGED, False),
        sqlite3.SQLITE_NOTADB: (_DAMAGED, False),
        sqlite3.SQLITE_TOOBIG: ("a row is larger than SQLite can hold", False),
        sqlite3.SQLITE_NOMEM: ("there is no memory left", True),
    }
)


def journal_error(error: Exception, path: str) -> JournalError:
    """Return `error` as a JournalError, a new one for each caller that raises it."""
    if isinstance(error, JournalError):
        return JournalError(str(error), key=error.key, is_passing=error.is_passing)
    advice, is_passing = _advice(error)
    result = JournalError(
        f"the journal {path} failed, and nothing was changed: {advice}", is_passing=is_passing
    )
    result.__cause__ = error
    return result


def _advice(error: Exception) -> tuple[str, bool]:
    if isinstance(error, OSError):
        advice, words = _SYSTEM_ADVICE.get(error.errno or 0), f"{error.strerror or error}"
        return f"{advice} ({words})" if advice else words, True
    code = getattr(error, "sqlite_errorcode", None)
    if (
        code is None
    ):  # stored values are not valid, or this is a bug; the message must not hold a row's content
        return f"{type(error).__name__}, see the cause", False
    known = _ADVICE.get(code & 0xFF)
    if known is None:
        return f"{error} ({error.sqlite_errorname})", False  # type: ignore[attr-defined] # comes with the code
    return f"{known[0]} ({error})", known[1]


def not_whole(path: str, words: str) -> JournalError:
    """Return the error for a journal that does not have all that was acknowledged."""
    return JournalError(f"the journal {path} is not whole, and was left as it is: {words}. {ADVICE}")


def damaged(path: str, words: str) -> JournalError:
    """Return the error for a file whose content cannot be relied upon."""
    return JournalError(f"the journal {path} was left as it is: {_DAMAGED} ({words})")
