"""Observes when the first byte of a request leaves; from then on the time for its reply is counted."""

import asyncio
import math
from collections.abc import Awaitable, Callable, Coroutine
from typing import TYPE_CHECKING, Any

import aiohttp

from .deadlines import Deadlines
from .upload import UploadBody

if TYPE_CHECKING:
    from aiohttp.client import ClientTimeout
    from aiohttp.client_reqrep import ClientRequest
    from aiohttp.connector import Connection
    from aiohttp.tracing import Trace


class SendObserver:
    """Records, and reports to `on_sent`, that the first byte of the running task's request is about to leave.

    From then on the reply has the seconds of `deadlines`; when they have passed, the task is cancelled. aiohttp's own
    timeouts would include the time for a connection, or begin anew with every pause.
    """

    __slots__ = ("_cancelling", "_deadlines", "_is_expired", "_on_sent", "due_at", "task", "was_sent")

    def __init__(self, on_sent: Callable[[], None] | None, deadlines: Deadlines | None = None) -> None:
        #: The task that makes the request.
        self.task = _current_task()
        self._on_sent = on_sent
        self._deadlines = deadlines
        self._is_expired = False
        self.due_at = math.inf
        #: Whether the first byte may have left.
        self.was_sent = False

    def note_sent(self) -> None:
        """Record that the first byte is about to leave. Raises what `on_sent` raises; then nothing is sent."""
        if self._on_sent is not None:
            self._on_sent()
        self.was_sent = True
        if self._deadlines is not None:
            self._cancelling = self.task.cancelling()
            self._deadlines.add(self, self.task.get_loop())

    @property
    def was_reported(self) -> bool:
        """Return whether `on_sent` was called."""
        return self.was_sent and self._on_sent is not None

    def expire(self) -> None:
        """Cancel the task, since the time for the reply has passed."""
        self._is_expired = True
        self.task.cancel()

    def stop(self) -> None:
        """Stop counting the time for the reply."""
        if self._deadlines is not None:
            self._deadlines.discard(self)

    def seconds_left(self, most: float) -> float:
        """Return the seconds that are left for the reply, at most `most`."""
        return most if self.due_at == math.inf else min(self.due_at - self.task.get_loop().time(), most)

    def uncancel(self, exc: BaseException) -> bool:
        """Withdraw the cancellation that `expire` requested, if any; return whether `exc` is only that one."""
        if not self._is_expired:
            return False
        return self.task.uncancel() <= self._cancelling and isinstance(exc, asyncio.CancelledError)


class ObservedConnector(aiohttp.TCPConnector):
    """Calls the observer of a request once it has a connection, which is in the step in which it is written.

    aiohttp's traces could do so too, at the price of a dozen signals for each request.
    """

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        self._expected: dict[asyncio.Task[Any], SendObserver] = {}

    def expect(self, observer: SendObserver) -> None:
        """Call `observer` for the next connection that its task gets."""
        self._expected[observer.task] = observer

    def forget(self) -> None:
        """Undo `expect` for the running task; harmless when the observer was called."""
        self._expected.pop(_current_task(), None)

    def connect(
        self, req: "ClientRequest", traces: "list[Trace]", timeout: "ClientTimeout"
    ) -> "Coroutine[Any, Any, Connection]":
        """Return a connection. Raises `aiohttp.ClientConnectionError` where an upload would be sent again."""
        if isinstance(req.body, UploadBody) and req.body.was_begun:
            raise aiohttp.ClientConnectionError("an upload is not sent again by aiohttp itself")
        connecting = super().connect(req, traces, timeout)
        observer = self._expected.pop(_current_task(), None) if self._expected else None
        return connecting if observer is None else _observed(connecting, observer)


def _current_task() -> "asyncio.Task[Any]":
    """Return the running task. Raises RuntimeError where there is none."""
    task = asyncio.current_task()
    if task is None:
        raise RuntimeError("a request is made within a task")
    return task


async def _observed(connecting: "Awaitable[Connection]", observer: SendObserver) -> "Connection":
    connection = await connecting
    try:
        observer.note_sent()
    except BaseException:
        connection.release()
        raise
    return connection
