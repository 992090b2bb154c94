"""Being called at a run's end, without a task that waits."""

import asyncio
import gc
import weakref
from typing import Any

import pytest

from aioagents import AgentsError, NotFound, PoolClosed, Run, RunState
from tests.fakes import settle
from tests.polling.rig import begin, ref, reply, rig, until_end

_LONG: tuple[str, float] = ("in_progress", 1e6)


async def test_tells_the_end_once() -> None:
    """The end is told once, as it is to who awaits the run, and states before it are not."""
    async with rig(("in_progress", 15.0), ("paused", 10.0), "failed") as r:
        told: list[Run | AgentsError] = []
        run = await r.start()
        run.add_done_callback(told.append)
        waiter = await begin(until_end(run))
        await r.clock.advance(20)
        assert told == []
        await r.clock.advance(100)
        assert told == [await waiter]
        assert len(r.polls) == 3
        assert r.pool.statistics().polling.runs == 0


async def test_makes_no_task() -> None:
    """A thousand runs that are followed so cost not one task beyond those that poll."""
    async with rig(_LONG) as r:
        before = len(asyncio.all_tasks())
        for number in range(1000):
            r.leena.item(f"{number:024x}").add_done_callback(lambda _: None)
        await settle()
        assert len(asyncio.all_tasks()) == before
        assert r.pool.statistics().polling.waiting == 1000


async def test_ended_run_is_told_later() -> None:
    """The end of a run that is known to be over is told by the event loop, never from within."""
    async with rig(("in_progress", 5.0), "completed") as r:
        run = await r.start()
        waiter = await begin(until_end(run))
        await r.clock.advance(10)
        told: list[Run | AgentsError] = []
        leave = run.add_done_callback(told.append)
        assert told == []
        await settle()
        assert told == [await waiter]
        leave()
        assert len(r.polls) == 1


@pytest.mark.parametrize("is_over", [True, False], ids=["ended", "running"])
async def test_taken_back_call_is_not_made(is_over: bool) -> None:
    """Who leaves is not called, may leave twice, and has the run polled no more."""
    async with rig(("in_progress", 5.0 if is_over else 1e6), "completed") as r:
        run = await r.start()
        if is_over:
            await run.poll()
            await r.clock.advance(6)
            await run.poll()
        told: list[Run | AgentsError] = []
        leave = run.add_done_callback(told.append)
        leave()
        leave()
        assert r.pool.statistics().polling.runs == 0
        polls = len(r.polls)
        await r.clock.advance(100)
        assert (told, len(r.polls)) == ([], polls)


async def test_leaving_disturbs_nobody() -> None:
    """One of two who are to be called leaves, and the other is called."""
    async with rig(("in_progress", 15.0), "completed") as r:
        run = await r.start()
        told: list[str] = []
        leave = run.add_done_callback(lambda _: told.append("one"))
        run.add_done_callback(lambda _: told.append("other"))
        leave()
        await r.clock.advance(100)
        assert told == ["other"]


async def test_tells_what_ends_the_watching() -> None:
    """The error that a wait would raise is told, with the reference of its run."""
    async with rig(_LONG) as r:
        r.faults.append(reply(404))
        told: list[Any] = []
        r.leena.item("0" * 24).add_done_callback(told.append)
        await r.clock.advance(20)
        (error,) = told
        assert isinstance(error, NotFound)
        assert error.ref == ref("0" * 24)


async def test_closing_the_pool_is_told() -> None:
    """Where the pool closes first, that is what is told; in a closed pool it is raised."""
    told: list[Any] = []
    async with rig(_LONG) as r:
        run = await r.start()
        run.add_done_callback(told.append)
    await settle()
    assert [type(error) for error in told] == [PoolClosed]
    with pytest.raises(PoolClosed):
        run.add_done_callback(told.append)


async def test_fault_of_who_is_called_harms_nobody() -> None:
    """What the called one raises is told to the loop's handler, and others learn of the end all the same."""
    async with rig(("in_progress", 5.0), "completed") as r:
        complaints: list[dict[str, Any]] = []
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(lambda _, context: complaints.append(context))
        run = await r.start()
        told: list[Run | AgentsError] = []

        def stumble(_: object) -> None:
            raise LookupError("mine")

        run.add_done_callback(stumble)
        run.add_done_callback(told.append)
        waiter = await begin(until_end(run))
        await r.clock.advance(10)
        assert (await waiter).state is RunState.COMPLETED
        assert told == [await waiter]
        assert [type(each["exception"]) for each in complaints] == [LookupError]
        loop.set_exception_handler(None)


async def test_handle_is_kept_until_the_call() -> None:
    """A handle that nobody else holds lives until its run is over, and no longer."""
    async with rig(("in_progress", 5.0), "completed") as r:
        run = await r.start()
        seen = weakref.ref(run)
        run.add_done_callback(lambda _: None)
        del run
        gc.collect()
        assert seen() is not None
        await r.clock.advance(10)
        gc.collect()
        assert seen() is None
