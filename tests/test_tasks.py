"""The tasks of a pool: opened in one task, closed in another, none left behind."""

import asyncio
import gc
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from contextvars import ContextVar, copy_context
from typing import Any

import anyio
import pytest

from aioagents.errors import PoolClosed
from aioagents.tasks import Supervisor
from tests.fakes import settle


@asynccontextmanager
async def _open() -> AsyncIterator[Supervisor]:
    supervisor = Supervisor()
    await supervisor.open()
    try:
        yield supervisor
    finally:
        await supervisor.aclose()


async def test_runs_what_it_is_given() -> None:
    """Work that was spawned runs, and is forgotten when it is done."""
    done: list[int] = []

    async def work() -> None:
        done.append(1)

    async with _open() as supervisor:
        assert supervisor.is_open
        supervisor.spawn(work())
        await settle()
        assert done == [1]
    assert not supervisor.is_open


async def test_closing_ends_what_still_runs() -> None:
    """Closing cancels work and waits until it has cleaned up."""
    seen: list[str] = []

    async def work() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0)
            seen.append("cleaned")

    async with _open() as supervisor:
        supervisor.spawn(work())
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

    supervisor = Supervisor()
    await supervisor.open()
    async with asyncio.TaskGroup() as group:
        group.create_task(supervisor.aclose())
        await asyncio.sleep(0)  # the crew was told to close, and has not woken up yet
        supervisor.spawn(work())
    assert seen == ["began", "settled"]


async def test_closed_crew_refuses_work() -> None:
    """Work for a closed crew is refused and leaves no warning behind."""

    async def work() -> None:
        raise AssertionError

    supervisor = Supervisor()
    with pytest.raises(PoolClosed):
        supervisor.spawn(work())
    await supervisor.open()
    await supervisor.aclose()
    with pytest.raises(PoolClosed):
        supervisor.spawn(work())


async def test_closing_twice_does_no_harm() -> None:
    """A crew may be closed twice, also one that was never open."""
    supervisor = Supervisor()
    await supervisor.aclose()
    await supervisor.open()
    await supervisor.aclose()
    await supervisor.aclose()


async def test_opened_and_closed_in_different_tasks() -> None:
    """The task that closes need not be the one that opened, whatever cancel scopes either is in."""
    supervisor = Supervisor()

    async def begin() -> None:
        with anyio.CancelScope():
            await supervisor.open()

    async def end() -> None:
        with anyio.CancelScope():
            await supervisor.aclose()

    await asyncio.create_task(begin())
    supervisor.spawn(asyncio.sleep(3600))
    await asyncio.create_task(end())
    assert not supervisor.is_open


async def test_a_fault_in_one_piece_of_work_spares_the_others() -> None:
    """A piece of work that fails is told to the loop's handler and ends nothing else."""
    told: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: told.append(context))

    async def broken() -> None:
        raise RuntimeError("ours")

    async with _open() as supervisor:
        other = supervisor.spawn(asyncio.sleep(3600))
        supervisor.spawn(broken())
        await settle()
        assert not other.done()
        assert supervisor.is_open
    assert [type(each["exception"]) for each in told] == [RuntimeError]


async def test_work_runs_in_the_context_it_is_given() -> None:
    """Work sees the variables of whoever spawned it, or of the context handed in."""
    name: ContextVar[str] = ContextVar("name", default="")
    seen: list[str] = []

    async def work() -> None:
        seen.append(name.get())

    async with _open() as supervisor:
        other = copy_context()
        name.set("caller")
        supervisor.spawn(work())
        supervisor.spawn(work(), context=other)
        await settle()
    assert seen == ["caller", ""]


async def test_cancelled_opening_leaves_no_task() -> None:
    """A crew whose opening is cancelled is not open and leaves nothing running."""
    supervisor = Supervisor()
    opening = asyncio.create_task(supervisor.open())
    await asyncio.sleep(0)
    opening.cancel()
    with pytest.raises(asyncio.CancelledError):
        await opening
    await settle()
    assert not supervisor.is_open
    assert asyncio.all_tasks() == {asyncio.current_task()}


async def test_closing_waits_for_work_that_takes_its_time() -> None:
    """Work that does not end at its cancellation is waited for."""
    supervisor = Supervisor()
    await supervisor.open()
    is_stubborn = True

    async def work() -> None:
        while is_stubborn:
            try:
                await asyncio.sleep(0.01)
            except asyncio.CancelledError:
                continue

    supervisor.spawn(work())
    await settle()
    closing = asyncio.create_task(supervisor.aclose())
    await settle()
    assert not closing.done()
    is_stubborn = False
    await closing


async def test_work_that_never_began_is_closed() -> None:
    """Work whose task is cancelled from outside before its first step leaves no warning behind."""

    async def work() -> None:
        raise AssertionError

    async with _open() as supervisor:
        task = supervisor.spawn(work())
        task.cancel()
        await settle()
        assert task.cancelled()
        del task
        gc.collect()
