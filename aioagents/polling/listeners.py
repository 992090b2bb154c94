"""Who waits for a run: futures, listeners, and the context variables in which they are served."""

import asyncio
from collections import deque
from collections.abc import Collection, Coroutine, Generator, Iterable
from contextvars import Context, copy_context
from typing import Any, TypeVar

from ..errors import AgentsError, copy_of
from ..model import Run, RunState
from .runs import Contexts, Listener, PolledRun, Waiter, Waiters

T = TypeVar("T")

# Who waits


def is_awaited(run: PolledRun) -> bool:
    """Return whether anybody waits for a run.

    A caller that awaits a handle directly and is cancelled does not leave: its future is done, and that shows it.
    """
    waiters = run.waiters
    if waiters is None:
        return False
    if isinstance(waiters, dict):
        return any(not each.done() for each in waiters)
    return not waiters.done()


def count_waiting(run: PolledRun) -> int:
    """Return how many wait for a run."""
    return sum(not each.done() for each in _all(run.waiters))


def add_waiter(run: PolledRun, waiter: Waiter, *, is_first: bool) -> None:
    """Add one who waits, with the context variables of the caller; `is_first` says that nobody else does."""
    _add_context(run, waiter, copy_context() or None, is_first=is_first)
    waiters = run.waiters
    if isinstance(waiters, dict):
        if _is_power_of_two(len(waiters)):
            waiters = run.waiters = {each: None for each in waiters if not each.done()}
        waiters[waiter] = None
    elif waiters is None or waiters.done():
        run.waiters = waiter
    else:
        run.waiters = {waiters: None, waiter: None}


def remove_waiter(run: PolledRun, waiter: Waiter) -> None:
    """Remove one who waits; harmless when it is not known."""
    if isinstance(run.contexts, dict):
        run.contexts.pop(waiter, None)
    if run.waiters is waiter:
        run.waiters = None
    elif isinstance(run.waiters, dict):
        run.waiters.pop(waiter, None)
        run.waiters = run.waiters or None


def show(waiters: Waiters, seen: Run) -> None:
    """Show what a poll saw to those who listen."""
    for waiter in _all(waiters):
        if isinstance(waiter, Listener):
            waiter.show(seen)


def end_waits(waiters: Waiters, end: Run | AgentsError) -> None:
    """Pass the run's end, or a copy of the error that ended the waits, to each who waited."""
    for waiter in _all(waiters):
        if not waiter.done():
            if isinstance(end, AgentsError):
                error = copy_of(end)  # one that many tasks raise would collect the tracebacks of all
                error.__cause__ = end.__cause__
                waiter.set_exception(error)
            else:
                waiter.set_result(end)


def _all(waiters: Waiters) -> Iterable[Waiter]:
    if waiters is None:
        return ()
    return waiters if isinstance(waiters, dict) else (waiters,)


def _is_power_of_two(count: int) -> bool:
    """Return whether it is time to sweep out those that are done, so that cancelled ones do not pile up."""
    return count & (count - 1) == 0


# Their context variables


def _add_context(run: PolledRun, waiter: Waiter, context: Context | None, *, is_first: bool) -> None:
    held = run.contexts
    if is_first:
        run.contexts = context  # most programs set no variables, and each copy costs memory: None for those
    elif held is not None or context is not None:
        contexts = held if isinstance(held, dict) else {}
        if isinstance(held, Context) and (first := _first_of(run)) is not None:
            contexts[first] = held
        if _is_power_of_two(len(contexts)):
            contexts = {each: its for each, its in contexts.items() if not each.done()}
        if context is not None:
            contexts[waiter] = context
        run.contexts = contexts


def _first_of(run: PolledRun) -> Waiter | None:
    """Return the first who waits."""
    for waiter in _all(run.waiters):
        if not waiter.done():
            return waiter
    return None


def context_of(contexts: Contexts) -> Context | None:
    """Return the context of the first who still waits, None where nobody left has variables."""
    if isinstance(contexts, dict):
        return next((context for waiter, context in contexts.items() if not waiter.done()), None)
    return contexts


class Within:
    """Awaits a coroutine step by step inside `context`, in a task that has another one.

    Poll workers serve waiters of all kinds; what a poll emits and logs must carry the variables (trace, request
    id) of who waits.
    """

    __slots__ = ("_context", "_coroutine")

    def __init__(self, context: Context, coroutine: "Coroutine[Any, Any, T]") -> None:
        self._context = context
        self._coroutine = coroutine

    def __await__(self) -> "Generator[Any, Any, Any]":
        run, coroutine = self._context.run, self._coroutine
        step, value = coroutine.send, None
        while True:
            try:
                awaited = run(step, value)
            except StopIteration as stop:
                return stop.value
            except BaseException:
                awaited = value = (
                    None  # tracebacks would show them: a reply, or aiohttp's error with its request
                )
                raise
            try:
                value = yield awaited
                step = coroutine.send
            except BaseException as exc:  # noqa: BLE001 - a cancellation included, it belongs to the coroutine
                step, value = coroutine.throw, exc


# Kinds of listeners


class StateListener(Listener):
    """Resolves a future once a poll sees the run in one of `states`, or at its end."""

    __slots__ = ("_future", "_states")

    def __init__(self, future: asyncio.Future[Run], states: Collection[RunState]) -> None:
        self._future = future
        self._states = states

    def show(self, run: Run) -> None:
        """Resolve the future when `run` is what is waited for."""
        if run.state in self._states and not self._future.done():
            self._future.set_result(run)

    def set_result(self, result: Run, /) -> None:
        """Resolve the future with the end."""
        if not self._future.done():
            self._future.set_result(result)

    def set_exception(self, exception: AgentsError, /) -> None:
        """Raise the error at who awaits the future."""
        if not self._future.done():
            self._future.set_exception(exception)


class Feed(Listener):
    """Queues changes for one reader; a slow one misses none."""

    __slots__ = ("_changes", "_error", "_latest", "_waiter")

    def __init__(self, latest: Run | None) -> None:
        self._latest = latest
        self._changes: deque[Run] = deque(() if latest is None else (latest,))
        self._error: AgentsError | None = None
        self._waiter: asyncio.Future[None] | None = None

    def show(self, run: Run) -> None:
        """Queue `run` if it differs from the one before."""
        if not run.is_same_as(self._latest):
            self._latest = run
            self._changes.append(run)
            self._rouse()

    def set_result(self, result: Run, /) -> None:
        """Queue the end."""
        self.show(result)

    def set_exception(self, exception: AgentsError, /) -> None:
        """Raise the error once all changes are read."""
        self._error = exception
        self._rouse()

    async def next(self) -> Run:
        """Wait for the next change."""
        while not self._changes:
            if self._error is not None:
                raise self._error
            self._waiter = asyncio.get_running_loop().create_future()
            await self._waiter
        return self._changes.popleft()

    def _rouse(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)
