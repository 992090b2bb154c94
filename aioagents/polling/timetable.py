"""When each run is due, and the one timer that tells."""

import math
from collections.abc import Callable

from ..clock import Clock, Timer
from .due_queue import DueQueue
from .runs import PolledRun


class Timetable:
    """Gives runs to `look` when they are due."""

    def __init__(self, clock: Clock, poll: Callable[[list[PolledRun]], None]) -> None:
        self._clock = clock
        self._poll = poll
        self._queue: DueQueue[PolledRun] = DueQueue()
        self._timer: Timer | None = None
        self._timer_at = math.inf

    def plan(self, polled: PolledRun, at: float) -> None:
        """Have `watch` due at `at`, also if it stood elsewhere before."""
        self._queue.push(polled, at)
        if at < self._timer_at:
            self._set_timer()

    def drop(self, polled: PolledRun) -> None:
        """Take `watch` out; harmless when it is not in."""
        self._queue.drop(polled)

    def close(self) -> None:
        """Set no timer any more."""
        self._cancel_timer()

    def _cancel_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _set_timer(self) -> None:
        """Set the one timer to the heap's head; it is set anew early only if the head got earlier."""
        self._cancel_timer()
        self._timer_at = self._queue.head_at
        if self._timer_at != math.inf:
            self._timer = self._clock.call_at(self._timer_at, self._on_time)

    def _on_time(self) -> None:
        self._timer = None
        due = self._queue.take_due(self._clock.now())
        self._set_timer()
        self._poll(due)
