"""Holds a file for one writer at a time, by a lock on another file that stands beside it meanwhile.

The operating system lets go of the lock however the process ends; the next writer takes up what was left beside it.
It is not SQLite's lock, as a journal's is: that one's file cannot be removed, and nothing is to stay beside results.
"""

import os
import sys
from contextlib import suppress
from pathlib import Path
from typing import IO, Final

_LOCK: Final = ".aioagents-lock"
_PATIENCE: Final = 10

if sys.platform == "win32":  # pragma: no cover - tests run elsewhere
    import msvcrt

    def _lock(file: IO[bytes]) -> bool:
        with suppress(OSError):
            msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
            return True
        return False

else:
    import fcntl

    def _lock(file: IO[bytes]) -> bool:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True


class Hold:
    """A lock on what is written to `path`, from `take` until `leave`. May be taken again."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._name = path.with_name(f"{path.name}{_LOCK}")
        self._file: IO[bytes] | None = None

    def take(self) -> None:
        """Take it, without waiting. Raises ValueError where somebody has it, and OSError where the disk fails."""
        if not self._path.parent.exists():
            return  # nobody writes there, and who tries to will be told in better words
        for _ in range(_PATIENCE):
            file = self._name.open("ab")
            try:
                if not _lock(file):
                    break
                if self._is_there(file):
                    self._file = file
                    return
            finally:
                if self._file is None:  # also if whoever had it removed the file between our steps
                    file.close()
        raise ValueError(
            f"another batch is writing to {self._path}: let it end first, or name another file for these results"
        )

    def leave(self) -> None:
        """Let others have it. May be called twice."""
        file, self._file = self._file, None
        if file is not None:
            with suppress(OSError):  # then it stays, and is as good as none
                if self._is_there(file):
                    self._name.unlink()
            file.close()

    def _is_there(self, file: IO[bytes]) -> bool:
        """Return whether an open file is the one that has the name."""
        try:
            return os.path.samestat(os.fstat(file.fileno()), self._name.stat())
        except FileNotFoundError:
            return False
