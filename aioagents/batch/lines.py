"""The lines of a results file: one for each settled row, as JSON or CSV. Pure."""

import csv
import io
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from attrs import frozen

from .. import codec
from .record import Record

COLUMNS: Final = (
    "key",
    "target",
    "state",
    "ref",
    "status",
    "error_kind",
    "error",
    "sent_at",
    "ended_at",
    "output",
)
_FORMULA: Final = ("=", "+", "-", "@", "\t", "\r")


@frozen
class LineFormat:
    """A format of files: what a new file begins with, what every file of ours begins with, and a row's line."""

    head: bytes
    prefix: bytes
    line: Callable[[Record], bytes]


def line_format(name: str, *, guards_formulas: bool, hide: Callable[[str], str]) -> LineFormat:
    """Return the format `jsonl` or `csv`. Raise ValueError for another name."""
    if name == "jsonl":
        return LineFormat(b"", b'{"key":', lambda record: codec.encode_deep(_values(record, hide)) + b"\n")
    if name == "csv":
        guard = guarded if guards_formulas else str
        return LineFormat(
            _HEAD, _HEAD, lambda record: _csv_bytes([guard(each) for each in _cells(record, hide)])
        )
    raise ValueError(f"form has to be 'jsonl' or 'csv', not {name!r}")


def guarded(cell: str) -> str:
    """Return a cell that no spreadsheet runs as a formula: with a quote before it if it begins like one."""
    return f"'{cell}" if cell.startswith(_FORMULA) else cell


def _values(record: Record, hide: Callable[[str], str]) -> Mapping[str, Any]:
    values = (
        record.key,
        record.target,
        record.state.value,
        None if record.ref is None else str(record.ref),
        hide(record.status) or None,
        record.kind or None,
        hide(record.error) or None,
        record.sent_at,
        record.ended_at,
        _hidden(record.output, hide),
    )
    return dict(zip(COLUMNS, values, strict=True))


def _hidden(value: Any, hide: Callable[[str], str]) -> Any:
    """Return an output with `hide` applied to all its texts. It may be deeper than functions can be nested."""
    root = [value]
    parts: list[Any] = [root]
    while parts:
        part = parts.pop()
        for name, each in list(part.items() if isinstance(part, dict) else enumerate(part)):
            if isinstance(each, str):
                part[name] = hide(each)
            elif isinstance(each, list | dict):
                copy = (
                    [*each] if isinstance(each, list) else {hide(key): value for key, value in each.items()}
                )
                part[name] = copy
                parts.append(copy)
    return root[0]


def _cells(record: Record, hide: Callable[[str], str]) -> Sequence[str]:
    values = {**_values(record, hide)}
    for name in ("sent_at", "ended_at"):
        time = getattr(record, name)
        values[name] = None if time is None else time.isoformat()
    values["output"] = None if record.output is None else codec.encode_deep(values["output"]).decode()
    return ["" if each is None else str(each) for each in values.values()]


def _csv_bytes(cells: Sequence[str]) -> bytes:
    text = io.StringIO()
    csv.writer(text).writerow(cells)
    return text.getvalue().encode()


_HEAD: Final = _csv_bytes(COLUMNS)
