"""Notes the last moment at which a request has surely not been sent; from there the time for its reply is counted."""

import asyncio
import math
from collections.abc import Awaitable, Callable, Coroutine
from typing import TYPE_CHECKING, Any

import aiohttp

from .deadlines import Deadlines

if TYPE_CHECKING:
    from aiohttp.client import ClientTimeout
    from aiohttp.client_reqrep import ClientRequest
    from aiohttp.connector import Connection
    from aiohttp.tracing import Trace


class SendObserver:
    """Notes, and tells whoever listens, that the first byte is about to leave.

    From then on the reply has the seconds of the `deadlines`; then the task that made this is cancelled. A bound of
    aiohttp's own would count the time for a connection in, or every pause anew.
    """

    __slots__ = ("_before", "_deadlines", "_is_late", "_on_sent", "due_at", "task", "was_made")

    def __init__(self, on_sent: Callable[[], None] | None, deadlines: Deadlines | None = None) -> None:
        #: Whose request it is.
        self.task = _running()
        self._on_sent = on_sent
        self._deadlines = deadlines
        self._is_late = False
        self.due_at = math.inf
        self.was_made = False

    def __call__(self) -> None:
        """Tell it. Raises what the listener raises, who may call the request off at the last moment."""
        if self._on_sent is not None:
            self._on_sent()
        self.was_made = True
        if self._deadlines is not None:
            self._before = self.task.cancelling()
            self._deadlines.join(self, self.task.get_loop())

    @property
    def was_told(self) -> bool:
        """Return whether it was made, and somebody listened."""
        return self.was_made and self._on_sent is not None

    def expire(self) -> None:
        """Break the task off."""
        self._is_late = True
        self.task.cancel()

    def end(self) -> None:
        """Let the time be over no more; the reply is there, or never will be."""
        if self._deadlines is not None:
            self._deadlines.leave(self)

    def left(self, most: float) -> float:
        """Return the seconds that are left, `most` at most."""
        return most if self.due_at == math.inf else min(self.due_at - self.task.get_loop().time(), most)

    def take_back(self, exc: BaseException) -> bool:
        """Take the cancellation back that was made when the time was over, and say whether `exc` is just that."""
        if not self._is_late:
            return False
        return self.task.uncancel() <= self._before and isinstance(exc, asyncio.CancelledError)


class ObservedConnector(aiohttp.TCPConnector):
    """Makes the mark of a request once there is a connection for it, over which it is written in the same step.

    aiohttp's traces tell the same, at the price of a dozen signals for each request.
    """

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        self._due: dict[asyncio.Task[Any], SendObserver] = {}

    def expect(self, mark: SendObserver) -> None:
        """Have the next connection that the mark's task gets make it."""
        self._due[mark.task] = mark

    def forget(self) -> None:
        """Take that back; harmless when the mark was made."""
        self._due.pop(_running(), None)

    def connect(
        self, req: "ClientRequest", traces: "list[Trace]", timeout: "ClientTimeout"
    ) -> "Coroutine[Any, Any, Connection]":
        """Return a connection."""
        connecting = super().connect(req, traces, timeout)
        mark = self._due.pop(_running(), None) if self._due else None
        return connecting if mark is None else _marked(connecting, mark)


def _running() -> "asyncio.Task[Any]":
    """Return the running task. Raises RuntimeError where there is none."""
    task = asyncio.current_task()
    if task is None:
        raise RuntimeError("a request is made within a task")
    return task


async def _marked(connecting: "Awaitable[Connection]", mark: SendObserver) -> "Connection":
    connection = await connecting
    try:
        mark()
    except BaseException:
        connection.release()
        raise
    return connection
