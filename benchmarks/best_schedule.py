"""The best possible schedule of polls for known durations, by dynamic programming.

A schedule may poll at the nodes of a fine grid. With one poll worth `c` seconds of delay, the best schedule behind
each node follows from those behind later ones; the best next poll moves one way with the node, so few are tried.
"""

import math
from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from itertools import accumulate, pairwise
from typing import Final

from attrs import frozen

from aioagents.polling.schedule import Cost

_PRICES: Final = 32


@frozen
class Sample:
    """Durations in order, and what of them lies below a time."""

    durations: Sequence[float]
    sums: Sequence[float]

    @classmethod
    def of(cls, durations: Sequence[float]) -> "Sample":
        """Sort the durations."""
        ordered = sorted(durations)
        return cls(ordered, [0.0, *accumulate(ordered)])

    def alive(self, seconds: float) -> float:
        """Return the share that lasts longer."""
        return 1.0 - bisect_right(self.durations, seconds) / len(self.durations)

    def lived(self, seconds: float) -> float:
        """Return the mean of the durations, each cut off at `seconds`."""
        below = bisect_right(self.durations, seconds)
        return (self.sums[below] + seconds * (len(self.durations) - below)) / len(self.durations)

    def grid(self, cap: float, nodes: int) -> list[float]:
        """Return times at which a schedule may poll."""
        durations = self.durations
        count, last = len(durations), durations[-1] * 1.001
        first = max(durations[0] / 2, 0.05)
        found = {0.0, last}
        found.update(durations[number * (count - 1) // nodes] for number in range(nodes))
        found.update(first * (last / first) ** (number / nodes) for number in range(nodes))
        if cap < last:  # there has to be a way through times at which nothing ends
            step = max(cap / 4, last / (4 * nodes))
            found.update(step * number for number in range(math.ceil(last / step)))
        return sorted(found)


def best_costs(sample: Sample, *, cap: float, nodes: int = 900) -> list[Cost]:
    """Return the least cost for many prices of a poll, in the order of polls, with about so many `nodes`."""
    grid = sample.grid(cap, nodes)
    alive = [sample.alive(at) for at in grid]
    lived = [sample.lived(at) for at in grid]
    mean = lived[-1]
    prices = [mean / 50_000 * 40_000 ** (number / (_PRICES - 1)) for number in range(_PRICES)]
    return sorted(_best(grid, alive, lived, cap, price) for price in prices)


def _best(nodes: list[float], alive: list[float], lived: list[float], cap: float, price: float) -> Cost:
    last = len(nodes) - 1
    costs = [0.0] * (last + 1)  # behind each node, for all runs that reach it
    polls = [0.0] * (last + 1)
    best = last
    for number in range(last - 1, -1, -1):
        at, share = nodes[number], alive[number]
        if share <= 0.0:
            best = number
            continue
        furthest = max(min(bisect_left(nodes, at + cap * 1.0001) - 1, max(best, number + 1)), number + 1)
        best = min(
            range(number + 1, furthest + 1),
            key=lambda later: nodes[later] * share - lived[later] + costs[later],
        )
        costs[number] = price * share + (nodes[best] - at) * share - lived[best] + lived[number] + costs[best]
        polls[number] = share + polls[best]
    return Cost(polls[0], costs[0] - price * polls[0])


def delay_at(costs: Sequence[Cost], polls: float) -> float:
    """Return the delay at a number of polls, between those that were reckoned; NaN outside of them."""
    for low, high in pairwise(costs):
        if low.polls <= polls <= high.polls:
            share = (
                math.log(polls / low.polls) / math.log(high.polls / low.polls)
                if high.polls > low.polls
                else 0.0
            )
            return low.delay * math.exp(share * math.log(high.delay / low.delay))
    return math.nan
