"""The AOP items of a fake Leena AI, each with the course it will take. Pure: it is told the time."""

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

# The vendor's words, each with the seconds after the start from which it holds.
Course = tuple[tuple[float, str], ...]


@define(eq=False)
class Item:
    """One run. Moments are the world's seconds."""

    index: int
    id: str
    target: str
    started_at: float
    initiated_at: float
    course: Course

    @property
    def request_id(self) -> str:
        """Return the id that joins an execute to its row in the report."""
        return f"{int(self.id, 16) ^ _REQUEST_MASK:024x}"

    @property
    def ended_at(self) -> float | None:
        """Return the moment of the end, also before it has come; None when there will be none."""
        since, status = self.at(math.inf)
        return since if status in ENDS else None

    def at(self, now: float) -> tuple[float, str]:
        """Return since when, and as what, the run stands at `now`."""
        begin, status = self.course[0]
        for later, word in self.course[1:]:
            if status in ENDS or self.started_at + later > now:
                break
            begin, status = later, word
        return self.started_at + begin, status


class Items:
    """All items in the order of their start, found by id without a search."""

    def __init__(self, plan: RunPlan) -> None:
        self._plan = plan
        self._chance = random.Random(f"items {plan.seed}")  # noqa: S311 - seeded on purpose
        self._courses = MappingProxyType({name: _scripted(name, plan) for name in plan.scripts})
        self._items: list[Item] = []
        self._by_id: dict[str, Item] = {}
        for index in range(plan.history):
            begun = -_HOUR - _MINUTE * (plan.history - index)
            self.begin(_HISTORY_TARGETS[index % len(_HISTORY_TARGETS)], begun)

    @property
    def epoch(self) -> datetime:
        """Return the moment of the world's second 0."""
        return self._plan.epoch

    @property
    def seed(self) -> int:
        """Return the seed of all that is drawn."""
        return self._plan.seed

    def begin(self, target: str, now: float) -> Item:
        """Add a run that starts now."""
        item_id = f"{self._chance.getrandbits(96):024x}"
        course = self._courses.get(target) or self._drawn()
        item = Item(len(self._items), item_id, target, now, now + self._plan.delay, course)
        self._items.append(item)
        self._by_id[item_id] = item
        return item

    def find(self, item_id: str) -> Item | None:
        """Return the item of this id."""
        return self._by_id.get(item_id)

    def initiated_between(self, first: float, last: float) -> Sequence[Item]:
        """Return what was initiated from `first` on and before `last`, in order."""
        begin = bisect_left(self._items, first, key=lambda item: item.initiated_at)
        end = bisect_left(self._items, last, key=lambda item: item.initiated_at)
        return self._items[begin:end]

    def _drawn(self) -> Course:
        plan, chance = self._plan, self._chance
        seconds, end = plan.draw(chance)
        whole = plan.delay + seconds
        if chance.random() >= plan.pausing:
            return (0.0, "in_progress"), (whole, end)
        pause, again = plan.delay + seconds * 0.3, plan.delay + seconds * 0.6
        return (0.0, "in_progress"), (pause, "paused"), (again, "in_progress"), (whole, end)


def _scripted(target: str, plan: RunPlan) -> Course:
    steps = plan.scripts[target]
    if not steps:
        raise ValueError(f"the script of {target!r} has no steps")
    course = [(0.0, steps[0].status)]
    begin = plan.delay + steps[0].seconds
    for step in steps[1:]:
        course.append((begin, step.status))
        begin += step.seconds
    return tuple(course)
