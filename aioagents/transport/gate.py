"""Lets the requests of one account out: so many at once, so many a second, starts before looks."""

import asyncio
import math
from collections import OrderedDict

from attrs import frozen

from ..clock import Clock, Timer
from .limits import PoolLimits
from .pace import Pace

# While starts and looks both wait, one of so many places goes to a look: neither line starves the other.
_LOOK_EVERY = 10


@frozen(kw_only=True)
class GateStatistics:
    """How an account's gate stands: requests under way, waiting in line, and the present rate a second."""

    under_way: int
    waiting: int
    waiting_looks: int
    per_second: float


class Gate:
    """The limits of one account. Whoever enters has to leave, whatever happens in between."""

    def __init__(self, limits: PoolLimits, clock: Clock) -> None:
        self._clock = clock
        # None waits for a connection behind the pace: those that do would leave in a burst once there are some.
        self._places = min(limits.requests_at_once, limits.per_host)
        # Looks leave an eighth of the places, at least one, to everything else.
        self._look_places = max(1, self._places - max(1, self._places // 8))
        #: The turns of long requests, which hold no place while they are out: taken first, and given back last.
        self.turns = asyncio.Semaphore(limits.long_at_once)
        self.pace = Pace(limits.requests_per_second)
        self._look_pace = Pace(limits.looks_per_second)
        self._inside = 0
        self._looks_inside = 0
        # Ordered, and left from anywhere: those that are cancelled must not pile up where nobody gets through.
        self._line: OrderedDict[asyncio.Future[None], None] = OrderedDict()
        self._look_line: OrderedDict[asyncio.Future[None], None] = OrderedDict()
        self._passed = 0
        self._timer: Timer | None = None

    def statistics(self) -> GateStatistics:
        """Give the present numbers."""
        return GateStatistics(
            under_way=self._inside,
            waiting=sum(not place.done() for place in self._line),
            waiting_looks=sum(not place.done() for place in self._look_line),
            per_second=self.pace.rate(self._clock.now()),
        )

    def enter_nowait(self, now: float, *, is_look: bool) -> bool:
        """Enter if there is a place, and the moment to send has come; say whether it is so."""
        if self._line or self._look_line:
            return False  # whose turn it is, the lines decide
        if is_look and (self._looks_inside >= self._look_places or self._look_pace.ready_at > now):
            return False
        if self._inside >= self._places or self.pace.ready_at > now:
            return False
        self._take(now, is_look=is_look)
        return True

    async def enter(self, *, is_look: bool, is_first: bool = False) -> None:
        """Wait for a place and for the moment to send, at the head of the line if `is_first`.

        Cancelling gives the place back.
        """
        if self.enter_nowait(self._clock.now(), is_look=is_look):
            return
        line = self._look_line if is_look else self._line
        place: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        line[place] = None
        if is_first:
            line.move_to_end(place, last=False)
        self._pump()
        try:
            await place
        except asyncio.CancelledError:
            if place.cancelled():
                line.pop(place, None)
                if not (self._line or self._look_line):
                    self._wake_later(self._clock.now())
            else:
                self.leave(is_look=is_look)  # the place was given while the cancellation was on its way
            raise

    def leave(self, *, is_look: bool) -> None:
        """Give the place back."""
        self._inside -= 1
        if is_look:
            self._looks_inside -= 1
        if self._line or self._look_line:
            self._pump()

    def _can_send(self, now: float) -> bool:
        return self._inside < self._places and self.pace.ready_at <= now

    def _can_look(self, now: float) -> bool:
        return (
            self._looks_inside < self._look_places and self._look_pace.ready_at <= now and self._can_send(now)
        )

    def _take(self, now: float, *, is_look: bool) -> None:
        self._inside += 1
        if self.pace.is_bound:
            self.pace.take(now)
        if is_look:
            self._looks_inside += 1
            if self._look_pace.is_bound:
                self._look_pace.take(now)

    def _pump(self) -> None:
        """Let out whoever may leave now, and come back when the next one may."""
        now = self._clock.now()
        while self._line or self._look_line:
            is_look = bool(self._look_line) and (not self._line or self._passed >= _LOOK_EVERY - 1)
            if is_look and not self._can_look(now):
                is_look = False
            if not is_look and not (self._line and self._can_send(now)):
                break
            place, _ = (self._look_line if is_look else self._line).popitem(last=False)
            if place.done():
                continue
            self._passed = 0 if is_look or not self._look_line else self._passed + 1
            self._take(now, is_look=is_look)
            place.set_result(None)
        self._wake_later(now)

    def _wake_later(self, now: float) -> None:
        """Set the one timer: only the pace needs it, since a place that gets free pumps by itself."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        at = math.inf
        if self._line:
            at = self.pace.ready_at
        if self._look_line:
            at = min(at, max(self.pace.ready_at, self._look_pace.ready_at))
        if now < at < math.inf:
            self._timer = self._clock.call_at(at, self._on_time)

    def _on_time(self) -> None:
        self._timer = None
        self._pump()
