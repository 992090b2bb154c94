"""An awaitable run: many handles and many waiters of one run share one poll loop."""

import asyncio
import math
import weakref
from collections.abc import AsyncIterator, Callable, Collection, Generator
from contextlib import suppress
from typing import Any

from ..errors import AgentsError, RunAborted, RunFailed, WaitTimeout
from ..model import Run, RunRef, RunState
from .listeners import Feed, StateListener
from .runs import PolledRun, Push, Waiter
from .scheduler import ScheduledSource, Scheduler


class RunHandle:
    """Follows one run. `await handle` gives its end, as a `Run` that is completed, failed or aborted.

    Polling begins when somebody waits and stops when nobody does. Cancelling a wait cancels neither the run
    nor anybody else's wait. Handles are cheap, and several of one run share their polls.
    """

    __slots__ = ("__weakref__", "_polled", "_scheduler", "accepted")

    def __init__(
        self,
        source: ScheduledSource,
        ref: RunRef,
        *,
        target: str = "",
        accepted: Run | None = None,
        begun_at: float | None = None,
        push: Push | None = None,
    ) -> None:
        self._scheduler = source.scheduler
        self._polled = PolledRun(
            source.source, ref, target=target, last=accepted, begun_at=begun_at, push=push
        )
        if push is not None:
            loop = asyncio.get_running_loop()
            weakref.finalize(self, _lose_push, loop, self._scheduler, self._polled).atexit = False
        #: The vendor's answer to the start; None when the run was started elsewhere.
        self.accepted = accepted

    @property
    def ref(self) -> RunRef:
        """Return the reference by which any process can follow this run."""
        return self._polled.ref

    @property
    def id(self) -> str:
        """Return the vendor's id of the run."""
        return self._polled.ref.id

    @property
    def last(self) -> Run | None:
        """Return the latest state known here, without asking; None before the first poll at a foreign run."""
        return self._current().last

    def _current(self) -> PolledRun:
        """Return the watch that is polled, where another handle's is; an end that was seen stays one."""
        polled = self._polled
        if polled.last is not None and polled.last.state.is_terminal:
            return polled
        return polled.source.runs.get(polled.ref, polled)

    async def poll(self) -> Run:
        """Read the run from the vendor now, trying again as the pool's retry policy says.

        Who waits for the run learns what was seen. Raises `ReplyError`, `TransportError`, `DecodeError`,
        `PoolClosed`.
        """
        polled = self._polled
        age = None if polled.begun_at is None else self._scheduler.clock.now() - polled.begun_at
        run = await polled.source.reader.read(polled.ref, age=age, last=self.last)
        polled = self._polled = self._current()
        self._scheduler.seen(polled, run)
        return polled.last or run

    def wake(self) -> None:
        """Have the next poll made at once: somebody hinted that there is news. Never waits, costs one poll."""
        self._scheduler.wake(self._polled)

    def __await__(self) -> Generator[Any, None, Run]:
        # A bare future: a coroutine's frame here would be most of what a waiting run costs.
        return self._join(None)[0].__await__()

    async def wait(
        self,
        *,
        timeout: float | None = None,
        until: Collection[RunState] | None = None,
    ) -> Run:
        """Wait for the end, for at most `timeout` seconds, and give the run as it then is.

        With `until`, a poll that sees one of these states ends the wait as well. Raises `WaitTimeout`, which
        carries the last state seen; `ReplyError` when the vendor will not tell (401, 403, 404); `DecodeError`
        after several answers in a row that cannot be read; `PoolClosed`. Passing faults end no wait.
        """
        if timeout is not None and not timeout >= 0:
            raise ValueError(f"timeout has to be 0 or more seconds, or None, not {timeout!r}")
        states = _states(until)
        future, polled, waiter = self._join(states)
        scheduler = self._scheduler
        timer = None
        if timeout is not None and not math.isinf(timeout):
            clock = scheduler.clock
            timer = clock.call_at(clock.now() + timeout, lambda: self._expire(future, timeout))
        try:
            return await future
        finally:
            if timer is not None:
                timer.cancel()
            scheduler.leave(polled, waiter)

    async def result(self) -> Any:
        """Wait for the end and give the run's output.

        Raises `RunFailed` or `RunAborted` for a run that ended so, and whatever `wait` raises.
        """
        run = await self
        if run.state is RunState.COMPLETED:
            return run.output
        kind = RunFailed if run.state is RunState.FAILED else RunAborted
        raise kind(f"run {run.ref} ended as {run.status}", vendor=run.ref.vendor, ref=run.ref, run=run)

    async def updates(self) -> AsyncIterator[Run]:
        """Return the state known from polls so far, then each change once; ends after the terminal one.

        Raises what `wait` raises.
        """
        polled = self._current()
        last = polled.last
        is_over = last is not None and last.state.is_terminal
        feed = Feed(last if is_over or polled.is_seen else None)
        if not is_over:
            polled = self._polled = self._scheduler.join(self._polled, feed)
        try:
            while True:
                run = await feed.next()
                yield run
                if run.state.is_terminal:
                    return
        finally:
            self._scheduler.leave(polled, feed)

    def add_done_callback(self, emit: Callable[[Run | AgentsError], object]) -> Callable[[], None]:
        """Have `tell` called with the run's end, or with the error that a wait would raise: once, by the event loop.

        Follows a run without a task or a future of its own. Returns what takes the call back; until then, or until
        the call, the handle is kept. Raises `PoolClosed`.
        """
        polled = self._current()
        listener = _EndListener(self, self._scheduler, polled, emit)
        if polled.last is not None and polled.last.state.is_terminal:
            listener.show(polled.last)
        else:
            listener.polled = self._polled = self._scheduler.join(self._polled, listener)
        return listener.leave

    def _join(self, states: frozenset[RunState] | None) -> "tuple[asyncio.Future[Run], PolledRun, Waiter]":
        """Join the poll loop; at its end the future is resolved, and the watch forgotten."""
        future: asyncio.Future[Run] = asyncio.get_running_loop().create_future()
        polled = self._current()
        if polled.last is not None and polled.last.state.is_terminal:
            future.set_result(polled.last)
            return future, polled, future
        waiter = StateListener(future, states) if states else future
        polled = self._polled = self._scheduler.join(self._polled, waiter)
        return future, polled, waiter

    def _expire(self, future: "asyncio.Future[Run]", seconds: float) -> None:
        if future.done():
            return
        last = self.last
        seen = "not seen yet" if last is None else f"last seen as {last.status}"
        message = f"run {self.ref} did not end within {seconds:g} s; {seen}; it goes on"
        future.set_exception(WaitTimeout(message, vendor=self.ref.vendor, ref=self.ref, run=last))

    def __repr__(self) -> str:
        last = self.last
        return f"<RunHandle {self.ref} {'not polled' if last is None else last.state.value}>"


class _EndListener:
    """Has somebody called at the end. Not from within a poll, whose other listeners their fault would harm."""

    __slots__ = ("_emit", "_handle", "_scheduler", "polled")

    def __init__(
        self,
        handle: RunHandle,
        scheduler: Scheduler,
        polled: PolledRun,
        emit: Callable[[Run | AgentsError], object],
    ) -> None:
        self._scheduler = scheduler
        self._handle: RunHandle | None = handle  # a webhook's delivery wakes a handle that is held
        self._emit: Callable[[Run | AgentsError], object] | None = emit
        self.polled = polled

    def show(self, run: Run) -> None:
        """Tell of an end."""
        if run.state.is_terminal:
            asyncio.get_running_loop().call_soon(self._call, run)

    def fail(self, error: AgentsError) -> None:
        """Tell of the error."""
        asyncio.get_running_loop().call_soon(self._call, error)

    def leave(self) -> None:
        """Tell nothing any more. May be called twice, and after the call."""
        if self._emit is not None:
            self._emit = self._handle = None
            self._scheduler.leave(self.polled, self)

    def _call(self, end: Run | AgentsError) -> None:
        emit, self._emit, self._handle = self._emit, None, None
        if emit is not None:
            emit(end)


def _lose_push(loop: asyncio.AbstractEventLoop, scheduler: Scheduler, polled: PolledRun) -> None:
    """Have a run that is not over go on unannounced: the handle that deliveries would have woken is gone.

    What is part of a circle may be collected in any thread.
    """
    if polled.last is None or not polled.last.state.is_terminal:
        with suppress(RuntimeError):  # the loop is closed
            loop.call_soon_threadsafe(scheduler.lose_push, polled)


def _states(until: Collection[RunState] | None) -> frozenset[RunState] | None:
    if until is None:
        return None
    if isinstance(until, str) or not all(isinstance(state, RunState) for state in until):
        raise TypeError(f"until has to hold RunState values, like {{RunState.PAUSED}}, not {until!r}")
    return frozenset(until)
