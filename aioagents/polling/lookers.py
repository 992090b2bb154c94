"""The fixed crew that looks: due runs are handed out lane by lane in turn."""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine, Iterable
from typing import TYPE_CHECKING, Any

from .round import Round
from .watch import Watch

if TYPE_CHECKING:
    from .lane import Lane

#: A run whose look is due, and those of its group that are looked at together with it.
Due = tuple[Watch, Round | None]


class Lookers:
    """At most `most` tasks, made when needed, that `look` at what is due, together with what `gather` adds to it.

    A lane may have a look under way only while it has fewer of them than there are lookers left over: so one
    account never holds more than half of the crew, and a stalled vendor leaves the others room. What nobody
    waits for any more is given to `drop` instead.
    """

    def __init__(
        self,
        *,
        most: int,
        look: Callable[[Watch, Round | None], Awaitable[None]],
        gather: Callable[[Watch], Round | None],
        drop: Callable[[Watch], None],
        spawn: Callable[[Coroutine[Any, Any, None]], object],
    ) -> None:
        self._most = most
        self._look = look
        self._gather = gather
        self._drop = drop
        self._spawn = spawn
        self._turn: deque[Lane] = deque()  # lanes with due looks, each once
        self._idle: list[asyncio.Future[Due]] = []
        self._is_closed = False
        self.hired = 0
        self.looking = 0

    def add(self, watches: Iterable[Watch]) -> None:
        """Have these looked at, in order."""
        if self._is_closed:
            return
        for watch in watches:
            lane = watch.lane
            if not lane.ready:
                self._turn.append(lane)
            watch.is_looking = watch.is_ready = True
            lane.ready.append(watch)
        self._hand_out()

    def close(self) -> None:
        """Look at nothing any more."""
        self._is_closed = True

    def _hand_out(self) -> None:
        """Hand due looks to lookers, as far as there are both."""
        while self._idle or self.hired < self._most:
            due = self._next()
            if due is None:
                return
            if not self._idle:
                self.hired += 1
                self._spawn(self._serve(due))
            elif not (idle := self._idle.pop()).done():
                idle.set_result(due)

    def _next(self) -> "Due | None":
        """Take the next due look of the lane whose turn it is, and count it as begun."""
        turn = self._turn
        for _ in range(len(turn)):
            lane = turn[0]
            if lane.looking < self._most - self.looking:
                while lane.ready:
                    watch = lane.ready.popleft()
                    if not watch.is_ready:
                        continue  # seen meanwhile, by a look at its whole group
                    watch.is_ready = False
                    if watch.is_awaited:
                        lane.looking += 1
                        self.looking += 1
                        turn.rotate(-1)
                        if not lane.ready:
                            turn.pop()
                        return watch, self._gather(watch)
                    watch.is_looking = False
                    self._drop(watch)
                turn.popleft()
            else:
                turn.rotate(-1)
        return None

    async def _serve(self, due: "Due | None") -> None:
        """Be one of the crew, beginning with `due`."""
        loop = asyncio.get_running_loop()
        while not self._is_closed:
            if due is None:
                idle: asyncio.Future[Due] = loop.create_future()
                self._idle.append(idle)
                due = await idle
            watch, together = due
            try:
                await self._look(watch, together)
            finally:
                watch.lane.looking -= 1
                self.looking -= 1
            due = self._next()
            if len(self._turn) > 1 and self._idle:
                self._hand_out()  # an end can make room for one look in each of several lanes
