"""The runs of one account, and who reads them."""

from collections import deque
from typing import TYPE_CHECKING, Protocol

from attrs import frozen

from ..model import Run, RunRef

if TYPE_CHECKING:
    from .scheduler import Scheduler
    from .watch import Watch


class RunSource(Protocol):
    """Reads the runs of one account."""

    async def look(self, ref: RunRef, *, age: float | None) -> Run:
        """Read the run, with one try. `age` are the seconds since we started it, None if others did.

        Raises `AgentsError`; one that `is_passing` does not end a wait.
        """
        ...

    async def read(self, ref: RunRef, *, age: float | None) -> Run:
        """Read the run, trying again as the retry policy says."""
        ...

    def may_retry(self) -> bool:
        """Take one retry out of the account's budget, or say that there is none."""
        ...


class Lane:
    """The runs of one account: who is watched, and whose look is due."""

    __slots__ = ("looking", "ready", "scheduler", "source", "vendor", "watches")

    def __init__(self, scheduler: "Scheduler", source: RunSource, vendor: str) -> None:
        self.scheduler = scheduler
        self.source = source
        self.vendor = vendor
        self.watches: dict[RunRef, Watch] = {}
        self.ready: deque[Watch] = deque()
        self.looking = 0


@frozen(kw_only=True)
class PollStatistics:
    """What a scheduler does: runs watched and who waits for them, looks made, failed, and due but not begun."""

    watched: int
    waiting: int
    looks: int
    looks_failed: int
    overdue: int
    looking: int
    lookers: int
