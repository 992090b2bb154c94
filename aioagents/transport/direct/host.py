"""The connections to one host: kept while idle, bounded in number, and given out newest first."""

import asyncio
from collections import deque
from collections.abc import Callable, Coroutine
from contextlib import suppress
from typing import Any, TypeAlias

import aiohttp

from .connection import HttpConnection, Owner
from .encoder import Encoder
from .idle_times import IdleTimes

#: Opens a connection for an owner, to where an encoder writes.
Open: TypeAlias = Callable[[Owner, Encoder, IdleTimes], Coroutine[Any, Any, HttpConnection]]


class Host:
    """Connections to one scheme, host and port, at most `per_host`; further requests wait in their order."""

    def __init__(self, encoder: Encoder, open_: Open, *, per_host: int, keep_alive: float) -> None:
        #: Writes requests to this host.
        self.encoder = encoder
        #: For how long a connection may be idle to be used again.
        self.times = IdleTimes(keep_alive)
        self._open = open_
        self._per_host = per_host
        self._loop = asyncio.get_running_loop()
        self._idle: deque[HttpConnection] = deque()  # in the order in which they became idle
        self._connections: set[HttpConnection] = set()
        self._opening = 0
        self._waiters: deque[asyncio.Future[HttpConnection | None]] = deque()
        self._timer: asyncio.TimerHandle | None = None
        self._is_closed = False

    def __repr__(self) -> str:
        waiting = len(self._waiters)
        return f"<Host connections={len(self._connections)}, idle={len(self._idle)}, waiting={waiting}>"

    def take(self, most_idle: float) -> HttpConnection | None:
        """Return the newest connection that was idle for less than so many seconds, None where there is none."""
        while self._idle:
            connection = self._idle[-1]
            idle_for = self._loop.time() - connection.idle_since
            if idle_for >= most_idle:
                return None  # all others are older
            self._idle.pop()
            if connection.is_clean():
                connection.idle_for = idle_for
                return connection
            connection.abort()
        return None

    async def connect(self) -> HttpConnection:
        """Return a connection that is new, or became idle while there was no room for a new one.

        Raises what opening raises, and `aiohttp.ClientConnectionError` where all are closed meanwhile.
        """
        while True:
            if self._has_room or self._drop_idle():
                self._opening += 1
                return await self._open_one()
            connection = await self._wait()
            if connection is None:
                return await self._open_one()
            if connection.is_clean():
                connection.idle_for = 0.0
                return connection
            connection.abort()

    def release(self, connection: HttpConnection) -> None:
        """Take back a connection whose reply has arrived, and that may be used again."""
        while self._waiters:
            waiter = self._waiters.popleft()
            if not waiter.done():
                waiter.set_result(connection)
                return
        self._idle.append(connection)
        if self._timer is None:
            self._timer = self._loop.call_later(self.times.for_polls, self._close_expired)

    def forget(self, connection: HttpConnection) -> None:
        """Forget a connection that is closed."""
        self._connections.discard(connection)
        with suppress(ValueError):
            self._idle.remove(connection)
        self._wake()

    def close(self) -> None:
        """Close all connections; requests that use or wait for one raise `aiohttp.ClientConnectionError`."""
        self._is_closed = True
        if self._timer is not None:
            self._timer.cancel()
        for waiter in self._waiters:
            if not waiter.done():
                waiter.set_exception(aiohttp.ClientConnectionError("the pool was closed"))
        self._waiters.clear()
        for connection in list(self._connections):
            connection.fail(aiohttp.ClientConnectionError("the pool was closed"))

    @property
    def _has_room(self) -> bool:
        return len(self._connections) + self._opening < self._per_host

    def _drop_idle(self) -> bool:
        """Close the oldest idle connection to make room; return whether there was one."""
        if not self._idle:
            return False
        self._idle[0].abort()
        return self._has_room

    async def _wait(self) -> HttpConnection | None:
        """Wait for a connection; None means that one may be opened, for which room is kept."""
        waiter: asyncio.Future[HttpConnection | None] = self._loop.create_future()
        self._waiters.append(waiter)
        try:
            return await waiter
        except asyncio.CancelledError:
            if waiter.cancelled():
                with suppress(ValueError):
                    self._waiters.remove(waiter)
            elif waiter.exception() is None:
                self._pass_on(waiter.result())
            raise

    def _pass_on(self, connection: HttpConnection | None) -> None:
        """Take back what a waiter got that was cancelled at the same time."""
        if connection is None:
            self._opening -= 1
            self._wake()
        elif connection.is_open:
            self.release(connection)

    async def _open_one(self) -> HttpConnection:
        """Open a connection, for which room was kept."""
        try:
            connection = await self._open(self, self.encoder, self.times)
            if self._is_closed:
                connection.abort()
            if not connection.is_open:
                raise aiohttp.ClientConnectionError("the connection was closed before anything was sent")
            self._connections.add(connection)
        finally:
            self._opening -= 1
            self._wake()
        return connection

    def _wake(self) -> None:
        """Wake as many waiters to open connections as there is room for."""
        while self._waiters and self._has_room:
            waiter = self._waiters.popleft()
            if not waiter.done():
                self._opening += 1
                waiter.set_result(None)

    def _close_expired(self) -> None:
        """Close the connections that were idle for too long."""
        self._timer = None
        expired_at = self._loop.time() - self.times.for_polls
        while self._idle:
            oldest = self._idle[0]
            if oldest.idle_since > expired_at:
                due_at = oldest.idle_since + self.times.for_polls
                self._timer = self._loop.call_at(due_at, self._close_expired)
                return
            oldest.abort()
