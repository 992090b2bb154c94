"""Replacements of time, chance and sockets for tests."""

import asyncio
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from heapq import heappop, heappush
from itertools import count
from typing import Self

import attrs

from aioagents.contract.fake import DelayedReply, FakeServer, StreamedReply, ask
from aioagents.errors import ReplyLost
from aioagents.model import Reply, Request
from aioagents.transport.upload import pieces_of

EPOCH = datetime(2026, 1, 5, 9, 0, tzinfo=UTC)


class _Timer:
    def __init__(self, callback: Callable[[], object]) -> None:
        self.callback: Callable[[], object] | None = callback

    def cancel(self) -> None:
        self.callback = None


class OtherRequest:
    """The `ClientRequest` of another aiohttp, which takes other arguments.

    Where it is in place of aiohttp's, small requests go over sessions.
    """

    def __init__(self, *, settings: object) -> None:
        self.settings = settings


class FakeClock:
    """A clock that is moved by hand, and calls back on its way."""

    def __init__(self, start: float = 1000.0) -> None:
        self._start = start
        self._now = start
        self._timers: list[tuple[float, int, _Timer]] = []
        self._order = count()

    def now(self) -> float:
        """Return the time it was moved to."""
        return self._now

    def utcnow(self) -> datetime:
        """Return the wall clock that belongs to it."""
        return EPOCH + timedelta(seconds=self._now - self._start)

    def call_at(self, when: float, callback: Callable[[], object]) -> _Timer:
        """Call `callback` when the clock is moved past `when`."""
        timer = _Timer(callback)
        heappush(self._timers, (when, next(self._order), timer))
        return timer

    @property
    def timers(self) -> int:
        """Count the timers that are set."""
        return sum(timer.callback is not None for _, _, timer in self._timers)

    async def advance(self, seconds: float) -> None:
        """Move on, stopping at each timer on the way and running everything it causes."""
        end = self._now + seconds
        await settle()
        while self._timers and self._timers[0][0] <= end:
            when, _, timer = heappop(self._timers)
            if timer.callback is not None:
                self._now = max(self._now, when)
                callback, timer.callback = timer.callback, None
                callback()
                await settle()
        self._now = end
        await settle()


async def settle(steps: int = 60) -> None:
    """Run everything that waits for no time."""
    for _ in range(steps):
        await asyncio.sleep(0)


class FakeSend:
    """A `Send` to fake servers in memory. `sent` keeps the requests; `before` may raise or answer first.

    An upload is read whole: `sent` has it as the body then. `cut_after` may say after how many bytes of a streamed
    reply the connection is lost.
    """

    def __init__(self, *fakes: FakeServer, clock: FakeClock) -> None:
        self.fakes: Sequence[FakeServer] = fakes
        self.sent: list[Request] = []
        self.before: Callable[[Request], Reply | None] | None = None
        self.after: Callable[[Request, Reply], Reply] | None = None
        self.cut_after: Callable[[Request], int | None] = lambda _: None
        self._clock = clock
        self._began_at = clock.now()

    async def send(
        self, request: Request, *, headers: Mapping[str, str], on_sent: Callable[[], None] | None = None
    ) -> Reply:
        """Ask the fake servers, which get what a server would get."""
        async with self.stream(request, headers=headers, on_sent=on_sent) as reply:
            body = b"".join([piece async for piece in reply.pieces()])
            whole = Reply(reply.status, reply.headers, body)
        return whole if self.after is None or reply.is_early else self.after(reply.request, whole)

    def stream(
        self, request: Request, *, headers: Mapping[str, str], on_sent: Callable[[], None] | None = None
    ) -> "FakeStream":
        """Ask the fake servers, and stream the reply; leaving drops the connection."""
        merged = {name.lower(): value for name, value in {**request.headers, **headers}.items()}
        return FakeStream(self, attrs.evolve(request, headers=merged), on_sent)

    @property
    def now(self) -> float:
        """Return the seconds since it was made, which are the fake servers' time."""
        return self._clock.now() - self._began_at

    async def until(self, at: float) -> float:
        """Wait for the fake servers' second `at`, and return what it is then."""
        due = asyncio.Event()
        timer = self._clock.call_at(self._began_at + at, due.set)
        try:
            await due.wait()
        finally:
            timer.cancel()
        return max(self.now, at)  # the sum may be rounded where the difference is not

    def calls(self, name: str) -> list[Request]:
        """Return the requests of one call."""
        return [request for request in self.sent if request.call == name]


class FakeStream:
    """One request to the fake servers of a `FakeSend`, and its reply as it arrives."""

    def __init__(self, fake: FakeSend, request: Request, on_sent: Callable[[], None] | None) -> None:
        self._fake = fake
        self._on_sent = on_sent
        self._answer: Reply | StreamedReply = Reply(0)
        self._owed: DelayedReply | StreamedReply | None = (
            None  # whose `on_disconnect` is called when the connection is gone
        )
        self._parts: Iterator[tuple[float, bytes]] = iter(())
        self._left: int | None = None
        self.request = request
        #: Whether the reply came from `before`, so that no fake server was asked.
        self.is_early = False

    @property
    def status(self) -> int:
        """Return the status."""
        return self._answer.status

    @property
    def headers(self) -> Mapping[str, str]:
        """Return the headers."""
        return self._answer.headers

    async def __aenter__(self) -> Self:
        try:
            self._answer = await self._asked()
        except BaseException:
            self._drop()
            raise
        parts = self._answer.pieces if isinstance(self._answer, StreamedReply) else [(0.0, self._answer.body)]
        self._parts = iter(parts)
        self._left = self._fake.cut_after(self.request) if isinstance(self._answer, StreamedReply) else None
        return self

    async def __aexit__(self, *_: object) -> None:
        self._drop()

    async def _asked(self) -> Reply | StreamedReply:
        fake, index = self._fake, len(self._fake.sent)
        fake.sent.append(self.request)
        if self._on_sent is not None:
            self._on_sent()
        await asyncio.sleep(0)
        if (upload := self.request.upload) is not None:
            body = b"".join([piece async for piece in pieces_of(upload)])
            self.request = fake.sent[index] = attrs.evolve(self.request, body=body, upload=None)
        if fake.before is not None and (reply := fake.before(self.request)) is not None:
            self.is_early = True
            return reply
        answer = ask(fake.fakes, self.request, now=fake.now)
        while isinstance(answer, DelayedReply):
            self._owed = answer
            if await fake.until(min(answer.until, fake.now + 1.0)) >= answer.until:
                answer = answer.reply(max(fake.now, answer.until))
        self._owed = answer if isinstance(answer, StreamedReply) else None
        return answer

    def pieces(self) -> "FakeStream":
        """Return the pieces, each at its time."""
        return self

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> bytes:
        if self._left == 0:
            raise ReplyLost(f"{self.request.call}: the connection was lost", call=self.request.call)
        at, piece = next((part for part in self._parts if part[1]), (0.0, b""))
        if not piece:
            self._owed = None
            raise StopAsyncIteration
        if at > self._fake.now:
            await self._fake.until(at)
        if self._left is not None:
            piece = piece[: self._left]
            self._left -= len(piece)
        return piece

    async def read(self) -> bytes:
        """Return the whole body."""
        return b"".join([piece async for piece in self])

    def _drop(self) -> None:
        owed, self._owed = self._owed, None
        if owed is not None and owed.on_disconnect is not None:
            owed.on_disconnect(self._fake.now)
