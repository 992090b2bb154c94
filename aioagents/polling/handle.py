"""An awaitable run: many handles and many waiters of one run share one poll loop."""

import asyncio
import math
import weakref
from collections.abc import AsyncIterator, Callable, Collection, Generator
from contextlib import suppress
from contextvars import Context, copy_context
from typing import Any, Final, Literal

import anyio

from ..errors import AgentsError, RunAborted, RunFailed, WaitTimeout
from ..model import Run, RunRef, RunState
from .control import RunControl, answerer_of, canceller_of
from .explanation import Explanation
from .listeners import Feed, StateListener
from .reader import Hinted
from .runs import PolledRun, Push, Waiter
from .scheduler import ScheduledSource, Scheduler

#: Seconds for which a cancellation of a wait is held up while the vendor is asked to cancel the run.
_HELD_UP: Final = 10.0


class RunHandle:
    """Follows one run. `await handle` returns its end, a `Run` that is completed, failed or aborted.

    The run is polled while anybody waits for it. Cancelling a wait cancels neither the run nor another wait for it.
    Handles are cheap, and several of one run share their polls.
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
        """Return the latest state known, without a poll; None before the first poll of a run that others began."""
        return self._current().last

    def _current(self) -> PolledRun:
        """Return the polled run that all handles of the run share. An end that this handle saw stays an end."""
        polled = self._polled
        if polled.last is not None and polled.last.state.is_terminal:
            return polled
        return polled.source.runs.get(polled.ref, polled)

    def _shared(self) -> PolledRun:
        """Make the polled run that all handles share this handle's own, and return it."""
        own, shared = self._polled, self._current()
        if own.is_cancel_requested:
            shared.is_cancel_requested = True
        self._polled = shared
        return shared

    @property
    def is_cancel_requested(self) -> bool:
        """Return whether this process asked the vendor to cancel the run, and was not refused.

        Vendors differ in what they call a run that was cancelled: one of AGH Runtime whose session was stopped is
        `completed`, and only this says that it was stopped.
        """
        return self._polled.is_cancel_requested or self._current().is_cancel_requested

    async def poll(self) -> Run:
        """Read the run from the vendor now, trying again as the pool's retry policy says.

        All who wait for the run are informed of what was seen. Raises `ReplyError`, `TransportError`, `DecodeError`,
        `PoolClosed`; these end nobody's wait.
        """
        polled, asked_at = self._polled, self._scheduler.clock.now()
        age = None if polled.begun_at is None else asked_at - polled.begun_at
        seen = await polled.source.reader.read(polled.ref, age=age, last=self.last)
        polled = self._shared()
        self._scheduler.seen(polled, seen, asked_at=asked_at)
        return polled.last or (seen.seen if isinstance(seen, Hinted) else seen)

    def report(self, run: Run, *, asked_at: float) -> None:
        """Inform all who wait for the run of a state that was learned otherwise than by a poll, as from a list.

        `asked_at` is when the request was made whose reply has the state, on the pool's clock: if a newer state is
        known, or an end, this one is passed over. No poll is made. Raises ValueError for the state of another run.
        """
        if run.ref != self.ref:
            raise ValueError(f"{run.ref} is not {self.ref}")
        self._scheduler.seen(self._shared(), run, asked_at=asked_at)

    def explain(self) -> Explanation:
        """Return what the wait for the run is doing: what was seen, when the next poll is due, and what failed."""
        return self._scheduler.explain(self._current())

    async def cancel(self, reason: str | None = None) -> None:
        """Ask the vendor to cancel the run, for at most 30 seconds. It may be called twice.

        All who wait for the run learn of what the vendor's reply says; where it says nothing, a poll is made at once.
        A run that ended meanwhile is no error: its end stands, and one whose end is known costs no request. The
        `reason` goes to vendors that take one. Cancelled, the request goes on in the pool, and its outcome is emitted
        as `CancelSent`. Raises `Unsupported`, before anything is sent, where the vendor cannot cancel runs;
        `ReplyError` when it refuses; `TransportError` when it may not have heard of it; `PoolClosed`.
        """
        await RunControl(self._scheduler, self._shared).cancel(canceller_of(self._polled), reason)

    async def answer(self, answer: str) -> None:
        """Send one of the answers that the run asks for (`Run.asks`); otherwise as `cancel`.

        Raises `Unsupported`, before anything is sent, where runs of the vendor ask nothing; ValueError for an answer
        that the vendor has no call for.
        """
        await RunControl(self._scheduler, self._shared).answer(answerer_of(self._polled), answer)

    def wake(self) -> None:
        """Make the next poll now, since there may be news of the run. Returns at once; costs one poll.

        While nobody waits for the run, the poll is kept for the next wait.
        """
        self._scheduler.wake(self._polled)

    def __await__(self) -> Generator[Any, None, Run]:
        # A bare future: the frame of a coroutine would be most of the memory that a waiting run takes.
        return self._join(None)[0].__await__()

    async def wait(
        self,
        *,
        timeout: float | None = None,
        until: Collection[RunState] | None = None,
        on_cancel: Literal["leave", "cancel"] = "leave",
    ) -> Run:
        """Wait for the end, for at most `timeout` seconds, and return the run as it then is.

        With `until`, a poll that sees one of these states ends the wait as well. Raises `WaitTimeout`, which
        carries the last state seen; `ReplyError` when the vendor refuses (403, 404, or 401 for a minute where the
        account was good before); `ForeignReply` or `DecodeError` after several such answers if none was ever the
        vendor's; `PoolClosed`. Passing faults end no wait.

        Cancelling the wait leaves the run alone. With `on_cancel="cancel"` the vendor is first asked to cancel the
        run, which holds the cancellation up for ten seconds at most and hides whatever goes wrong; a timeout asks
        for nothing. Raises `Unsupported`, at once, where the vendor cannot cancel runs.
        """
        if on_cancel not in {"leave", "cancel"}:
            raise ValueError(f"on_cancel has to be 'leave' or 'cancel', not {on_cancel!r}")
        if on_cancel == "cancel":
            canceller_of(self._polled)
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
        except asyncio.CancelledError:
            if on_cancel == "cancel":
                # Cancelled once more, this ends at once, and the request goes on.
                with (
                    anyio.move_on_after(_HELD_UP, shield=True),
                    suppress(Exception),
                ):  # which `CancelSent` has
                    await self.cancel()
            raise
        finally:
            if timer is not None:
                timer.cancel()
            scheduler.leave(polled, waiter)

    async def result(self) -> Any:
        """Wait for the end and return the run's output.

        Raises `RunFailed` or `RunAborted` for a run that ended so, and what `wait` raises.
        """
        run = await self
        if run.state is RunState.COMPLETED:
            return run.output
        kind = RunFailed if run.state is RunState.FAILED else RunAborted
        raise kind(f"run {run.ref} ended as {run.status}", vendor=run.ref.vendor, ref=run.ref, run=run)

    async def updates(self) -> AsyncIterator[Run]:
        """Yield the state known from polls so far, then each change once, the end being the last.

        Raises what `wait` raises.
        """
        polled = self._current()
        last = polled.last
        is_over = last is not None and last.state.is_terminal
        feed = Feed(last if is_over or polled.asked_at > -math.inf else None)
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

    def add_done_callback(
        self, callback: Callable[[Run | AgentsError], object], *, context: Context | None = None
    ) -> Callable[[], None]:
        """Call `callback` with the run's end, or with the error that a wait would raise; no task is made for it.

        It is called once, by the event loop and never from within this method or a poll, in `context` or a copy of
        the caller's context. What it raises goes to the loop's exception handler and to nobody else. Returns a
        function that takes the callback back; until then, or until the call, the handle is kept. Raises `PoolClosed`.
        """
        polled = self._current()
        if context is None:
            context = copy_context() or None  # most programs set no variables, and each copy costs memory
        waiter = _DoneCallback(self, self._scheduler, polled, callback, context)
        if polled.last is not None and polled.last.state.is_terminal:
            waiter.set_result(polled.last)
        else:
            waiter.polled = self._polled = self._scheduler.join(self._polled, waiter)
        return waiter.take_back

    def _join(self, states: frozenset[RunState] | None) -> "tuple[asyncio.Future[Run], PolledRun, Waiter]":
        """Return a future of the end or of one of `states`, the run that is polled for it, and who waits there."""
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
        polled = self._current()
        last, backoff = polled.last, polled.backoff
        facts = ["not seen yet" if last is None else f"last seen as {last.status}"]
        if backoff.failures:
            facts.append(str(backoff))
        message = f"run {self.ref} did not end within {seconds:g} s; {'; '.join(facts)}; it goes on"
        error = WaitTimeout(message, vendor=self.ref.vendor, ref=self.ref, run=last)
        error.last_error, error.failures = backoff.error, backoff.failures
        future.set_exception(error)

    def __repr__(self) -> str:
        polled = self._current()
        state = "not polled" if polled.last is None else polled.last.state.value
        failing = f", {polled.backoff}" if polled.backoff.failures else ""
        return f"<RunHandle {self.ref} {state}{failing}>"


class _DoneCallback:
    """Waits for a run's end as a future does, and then lets the event loop call a function.

    A function that was called from within a poll could harm others who wait.
    """

    __slots__ = ("_callback", "_context", "_handle", "_is_done", "_scheduler", "polled")

    def __init__(
        self,
        handle: RunHandle,
        scheduler: Scheduler,
        polled: PolledRun,
        callback: Callable[[Run | AgentsError], object],
        context: Context | None,
    ) -> None:
        self._handle: RunHandle | None = handle  # a webhook's delivery wakes a handle that is held
        self._scheduler = scheduler
        self._callback: Callable[[Run | AgentsError], object] | None = callback
        self._is_done = False
        self._context = context  # None stands for an empty one
        self.polled = polled

    def done(self) -> bool:
        """Return whether the end is known, or the callback was taken back."""
        return self._is_done

    def set_result(self, result: Run, /) -> None:
        """Take the run's end."""
        self._schedule(result)

    def set_exception(self, exception: AgentsError, /) -> None:
        """Take the error that ended the wait."""
        self._schedule(exception)

    def _schedule(self, end: Run | AgentsError) -> None:
        self._is_done = True
        context = Context() if self._context is None else self._context
        asyncio.get_running_loop().call_soon(self._call, end, context=context)

    def take_back(self) -> None:
        """Do not call the function any more. May be called twice, and after the call."""
        self._is_done = True
        if self._callback is not None:
            self._callback = self._handle = None
            self._scheduler.leave(self.polled, self)

    def _call(self, end: Run | AgentsError) -> None:
        callback, self._callback, self._handle = self._callback, None, None
        if callback is not None:
            callback(end)


def _lose_push(loop: asyncio.AbstractEventLoop, scheduler: Scheduler, polled: PolledRun) -> None:
    """Poll a run as if it had no push: the handle that a webhook's deliveries would have woken is gone.

    Called in any thread, since the collector runs in any.
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
