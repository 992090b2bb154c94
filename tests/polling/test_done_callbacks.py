"""Being called at a run's end, without a task that waits."""

import asyncio
import gc
import weakref
from contextvars import Context, ContextVar
from functools import partial
from typing import Any

import pytest

from aioagents import AgentsError, NotFound, PoolClosed, Run, RunState
from tests.fakes import settle
from tests.polling.rig import begin, ref, reply, rig, until_end

_LONG: tuple[str, float] = ("in_progress", 1e6)


async def test_is_called_once_with_the_end() -> None:
    """The callback gets the end once, as who awaits the run does, and no state before it."""
    async with rig(("in_progress", 15.0), ("paused", 10.0), "failed") as r:
        ends: list[Run | AgentsError] = []
        run = await r.start()
        run.add_done_callback(ends.append)
        waiter = await begin(until_end(run))
        await r.clock.advance(20)
        assert ends == []
        await r.clock.advance(100)
        assert ends == [await waiter]
        assert len(r.polls) == 3
        assert r.pool.statistics().polling.runs == 0


async def test_makes_no_task() -> None:
    """A thousand runs with callbacks cost not one task beyond the poll workers."""
    async with rig(_LONG) as r:
        before = len(asyncio.all_tasks())
        for number in range(1000):
            r.leena.item(f"{number:024x}").add_done_callback(lambda _: None)
        await settle()
        assert len(asyncio.all_tasks()) == before
        assert r.pool.statistics().polling.waiting == 1000


async def test_is_called_later_for_an_ended_run() -> None:
    """For a run that is known to be over, the event loop makes the call, never `add_done_callback` itself."""
    async with rig(("in_progress", 5.0), "completed") as r:
        run = await r.start()
        waiter = await begin(until_end(run))
        await r.clock.advance(10)
        ends: list[Run | AgentsError] = []
        take_back = run.add_done_callback(ends.append)
        assert ends == []
        await settle()
        assert ends == [await waiter]
        take_back()
        assert len(r.polls) == 1


@pytest.mark.parametrize("is_over", [True, False], ids=["ended", "running"])
async def test_taken_back_call_is_not_made(is_over: bool) -> None:
    """A callback may be taken back, twice; it is not called, and the run is polled no more."""
    async with rig(("in_progress", 5.0 if is_over else 1e6), "completed") as r:
        run = await r.start()
        if is_over:
            await run.poll()
            await r.clock.advance(6)
            await run.poll()
        ends: list[Run | AgentsError] = []
        take_back = run.add_done_callback(ends.append)
        take_back()
        take_back()
        assert r.pool.statistics().polling.runs == 0
        polls = len(r.polls)
        await r.clock.advance(100)
        assert (ends, len(r.polls)) == ([], polls)


async def test_taking_one_back_disturbs_no_other() -> None:
    """One of two callbacks is taken back, and the other is called."""
    async with rig(("in_progress", 15.0), "completed") as r:
        run = await r.start()
        ends: list[str] = []
        take_back = run.add_done_callback(lambda _: ends.append("one"))
        run.add_done_callback(lambda _: ends.append("other"))
        take_back()
        await r.clock.advance(100)
        assert ends == ["other"]


async def test_is_called_with_the_error_that_a_wait_would_raise() -> None:
    """A final error is passed on, with the reference of its run."""
    async with rig(_LONG) as r:
        r.faults.append(reply(404))
        ends: list[Any] = []
        r.leena.item("0" * 24).add_done_callback(ends.append)
        await r.clock.advance(20)
        (error,) = ends
        assert isinstance(error, NotFound)
        assert error.ref == ref("0" * 24)


async def test_is_called_when_the_pool_closes() -> None:
    """Where the pool closes first, the callback gets `PoolClosed`; in a closed pool it is raised."""
    ends: list[Any] = []
    async with rig(_LONG) as r:
        run = await r.start()
        run.add_done_callback(ends.append)
    await settle()
    assert [type(error) for error in ends] == [PoolClosed]
    with pytest.raises(PoolClosed):
        run.add_done_callback(ends.append)


async def test_fault_of_a_callback_harms_nobody() -> None:
    """What a callback raises goes to the loop's handler, and others learn of the end all the same."""
    async with rig(("in_progress", 5.0), "completed") as r:
        complaints: list[dict[str, Any]] = []
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(lambda _, context: complaints.append(context))
        run = await r.start()
        ends: list[Run | AgentsError] = []

        def stumble(_: object) -> None:
            raise LookupError("mine")

        run.add_done_callback(stumble)
        run.add_done_callback(ends.append)
        waiter = await begin(until_end(run))
        await r.clock.advance(10)
        assert (await waiter).state is RunState.COMPLETED
        assert ends == [await waiter]
        assert [type(each["exception"]) for each in complaints] == [LookupError]
        loop.set_exception_handler(None)


_NAME: ContextVar[str] = ContextVar("name", default="none")


@pytest.mark.parametrize("is_over", [True, False], ids=["ended", "running"])
async def test_is_called_in_a_copy_of_the_callers_context(is_over: bool) -> None:
    """The callback sees the variables as they were when it was added, and sets none of its caller's."""
    async with rig(("in_progress", 5.0), "completed") as r:
        run = await r.start()
        if is_over:
            await r.clock.advance(6)
            await run.poll()
        names: list[str] = []

        def note(_: object) -> None:
            names.append(_NAME.get())
            _NAME.set("changed")

        async def add(name: str) -> None:
            if name:
                _NAME.set(name)
            run.add_done_callback(note)
            _NAME.set("later")

        for name in ("first", "", "third"):
            await asyncio.create_task(add(name), context=Context())
        await r.clock.advance(10)
        assert names == ["first", "none", "third"]
    assert _NAME.get() == "none"


async def test_is_called_in_the_context_that_was_given() -> None:
    """A context that is given is used itself, also where it is empty."""
    async with rig(("in_progress", 5.0), "completed") as r:
        run = await r.start()
        given, empty = Context(), Context()
        given.run(_NAME.set, "given")

        def add() -> None:
            _NAME.set("mine")
            run.add_done_callback(lambda _: _NAME.set(_NAME.get() + "!"), context=given)
            run.add_done_callback(lambda _: _NAME.set("was empty"), context=empty)

        Context().run(add)
        await r.clock.advance(10)
        assert (given[_NAME], empty[_NAME]) == ("given!", "was empty")


def _note(numbers: list[int], number: int, _: object) -> None:
    numbers.append(number)


async def test_callbacks_are_called_in_order() -> None:
    """Several callbacks of one run are called in the order in which they were added, each once."""
    async with rig(("in_progress", 5.0), "completed") as r:
        run = await r.start()
        numbers: list[int] = []
        for number in range(20):
            handle = run if number % 2 else r.leena.item(run.id)
            handle.add_done_callback(partial(_note, numbers, number))
        await r.clock.advance(10)
        assert numbers == list(range(20))


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
