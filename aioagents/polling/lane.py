"""The runs of one account, and who reads them."""

from collections import deque
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Final, Protocol, runtime_checkable

from attrs import frozen

from ..model import Run, RunRef

if TYPE_CHECKING:
    from .scheduler import Scheduler
    from .watch import Watch

_MOST: Final = 1000  # runs that one list is asked for


class RunSource(Protocol):
    """Reads the runs of one account."""

    async def look(self, ref: RunRef, *, age: float | None, last: Run | None) -> Run:
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
class ListSource(Protocol):
    """What a `RunSource` has besides where its vendor lists runs: many are then read with one request."""

    def group_of(self, run: Run) -> str | None:
        """Name the list in which a run that was last seen as `run` stands; None if it has to be read by itself."""
        ...

    async def look_many(self, group: str, runs: Sequence[Run]) -> Mapping[RunRef, Run]:
        """Read runs of one group, last seen as `runs`, with one try.

        What the answer does not tell is left out, and read by itself. Raises `AgentsError`.
        """
        ...


class Group:
    """Runs that one list tells of. It is closed once it had so many members, so that they lie close in time."""

    __slots__ = ("alone", "had", "is_sparse", "members", "name")

    def __init__(self, name: str) -> None:
        self.name = name
        self.members: dict[RunRef, Watch] = {}
        self.had = 0
        #: Whether the list was found not to tell of its runs: they are then read one by one.
        self.is_sparse = False
        #: Those whose latest look was a list that failed: the next one is their own, for it may be the list's fault.
        self.alone: set[RunRef] = set()

    @property
    def is_worth_it(self) -> bool:
        """Say whether one look at all members is better than one at each."""
        return len(self.members) > 1 and not self.is_sparse


class Lane:
    """The runs of one account: who is watched, whose look is due, and which can be looked at together."""

    __slots__ = ("_open", "lists", "looking", "ready", "scheduler", "source", "vendor", "watches")

    def __init__(self, scheduler: "Scheduler", source: RunSource, vendor: str) -> None:
        self.scheduler = scheduler
        self.source = source
        self.lists = source if isinstance(source, ListSource) else None
        self.vendor = vendor
        self.watches: dict[RunRef, Watch] = {}
        self.ready: deque[Watch] = deque()
        self.looking = 0
        self._open: dict[str, Group] = {}

    def enter(self, watch: "Watch") -> None:
        """Put a watched run into the group in which it can be looked at, as far as is known by now."""
        if self.lists is None or watch.last is None:
            return
        name = self.lists.group_of(watch.last)
        group = watch.group
        if group is not None:
            if group.name == name:
                return
            self.exit(watch)
        if name is None:
            return
        group = self._open.get(name)
        if group is None or group.had >= _MOST or group.is_sparse:
            group = self._open[name] = Group(name)
        group.members[watch.ref] = watch
        group.had += 1
        watch.group = group

    def exit(self, watch: "Watch") -> None:
        """Take a run out of its group; harmless when it is in none."""
        group = watch.group
        if group is None:
            return
        watch.group = None
        group.members.pop(watch.ref, None)
        group.alone.discard(watch.ref)
        if not group.members and self._open.get(group.name) is group:
            del self._open[group.name]


@frozen(kw_only=True)
class PollStatistics:
    """What a scheduler does: runs watched and who waits for them, looks made, failed, and due but not begun.

    A look at many runs at once counts as one.
    """

    watched: int
    waiting: int
    looks: int
    looks_failed: int
    overdue: int
    looking: int
    lookers: int
