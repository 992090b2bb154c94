"""The runs of one account, and who reads them."""

from collections import deque
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Final, Protocol, runtime_checkable

from attrs import frozen

from ..model import Run, RunRef

if TYPE_CHECKING:
    from .polled import PolledRun
    from .scheduler import Scheduler

_MOST: Final = 1000  # runs that one list is asked for


class Reader(Protocol):
    """Reads the runs of one account."""

    async def poll(self, ref: RunRef, *, age: float | None, last: Run | None) -> Run:
        """Read the run, with one try.

        `age` are the seconds since we started it, None if others did; `last` is what was seen of it before.
        Raises `AgentsError`; one that `is_passing` does not end a wait.
        """
        ...

    async def read(self, ref: RunRef, *, age: float | None, last: Run | None) -> Run:
        """Read the run, trying again as the retry policy says."""
        ...

    def may_retry(self) -> bool:
        """Take one retry out of the account's budget, or say that there is none."""
        ...


@runtime_checkable
class ListReader(Protocol):
    """What a `Reader` has besides where its vendor lists runs: many are then read with one request."""

    def group_of(self, run: Run) -> str | None:
        """Name the list in which a run that was last seen as `run` stands; None if it has to be read by itself."""
        ...

    async def poll_many(self, group: str, runs: Sequence[Run]) -> Mapping[RunRef, Run]:
        """Read runs of one group, last seen as `runs`, with one try.

        What the answer does not tell is left out, and read by itself. Raises `AgentsError`.
        """
        ...


class Group:
    """Runs that one list tells of. It is closed once it had so many members, so that they lie close in time."""

    __slots__ = ("alone", "had", "is_sparse", "members", "name")

    def __init__(self, name: str) -> None:
        self.name = name
        self.members: dict[RunRef, PolledRun] = {}
        self.had = 0
        #: Whether the list was found not to tell of its runs: they are then read one by one.
        self.is_sparse = False
        #: Those whose latest poll was a list that failed: the next one is their own, for it may be the list's fault.
        self.alone: set[RunRef] = set()

    @property
    def is_worth_it(self) -> bool:
        """Return whether one poll at all members is better than one at each."""
        return len(self.members) > 1 and not self.is_sparse


class Source:
    """The runs of one account: who is watched, whose look is due, and which can be polled together."""

    __slots__ = ("_open", "lists", "polling", "reader", "ready", "runs", "scheduler", "vendor")

    def __init__(self, scheduler: "Scheduler", reader: Reader, vendor: str) -> None:
        self.scheduler = scheduler
        self.reader = reader
        self.lists = reader if isinstance(reader, ListReader) else None
        self.vendor = vendor
        self.runs: dict[RunRef, PolledRun] = {}
        self.ready: deque[PolledRun] = deque()
        self.polling = 0
        self._open: dict[str, Group] = {}

    def enter(self, polled: "PolledRun") -> None:
        """Put a watched run into the group in which it can be polled, as far as is known by now."""
        if self.lists is None or polled.last is None:
            return
        name = self.lists.group_of(polled.last)
        group = polled.group
        if group is not None:
            if group.name == name:
                return
            self.exit(polled)
        if name is None:
            return
        group = self._open.get(name)
        if group is None or group.had >= _MOST or group.is_sparse:
            group = self._open[name] = Group(name)
        group.members[polled.ref] = polled
        group.had += 1
        polled.group = group

    def exit(self, polled: "PolledRun") -> None:
        """Take a run out of its group; harmless when it is in none."""
        group = polled.group
        if group is None:
            return
        polled.group = None
        group.members.pop(polled.ref, None)
        group.alone.discard(polled.ref)
        if not group.members and self._open.get(group.name) is group:
            del self._open[group.name]


@frozen(kw_only=True)
class PollStatistics:
    """What a scheduler does: runs watched and who waits for them, polls made, failed, and due but not begun.

    A look at many runs at once counts as one.
    """

    watched: int
    waiting: int
    polls: int
    polls_failed: int
    overdue: int
    polling: int
    pollers: int
