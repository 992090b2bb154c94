"""The AOP items of a fake Leena AI, each with the timeline of its status words. Pure: the time is a parameter."""

import math
import random
from bisect import bisect_left
from collections.abc import Sequence
from datetime import datetime
from types import MappingProxyType
from typing import Final

from attrs import define

from ....contract.fake import RunPlan

ENDS: Final = frozenset({"completed", "failed", "aborted"})
_REQUEST_MASK: Final = 0x5A5A5A5A5A5A
_HISTORY_TARGETS: Final = ("it_ticket_triage", "invoice_check", "new_hire_setup")
_MINUTE, _HOUR = 60.0, 3600.0

#: The vendor's status words, each with the seconds after the start from which it holds.
Timeline = tuple[tuple[float, str], ...]


@define(eq=False)
class Item:
    """One run. Times are the fake server's seconds."""

    index: int
    id: str
    target: str
    started_at: float
    initiated_at: float
    timeline: Timeline

    @property
    def request_id(self) -> str:
        """Return the id that the answer to execute and the report's row have in common."""
        return f"{int(self.id, 16) ^ _REQUEST_MASK:024x}"

    @property
    def ended_at(self) -> float | None:
        """Return when it ends, also before then; None if it never does."""
        since, status = self.status_at(math.inf)
        return since if status in ENDS else None

    def status_at(self, now: float) -> tuple[float, str]:
        """Return the status at `now`, and since when it holds: `(since, status)`."""
        begin, status = self.timeline[0]
        for later, word in self.timeline[1:]:
            if status in ENDS or self.started_at + later > now:
                break
            begin, status = later, word
        return self.started_at + begin, status


class Items:
    """All items in the order of their start, found by id without a search."""

    def __init__(self, plan: RunPlan) -> None:
        self._plan = plan
        self._chance = random.Random(f"items {plan.seed}")  # noqa: S311 - seeded on purpose
        self._timelines = MappingProxyType({name: _scripted(name, plan) for name in plan.scripts})
        self._items: list[Item] = []
        self._by_id: dict[str, Item] = {}
        for index in range(plan.history):
            begun = -_HOUR - _MINUTE * (plan.history - index)
            self.begin(_HISTORY_TARGETS[index % len(_HISTORY_TARGETS)], begun)

    @property
    def epoch(self) -> datetime:
        """Return the date of the fake server's second 0."""
        return self._plan.epoch

    @property
    def seed(self) -> int:
        """Return the seed of everything random."""
        return self._plan.seed

    def begin(self, target: str, now: float) -> Item:
        """Add a run that starts now."""
        item_id = f"{self._chance.getrandbits(96):024x}"
        timeline = self._timelines.get(target) or self._draw_timeline()
        item = Item(len(self._items), item_id, target, now, now + self._plan.delay, timeline)
        self._items.append(item)
        self._by_id[item_id] = item
        return item

    def find(self, item_id: str) -> Item | None:
        """Return the item of this id."""
        return self._by_id.get(item_id)

    def initiated_between(self, first: float, last: float) -> Sequence[Item]:
        """Return the items initiated from `first` on and before `last`, in order."""
        begin = bisect_left(self._items, first, key=lambda item: item.initiated_at)
        end = bisect_left(self._items, last, key=lambda item: item.initiated_at)
        return self._items[begin:end]

    def _draw_timeline(self) -> Timeline:
        plan, chance = self._plan, self._chance
        seconds, end = plan.draw(chance)
        whole = plan.delay + seconds
        if chance.random() >= plan.pausing:
            return (0.0, "in_progress"), (whole, end)
        pause, again = plan.delay + seconds * 0.3, plan.delay + seconds * 0.6
        return (0.0, "in_progress"), (pause, "paused"), (again, "in_progress"), (whole, end)


def _scripted(target: str, plan: RunPlan) -> Timeline:
    steps = plan.scripts[target]
    if not steps:
        raise ValueError(f"the script of {target!r} has no steps")
    timeline = [(0.0, steps[0].status)]
    begin = plan.delay + steps[0].seconds
    for step in steps[1:]:
        timeline.append((begin, step.status))
        begin += step.seconds
    return tuple(timeline)
