"""Reading a run's changes."""

import asyncio
from contextlib import aclosing

import pytest

from aioagents import NotFound, PoolClosed, Run, RunHandle, RunState, Steady
from tests.fakes import settle
from tests.polling.rig import Rig, begin, ref, reply, rig, until_end

_LONG: tuple[str, float] = ("in_progress", 1e6)
_COURSE = ("in_progress", 25.0), ("paused", 20.0), ("in_progress", 20.0), "completed"


async def _read(run: RunHandle, into: list[str]) -> None:
    async for seen in run.updates():
        into.append(seen.status)  # noqa: PERF401 - read one by one, as they come


async def test_each_change_comes_once() -> None:
    """Polls that see nothing new yield nothing, and the end is the last one."""
    async with rig(*_COURSE) as r:
        words: list[str] = []
        reader = await begin(_read(await r.start(), words))
        await r.clock.advance(30)
        assert words == ["in_progress", "paused"]
        await r.clock.advance(100)
        assert words == ["in_progress", "paused", "in_progress", "completed"]
        assert reader.done()
        assert r.pool.statistics().polling.runs == 0
        assert len(r.polls) == 7


async def test_begins_with_what_polls_know() -> None:
    """Who comes late gets the present state first, and then what follows."""
    async with rig(*_COURSE) as r:
        run = await r.start()
        waiter = await begin(until_end(run))
        await r.clock.advance(30)
        late: list[str] = []
        reader = await begin(_read(run, late))
        assert late == ["paused"]
        await r.clock.advance(100)
        assert late == ["paused", "in_progress", "completed"]
        assert reader.done()
        assert waiter.done()


async def test_ended_run_gives_its_end() -> None:
    """The changes of a run that is known to be over are its end alone."""
    async with rig(("in_progress", 5.0), "failed") as r:
        run = await r.start()
        waiter = await begin(until_end(run))
        await r.clock.advance(10)
        assert [seen async for seen in run.updates()] == [await waiter]
        assert len(r.polls) == 1


async def test_slow_reader_misses_nothing() -> None:
    """Changes wait for their reader, however long it takes over each."""
    async with rig(*_COURSE) as r:
        run = await r.start()
        words: list[str] = []
        go = asyncio.Event()

        async def read() -> None:
            async for seen in run.updates():
                words.append(seen.status)
                await go.wait()

        reader = await begin(read())
        await r.clock.advance(200)
        assert words == ["in_progress"]
        assert run.last is not None
        assert run.last.state is RunState.COMPLETED
        go.set()
        await settle()
        assert words == ["in_progress", "paused", "in_progress", "completed"]
        assert reader.done()


@pytest.mark.parametrize("manner", ["break", "aclose", "cancel", "raise"])
async def test_leaving_early_stops_polling(manner: str) -> None:
    """However a reader leaves, nobody polls any more."""
    async with rig(_LONG) as r:
        run = await r.start()

        async def read() -> None:
            if manner == "aclose":
                async with aclosing(run.updates()) as updates:  # type: ignore[type-var]
                    await anext(updates)
                return
            async for _ in run.updates():
                if manner == "break":
                    break
                if manner == "raise":
                    raise LookupError

        reader = await begin(read())
        await r.clock.advance(15)
        if manner == "cancel":
            reader.cancel()
            await settle()
        assert reader.done()
        await settle()
        assert r.pool.statistics().polling.runs == 0
        await r.clock.advance(100)
        assert r.polls == [10]
        if manner == "raise":
            assert isinstance(reader.exception(), LookupError)


async def test_two_readers_and_a_waiter_share_polls() -> None:
    """Each reader gets each change, for the polls of one."""
    async with rig(*_COURSE) as r:
        run = await r.start()
        one: list[str] = []
        two: list[str] = []
        tasks = [await begin(_read(run, one)), await begin(_read(r.leena.item(run.id), two))]
        waiter = await begin(until_end(run))
        await r.clock.advance(100)
        assert one == two == ["in_progress", "paused", "in_progress", "completed"]
        assert all(task.done() for task in tasks)
        assert waiter.done()
        assert len(r.polls) == 7


async def test_refusal_comes_after_the_changes() -> None:
    """What ends a wait ends the changes too, once those that were seen are read."""
    async with rig(_LONG) as r:
        run = await r.start()
        go = asyncio.Event()
        seen: list[Run] = []

        async def read() -> None:
            async for each in run.updates():
                seen.append(each)
                await go.wait()

        reader = await begin(read())
        await r.clock.advance(30)
        r.faults.append(reply(404))
        await r.clock.advance(10)
        assert len(seen) == 1
        go.set()
        await settle()
        with pytest.raises(NotFound) as caught:
            await reader
        assert seen[0].is_same_as(caught.value.run)


async def test_closing_the_pool_ends_the_changes() -> None:
    """A reader gets `PoolClosed`, with the last state seen."""
    async with rig(_LONG) as r:
        run = await r.start()
        words: list[str] = []
        reader = await begin(_read(run, words))
        await r.clock.advance(10)
    with pytest.raises(PoolClosed) as caught:
        await reader
    assert words == ["in_progress"]
    assert caught.value.run is run.last


async def test_changes_of_a_run_started_elsewhere() -> None:
    """A handle made of an id gives the first state seen as a change."""
    async with rig(*_COURSE, cadence=Steady(30)) as r:
        run = await r.start()
        words: list[str] = []
        reader = await begin(_read(r.leena.attach(ref(run.id)), words))
        await r.clock.advance(100)
        assert words == ["paused", "in_progress", "completed"]
        assert reader.done()


async def test_own_poll_is_a_change_too() -> None:
    """What `poll()` sees is yielded to readers."""
    async with Rig(*_COURSE, cadence=Steady(1000)) as r:
        run = await r.start()
        words: list[str] = []
        reader = await begin(_read(run, words))
        await run.poll()
        await r.clock.advance(30)
        await run.poll()
        await run.poll()
        await r.clock.advance(50)
        await run.poll()
        await settle()
        assert words == ["in_progress", "paused", "completed"]
        assert reader.done()
