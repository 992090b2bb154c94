"""Which runs of a stopping batch are cancelled, and for which ends it waits after that. Pure."""

import math
from collections import deque
from collections.abc import Iterable, Iterator
from typing import Final

from ..errors import Unsupported
from .states import Phase, Row

#: Seconds for which the end of a run is awaited after the vendor accepted to cancel it.
END_AFTER_CANCEL: Final = 30.0


class Cancelling:
    """The rows whose run is to be cancelled, at most `most` at a time, once `is_on`."""

    __slots__ = ("_accepted", "_most", "_out", "_queue", "_until", "is_on")

    def __init__(self, most: int) -> None:
        self._most = most
        self._queue: deque[Row] = deque()
        self._out = 0  # requests in progress
        self._accepted: set[Row] = set()  # whose end is awaited
        self._until = math.inf
        #: Whether runs are being cancelled.
        self.is_on = False

    def begin(self, rows: Iterable[Row]) -> None:
        """Cancel the runs of `rows`, as far as they are followed, and of all rows that are added later."""
        if not self.is_on:
            self.is_on = True
            self._queue.extend(row for row in rows if row.phase is Phase.FOLLOWED)

    def add(self, row: Row) -> None:
        """Note that a run is followed from now on."""
        if self.is_on:
            self._queue.append(row)

    def take(self) -> Iterator[Row]:
        """Return the rows whose run is to be cancelled now; each is answered by `ended`."""
        while self._queue and self._out < self._most:
            row = self._queue.popleft()
            if row.phase is Phase.FOLLOWED:
                self._out += 1
                yield row

    def ended(self, row: Row, error: Exception | None, now: float) -> bool:
        """Note that the vendor accepted to cancel a run, if there is no `error`; return whether to report the row.

        Where the vendor has no call for it, no other run is cancelled, and one row is reported.
        """
        self._out -= 1
        self._until = now + END_AFTER_CANCEL
        is_left = error is not None and self.is_on
        if isinstance(error, Unsupported):
            self.is_on = False
            self._queue.clear()
        elif error is None and row.phase is Phase.FOLLOWED:
            self._accepted.add(row)
        return is_left and row.phase is Phase.FOLLOWED

    def forget(self, row: Row) -> None:
        """Note that a run has ended, or is not followed any more."""
        self._accepted.discard(row)

    def is_done(self, now: float) -> bool:
        """Return whether nothing is to be cancelled, and no end is awaited any more."""
        return not (self._queue or self._out) and now >= self.wake_at

    @property
    def wake_at(self) -> float:
        """Return when the time for ends is over that are awaited; minus infinity where there are none."""
        return self._until if self._accepted else -math.inf
