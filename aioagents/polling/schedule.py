"""When to poll a run whose hazard rate is known, so that its end is seen soon with few polls. Pure.

For a given number of polls the mean delay is least where polls are `sqrt(2 c / h(t))` apart: `h` is the hazard rate
after t seconds, and `c` the seconds of delay that one poll is worth (J. B. Keller, "Optimum checking schedules for
systems subject to random failure", 1974). In other words, from one poll to the next the integral of `sqrt(h)` grows
by the same amount, here called the spacing.
"""

import math
from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Sequence
from operator import neg
from typing import Final, NamedTuple

from .durations import BINS, EDGES, WIDTHS

_STEPS: Final = 80  # polls of one run that are reckoned one by one
_NARROWEST: Final = 1e-7  # spacing, as a share of the whole integral
_EXACTNESS: Final = 1.02
_MOST_ENDED: Final = 50.0  # in one bin, of each run: more makes no difference


class Cost(NamedTuple):
    """What a schedule costs a run on average: polls, and seconds from its end until a poll sees it."""

    polls: float
    delay: float


class Schedule:
    """Polls at least `floor` and at most `cap` seconds apart, placed by a hazard rate per bin of `durations`.

    A share of runs that is below `negligible` counts for nothing in what polls cost: of the few that last longest,
    too little is known.
    """

    __slots__ = ("_alive", "_areas", "_cap", "_floor", "_lived", "_negligible", "spacing")

    def __init__(self, hazard: Sequence[float], *, floor: float, cap: float, negligible: float = 0.0) -> None:
        self._floor = floor
        self._cap = cap
        self._negligible = negligible
        # Up to each edge: the integral of the rate's root, the share of runs that last longer, and its integral.
        self._areas = array("d", [0.0])
        self._alive = array("f", [1.0])
        self._lived = array("d", [0.0])
        area = lived = 0.0
        alive = 1.0
        for rate, width in zip(hazard, WIDTHS, strict=True):
            area += math.sqrt(rate) * width
            before, alive = alive, alive * math.exp(-min(rate * width, _MOST_ENDED))
            lived += width * (before + alive) / 2
            self._areas.append(area)
            self._alive.append(alive)
            self._lived.append(lived)
        #: How much the integral of the rate's root grows from one poll to the next.
        self.spacing = area

    def gap(self, elapsed: float, *, stretch: float = 1.0) -> float:
        """Return the seconds until the next poll of a run that has lasted for `elapsed` seconds.

        `stretch` multiplies the spacing.
        """
        areas = self._areas
        area = _between(areas, elapsed) + self.spacing * stretch
        number = bisect_right(areas, area)
        if number > BINS:
            return self._cap
        low, high = areas[number - 1], areas[number]
        at = EDGES[number - 1] + WIDTHS[number - 1] * (area - low) / (high - low)
        return min(max(at - elapsed, self._floor), self._cap)

    def alive(self, seconds: float) -> float:
        """Return the share of runs that last longer than so many seconds."""
        return _between(self._alive, seconds)

    def cost(self, gap: Callable[[float], float] | None = None) -> Cost:
        """Return what the polls cost, or polls that come `gap(elapsed)` seconds after one another."""
        gap = gap or self.gap
        polls = delay = at = lived = 0.0
        alive = 1.0
        for _ in range(_STEPS):
            polls += alive
            step = gap(at)
            at += step
            before, alive = alive, _between(self._alive, at)
            lived_before, lived = lived, _between(self._lived, at)
            delay += step * before - (lived - lived_before)
            if alive < self._negligible:
                return Cost(polls, delay)
        # From here on as if the gap stayed the same.
        end = bisect_left(self._alive, -self._negligible, key=neg)
        return Cost(polls + max(self._lived[min(end, BINS)] - lived, 0.0) / step, delay + alive * step / 2)

    def set_spacing(self, is_too_narrow: Callable[[Cost], bool]) -> None:
        """Set the narrowest spacing whose cost is not too narrow; every wider one has to be so, too."""
        high = self._areas[-1]
        low = high * _NARROWEST
        while high > _EXACTNESS * low:
            self.spacing = math.sqrt(low * high)
            if is_too_narrow(self.cost()):
                low = self.spacing
            else:
                high = self.spacing
        self.spacing = high


def _between(values: Sequence[float], seconds: float) -> float:
    """Return the value at a time, from those at the edges of bins."""
    number = min(bisect_right(EDGES, seconds), BINS) - 1
    share = min((seconds - EDGES[number]) / WIDTHS[number], 1.0)
    return values[number] + share * (values[number + 1] - values[number])
