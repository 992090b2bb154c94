"""Times, durations and objects as a Go server reads and writes them; times in whole nanoseconds. Pure.

A time is counted from the start of 1970 in UTC.
"""

import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta, tzinfo
from email.utils import format_datetime
from functools import lru_cache
from typing import Final, TypeVar

T = TypeVar("T")

SECOND: Final = 1_000_000_000
_START: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MOMENT: Final = re.compile(
    r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(?:[.,](\d+))?(Z|[+-]\d\d:\d\d)", flags=re.ASCII
)
_UNITS: Final = {
    "ns": 1,
    "us": 1_000,
    "\u00b5s": 1_000,  # micro sign
    "\u03bcs": 1_000,  # mu
    "ms": 1_000_000,
    "s": SECOND,
    "m": 60 * SECOND,
    "h": 3600 * SECOND,
}
_PART: Final = re.compile(r"(\d+(?:\.\d*)?|\.\d+)(ns|us|\u00b5s|\u03bcs|ms|s|m|h)", flags=re.ASCII)
_MOST: Final = 2**63 - 1


def nanoseconds(moment: datetime) -> int:
    """Return an aware datetime as nanoseconds."""
    return (moment - _START) // timedelta(microseconds=1) * 1_000


def read_moment(text: str) -> int | None:
    """Read RFC 3339; None for anything else. Digits after the ninth are dropped."""
    found = _MOMENT.fullmatch(text)
    if found is None:
        return None
    seconds, digits, zone = found.groups()
    try:
        whole = nanoseconds(datetime.fromisoformat(f"{seconds}{zone}"))
    except ValueError:
        return None
    return whole + int(f"{digits or '':0<9}"[:9])


@lru_cache(maxsize=16_384)  # histories are listed again and again
def write_moment(moment: int, zone: tzinfo = UTC) -> str:
    """Write RFC 3339 with as many digits as are needed, up to nine."""
    seconds, rest = divmod(moment, SECOND)
    text = (_START + timedelta(seconds=seconds)).astimezone(zone).isoformat()
    text = text.removesuffix("+00:00")
    fraction = f".{rest:09d}".rstrip("0").rstrip(".")
    return f"{text[:19]}{fraction}{text[19:] or 'Z'}"


def write_optional(moment: int | None, zone: tzinfo = UTC) -> str:
    """Write RFC 3339; an empty text for None."""
    return "" if moment is None else write_moment(moment, zone)


def omit_empty(members: Mapping[str, T]) -> dict[str, T]:
    """Return the members that are not empty, which are those that Go writes with `omitempty`."""
    return {name: value for name, value in members.items() if value}


def write_date(moment: int) -> str:
    """Write the date of a reply's header."""
    return format_datetime(_START + timedelta(seconds=moment // SECOND), usegmt=True)


@lru_cache(maxsize=256)
def read_duration(text: str) -> int | None:
    """Read a Go duration; None for anything else. Zero and negative ones are durations too."""
    sign = -1 if text.startswith("-") else 1
    rest = text[1:] if text[:1] in {"+", "-"} else text
    if rest == "0":
        return 0
    whole, position = 0, 0
    while (part := _PART.match(rest, position)) is not None:
        number, unit = part.groups()
        digits, _, fraction = number.partition(".")
        whole += int(digits or "0") * _UNITS[unit]
        whole += int(fraction or "0") * _UNITS[unit] // 10 ** len(fraction)
        position = part.end()
    return sign * whole if 0 < position == len(rest) and whole <= _MOST else None


def write_duration(duration: int) -> str:
    """Write a positive Go duration as Go itself does: `1h0m0s`, `1.5s`, `250ms`."""
    if duration < SECOND:
        unit = next(unit for unit in ("ms", "\u00b5s", "ns") if duration >= _UNITS[unit])
        return f"{_decimal(duration, _UNITS[unit])}{unit}"
    minutes, rest = divmod(duration, _UNITS["m"])
    hours, minutes = divmod(minutes, 60)
    text = f"{_decimal(rest, SECOND)}s"
    if hours:
        return f"{hours}h{minutes}m{text}"
    return f"{minutes}m{text}" if minutes else text


def _decimal(count: int, unit: int) -> str:
    whole, rest = divmod(count, unit)
    digits = len(str(unit)) - 1
    return f"{whole}.{rest:0{digits}d}".rstrip("0").rstrip(".") if digits else str(whole)
