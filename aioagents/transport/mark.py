"""Notes the last moment at which a request has surely not been sent."""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from typing import TYPE_CHECKING, Any

import aiohttp

if TYPE_CHECKING:
    from aiohttp.client import ClientTimeout
    from aiohttp.client_reqrep import ClientRequest
    from aiohttp.connector import Connection
    from aiohttp.tracing import Trace


class Mark:
    """Notes, and tells, that the first byte is about to leave."""

    __slots__ = ("_on_sent", "was_made")

    def __init__(self, on_sent: Callable[[], None]) -> None:
        self._on_sent = on_sent
        self.was_made = False

    def __call__(self) -> None:
        """Tell it. Raises what the listener raises, who may call the request off at the last moment."""
        self._on_sent()
        self.was_made = True


class MarkingConnector(aiohttp.TCPConnector):
    """Makes the mark of a request once there is a connection for it, over which it is written in the same step.

    aiohttp's traces tell the same, at the price of a dozen signals for each request.
    """

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        self._due: dict[asyncio.Task[Any] | None, Mark] = {}

    def expect(self, mark: Mark) -> None:
        """Have the next connection that the running task gets make `mark`."""
        self._due[asyncio.current_task()] = mark

    def forget(self) -> None:
        """Take that back; harmless when the mark was made."""
        self._due.pop(asyncio.current_task(), None)

    def connect(
        self, req: "ClientRequest", traces: "list[Trace]", timeout: "ClientTimeout"
    ) -> "Coroutine[Any, Any, Connection]":
        """Give a connection."""
        connecting = super().connect(req, traces, timeout)
        mark = self._due.pop(asyncio.current_task(), None) if self._due else None
        return connecting if mark is None else _marked(connecting, mark)


async def _marked(connecting: "Awaitable[Connection]", mark: Mark) -> "Connection":
    connection = await connecting
    try:
        mark()
    except BaseException:
        connection.release()
        raise
    return connection
