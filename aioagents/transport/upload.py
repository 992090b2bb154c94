"""Request bodies that are read while they are sent."""

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
    """Yield the pieces of an upload; closing this generator closes their source.

    Raises what the source raises, and ValueError where it does not yield `size` bytes, both before the last piece is
    yielded: so a body whose source failed was never sent as a whole.
    """
    source = upload.open()
    try:
        count, last = 0, b""
        async for piece in source:
            if not isinstance(piece, bytes):  # one is kept here, and must not change meanwhile
                raise TypeError(f"an upload gives bytes, not {type(piece).__name__}")
            if not piece:
                continue
            count += len(piece)
            if upload.size is not None and count > upload.size:
                raise ValueError(f"an upload of {upload.size} bytes yielded more than that")
            if last:
                yield last
            last = piece
        if upload.size is not None and count < upload.size:
            raise ValueError(f"an upload of {upload.size} bytes yielded only {count}")
        if last:
            yield last
    finally:
        aclose = getattr(source, "aclose", None)
        if aclose is not None:
            await aclose()


class UploadBody(aiohttp.Payload):
    """An upload as aiohttp sends it; a context manager around its request.

    Leaving waits until the source is closed. Raises TimeoutError on leaving where the peer took longer than `seconds`
    to receive a part, or to answer after the last one; the time that the source takes is not bounded.
    """

    _autoclose = True

    def __init__(self, upload: Upload, *, seconds: float | None) -> None:
        super().__init__(upload, content_type="application/octet-stream")
        self._upload = upload
        self._size = upload.size
        #: Whether its first byte may have been sent.
        self.was_begun = False
        self._seconds = seconds
        self._limit = asyncio.timeout(None)
        self._is_over = asyncio.Event()
        #: The exception that the source raised.
        self.error: Exception | None = None

    def decode(self, *_: str, **__: str) -> str:
        """Raise TypeError: the body is never in memory as a whole."""
        raise TypeError("the body of an upload is not kept")

    async def __aenter__(self) -> Self:
        await self._limit.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            await self._limit.__aexit__(kind, value, trace)
        finally:
            if self.was_begun:
                with anyio.move_on_after(_GRACE, shield=True):
                    await self._is_over.wait()

    async def write(self, writer: AbstractStreamWriter) -> None:
        """Send all pieces; each is read once the one before it is being sent."""
        if self.was_begun:
            raise ConnectionResetError("an upload is not sent again by aiohttp itself")
        self.was_begun = True
        try:
            async with aclosing(pieces_of(self._upload)) as pieces:
                while piece := await self._next(pieces):
                    for at in range(0, len(piece), _PORTION):
                        self._set_timeout(self._seconds)
                        await writer.write(memoryview(piece)[at : at + _PORTION])
            self._set_timeout(self._seconds)
        finally:
            self._is_over.set()

    async def _next(self, pieces: AsyncGenerator[bytes, None]) -> bytes:
        self._set_timeout(None)
        try:
            return await anext(pieces, b"")
        except Exception as exc:
            self.error = exc
            raise

    def _set_timeout(self, seconds: float | None) -> None:
        """Bound the wait for the peer to so many seconds from now; None for no bound."""
        if self._seconds is not None and not self._limit.expired():
            when = None if seconds is None else asyncio.get_running_loop().time() + seconds
            self._limit.reschedule(when)
