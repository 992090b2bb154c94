"""Time as a parameter: what needs the time or waits for it is given a `Clock`."""

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime
from time import monotonic
from typing import Protocol


class Timer(Protocol):
    """A call that was put off."""

    def cancel(self) -> None:
        """Forget the call; harmless when it was made already."""
        ...


class Clock(Protocol):
    """Tells the time and calls back at one."""

    def now(self) -> float:
        """Return the monotonic time in seconds; only differences mean anything."""
        ...

    def utcnow(self) -> datetime:
        """Return the wall clock as an aware datetime in UTC."""
        ...

    def call_at(self, when: float, callback: Callable[[], object]) -> Timer:
        """Call `callback` once `now()` has reached `when`."""
        ...


class LoopClock:
    """The machine's monotonic clock, which event loops go by as well."""

    def now(self) -> float:
        """Return the monotonic time."""
        return monotonic()

    def utcnow(self) -> datetime:
        """Return the wall clock."""
        return datetime.now(UTC)

    def call_at(self, when: float, callback: Callable[[], object]) -> Timer:
        """Put a call off with the running loop's own timers."""
        return asyncio.get_running_loop().call_later(max(when - monotonic(), 0.0), callback)


def _arrive(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)


async def sleep(clock: Clock, seconds: float) -> None:
    """Wait for `seconds` on `clock`; cancelling leaves no timer behind."""
    future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    timer = clock.call_at(clock.now() + seconds, lambda: _arrive(future))
    try:
        await future
    finally:
        timer.cancel()
