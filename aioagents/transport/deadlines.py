"""Deadlines that share one timer, for all that have the same number of seconds."""

import asyncio
from collections import OrderedDict
from typing import Protocol


class Timed(Protocol):
    """What has a deadline. `Deadlines` sets `due_at`."""

    due_at: float

    def expire(self) -> None:
        """End it: its deadline has passed."""
        ...


class Deadlines:
    """Those that have the same number of `seconds`, in the order of their deadlines.

    A timer for each, as aiohttp sets one, would be a tenth of what a request costs; here most set none.
    """

    __slots__ = ("_seconds", "_timer", "_waiting")

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._timer: asyncio.TimerHandle | None = None
        self._waiting: OrderedDict[Timed, None] = OrderedDict()

    def __repr__(self) -> str:
        return f"<Deadlines of {self._seconds:g} s, waiting={len(self._waiting)}>"

    def add(self, timed: Timed, loop: asyncio.AbstractEventLoop) -> None:
        """Set the deadline of `timed`, counted from now, on `loop`, which is always the same one."""
        timed.due_at = due_at = loop.time() + self._seconds
        self._waiting[timed] = None
        if self._timer is None:
            self._timer = loop.call_at(due_at, self._on_time, loop)

    def discard(self, timed: Timed) -> None:
        """Drop the deadline of `timed`; harmless when it has passed."""
        self._waiting.pop(timed, None)

    def close(self) -> None:
        """Drop all deadlines and the timer. May be called twice."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._waiting.clear()

    def _on_time(self, loop: asyncio.AbstractEventLoop) -> None:
        """Expire those whose deadline has passed, and set the timer for the next one."""
        self._timer = None
        now = loop.time()
        while self._waiting:
            timed = next(iter(self._waiting))
            if timed.due_at > now:
                self._timer = loop.call_at(timed.due_at, self._on_time, loop)
                return
            del self._waiting[timed]
            timed.expire()
