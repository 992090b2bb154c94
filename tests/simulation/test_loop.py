"""The loop that worlds run on does what asyncio's own does, and what it uses of it is there."""

# ruff: noqa: SLF001 - the private parts of asyncio are the subject

import asyncio
import sys
from random import Random
from typing import Any

import pytest

from tests.simulation.loop import BUSY, START, Killed, SimClock, SimLoop, StandsStill, turns


def test_uses_what_base_event_loop_has() -> None:
    """The private parts of `BaseEventLoop` that the loop overrides and touches are as in the versions known."""
    loop = SimLoop(Random(0))
    assert type(loop._ready).__name__ == "deque"
    assert type(loop._scheduled) is list
    assert all(
        hasattr(asyncio.BaseEventLoop, name) for name in ("_run_once", "_check_closed", "_write_to_self")
    )
    handle: Any = loop.call_soon(print)
    timer: Any = loop.call_later(1, print)
    assert (handle._cancelled, timer._when, timer._scheduled) == (False, START + 1, True)
    assert callable(handle._run)
    assert loop._timer_cancelled_count == 0
    timer.cancel()
    assert loop._timer_cancelled_count == 1
    assert not loop._asyncgens
    loop.close()
    assert (3, 11) <= sys.version_info < (3, 16), "run these tests with the new version, and widen this"


def _order(loop: asyncio.AbstractEventLoop) -> list[str]:
    """Run a program of tasks, callbacks and timers, and return the order of what it does."""
    seen: list[str] = []

    async def task(name: str, number: int) -> None:
        for step in range(number):
            seen.append(f"{name}{step}")
            await asyncio.sleep(0)

    async def main() -> None:
        tasks = [asyncio.create_task(task(name, 3)) for name in "abc"]
        running = asyncio.get_running_loop()
        running.call_soon(seen.append, "soon")
        running.call_later(0.02, seen.append, "late")
        running.call_later(0.01, seen.append, "early")
        tasks[1].cancel()
        await asyncio.wait(tasks)
        await asyncio.sleep(0.03)
        async with asyncio.timeout(0.01) as scope:
            scope.reschedule(running.time() + 0.005)
            try:
                await running.create_future()
            except asyncio.CancelledError:
                seen.append("timed out")
                raise

    with pytest.raises(TimeoutError):
        loop.run_until_complete(main())
    return seen


def test_keeps_the_order_of_asyncio() -> None:
    """Callbacks run in the order in which asyncio runs them."""
    ours, theirs = SimLoop(Random(0)), asyncio.SelectorEventLoop()
    try:
        assert _order(ours) == _order(theirs)
        assert ours.time() < START + 1
    finally:
        ours.close()
        theirs.close()


def test_time_goes_on_by_itself() -> None:
    """An hour takes two steps."""
    loop = SimLoop(Random(0))
    loop.run_until_complete(asyncio.sleep(3600))
    assert loop.time() == START + 3600
    assert loop.steps < 5
    loop.close()


def test_a_seed_is_an_order() -> None:
    """Timers of one moment come in an order that the seed draws."""

    def order(seed: int) -> list[int]:
        loop = SimLoop(Random(seed))
        seen: list[int] = []
        for number in range(5):
            loop.call_later(1, seen.append, number)
        loop.run_until_complete(asyncio.sleep(2))
        loop.close()
        return seen

    assert order(1) == order(1)
    assert len({tuple(order(seed)) for seed in range(10)}) > 5


def test_sets_of_tasks_have_an_order() -> None:
    """Tasks and futures hash by their number, whatever their place in memory."""
    loop = SimLoop(Random(0))

    async def main() -> None:
        tasks = [asyncio.create_task(asyncio.sleep(0)) for _ in range(8)]
        futures = [loop.create_future() for _ in range(8)]
        for each in (tasks, futures):
            numbers = [hash(one) for one in each]
            assert numbers == sorted(set(numbers))
        await asyncio.wait(tasks)

    loop.run_until_complete(main())
    loop.close()


def test_stands_still() -> None:
    """What waits for nothing is reported, and so is what spins."""
    loop = SimLoop(Random(0))
    with pytest.raises(StandsStill, match="no timer"):
        loop.run_until_complete(loop.create_future())
    loop.kill()
    loop = SimLoop(Random(0))
    with pytest.raises(StandsStill, match=str(BUSY)):
        loop.run_until_complete(turns(BUSY + 1))
    loop.kill()


def test_a_kill_closes_everything_at_once() -> None:
    """After a kill no coroutine is left that a collector could run, however it clings to life."""
    loop = SimLoop(Random(0))
    closed: list[str] = []

    async def clings() -> None:
        try:
            await asyncio.sleep(10)
        finally:
            closed.append("finally")
            await asyncio.sleep(10)
            closed.append("never")

    async def main() -> None:
        asyncio.create_task(clings())  # noqa: RUF006 - killed
        await asyncio.sleep(5)

    def kill() -> None:
        raise Killed

    loop.at_step(3, kill)
    with pytest.raises(Killed):
        loop.run_until_complete(main())
    loop.kill()
    assert closed == ["finally"]
    assert not asyncio.all_tasks(loop) or all(
        task.get_coro().cr_frame is None  # type: ignore[union-attr]
        for task in asyncio.all_tasks(loop)
    )


def test_the_wall_clock_may_jump() -> None:
    """The wall clock jumps, and the monotonic one does not."""
    loop = SimLoop(Random(0))
    clock = SimClock(loop)
    before = clock.utcnow()
    clock.ahead = -60
    assert (clock.utcnow() - before).total_seconds() == -60
    assert clock.now() == START
    loop.close()
