"""How a batch ends: at once, in time, with each outcome reported, and without a start that is sent afterwards."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from aioagents import AuthenticationError, JournalError, NotSent, PoolClosed
from aioagents.batch import Batch, BatchRow, Change, Record, RowState
from aioagents.observe import StartAbandoned
from tests.batch.batch_rig import Notebook, ref_of, rig, rows
from tests.fakes import settle


def _left(count: int, *, scope: str = "") -> Notebook:
    """Return what a run of a batch left that had started so many rows."""
    return Notebook(
        Record(
            key=str(n),
            target="tea",
            digest=b"",
            state=RowState.STARTED,
            owner="another",
            ref=ref_of(str(n), scope),
        )
        for n in range(count)
    )


@pytest.mark.parametrize("count", [255, 256, 257, 512, 513, 2000])
async def test_runs_that_cannot_be_followed_hold_up_nothing(count: int) -> None:
    """However many runs of an earlier run are of another scope, each is reported, and the batch ends."""
    async with rig(_left(count, scope="elsewhere")) as r:
        await r.finish([])
        assert Counter(r.states.values()) == {RowState.STARTED: count}


async def _none() -> AsyncIterator[BatchRow]:
    await asyncio.Event().wait()
    yield BatchRow("never", "tea")


async def test_runs_that_go_on_fill_all_of_in_flight() -> None:
    """A thousand runs are followed if so many may be in flight, though the input yields nothing."""
    async with rig(_left(1000), in_flight=1000) as r:
        for n in range(1000):
            r.client.begin(str(n))
        await r.begin(_none())
        await settle()
        assert r.batch.statistics().in_flight == 1000


async def test_start_that_is_not_recorded_any_more_is_emitted() -> None:
    """A run that began while the journal hung, after its batch was gone, is emitted to hooks with its time."""
    async with rig(sending=3, grace=5.0) as r:
        r.client.release = asyncio.Event()
        reader = await r.begin(rows(3))
        r.client.faults = {"1": NotSent("no connection")}
        r.notebook.release = asyncio.Event()
        r.client.release.set()
        await settle()
        reader.cancel()
        await r.clock.advance(6)
        await asyncio.wait([reader])
        abandoned = [event for event in r.events if isinstance(event, StartAbandoned)]
        assert [event.run and event.run.ref for event in abandoned] == [ref_of("0"), ref_of("2")]
        assert {(r.clock.utcnow() - event.sent_at).total_seconds() for event in abandoned} == {6.0}
        assert r.clock.timers == 0


async def test_grace_is_not_lengthened() -> None:
    """What stops a batch that is stopping already leaves it no more time."""
    async with rig(sending=4, grace=300.0) as r:
        r.client.releases = {"0": asyncio.Event(), "1": asyncio.Event()}
        r.client.faults = {"1": AuthenticationError("who?", status=401)}
        await r.begin(rows(4))
        r.batch.stop(grace=2.0)
        r.client.releases["1"].set()
        await r.clock.advance(3)
        assert r.is_over


async def test_rows_that_wait_for_the_rate_limiter_delay_no_stop() -> None:
    """Rows that were recorded late and wait for the rate limiter again are returned at once."""
    async with rig(sending=64, starts_per_second=1) as r:
        await r.begin(rows(100))
        r.notebook.release = asyncio.Event()
        await r.clock.advance(30)
        r.notebook.release.set()
        await settle()
        assert Counter(r.notebook.states.values())[RowState.SENDING] > 20
        r.batch.stop()
        await settle()
        assert r.is_over
        assert Counter(r.notebook.states.values())[RowState.SENDING] == 0
        assert len(r.client.started) <= 3


async def test_stop_while_the_journal_is_opened(tmp_path: Path) -> None:
    """A stop that comes while the journal is being opened is not forgotten: nothing is started until the next run."""
    async with rig() as r:
        r.batch = Batch(r.client, journal=tmp_path / "batch.db")
        reading = asyncio.create_task(r.read(rows(20)))
        await asyncio.sleep(0)
        r.batch.stop()
        await reading
        assert (r.outcomes, r.client.started) == ([], [])
        again = asyncio.create_task(r.read(rows(20)))
        while len(r.outcomes) < 20:
            await asyncio.sleep(0)
            await r.clock.advance(1)
        await again


async def test_row_that_cannot_be_given_back_has_an_outcome() -> None:
    """A row that was not sent, and cannot be recorded so, is reported as SENDING, with the journal's error."""
    async with rig(sending=2) as r:
        release = r.notebook.release = asyncio.Event()
        await r.begin(rows(2))

        def fault(change: Change | BatchRow) -> Exception | None:
            is_back = isinstance(change, Change) and change.state is RowState.PLANNED
            return JournalError("the disk is full") if is_back else None

        r.notebook.fault = fault
        r.batch.stop()
        release.set()
        await settle()
        assert r.is_over
        assert [(each.key, each.state, type(each.error)) for each in r.outcomes] == [
            ("0", RowState.SENDING, JournalError),
            ("1", RowState.SENDING, JournalError),
        ]
        assert r.batch.statistics().in_flight == 0


async def test_start_that_its_pool_ends_is_reported() -> None:
    """A start outside of the pool's own code that the pool ends is reported as SENDING, without waiting."""
    async with rig(sending=2, grace=300.0) as r:
        r.client.release = asyncio.Event()
        await r.begin(rows(2))
        await r.pool.aclose()
        await settle()
        assert r.is_over
        assert isinstance(r.error, PoolClosed)
        assert [(each.state, type(each.error)) for each in r.outcomes] == [(RowState.SENDING, PoolClosed)] * 2


@pytest.mark.parametrize("count", [0, 2])
async def test_pool_that_closes_while_there_is_nothing_to_do(count: int) -> None:
    """A batch that only waits for its input ends when the pool closes, not at the next row."""

    async def given() -> AsyncIterator[BatchRow]:
        for row in rows(count):
            yield row
        async for row in _none():
            yield row

    before = asyncio.all_tasks()
    async with rig(lasts=0.0) as r:
        await r.begin(given())
        await r.clock.advance(5)
        assert (len(r.outcomes), r.is_over) == (count, False)
        await r.pool.aclose()
        await settle()
        assert r.is_over
        assert isinstance(r.error, PoolClosed)
        assert not {task for task in asyncio.all_tasks() - before if not task.done()}
