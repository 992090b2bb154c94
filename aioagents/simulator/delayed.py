"""Waiting for delayed replies: until they are due, their client disconnects, or the simulator closes."""

import asyncio
from collections.abc import Callable
from typing import Final

from aiohttp import web

from ..contract.fake import Answer, DelayedReply, StreamedReply, no_such_endpoint
from ..model import Reply

_CHECK_INTERVAL: Final = 0.05  # seconds
_LEAST, _MOST = 0.0005, 86_400.0  # seconds that a timer is set ahead
_NEVER_SENT: Final = no_such_endpoint()


class DelayedReplies:
    """Waits until replies are due: one timer for each, and one that checks for clients that disconnected."""

    def __init__(self, *, now: Callable[[], float], speed: float) -> None:
        self._now = now
        self._speed = speed
        self._waiters: dict[asyncio.Future[None], web.BaseRequest | None] = {}
        self._check_timer: asyncio.TimerHandle | None = None
        self._is_closed = False

    async def settle(self, request: web.BaseRequest, reply: Answer) -> Reply | StreamedReply:
        """Return the reply once it is due. After a disconnect or `close`, return one that is never sent."""
        while isinstance(reply, DelayedReply):
            if self._is_closed:
                if request.transport is not None:
                    request.transport.abort()
                return _NEVER_SENT
            if reply.on_disconnect is not None and request.transport is None:
                reply.on_disconnect(self._now())
                return _NEVER_SENT
            left = (reply.until - self._now()) / self._speed
            # Never 0: a fake server that delays a due reply again and again would keep the event loop busy.
            await self._wait(max(left, _LEAST), None if reply.on_disconnect is None else request)
            if reply.until <= self._now() and not self._is_closed:
                reply = reply.reply(self._now())
        return reply

    async def until(self, request: web.BaseRequest, at: float) -> bool:
        """Wait until the fake servers' second `at`; False where the client disconnected or `close` was called."""
        while not self._is_closed and request.transport is not None:
            left = (at - self._now()) / self._speed
            if left <= 0:
                return True
            await self._wait(max(left, _LEAST), request)
        return False

    def close(self) -> None:
        """End all waits, now and later: their connections are aborted without a reply. May be called twice."""
        self._is_closed = True
        if self._check_timer is not None:
            self._check_timer.cancel()
            self._check_timer = None
        for waiter in self._waiters:
            _wake(waiter)

    async def _wait(self, seconds: float, request: web.BaseRequest | None) -> None:
        """Wait that long, or until the client of `request` disconnects or `close` is called."""
        loop = asyncio.get_running_loop()
        waiter: asyncio.Future[None] = loop.create_future()
        timer = loop.call_later(min(seconds, _MOST), _wake, waiter)
        self._waiters[waiter] = request
        if request is not None and self._check_timer is None:
            self._check_timer = loop.call_later(_CHECK_INTERVAL, self._check_connections)
        try:
            await waiter
        finally:
            timer.cancel()
            del self._waiters[waiter]

    def _check_connections(self) -> None:
        self._check_timer = None
        checked = [(waiter, request) for waiter, request in self._waiters.items() if request is not None]
        for waiter, request in checked:
            if request.transport is None:
                _wake(waiter)
        if checked:
            self._check_timer = asyncio.get_running_loop().call_later(
                _CHECK_INTERVAL, self._check_connections
            )


def _wake(waiter: "asyncio.Future[None]") -> None:
    if not waiter.done():
        waiter.set_result(None)
