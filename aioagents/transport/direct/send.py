"""Sends small requests over connections of its own, and receives their whole replies."""

import asyncio
import re
from collections.abc import Callable, Coroutine, Mapping
from typing import Any, Final

import aiohttp
from yarl import URL

from ...errors import AgentsError, PoolClosed
from ...model import Purpose, Reply, Request
from ...tracebacks import cut_traceback
from ..aiohttp_errors import redacted, too_large, transport_error
from ..deadlines import Deadlines
from ..limits import PoolLimits, Timeouts
from ..proxies import Proxies
from .connection import HttpConnection, RawReply
from .content import TooLarge, unpack
from .encoder import Encoder
from .head import BadReply
from .host import Host
from .opener import CannotTakeOver, Opener
from .reader import MOST_OF_REFUSAL

_GRACE: Final = 2.0
_REFUSAL_TIMEOUT: Final = 5.0  # seconds that reading the body of a refusal may take
_SUCCESS: Final = 200
_REDIRECT: Final = 300
_ORIGIN: Final = re.compile(r"https?://[^/?#@\\]+", re.IGNORECASE)
_FAILURES: Final = (aiohttp.ClientError, OSError, BadReply)

Sending = Callable[..., Coroutine[Any, Any, Reply]]


class DirectSend:
    """Sends requests that have their body in memory. Redirects are not followed, and cookies are not kept.

    `otherwise` sends in its place once connections cannot be taken over from aiohttp.
    """

    def __init__(
        self, opener: Opener, proxies: Proxies, *, limits: PoolLimits, timeouts: Timeouts, otherwise: Sending
    ) -> None:
        self._opener = opener
        self._proxies = proxies
        self._limits = limits
        self._timeouts = timeouts
        self._otherwise = otherwise
        self._loop = asyncio.get_running_loop()
        self._hosts: dict[str, Host] = {}
        self._unpacking = asyncio.Lock()
        self._is_closed = False
        read = timeouts.read
        self._refusal_timeout = _REFUSAL_TIMEOUT if read is None else min(_REFUSAL_TIMEOUT, read)
        seconds = {purpose: timeouts.seconds_for(purpose) for purpose in Purpose}
        self._deadlines = {
            purpose: None if bound is None else Deadlines(bound) for purpose, bound in seconds.items()
        }
        self._most_bytes = {purpose: limits.bytes_for(purpose) for purpose in Purpose}
        #: Whether connections can be taken over from aiohttp, as far as is known.
        self.is_supported = True

    async def send(
        self,
        request: Request,
        *,
        headers: Mapping[str, str],
        on_sent: Callable[[], None] | None = None,
    ) -> Reply:
        """Send as `HttpSend.send` does."""
        is_sent = False
        try:
            host, data = self._encode(request, headers)
            due_at = None if request.timeout is None else self._loop.time() + request.timeout
            most_idle = host.times.for_polls if request.is_repeatable else host.times.for_starts
            connection = host.take(most_idle) or await self._connect(host, due_at)
            if on_sent is not None:
                _note_sent(host, connection, on_sent)
            is_sent = True
            status, received, body, is_too_large = await self._ask(host, connection, request, data, due_at)
            if "content-encoding" in received and not is_too_large:
                body, is_too_large = await self._unpack(request, status, received, body)
            if not is_too_large:
                return Reply(status, received, body)
            error: AgentsError = too_large(request, status, self._limits)
            cause: BaseException | None = None
        except CannotTakeOver:
            self.is_supported = False
            return await self._otherwise(request, headers=headers, on_sent=on_sent)
        except _FAILURES as exc:
            error = self._translate(
                request, exc, is_sent=is_sent, is_reported=is_sent and on_sent is not None
            )
            cause = redacted(exc)
        except BaseException as exc:
            cut_traceback(exc)
            raise
        finally:
            headers, received, data, body = {}, {}, b"", b""  # or this frame would keep secrets alive
        try:
            raise error from cause
        finally:
            del error, cause

    async def _ask(
        self, host: Host, connection: HttpConnection, request: Request, data: bytes, due_at: float | None
    ) -> RawReply:
        """Return the reply to a request.

        What may be repeated is sent once more where its connection had been closed while it was idle.
        """
        is_again = not request.is_repeatable
        while True:
            waiter = connection.request(
                data,
                request.method,
                most=self._most_bytes[request.purpose],
                refusal_timeout=self._refusal_timeout,
                deadlines=self._deadlines[request.purpose] if due_at is None else None,
                due_at=due_at,
            )
            try:
                return await waiter
            except asyncio.CancelledError:
                if (
                    waiter.cancelled()
                ):  # else the reply has arrived, and the connection may be another's by now
                    connection.abort()
                raise
            except _FAILURES as exc:
                if is_again or not connection.was_stale(exc):
                    raise
            is_again = True
            connection = await self._connect(host, due_at)

    async def aclose(self) -> None:
        """Close all connections. May be called twice."""
        self._is_closed = True
        for host in self._hosts.values():
            host.close()
        for deadlines in self._deadlines.values():
            if deadlines is not None:
                deadlines.close()
        await self._opener.aclose(_GRACE)

    def _encode(self, request: Request, headers: Mapping[str, str]) -> tuple[Host, bytes]:
        """Return the host of a request, and the bytes to send there."""
        if self._is_closed:
            raise PoolClosed("the pool is closed")
        match = _ORIGIN.match(request.url)
        if match is None:
            raise aiohttp.InvalidURL("the URL", "has no host")
        host = self._hosts.get(match[0]) or self._add_host(match[0])
        target = request.url[match.end() :].partition("#")[0]
        data = host.encoder.encode(request, target if target.startswith("/") else f"/{target}", headers)
        if data is None:
            raise ValueError(f"{request.call}: HTTP does not allow a header, or the URL")
        return host, data

    def _add_host(self, origin: str) -> Host:
        url = URL(origin)
        if url.host is None or url.port is None:
            raise aiohttp.InvalidURL("the URL", "has no host")
        host = self._hosts[origin] = Host(
            Encoder(url, self._proxies.find(url)),
            self._opener.open,
            per_host=self._limits.per_host,
            keep_alive=self._timeouts.keep_alive,
        )
        return host

    async def _connect(self, host: Host, due_at: float | None) -> HttpConnection:
        """Return a connection, new or idle since just now, within the time for connecting."""
        seconds = self._timeouts.connect
        if due_at is not None:
            left = due_at - self._loop.time()
            seconds = left if seconds is None else min(left, seconds)
        async with asyncio.timeout(seconds):
            return await host.connect()

    async def _unpack(
        self, request: Request, status: int, received: Mapping[str, str], body: bytes
    ) -> tuple[bytes, bool]:
        """Return the body without its coding, and whether it is too large."""
        is_refusal = not _SUCCESS <= status < _REDIRECT
        most = MOST_OF_REFUSAL if is_refusal else self._most_bytes[request.purpose]
        try:
            return await unpack(
                body, received["content-encoding"], most=most, is_refusal=is_refusal, large=self._unpacking
            ), False
        except TooLarge:
            return b"", True

    def _translate(
        self, request: Request, exc: BaseException, *, is_sent: bool, is_reported: bool
    ) -> AgentsError:
        if self._is_closed and not is_reported:
            return PoolClosed(f"the pool was closed before {request.call} was answered", call=request.call)
        return transport_error(request, exc, was_sent=is_sent)


def _note_sent(host: Host, connection: HttpConnection, on_sent: Callable[[], None]) -> None:
    """Report that the first byte is about to leave; where that raises, nothing is sent."""
    try:
        on_sent()
    except BaseException:
        host.release(connection)
        raise
