"""Reads replies while they arrive."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import suppress
from typing import Final, Protocol, Self, TypeVar

import aiohttp

from ..errors import AgentsError, TransportError
from ..tracebacks import cut_traceback
from .aiohttp_errors import fail_body_on_disconnect, redacted

T = TypeVar("T")

_MAX_REFUSAL: Final = 64 * 1024


class Translate(Protocol):
    """Translates an exception of a stream."""

    def __call__(self, exc: BaseException, *, has_begun: bool) -> AgentsError | None:
        """Return the error to raise in place of `exc`, None to raise `exc` itself.

        `has_begun` says whether the reply had begun.
        """
        ...


async def read_piece(body: aiohttp.StreamReader) -> bytes:
    """Return the next bytes of a body, none at its end; those that arrived before an error come before it."""
    if body.exception() is not None and body._buffer:  # noqa: SLF001 - no other way to read them
        return body._read_nowait(-1)  # noqa: SLF001
    return await body.readany()


async def read_refusal(response: aiohttp.ClientResponse, *, seconds: float) -> bytes:
    """Return the body of a refusal: at most 64 KiB, and what arrived where it breaks off or takes longer.

    The status is the answer, and stays it where the body cannot be read.
    """
    body = bytearray()
    with suppress(aiohttp.ClientError, OSError, TimeoutError):
        async with asyncio.timeout(seconds):
            while len(body) <= _MAX_REFUSAL and (piece := await read_piece(response.content)):
                body += piece
    if not response.content.at_eof():
        response.close()
    return bytes(body[:_MAX_REFUSAL])


class HttpStream:
    """One request, sent on entering, whose reply is read while it arrives.

    Leaving closes the connection without waiting; it is not used again. `refusal_timeout` bounds, in seconds, the
    reading of a refusal.
    """

    def __init__(
        self,
        begin: Callable[[], Awaitable[aiohttp.ClientResponse]],
        translate: Translate,
        *,
        refusal_timeout: float | None,
    ) -> None:
        self._begin = begin
        self._translate = translate
        self._refusal_timeout = refusal_timeout
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
        self._begun = await self._translated(self._begin)
        fail_body_on_disconnect(self._begun)
        return self

    async def __aexit__(self, *_: object) -> None:
        self._response.close()

    def pieces(self) -> AsyncIterator[bytes]:
        """Return the body's bytes as they arrive, in pieces of any size.

        Raises `ReplyLost` where the body breaks off, or stays silent for too long, and `PoolClosed`.
        """
        return self

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> bytes:
        body = self._response.content
        piece = await self._translated(lambda: read_piece(body))
        if not piece:
            raise StopAsyncIteration
        return piece

    async def read(self) -> bytes:
        """Return the body of a refusal: at most 64 KiB, and what arrived of it where it breaks off."""
        body = bytearray()
        with suppress(TransportError, TimeoutError):
            async with asyncio.timeout(self._refusal_timeout):
                async for piece in self:
                    body += piece
                    if len(body) >= _MAX_REFUSAL:
                        break
        return bytes(body[:_MAX_REFUSAL])

    async def _translated(self, work: Callable[[], Awaitable[T]]) -> T:
        try:
            return await work()
        except (Exception, asyncio.CancelledError) as exc:
            error = self._translate(exc, has_begun=self._begun is not None)
            if error is None:
                cut_traceback(exc)
                raise
            cause = redacted(exc)
        raise error from cause  # out here: its context would keep what the redacted cause leaves out
