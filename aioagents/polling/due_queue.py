"""Runs in the order in which they are due. Pure: it neither waits nor reads a clock."""

import math
from heapq import heappop, heappush
from typing import Final, Generic, Protocol, TypeVar

from .runs import DUE, PLANNED, RESTING, Phase

_FEW: Final = 64  # two times so many stale entries as are not worth a sweep
_SWEPT: Final = 8  # entries that one change sweeps
#: Entries that one call takes out. A million items may be due, or stale, at once: the event loop comes first.
MOST_TAKEN: Final = 1000


class Due(Protocol):
    """An item of the queue, which writes both attributes itself."""

    due_at: float
    phase: Phase

    def __lt__(self, other: object, /) -> bool:
        """Return anything: the order of items that are due at the same time does not matter."""
        ...


D = TypeVar("D", bound=Due)


class DueQueue(Generic[D]):
    """Items by the time at which they are due. Each is in it once, and is rescheduled or dropped without a search.

    No call takes long, however many items there are. An entry is stale once its item was rescheduled or dropped; with
    too many of them a sweep begins, and each change from then on does a little of it.
    """

    __slots__ = ("_entries", "_live", "_unswept")

    def __init__(self) -> None:
        # Both are ordered by heapq. An entry is not stale if it has the very float that its item has as `due_at`.
        self._entries: list[tuple[float, D]] = []
        self._unswept: list[tuple[float, D]] = []  # what a sweep has not seen yet; mostly empty
        self._live = 0

    def __len__(self) -> int:
        return self._live

    @property
    def head_at(self) -> float:
        """Return when the first item is due, infinite if there is none.

        It is an earlier time, never a later one, where the first `MOST_TAKEN` entries are stale.
        """
        if self._unswept:
            return min(_head_at(self._entries), _head_at(self._unswept))
        return _head_at(self._entries)

    def push(self, item: D, at: float) -> None:
        """Add `item`, due at `at`, or move it there."""
        if item.phase is not PLANNED:
            item.phase = PLANNED
            self._live += 1
            if item.due_at is at:
                at += 0.0  # a float of its own: a stale entry may have that one
        elif item.due_at == at:
            return
        item.due_at = at
        entries = self._entries
        heappush(entries, (at, item))
        if self._unswept or 2 * len(entries) > 3 * self._live + _FEW:
            self._sweep()

    def drop(self, item: D) -> None:
        """Take `item` out; harmless when it is not in. Its `due_at` stays, for who comes back."""
        if item.phase is PLANNED:
            item.phase = RESTING
            self._live -= 1
            if self._unswept or 2 * len(self._entries) > 3 * self._live + _FEW:
                self._sweep()

    def take_due(self, now: float) -> list[D]:
        """Take out items that are due at `now`, in order: all of them unless there are more than `MOST_TAKEN`."""
        due: list[D] = []
        entries, unswept = self._entries, self._unswept
        taken = 0
        while taken < MOST_TAKEN:
            first = unswept if unswept and (not entries or unswept[0][0] < entries[0][0]) else entries
            if not first or first[0][0] > now:
                break
            at, item = heappop(first)
            taken += 1
            if item.phase is PLANNED and item.due_at is at:
                item.phase = DUE
                due.append(item)
        self._live -= len(due)
        return due

    def _sweep(self) -> None:
        """Begin to sweep, or go on with it: a few entries at a time."""
        if not self._unswept:
            self._unswept, self._entries = self._entries, self._unswept
        unswept, entries = self._unswept, self._entries
        for _ in range(min(_SWEPT, len(unswept))):
            entry = unswept.pop()  # the last one: without it the others are in order still
            at, item = entry
            if item.phase is PLANNED and item.due_at is at:
                heappush(entries, entry)


def _head_at(entries: list[tuple[float, D]]) -> float:
    stale = 0
    while entries:
        at, item = entries[0]
        if (item.phase is PLANNED and item.due_at is at) or stale == MOST_TAKEN:
            return at
        heappop(entries)
        stale += 1
    return math.inf
