"""The AOP items of a fake Leena AI, each with the timeline of its status words. Pure: the time is a parameter."""

from bisect import bisect_left
from collections.abc import Sequence
from datetime import datetime
from typing import Final

from attrs import define

from ....contract.fake import FakeRun, RunPlan, StatusWords, Timelines, hex_id, seeded

_REQUEST_MASK: Final = 0x5A5A5A5A5A5A
_HISTORY_TARGETS: Final = ("it_ticket_triage", "invoice_check", "new_hire_setup")
_MINUTE, _HOUR = 60.0, 3600.0

_WORDS: Final = StatusWords(running="in_progress", paused="paused")


@define(eq=False, kw_only=True)
class Item(FakeRun):
    """One run. Times are the fake server's seconds."""

    index: int
    target: str
    initiated_at: float

    @property
    def request_id(self) -> str:
        """Return the id that the answer to execute and the report's row have in common."""
        return f"{int(self.id, 16) ^ _REQUEST_MASK:024x}"


class Items:
    """All items in the order of their start, found by id without a search."""

    def __init__(self, plan: RunPlan) -> None:
        self._plan = plan
        self._chance = seeded("items", plan.seed)
        self._timelines = Timelines(plan, _WORDS)
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
        item = Item(
            id=hex_id(self._chance, 24),
            created_at=now,
            timeline=self._timelines.make([target], self._chance),
            index=len(self._items),
            target=target,
            initiated_at=now + self._plan.delay,
        )
        self._items.append(item)
        self._by_id[item.id] = item
        return item

    def find(self, item_id: str) -> Item | None:
        """Return the item of this id."""
        return self._by_id.get(item_id)

    def initiated_between(self, first: float, last: float) -> Sequence[Item]:
        """Return the items initiated from `first` on and before `last`, in order."""
        begin = bisect_left(self._items, first, key=lambda item: item.initiated_at)
        end = bisect_left(self._items, last, key=lambda item: item.initiated_at)
        return self._items[begin:end]
