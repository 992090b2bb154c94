"""An event loop whose time is virtual and whose callbacks run one at a time, so that a world can be seen and killed.

It overrides `BaseEventLoop._run_once` and uses `_ready`, `_scheduled` and `_asyncgens`; `test_loop.py` pins these for
each version of Python.
"""

# ruff: noqa: SLF001 - the private parts of asyncio are what it is made of

import asyncio
import heapq
import math
from collections.abc import AsyncGenerator, Callable, Coroutine
from contextvars import Context
from datetime import UTC, datetime, timedelta
from itertools import count
from random import Random
from typing import TYPE_CHECKING, Any, Final

START: Final = 1000.0
EPOCH: Final = datetime(2026, 1, 5, 9, 0, tzinfo=UTC)
#: Steps at one moment of virtual time from which on nothing but a busy loop is likely.
BUSY: Final = 20_000
#: Steps before which most of what is to happen does.
_LATEST: Final = 2000
#: Tries to close a coroutine that awaits while it is closed.
_TRIES: Final = 100


class Killed(BaseException):
    """The process is killed. Nothing of the library ever sees it: it leaves the loop between two steps."""


class StandsStill(Exception):
    """Nothing is ready and no timer is set, or the loop is busy without time going on."""


class SimFuture(asyncio.Future[Any]):
    """A future that sets order by its number, so that no world depends on where objects lie in memory."""

    _numbers = count(1)

    def __init__(self, *, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(loop=loop)
        self._number = next(SimFuture._numbers)

    def __hash__(self) -> int:
        return self._number


class SimTask(asyncio.Task[Any]):
    """A task that sets order by its number."""

    def __init__(self, work: Coroutine[Any, Any, Any], **options: Any) -> None:
        self._number = next(SimFuture._numbers)
        super().__init__(work, **options)

    def __hash__(self) -> int:
        return self._number


if TYPE_CHECKING:
    from collections import deque
    from weakref import WeakSet

    class _Loop(asyncio.BaseEventLoop):
        """What is used of asyncio's loop beyond its public face."""

        _ready: deque[Any]
        _scheduled: list[Any]
        _timer_cancelled_count: int
        _asyncgens: WeakSet[AsyncGenerator[Any, Any]]

        def _run_once(self) -> None: ...
        def _check_closed(self) -> None: ...
        def _asyncgen_finalizer_hook(self, agen: AsyncGenerator[Any, None]) -> None: ...

else:
    _Loop = asyncio.BaseEventLoop


class SimLoop(_Loop):
    """Runs one callback a step. Time goes on only when nothing is ready, to the next timer.

    `chance` draws the order of timers of one moment and, where `lateness` is above 0, how late timers are seen.
    `on_step` is called after each step, `on_quiet` when nothing is ready, before time goes on. Actions that were put
    at a step are called right before it, outside of any task.
    """

    def __init__(
        self,
        chance: Random,
        *,
        start: float = START,
        lateness: float = 0.0,
        on_step: Callable[[], object] | None = None,
        on_quiet: Callable[[], object] | None = None,
        most_steps: int = 200_000,
    ) -> None:
        super().__init__()
        self._chance = chance
        self._now = start
        self._lateness = lateness
        self._on_step = on_step
        self._on_quiet = on_quiet
        self._most_steps = most_steps
        self._actions: list[tuple[int, int, Callable[[], object]]] = []
        self._order = count()
        self._busy = 0
        self._outside: set[asyncio.TimerHandle] = set()
        #: Steps made.
        self.steps = 0
        #: Whether the process was killed: nothing that its remains do counts.
        self.is_dead = False
        #: What was reported to the loop's exception handler.
        self.complaints: list[dict[str, Any]] = []
        self.set_exception_handler(lambda _, context: self._complain(context))
        self.set_task_factory(_make_task)

    def _complain(self, context: dict[str, Any]) -> None:
        if not self.is_dead:
            self.complaints.append(context)

    def time(self) -> float:
        """Return the virtual time."""
        return self._now

    def at_step(self, step: int, action: Callable[[], object]) -> None:
        """Call `action` right before step number `step`, outside of any task."""
        heapq.heappush(self._actions, (step, next(self._order), action))

    def call_outside(
        self, delay: float, callback: Callable[..., object], *arguments: Any
    ) -> asyncio.TimerHandle:
        """Set a timer of the surroundings, not of the process: it is none that the process left behind."""

        def call() -> None:
            self._outside.discard(handle)
            callback(*arguments)

        handle = self.call_later(delay, call, context=Context())
        self._outside.add(handle)
        return handle

    def create_future(self) -> "asyncio.Future[Any]":
        """Make a future."""
        return SimFuture(loop=self)

    @property
    def timers(self) -> list[asyncio.TimerHandle]:
        """Return the timers that the process has set."""
        return [each for each in self._scheduled if not each.cancelled() and each not in self._outside]

    @property
    def is_idle(self) -> bool:
        """Return whether nothing is ready."""
        return not self._ready

    def finish(self) -> None:
        """Make steps until nothing is ready; time does not go on."""
        asyncio._set_running_loop(self)
        try:
            while self._ready:
                self._run_once()
        finally:
            asyncio._set_running_loop(None)

    def _write_to_self(self) -> None:
        """Do nothing: whoever calls from another thread is not waited for in a sleep."""

    def _run_once(self) -> None:
        actions = self._actions
        while actions and actions[0][0] <= self.steps:
            heapq.heappop(actions)[2]()
        ready, scheduled = self._ready, self._scheduled
        if not ready:
            self._go_on()
        elif scheduled and scheduled[0]._when <= self._now:
            self._take_due()
        handle = ready.popleft()
        if handle._cancelled:
            return
        self.steps += 1
        self._busy += 1
        handle._run()
        if self._on_step is not None:
            self._on_step()
        if self._busy > BUSY:
            raise StandsStill(f"{BUSY} steps at one moment; the last one was {handle!r}")
        if self.steps > self._most_steps:
            raise StandsStill(f"no end after {self.steps} steps")

    def _go_on(self) -> None:
        """Let time go on to the next timer, and make all that are due then ready."""
        scheduled = self._scheduled
        while scheduled and scheduled[0]._cancelled:
            heapq.heappop(scheduled)._scheduled = False
            self._timer_cancelled_count -= 1
        if scheduled and scheduled[0]._when <= self._now:
            self._take_due()
            return
        if self._on_quiet is not None:
            self._on_quiet()
        if not scheduled:
            raise StandsStill("nothing is ready and no timer is set")
        self._busy = 0
        self._now = max(self._now, scheduled[0]._when)
        if self._lateness:
            self._now += self._chance.uniform(0.0, self._lateness)
        self._take_due()

    def _take_due(self) -> None:
        """Make ready what is due."""
        scheduled = self._scheduled
        due = []
        while scheduled and scheduled[0]._when <= self._now:
            timer = heapq.heappop(scheduled)
            timer._scheduled = False
            due.append(timer)
        # A heap keeps no order among timers of one moment.
        self._chance.shuffle(due)
        due.sort(key=lambda timer: timer._when)
        self._ready.extend(due)

    def _asyncgen_finalizer_hook(self, agen: AsyncGenerator[Any, None]) -> None:
        self._asyncgens.discard(agen)
        if not (self.is_dead or self.is_closed()):
            self.call_soon(self.create_task, agen.aclose())

    def _check_closed(self) -> None:
        if not self.is_dead:  # what is collected of a dead process may still call
            super()._check_closed()

    def kill(self) -> None:
        """Close all coroutines at once, outside of the loop, as if they had never been.

        Otherwise the collector would run their `finally` blocks in the middle of the next life.
        """
        self.is_dead = True
        tasks = asyncio.all_tasks(self)
        for task in sorted(tasks, key=hash):
            task._log_destroy_pending = False  # type: ignore[attr-defined]
            work = task.get_coro()
            if work is not None:
                _close(work.close)
        self._ready.clear()
        self._scheduled.clear()
        self.close()


def _make_task(loop: asyncio.AbstractEventLoop, work: Any, **options: Any) -> SimTask:
    return SimTask(work, loop=loop, **options)


def _close(close: Callable[[], object]) -> None:
    for _ in range(_TRIES):
        try:
            close()
        except RuntimeError:  # it awaits something while it is closed
            continue
        except BaseException:  # noqa: BLE001 - the remains of a dead process may raise whatever they like
            return
        return


class SimClock:
    """The library's `Clock` over a loop; the wall clock may jump."""

    def __init__(self, loop: SimLoop, *, ahead: float = 0.0) -> None:
        self._loop = loop
        #: How many seconds the wall clock is ahead of the time that went by.
        self.ahead = ahead

    def now(self) -> float:
        """Return the loop's time."""
        return self._loop.time()

    def utcnow(self) -> datetime:
        """Return the wall clock."""
        return EPOCH + timedelta(seconds=self._loop.time() - START + self.ahead)

    def call_at(self, when: float, callback: Callable[[], object]) -> asyncio.TimerHandle:
        """Call `callback` at a time of the loop's."""
        return self._loop.call_at(when, callback)


async def turns(number: int) -> None:
    """Let so many turns of the loop go by."""
    for _ in range(number):
        await asyncio.sleep(0)


def step(chance: Random) -> int:
    """Draw a step for something to happen, early ones as likely as late ones."""
    return int(10 ** chance.uniform(0.0, math.log10(_LATEST)))
