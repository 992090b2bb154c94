"""A batch from its first row to its last outcome."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import aclosing
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from aioagents import RunState
from aioagents.batch import Batch, BatchRow, BatchStatistics, Outcome, RowFault, RowState
from tests.batch.batch_rig import Notebook, fault, ref_of, rig, rows
from tests.fakes import settle

_COURSE = [RowState.SENDING, RowState.STARTED]


async def test_each_row_has_one_outcome() -> None:
    """Every row is started once, goes through all states, and comes out once with its end."""
    async with rig() as r:
        r.client.ends = {"3": RunState.FAILED, "4": RunState.ABORTED}
        outcomes = await r.finish(rows(10))
        assert sorted(r.client.started, key=int) == [str(n) for n in range(10)]
        assert Counter(outcome.key for outcome in outcomes) == Counter(str(n) for n in range(10))
        assert r.states == r.notebook.states
        assert Counter(r.states.values()) == {
            RowState.COMPLETED: 8,
            RowState.FAILED: 1,
            RowState.ABORTED: 1,
        }
        assert all(states == [*_COURSE, r.states[key]] for key, states in r.notebook.log.items())


async def test_outcome_has_what_is_known() -> None:
    """A completed row's outcome has its run and output; a failed one's an error that carries the run."""
    async with rig() as r:
        r.client.ends = {"1": RunState.FAILED, "2": RunState.ABORTED}
        done = {outcome.key: outcome for outcome in await r.finish(rows(3))}
        assert done["0"].ref == ref_of("0")
        assert done["0"].run is not None
        assert (done["0"].run.output, done["0"].error) == ({"key": "run-0"}, None)
        assert [type(done[key].error).__name__ for key in "12"] == ["RunFailed", "RunAborted"]
        assert getattr(done["1"].error, "run", None) is done["1"].run
        assert all(outcome.is_settled and not outcome.is_replayed for outcome in done.values())
        record = r.notebook.records["1"]
        assert (record.kind, record.error, record.status) == ("RunFailed", "no tea", "is failed")
        assert r.notebook.records["0"].output == {"key": "run-0"}


async def test_nothing_leaves_before_it_is_recorded() -> None:
    """While the journal takes its time over SENDING, no start is made."""
    async with rig() as r:
        r.notebook.release = asyncio.Event()
        await r.begin(rows(5))
        await r.clock.advance(100)
        assert r.client.started == []
        r.notebook.release.set()
        await settle()
        assert sorted(r.client.started) == ["0", "1", "2", "3", "4"]


async def test_nothing_is_followed_before_its_start_is_recorded() -> None:
    """While the journal takes its time over STARTED, the run is not polled, and does not count as started."""
    async with rig() as r:
        held = r.client.releases["0"] = asyncio.Event()
        await r.begin(rows(1))
        r.notebook.release = asyncio.Event()
        held.set()
        await r.clock.advance(100)
        assert (r.client.polls, r.batch.statistics().starts) == ({}, 0)
        r.notebook.release.set()
        await settle()
        assert r.batch.statistics().starts == 1
        await r.clock.advance(100)
        assert r.states == {"0": RowState.COMPLETED}


async def test_few_rows_are_sending_at_a_time() -> None:
    """No more rows are SENDING than may be, and that many are."""
    async with rig(sending=7) as r:
        r.client.release = asyncio.Event()
        await r.begin(rows(100))
        assert (len(r.client.started), r.batch.statistics().sending) == (7, 7)
        r.client.release.set()
        await settle(600)
        assert r.batch.statistics().starts == 100
        assert r.notebook.most_sending == 7


async def test_sixty_four_rows_are_sending_by_default() -> None:
    """With the settings that nobody chose, 64 rows are SENDING at a time, and never more."""
    async with rig() as r:
        r.client.release = asyncio.Event()
        await r.begin(rows(300))
        assert Counter(r.notebook.states.values())[RowState.SENDING] == len(r.client.started) == 64
        r.client.release.set()
        assert len(await r.finish_begun()) == 300
        assert r.notebook.most_sending == 64


async def test_no_more_rows_are_in_flight_than_may_be() -> None:
    """Rows that are SENDING or STARTED count together; an end makes room for a start."""
    async with rig(in_flight=30, sending=8) as r:
        outcomes = await r.finish(rows(100))
        assert len(outcomes) == 100
        assert r.notebook.most_open == 30
        assert r.notebook.most_sending <= 8


async def test_starts_are_evenly_spaced() -> None:
    """Starts leave one after the other at the rate's distance."""
    async with rig(starts_per_second=4) as r:
        await r.begin(rows(20))
        await r.clock.advance(20)
        times = r.client.started_at
        assert [round(later - times[0], 6) for later in times] == [n * 0.25 for n in range(20)]
        assert r.notebook.most_sending == 1


async def test_slow_journal_makes_no_bursts() -> None:
    """Rows that were held up by the journal leave at the rate's distance from one another too."""
    async with rig(starts_per_second=4, sending=5) as r:
        r.notebook.release = asyncio.Event()
        await r.begin(rows(20))
        await r.clock.advance(3)
        assert r.client.started == []
        r.notebook.release.set()
        await r.clock.advance(20)
        times = r.client.started_at
        assert len(times) == 20
        assert min(later - earlier for earlier, later in pairwise(times)) > 0.2499


async def test_changes_are_recorded_together() -> None:
    """What many rows become while the journal is busy is recorded in one go."""
    async with rig() as r:
        r.client.release = asyncio.Event()
        await r.begin(rows(64))
        assert r.notebook.groups == [64]
        r.client.release.set()
        await settle()
        assert r.notebook.groups == [64, 64]


async def test_ends_are_recorded_together() -> None:
    """Runs that end at one poll have their ends recorded in few goes, before their outcomes come."""
    async with rig() as r:
        await r.begin(rows(64))
        r.notebook.groups.clear()
        r.notebook.release = asyncio.Event()
        await r.clock.advance(30)
        assert r.outcomes == []
        r.notebook.release.set()
        await settle()
        assert len(r.outcomes) == 64
        assert (sum(r.notebook.groups), len(r.notebook.groups) <= 3) == (64, True)


async def test_no_task_for_each_run() -> None:
    """A thousand runs that go on cost no task each."""
    async with rig(lasts=1e6) as r:
        before = len(asyncio.all_tasks())
        await r.begin(rows(1000))
        for _ in range(20):
            await settle()
        assert r.batch.statistics().in_flight == 1000
        assert len(asyncio.all_tasks()) - before <= 3


async def test_rows_are_claimed_many_at_a_time() -> None:
    """A journal is asked for a thousand rows in a few goes."""
    async with rig() as r:
        await r.finish(rows(1000))
        assert sum(r.notebook.claims) == 1000
        assert len(r.notebook.claims) <= 20


async def test_input_is_read_lazily() -> None:
    """No more rows are read than are in flight and a chunk ahead."""
    taken = 0

    def count() -> Iterator[BatchRow]:
        nonlocal taken
        for row in rows(100_000):
            taken += 1
            yield row

    async with rig(in_flight=50, lasts=1e6) as r:
        await r.begin(count())
        for _ in range(20):
            await settle()
        assert r.batch.statistics().in_flight == 50
        assert 50 < taken <= 50 + 256


async def test_row_of_a_slow_input_is_started_at_once() -> None:
    """A row is not held back until more of them have come."""
    more = asyncio.Event()

    async def trickle() -> AsyncIterator[BatchRow]:
        for row in rows(3):
            yield row
            await more.wait()

    async with rig() as r:
        await r.begin(trickle())
        assert r.client.started == ["0"]
        more.set()
        await settle()
        assert r.client.started == ["0", "1", "2"]
        await r.clock.advance(100)
        assert (r.is_over, len(r.outcomes)) == (True, 3)


async def test_async_input_is_read_lazily() -> None:
    """An async input that never waits is not run through either."""
    taken = 0

    async def count() -> AsyncIterator[BatchRow]:
        nonlocal taken
        for row in rows(100_000):
            taken += 1
            yield row

    async with rig(in_flight=50, lasts=1e6) as r:
        await r.begin(count())
        for _ in range(20):
            await settle()
        assert r.batch.statistics().in_flight == 50
        assert 50 < taken <= 50 + 256


async def test_reader_who_stops_reading_holds_up_the_starts() -> None:
    """Outcomes do not pile up: with so many unread as may be in flight, nothing more is started."""
    async with rig(in_flight=20) as r, aclosing(r.batch.run(rows(1000))) as outcomes:

        async def read_one() -> Outcome:
            return await anext(outcomes)

        first = asyncio.create_task(read_one())
        for _ in range(40):
            await r.clock.advance(30)
        assert first.done()
        statistics = r.batch.statistics()
        assert 20 <= statistics.unread <= 40
        assert statistics.in_flight == 0
        assert len(r.client.started) <= 41
        for _ in range(statistics.unread):
            await anext(outcomes)
        await settle()
        assert r.batch.statistics().in_flight == 20


async def test_replays_do_not_pile_up_either() -> None:
    """Rows that are settled already are read only as fast as their outcomes are."""
    book = Notebook()
    async with rig(book) as r:
        await r.finish(rows(2000))
    async with rig(book.reopened(), in_flight=10) as r, aclosing(r.batch.run(rows(2000))) as outcomes:
        assert (await anext(outcomes)).is_replayed
        for _ in range(20):
            await settle()
        assert r.batch.statistics().unread <= 10 + 256
        assert len([each async for each in outcomes]) == 1999


async def test_faulty_lines_pass_through() -> None:
    """What is no row comes out as a refusal with its line, and stops nothing."""
    async with rig() as r:
        given: list[Any] = [fault(1), *rows(2), fault(4)]
        outcomes = await r.finish(given)
        faults = [outcome for outcome in outcomes if outcome.error is not None]
        assert [(each.key, each.state, str(each.error)) for each in faults] == [
            ("", RowState.REFUSED, "line 1: no row"),
            ("", RowState.REFUSED, "line 4: no row"),
        ]
        assert r.notebook.states == {"0": RowState.COMPLETED, "1": RowState.COMPLETED}
        assert r.batch.statistics().faulty == 2


@pytest.mark.parametrize("kept", ["in memory", "on disk", "nowhere"])
async def test_key_that_stands_twice(kept: str, tmp_path: Path) -> None:
    """The second row with a key is refused, is not journaled, and the first one goes its way."""
    journals = {"in memory": Notebook(), "on disk": tmp_path / "batch.db", "nowhere": None}
    async with rig(journal=journals[kept]) as r:
        await r.begin([*rows(2), BatchRow("1", "coffee"), *rows(1, first=2)])
        while not r.is_over:  # the disk takes its own time
            await r.clock.advance(1)
        outcomes = r.outcomes
        assert r.error is None
        (twice,) = [outcome for outcome in outcomes if isinstance(outcome.error, ValueError)]
        assert (twice.key, twice.state, twice.is_settled) == ("1", RowState.REFUSED, True)
        assert "twice" in str(twice.error)
        assert sorted(r.client.started) == ["0", "1", "2"]
        assert Counter(outcome.state for outcome in outcomes)[RowState.COMPLETED] == 3


async def test_repeated_key_is_reported_with_its_line() -> None:
    """Where a row's line is known, the second one with its key is a `RowFault` that names it."""
    async with rig() as r:
        outcomes = await r.finish([*rows(2), BatchRow("1", "tea", line=7)])
        [fault] = [outcome.error for outcome in outcomes if isinstance(outcome.error, RowFault)]
        assert str(fault) == "line 7: the key '1' stands twice in the input"
        assert fault.key == "1"


async def test_key_that_stands_twice_far_apart() -> None:
    """A journal knows a repeated key even if the first row was settled long ago."""
    go = asyncio.Event()

    async def twice() -> AsyncIterator[BatchRow]:
        for row in rows(1):
            yield row
        await go.wait()
        for row in rows(1):
            yield row

    async with rig() as r:
        await r.begin(twice())
        await r.clock.advance(60)
        assert r.states == {"0": RowState.COMPLETED}
        go.set()
        await settle()
        assert r.is_over
        assert [type(outcome.error) for outcome in r.outcomes] == [type(None), ValueError]
        assert r.client.started == ["0"]


async def test_without_a_journal() -> None:
    """A batch without a journal starts each row once and gives each outcome."""
    async with rig(journal=None, in_flight=10) as r:
        outcomes = await r.finish(rows(100))
        assert len(outcomes) == len(r.client.started) == 100
        assert {outcome.state for outcome in outcomes} == {RowState.COMPLETED}


async def test_runs_once_at_a_time() -> None:
    """A second run of a batch that is running is refused; after the first one it may run again."""
    async with rig(journal=None) as r:
        await r.begin(rows(2))
        with pytest.raises(RuntimeError, match="is running"):
            await anext(r.batch.run(rows(2)))
        await r.clock.advance(100)
        assert r.is_over
        assert repr(r.batch) == "<Batch of standin, not running>"
        await r.finish(rows(3))
        assert len(r.outcomes) == 5


async def test_empty_input() -> None:
    """An input without rows ends at once."""
    async with rig() as r:
        assert await r.finish([], seconds=1) == []


async def test_statistics_tell_what_is_going_on() -> None:
    """The numbers follow the rows: read, ready, sending, in flight, and by state in the end."""
    async with rig(in_flight=10, sending=4) as r:
        assert r.batch.statistics() == BatchStatistics()
        r.client.release = asyncio.Event()
        r.client.ends = {"0": RunState.FAILED}
        await r.begin([*rows(20), fault(21)])
        seen = r.batch.statistics()
        assert seen.begun_at is not None
        assert (seen.read, seen.faulty, seen.ready, seen.sending) == (21, 1, 16, 4)
        assert (seen.in_flight, seen.starts, seen.settled) == (4, 0, 0)
        r.client.release.set()
        await settle()
        seen = r.batch.statistics()
        assert (seen.ready, seen.sending, seen.in_flight, seen.starts) == (10, 0, 10, 10)
        assert repr(r.batch) == "<Batch of standin, running>"
        await r.clock.advance(100)
        seen = r.batch.statistics()
        assert seen.states == {RowState.COMPLETED: 19, RowState.FAILED: 1}
        assert (seen.settled, seen.unknown, seen.in_flight, seen.unread) == (20, 0, 0, 0)


@pytest.mark.parametrize(
    "options",
    [
        {"in_flight": 0},
        {"in_flight": True},
        {"sending": 0},
        {"sending": 1.5},
        {"starts_per_second": 0},
        {"on_unknown": "ask"},
        {"timeout": -1},
        {"grace": float("inf")},
    ],
)
async def test_odd_settings_are_refused(options: dict[str, Any]) -> None:
    """Invalid settings raise an error when the batch is made."""
    async with rig() as r:
        with pytest.raises(ValueError, match=next(iter(options)).replace("starts_per_second", "requests")):
            Batch(r.client, **options)
