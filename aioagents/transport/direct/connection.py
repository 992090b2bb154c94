"""One connection to a host: sends one request at a time, and believes only the reply that follows it."""

import asyncio
import math
import select
from collections.abc import Callable
from functools import partial
from typing import Final, Protocol, TypeAlias

import aiohttp

from ..deadlines import Deadlines
from .budget import SMALL, ReplyBudget
from .head import BadReply, seconds_kept
from .idle_times import IdleTimes
from .reader import ReplyReader

#: Status, headers and body as received, and whether the body was larger than allowed.
RawReply: TypeAlias = tuple[int, dict[str, str], bytes, bool]

#: A connection that the server closed while it was idle shows it within so many seconds.
_EARLY: Final = 5.0
_CAN_POLL: Final = hasattr(select, "poll")


class Owner(Protocol):
    """Whose connection it is."""

    def release(self, connection: "HttpConnection") -> None:
        """Take back a connection whose reply has arrived, and that may be used again."""
        ...

    def forget(self, connection: "HttpConnection") -> None:
        """Forget a connection that is closed."""
        ...


class HttpConnection(asyncio.BufferedProtocol):
    """The protocol of an open transport.

    Bytes that arrive while no request waits for its reply close it at once. `buffer` may be shared by all
    connections of an event loop, since what is received in it is taken out in the same step.
    """

    def __init__(
        self,
        transport: asyncio.Transport,
        owner: Owner,
        *,
        times: IdleTimes,
        reader: ReplyReader,
        buffer: memoryview,
        budget: ReplyBudget,
        on_closed: Callable[[], None],
    ) -> None:
        self._transport = transport
        self._owner = owner
        self._times = times
        self._reader = reader
        self._buffer = buffer
        self._budget = budget
        self._is_counted = False
        self._on_closed = on_closed
        self._loop = asyncio.get_running_loop()
        self._poll = _poll_function(transport)
        self._waiter: asyncio.Future[RawReply] | None = None
        self._deadlines: Deadlines | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._refusal_timeout = 0.0
        self._sent_at = 0.0
        self._is_large = False
        #: When the time for the reply is over.
        self.due_at = math.inf
        #: Whether it was not closed, on either side as far as is known.
        self.is_open = True
        #: When its last reply had arrived.
        self.idle_since = self._loop.time()
        #: For how long it had been idle before its last request, None for its first.
        self.idle_for: float | None = None

    def __repr__(self) -> str:
        state = "closed" if not self.is_open else "idle" if self._waiter is None else "busy"
        return f"<HttpConnection {state}>"

    # ── for its owner ──

    def was_stale(self, exc: Exception) -> bool:
        """Return whether `exc` ended the last request because the server had closed the connection before.

        That is what it looks like where a connection that had been idle is closed soon, and before any byte arrives.
        """
        is_early = self._loop.time() - self._sent_at < _EARLY
        is_end = isinstance(exc, OSError | aiohttp.ServerDisconnectedError) and not isinstance(
            exc, TimeoutError
        )
        return self.idle_for is not None and is_end and is_early and not self._reader.has_begun

    def is_clean(self) -> bool:
        """Return whether nothing has arrived since the last reply, neither here nor in the operating system."""
        return self.is_open and not self._transport.is_closing() and not self._poll()

    def request(
        self,
        data: bytes,
        method: str,
        *,
        most: int,
        refusal_timeout: float,
        deadlines: Deadlines | None,
        due_at: float | None,
    ) -> asyncio.Future[RawReply]:
        """Send a request; return the future of its reply, with a body of at most `most` bytes.

        Its deadline is that of `deadlines`, counted from now, or `due_at` on the loop's clock. The body of a refusal
        has `refusal_timeout` seconds. Whoever gives up waiting calls `abort`. Raises `aiohttp.ClientConnectionError`
        where the connection is closed.
        """
        if not self.is_open:
            raise aiohttp.ClientConnectionError("the connection is closed")
        self._reader.begin(method, most)
        self._waiter = waiter = self._loop.create_future()
        self._refusal_timeout = refusal_timeout
        self._deadlines = deadlines
        if deadlines is not None:
            deadlines.add(self, self._loop)
        elif due_at is not None:
            self.due_at = due_at
            self._timer = self._loop.call_at(due_at, self.expire)
        self._is_large = len(data) > SMALL
        self._sent_at = self._loop.time()
        self._transport.write(data)
        return waiter

    def expire(self) -> None:
        """Close, since the time for the reply has passed."""
        self.fail(TimeoutError())

    def fail(self, exc: Exception) -> None:
        """Close, and raise `exc` from the future of the reply, if there is one."""
        waiter = self._waiter
        self.abort()
        if waiter is not None and not waiter.done():
            waiter.set_exception(exc)

    def abort(self) -> None:
        """Close at once; what was not sent yet is dropped. May be called twice."""
        self._transport.abort()
        self._end()

    def resume(self) -> None:
        """Receive again, after `ReplyBudget` had no room for more."""
        if not (self._transport.is_closing() or self._transport.is_reading()):
            self._transport.resume_reading()

    # ── for its transport ──

    def get_buffer(self, sizehint: int) -> memoryview:  # noqa: ARG002 - asyncio's signature
        """Return where to put what is received."""
        return self._buffer

    def buffer_updated(self, nbytes: int) -> None:
        """Take what was received."""
        waiter = self._waiter
        if waiter is None or waiter.done():
            self.abort()  # nobody asked for it, or nobody waits for it any more
            return
        try:
            is_done = self._reader.feed(bytes(self._buffer[:nbytes]))
        except BadReply as exc:
            self.fail(exc)
            return
        if is_done:
            self._finish(waiter)
            return
        if self._refusal_timeout and self._reader.is_refusal:
            self._hurry()
        if (size := self._reader.size) > SMALL:
            self._is_counted = True
            if not self._budget.set_size(self, size) and self._transport.is_reading():
                self._transport.pause_reading()

    def eof_received(self) -> None:
        """Take that the server has closed its end, upon which the transport closes."""
        self._take_end(None)

    def connection_lost(self, exc: Exception | None) -> None:
        """Take that the connection is closed."""
        self._take_end(exc)
        self._on_closed()

    # ── ──

    def _take_end(self, exc: Exception | None) -> None:
        if not self.is_open:
            return
        waiter = self._waiter
        if waiter is None:
            self._times.note_closed(self._loop.time() - self.idle_since)
            self.abort()
        elif waiter.done():
            self.abort()
        elif self._reader.feed_end() and (exc is None or self._reader.is_refusal):
            self._finish(waiter)
        else:
            if self.idle_for is not None and not self._reader.has_begun:
                self._times.note_closed(self.idle_for)
            self.fail(exc or aiohttp.ServerDisconnectedError())

    def _finish(self, waiter: asyncio.Future[RawReply]) -> None:
        """Return the reply, with as much of its body as has arrived."""
        reader, transport = self._reader, self._transport
        head = reader.head
        assert head is not None  # noqa: S101 - a reply that is done has one
        self._forget_request()
        self._waiter = None
        waiter.set_result((head.status, head.headers, reader.body(), reader.is_too_large))
        if self.idle_for is not None:
            self._times.note_kept(self.idle_for)
        if "keep-alive" in head.headers and (seconds := seconds_kept(head.headers)) is not None:
            self._times.note_promise(seconds)
        # A refusal may come before all was sent, and TLS does not say how much of it is still on this side.
        was_sent = not (reader.is_refusal and self._is_large) and not transport.get_write_buffer_size()
        if reader.may_be_kept and was_sent and not transport.is_closing():
            self.idle_since = self._loop.time()
            self._owner.release(self)
        else:
            self.abort()

    def _hurry(self) -> None:
        """Bound the time for the rest of a refusal's body; its status is the answer."""
        seconds, self._refusal_timeout = self._refusal_timeout, 0.0
        due_at = min(self._loop.time() + seconds, self.due_at)
        self._forget_request()
        self._timer = self._loop.call_at(due_at, self._cut)

    def _cut(self) -> None:
        waiter = self._waiter
        if waiter is not None and not waiter.done() and self._reader.feed_end():
            self._finish(waiter)

    def _forget_request(self) -> None:
        if self._deadlines is not None:
            self._deadlines.discard(self)
            self._deadlines = None
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self.due_at = math.inf
        if self._is_counted:
            self._is_counted = False
            self._budget.free(self)

    def _end(self) -> None:
        """Record that it is closed."""
        self._waiter = None
        self._forget_request()
        if self.is_open:
            self.is_open = False
            self._owner.forget(self)


def _poll_function(transport: asyncio.Transport) -> Callable[[], object]:
    """Return what returns something true where bytes or an end have arrived that asyncio has not read yet."""
    connected = transport.get_extra_info("socket")
    if connected is None:
        return bool
    if not _CAN_POLL:
        return lambda: select.select([connected], [], [], 0)[0]
    poller = select.poll()
    poller.register(connected.fileno(), select.POLLIN)
    return partial(poller.poll, 0)
