"""Who waits for a run: futures, listeners, and the context variables in which they are served."""

import asyncio
from collections import deque
from collections.abc import Callable, Collection, Coroutine, Generator, Iterable
from contextvars import Context, copy_context
from typing import Any, TypeVar

from ..errors import AgentsError
from ..model import Run, RunState
from .runs import Contexts, PolledRun, Waiter

T = TypeVar("T")

_Futures = asyncio.Future[Run] | set[asyncio.Future[Run]] | None


# Who waits


def is_awaited(run: PolledRun) -> bool:
    """Return whether anybody waits for a run.

    A caller that awaits a handle directly and is cancelled does not leave: its future is done, and that shows it.
    """
    futures = run.futures
    if futures is None:
        return run.listeners is not None
    if isinstance(futures, set):
        return any(not each.done() for each in futures) or run.listeners is not None
    return not futures.done() or run.listeners is not None


def count_waiting(run: PolledRun) -> int:
    """Return how many wait for a run."""
    return sum(not each.done() for each in _all(run.futures)) + len(run.listeners or ())


def add_waiter(run: PolledRun, waiter: Waiter, *, is_first: bool) -> None:
    """Add one who waits, with the context variables of the caller; `is_first` says that nobody else does."""
    _add_context(run, waiter, copy_context() or None, is_first=is_first)
    if isinstance(waiter, asyncio.Future):
        _add_future(run, waiter)
    else:
        run.listeners = [*(run.listeners or ()), waiter]


def remove_waiter(run: PolledRun, waiter: Waiter) -> None:
    """Remove one who waits; harmless when it is not known."""
    if isinstance(run.context, dict):
        run.context.pop(waiter, None)
    if not isinstance(waiter, asyncio.Future):
        run.listeners = [each for each in run.listeners or () if each is not waiter] or None
    elif run.futures is waiter:
        run.futures = None
    elif isinstance(run.futures, set):
        run.futures.discard(waiter)
        run.futures = run.futures or None


def finish(run: PolledRun, end: Run) -> None:
    """Resolve the futures of a run with its end, and release all who wait."""
    futures, run.futures, run.listeners = run.futures, None, None
    for future in _all(futures):
        if not future.done():
            future.set_result(end)


def fail(run: PolledRun, error: AgentsError) -> None:
    """Raise a copy of `error` at each who waits for a run, and release them."""
    futures, listeners = run.futures, run.listeners
    run.futures = run.listeners = None
    for future in _all(futures):
        if not future.done():
            future.set_exception(copy_of(error))
    for listener in listeners or ():
        listener.fail(copy_of(error))


def copy_of(error: AgentsError) -> AgentsError:
    """Return a new error equal to `error`: one that many tasks raise would collect the tracebacks of all."""
    copy = type(error)(*error.args, **vars(error))
    copy.__cause__ = error.__cause__
    return copy


def _add_future(run: PolledRun, future: asyncio.Future[Run]) -> None:
    futures = run.futures
    if isinstance(futures, set):
        if _is_power_of_two(len(futures)):
            futures = run.futures = {each for each in futures if not each.done()}
        futures.add(future)
    elif futures is None or futures.done():
        run.futures = future
    else:
        run.futures = {futures, future}


def _all(futures: _Futures) -> Iterable[asyncio.Future[Run]]:
    if futures is None:
        return ()
    return futures if isinstance(futures, set) else (futures,)


def _is_power_of_two(count: int) -> bool:
    """Return whether it is time to sweep out those that are done, so that cancelled ones do not pile up."""
    return count & (count - 1) == 0


# Their context variables


def _add_context(run: PolledRun, waiter: Waiter, context: Context | None, *, is_first: bool) -> None:
    held = run.context
    if is_first:
        run.context = context  # most programs set no variables, and each copy costs memory: None for those
    elif held is not None or context is not None:
        contexts = held if isinstance(held, dict) else {}
        if isinstance(held, Context) and (only := _only(run)) is not None:
            contexts[only] = held
        if _is_power_of_two(len(contexts)):
            contexts = {each: its for each, its in contexts.items() if not _is_done(each)}
        if context is not None:
            contexts[waiter] = context
        run.context = contexts


def _only(run: PolledRun) -> Waiter | None:
    """Return the first who waits."""
    for future in _all(run.futures):
        if not future.done():
            return future
    return run.listeners[0] if run.listeners else None


def context_of(contexts: Contexts) -> Context | None:
    """Return the context of the first who still waits, None where nobody left has variables."""
    if isinstance(contexts, dict):
        return next((context for waiter, context in contexts.items() if not _is_done(waiter)), None)
    return contexts


def _is_done(waiter: Waiter) -> bool:
    return isinstance(waiter, asyncio.Future) and waiter.done()


def run_within(contexts: Contexts, act: Callable[..., None], *arguments: object) -> None:
    """Call `act` in the context of the first who still waits, so that hooks find that caller's variables."""
    context = context_of(contexts)
    if context is None:
        act(*arguments)
    else:
        context.run(act, *arguments)


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
            try:
                value = yield awaited
                step = coroutine.send
            except BaseException as exc:  # noqa: BLE001 - a cancellation included, it belongs to the coroutine
                step, value = coroutine.throw, exc


# Kinds of listeners


class StateListener:
    """Resolves a future once a poll sees the run in one of `states`, or at its end."""

    __slots__ = ("_future", "_states")

    def __init__(self, future: asyncio.Future[Run], states: Collection[RunState]) -> None:
        self._future = future
        self._states = states

    def show(self, run: Run) -> None:
        """Resolve the future when `run` is what is waited for."""
        if (run.state in self._states or run.state.is_terminal) and not self._future.done():
            self._future.set_result(run)

    def fail(self, error: AgentsError) -> None:
        """Raise the error at who awaits the future."""
        if not self._future.done():
            self._future.set_exception(error)


class Feed:
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

    def fail(self, error: AgentsError) -> None:
        """Raise `error` once all changes are read."""
        self._error = error
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
