"""Reads a journal's rows in SQLite, and records which results are in the output."""

import sqlite3
from collections.abc import Iterator, Sequence
from typing import Final

from ...errors import JournalError
from ..record import Record
from .chunks import chunks, stored_rows
from .encoding import StoredRow, decode_row
from .schema import COUNT_UNEMITTED, LOAD, OPEN_PAGE, SET_EMITTED, UNEMITTED_PAGE

#: How many rows are read at a time; their outputs may be large.
PAGE: Final = 64


class StoredRows:
    """The rows of one journal. All methods may raise sqlite3.Error."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        self._opening = 0
        self._owners: dict[int, str] = {}

    # Results

    def unemitted(self, limit: int) -> list[Record]:
        """Return settled rows whose result is not in the output yet, in the order of settling."""
        found: list[Record] = []
        after = 0
        while len(found) < limit:
            size = min(PAGE, limit - len(found))
            page = self._read(UNEMITTED_PAGE, after, size)[1]
            found += (decode_row(row, self._owners) for row in page)
            if len(page) < size:
                break
            after = page[-1].settled or 0
        return found

    def record_emitted(self, keys: Sequence[str], size: int) -> None:
        """Record that results are in the output, which has `size` bytes. Raise JournalError if one was before."""
        found = list(chunks(list(dict.fromkeys(keys))))
        count = sum(self._connection.execute(COUNT_UNEMITTED[n], some).fetchone()[0] for n, some in found)
        if count != len(keys):
            raise JournalError(
                "a row's result can be recorded as emitted once, when the row is settled, and one of these cannot: "
                "call unemitted() again"
            )
        for n, some in found:
            self._connection.execute(SET_EMITTED[n], some)
        self._connection.execute("UPDATE batch SET emitted_bytes = ?", (size,))

    def emitted_size(self) -> int:
        """Return the size of the output when results were last recorded as emitted."""
        return int(self._connection.execute("SELECT emitted_bytes FROM batch").fetchone()[0])

    def is_output_stale(self) -> bool:
        """Return whether a row has changed whose result is in the output."""
        return bool(self._connection.execute("SELECT is_output_stale FROM batch").fetchone()[0])

    def reset_emission(self) -> None:
        """Record that no result is in the output."""
        self._connection.execute("UPDATE row SET is_emitted = 0 WHERE is_emitted = 1")
        self._connection.execute("UPDATE batch SET emitted_bytes = 0, is_output_stale = 0")

    # Reading

    def _load(self, keys: Sequence[str]) -> Iterator[StoredRow]:
        for size, some in chunks(keys):
            yield from stored_rows(self._connection.execute(LOAD[size], some).fetchone()[0])

    def open_rows(self, after: int) -> tuple[int, list[Record]]:
        """Return a page of rows that are SENDING or STARTED, and the position after it."""
        last, page = self._read(OPEN_PAGE, after, PAGE)
        now = self._opening
        return last, [decode_row(row, self._owners, is_changed=row.changed_in == now) for row in page]

    def _read(self, page: str, after: int, limit: int) -> tuple[int, list[StoredRow]]:
        last, rows = self._connection.execute(page, (after, limit)).fetchone()
        return last or after, list(stored_rows(rows))
