"""An awaitable run: many handles and many waiters of one run share one poll loop."""

import asyncio
import math
import weakref
from collections.abc import AsyncIterator, Callable, Collection, Generator
from contextlib import suppress
from typing import Any

from ..errors import AgentsError, RunAborted, RunFailed, WaitTimeout
from ..model import Run, RunRef, RunState
from .lane import Lane
from .watch import Feed, Push, StateWaiter, Watch


class RunHandle:
    """Follows one run. `await handle` gives its end, as a `Run` that is completed, failed or aborted.

    Polling begins when somebody waits and stops when nobody does. Cancelling a wait cancels neither the run
    nor anybody else's wait. Handles are cheap, and several of one run share their looks.
    """

    __slots__ = ("__weakref__", "_watch", "accepted")

    def __init__(
        self,
        lane: Lane,
        ref: RunRef,
        *,
        target: str = "",
        accepted: Run | None = None,
        begun_at: float | None = None,
        push: Push | None = None,
    ) -> None:
        self._watch = Watch(lane, ref, target=target, last=accepted, begun_at=begun_at)
        if push is not None:
            self._watch.push = push
            loop = asyncio.get_running_loop()
            weakref.finalize(self, _lose_push, loop, self._watch).atexit = False
        #: The vendor's answer to the start; None when the run was started elsewhere.
        self.accepted = accepted

    @property
    def ref(self) -> RunRef:
        """Give the reference by which any process can follow this run."""
        return self._watch.ref

    @property
    def id(self) -> str:
        """Give the vendor's id of the run."""
        return self._watch.ref.id

    @property
    def last(self) -> Run | None:
        """Give the latest state known here, without asking; None before the first look at a foreign run."""
        return self._current().last

    def _current(self) -> Watch:
        """Give the watch that is polled, where another handle's is; an end that was seen stays one."""
        watch = self._watch
        if watch.last is not None and watch.last.state.is_terminal:
            return watch
        return watch.lane.watches.get(watch.ref, watch)

    async def look(self) -> Run:
        """Read the run from the vendor now, trying again as the pool's retry policy says.

        Who waits for the run learns what was seen. Raises `ReplyError`, `TransportError`, `DecodeError`,
        `PoolClosed`.
        """
        watch = self._watch
        clock = watch.lane.scheduler.clock
        age = None if watch.begun_at is None else clock.now() - watch.begun_at
        run = await watch.lane.source.read(watch.ref, age=age, last=self.last)
        watch = self._watch = self._current()
        watch.lane.scheduler.seen(watch, run)
        return watch.last or run

    def wake(self) -> None:
        """Have the next look made at once: somebody hinted that there is news. Never waits, costs one look."""
        self._watch.lane.scheduler.wake(self._watch)

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

        With `until`, a look that sees one of these states ends the wait as well. Raises `WaitTimeout`, which
        carries the last state seen; `ReplyError` when the vendor will not tell (401, 403, 404); `DecodeError`
        after several answers in a row that cannot be read; `PoolClosed`. Passing faults end no wait.
        """
        if timeout is not None and not timeout >= 0:
            raise ValueError(f"timeout has to be 0 or more seconds, or None, not {timeout!r}")
        states = _states(until)
        future, watch, listener = self._join(states)
        scheduler = watch.lane.scheduler
        timer = None
        if timeout is not None and not math.isinf(timeout):
            clock = scheduler.clock
            timer = clock.call_at(clock.now() + timeout, lambda: self._expire(future, timeout))
        try:
            return await future
        finally:
            if timer is not None:
                timer.cancel()
            scheduler.leave(watch, future, listener)

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
        """Give the state known from looks so far, then each change once; ends after the terminal one.

        Raises what `wait` raises.
        """
        watch = self._current()
        last = watch.last
        is_over = last is not None and last.state.is_terminal
        feed = Feed(last if is_over or watch.is_seen else None)
        if not is_over:
            watch = self._watch = watch.lane.scheduler.join(self._watch, listener=feed)
        try:
            while True:
                run = await feed.next()
                yield run
                if run.state.is_terminal:
                    return
        finally:
            watch.lane.scheduler.leave(watch, listener=feed)

    def when_over(self, tell: Callable[[Run | AgentsError], object]) -> Callable[[], None]:
        """Have `tell` called with the run's end, or with the error that a wait would raise: once, by the event loop.

        Follows a run without a task or a future of its own. Gives what takes the call back; until then, or until
        the call, the handle is kept. Raises `PoolClosed`.
        """
        watch = self._current()
        listener = _EndListener(self, watch, tell)
        if watch.last is not None and watch.last.state.is_terminal:
            listener.show(watch.last)
        else:
            listener.watch = self._watch = watch.lane.scheduler.join(self._watch, listener=listener)
        return listener.leave

    def _join(
        self, states: frozenset[RunState] | None
    ) -> "tuple[asyncio.Future[Run], Watch, StateWaiter | None]":
        """Join the poll loop; at its end the future is resolved, and the watch forgotten."""
        future: asyncio.Future[Run] = asyncio.get_running_loop().create_future()
        watch = self._current()
        if watch.last is not None and watch.last.state.is_terminal:
            future.set_result(watch.last)
            return future, watch, None
        listener = StateWaiter(future, states) if states else None
        waiter = None if states else future
        watch = self._watch = watch.lane.scheduler.join(self._watch, waiter, listener)
        return future, watch, listener

    def _expire(self, future: "asyncio.Future[Run]", seconds: float) -> None:
        if future.done():
            return
        last = self.last
        seen = "not seen yet" if last is None else f"last seen as {last.status}"
        message = f"run {self.ref} did not end within {seconds:g} s; {seen}; it goes on"
        future.set_exception(WaitTimeout(message, vendor=self.ref.vendor, ref=self.ref, run=last))

    def __repr__(self) -> str:
        last = self.last
        return f"<RunHandle {self.ref} {'not looked at' if last is None else last.state.value}>"


class _EndListener:
    """Has somebody called at the end. Not from within a look, whose other listeners their fault would harm."""

    __slots__ = ("_handle", "_tell", "watch")

    def __init__(self, handle: RunHandle, watch: Watch, tell: Callable[[Run | AgentsError], object]) -> None:
        self._handle: RunHandle | None = handle  # a webhook's delivery wakes a handle that is held
        self._tell: Callable[[Run | AgentsError], object] | None = tell
        self.watch = watch

    def show(self, run: Run) -> None:
        """Tell of an end."""
        if run.state.is_terminal:
            asyncio.get_running_loop().call_soon(self._call, run)

    def fail(self, error: AgentsError) -> None:
        """Tell of the error."""
        asyncio.get_running_loop().call_soon(self._call, error)

    def leave(self) -> None:
        """Tell nothing any more. May be called twice, and after the call."""
        if self._tell is not None:
            self._tell = self._handle = None
            self.watch.lane.scheduler.leave(self.watch, listener=self)

    def _call(self, end: Run | AgentsError) -> None:
        tell, self._tell, self._handle = self._tell, None, None
        if tell is not None:
            tell(end)


def _lose_push(loop: asyncio.AbstractEventLoop, watch: Watch) -> None:
    """Have a run that is not over go on unannounced: the handle that deliveries would have woken is gone.

    What is part of a circle may be collected in any thread.
    """
    if watch.last is None or not watch.last.state.is_terminal:
        with suppress(RuntimeError):  # the loop is closed
            loop.call_soon_threadsafe(watch.lane.scheduler.lose_push, watch)


def _states(until: Collection[RunState] | None) -> frozenset[RunState] | None:
    if until is None:
        return None
    if isinstance(until, str) or not all(isinstance(state, RunState) for state in until):
        raise TypeError(f"until has to hold RunState values, like {{RunState.PAUSED}}, not {until!r}")
    return frozenset(until)
