"""Sends requests over sockets: the small ones directly, all others over sessions of aiohttp."""

import ssl
from collections.abc import Callable, Coroutine, Mapping
from typing import Any, Self

import aiohttp

from ..model import Reply, Request
from .direct import DirectSend, Opener
from .limits import PoolLimits, Timeouts
from .proxies import Proxies
from .session import SessionSend
from .stream import HttpStream


class HttpSend:
    """Sends over connections of its own, or over a `session` of the caller's, which is not closed here.

    Requests whose body is in memory, and whose reply is awaited for no longer than a timeout, go over connections
    without a session of aiohttp's around them, where the installed aiohttp allows that.
    """

    def __init__(
        self,
        *,
        limits: PoolLimits,
        timeouts: Timeouts,
        session: aiohttp.ClientSession | None = None,
        proxy: str | None = None,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        if session is not None and not (proxy is None and tls is None):
            raise ValueError("a session of the caller's has its own settings for proxies and TLS")
        self._limits = limits
        self._timeouts = timeouts
        self._tls: ssl.SSLContext | bool = True if tls is None else tls
        self._is_ours = session is None
        self._proxies = Proxies(proxy)
        self._sessions = SessionSend(
            limits=limits, timeouts=timeouts, session=session, proxies=self._proxies, tls=self._tls
        )
        self._direct: DirectSend | None = None

    def __repr__(self) -> str:
        direct = self._direct
        return f"<HttpSend direct={direct is not None and direct.is_supported}>"

    async def __aenter__(self) -> Self:
        await self._sessions.__aenter__()
        if self._is_ours and Opener.is_supported():
            self._direct = DirectSend(
                Opener(limits=self._limits, tls=self._tls),
                self._proxies,
                limits=self._limits,
                timeouts=self._timeouts,
                otherwise=self._sessions.send,
            )
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Close all connections that are ours. May be called twice."""
        try:
            if self._direct is not None:
                await self._direct.aclose()
        finally:
            await self._sessions.aclose()

    def send(
        self,
        request: Request,
        *,
        headers: Mapping[str, str],
        on_sent: Callable[[], None] | None = None,
    ) -> Coroutine[Any, Any, Reply]:
        """Send once, with `headers` beside the request's own; `on_sent` is called before the first byte.

        Raises `NotSent`, `ReplyLost`, `PoolClosed`, or `DecodeError` for a success above the size limit. A refusal is
        returned with as much of its body as arrived, 64 KiB at most. Where the body is an upload, what its source
        raises is raised, and the time for the reply begins when all is sent. What may be repeated is sent again,
        once, where its connection had been closed while it was idle.
        """
        direct = self._direct
        if direct is not None and request.upload is None and not request.is_long and direct.is_supported:
            return direct.send(request, headers=headers, on_sent=on_sent)
        return self._sessions.send(request, headers=headers, on_sent=on_sent)

    def stream(
        self,
        request: Request,
        *,
        headers: Mapping[str, str],
        on_sent: Callable[[], None] | None = None,
    ) -> HttpStream:
        """Return a context manager that sends once on entering, over a connection of its own, and streams the reply.

        There is no timeout for the whole; the request's `timeout`, or the pool's `silence`, bounds each pause. Raises
        ValueError for an upload.
        """
        return self._sessions.stream(request, headers=headers, on_sent=on_sent)
