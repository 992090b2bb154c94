"""Ends what takes too long. One timer serves all that have the same time."""

import asyncio
from collections import OrderedDict
from typing import Protocol


class Timed(Protocol):
    """What has to be over in time. They write `due_at` itself."""

    due_at: float

    def expire(self) -> None:
        """Note that the time is over."""
        ...


class Deadlines:
    """Those that have the same number of `seconds`, in the order of their ends.

    A timer for each, as aiohttp sets it, would be a tenth of what a request costs; here most set none.
    """

    __slots__ = ("_seconds", "_timer", "_waiting")

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._timer: asyncio.TimerHandle | None = None
        self._waiting: OrderedDict[Timed, None] = OrderedDict()

    def __repr__(self) -> str:
        return f"<Deadlines of {self._seconds:g} s, waiting={len(self._waiting)}>"

    def join(self, timed: Timed, loop: asyncio.AbstractEventLoop) -> None:
        """Give `timed` its seconds from now on `loop`, always the same one."""
        timed.due_at = due_at = loop.time() + self._seconds
        self._waiting[timed] = None
        if self._timer is None:
            self._timer = loop.call_at(due_at, self._on_time, loop)

    def leave(self, timed: Timed) -> None:
        """Let its time be over no more; harmless when it is."""
        self._waiting.pop(timed, None)

    def close(self) -> None:
        """Set no timer any more. May be called twice."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._waiting.clear()

    def _on_time(self, loop: asyncio.AbstractEventLoop) -> None:
        """End those whose time is over, and be back when the next one's is."""
        self._timer = None
        now = loop.time()
        while self._waiting:
            timed = next(iter(self._waiting))
            if timed.due_at > now:
                self._timer = loop.call_at(timed.due_at, self._on_time, loop)
                return
            del self._waiting[timed]
            timed.expire()
