"""Notes the last moment at which a request has surely not been sent."""

from collections.abc import Awaitable, Callable, Coroutine, Iterator
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, Final

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


_DUE: Final[ContextVar[Mark | None]] = ContextVar("aioagents_mark", default=None)


@contextmanager
def marking(mark: Mark | None) -> Iterator[None]:
    """Have the request that is begun within make `mark`."""
    if mark is None:
        yield
        return
    before = _DUE.set(mark)
    try:
        yield
    finally:
        with suppress(ValueError):  # what never ended is thrown away from some other context
            _DUE.reset(before)


class MarkingConnector(aiohttp.TCPConnector):
    """Makes the mark of a request once there is a connection for it, over which it is written in the same step.

    aiohttp's traces tell the same, at the price of a dozen signals for each request.
    """

    def connect(
        self, req: "ClientRequest", traces: "list[Trace]", timeout: "ClientTimeout"
    ) -> "Coroutine[Any, Any, Connection]":
        """Give a connection."""
        connecting = super().connect(req, traces, timeout)
        mark = _DUE.get()
        if mark is None:
            return connecting
        _DUE.set(None)  # what the source of its body asks for meanwhile has another one
        return _marked(connecting, mark)


async def _marked(connecting: "Awaitable[Connection]", mark: Mark) -> "Connection":
    connection = await connecting
    try:
        mark()
    except BaseException:
        connection.release()
        raise
    return connection
