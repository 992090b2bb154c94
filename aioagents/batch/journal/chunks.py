"""Splits the values of many rows into what one statement takes, and reads rows that SQLite returned as JSON. Pure."""

from collections.abc import Iterator, Sequence
from typing import Any, TypeVar

from ...codec import decode_json
from .encoding import StoredRow
from .schema import MOST_ROWS, MOST_VALUES

T = TypeVar("T")


def stored_rows(rows: str) -> Iterator[StoredRow]:
    """Return rows that SQLite returned as JSON."""
    values: list[Any]
    for values in decode_json(rows.encode()):
        values[3] = bytes.fromhex(values[3])
        yield StoredRow(*values)


def chunks(values: Sequence[T], *, width: int = 1) -> Iterator[tuple[int, Sequence[T | None]]]:
    """Split the values of rows, `width` for each, into sizes that statements exist for, the last padded with nulls.

    A row of nulls costs less than a second statement, for which the thread has to wait for the interpreter lock.
    """
    most = MOST_ROWS if MOST_ROWS * width < MOST_VALUES else MOST_ROWS // 2
    for start in range(0, len(values), most * width):
        some = values[start : start + most * width]
        size = 1 << (len(some) // width - 1).bit_length()
        yield size, [*some, *[None] * (size * width - len(some))]
