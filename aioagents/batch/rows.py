"""Rows out of JSON lines and CSV, one by one as they are read. What is no row is told with its line's number.

Sources are a path (opened when the first row is asked for), or lines: an open file or any iterable of `bytes` or
`str`. UTF-8, with a byte order mark or without; blank lines are skipped. No fault quotes the text it is about.
"""

import csv
import io
import os
import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, TypeAlias

from attrs import frozen

from .. import codec
from ..contract import BatchRow

Source: TypeAlias = str | os.PathLike[str] | Iterable[str] | Iterable[bytes]

_BOM: Final = "\ufeff"
_LONGEST: Final = 16 * 1024 * 1024
_MEMBERS: Final = frozenset({"key", "target", "message", "input"})
_INPUT: Final = "input."
#: What may be a whole number that is too large: hardly any line has so many digits. (So written, it is found faster.)
_DIGITS: Final = re.compile(rb"\d\d{18}")
#: In what is JSON: a string, or a number.
_PIECE: Final = re.compile(rb'"[^"\\]*(?:\\.[^"\\]*)*"|-?\d[-+.\deE]*')
_LARGEST_DIGITS: Final = len(str(-(2**63)))


class RowFault(ValueError):
    """A line that is no row. `line_number` is where it begins, from 1; `key` is the row's, where it has one.

    In CSV it may go on, up to `last_line`: a quote that is not closed takes in all rows to the next one.
    """

    def __init__(self, line_number: int, message: str, key: str = "", last_line: int | None = None) -> None:
        super().__init__(line_number, message, key, last_line)
        self.line_number = line_number
        self.message = message
        self.key = key
        self.last_line = line_number if last_line is None else last_line

    def __str__(self) -> str:
        if self.last_line > self.line_number:
            return f"lines {self.line_number} to {self.last_line}: {self.message}"
        return f"line {self.line_number}: {self.message}"


def read_jsonl(
    source: Source, *, target: str = "", is_strict: bool = False, longest: int = _LONGEST
) -> Iterator[BatchRow | RowFault]:
    """Read JSON lines: an object each, with `key`, `target`, `message` and `input`; the last two may be missing.

    A key may be a whole number; null stands for a missing member. Beyond 64 bits a whole number is a fault: it would
    arrive as another. `target` is that of rows that name none. With `is_strict` the first fault is raised. A line of
    more than `longest` bytes is a fault, and is never held in whole where it comes from a file. Raises OSError for a
    path that cannot be read.
    """
    with _opened(source, longest) as lines:
        while True:
            try:
                line = next(lines)
                row = None if not line.strip() else _row_in(line, target, lines.number)
            except StopIteration:
                return
            except _Fault as fault:
                row = RowFault(lines.number, str(fault))
            if is_strict and isinstance(row, RowFault):
                raise row
            if row is not None:
                yield row


def read_csv(
    source: Source, *, target: str = "", is_strict: bool = False, longest: int = _LONGEST
) -> Iterator[BatchRow | RowFault]:
    """Read CSV with a header: the columns `key`, `target`, `message` and, for each member of the input, `input.name`.

    Only `key` has to be there, and `target` where none is given here. Members are strings; an empty cell is no
    member. A cell has at most as many characters as `csv.field_size_limit` says. Otherwise as `read_jsonl`.
    Raises ValueError for a header that is not as it should be, when the first row is asked for.
    """
    with _opened(source, longest) as lines:
        records = csv.reader(_Texts(lines), strict=True)
        columns: _Columns | None = None
        while True:
            number = lines.number + 1
            try:
                cells = next(records)
                if not cells:
                    continue
                if columns is None:
                    columns = _columns_of(cells, has_target=bool(target))
                    continue
                row = columns.row_of(cells, target, number)
            except StopIteration:
                if columns is None:
                    raise ValueError("the input has no line of column names") from None
                return
            except (_Fault, csv.Error) as fault:
                if columns is None:
                    raise ValueError(f"the line of column names cannot be read: {fault}") from None
                row = RowFault(number, str(fault))
            if isinstance(row, RowFault):
                row = RowFault(number, row.message, row.key, lines.number)
                if is_strict:
                    raise row
            yield row


class _Fault(Exception):
    """What is wrong with a line, in words that do not quote it."""


# Lines


@contextmanager
def _opened(source: Source, longest: int) -> "Iterator[_Lines]":
    if isinstance(source, str | os.PathLike):
        with Path(source).open("rb") as file:
            yield _Lines(file, longest)
    else:
        yield _Lines(source, longest)


class _Lines:
    """Counts physical lines, and never holds more of one than the longest may have."""

    def __init__(self, source: Iterable[str] | Iterable[bytes], longest: int) -> None:
        self._file = source if isinstance(source, io.IOBase) else None
        self._rest: Iterator[str | bytes] = iter(()) if self._file is not None else iter(source)
        self._longest = longest
        #: The number of the line that was given last, from 1.
        self.number = 0

    def __iter__(self) -> "_Lines":
        return self

    def __next__(self) -> str | bytes:
        line = self._read()
        self.number += 1
        if not isinstance(line, str | bytes):
            raise TypeError(f"lines have to be bytes or str, not {type(line).__name__}")
        if len(line) > self._longest + _is_ended(line):
            if self._file is not None:
                while line and not _is_ended(line):
                    line = self._file.readline(self._longest)
            raise _Fault(f"longer than {self._longest} bytes")
        if self.number > 1:
            return line
        return line.removeprefix(_BOM) if isinstance(line, str) else line.removeprefix(_BOM.encode())

    def _read(self) -> str | bytes:
        if self._file is None:
            return next(self._rest)
        line: str | bytes = self._file.readline(self._longest + 1)
        if not line:
            raise StopIteration
        return line


def _is_ended(line: str | bytes) -> bool:
    return line.endswith("\n") if isinstance(line, str) else line.endswith(b"\n")


class _Texts:
    """The lines as text. What is no UTF-8 is marked, not raised: a quoted cell may go on in the next line."""

    def __init__(self, lines: _Lines) -> None:
        self._lines = lines

    def __iter__(self) -> "_Texts":
        return self

    def __next__(self) -> str:
        line = next(self._lines)
        return line if isinstance(line, str) else line.decode("utf-8", "surrogateescape")


# Rows


def _row_in(line: str | bytes, default: str, number: int) -> BatchRow | RowFault:
    """Read a line's JSON. Raises _Fault where it is none."""
    try:
        text = line if isinstance(line, bytes) else line.encode()
        row = _row_of(codec.decode_json(text), default, number)
    except UnicodeEncodeError:
        raise _Fault("not UTF-8") from None
    except ValueError as exc:
        raise _Fault(str(exc)) from None
    if isinstance(row, BatchRow) and _DIGITS.search(text) and any(map(_is_too_large, _PIECE.findall(text))):
        return RowFault(number, "input has a whole number beyond 64 bits: make it a string", row.key)
    return row


def _is_too_large(piece: bytes) -> bool:
    """Return whether a string or number is a whole one that is read as a float."""
    if not piece.removeprefix(b"-").isdigit():
        return False
    return len(piece) > _LARGEST_DIGITS or not -(2**63) <= int(piece) < 2**64


def _row_of(value: Any, default: str, number: int) -> BatchRow | RowFault:
    """Make a row of a line's JSON."""
    if not isinstance(value, dict):
        return RowFault(number, "not a JSON object")
    key = value.get("key")
    if isinstance(key, int) and not isinstance(key, bool):
        key = str(key)
    if not isinstance(key, str) or not key:
        return RowFault(number, "key has to be a string that is not empty, or a whole number")
    target = value.get("target")
    target = default if target is None else target
    message = value.get("message")
    message = "" if message is None else message
    content = value.get("input")
    content = {} if content is None else content
    fault = ""
    if not value.keys() <= _MEMBERS:
        fault = "has members besides key, target, message and input"
    elif not isinstance(target, str) or not target:
        fault = "target has to be a string that is not empty"
    elif not isinstance(message, str):
        fault = "message has to be a string"
    elif not isinstance(content, dict):
        fault = "input has to be a JSON object"
    return RowFault(number, fault, key) if fault else BatchRow(key, target, message, content, line=number)


@frozen(kw_only=True)
class _Columns:
    """Where a CSV has what."""

    count: int
    key: int
    target: int | None
    message: int | None
    members: Sequence[tuple[int, str]]

    def row_of(self, cells: Sequence[str], default: str, number: int) -> BatchRow | RowFault:
        """Make a row of a line's cells."""
        try:
            "".join(cells).encode()
        except UnicodeEncodeError:
            return RowFault(number, "not UTF-8")
        if len(cells) != self.count:
            return RowFault(number, f"has {len(cells)} cells, and there are {self.count} columns")
        key = cells[self.key]
        if not key:
            return RowFault(number, "key is empty")
        target = default if self.target is None else cells[self.target] or default
        if not target:
            return RowFault(number, "target is empty", key)
        message = "" if self.message is None else cells[self.message]
        members = {name: cells[at] for at, name in self.members if cells[at]}
        return BatchRow(key, target, message, members, line=number)


def _columns_of(names: Sequence[str], *, has_target: bool) -> _Columns:
    """Read the line of column names. Raises ValueError that says what is accepted."""
    places = {name: place for place, name in enumerate(names)}
    if len(places) < len(names):
        raise ValueError("a column stands twice")
    members = [
        (place, name.removeprefix(_INPUT)) for name, place in places.items() if name.startswith(_INPUT)
    ]
    named = {"key", "target", "message"}
    odd = [name for name in names if name not in named and not (name.startswith(_INPUT) and name != _INPUT)]
    if odd:
        raise ValueError(
            f"columns are key, target, message and input.<name>, not {', '.join(map(repr, odd))}"
        )
    if "key" not in places or not (has_target or "target" in places):
        raise ValueError("there have to be columns named key and target")
    return _Columns(
        count=len(names),
        key=places["key"],
        target=places.get("target"),
        message=places.get("message"),
        members=members,
    )
