"""Runs in the order in which they are due. Pure: it neither waits nor reads a clock."""

import math
from heapq import heapify, heappop, heappush
from typing import Final, Generic, Protocol, TypeVar

from .runs import DUE, PLANNED, RESTING, Phase

_FEW: Final = 64  # stale entries that are not worth a sweep


class Due(Protocol):
    """An item of the queue, which writes both attributes itself."""

    due_at: float
    phase: Phase

    def __lt__(self, other: object, /) -> bool:
        """Return anything: the order of items that are due at the same time does not matter."""
        ...


D = TypeVar("D", bound=Due)


class DueQueue(Generic[D]):
    """Items by the time at which they are due. Each is in it once, and is rescheduled or dropped without a search."""

    __slots__ = ("_entries", "_live")

    def __init__(self) -> None:
        self._entries: list[tuple[float, D]] = []  # ordered by heapq; stale ones are passed over
        self._live = 0

    def __len__(self) -> int:
        return self._live

    @property
    def head_at(self) -> float:
        """Return when the first item is due, infinite if there is none."""
        entries = self._entries
        while entries:
            at, item = entries[0]
            if item.phase is PLANNED and item.due_at == at:
                return at
            heappop(entries)
        return math.inf

    def push(self, item: D, at: float) -> None:
        """Add `item`, due at `at`, or move it there."""
        if item.phase is not PLANNED:
            item.phase = PLANNED
            self._live += 1
        elif item.due_at == at:
            return
        item.due_at = at
        heappush(self._entries, (at, item))
        if len(self._entries) > 2 * self._live + _FEW:
            self._tidy()

    def drop(self, item: D) -> None:
        """Take `item` out; harmless when it is not in. Its `due_at` stays, for who comes back."""
        if item.phase is PLANNED:
            item.phase = RESTING
            self._live -= 1
            if len(self._entries) > 2 * self._live + _FEW:
                self._tidy()

    def take_due(self, now: float) -> list[D]:
        """Take out all items that are due at `now`, in order."""
        due: list[D] = []
        entries = self._entries
        while entries and entries[0][0] <= now:
            at, item = heappop(entries)
            if item.phase is PLANNED and item.due_at == at:
                item.phase = DUE
                due.append(item)
        self._live -= len(due)
        return due

    def _tidy(self) -> None:
        """Throw stale entries away, those of items that were rescheduled or dropped. They were more than half."""
        seen: set[int] = set()
        kept = []
        for at, item in self._entries:
            if item.phase is PLANNED and item.due_at == at and id(item) not in seen:
                seen.add(id(item))
                kept.append((at, item))
        heapify(kept)
        self._entries = kept
