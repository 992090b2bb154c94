"""What tests put in place of time, chance and sockets."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from heapq import heappop, heappush
from itertools import count

import attrs

from aioagents.contract.fake import Held, World, ask
from aioagents.model import Reply, Request

EPOCH = datetime(2026, 1, 5, 9, 0, tzinfo=UTC)


class _Timer:
    def __init__(self, callback: Callable[[], object]) -> None:
        self.callback: Callable[[], object] | None = callback

    def cancel(self) -> None:
        self.callback = None


class FakeClock:
    """A clock that is moved by hand, and calls back on its way."""

    def __init__(self, start: float = 1000.0) -> None:
        self._start = start
        self._now = start
        self._timers: list[tuple[float, int, _Timer]] = []
        self._order = count()

    def now(self) -> float:
        """Give the time it was moved to."""
        return self._now

    def utcnow(self) -> datetime:
        """Give the wall clock that belongs to it."""
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
        """Move on, stopping at each timer on the way and letting everything it causes happen."""
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


async def settle(rounds: int = 60) -> None:
    """Let everything happen that waits for no time."""
    for _ in range(rounds):
        await asyncio.sleep(0)


class WorldSend:
    """A `Send` that asks worlds in memory. `sent` keeps the requests; `before` may raise or answer first."""

    def __init__(self, *worlds: World, clock: FakeClock) -> None:
        self.worlds: Sequence[World] = worlds
        self.sent: list[Request] = []
        self.before: Callable[[Request], Reply | None] | None = None
        self.after: Callable[[Request, Reply], Reply] | None = None
        self._clock = clock
        self._began_at = clock.now()

    async def send(
        self, request: Request, *, headers: Mapping[str, str], on_sent: Callable[[], None] | None = None
    ) -> Reply:
        """Ask the worlds, which hear what a server would hear."""
        merged = {name.lower(): value for name, value in {**request.headers, **headers}.items()}
        request = attrs.evolve(request, headers=merged)
        self.sent.append(request)
        if on_sent is not None:
            on_sent()
        await asyncio.sleep(0)
        if self.before is not None and (reply := self.before(request)) is not None:
            return reply
        reply = await self._held_back(ask(self.worlds, request, now=self._world_now))
        return reply if self.after is None else self.after(request, reply)

    @property
    def _world_now(self) -> float:
        return self._clock.now() - self._began_at

    async def _held_back(self, reply: Reply | Held) -> Reply:
        """Wait for a reply that a world owes; cancelling drops the connection."""
        while isinstance(reply, Held):
            at = self._began_at + min(reply.until, self._world_now + 1.0)
            changed = asyncio.Event()
            timer = self._clock.call_at(at, changed.set)
            try:
                await changed.wait()
            except asyncio.CancelledError:
                if reply.drop is not None:
                    reply.drop(self._world_now)
                raise
            finally:
                timer.cancel()
            if self._clock.now() >= self._began_at + reply.until:
                # The sum may be cut where the difference is not: the world is not asked before its time.
                reply = reply.reply(max(self._world_now, reply.until))
        return reply

    def calls(self, name: str) -> list[Request]:
        """Give the requests of one call."""
        return [request for request in self.sent if request.call == name]
