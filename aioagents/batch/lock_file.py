"""Locks a file for one writer at a time, by a lock on a second file that exists beside it meanwhile.

The operating system releases the lock however the process ends; the next writer uses the lock file that was left.
This is not a lock of SQLite's, as a journal has: its file cannot be removed, and no file may stay beside results.
"""

import os
import sys
from contextlib import suppress
from pathlib import Path
from typing import IO, Final

_SUFFIX: Final = ".aioagents-lock"
_ATTEMPTS: Final = 10

if sys.platform == "win32":  # pragma: no cover - tests run elsewhere
    import msvcrt

    def _try_lock(file: IO[bytes]) -> bool:
        with suppress(OSError):
            msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
            return True
        return False

else:
    import fcntl

    def _try_lock(file: IO[bytes]) -> bool:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True


class LockFile:
    """A lock on writing to `path`, held from `acquire` to `release`. It can be acquired again."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._name = path.with_name(f"{path.name}{_SUFFIX}")
        self._file: IO[bytes] | None = None

    def acquire(self) -> None:
        """Acquire the lock without waiting. Raise ValueError if it is taken, and OSError if the disk fails."""
        if not self._path.parent.exists():
            return  # opening the file itself will fail, with a better message
        for _ in range(_ATTEMPTS):
            file = self._name.open("ab")
            try:
                if not _try_lock(file):
                    break
                if self._has_name(file):
                    self._file = file
                    return
            finally:
                if self._file is None:  # also if the former owner removed the file between open and lock
                    file.close()
        raise ValueError(
            f"another batch is writing to {self._path}: let it end first, or name another file for these results"
        )

    def release(self) -> None:
        """Release the lock and remove the lock file. May be called twice."""
        file, self._file = self._file, None
        if file is not None:
            with suppress(OSError):  # then the file stays, and does no harm
                if self._has_name(file):
                    self._name.unlink()
            file.close()

    def _has_name(self, file: IO[bytes]) -> bool:
        """Return whether the open file is still the one with the lock file's name."""
        try:
            return os.path.samestat(os.fstat(file.fileno()), self._name.stat())
        except FileNotFoundError:
            return False
