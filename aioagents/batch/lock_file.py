"""Locks a file for one writer at a time, by a lock on a second file beside it.

The operating system releases the lock however the process ends; the next writer uses the lock file that was left. A
child that a process forked would hold the lock as long as it lives, and gives it up at once.
"""

import os
import sys
import weakref
from contextlib import suppress
from pathlib import Path
from typing import IO, Any, Final

_SUFFIX: Final = ".aioagents-lock"
_ATTEMPTS: Final = 10
#: Where files are locked on systems that lock bytes: beyond all that is read.
_FAR: Final = 1 << 30
_locked: "weakref.WeakSet[IO[bytes]]" = weakref.WeakSet()

if sys.platform == "win32":  # pragma: no cover - tests run elsewhere
    import msvcrt

    def try_lock(file: IO[bytes], *, is_shared: bool = False) -> bool:  # noqa: ARG001 - there are no shared ones
        """Lock a file without waiting; return whether that worked. Closing the file releases it."""
        with suppress(OSError):
            file.seek(_FAR)
            msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
            return True
        return False

    def write_at(file: IO[bytes], content: bytes, offset: int) -> int:
        """Write to an unbuffered file, and return how many bytes were written."""
        file.seek(offset)
        return file.write(content)

else:
    import fcntl

    def write_at(file: IO[bytes], content: bytes, offset: int) -> int:
        """Write to an unbuffered file, and return how many bytes were written."""
        return os.pwrite(file.fileno(), content, offset)

    def try_lock(file: IO[bytes], *, is_shared: bool = False) -> bool:
        """Lock a file without waiting; return whether that worked. Closing the file releases it."""
        try:
            fcntl.flock(file, (fcntl.LOCK_SH if is_shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        _locked.add(file)
        return True

    def _close_in_child() -> None:
        for file in list(_locked):
            with suppress(OSError):
                file.close()

    os.register_at_fork(after_in_child=_close_in_child)


class LockFile:
    """A lock on writing to `path`, held from `acquire` to `release`, with a file that exists meanwhile.

    It can be acquired again.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._name = path.with_name(f"{path.name}{_SUFFIX}")
        self._file: IO[bytes] | None = None

    def acquire(self) -> None:
        """Acquire the lock without waiting. Raise ValueError if it is taken, and OSError if the disk fails."""
        if not self._path.parent.exists():
            return  # opening the file itself will fail, with a better message
        for _ in range(_ATTEMPTS):
            file = open_private(self._name, "ab")
            try:
                if not try_lock(file):
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


def open_private(path: Path, mode: str, **options: Any) -> IO[bytes]:
    """Open a file, as `open` does; if it is missing it is created, for its owner alone to read and write."""

    def opener(name: str, flags: int) -> int:
        return os.open(name, flags | os.O_CREAT, 0o600)

    file: IO[bytes] = open(path, mode, opener=opener, **options)  # noqa: SIM115 - a Path has no opener
    return file
