"""The file `-lock` beside a journal: its lock, how far it had come, and room for changes when the disk is full.

It is written in place, never beyond the size that it gets when the journal is opened, so that writing needs no free
space. The extent is not synced each time: after a loss of power it may be older than the journal, never newer.
"""

import errno
import os
import struct
import time
from contextlib import suppress
from pathlib import Path
from typing import IO, Final, Self
from zlib import crc32

from ..lock_file import open_private, try_lock, write_at
from .wholeness import NOBODYS, Extent

#: Two processes that open it at the same instant may block each other; one succeeds well within this time.
_LOCK_PATIENCE: Final = 0.5
_TICK: Final = 0.01
_MAGIC: Final = b"aioagJ\x00\x02"
_EXTENT: Final = struct.Struct("<8s16sQQ")
_SUM: Final = struct.Struct("<I")
_FRAME: Final = struct.Struct("<II")
#: Where spilled changes begin, and the size of the file: some 500 references, or 100 large ones.
_SPILL: Final = 4096
_SIZE: Final = 64 * 1024


class LockTaken(Exception):
    """Another process has the lock."""


class Guard:
    """The file, open and locked. `extent` is what it said when it was opened, None for a new file."""

    def __init__(self, file: IO[bytes], extent: Extent | None) -> None:
        self._file = file
        self._tail = _SPILL
        self.extent = extent

    @classmethod
    def acquire(cls, path: str) -> Self:
        """Lock the journal at `path` for this process until the guard is closed or the process ends in any way.

        Raise LockTaken if another process has it, and OSError.
        """
        name = Path(f"{path}-lock")
        file = open_private(name, "r+b", buffering=0)
        try:
            _wait_for_lock(file)
            return cls(file, _read_extent(file))
        except BaseException:
            file.close()
            raise

    def prepare(self, extent: Extent) -> None:
        """Write the extent, and extend the file to its size, all of it to disk. Raise OSError."""
        self.write(extent)  # first: a disk that is full now must not leave a file without one
        size = os.fstat(self._file.fileno()).st_size
        if size < _SIZE:
            self._write(bytes(_SIZE - size), size)
        os.fsync(self._file.fileno())

    def write(self, extent: Extent) -> None:
        """Write the extent. What a process wrote stays when it is killed. Raise OSError."""
        content = _EXTENT.pack(_MAGIC, *extent)
        self._write(content + _SUM.pack(crc32(content)), 0)

    def _write(self, content: bytes, offset: int) -> None:
        if write_at(self._file, content, offset) != len(content):
            raise OSError(errno.ENOSPC, f"{self._file.name} was written in part")

    # What could not be recorded

    def spill(self, content: bytes) -> None:
        """Append to what is kept here until it can be recorded. Raise OSError if there is no room."""
        frame = _FRAME.pack(len(content), crc32(content)) + content
        if self._tail + len(frame) > _SIZE:
            raise OSError(errno.ENOSPC, f"{self._file.name} has no room left")
        self._write(frame, self._tail)
        os.fsync(self._file.fileno())
        self._tail += len(frame)

    def spilled(self) -> list[bytes]:
        """Return what is kept here, up to what was written in part. Raise OSError."""
        self._file.seek(_SPILL)
        content, found, start = self._file.read(_SIZE - _SPILL), [], 0
        while len(content) >= start + _FRAME.size:
            length, checksum = _FRAME.unpack_from(content, start)
            start += _FRAME.size
            each = content[start : start + length]
            if not length or crc32(each) != checksum:
                break
            found.append(each)
            start += length
            self._tail = _SPILL + start
        return found

    def clear(self) -> None:
        """Forget what is kept here. Raise OSError."""
        if self._tail > _SPILL:
            self._write(bytes(self._tail - _SPILL), _SPILL)
            self._tail = _SPILL

    def close(self) -> None:
        """Release the lock. May be called twice."""
        self._file.close()


def _wait_for_lock(file: IO[bytes]) -> None:
    ends_at = time.monotonic() + _LOCK_PATIENCE
    while not try_lock(file):
        if time.monotonic() > ends_at:
            raise LockTaken
        time.sleep(_TICK)


def read_extent(path: str) -> Extent | None:
    """Return how far the journal at `path` had come, None if nothing says so. Raise OSError."""
    name = Path(f"{path}-lock")
    with suppress(FileNotFoundError), name.open("rb", buffering=0) as file:
        return _read_extent(file)
    return None


def _read_extent(file: IO[bytes]) -> Extent | None:
    file.seek(0)
    content = file.read(_EXTENT.size + _SUM.size)
    if not content:
        return None
    if len(content) == _EXTENT.size + _SUM.size:
        magic, journal, writes, total = _EXTENT.unpack_from(content)
        if magic == _MAGIC and _SUM.unpack_from(content, _EXTENT.size)[0] == crc32(content[: _EXTENT.size]):
            return Extent(journal, writes, total)
    return NOBODYS


def is_locked(path: str) -> bool:
    """Return whether a process has the journal open."""
    with suppress(OSError), Path(f"{path}-lock").open("rb", buffering=0) as file:
        return not try_lock(file, is_shared=True)
    return False
