"""The tasks of a pool: opened in one task, closed in another, none left behind."""

import asyncio
import gc
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from contextvars import ContextVar, copy_context
from typing import Any

import anyio
import pytest

from aioagents.crew import Crew
from aioagents.errors import PoolClosed
from tests.fakes import settle


@asynccontextmanager
async def _open() -> AsyncIterator[Crew]:
    crew = Crew()
    await crew.open()
    try:
        yield crew
    finally:
        await crew.aclose()


async def test_runs_what_it_is_given() -> None:
    """Work that was spawned runs, and is forgotten when it is done."""
    done: list[int] = []

    async def work() -> None:
        done.append(1)

    async with _open() as crew:
        assert crew.is_open
        crew.spawn(work())
        await settle()
        assert done == [1]
    assert not crew.is_open


async def test_closing_ends_what_still_runs() -> None:
    """Closing cancels work and waits until it has cleaned up."""
    seen: list[str] = []

    async def work() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0)
            seen.append("cleaned")

    async with _open() as crew:
        crew.spawn(work())
        await settle()
    assert seen == ["cleaned"]


async def test_work_spawned_in_the_moment_of_closing_takes_its_first_step() -> None:
    """Work that was accepted can always settle what depends on it, even when it is cancelled at once."""
    seen: list[str] = []

    async def work() -> None:
        try:
            seen.append("began")
            await asyncio.Event().wait()
        finally:
            seen.append("settled")

    crew = Crew()
    await crew.open()
    async with asyncio.TaskGroup() as group:
        group.create_task(crew.aclose())
        await asyncio.sleep(0)  # the crew was told to close, and has not woken up yet
        crew.spawn(work())
    assert seen == ["began", "settled"]


async def test_closed_crew_refuses_work() -> None:
    """Work for a closed crew is refused and leaves no warning behind."""

    async def work() -> None:
        raise AssertionError

    crew = Crew()
    with pytest.raises(PoolClosed):
        crew.spawn(work())
    await crew.open()
    await crew.aclose()
    with pytest.raises(PoolClosed):
        crew.spawn(work())


async def test_closing_twice_does_no_harm() -> None:
    """A crew may be closed twice, also one that was never open."""
    crew = Crew()
    await crew.aclose()
    await crew.open()
    await crew.aclose()
    await crew.aclose()


async def test_opened_and_closed_in_different_tasks() -> None:
    """The task that closes need not be the one that opened, whatever cancel scopes either is in."""
    crew = Crew()

    async def begin() -> None:
        with anyio.CancelScope():
            await crew.open()

    async def end() -> None:
        with anyio.CancelScope():
            await crew.aclose()

    await asyncio.create_task(begin())
    crew.spawn(asyncio.sleep(3600))
    await asyncio.create_task(end())
    assert not crew.is_open


async def test_a_fault_in_one_piece_of_work_spares_the_others() -> None:
    """A piece of work that fails is told to the loop's handler and ends nothing else."""
    told: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: told.append(context))

    async def broken() -> None:
        raise RuntimeError("ours")

    async with _open() as crew:
        other = crew.spawn(asyncio.sleep(3600))
        crew.spawn(broken())
        await settle()
        assert not other.done()
        assert crew.is_open
    assert [type(each["exception"]) for each in told] == [RuntimeError]


async def test_work_runs_in_the_context_it_is_given() -> None:
    """Work sees the variables of whoever spawned it, or of the context handed in."""
    name: ContextVar[str] = ContextVar("name", default="")
    seen: list[str] = []

    async def work() -> None:
        seen.append(name.get())

    async with _open() as crew:
        other = copy_context()
        name.set("caller")
        crew.spawn(work())
        crew.spawn(work(), context=other)
        await settle()
    assert seen == ["caller", ""]


async def test_cancelled_opening_leaves_no_task() -> None:
    """A crew whose opening is cancelled is not open and leaves nothing running."""
    crew = Crew()
    opening = asyncio.create_task(crew.open())
    await asyncio.sleep(0)
    opening.cancel()
    with pytest.raises(asyncio.CancelledError):
        await opening
    await settle()
    assert not crew.is_open
    assert asyncio.all_tasks() == {asyncio.current_task()}


async def test_closing_waits_for_work_that_takes_its_time() -> None:
    """Work that does not end at its cancellation is waited for."""
    crew = Crew()
    await crew.open()
    is_stubborn = True

    async def work() -> None:
        while is_stubborn:
            try:
                await asyncio.sleep(0.01)
            except asyncio.CancelledError:
                continue

    crew.spawn(work())
    await settle()
    closing = asyncio.create_task(crew.aclose())
    await settle()
    assert not closing.done()
    is_stubborn = False
    await closing


async def test_work_that_never_began_is_closed() -> None:
    """Work whose task is cancelled from outside before its first step leaves no warning behind."""

    async def work() -> None:
        raise AssertionError

    async with _open() as crew:
        task = crew.spawn(work())
        task.cancel()
        await settle()
        assert task.cancelled()
        del task
        gc.collect()
