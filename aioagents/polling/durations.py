"""How long runs last, learned from those that were seen: counts by duration, and the hazard rate made of them. Pure.

The hazard rate is estimated at all scales at once (E. D. Kolaczyk, "Bayesian multiscale models for Poisson
processes", 1999): time is halved again and again, and the halves get rates of their own only as far as their
numbers differ from what chance would make of one rate. So a narrow peak is found from few runs, and a broad
distribution stays smooth.
"""

import math
from array import array
from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise
from typing import Any, Final, Self

BINS: Final = 512  # a power of two, since time is halved
_FIRST: Final = 0.25  # seconds: durations below share a bin
_LONGEST: Final = 45 * 86400.0  # seconds: durations above share a bin
_LOG_RATIO: Final = math.log(_LONGEST / _FIRST) / (BINS - 1)
#: Where each bin begins, in seconds, and behind them where the last one ends. Each is 3.6 % wide.
EDGES: Final = (0.0, *(_FIRST * math.exp(_LOG_RATIO * number) for number in range(BINS)))
WIDTHS: Final = tuple(high - low for low, high in pairwise(EDGES))
_CENTERS: Final = tuple((low + high) / 2 for low, high in pairwise(EDGES))

_MEMORY: Final = 400.0  # ends after which an observation counts for a factor e less
_MOST_WEIGHT: Final = 1e4  # of one observation, before all counts are scaled down

# Without data, runs end at a rate of 1 / t: it prefers no duration. That counts as much as this many runs.
_PRIOR: Final = 0.05
# How strongly the two halves of a time are held to one rate, and how often two rates are expected.
_EVENNESS: Final = 1.0
_SPLIT_ODDS: Final = 0.4
# Where the halving begins, in bins: a peak may lie across the middle of one order of halves.
_OFFSETS: Final = (0, BINS // 3)
_MOST_LOG: Final = 50.0


def bin_of(seconds: float) -> int:
    """Return the number of the bin that has a duration."""
    if seconds < _FIRST:
        return 0
    return min(int(math.log(seconds / _FIRST) / _LOG_RATIO) + 1, BINS - 1)


class Durations:
    """Counts of durations, old ones counted less. A few kilobytes whatever it has seen.

    A run counts as long as it was seen to go on, whether or not it has ended: else the hazard rate would be biased
    towards short runs.
    """

    __slots__ = ("_ends", "_entries", "_weight", "ended", "seen")

    def __init__(self) -> None:
        self._ends = array("f", bytes(4 * BINS))
        # How many more runs were followed in a bin than in the one before it.
        self._entries = array("f", bytes(4 * (BINS + 1)))
        self._weight = 1.0
        #: How many ends are remembered, old ones counted less.
        self.ended = 0.0
        #: How many ends were seen in all.
        self.seen = 0

    def survive(self, since: float, until: float) -> None:
        """Record that a run which was followed from `since` seconds on had not ended after `until`."""
        first, last = bin_of(since), bin_of(until)
        if last > first:
            self._entries[first] += self._weight
            self._entries[last] -= self._weight

    def end(self, since: float, duration: float) -> None:
        """Record that a run which was followed from `since` seconds on ended after `duration`."""
        last = bin_of(duration)
        self._entries[min(bin_of(since), last)] += self._weight
        self._entries[last + 1] -= self._weight
        self._ends[last] += self._weight
        self._weight *= 1.0 + 1.0 / _MEMORY
        self.ended = self.ended * (1.0 - 1.0 / _MEMORY) + 1.0
        self.seen += 1
        if self._weight > _MOST_WEIGHT:
            self._scale(1.0 / self._weight)

    def forget(self, factor: float) -> None:
        """Count all that was seen so far `factor` times less than what is seen from now on."""
        self._weight *= factor
        self.ended /= factor

    def _scale(self, factor: float) -> None:
        self._ends = array("f", (count * factor for count in self._ends))
        self._entries = array("f", (count * factor for count in self._entries))
        self._weight *= factor

    def hazard(self) -> list[float]:
        """Return the hazard rate in each bin: ends per second, of the runs that have lasted so long."""
        ends: list[float] = []
        expected: list[float] = []  # ends at a rate of 1 / t
        followed = 0.0
        for count, more, width, center in zip(self._ends, self._entries, WIDTHS, _CENTERS, strict=False):
            followed += more
            at_risk = max(followed - count / 2, count / 2)  # those that ended, for half of the bin
            ends.append(count / self._weight)
            expected.append((at_risk / self._weight + _PRIOR) * width / center)
        rates = [0.0] * BINS
        for offset in _OFFSETS:
            factors = _factors(ends[offset:] + ends[:offset], expected[offset:] + expected[:offset])
            for number, center in enumerate(_CENTERS):
                rates[number] += factors[number - offset] / center
        return [rate / len(_OFFSETS) for rate in rates]

    def to_json(self) -> dict[str, Any]:
        """Return what was counted as JSON, without the bins that are empty."""
        return {
            "ended": self.ended,
            "seen": self.seen,
            "ends": _sparse(self._ends, self._weight),
            "entries": _sparse(self._entries, self._weight),
        }

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Self:
        """Return the counts of `to_json`. Raise KeyError, TypeError, ValueError or IndexError for anything else."""
        found = cls()
        found.ended, found.seen = float(value["ended"]), int(value["seen"])
        for counts, name in ((found._ends, "ends"), (found._entries, "entries")):
            for number, count in value[name].items():
                if not math.isfinite(count):
                    raise ValueError(f"{name}: {count} is no count")
                counts[int(number)] = count
        return found


def _sparse(counts: Iterable[float], weight: float) -> dict[str, float]:
    return {str(number): count / weight for number, count in enumerate(counts) if count}


def _factors(ends: Sequence[float], expected: Sequence[float]) -> list[float]:
    """Return for each bin by which factor its rate differs from the one by which `expected` was reckoned."""
    levels = [(ends, expected)]
    while len(levels[-1][0]) > 1:
        levels.append(tuple([a + b for a, b in zip(of[::2], of[1::2], strict=True)] for of in levels[-1]))  # type: ignore[arg-type]
    (ended,), (reckoned,) = levels.pop()
    factors = [(ended + _PRIOR) / (reckoned + _PRIOR)]
    while levels:
        ends, expected = levels.pop()
        halves: list[float] = []
        for number, factor in enumerate(factors):
            low, high = ends[2 * number], ends[2 * number + 1]
            if low + high == 0.0:
                halves += (factor, factor)
                continue
            share = expected[2 * number] / (expected[2 * number] + expected[2 * number + 1])
            found = _share(low, high, share)
            halves += (factor * found / share, factor * (1.0 - found) / (1.0 - share))
        factors = halves
    return factors


def _share(low: float, high: float, expected: float) -> float:
    """Return the share of ends in the lower half, given the ends in both and the share at one common rate.

    That is the mean of a mixture: of the expected share, and of a beta distribution around it, each weighed by how
    well it explains the numbers.
    """
    total = low + high
    prior_low, prior_high = _EVENNESS * expected, _EVENNESS * (1.0 - expected)
    log_odds = (
        math.lgamma(low + prior_low)
        - math.lgamma(prior_low)
        + math.lgamma(high + prior_high)
        - math.lgamma(prior_high)
        + math.lgamma(_EVENNESS)
        - math.lgamma(total + _EVENNESS)
        - low * math.log(expected)
        - high * math.log1p(-expected)
    )
    odds = _SPLIT_ODDS * math.exp(min(log_odds, _MOST_LOG))
    return (odds * (low + prior_low) / (total + _EVENNESS) + expected) / (odds + 1.0)
