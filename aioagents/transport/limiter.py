"""Lets the requests of one account out: so many at once, so many a second, starts before polls."""

import asyncio
import math
from collections import OrderedDict

from attrs import frozen

from ..clock import Clock, Timer
from .limits import PoolLimits
from .rate_limiter import RateLimiter

# While starts and polls both wait, one of so many places goes to a poll: neither line starves the other.
_POLL_EVERY = 10


@frozen(kw_only=True)
class LimiterStatistics:
    """How an account's gate stands: requests under way, waiting in line, and the present rate a second."""

    under_way: int
    waiting: int
    waiting_polls: int
    per_second: float


class Limiter:
    """The limits of one account. Whoever enters has to leave, whatever happens in between."""

    def __init__(self, limits: PoolLimits, clock: Clock) -> None:
        self._clock = clock
        # None waits for a connection behind the pace: those that do would leave in a burst once there are some.
        self._permits = min(limits.requests_at_once, limits.per_host)
        # Looks leave an eighth of the places, at least one, to everything else.
        self._poll_permits = max(1, self._permits - max(1, self._permits // 8))
        #: The turns of long requests, which hold no place while they are out: taken first, and given back last.
        self.long_permits = asyncio.Semaphore(limits.long_at_once)
        self.rate_limiter = RateLimiter(limits.requests_per_second)
        self._poll_rate_limiter = RateLimiter(limits.polls_per_second)
        self._inside = 0
        self._polls_inside = 0
        # Ordered, and left from anywhere: those that are cancelled must not pile up where nobody gets through.
        self._queue: OrderedDict[asyncio.Future[None], None] = OrderedDict()
        self._poll_queue: OrderedDict[asyncio.Future[None], None] = OrderedDict()
        self._passed = 0
        self._timer: Timer | None = None

    def statistics(self) -> LimiterStatistics:
        """Return the present numbers."""
        return LimiterStatistics(
            under_way=self._inside,
            waiting=sum(not place.done() for place in self._queue),
            waiting_polls=sum(not place.done() for place in self._poll_queue),
            per_second=self.rate_limiter.rate(self._clock.now()),
        )

    def acquire_nowait(self, now: float, *, is_poll: bool) -> bool:
        """Enter if there is a place, and the moment to send has come; say whether it is so."""
        if self._queue or self._poll_queue:
            return False  # whose turn it is, the lines decide
        if is_poll and (self._polls_inside >= self._poll_permits or self._poll_rate_limiter.ready_at > now):
            return False
        if self._inside >= self._permits or self.rate_limiter.ready_at > now:
            return False
        self._take(now, is_poll=is_poll)
        return True

    async def acquire(self, *, is_poll: bool, is_first: bool = False) -> None:
        """Wait for a place and for the moment to send, at the head of the line if `is_first`.

        Cancelling gives the place back.
        """
        if self.acquire_nowait(self._clock.now(), is_poll=is_poll):
            return
        line = self._poll_queue if is_poll else self._queue
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
                if not (self._queue or self._poll_queue):
                    self._wake_later(self._clock.now())
            else:
                self.release(is_poll=is_poll)  # the place was given while the cancellation was on its way
            raise

    def release(self, *, is_poll: bool) -> None:
        """Give the place back."""
        self._inside -= 1
        if is_poll:
            self._polls_inside -= 1
        if self._queue or self._poll_queue:
            self._pump()

    def _can_send(self, now: float) -> bool:
        return self._inside < self._permits and self.rate_limiter.ready_at <= now

    def _can_poll(self, now: float) -> bool:
        return (
            self._polls_inside < self._poll_permits
            and self._poll_rate_limiter.ready_at <= now
            and self._can_send(now)
        )

    def _take(self, now: float, *, is_poll: bool) -> None:
        self._inside += 1
        if self.rate_limiter.is_bound:
            self.rate_limiter.take(now)
        if is_poll:
            self._polls_inside += 1
            if self._poll_rate_limiter.is_bound:
                self._poll_rate_limiter.take(now)

    def _pump(self) -> None:
        """Let out whoever may leave now, and come back when the next one may."""
        now = self._clock.now()
        while self._queue or self._poll_queue:
            is_poll = bool(self._poll_queue) and (not self._queue or self._passed >= _POLL_EVERY - 1)
            if is_poll and not self._can_poll(now):
                is_poll = False
            if not is_poll and not (self._queue and self._can_send(now)):
                break
            place, _ = (self._poll_queue if is_poll else self._queue).popitem(last=False)
            if place.done():
                continue
            self._passed = 0 if is_poll or not self._poll_queue else self._passed + 1
            self._take(now, is_poll=is_poll)
            place.set_result(None)
        self._wake_later(now)

    def _wake_later(self, now: float) -> None:
        """Set the one timer: only the pace needs it, since a place that gets free pumps by itself."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        at = math.inf
        if self._queue:
            at = self.rate_limiter.ready_at
        if self._poll_queue:
            at = min(at, max(self.rate_limiter.ready_at, self._poll_rate_limiter.ready_at))
        if now < at < math.inf:
            self._timer = self._clock.call_at(at, self._on_time)

    def _on_time(self) -> None:
        self._timer = None
        self._pump()
