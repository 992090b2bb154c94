"""The fixed crew that polls: due runs are handed out lane by lane in turn."""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine, Iterable
from typing import Any

from .listeners import is_awaited
from .round import Round
from .runs import PolledRun, Source

#: A run whose look is due, and those of its group that are polled together with it.
Due = tuple[PolledRun, Round | None]


class Pollers:
    """At most `most` tasks, made when needed, that `look` at what is due, together with what `gather` adds to it.

    A lane may have a poll under way only while it has fewer of them than there are lookers left over: so one
    account never holds more than half of the crew, and a stalled vendor leaves the others room. What nobody
    waits for any more is given to `drop` instead.
    """

    def __init__(
        self,
        *,
        most: int,
        poll: Callable[[PolledRun, Round | None], Awaitable[None]],
        gather: Callable[[PolledRun], Round | None],
        drop: Callable[[PolledRun], None],
        spawn: Callable[[Coroutine[Any, Any, None]], object],
    ) -> None:
        self._most = most
        self._poll = poll
        self._gather = gather
        self._drop = drop
        self._spawn = spawn
        self._turn: deque[Source] = deque()  # lanes with due polls, each once
        self._idle: list[asyncio.Future[Due]] = []
        self._is_closed = False
        self.hired = 0
        self.polling = 0

    def add(self, runs: Iterable[PolledRun]) -> None:
        """Have these polled, in order."""
        if self._is_closed:
            return
        for polled in runs:
            source = polled.source
            if not source.ready:
                self._turn.append(source)
            polled.is_polling = polled.is_ready = True
            source.ready.append(polled)
        self._hand_out()

    def close(self) -> None:
        """Look at nothing any more."""
        self._is_closed = True

    def _hand_out(self) -> None:
        """Hand due polls to lookers, as far as there are both."""
        while self._idle or self.hired < self._most:
            due = self._next()
            if due is None:
                return
            if not self._idle:
                self.hired += 1
                self._spawn(self._serve(due))
            elif not (idle := self._idle.pop()).done():
                idle.set_result(due)

    def _next(self) -> Due | None:
        """Take the next due look of the lane whose turn it is, and count it as begun."""
        turn = self._turn
        for _ in range(len(turn)):
            source = turn[0]
            if source.polling < self._most - self.polling:
                while source.ready:
                    polled = source.ready.popleft()
                    if not polled.is_ready:
                        continue  # seen meanwhile, by a poll at its whole group
                    polled.is_ready = False
                    if is_awaited(polled):
                        source.polling += 1
                        self.polling += 1
                        turn.rotate(-1)
                        if not source.ready:
                            turn.pop()
                        return polled, self._gather(polled)
                    polled.is_polling = False
                    self._drop(polled)
                turn.popleft()
            else:
                turn.rotate(-1)
        return None

    async def _serve(self, due: Due | None) -> None:
        """Be one of the crew, beginning with `due`."""
        loop = asyncio.get_running_loop()
        while not self._is_closed:
            if due is None:
                idle: asyncio.Future[Due] = loop.create_future()
                self._idle.append(idle)
                due = await idle
            polled, together = due
            try:
                await self._poll(polled, together)
            finally:
                polled.source.polling -= 1
                self.polling -= 1
            due = self._next()
            if len(self._turn) > 1 and self._idle:
                self._hand_out()  # an end can make room for one poll in each of several lanes
