"""The data of the polling engine: a polled run, the group that one list reads, the source of an account's runs.

Plain data that points at each other. `core.py` decides with it; `listeners.py` keeps in it who waits.
"""

import math
from collections import deque
from contextvars import Context
from enum import Enum
from typing import Final, Protocol

from ..errors import AgentsError
from ..model import Run, RunRef
from .backoff import NO_BACKOFF, Reported
from .reader import ListReader, Reader
from .slow_start import SlowStart


class Waiter(Protocol):
    """Waits for the end of a run. An `asyncio.Future` is one."""

    def done(self) -> bool:
        """Return whether it has stopped waiting."""
        ...

    def set_result(self, result: Run, /) -> None:
        """Take the run's end."""
        ...

    def set_exception(self, exception: AgentsError, /) -> None:
        """Take the error that ended the wait."""
        ...


class Listener:
    """A waiter that also receives what each poll before the end saw. It waits until it is removed."""

    __slots__ = ()

    def done(self) -> bool:
        """Return that it still waits."""
        return False

    def show(self, run: Run) -> None:
        """Take what a poll saw, unless the run has ended."""
        raise NotImplementedError

    def set_result(self, result: Run, /) -> None:
        """Take the run's end."""
        raise NotImplementedError

    def set_exception(self, exception: AgentsError, /) -> None:
        """Take the error that ended the wait."""
        raise NotImplementedError


#: The waiters of a run, in order. Most runs have one, and a dict costs more memory than all the rest of a run.
Waiters = Waiter | dict[Waiter, None] | None
#: The context variables of the waiters: of the only one, or of several by waiter; None if there are none.
Contexts = Context | dict[Waiter, Context] | None


class Push(Protocol):
    """Wakes a run that ended, as the URL of a webhook receiver does."""

    def will_wake_again(self, seen: Run) -> bool:
        """Return whether another wake can be relied on after one whose poll saw `seen`, which is no end.

        Only if each change is announced, and `seen` is what was announced: what a poll did not see yet will not be
        announced again.
        """
        ...

    def missed(self) -> None:
        """Record that a run ended without having been woken."""
        ...


class Phase(Enum):
    """Where a run stands between one poll and the next."""

    RESTING = "no poll is planned: nobody waits"
    PLANNED = "the next poll is planned: the run is in the due queue"
    DUE = "the next poll is due, and waits for a poll worker"
    POLLING = "a poll is under way"


RESTING, PLANNED, DUE, POLLING = Phase

_NEVER: Final = -math.inf  # one float for all runs


class PolledRun:
    """One run: what is known of it, who waits for it, and when it is polled next."""

    __slots__ = (
        "asked_at",
        "backoff",
        "begun_at",
        "contexts",
        "due_at",
        "group",
        "is_cancel_requested",
        "is_left_out",
        "is_woken",
        "last",
        "phase",
        "push",
        "ref",
        "since",
        "source",
        "target",
        "waiters",
        "was_woken",
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
        #: The latest state known, and when its request was made; minus infinity if it comes from no poll.
        self.last = last
        self.asked_at = _NEVER
        #: When this process started the run, on the monotonic clock; None if others started it.
        self.begun_at = begun_at
        #: When the present state was seen first, on the monotonic clock; minus infinity before the first wait.
        self.since = _NEVER
        #: The push that wakes the run when it ends, if there is one.
        self.push = push
        #: When the next poll is planned; infinite while none was planned yet.
        self.due_at = math.inf
        self.phase = RESTING
        #: Whether a wake asked for another poll, and whether a wake had asked for the poll that is under way.
        self.is_woken = False
        self.was_woken = False
        self.backoff = NO_BACKOFF
        self.group: Group | None = None
        #: Whether the latest list of its group left it out: its next poll is its own.
        self.is_left_out = False
        #: Whether this process asked the vendor to cancel it, and the vendor did not refuse.
        self.is_cancel_requested = False
        self.waiters: Waiters = None
        self.contexts: Contexts = None

    def __lt__(self, other: object) -> bool:
        return False  # which of two is first when both are due at once does not matter


class Group:
    """Runs that one list reads."""

    __slots__ = ("alone", "is_sparse", "joined", "members", "name", "until")

    def __init__(self, name: str) -> None:
        self.name = name
        self.members: dict[RunRef, PolledRun] = {}
        #: How many members it has had in all.
        self.joined = 0
        #: Whether the list leaves most of its runs out: they are read one by one from then on.
        self.is_sparse = False
        #: Members whose latest poll was a list that failed. The list may be at fault: they are polled alone next.
        self.alone: set[RunRef] = set()
        #: Before this moment, the server wants no list.
        self.until = -math.inf


class Source:
    """The runs of one account: those that are polled, those whose poll is due, and the groups that take members."""

    __slots__ = (
        "cannot_cancel",
        "due",
        "groups",
        "lists",
        "polling",
        "reader",
        "reported",
        "runs",
        "slow_start",
        "vendor",
    )

    def __init__(
        self, reader: Reader, vendor: str, slow_start: SlowStart, *, cannot_cancel: str = ""
    ) -> None:
        self.reader = reader
        #: The same reader, if it can list runs; else None.
        self.lists = reader if isinstance(reader, ListReader) else None
        self.vendor = vendor
        #: Why its runs cannot be cancelled, where there is more to say than that the vendor has no call for it.
        self.cannot_cancel = cannot_cancel
        self.runs: dict[RunRef, PolledRun] = {}
        #: Runs whose poll is due, in order. Those that a list has read in the meantime are skipped.
        self.due: deque[PolledRun] = deque()
        self.groups: dict[str, Group] = {}
        #: How many polls are under way, and how many more may begin.
        self.polling = 0
        self.slow_start = slow_start
        #: The reasons for which polls keep failing that were reported.
        self.reported = Reported()
