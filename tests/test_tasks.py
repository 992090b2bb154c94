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
    """A coroutine that was spawned runs, and is forgotten when it is done."""
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
    """Closing cancels tasks and waits until they have cleaned up."""
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


async def test_task_spawned_while_closing_takes_its_first_step() -> None:
    """A task that was accepted can always handle its cancellation, even when it is cancelled at once."""
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
        await asyncio.sleep(0)  # closing has begun, and the root task has not run yet
        supervisor.spawn(work())
    assert seen == ["began", "settled"]


async def test_closed_supervisor_refuses_work() -> None:
    """A closed supervisor refuses coroutines, and leaves no warning behind."""

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
    """A supervisor may be closed twice, also one that was never open."""
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


async def test_a_failing_task_ends_no_other() -> None:
    """An exception in one task is passed to the loop's exception handler and ends nothing else."""
    contexts: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: contexts.append(context))

    async def broken() -> None:
        raise RuntimeError("ours")

    async with _open() as supervisor:
        other = supervisor.spawn(asyncio.sleep(3600))
        supervisor.spawn(broken())
        await settle()
        assert not other.done()
        assert supervisor.is_open
    assert [type(each["exception"]) for each in contexts] == [RuntimeError]


async def test_work_runs_in_the_context_it_is_given() -> None:
    """A task sees the context variables of its spawner, or of the context passed in."""
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
    """A supervisor whose opening is cancelled is not open and leaves nothing running."""
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
    """A task that does not end at once when cancelled is waited for."""
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
    """A task that is cancelled from outside before its first step leaves no warning behind."""

    async def work() -> None:
        raise AssertionError

    async with _open() as supervisor:
        task = supervisor.spawn(work())
        task.cancel()
        await settle()
        assert task.cancelled()
        del task
        gc.collect()
