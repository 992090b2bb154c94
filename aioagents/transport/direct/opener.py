"""Opens connections with an aiohttp connector, and takes their transports over.

aiohttp resolves names, tries addresses side by side, makes TLS and passes proxies. What is used of it here is not all
documented, so `is_supported` checks it, and `CannotTakeOver` says that it is not as expected after all.
"""

import asyncio
import inspect
import ssl
from typing import Final

import aiohttp
import anyio
from yarl import URL

from ..limits import PoolLimits
from .budget import ReplyBudget
from .connection import HttpConnection, Owner
from .encoder import Encoder
from .idle_times import IdleTimes
from .reader import ReplyReader

_RECEIVED: Final = 64 * 1024
#: In so many steps the event loop reads what has arrived by now, which makes a connection unfit.
_SETTLING: Final = 2
#: Connecting is bounded by whoever asks for it.
_NO_TIMEOUT: Final = aiohttp.ClientTimeout(total=None)
_UNEXPECTED: Final = (AttributeError, TypeError, AssertionError, NotImplementedError)


class CannotTakeOver(Exception):
    """This aiohttp, or this event loop, does not give its connections away. Nothing was sent."""


class Opener:
    """Opens connections with a connector of its own. `tls` is what aiohttp's connectors take as `ssl`."""

    def __init__(self, *, limits: PoolLimits, tls: ssl.SSLContext | bool) -> None:
        self._limits = limits
        self._loop = asyncio.get_running_loop()
        self._budget = ReplyBudget(limits.reply_bytes_at_once)
        self._connector = aiohttp.TCPConnector(limit=0, ssl=tls)
        # One for all connections, since what is received is taken out at once. Asyncio would allocate four times as
        # much for each piece, and free most of it again, which costs as much as all the rest of an exchange.
        self._buffer = memoryview(bytearray(_RECEIVED))

    @staticmethod
    def is_supported() -> bool:
        """Return whether the installed aiohttp has what is used of it here."""
        loop = asyncio.get_running_loop()
        try:
            request = aiohttp.ClientRequest("GET", URL("http://localhost/"), loop=loop, proxy=None)
            inspect.signature(aiohttp.TCPConnector.connect).bind(None, request, [], _NO_TIMEOUT)
        except _UNEXPECTED:
            return False
        members = (("protocol", "transport", "close"), ("should_close", "connection_lost"))
        parts = (aiohttp.connector.Connection, aiohttp.client_proto.ResponseHandler)
        return all(hasattr(part, name) for part, names in zip(parts, members, strict=True) for name in names)

    async def open(self, owner: Owner, encoder: Encoder, times: IdleTimes) -> HttpConnection:
        """Return a new connection for `owner`. Raises what aiohttp raises, and `CannotTakeOver`."""
        try:
            request = aiohttp.ClientRequest("GET", encoder.url, loop=self._loop, proxy=encoder.proxy)
            held = await self._connector.connect(request, [], _NO_TIMEOUT)
        except _UNEXPECTED as exc:
            raise CannotTakeOver from exc
        try:
            connection = self._take_over(held, owner, times)
        except _UNEXPECTED as exc:
            held.close()
            raise CannotTakeOver from exc
        for _ in range(_SETTLING):
            await asyncio.sleep(0)
        return connection

    def _take_over(
        self, held: aiohttp.connector.Connection, owner: Owner, times: IdleTimes
    ) -> HttpConnection:
        handler, transport = held.protocol, held.transport
        if handler is None or transport is None:
            raise TypeError("a connection without protocol and transport")

        def on_closed() -> None:
            handler.connection_lost(None)  # aiohttp waits for it when its connector is closed
            held.close()

        connection = HttpConnection(
            transport,
            owner,
            times=times,
            reader=ReplyReader(
                header_bytes=self._limits.header_bytes, header_lines=self._limits.header_lines
            ),
            buffer=self._buffer,
            budget=self._budget,
            on_closed=on_closed,
        )
        has_spoken = handler.should_close  # bytes that arrived before are in there
        transport.set_protocol(connection)
        if has_spoken:
            connection.abort()
        return connection

    async def aclose(self, grace: float) -> None:
        """Close the connector, after at most so many seconds."""
        with anyio.move_on_after(grace, shield=True):
            await self._connector.close()
