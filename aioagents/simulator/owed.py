"""Replies that the worlds owe: each waited for as long as its client and the simulator are there."""

import asyncio
from collections.abc import Callable
from typing import Final

from aiohttp import web

from ..contract.fake import Answer, DelayedReply, StreamedReply, no_such_endpoint
from ..model import Reply

_DROPS_SEEN_EVERY: Final = 0.05  # seconds
_LEAST, _MOST = 0.0005, 86_400.0  # seconds that a timer is set ahead
_NEVER_READ: Final = no_such_endpoint()


class Owed:
    """Waits for replies to fall due: a timer each, and one more for all that want to know of clients that left."""

    def __init__(self, *, now: Callable[[], float], speed: float) -> None:
        self._now = now
        self._speed = speed
        self._waiters: dict[asyncio.Future[None], web.BaseRequest | None] = {}
        self._watch: asyncio.TimerHandle | None = None
        self._is_closed = False

    async def settle(self, request: web.BaseRequest, reply: Answer) -> Reply | StreamedReply:
        """Return the reply once it is due; one that nobody will read where the client left, or `close` was called."""
        while isinstance(reply, DelayedReply):
            if self._is_closed:
                if request.transport is not None:
                    request.transport.abort()
                return _NEVER_READ
            if reply.on_disconnect is not None and request.transport is None:
                reply.on_disconnect(self._now())
                return _NEVER_READ
            left = (reply.until - self._now()) / self._speed
            # Never nothing: a world that puts off what is due would keep the loop busy.
            await self._wait(max(left, _LEAST), None if reply.on_disconnect is None else request)
            if reply.until <= self._now() and not self._is_closed:
                reply = reply.reply(self._now())
        return reply

    async def until(self, request: web.BaseRequest, at: float) -> bool:
        """Wait for the worlds' second `at`; False where the client left before, or `close` was called."""
        while not self._is_closed and request.transport is not None:
            left = (at - self._now()) / self._speed
            if left <= 0:
                return True
            await self._wait(max(left, _LEAST), request)
        return False

    def close(self) -> None:
        """End all that waits, now and later: the connections are cut off without a reply."""
        self._is_closed = True
        if self._watch is not None:
            self._watch.cancel()
            self._watch = None
        for waiter in self._waiters:
            _wake(waiter)

    async def _wait(self, seconds: float, request: web.BaseRequest | None) -> None:
        """Wait so long, or until the client of `request` has left, or until the end."""
        loop = asyncio.get_running_loop()
        waiter: asyncio.Future[None] = loop.create_future()
        timer = loop.call_later(min(seconds, _MOST), _wake, waiter)
        self._waiters[waiter] = request
        if request is not None and self._watch is None:
            self._watch = loop.call_later(_DROPS_SEEN_EVERY, self._poll)
        try:
            await waiter
        finally:
            timer.cancel()
            del self._waiters[waiter]

    def _poll(self) -> None:
        self._watch = None
        watched = [(waiter, request) for waiter, request in self._waiters.items() if request is not None]
        for waiter, request in watched:
            if request.transport is None:
                _wake(waiter)
        if watched:
            self._watch = asyncio.get_running_loop().call_later(_DROPS_SEEN_EVERY, self._poll)


def _wake(waiter: "asyncio.Future[None]") -> None:
    if not waiter.done():
        waiter.set_result(None)
