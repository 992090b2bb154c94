"""The tasks of one pool, all in one task group."""

import asyncio
from collections.abc import Coroutine
from contextvars import Context
from typing import Any

import anyio

from .errors import PoolClosed

_GRACE = 2.0


class Crew:
    """Runs work in a task group that may be opened in one task and closed in another.

    The group lives in a root task of its own, since a cancel scope held open across two tasks would be
    undone in the wrong order. The root is the one task that no group holds; `aclose` waits for it.
    """

    def __init__(self) -> None:
        self._root: asyncio.Task[None] | None = None
        self._group: asyncio.TaskGroup | None = None
        self._over: asyncio.Future[None] | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def is_open(self) -> bool:
        """Say whether work can be started."""
        return self._group is not None

    async def open(self) -> None:
        """Open the group in the running event loop."""
        loop = asyncio.get_running_loop()
        self._over = loop.create_future()
        ready: asyncio.Future[None] = loop.create_future()
        self._root = loop.create_task(self._live(ready, self._over), name="aioagents-pool")
        try:
            await ready
        except BaseException:
            self._root.cancel()
            raise

    async def _live(self, ready: "asyncio.Future[None]", over: "asyncio.Future[None]") -> None:
        try:
            async with asyncio.TaskGroup() as group:
                self._group = group
                if not ready.done():
                    ready.set_result(None)
                await over
                self._group = None
                # What was spawned a moment ago takes its first step, or it could settle nothing when cancelled.
                await asyncio.sleep(0)
                for task in self._tasks:
                    task.cancel()
        finally:
            self._group = None

    def spawn(
        self, work: Coroutine[Any, Any, None], *, context: Context | None = None
    ) -> "asyncio.Task[None]":
        """Start `work`, in `context` or a copy of the caller's. Raises `PoolClosed`."""
        if self._group is None:
            work.close()
            raise PoolClosed("the pool is closed")
        task = self._group.create_task(_guarded(work), context=context)
        self._tasks.add(task)

        def end(task: "asyncio.Task[None]") -> None:
            self._tasks.discard(task)
            work.close()  # it never began where the task was cancelled before its first step

        task.add_done_callback(end)
        return task

    async def aclose(self) -> None:
        """Cancel what still runs and wait for its end, at most two seconds. May be called twice."""
        if self._over is not None and not self._over.done():
            self._over.set_result(None)
        if self._root is not None:
            with anyio.move_on_after(_GRACE, shield=True):
                await asyncio.wait([self._root])


async def _guarded(work: Coroutine[Any, Any, None]) -> None:
    """Keep a fault in one piece of work from ending all the others; it is told to the loop's handler."""
    try:
        await work
    except Exception as exc:  # noqa: BLE001 - a fault of ours, and the pool has to live on
        loop = asyncio.get_running_loop()
        loop.call_exception_handler({"message": "aioagents: a task of the pool failed", "exception": exc})
