"""Cron expressions of five fields, and the times that they match. Pure.

If both the day of the month and that of the week are restricted, one has to match; if one is `*`, both have to.
"""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta, tzinfo
from typing import Final, Self
from zoneinfo import ZoneInfo

from attrs import frozen

from .times import SECOND, nanoseconds

_MONTHS: Final = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_DAYS: Final = ("sun", "mon", "tue", "wed", "thu", "fri", "sat")
_NAMES: Final[Sequence[Mapping[str, int]]] = (
    {},
    {},
    {},
    {name: number for number, name in enumerate(_MONTHS, 1)},
    {name: number for number, name in enumerate(_DAYS)},
)
_BOUNDS: Final = ((0, 59), (0, 23), (1, 31), (1, 12), (0, 6))
_ZONES: Final = ("TZ=", "CRON_TZ=")
_FARTHEST: Final = 366 * 5  # days: an expression that matches no time until then never does


@frozen
class Cron:
    """One parsed expression. `zone` is None where it names none."""

    minutes: Sequence[int]
    hours: Sequence[int]
    days: frozenset[int]
    months: frozenset[int]
    weekdays: frozenset[int]
    is_either: bool
    zone: tzinfo | None

    @classmethod
    def read(cls, text: str) -> Self:
        """Parse an expression. Raises ValueError."""
        zone: tzinfo | None = None
        if text.startswith(_ZONES):
            name, _, text = text.partition(" ")
            try:
                zone = ZoneInfo(name.partition("=")[2])
            except KeyError as exc:
                raise ValueError(f"no such time zone: {name}") from exc
        parts = text.split()
        if len(parts) != len(_BOUNDS):
            raise ValueError(f"a cron expression has five fields, not {len(parts)}")
        read = [_field(part, index) for index, part in enumerate(parts)]
        return cls(
            minutes=sorted(read[0][0]),
            hours=sorted(read[1][0]),
            days=read[2][0],
            months=read[3][0],
            weekdays=read[4][0],
            is_either=not (read[2][1] or read[4][1]),
            zone=zone,
        )

    def after(self, moment: int, zone: tzinfo) -> int | None:
        """Return the first time after `moment` that it matches; None where there is none."""
        zone = self.zone or zone
        day = datetime.fromtimestamp(moment // SECOND, UTC).astimezone(zone).date()
        for _ in range(_FARTHEST):
            if self._matches(day.month, day.day, day.isoweekday() % 7):
                for hour in self.hours:
                    for minute in self.minutes:
                        local = datetime(day.year, day.month, day.day, hour, minute, tzinfo=zone)
                        due = nanoseconds(local.astimezone(UTC))
                        if due > moment and _exists(local):
                            return due
            day += timedelta(days=1)
        return None

    def _matches(self, month: int, day: int, weekday: int) -> bool:
        if month not in self.months:
            return False
        if self.is_either:
            return day in self.days or weekday in self.weekdays
        return day in self.days and weekday in self.weekdays


def _exists(local: datetime) -> bool:
    """Return whether this local time exists: the hour that is skipped by summer time does not."""
    return local.astimezone(UTC).astimezone(local.tzinfo).replace(fold=0) == local.replace(fold=0)


def _field(text: str, index: int) -> tuple[frozenset[int], bool]:
    """Return the numbers of a field, and whether it stands for all of them."""
    found: set[int] = set()
    is_star = False
    for part in text.split(","):
        span, slash, step_text = part.partition("/")
        step = _number(step_text, {}) if slash else 1
        low, high = _BOUNDS[index]
        if span in {"*", "?"}:
            is_star = is_star or step == 1
        else:
            first, hyphen, last = span.partition("-")
            begin = _number(first, _NAMES[index])
            end = _number(last, _NAMES[index]) if hyphen else begin
            if begin < low or end > high or begin > end:
                raise ValueError(f"out of range: {part!r}")
            # With a step, a single number begins a range.
            low, high = begin, high if slash and not hyphen else end
        if step < 1:
            raise ValueError(f"a step of nothing: {part!r}")
        found.update(range(low, high + 1, step))
    return frozenset(found), is_star


def _number(text: str, names: Mapping[str, int]) -> int:
    known = names.get(text.lower())
    if known is not None:
        return known
    if not (text.isascii() and text.isdigit()):
        raise ValueError(f"not a number: {text!r}")
    return int(text)
