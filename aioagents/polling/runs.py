"""The data of the polling engine: a run that is polled, the group one list reads, the source of an account's runs.

Plain data that points at each other: `core.py` decides with it, `listeners.py` keeps who waits in it.
"""

import asyncio
from collections import deque
from contextvars import Context
from typing import Final, Protocol

from ..errors import AgentsError
from ..model import Run, RunRef
from .reader import ListReader, Reader

_MOST: Final = 1000  # runs that one list is asked for


class Listener(Protocol):
    """Is shown every poll of a run, and why polling ended where it failed."""

    def show(self, run: Run) -> None:
        """Take `run`, which a poll saw."""
        ...

    def fail(self, error: AgentsError) -> None:
        """Take the error that ended the polling."""
        ...


#: Who waits for a run: a future that its end resolves, or a listener.
Waiter = asyncio.Future[Run] | Listener
#: Their context variables: those of the only one who has some, or by waiter; None while nobody has any.
Contexts = Context | dict[Waiter, Context] | None


class Push(Protocol):
    """Wakes runs that ended, as a webhook receiver does."""

    def missed(self) -> None:
        """Record that a run ended without a wake."""
        ...


class PolledRun:
    """What is known of one run, who waits for it, and when it is polled next. Polled only while somebody waits."""

    __slots__ = (
        "begun_at",
        "context",
        "due_at",
        "failures",
        "futures",
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
    )

    def __init__(
        self,
        source: "Source",
        ref: RunRef,
        *,
        target: str = "",
        last: Run | None = None,
        begun_at: float | None = None,
        push: Push | None = None,
    ) -> None:
        self.source = source
        self.ref = ref
        self.target = target
        self.last = last
        #: When this process started the run, on the monotonic clock; None if others started it.
        self.begun_at = begun_at
        #: What wakes the run at its end; None where nothing does. The cadence then goes at its slowest.
        self.push = push
        #: When the present state began, as far as was seen.
        self.since: float | None = None
        self.due_at = 0.0
        self.failures = 0
        self.unreadable = 0
        self.is_queued = False
        self.is_seen = False  # whether `last` comes from a poll
        self.is_polling = False  # from when a poll is due until it is over
        self.is_ready = False  # from when a poll is due until a poll worker takes it
        self.is_woken = False
        self.group: Group | None = None
        # One future is the rule, and a set costs more than everything else here together.
        self.futures: asyncio.Future[Run] | set[asyncio.Future[Run]] | None = None
        self.listeners: list[Listener] | None = None
        self.context: Contexts = None

    def __lt__(self, other: object) -> bool:
        return False  # which of two is first when both are due at once does not matter


class Group:
    """Runs that one list reads. It takes no more once it had so many members, so that they lie close in time."""

    __slots__ = ("alone", "had", "is_sparse", "members", "name")

    def __init__(self, name: str) -> None:
        self.name = name
        self.members: dict[RunRef, PolledRun] = {}
        self.had = 0
        #: Whether the list was found to leave most of its runs out: they are then read one by one.
        self.is_sparse = False
        #: Those whose latest poll was a list that failed: the next one is their own, for it may be the list's fault.
        self.alone: set[RunRef] = set()

    @property
    def is_worth_it(self) -> bool:
        """Return whether one list is better than a poll of each member."""
        return len(self.members) > 1 and not self.is_sparse


class Source:
    """The runs of one account: those that are polled, those whose poll is due, and their groups."""

    __slots__ = ("_open", "lists", "polling", "reader", "ready", "runs", "vendor")

    def __init__(self, reader: Reader, vendor: str) -> None:
        self.reader = reader
        self.lists = reader if isinstance(reader, ListReader) else None
        self.vendor = vendor
        self.runs: dict[RunRef, PolledRun] = {}
        self.ready: deque[PolledRun] = deque()
        self.polling = 0
        self._open: dict[str, Group] = {}

    def enter(self, run: PolledRun) -> None:
        """Put a run into the group in which it can be polled, as far as is known by now."""
        if self.lists is None or run.last is None:
            return
        name = self.lists.group_of(run.last)
        group = run.group
        if group is not None:
            if group.name == name:
                return
            self.exit(run)
        if name is None:
            return
        group = self._open.get(name)
        if group is None or group.had >= _MOST or group.is_sparse:
            group = self._open[name] = Group(name)
        group.members[run.ref] = run
        group.had += 1
        run.group = group

    def exit(self, run: PolledRun) -> None:
        """Take a run out of its group; harmless when it is in none."""
        group = run.group
        if group is None:
            return
        run.group = None
        group.members.pop(run.ref, None)
        group.alone.discard(run.ref)
        if not group.members and self._open.get(group.name) is group:
            del self._open[group.name]
