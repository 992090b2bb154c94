"""AGH Runtime: durations and moments as its server reads and writes them. Pure.

Durations are Go's: decimal numbers, each with a unit, like `250ms`, `90s`, `1h30m`. Moments are RFC 3339 with 0
to 9 digits after the point (AGH automation API, section 3).
"""

import math
import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Final, TypeAlias

from .checks import check_rule

#: A duration: Go's text, a timedelta, or seconds.
Duration: TypeAlias = str | timedelta | float
#: A moment: RFC 3339 text, or a datetime that knows its zone.
Moment: TypeAlias = str | datetime

_SECOND: Final = 1_000_000_000
# Both letters that stand for micro, as Go takes them.
_UNITS: Final[Mapping[str, int]] = {
    "ns": 1,
    "us": 1_000,
    "\u00b5s": 1_000,
    "\u03bcs": 1_000,
    "ms": 1_000_000,
    "s": _SECOND,
    "m": 60 * _SECOND,
    "h": 3600 * _SECOND,
}
_WRITTEN: Final = ("h", "m", "s", "ms", "us", "ns")
_LONGEST: Final = 2**63 - 1  # Go counts nanoseconds in 64 bits
_PART: Final = r"([0-9]+(?:\.[0-9]*)?|\.[0-9]+)(ns|us|\u00b5s|\u03bcs|ms|s|m|h)"
_DURATION: Final = re.compile(rf"\+?(?:{_PART})+")
_MOMENT: Final = re.compile(
    r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(?:\.([0-9]{1,9}))?(Z|[+-]\d\d:\d\d)", flags=re.ASCII
)


def parse_duration(text: str) -> float:
    """Return a Go duration as seconds. Raises ValueError for other text, and for zero."""
    return _nanoseconds(text) / _SECOND


def write_duration(value: Duration, path: str) -> str:
    """Return a duration as the server's text, a string unchanged. Raises ValueError or TypeError, naming `path`."""
    if isinstance(value, str):
        return check_rule(_nanoseconds, value, path)
    if isinstance(value, bool) or not isinstance(value, int | float | timedelta):
        raise TypeError(
            f"{path}: expected Go duration text, a timedelta or seconds, not {type(value).__name__}"
        )
    if isinstance(value, timedelta):
        count = value // timedelta(microseconds=1) * 1_000
    elif math.isfinite(value):
        count = round(value * _SECOND)
    else:
        raise ValueError(f"{path}: {value} is no duration")
    if not 0 < count <= _LONGEST:
        raise ValueError(f"{path}: has to be longer than zero and shorter than 292 years, not {value}")
    return _text(count)


def parse_moment(text: str) -> datetime:
    """Return RFC 3339 with a zone as a datetime, truncated to microseconds. Raises ValueError for anything else."""
    found = _MOMENT.fullmatch(text.strip())
    try:
        if found is not None:
            seconds, digits, zone = found.groups()
            return datetime.fromisoformat(f"{seconds}.{(digits or '')[:6]:0<6}{zone}")
    except ValueError:
        pass
    raise ValueError(f"expected RFC 3339 with a zone, like 2026-01-05T10:00:00Z, not {text!r}")


def write_moment(value: Moment, path: str) -> str:
    """Return a moment as the server's text, a string unchanged. Raises ValueError or TypeError, naming `path`."""
    if isinstance(value, str):
        return check_rule(parse_moment, value, path)
    if not isinstance(value, datetime):
        raise TypeError(f"{path}: expected an aware datetime or RFC 3339 text, not {type(value).__name__}")
    if value.utcoffset() is None:
        raise ValueError(f"{path}: the datetime has no time zone; add tzinfo")
    try:
        return value.astimezone(UTC).isoformat().replace("+00:00", "Z")
    except OverflowError:
        raise ValueError(f"{path}: {value} is no moment of the years 1 to 9999 in UTC") from None


def order_of(text: str) -> tuple[datetime, int]:
    """Return a sort key of an RFC 3339 moment, exact to the nanosecond. Raises ValueError."""
    found = _MOMENT.fullmatch(text.strip())
    digits = (found.group(2) or "") if found is not None else ""
    return parse_moment(text), int(f"{digits:0<9}"[6:])


def _nanoseconds(text: str) -> int:
    text = text.strip()
    if not _DURATION.fullmatch(text):
        raise ValueError(f"expected a duration with units, like 250ms, 90s or 1h30m, not {text!r}")
    count = sum(_part(number, unit) for number, unit in re.findall(_PART, text))
    if not 0 < count <= _LONGEST:
        raise ValueError(f"has to be longer than zero and shorter than 292 years, not {text!r}")
    return count


def _part(number: str, unit: str) -> int:
    whole, _, fraction = number.partition(".")
    scale: int = 10 ** len(fraction)
    return int(whole or "0") * _UNITS[unit] + int(fraction or "0") * _UNITS[unit] // scale


def _text(count: int) -> str:
    parts = []
    for unit in _WRITTEN:
        number, count = divmod(count, _UNITS[unit])
        if number:
            parts.append(f"{number}{unit}")
    return "".join(parts)
