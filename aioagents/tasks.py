"""Owns the background tasks of one pool; all of them end with it."""

import asyncio
from collections.abc import Callable, Coroutine
from contextvars import Context
from typing import Any, TypeVar

import anyio

from .errors import PoolClosed

T = TypeVar("T")

_GRACE = 2.0


class Supervisor:
    """Runs coroutines in tasks that end when it is closed. It may be opened in one task and closed in another.

    It is not an `asyncio.TaskGroup`, which has to be left in the task that entered it, and cancels all its tasks when
    one fails. Instead a root task waits until closing begins, and then ends the others; `aclose` waits for the root.
    """

    def __init__(self) -> None:
        self._root: asyncio.Task[None] | None = None
        self._closing: asyncio.Future[None] | None = None
        self._tasks: dict[asyncio.Task[Any], Callable[[asyncio.Task[Any]], object] | None] = {}
        self._loop: asyncio.AbstractEventLoop | None = None

    @property
    def is_open(self) -> bool:
        """Return whether tasks can be started."""
        return self._loop is not None

    async def open(self) -> None:
        """Start the root task in the running event loop."""
        loop = asyncio.get_running_loop()
        self._closing = loop.create_future()
        ready: asyncio.Future[None] = loop.create_future()
        self._root = loop.create_task(self._run_root(loop, ready, self._closing), name="aioagents-pool")
        try:
            await ready
        except BaseException:
            self._root.cancel()
            raise

    async def _run_root(
        self, loop: asyncio.AbstractEventLoop, ready: "asyncio.Future[None]", closing: "asyncio.Future[None]"
    ) -> None:
        try:
            self._loop = loop
            if not ready.done():
                ready.set_result(None)
            await closing
            self._loop = None
            # Tasks spawned just now take their first step: one cancelled before it could not handle that.
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
        """Run `work` in a task, in `context` or a copy of the caller's; call `on_end` once it has ended, in any way.

        An exception in one task ends no other. Without `on_end`, it is passed to the loop's exception handler. Raises
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
        elif not task.cancelled() and (exc := task.exception()) is not None:
            context = {"message": "aioagents: a task of the pool failed", "exception": exc, "task": task}
            task.get_loop().call_exception_handler(context)

    async def aclose(self) -> None:
        """Cancel the tasks that still run and wait for them, for at most two seconds. May be called twice."""
        if self._closing is not None and not self._closing.done():
            self._closing.set_result(None)
        if self._root is not None:
            with anyio.move_on_after(_GRACE, shield=True):
                await asyncio.wait([self._root])
