"""Events of the fake server by the time at which they happen. Pure: the time is a parameter."""

from collections.abc import Callable
from functools import partial
from heapq import heappop, heappush
from itertools import count
from typing import Final

from .timelines import Timeline

_MOST_FIRES: Final = 10_000


class EventQueue:
    """Callbacks by the time at which they are due. Times are nanoseconds.

    `now` is the time of the event that happens just now, `target` the time that `advance` was called with. `budget`
    is how many scheduled fires may still be made up for in the present `advance`.
    """

    def __init__(self, now: int) -> None:
        self.now = self.target = now
        self.budget = _MOST_FIRES
        self._due: list[tuple[int, int, Callable[[], None]]] = []
        self._order = count()

    def at(self, moment: int, callback: Callable[[], None]) -> None:
        """Call `callback` when time has advanced to `moment`."""
        heappush(self._due, (moment, next(self._order), callback))

    def advance(self, moment: int) -> None:
        """Advance to `moment`, and call everything that is due by then, in order. Time never goes back."""
        self.budget = _MOST_FIRES
        self.target = max(self.now, moment)
        while self._due and self._due[0][0] <= moment:
            due_at, _, callback = heappop(self._due)
            self.now = max(self.now, due_at)
            callback()
        self.now = self.target

    def follow(self, timeline: Timeline, set_status: Callable[[str], bool]) -> None:
        """Call `set_status` with each word of a timeline at its time, from now on, until it returns False."""
        self._follow(timeline, self.now, set_status, 0)

    def _follow(
        self, timeline: Timeline, began_at: int, set_status: Callable[[str], bool], first: int
    ) -> None:
        for index in range(first, len(timeline)):
            offset, word = timeline[index]
            if began_at + offset > self.now:
                self.at(began_at + offset, partial(self._follow, timeline, began_at, set_status, index))
                return
            if not set_status(word):
                return
