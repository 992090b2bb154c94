"""Bodies that are read while they are sent."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from types import TracebackType
from typing import Final, Self

import aiohttp
import anyio
from aiohttp.abc import AbstractStreamWriter

from ..model import Upload

_PORTION: Final = 64 * 1024  # bytes that are handed to the connection at once
_GRACE: Final = 2.0


async def pieces_of(upload: Upload) -> AsyncGenerator[bytes, None]:
    """Return the pieces of an upload; closing this closes their source.

    Whatever the source raises, and ValueError where it does not give `size` bytes, comes before the last piece: who
    sends them on has then surely not sent the whole.
    """
    source = upload.open()
    try:
        count, last = 0, b""
        async for piece in source:
            if not isinstance(piece, bytes):  # what its source may still change cannot be held
                raise TypeError(f"an upload gives bytes, not {type(piece).__name__}")
            if not piece:
                continue
            count += len(piece)
            if upload.size is not None and count > upload.size:
                raise ValueError(f"an upload of {upload.size} bytes gave more than that")
            if last:
                yield last
            last = piece
        if upload.size is not None and count < upload.size:
            raise ValueError(f"an upload of {upload.size} bytes gave {count} alone")
        if last:
            yield last
    finally:
        aclose = getattr(source, "aclose", None)
        if aclose is not None:
            await aclose()


class UploadBody(aiohttp.Payload):
    """An upload as aiohttp sends it, entered for as long as its request lasts.

    Raises TimeoutError on leaving where the peer took `seconds` to take a portion, or to answer after the last one;
    how long the source takes is not bounded. Leaving waits until the source is closed.
    """

    _autoclose = True

    def __init__(self, upload: Upload, *, seconds: float | None) -> None:
        super().__init__(upload, content_type="application/octet-stream")
        self._upload = upload
        self._size = upload.size
        self._consumed = False
        self._seconds = seconds
        self._limit = asyncio.timeout(None)
        self._is_over = asyncio.Event()
        #: What the source raised.
        self.fault: Exception | None = None

    def decode(self, *_: str, **__: str) -> str:
        """Raise TypeError: nobody has the whole."""
        raise TypeError("an upload is not kept")

    async def __aenter__(self) -> Self:
        await self._limit.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            await self._limit.__aexit__(kind, value, trace)
        finally:
            if self._consumed:
                with anyio.move_on_after(_GRACE, shield=True):
                    await self._is_over.wait()

    async def write(self, writer: AbstractStreamWriter) -> None:
        """Send all pieces, reading each when the ones before it are on their way."""
        if self._consumed:
            raise ConnectionResetError("an upload is not sent again behind the back of who made it")
        self._consumed = True
        try:
            async with aclosing(pieces_of(self._upload)) as pieces:
                while piece := await self._next(pieces):
                    for at in range(0, len(piece), _PORTION):
                        self._wait_until(self._seconds)
                        await writer.write(memoryview(piece)[at : at + _PORTION])
            self._wait_until(self._seconds)
        finally:
            self._is_over.set()

    async def _next(self, pieces: AsyncGenerator[bytes, None]) -> bytes:
        self._wait_until(None)
        try:
            return await anext(pieces, b"")
        except Exception as exc:
            self.fault = exc
            raise

    def _wait_until(self, seconds: float | None) -> None:
        """Wait for the peer for so long from now, or without end."""
        if self._seconds is not None and not self._limit.expired():
            when = None if seconds is None else asyncio.get_running_loop().time() + seconds
            self._limit.reschedule(when)
