"""Changes to be recorded: those that are asked for during one call of the journal share the next. Pure."""

from collections import deque
from collections.abc import Iterator, Sequence

from .record import Change
from .states import Phase, Row


class Backlog:
    """One call of the journal at a time. The changes of a call that failed are asked for once more, one by one."""

    __slots__ = ("_again", "_out", "_rows")

    def __init__(self) -> None:
        self._rows: list[tuple[Row, Change]] = []
        self._out: Sequence[tuple[Row, Change]] = ()
        self._again: deque[tuple[Row, Change]] = deque()

    def __bool__(self) -> bool:
        return bool(self._rows or self._out or self._again)

    def __len__(self) -> int:
        return len(self._rows) + len(self._out) + len(self._again)

    def add(self, row: Row, change: Change) -> None:
        """Ask for a change. A row has one such change at a time: its phase says what the answer means."""
        self._rows.append((row, change))

    def next_call(self) -> list[Change] | None:
        """Return the changes of the next call, None while one is out or where there is nothing to record."""
        if self._out:
            return None
        if self._again:
            self._out = (self._again.popleft(),)
        else:
            self._out, self._rows = self._rows, []
        return [change for _, change in self._out] or None

    def answered(self) -> list[Row]:
        """Return the rows of the call that was out, which is over."""
        out, self._out = self._out, ()
        return [row for row, _ in out]

    def failed(self) -> list[Row]:
        """Return the rows that are not recorded, after the call that was out failed.

        If the call was for one row, that row. Otherwise it is not known which row was at fault: rows that were to be
        sent are given up, including those not asked for yet, and all others are asked for again one by one.
        """
        out, self._out = self._out, ()
        is_single = len(out) == 1
        self._again.extend(each for each in out if not (is_single or _is_unsent(each)))
        unsent = [row for row, _ in filter(_is_unsent, self._rows)]
        self._rows = [each for each in self._rows if not _is_unsent(each)]
        return [*(row for row, _ in out if is_single or row.phase is Phase.RECORDING), *unsent]

    def give_up(self) -> list[Row]:
        """Return all rows whose changes are not answered yet, and forget them: there will be no answer."""
        rows = list(self._owed())
        self._rows, self._out = [], ()
        self._again.clear()
        return rows

    def _owed(self) -> Iterator[Row]:
        for changes in (self._out, self._again, self._rows):
            for row, _ in changes:
                yield row


def _is_unsent(change: tuple[Row, Change]) -> bool:
    return change[0].phase is Phase.RECORDING
