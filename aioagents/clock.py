"""Time as a parameter: code that needs the time, or waits, takes a `Clock`."""

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime
from time import monotonic
from typing import Protocol


class Timer(Protocol):
    """A call that is scheduled."""

    def cancel(self) -> None:
        """Cancel the call; harmless when it was made already."""
        ...


class Clock(Protocol):
    """Returns the time, and calls back at a given one."""

    def now(self) -> float:
        """Return the monotonic time in seconds; only differences have a meaning."""
        ...

    def utcnow(self) -> datetime:
        """Return the wall clock as an aware datetime in UTC."""
        ...

    def call_at(self, when: float, callback: Callable[[], object]) -> Timer:
        """Call `callback` once `now()` has reached `when`."""
        ...


class LoopClock:
    """The machine's monotonic clock, which event loops use as well."""

    def now(self) -> float:
        """Return the monotonic time."""
        return monotonic()

    def utcnow(self) -> datetime:
        """Return the wall clock."""
        return datetime.now(UTC)

    def call_at(self, when: float, callback: Callable[[], object]) -> Timer:
        """Schedule a call with a timer of the running loop."""
        return asyncio.get_running_loop().call_later(max(when - monotonic(), 0.0), callback)


def _wake(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)


async def sleep(clock: Clock, seconds: float) -> None:
    """Wait for `seconds` on `clock`; cancelling leaves no timer behind."""
    future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    timer = clock.call_at(clock.now() + seconds, lambda: _wake(future))
    try:
        await future
    finally:
        timer.cancel()
