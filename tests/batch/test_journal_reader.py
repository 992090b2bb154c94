"""Reading a journal while it is in use, and afterwards."""
# ruff: noqa: ASYNC240 - the files are the subject

import asyncio
import math
import sqlite3
from collections import Counter
from contextlib import closing
from pathlib import Path

import pytest

from aioagents.batch import Journal, RowState
from aioagents.errors import JournalError
from tests.batch.journal_rig import PATHS, at, change, claim, contents, journal_at, ref_of, walk
from tests.fakes import EPOCH, FakeClock


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Name a journal that does not exist yet."""
    return tmp_path / "batch.db"


async def test_summary_has_the_totals(path: Path) -> None:
    """Rows are counted by state, errors by kind, starts by owner; an error of a completed row does not count."""
    clock = FakeClock()
    async with journal_at(path, clock=clock) as journal:
        for state in RowState:
            await walk(journal, state.value, state)
        await walk(journal, "x", RowState.FAILED, kind="RunFailed", error="one")
        await walk(journal, "y", RowState.FAILED, kind="RunFailed", error="another")
        await walk(journal, "z", RowState.REFUSED, kind="BadRequest")
        await walk(journal, "w", RowState.COMPLETED, kind="Odd")
        await journal.record_emitted(["w", "x"], 321)
    await clock.advance(60)
    async with journal_at(path, owner="there:2", clock=clock) as journal:
        await clock.advance(1)
        await journal.record([change("started", RowState.FAILED, seconds=500)])
        with Journal.read_only(path) as reader:
            seen = reader.summary()
    assert seen.states == {**dict.fromkeys(RowState, 1), RowState.FAILED: 4, RowState.STARTED: 0} | {
        RowState.REFUSED: 2,
        RowState.COMPLETED: 2,
    }
    assert seen.rows == 13
    assert seen.errors == {"RunFailed": 2, "BadRequest": 1}
    assert seen.starts == {"here:1": 9, "there:2": 1}
    assert (seen.created_at, seen.opened_at, seen.closed_at) == (EPOCH, at(60), None)
    assert (seen.first_sent_at, seen.last_sent_at, seen.last_ended_at) == (at(0), at(0), at(500))
    assert (seen.openings, seen.owner, seen.is_in_use) == (2, "there:2", True)
    assert (seen.unemitted, seen.emitted_bytes, seen.is_output_stale) == (9, 321, False)
    with Journal.read_only(path) as reader:
        seen = reader.summary()
    assert (seen.is_in_use, seen.closed_at) == (False, at(61))


async def test_an_empty_journal_has_a_summary(path: Path) -> None:
    """Without rows all totals are zero, and there are no times."""
    async with journal_at(path):
        pass
    with Journal.read_only(path) as reader:
        seen = reader.summary()
        assert (seen.rows, set(seen.states), dict(seen.errors)) == (0, set(RowState), {})
        assert (seen.first_sent_at, seen.last_ended_at, seen.unemitted) == (None, None, 0)
        assert reader.durations() == {}
        assert list(reader.records()) == []


async def test_records_are_read_page_by_page(path: Path) -> None:
    """All rows come in the order of claims, or only those of one state, of one kind, or of both."""
    async with journal_at(path) as journal:
        keys = [f"row-{number}" for number in range(600)]
        await claim(journal, *keys)
        await journal.record([change(key, RowState.REFUSED, kind=f"Kind{key[-1]}") for key in keys[::2]])
        await walk(journal, "lost", RowState.UNKNOWN, kind="Kind4", error="words")
        with Journal.read_only(path) as reader:
            assert [record.key for record in reader.records()] == [*keys, "lost"]
            assert [record.key for record in reader.records(state=RowState.PLANNED)] == keys[1::2]
            (lost,) = reader.records(state=RowState.UNKNOWN)
            assert (lost.kind, lost.error, lost.owner, lost.sent_at) == ("Kind4", "words", "here:1", at(0))
            assert sum(1 for _ in reader.records(kind="Kind4")) == 61
            assert sum(1 for _ in reader.records(state=RowState.REFUSED, kind="Kind4")) == 60


async def test_rows_may_change_while_they_are_read(path: Path) -> None:
    """A reader sees each row as it is when its page is read, and blocks nobody meanwhile."""
    async with journal_at(path) as journal:
        keys = [f"row-{number}" for number in range(600)]
        await claim(journal, *keys)
        with Journal.read_only(path) as reader:
            records = reader.records()
            first = next(records)
            await journal.record([change(key, RowState.SENDING) for key in keys])
            await claim(journal, "later")
            rest = list(records)
    assert (first.key, first.state) == ("row-0", RowState.PLANNED)
    assert [record.key for record in rest] == [*keys[1:], "later"]
    assert Counter(record.state for record in rest) == {RowState.PLANNED: 256, RowState.SENDING: 344}


async def test_reading_while_it_is_written(path: Path) -> None:
    """While a batch records, totals are of one moment: they have all rows of a call or none."""
    async with journal_at(path) as journal:

        async def write() -> None:
            for number in range(40):
                keys = [f"{number}-{row}" for row in range(10)]
                await claim(journal, *keys)
                await journal.record([change(key, RowState.SENDING) for key in keys])

        def read() -> list[tuple[int, int]]:
            seen: list[tuple[int, int]] = []
            with Journal.read_only(path) as reader:
                while not seen or seen[-1][0] < 400:
                    summary = reader.summary()
                    seen.append((summary.rows, summary.states[RowState.SENDING]))
            return seen

        seen, _ = await asyncio.gather(asyncio.to_thread(read), write())
    assert all(rows % 10 == 0 and sending % 10 == 0 for rows, sending in seen)
    assert seen == sorted(seen)


async def test_durations_are_counted_by_end_state(path: Path) -> None:
    """Each end state has its count, bounds, mean and a histogram; refused and lost rows have no duration."""
    async with journal_at(path) as journal:
        for number, seconds in enumerate((0.05, 0.1, 3.0, 4.0, 30.0)):
            key = f"row-{number}"
            await walk(journal, key, RowState.SENDING)
            await journal.record(
                [change(key, RowState.STARTED), change(key, RowState.COMPLETED, seconds=seconds)]
            )
        await walk(journal, "long", RowState.STARTED)
        await journal.record([change("long", RowState.FAILED, seconds=2e5)])
        for state in (RowState.REFUSED, RowState.UNKNOWN, RowState.DROPPED):
            await walk(journal, state.value, state)
    with Journal.read_only(path) as reader:
        found = reader.durations()
    assert set(found) == {RowState.COMPLETED, RowState.FAILED}
    completed, failed = found[RowState.COMPLETED], found[RowState.FAILED]
    assert (completed.state, completed.count) == (RowState.COMPLETED, 5)
    assert (completed.shortest, completed.mean, completed.longest) == pytest.approx((0.05, 7.43, 30.0))
    assert completed.buckets == (
        (0.1, 1),
        (0.2, 1),
        (0.5, 0),
        (1.0, 0),
        (2.0, 0),
        (5.0, 2),
        (10.0, 0),
        (20.0, 0),
        (50.0, 1),
    )
    assert (failed.count, failed.buckets) == (1, ((math.inf, 1),))


async def test_reading_changes_nothing(path: Path) -> None:
    """A reader leaves journal and log unchanged, byte for byte, also after a crash."""
    async with journal_at(path) as journal:
        for state in PATHS:
            await walk(journal, state.value, state)
        for kept in ([path, path.with_name("batch.db-wal")], [path]):
            before = contents(kept)
            with Journal.read_only(path) as reader:
                assert reader.summary().rows == 9
                assert len(list(reader.records())) == 9
                reader.durations()
            assert contents(kept) == before
            await journal.aclose()


async def test_a_reader_is_used_within_its_block(path: Path) -> None:
    """Outside its block a reader raises; it can be entered again; its repr says whether it is open."""
    async with journal_at(path) as journal:
        await walk(journal, "a", RowState.STARTED)
    reader = Journal.read_only(path)
    assert repr(reader) == f"<JournalReader {str(path)!r} closed>"
    for _ in range(2):
        with pytest.raises(JournalError, match="use it within `with`"):
            reader.summary()
        with reader:
            assert repr(reader) == f"<JournalReader {str(path)!r} open>"
            assert [record.ref for record in reader.records()] == [ref_of("a")]
        reader.close()


async def test_damage_found_while_reading_is_raised(path: Path) -> None:
    """A reader does not check all rows first: a damaged one is raised when it is read, a damaged page on entering."""
    async with journal_at(path) as journal:
        await claim(journal, *(f"row-{number}" for number in range(500)))
        await walk(journal, "odd", RowState.STARTED)
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("UPDATE row SET ref = 'none' WHERE key = 'odd'")
        connection.commit()
    with Journal.read_only(path) as reader, pytest.raises(JournalError, match="BadReference"):
        list(reader.records())
    content = bytearray(path.read_bytes())
    content[12288:40960] = b"\xff" * (40960 - 12288)
    path.write_bytes(content)
    with pytest.raises(JournalError, match="damaged"), Journal.read_only(path):
        pass
