"""Replies that are read while they arrive."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import suppress
from typing import Final, Protocol, Self, TypeVar

import aiohttp

from ..errors import AgentsError, TransportError
from .border import bare, watch

T = TypeVar("T")

_MOST_OF_A_REFUSAL: Final = 64 * 1024


class Tell(Protocol):
    """Says in our words what befell a stream."""

    def __call__(self, exc: BaseException, *, has_begun: bool) -> AgentsError | None:
        """Return the error to raise instead, None where `exc` is to pass; `has_begun` says that the reply had."""
        ...


async def piece_of(body: aiohttp.StreamReader) -> bytes:
    """Wait for what comes next of a body, empty at its end. What came before an error is given first."""
    if body.exception() is not None and body._buffer:  # noqa: SLF001 - no other way to what came before an error
        return body._read_nowait(-1)  # noqa: SLF001
    return await body.readany()


async def words_of(response: aiohttp.ClientResponse, *, patience: float) -> bytes:
    """Return the body of a refusal: at most 64 KiB, and what there is where it breaks off or takes longer.

    Its status is the answer: a body that cannot be read makes no other one of it.
    """
    words = bytearray()
    with suppress(aiohttp.ClientError, OSError, TimeoutError):
        async with asyncio.timeout(patience):
            while len(words) <= _MOST_OF_A_REFUSAL and (piece := await piece_of(response.content)):
                words += piece
    if not response.content.at_eof():
        response.close()
    return bytes(words[:_MOST_OF_A_REFUSAL])


class HttpStream:
    """One request whose reply is read while it arrives: sent on entering, its connection closed on leaving.

    Leaving waits for nothing, and no connection is used again. `patience` bounds, in seconds, the reading of a
    refusal.
    """

    def __init__(
        self, begin: Callable[[], Awaitable[aiohttp.ClientResponse]], tell: Tell, *, patience: float | None
    ) -> None:
        self._begin = begin
        self._tell = tell
        self._patience = patience
        self._begun: aiohttp.ClientResponse | None = None

    @property
    def _response(self) -> aiohttp.ClientResponse:
        if self._begun is None:
            raise RuntimeError("a stream has to be entered first")
        return self._begun

    @property
    def status(self) -> int:
        """Return the status."""
        return self._response.status

    @property
    def headers(self) -> Mapping[str, str]:
        """Return the headers."""
        return self._response.headers

    async def __aenter__(self) -> Self:
        self._begun = await self._guarded(self._begin)
        watch(self._begun)
        return self

    async def __aexit__(self, *_: object) -> None:
        self._response.close()

    def pieces(self) -> AsyncIterator[bytes]:
        """Return the body's bytes as they arrive, in no particular portions.

        Raises `ReplyLost` where the body breaks off, or stays silent for too long, and `PoolClosed`.
        """
        return self

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> bytes:
        body = self._response.content
        piece = await self._guarded(lambda: piece_of(body))
        if not piece:
            raise StopAsyncIteration
        return piece

    async def read(self) -> bytes:
        """Return the body of a refusal: at most 64 KiB of it, and what there is of it where it breaks off."""
        body = bytearray()
        with suppress(TransportError, TimeoutError):
            async with asyncio.timeout(self._patience):
                async for piece in self:
                    body += piece
                    if len(body) >= _MOST_OF_A_REFUSAL:
                        break
        return bytes(body[:_MOST_OF_A_REFUSAL])

    async def _guarded(self, work: Callable[[], Awaitable[T]]) -> T:
        try:
            return await work()
        except (Exception, asyncio.CancelledError) as exc:
            error = self._tell(exc, has_begun=self._begun is not None)
            if error is None:
                raise
            cause = bare(exc)
        raise error from cause  # out here, since a context holds on to what the cause leaves out
