"""Reads rows from JSON lines and CSV, one by one. For a line that is not a row it returns a `RowFault`.

A source is a path, which is opened when the first row is requested, or lines: an open file or any iterable of `bytes`
or `str`. The encoding is UTF-8, with or without a byte order mark. Blank lines are skipped. A fault does not quote
the text that it is about.
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
#: Matches every whole number that may be too large; hardly any line has so many digits. (This form is the fastest.)
_DIGITS: Final = re.compile(rb"\d\d{18}")
#: A string or a number in JSON.
_PIECE: Final = re.compile(rb'"[^"\\]*(?:\\.[^"\\]*)*"|-?\d[-+.\deE]*')
_LARGEST_DIGITS: Final = len(str(-(2**63)))


class RowFault(ValueError):
    """A line that is not a row. `line_number` counts from 1; `key` is the row's key, if it could be read.

    In CSV a fault may extend to `last_line`: an unclosed quote includes all rows up to the next quote.
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
    """Return the rows and faults of JSON lines: objects with `key`, `target`, and optionally `message` and `input`.

    A key may be a whole number; null counts as a missing member. A whole number beyond 64 bits is a fault, since its
    value would change. `target` is used for rows that have none. With `is_strict` the first fault is raised. A line
    of more than `longest` bytes is a fault; from a file, such a line is never read into memory as a whole. Raise
    OSError for a path that cannot be read.
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
    """Return the rows and faults of CSV with a header: `key`, `target`, `message`, and `input.name` for each member.

    The column `key` is required, and `target` if no default is given. Members of the input are strings; an empty cell
    is a missing member. A cell may have as many characters as `csv.field_size_limit` allows. Otherwise like
    `read_jsonl`. Raise ValueError for an invalid header, when the first row is requested.
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
    """What is wrong with a line, in a message that does not quote it."""


# Lines


@contextmanager
def _opened(source: Source, longest: int) -> "Iterator[_Lines]":
    if isinstance(source, str | os.PathLike):
        with Path(source).open("rb") as file:
            yield _Lines(file, longest)
    else:
        yield _Lines(source, longest)


class _Lines:
    """Counts physical lines, and never reads more of a line than the allowed length."""

    def __init__(self, source: Iterable[str] | Iterable[bytes], longest: int) -> None:
        self._file = source if isinstance(source, io.IOBase) else None
        self._rest: Iterator[str | bytes] = iter(()) if self._file is not None else iter(source)
        self._longest = longest
        #: The number of the line that was returned last, from 1.
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
    """The lines as text. Invalid UTF-8 is replaced by surrogates, since a quoted cell may go on in the next line."""

    def __init__(self, lines: _Lines) -> None:
        self._lines = lines

    def __iter__(self) -> "_Texts":
        return self

    def __next__(self) -> str:
        line = next(self._lines)
        return line if isinstance(line, str) else line.decode("utf-8", "surrogateescape")


# Rows


def _row_in(line: str | bytes, default: str, number: int) -> BatchRow | RowFault:
    """Return the row of a line of JSON. Raise _Fault if it is not JSON."""
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
    """Return whether a string or number of JSON is a whole number that would be read as a float."""
    if not piece.removeprefix(b"-").isdigit():
        return False
    return len(piece) > _LARGEST_DIGITS or not -(2**63) <= int(piece) < 2**64


def _row_of(value: Any, default: str, number: int) -> BatchRow | RowFault:
    """Return the row of a decoded line."""
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
    """The positions of the columns in a CSV."""

    count: int
    key: int
    target: int | None
    message: int | None
    members: Sequence[tuple[int, str]]

    def row_of(self, cells: Sequence[str], default: str, number: int) -> BatchRow | RowFault:
        """Return the row of a line's cells."""
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
    """Return the columns named in the header. Raise ValueError that says what is accepted."""
    positions = {name: position for position, name in enumerate(names)}
    if len(positions) < len(names):
        raise ValueError("a column stands twice")
    members = [
        (position, name.removeprefix(_INPUT))
        for name, position in positions.items()
        if name.startswith(_INPUT)
    ]
    named = {"key", "target", "message"}
    odd = [name for name in names if name not in named and not (name.startswith(_INPUT) and name != _INPUT)]
    if odd:
        raise ValueError(
            f"columns are key, target, message and input.<name>, not {', '.join(map(repr, odd))}"
        )
    if "key" not in positions or not (has_target or "target" in positions):
        raise ValueError("there have to be columns named key and target")
    return _Columns(
        count=len(names),
        key=positions["key"],
        target=positions.get("target"),
        message=positions.get("message"),
        members=members,
    )
