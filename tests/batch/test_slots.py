"""How many rows may be sent, and when."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aioagents import NotSent, RateLimit, Throttled
from aioagents.batch.slots import Slots
from aioagents.batch.states import Phase, Row


def _row(key: str = "a") -> Row:
    return Row(key, "t", Phase.READY)


def _taken(slots: Slots, now: float = 0.0) -> Row:
    """Take a slot for a row."""
    row = _row()
    assert slots.has_free
    slots.take(row, now)
    return row


def _fail(slots: Slots, now: float, error: Exception | None = None) -> None:
    """Take a slot for a row whose start fails at once."""
    row = _taken(slots, now)
    slots.free()
    slots.failed(row, error or NotSent("no connection"), now)


def test_as_many_as_there_are() -> None:
    """Slots are taken until there are none, and are free again once given back."""
    slots = Slots(most=2, outage=8)
    _taken(slots)
    _taken(slots)
    assert (slots.has_free, slots.sending) == (False, 2)
    slots.free()
    assert (slots.has_free, slots.sending) == (True, 1)


def test_slot_of_a_failed_start_rests() -> None:
    """A start that failed for a passing reason leaves its slot empty for half a second."""
    slots = Slots(most=1, outage=8)
    _fail(slots, 10.0)
    assert (slots.has_free, slots.rested_at) == (False, 10.5)
    slots.end_rests(10.49)
    assert not slots.has_free
    slots.end_rests(10.5)
    assert (slots.has_free, slots.rested_at) == (True, math.inf)


def test_outage_leaves_one_slot() -> None:
    """After so many failures in a row rows are tried one at a time, until one is started."""
    slots = Slots(most=4, outage=2)
    for _ in range(2):
        _fail(slots, 0.0)
    slots.end_rests(1.0)
    assert slots.is_outage
    _taken(slots, 1.0)
    assert not slots.has_free
    slots.free()
    slots.started()
    assert (slots.is_outage, slots.has_free) == (False, True)


def test_rests_grow_with_failed_probes_alone() -> None:
    """During an outage each failed probe doubles the rest, up to 30 seconds; earlier starts that fail do not."""
    slots = Slots(most=8, outage=3)
    early = [_taken(slots) for _ in range(6)]
    for row in early:
        slots.free()
        slots.failed(row, NotSent("no connection"), 0.0)
    assert slots.rested_at == 0.5
    slots.end_rests(0.5)
    now, rests = 0.5, []
    for _ in range(9):
        _fail(slots, now)
        rests.append(slots.rested_at - now)
        now = slots.rested_at
        slots.end_rests(now)
    assert rests == [1.0, 2.0, 4.0, 8.0, 16.0, 30.0, 30.0, 30.0, 30.0]


@pytest.mark.parametrize(("asked", "rest"), [(None, 0.5), (0.1, 0.5), (60.0, 60.0), (3600.0, 300.0)])
def test_heeds_what_the_vendor_asks_for(asked: float | None, rest: float) -> None:
    """A `Retry-After` lengthens the rest, up to five minutes."""
    slots = Slots(most=1, outage=8)
    _fail(slots, 0.0, Throttled("slow down", status=429, retry_after=asked))
    assert slots.rested_at == rest


def test_refusals_for_want_of_a_slot_are_no_outage() -> None:
    """A slot that the vendor did not have is counted for the client's delay, and for nothing else."""
    slots = Slots(most=2, outage=1)
    counts = []
    for _ in range(5):
        counts.append(slots.refusals)
        slots.refused(1.0, 0.0)
    assert (counts, slots.is_outage) == ([1, 1, 2, 2, 3], False)
    slots.started()
    assert slots.refusals == 1


def test_a_rate_spaces_what_is_taken_and_what_is_sent() -> None:
    """Rows take slots at the rate, and are sent at the rate, however late they were recorded."""
    slots = Slots(most=9, outage=8, rate=RateLimit(4))
    _taken(slots, 0.0)
    assert slots.ready_at == 0.25
    slots.sent(1.0)
    assert slots.send_at == 1.25
    slots.sent(9.0)  # a timer was late
    assert slots.send_at == 9.25


def test_without_a_rate_nothing_waits() -> None:
    """Without a rate the moment is always now."""
    slots = Slots(most=9, outage=8)
    slots.sent(3.0)
    assert (slots.ready_at, slots.send_at) == (-math.inf, -math.inf)


@given(
    most=st.integers(1, 5),
    outage=st.integers(1, 3),
    steps=st.lists(
        st.tuples(st.sampled_from(["take", "start", "fail", "refuse"]), st.floats(0, 3)), max_size=60
    ),
)
def test_counts_hold(most: int, outage: int, steps: list[tuple[str, float]]) -> None:
    """Whatever happens, no more rows are being sent than may be, and every slot comes back in the end."""
    slots = Slots(most=most, outage=outage)
    taken: list[Row] = []
    now = 0.0
    for step, seconds in steps:
        now += seconds
        slots.end_rests(now)
        if step == "take":
            if slots.has_free:
                taken.append(_taken(slots, now))
        elif taken:
            row = taken.pop(0)
            slots.free()
            if step == "start":
                slots.started()
            elif step == "fail":
                slots.failed(row, NotSent("no connection"), now)
            else:
                slots.refused(seconds, now)
        assert 0 <= slots.sending == len(taken) <= most
    for _ in taken:
        slots.free()
    slots.end_rests(now + 301)
    assert slots.has_free
