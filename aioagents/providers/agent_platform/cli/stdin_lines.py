"""Asynchronous reader of the lines of stdin, from a terminal or a pipe."""

import asyncio
import os
import select
import sys
from typing import Final, Self

_PIECE: Final = 65536
#: Windows cannot wait for a terminal and a pipe at once: there a cancelled read ends with the next line.
_CAN_BE_WOKEN: Final = os.name != "nt"


class StdinLines:
    """The lines of stdin, read by a thread that runs only while a line is being awaited.

    Raises OSError if there is no stdin.
    """

    def __init__(self) -> None:
        if sys.stdin is None:
            raise OSError("there is no standard input")
        # Not through sys.stdin, whose lock a thread must not hold when the interpreter exits.
        self._source = sys.stdin.fileno()
        self._encoding = sys.stdin.encoding or "utf-8"
        self._is_over = False
        self._buffer = bytearray()

    def __enter__(self) -> Self:
        self._wake_read_fd, self._wake_write_fd = os.pipe()
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._wake_write_fd)
        os.close(self._wake_read_fd)

    async def next(self) -> str | None:
        """Wait for the next line and return it without its end; None when there are no more.

        A cancelled call returns after its thread has ended; a line that arrives in the same moment may be lost.
        """
        reading = asyncio.get_running_loop().run_in_executor(None, self._read)
        try:
            line = await asyncio.shield(reading)
        except asyncio.CancelledError:
            os.write(self._wake_write_fd, b"\0")
            await reading
            raise
        return None if line is None else line.decode(self._encoding, "replace").rstrip("\r")

    def _read(self) -> bytes | None:
        while (end := self._buffer.find(b"\n")) < 0 and not self._is_over:
            if (
                _CAN_BE_WOKEN
                and self._wake_read_fd in select.select([self._source, self._wake_read_fd], [], [])[0]
            ):
                return None
            piece = os.read(self._source, _PIECE)
            self._buffer += piece
            self._is_over = not piece
        if end < 0 and not self._buffer:
            return None
        line = bytes(self._buffer if end < 0 else self._buffer[:end])
        del self._buffer[: len(line) + 1]
        return line
