"""Time as a parameter: the real clock, and the one that tests move."""

import asyncio
from datetime import UTC

import pytest

from aioagents.clock import LoopClock, sleep
from tests.fakes import FakeClock, settle


async def test_loop_clock_calls_back() -> None:
    """The real clock goes forward, has a time zone, and makes scheduled calls, not before their time."""
    clock = LoopClock()
    done = asyncio.Event()
    called_at: list[float] = []
    due = clock.now() + 0.002

    def call() -> None:
        called_at.append(clock.now())
        done.set()

    clock.call_at(due, call)
    clock.call_at(due, lambda: called_at.append(0.0)).cancel()
    await done.wait()
    assert called_at[0] >= due - 1e-3
    assert len(called_at) == 1
    assert clock.utcnow().tzinfo is UTC


async def test_loop_clock_makes_late_calls_at_once() -> None:
    """A call for a time that has passed is made in the next iteration of the loop."""
    clock = LoopClock()
    done = asyncio.Event()
    clock.call_at(clock.now() - 100, done.set)
    await done.wait()


async def test_sleep_ends_on_time() -> None:
    """A sleeper wakes when the clock reaches its time, and not before."""
    clock = FakeClock()
    sleeper = asyncio.create_task(sleep(clock, 5.0))
    await clock.advance(4.9)
    assert not sleeper.done()
    await clock.advance(0.1)
    assert sleeper.done()
    assert clock.timers == 0


async def test_cancelled_sleep_leaves_no_timer() -> None:
    """Cancelling a sleeper cancels its timer."""
    clock = FakeClock()
    sleeper = asyncio.create_task(sleep(clock, 5.0))
    await settle()
    assert clock.timers == 1
    sleeper.cancel()
    with pytest.raises(asyncio.CancelledError):
        await sleeper
    assert clock.timers == 0


async def test_sleep_cancelled_as_it_ends_stays_cancelled() -> None:
    """A cancellation in the same step as the waking is not lost."""
    clock = FakeClock()
    sleeper = asyncio.create_task(sleep(clock, 0.0))
    await asyncio.sleep(0)
    moving = asyncio.create_task(clock.advance(0.0))
    await asyncio.sleep(0)
    sleeper.cancel()
    await moving
    assert sleeper.cancelled()
    assert clock.timers == 0
