"""Batches over the journal on disk, in real time."""

import asyncio
import threading
from collections import Counter
from contextlib import aclosing
from pathlib import Path
from typing import Any

import pytest

from aioagents import JournalError, NotSent, RunHandle, RunState, SessionPool, StartUnknown, Steady
from aioagents.batch import Batch, BatchRow, Change, Journal, Outcome, ResultFile, RowState
from tests.batch.batch_rig import StandIn, ref_of, rows
from tests.batch.journal_rig import ask
from tests.batch.test_results import keys_in
from tests.fakes import EPOCH


def _pool() -> SessionPool:
    return SessionPool(cadence=Steady(0.01))


async def _run(pool: SessionPool, path: Path, given: Any, **options: Any) -> tuple[StandIn, list[Outcome]]:
    client = StandIn(pool, lasts=0.005)
    client.ends = {"3": RunState.FAILED}
    client.faults = {"4": StartUnknown("lost"), "5": ValueError("odd")}
    batch = Batch(client, journal=path, **options)
    async with aclosing(batch.run(given)) as outcomes:
        return client, [outcome async for outcome in outcomes]


async def test_batch_that_is_run_twice(tmp_path: Path) -> None:
    """The second run of a batch starts nothing, and gives the outcomes of the first from its journal."""
    async with _pool() as pool:
        client, first = await _run(pool, tmp_path / "batch.db", rows(500))
        assert sorted(client.started, key=int) == [str(n) for n in range(500)]
        assert Counter(outcome.state for outcome in first) == {
            RowState.COMPLETED: 497,
            RowState.FAILED: 1,
            RowState.UNKNOWN: 1,
            RowState.REFUSED: 1,
        }
        client, second = await _run(pool, tmp_path / "batch.db", rows(500))
        assert client.started == []
        assert all(outcome.is_replayed for outcome in second)
        assert {each.key: each.state for each in second} == {each.key: each.state for each in first}
        assert {each.key: each.ref for each in second} == {each.key: each.ref for each in first}


async def test_unknown_rows_are_sent_again(tmp_path: Path) -> None:
    """With `on_unknown="resend"` what is unknown in the journal is started once more, and settled."""
    async with _pool() as pool:
        await _run(pool, tmp_path / "batch.db", rows(10))
    async with _pool() as pool:
        client = StandIn(pool, lasts=0.005)
        batch = Batch(client, journal=tmp_path / "batch.db", on_unknown="resend")
        outcomes = {outcome.key: outcome async for outcome in batch.run(rows(10))}
        assert client.started == ["4"]
        assert outcomes["4"].state is RowState.COMPLETED
        assert not outcomes["4"].is_replayed


async def test_what_a_kill_leaves(tmp_path: Path) -> None:
    """Rows that were SENDING are unknown, those that were STARTED are followed, and planned ones are started."""
    path = tmp_path / "batch.db"
    async with Journal(path) as journal:
        await journal.claim(rows(4))
        await journal.record([Change(key=key, state=RowState.SENDING, at=EPOCH) for key in "012"])
        await journal.record([Change(key="2", state=RowState.STARTED, ref=ref_of("2"), at=EPOCH)])
    async with _pool() as pool:
        client = StandIn(pool, lasts=0.005)
        client.begin("2")
        outcomes = {each.key: each async for each in Batch(client, journal=path).run(rows(6))}
        assert sorted(client.started) == ["3", "4", "5"]
        assert {key: outcome.state for key, outcome in outcomes.items()} == {
            "0": RowState.UNKNOWN,
            "1": RowState.UNKNOWN,
            **dict.fromkeys("2345", RowState.COMPLETED),
        }


async def test_input_that_changed(tmp_path: Path) -> None:
    """A row whose content is another one ends the batch with an error that says what to do."""
    async with _pool() as pool:
        await _run(pool, tmp_path / "batch.db", rows(3))
        with pytest.raises(JournalError, match="another content"):
            await _run(pool, tmp_path / "batch.db", [BatchRow("1", "coffee")])


async def test_duplicate_far_behind_is_its_own_fault(tmp_path: Path) -> None:
    """A key that stands twice in an input stops no other row, now or when the batch is run again."""
    given = [BatchRow("1", "tea"), *rows(600, first=6), BatchRow("1", "coffee"), *rows(10, first=606)]
    async with _pool() as pool:
        for count in (611, 0):
            client, outcomes = await _run(pool, tmp_path / "batch.db", given)
            assert len(client.started) == count
            (twice,) = [each for each in outcomes if each.error is not None]
            assert (twice.key, str(twice.error)) == ("1", "the key '1' stands twice in the input")
            assert len(outcomes) == 612


async def test_batch_that_is_run_twice_over_an_open_journal(tmp_path: Path) -> None:
    """Another run over a journal that stayed open starts what was put off, and gives what was settled."""
    async with _pool() as pool, Journal(tmp_path / "batch.db") as journal:
        client = StandIn(pool, lasts=0.005)
        client.faults = {"1": NotSent("down")}
        batch = Batch(client, journal=journal)
        first = {each.key: each async for each in batch.run(rows(4))}
        assert first["1"].state is RowState.PLANNED
        client.faults = {}
        second = {each.key: each async for each in batch.run(rows(4))}
        assert {key: (each.state, each.is_replayed) for key, each in second.items()} == {
            key: (RowState.COMPLETED, key != "1") for key in "0123"
        }
        assert sorted(client.started) == ["0", "1", "1", "2", "3"]


@pytest.mark.parametrize(
    "odd",
    [BatchRow("\ud800", "tea"), BatchRow("a", "\ud800"), BatchRow("a", "tea", "", {"x": {1}})],
    ids=["key", "target", "input"],
)
async def test_row_that_cannot_be_written_down(tmp_path: Path, odd: BatchRow) -> None:
    """A row that no file can hold is refused by itself, and those beside it are started."""
    async with _pool() as pool:
        client, outcomes = await _run(pool, tmp_path / "batch.db", [*rows(2), odd, *rows(1, first=2)])
        assert sorted(client.started) == ["0", "1", "2"]
        (refused,) = [outcome for outcome in outcomes if outcome.state is RowState.REFUSED]
        assert refused.key == odd.key
        assert isinstance(refused.error, ValueError | TypeError)


async def test_journal_that_cannot_be_opened(tmp_path: Path) -> None:
    """A file that is no journal raises an error before a row is read; the batch may be run again with another."""
    path = tmp_path / "batch.db"
    path.write_text("something else")
    async with _pool() as pool:
        batch = Batch(StandIn(pool), journal=path)
        taken = iter(rows(3))
        with pytest.raises(JournalError):
            await anext(batch.run(taken))
        assert len(list(taken)) == 3
        path.unlink()
        batch = Batch(StandIn(pool, lasts=0.001), journal=path)
        assert len([each async for each in batch.run(rows(3))]) == 3


async def test_batch_and_its_results(tmp_path: Path) -> None:
    """A journal that the caller opens serves the batch and the results: each row has a line in the end."""
    path = tmp_path / "results.jsonl"
    async with _pool() as pool, Journal(tmp_path / "batch.db") as journal:
        client = StandIn(pool, lasts=0.005)
        async with ResultFile(journal, path) as results:
            batch = Batch(client, journal=journal, in_flight=40)
            async for _ in batch.run(rows(300)):
                if batch.statistics().settled % 50 == 0:
                    await results.write()
            await results.finish()
        assert sorted(keys_in(path), key=int) == [str(n) for n in range(300)]


async def test_rows_that_a_kill_could_leave_unknown(tmp_path: Path) -> None:
    """Whenever a start leaves, the file has 64 rows SENDING at most, and as many while all of them are out."""
    path = tmp_path / "batch.db"
    counts: list[int] = []

    class _Counting(StandIn):
        async def start_row(self, row: BatchRow) -> RunHandle:
            counts.append(ask(path, "SELECT count(*) FROM row WHERE state = 'sending'")[0][0])
            if len(counts) == 64 and self.release is not None:
                self.release.set()
            return await super().start_row(row)

    async with _pool() as pool:
        client = _Counting(pool, lasts=0.005)
        client.release = asyncio.Event()
        outcomes = [each async for each in Batch(client, journal=path).run(rows(300))]
    assert len(outcomes) == len(counts) == 300
    assert max(counts) == counts[63] == 64


async def test_one_thread_more(tmp_path: Path) -> None:
    """While a batch runs with a journal there is one thread more, the journal's; afterwards there is none."""
    before = set(threading.enumerate())
    async with _pool() as pool:
        batch = Batch(StandIn(pool, lasts=0.005), journal=tmp_path / "batch.db")
        count = 0
        async for _ in batch.run(rows(300)):
            more = set(threading.enumerate()) - before
            assert [each.name for each in more] == ["aioagents-journal"]
            count += 1
        assert (count, set(threading.enumerate())) == (300, before)


async def test_no_thread_is_left_where_somebody_leaves(tmp_path: Path) -> None:
    """The journal's thread is gone as well when the reader left before the end."""
    before = set(threading.enumerate())
    async with _pool() as pool:
        client = StandIn(pool, lasts=0.005)
        async with aclosing(Batch(client, journal=tmp_path / "batch.db").run(rows(300))) as outcomes:
            await anext(outcomes)
            assert len(set(threading.enumerate()) - before) == 1
        assert set(threading.enumerate()) == before


def test_loop_that_closes_what_is_left(tmp_path: Path) -> None:
    """An iteration that the event loop closes, as it does at the end of a program, closes its journal quietly."""
    complaints: list[dict[str, Any]] = []
    loop = asyncio.new_event_loop()
    loop.set_exception_handler(lambda _, context: complaints.append(context))

    async def begin() -> tuple[SessionPool, Any]:
        pool = await _pool().__aenter__()
        iteration = Batch(StandIn(pool, lasts=0.005), journal=tmp_path / "batch.db").run(rows(3))
        assert (await anext(iteration)).state is RowState.COMPLETED
        return pool, iteration

    pool, _ = loop.run_until_complete(begin())
    loop.run_until_complete(loop.shutdown_asyncgens())
    loop.run_until_complete(pool.aclose())
    loop.close()
    assert complaints == []
    with Journal.read_only(tmp_path / "batch.db") as view:
        assert not view.summary().is_in_use
