"""AGH Runtime: cron expressions, checked as its server checks them. Pure.

Five fields: minute, hour, day of the month, month, day of the week; no seconds and no `@daily` (AGH automation
API, section 5.1). The server reads them in its own time zone, UTC by default, or in that of a leading `TZ=`.
"""

import re
from collections.abc import Mapping
from typing import Final

from attrs import frozen

_MONTHS: Final = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_DAYS: Final = ("sun", "mon", "tue", "wed", "thu", "fri", "sat")
_ZONE: Final = re.compile(r"(?:CRON_)?TZ=\S+\s+")
_NUMBER: Final = re.compile(r"[0-9]{1,9}", flags=re.ASCII)


@frozen
class _Field:
    name: str
    low: int
    high: int
    words: Mapping[str, int]


_FIELDS: Final = (
    _Field("minute", 0, 59, {}),
    _Field("hour", 0, 23, {}),
    _Field("day of the month", 1, 31, {}),
    _Field("month", 1, 12, {word: number for number, word in enumerate(_MONTHS, start=1)}),
    _Field("day of the week", 0, 6, {word: number for number, word in enumerate(_DAYS)}),
)


def check_cron(text: str) -> None:
    """Raise ValueError, which says what is wrong, for an expression that the server refuses."""
    text = text.strip()
    if text.startswith("@"):
        raise ValueError(f"shortcuts like {text!r} are not supported; write the five fields")
    written = text[found.end() :] if (found := _ZONE.match(text)) else text
    parts = written.split()
    if len(parts) != len(_FIELDS):
        raise ValueError(
            f"has to have five fields (minute hour day-of-month month day-of-week), not {len(parts)}: {text!r}"
        )
    for field, part in zip(_FIELDS, parts, strict=True):
        ranges = [each for each in part.split(",") if each]
        if not ranges:
            raise ValueError(f"{field.name}: {part!r} matches no time")
        for each in ranges:
            _check_range(field, each)


def _check_range(field: _Field, text: str) -> None:
    """Check `*`, `?`, `a`, `a-b`, each optionally followed by a slash and a step."""
    span, slash, step = text.partition("/")
    first, hyphen, last = span.partition("-")
    if slash and (_NUMBER.fullmatch(step) is None or not int(step)):
        raise ValueError(f"{field.name}: the step in {text!r} has to be a number above 0")
    if first in {"*", "?"}:
        return
    low = _number(field, first, text)
    high = _number(field, last, text) if hyphen else low
    if low > high:
        raise ValueError(f"{field.name}: {text!r} ends before it begins")


def _number(field: _Field, text: str, whole: str) -> int:
    number = field.words.get(text.lower())
    if number is None and _NUMBER.fullmatch(text):
        number = int(text)
    if number is None or not field.low <= number <= field.high:
        raise ValueError(f"{field.name}: {whole!r} is not from {field.low} to {field.high}")
    return number
