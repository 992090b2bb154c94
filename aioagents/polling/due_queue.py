"""Runs in the order in which they are due. Pure: it is told the time and never waits."""

import math
from heapq import heapify, heappop, heappush
from typing import Final, Generic, Protocol, TypeVar

_FEW: Final = 64


class Due(Protocol):
    """What the heap holds. It writes `due_at` and `is_queued` itself."""

    due_at: float
    is_queued: bool

    def __lt__(self, other: object, /) -> bool:
        """Say anything: it orders what is due at the very same moment."""
        ...


D = TypeVar("D", bound=Due)


class DueQueue(Generic[D]):
    """A heap in which an item stands once, can be moved, and is dropped without a search."""

    __slots__ = ("_entries", "_live")

    def __init__(self) -> None:
        self._entries: list[tuple[float, D]] = []
        self._live = 0

    def __len__(self) -> int:
        return self._live

    @property
    def head_at(self) -> float:
        """Return the moment at which the first item is due, infinite when there is none."""
        entries = self._entries
        while entries:
            at, item = entries[0]
            if item.is_queued and item.due_at == at:
                return at
            heappop(entries)
        return math.inf

    def push(self, item: D, at: float) -> None:
        """Have `item` due at `at`, also if it stood elsewhere before."""
        if not item.is_queued:
            item.is_queued = True
            self._live += 1
        elif item.due_at == at:
            return
        item.due_at = at
        heappush(self._entries, (at, item))
        if len(self._entries) > 2 * self._live + _FEW:
            self._tidy()

    def drop(self, item: D) -> None:
        """Take `item` out; harmless when it is not in. Its `due_at` stays for whoever resumes."""
        if item.is_queued:
            item.is_queued = False
            self._live -= 1
            if len(self._entries) > 2 * self._live + _FEW:
                self._tidy()

    def take_due(self, now: float) -> list[D]:
        """Take out all that is due at `now`, in order."""
        due: list[D] = []
        entries = self._entries
        while entries and entries[0][0] <= now:
            at, item = heappop(entries)
            if item.is_queued and item.due_at == at:
                item.is_queued = False
                due.append(item)
        self._live -= len(due)
        return due

    def _tidy(self) -> None:
        """Throw stale entries away once they are the larger half."""
        seen: set[int] = set()
        kept = []
        for at, item in self._entries:
            if item.is_queued and item.due_at == at and id(item) not in seen:
                seen.add(id(item))
                kept.append((at, item))
        heapify(kept)
        self._entries = kept
