"""The timelines of the fake Leena AI's runs."""

import pytest

from aioagents.contract.fake import RunPlan, Step
from aioagents.providers.leena.fake import make_fake
from aioagents.providers.leena.fake.items import Item, Items


def _words(item: Item, *moments: float) -> list[str]:
    return [item.status_at(now)[1] for now in moments]


def _scripted(*steps: Step, delay: float = 0.0) -> Items:
    return Items(RunPlan(scripts={"triage": steps}, delay=delay))


def test_script_is_followed_word_by_word() -> None:
    """A scripted run has each word for its seconds, and the last one for ever."""
    items = _scripted(Step("in_progress", 5), Step("paused", 10), Step("odd_word", 1), Step("completed"))
    item = items.begin("triage", 100.0)
    assert _words(item, 100, 104.9) == ["in_progress"] * 2
    assert _words(item, 105, 114.9) == ["paused"] * 2
    assert _words(item, 115, 116, 1e9) == ["odd_word", "completed", "completed"]
    assert item.ended_at == 116.0


def test_nothing_follows_an_end() -> None:
    """No word of a script follows an end."""
    item = _scripted(Step("failed", 1), Step("in_progress", 1)).begin("triage", 3.0)
    assert item.status_at(50.0) == (3.0, "failed")
    assert item.ended_at == 3.0


def test_script_without_end_has_none() -> None:
    """A run whose script has no end never ends."""
    assert _scripted(Step("in_progress", 1), Step("paused")).begin("triage", 0.0).ended_at is None


def test_script_without_steps_is_refused() -> None:
    """An empty script is an error that names the target."""
    with pytest.raises(ValueError, match="triage"):
        _scripted()


def test_delay_puts_the_beginning_off() -> None:
    """A run waits for the plan's delay before it is initiated, and is in progress meanwhile."""
    item = _scripted(Step("in_progress", 5), Step("failed"), delay=10.0).begin("triage", 1.0)
    assert item.initiated_at == 11.0
    assert _words(item, 1, 15.9, 16) == ["in_progress", "in_progress", "failed"]


def test_drawn_runs_are_the_same_for_the_same_seed() -> None:
    """Ids, durations and ends depend on the seed."""

    def course(seed: int) -> list[tuple[str, float | None]]:
        items = Items(RunPlan(seed=seed))
        begun = [items.begin("triage", 0.0) for _ in range(20)]
        return [(item.id, item.ended_at) for item in begun]

    assert course(1) == course(1)
    assert course(1) != course(2)
    assert len(dict(course(1))) == 20


def test_drawn_runs_pause_and_end_as_planned() -> None:
    """The plan's share of runs pauses once, and all end in one of its outcomes."""
    plan = RunPlan(pausing=1.0, median=10.0, spread=0.0, outcomes={"aborted": 1})
    item = Items(plan).begin("triage", 0.0)
    assert _words(item, 0, 2.9) == ["in_progress"] * 2
    assert _words(item, 3.1, 5.9) == ["paused"] * 2
    assert _words(item, 6.1, 9.9) == ["in_progress"] * 2
    assert item.status_at(10.0) == (10.0, "aborted")


def test_request_ids_differ_from_item_ids() -> None:
    """A request id has 24 hex digits too, and no two runs share one."""
    items = Items(RunPlan())
    begun = [items.begin("triage", 0.0) for _ in range(50)]
    ids = {item.request_id for item in begun} | {item.id for item in begun}
    assert len(ids) == 100
    assert {len(each) for each in ids} == {24}


def test_history_ended_before_second_0() -> None:
    """A plan's history has runs of the past, none of them counted as a start."""
    fake = make_fake(RunPlan(history=30))
    assert fake.statistics()["starts"] == 0
    items = Items(RunPlan(history=30)).initiated_between(float("-inf"), 0.0)
    assert len(items) == 30
    assert all(fake.ended_at(item.id) == item.ended_at for item in items)
    assert all(item.ended_at is not None and item.ended_at < 0 for item in items)
