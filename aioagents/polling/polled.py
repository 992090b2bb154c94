"""One run that is waited for, and those who wait for it."""

import asyncio
from collections import deque
from collections.abc import Collection
from contextvars import Context, copy_context
from typing import TYPE_CHECKING, Protocol

from ..errors import AgentsError
from ..model import Run, RunRef, RunState
from .context import Contexts

if TYPE_CHECKING:
    from .source import Group, Source

#: Who waits for the end of a run.
Waiter = asyncio.Future[Run]


class Listener(Protocol):
    """Is shown what polls see, and is told when there will be nothing more."""

    def show(self, run: Run) -> None:
        """Note `run`, the outcome of a poll."""
        ...

    def fail(self, error: AgentsError) -> None:
        """Note that watching ended with `error`."""
        ...


class Push(Protocol):
    """Announces ends of runs, and wakes them."""

    def missed(self) -> None:
        """Note that a run ended unannounced."""
        ...


class PolledRun:
    """What is known of one run, and who waits for it. Polled only while somebody does."""

    __slots__ = (
        "begun_at",
        "context",
        "due_at",
        "failures",
        "group",
        "is_polling",
        "is_queued",
        "is_ready",
        "is_seen",
        "is_woken",
        "last",
        "listeners",
        "push",
        "ref",
        "since",
        "source",
        "target",
        "unreadable",
        "waiters",
    )

    def __init__(
        self,
        source: "Source",
        ref: RunRef,
        *,
        target: str = "",
        last: Run | None = None,
        begun_at: float | None = None,
    ) -> None:
        self.source = source
        self.ref = ref
        self.target = target
        self.last = last
        #: When we started the run ourselves, on the monotonic clock.
        self.begun_at = begun_at
        #: When the present state began, as far as was seen.
        self.since: float | None = None
        self.due_at = 0.0
        self.failures = 0
        self.unreadable = 0
        self.is_queued = False
        self.is_seen = False  # whether `last` comes from a poll
        self.is_polling = False  # from when a poll is due until it is over
        self.is_ready = False  # from when a poll is due until a looker takes it
        self.is_woken = False
        self.group: Group | None = None
        # One waiter is the rule, and a set costs more than everything else here together.
        self.waiters: Waiter | set[Waiter] | None = None
        self.listeners: list[Listener] | None = None
        #: The context variables of whoever waits, of each one where several have some; None while there are none.
        self.context: Context | Contexts | None = None
        #: Who announces the end, where somebody does: the cadence then goes at its slowest.
        self.push: Push | None = None

    def __lt__(self, other: object) -> bool:
        return False  # which of two is first when both are due at once does not matter

    @property
    def is_awaited(self) -> bool:
        """Return whether anybody waits.

        Who awaits a handle directly and is cancelled does not say so: its future is done, and that tells.
        """
        waiters = self.waiters
        if waiters is None:
            return bool(self.listeners)
        if isinstance(waiters, set):
            return any(not each.done() for each in waiters) or bool(self.listeners)
        return not waiters.done() or bool(self.listeners)

    @property
    def waiting(self) -> int:
        """Count those who wait."""
        waiters = self.waiters if isinstance(self.waiters, set) else {self.waiters}
        return sum(each is not None and not each.done() for each in waiters) + len(self.listeners or ())

    def enter(self, owner: Waiter | Listener | None, *, is_first: bool) -> None:
        """Note the context variables of `owner`, who is about to wait, perhaps beside others."""
        context = copy_context() or None  # most programs set no variables, and each copy costs memory
        held = self.context
        if is_first:
            self.context = context
        elif held is not None or context is not None:
            contexts = self.context = held if isinstance(held, Contexts) else Contexts()
            if isinstance(held, Context):
                contexts.add(self._sole(), held)
            if context is not None:
                contexts.add(owner, context)

    def _sole(self) -> Waiter | Listener | None:
        """Return the one who waits."""
        waiters = self.waiters if isinstance(self.waiters, set) else {self.waiters}
        present = (each for each in waiters if each is not None and not each.done())
        return next(present, None) or (self.listeners[0] if self.listeners else None)

    def add(self, waiter: Waiter) -> None:
        """Have `waiter` resolved at the run's end."""
        waiters = self.waiters
        if isinstance(waiters, set):
            if (
                len(waiters) & (len(waiters) - 1) == 0
            ):  # now and then, so that the cancelled ones do not pile up
                waiters = self.waiters = {each for each in waiters if not each.done()}
            waiters.add(waiter)
        elif waiters is None or waiters.done():
            self.waiters = waiter
        else:
            self.waiters = {waiters, waiter}

    def remove(self, waiter: Waiter) -> None:
        """Forget `waiter`; harmless when it is not known."""
        if self.waiters is waiter:
            self.waiters = None
        elif isinstance(self.waiters, set):
            self.waiters.discard(waiter)
            if not self.waiters:
                self.waiters = None

    def listen(self, listener: Listener) -> None:
        """Have `listener` shown what polls see."""
        self.listeners = [*(self.listeners or ()), listener]

    def unlisten(self, listener: Listener) -> None:
        """Forget `listener`; harmless when it is not known."""
        self.listeners = [each for each in self.listeners or () if each is not listener] or None
        if isinstance(self.context, Contexts):
            self.context.drop(listener)

    def finish(self, run: Run) -> None:
        """Resolve everybody with the run's end."""
        self.listeners = None
        for waiter in self._release():
            if not waiter.done():
                waiter.set_result(run)

    def fail(self, error: AgentsError) -> None:
        """Raise `error`, a copy for each, at everybody who waits."""
        listeners, self.listeners = self.listeners or (), None
        for waiter in self._release():
            if not waiter.done():
                waiter.set_exception(copy_of(error))
        for listener in listeners:
            listener.fail(copy_of(error))

    def _release(self) -> Collection[Waiter]:
        waiters, self.waiters = self.waiters, None
        if waiters is None:
            return ()
        return waiters if isinstance(waiters, set) else (waiters,)


def copy_of(error: AgentsError) -> AgentsError:
    """Give the same error afresh: one instance raised by many tasks would pile up their tracebacks."""
    copy = type(error)(*error.args, **vars(error))
    copy.__cause__ = error.__cause__
    return copy


def fault_of(polled: PolledRun, exc: Exception) -> AgentsError:
    """Return the error that tells who waits of a fault that is not the vendor's."""
    fault = AgentsError(f"looking at {polled.ref} failed: {type(exc).__name__}")
    fault.__cause__ = exc
    return fault


class StateWaiter:
    """Resolves a future once a poll sees the run in one of `states`, or at its end."""

    __slots__ = ("_future", "_states")

    def __init__(self, future: Waiter, states: Collection[RunState]) -> None:
        self._future = future
        self._states = states

    def show(self, run: Run) -> None:
        """Resolve the future when `run` is what is waited for."""
        if (run.state in self._states or run.state.is_terminal) and not self._future.done():
            self._future.set_result(run)

    def fail(self, error: AgentsError) -> None:
        """Pass the error on."""
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
