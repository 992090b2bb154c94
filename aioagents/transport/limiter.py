"""Limits the requests of one account: how many at once, how many a second, and starts before polls."""

import asyncio
import math
from collections import OrderedDict
from collections.abc import Callable

from attrs import frozen

from ..clock import Clock, Timer
from .limits import PoolLimits
from .rate_limiter import RateLimiter

# While both queues wait, one permit in so many goes to a poll: neither starves the other.
_POLL_EVERY = 10


@frozen(kw_only=True)
class LimiterStatistics:
    """The state of an account's limiter: requests under way, those that wait for a permit, and the present rate.

    `waiting` counts starts and other calls, `waiting_polls` polls.
    """

    under_way: int
    waiting: int
    waiting_polls: int
    per_second: float


class Limiter:
    """Hands out one account's permits to send. Each permit that was acquired has to be released.

    Those that wait are in two queues: one of starts and other calls, and one of polls.
    """

    def __init__(self, limits: PoolLimits, clock: Clock) -> None:
        self._clock = clock
        # No more than there are connections: requests that waited for one would be sent in a burst once it is there.
        self._permits = min(limits.requests_at_once, limits.per_host)
        # Polls leave an eighth of the permits, at least one, to everything else.
        self._poll_permits = max(1, self._permits - max(1, self._permits // 8))
        #: Permits of long requests, which hold no other one while they wait for their reply. Acquired first, and
        #: released last.
        self.long_permits = asyncio.Semaphore(limits.long_at_once)
        self.rate_limiter = RateLimiter(limits.requests_per_second)
        self._poll_rate_limiter = RateLimiter(limits.polls_per_second)
        self._in_use = 0
        self._polls_in_use = 0
        # Ordered dicts, to remove a cancelled one from anywhere: they must not pile up while no permit is granted.
        self._queue: OrderedDict[asyncio.Future[None], None] = OrderedDict()
        self._poll_queue: OrderedDict[asyncio.Future[None], None] = OrderedDict()
        self._since_poll = 0  # permits granted from the first queue while polls waited, since the last poll's
        self._timer: Timer | None = None

    def statistics(self) -> LimiterStatistics:
        """Return the present numbers."""
        return LimiterStatistics(
            under_way=self._in_use,
            waiting=sum(not waiter.done() for waiter in self._queue),
            waiting_polls=sum(not waiter.done() for waiter in self._poll_queue),
            per_second=self.rate_limiter.rate(self._clock.now()),
        )

    def acquire_nowait(self, now: float, *, is_poll: bool) -> bool:
        """Acquire a permit if one is free and a request may be sent now; return whether it was acquired."""
        if self._queue or self._poll_queue:
            return False  # no overtaking
        if is_poll and (self._polls_in_use >= self._poll_permits or self._poll_rate_limiter.ready_at > now):
            return False
        if self._in_use >= self._permits or self.rate_limiter.ready_at > now:
            return False
        self._take(now, is_poll=is_poll)
        return True

    async def acquire(self, *, is_poll: bool, is_first: bool = False) -> None:
        """Wait until a permit is free and a request may be sent, at the head of the queue if `is_first`.

        Cancelled, it holds no permit.
        """
        if self.acquire_nowait(self._clock.now(), is_poll=is_poll):
            return
        queue = self._poll_queue if is_poll else self._queue
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        queue[waiter] = None
        if is_first:
            queue.move_to_end(waiter, last=False)
        self._grant()
        try:
            await waiter
        except asyncio.CancelledError:
            if waiter.cancelled():
                queue.pop(waiter, None)
                if not (self._queue or self._poll_queue):
                    self._set_timer(self._clock.now())
            else:
                self.release(is_poll=is_poll)  # it was granted while the cancellation was on its way
            raise

    def release(self, *, is_poll: bool) -> None:
        """Release a permit."""
        self._in_use -= 1
        if is_poll:
            self._polls_in_use -= 1
        if self._queue or self._poll_queue:
            self._grant()

    def _can_send(self, now: float) -> bool:
        return self._in_use < self._permits and self.rate_limiter.ready_at <= now

    def _can_poll(self, now: float) -> bool:
        return (
            self._polls_in_use < self._poll_permits
            and self._poll_rate_limiter.ready_at <= now
            and self._can_send(now)
        )

    def _take(self, now: float, *, is_poll: bool) -> None:
        self._in_use += 1
        if self.rate_limiter.is_bound:
            self.rate_limiter.take(now)
        if is_poll:
            self._polls_in_use += 1
            if self._poll_rate_limiter.is_bound:
                self._poll_rate_limiter.take(now)

    def _grant(self) -> None:
        """Grant the permits that are free to those that wait, and set the timer for the next one."""
        now = self._clock.now()
        while self._queue or self._poll_queue:
            is_poll = bool(self._poll_queue) and (not self._queue or self._since_poll >= _POLL_EVERY - 1)
            if is_poll and not self._can_poll(now):
                is_poll = False
            if not is_poll and not (self._queue and self._can_send(now)):
                break
            waiter, _ = (self._poll_queue if is_poll else self._queue).popitem(last=False)
            if waiter.done():
                continue
            self._since_poll = 0 if is_poll or not self._poll_queue else self._since_poll + 1
            self._take(now, is_poll=is_poll)
            waiter.set_result(None)
        self._set_timer(now)

    def _set_timer(self, now: float) -> None:
        """Set the one timer. Only the rate needs it, since a permit that is released is granted at once."""
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
        self._grant()


class LongRequestPermit:
    """The permit of a request that is answered when the work is done: released once it was sent, not at the reply."""

    def __init__(self, limiter: Limiter, on_sent: Callable[[], None] | None, *, is_poll: bool) -> None:
        self._limiter: Limiter | None = limiter
        self._on_sent = on_sent
        self._is_poll = is_poll

    def note_sent(self) -> None:
        """Record that the first byte is about to leave: release the permit, and call `on_sent`."""
        self.release(is_poll=self._is_poll)
        if self._on_sent is not None:
            self._on_sent()

    def release(self, *, is_poll: bool) -> None:
        """Release the permit; harmless when it was released already."""
        limiter, self._limiter = self._limiter, None
        if limiter is not None:
            limiter.release(is_poll=is_poll)
