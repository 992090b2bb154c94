"""What a person types, or a pipe holds, line by line, while an event loop goes on."""

import asyncio
import os
import select
import sys
from typing import Final, Self

_PIECE: Final = 65536
#: Windows cannot wait for a terminal and for something else at once: there a line has to come first.
_CAN_BE_WOKEN: Final = os.name != "nt"


class Lines:
    """The lines of stdin, read by a thread that waits for as long as somebody asks for one, and no longer.

    Raises OSError where there is no stdin.
    """

    def __init__(self) -> None:
        if sys.stdin is None:
            raise OSError("there is no standard input")
        # Past Python's own buffer, whose lock a thread must not hold when the interpreter ends.
        self._source = sys.stdin.fileno()
        self._encoding = sys.stdin.encoding or "utf-8"
        self._is_over = False
        self._held = bytearray()

    def __enter__(self) -> Self:
        self._bell, self._ringer = os.pipe()
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._ringer)
        os.close(self._bell)

    async def next(self) -> str | None:
        """Wait for the next line and give it without its end; None when there are no more.

        When this is cancelled, the thread has ended, and no line is lost but one that is not whole.
        """
        reading = asyncio.get_running_loop().run_in_executor(None, self._read)
        try:
            line = await asyncio.shield(reading)
        except asyncio.CancelledError:
            os.write(self._ringer, b"\0")
            await reading
            raise
        return None if line is None else line.decode(self._encoding, "replace").rstrip("\r")

    def _read(self) -> bytes | None:
        while (end := self._held.find(b"\n")) < 0 and not self._is_over:
            if _CAN_BE_WOKEN and self._bell in select.select([self._source, self._bell], [], [])[0]:
                return None
            piece = os.read(self._source, _PIECE)
            self._held += piece
            self._is_over = not piece
        if end < 0 and not self._held:
            return None
        line = bytes(self._held if end < 0 else self._held[:end])
        del self._held[: len(line) + 1]
        return line
