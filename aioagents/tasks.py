"""The tasks of one pool: all end with it."""

import asyncio
from collections.abc import Callable, Coroutine
from contextvars import Context
from typing import Any, TypeVar

import anyio

from .errors import PoolClosed

T = TypeVar("T")

_GRACE = 2.0


class Supervisor:
    """Runs work in tasks that end when it is closed, which may be done in another task than the opening.

    It is no `asyncio.TaskGroup`, since that has to be left in the task that entered it, and ends all its tasks at
    the first fault of one. A root task waits for the end in its place; `aclose` waits for the root.
    """

    def __init__(self) -> None:
        self._root: asyncio.Task[None] | None = None
        self._over: asyncio.Future[None] | None = None
        self._tasks: dict[asyncio.Task[Any], Callable[[asyncio.Task[Any]], object] | None] = {}
        self._loop: asyncio.AbstractEventLoop | None = None

    @property
    def is_open(self) -> bool:
        """Return whether work can be started."""
        return self._loop is not None

    async def open(self) -> None:
        """Begin in the running event loop."""
        loop = asyncio.get_running_loop()
        self._over = loop.create_future()
        ready: asyncio.Future[None] = loop.create_future()
        self._root = loop.create_task(self._live(loop, ready, self._over), name="aioagents-pool")
        try:
            await ready
        except BaseException:
            self._root.cancel()
            raise

    async def _live(
        self, loop: asyncio.AbstractEventLoop, ready: "asyncio.Future[None]", over: "asyncio.Future[None]"
    ) -> None:
        try:
            self._loop = loop
            if not ready.done():
                ready.set_result(None)
            await over
            self._loop = None
            # What was spawned a moment ago takes its first step, or it could settle nothing when cancelled.
            await asyncio.sleep(0)
        finally:
            self._loop = None
            for task in self._tasks:
                task.cancel()
            if self._tasks:
                await asyncio.wait(tuple(self._tasks))

    def spawn(
        self,
        work: Coroutine[Any, Any, T],
        *,
        context: Context | None = None,
        on_end: Callable[["asyncio.Task[Any]"], object] | None = None,
    ) -> "asyncio.Task[T]":
        """Start `work`, in `context` or a copy of the caller's, and call `on_end` once it is over, however it ends.

        A fault in one piece of work ends no other; without `on_end`, it is told to the loop's handler. Raises
        `PoolClosed`.
        """
        if self._loop is None:
            work.close()
            raise PoolClosed("the pool is closed")
        task = self._loop.create_task(work, context=context)
        self._tasks[task] = on_end
        task.add_done_callback(self._ended)
        return task

    def _ended(self, task: "asyncio.Task[Any]") -> None:
        on_end = self._tasks.pop(task)
        if on_end is not None:
            on_end(task)
        elif not task.cancelled() and (fault := task.exception()) is not None:
            told = {"message": "aioagents: a task of the pool failed", "exception": fault, "task": task}
            task.get_loop().call_exception_handler(told)

    async def aclose(self) -> None:
        """Cancel what still runs and wait for its end, at most two seconds. May be called twice."""
        if self._over is not None and not self._over.done():
            self._over.set_result(None)
        if self._root is not None:
            with anyio.move_on_after(_GRACE, shield=True):
                await asyncio.wait([self._root])
