"""Runs in the order in which they are due."""

import math
import random
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aioagents.polling.due_queue import MOST_TAKEN, DueQueue
from aioagents.polling.runs import Phase


class _Item:
    def __init__(self, name: int) -> None:
        self.name = name
        self.due_at = 0.0
        self.phase = Phase.RESTING

    def __lt__(self, other: object) -> bool:
        return False


_ITEMS = st.integers(0, 7)
_TIMES = st.integers(0, 12).map(float)
_STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("push"), _ITEMS, _TIMES),
        st.tuples(st.just("drop"), _ITEMS, st.just(0.0)),
        st.tuples(st.just("take"), st.just(0), _TIMES),
    ),
    max_size=400,
)


@given(_STEPS)
def test_does_what_a_dict_does(steps: list[tuple[str, int, float]]) -> None:
    """Whatever is pushed, moved, dropped and taken, the queue holds and returns what a plain dict would."""
    queue: DueQueue[_Item] = DueQueue()
    items = [_Item(name) for name in range(8)]
    model: dict[int, float] = {}
    for verb, name, at in steps:
        if verb == "push":
            queue.push(items[name], at)
            model[name] = at
        elif verb == "drop":
            queue.drop(items[name])
            model.pop(name, None)
        else:
            taken = queue.take_due(at)
            assert [item.due_at for item in taken] == sorted(item.due_at for item in taken)
            due = {each: when for each, when in model.items() if when <= at}
            assert {item.name: item.due_at for item in taken} == due
            assert len(taken) == len(due)
            model = {each: when for each, when in model.items() if when > at}
        assert len(queue) == len(model)
        assert queue.head_at == min(model.values(), default=math.inf)
        assert [item.phase is Phase.PLANNED for item in items] == [name in model for name in range(8)]


@given(st.lists(_TIMES, min_size=1, max_size=50))
def test_equal_moments_all_come(times: list[float]) -> None:
    """Items due at the same moment are all given, without being compared with each other."""
    queue: DueQueue[_Item] = DueQueue()
    items = [_Item(name) for name in range(len(times))]
    for item, at in zip(items, times, strict=True):
        queue.push(item, at)
    assert len(queue.take_due(1e9)) == len(items)
    assert queue.head_at == math.inf


def _entries(queue: DueQueue[Any]) -> int:
    return len(queue._entries) + len(queue._unswept)  # noqa: SLF001 - its size in memory is the fact


def test_stays_small() -> None:
    """A hundred thousand moves of a hundred items leave no more than a few hundred entries behind."""
    queue: DueQueue[_Item] = DueQueue()
    items = [_Item(name) for name in range(100)]
    most = 0
    for n in range(100_000):
        queue.push(items[n % 100], float(n % 997))
        if n % 3 == 0:
            queue.drop(items[n * 7 % 100])
        most = max(most, _entries(queue))
    assert most <= 2 * 100 + 64 + 1
    for item in items:
        queue.drop(item)
    assert len(queue) == 0
    assert _entries(queue) <= 65


class _Counted(_Item):
    """An item that counts how often any of its kind is visited: no step of the queue does without the phase."""

    visits = 0

    @property
    def phase(self) -> Phase:
        """Return the phase, and count that."""
        _Counted.visits += 1
        return self._phase

    @phase.setter
    def phase(self, phase: Phase) -> None:
        self._phase = phase


def _visits(act: Callable[[], object]) -> int:
    before = _Counted.visits
    act()
    return _Counted.visits - before


@pytest.mark.parametrize("is_in_order", [True, False])
def test_no_call_takes_many_steps(is_in_order: bool) -> None:
    """Of 50,000 items, each is dropped, moved or taken in a few steps, whatever became of the others."""
    queue: DueQueue[_Counted] = DueQueue()
    items = [_Counted(name) for name in range(50_000)]
    order = items if is_in_order else random.Random(7).sample(items, len(items))
    most_changed = max(_visits(partial(queue.push, item, float(n))) for n, item in enumerate(items))
    most_asked = 0
    for n, item in enumerate(order[:-3000]):
        most_changed = max(most_changed, _visits(partial(queue.drop, item)))
        if n % 1000 == 0:
            most_asked = max(most_asked, _visits(lambda: queue.head_at))
            after = order[n + 1]
            most_changed = max(most_changed, _visits(partial(queue.push, after, after.due_at + 0.5)))
    assert most_changed <= 12
    assert most_asked <= 2 * MOST_TAKEN + 1
    assert len(queue) == 3000
    taken: list[_Counted] = []
    calls = 0
    while queue.head_at != math.inf:
        calls += 1
        assert _visits(lambda: taken.extend(queue.take_due(math.inf))) <= 2 * MOST_TAKEN
    assert sorted(taken, key=lambda item: item.due_at) == taken
    assert set(taken) == set(order[-3000:])
    assert 3 <= calls <= 2 * len(items) // MOST_TAKEN


def test_an_item_that_comes_and_goes_leaves_no_entries_behind() -> None:
    """An item that is dropped and added again for its own time, over and over, has few entries."""
    queue: DueQueue[_Item] = DueQueue()
    item = _Item(1)
    queue.push(item, 5.0)
    for _ in range(1000):
        queue.drop(item)
        queue.push(item, item.due_at)
    assert _entries(queue) <= 67
    assert queue.take_due(5.0) == [item]
    assert queue.head_at == math.inf


def test_dropped_item_remembers_its_time() -> None:
    """Who comes back to a run goes on at the time that was planned."""
    queue: DueQueue[_Item] = DueQueue()
    item = _Item(1)
    queue.push(item, 5.0)
    queue.drop(item)
    queue.drop(item)
    assert (item.due_at, item.phase, len(queue)) == (5.0, Phase.RESTING, 0)
    queue.push(item, item.due_at)
    assert queue.take_due(4.9) == []
    assert queue.take_due(5.0) == [item]
    assert queue.take_due(5.0) == []
