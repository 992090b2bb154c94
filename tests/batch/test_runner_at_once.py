"""Starts whose answer is the end of their run: recorded at once, and neither attached to nor polled."""

import asyncio
from typing import Any

import pytest

from aioagents import JournalError, RunFailed, RunHandle, RunState
from aioagents.batch import BatchRow, Change, RowState
from aioagents.observe import StartAbandoned
from aioagents.pool import SessionPool
from tests.batch.batch_rig import StandIn, ref_of, rig, rows
from tests.fakes import settle


class AtOnce(StandIn):
    """A vendor that answers when the run is over, with the run itself."""

    def __init__(self, pool: SessionPool, **options: Any) -> None:
        super().__init__(pool, **options)
        self.attached: list[str] = []

    async def start_row(self, row: BatchRow) -> Any:  # wider than the stand-in's own
        """Return the run as it is after the start."""
        return (await super().start_row(row)).accepted

    def attach(self, ref: Any) -> RunHandle:
        """Follow a run."""
        self.attached.append(str(ref))
        return super().attach(ref)


async def test_answer_that_is_the_end() -> None:
    """Each row goes from SENDING to its end in one record, has one outcome, and no poll is made."""
    async with rig(lasts=0.0, vendor=AtOnce) as r:
        r.client.ends["1"] = RunState.FAILED
        outcomes = {outcome.key: outcome for outcome in await r.finish(rows(3))}
        assert r.states == {"0": RowState.COMPLETED, "1": RowState.FAILED, "2": RowState.COMPLETED}
        assert r.notebook.log["0"] == [RowState.SENDING, RowState.COMPLETED]
        assert r.notebook.log["1"] == [RowState.SENDING, RowState.FAILED]
        assert {key: record.ref for key, record in r.notebook.records.items()} == {
            key: ref_of(key) for key in "012"
        }
        assert isinstance(outcomes["1"].error, RunFailed)
        assert outcomes["0"].run is not None
        assert outcomes["0"].run.output == {"key": "run-0"}
        statistics = r.batch.statistics()
        assert (statistics.starts, statistics.in_flight, statistics.settled) == (3, 0, 3)
        assert not r.client.polls
        assert isinstance(r.client, AtOnce)
        assert r.client.attached == []


async def test_handle_of_a_run_that_is_over() -> None:
    """A handle of a run that had ended when its start was answered is recorded in the same way."""
    async with rig(lasts=0.0) as r:
        await r.finish(rows(2))
        assert r.notebook.log["0"] == [RowState.SENDING, RowState.COMPLETED]
        assert not r.client.polls


async def test_run_that_has_not_ended() -> None:
    """A client that returns a run which goes on loses nothing: it is attached to and followed to its end."""
    async with rig(lasts=25.0, vendor=AtOnce) as r:
        await r.finish(rows(1))
        assert r.notebook.log["0"] == [RowState.SENDING, RowState.STARTED, RowState.COMPLETED]
        assert isinstance(r.client, AtOnce)
        assert r.client.attached == [str(ref_of("0"))]
        assert r.states == {"0": RowState.COMPLETED}


async def test_end_that_cannot_be_recorded() -> None:
    """Where the journal fails, the outcome has the ended run, though the row stays SENDING."""
    async with rig(lasts=0.0, vendor=AtOnce) as r:

        def fault(each: Change | BatchRow) -> Exception | None:
            return JournalError("full") if getattr(each, "state", None) is RowState.COMPLETED else None

        r.notebook.fault = fault
        with pytest.raises(JournalError):
            await r.finish(rows(1))
        [outcome] = r.outcomes
        assert (outcome.state, outcome.ref) == (RowState.SENDING, ref_of("0"))
        assert outcome.run is not None
        assert outcome.run.state is RunState.COMPLETED


@pytest.mark.parametrize("lasts", [0.0, 25.0])
async def test_answer_after_the_reader_left(lasts: float) -> None:
    """A run in an answer that comes after the batch was left is emitted as abandoned."""
    async with rig(lasts=lasts, grace=1.0, vendor=AtOnce) as r:
        r.client.release = asyncio.Event()
        reader = await r.begin(rows(1))
        reader.cancel()
        await r.clock.advance(0)
        await asyncio.wait([reader], timeout=5)
        r.client.release.set()
        await settle()
        [event] = [each for each in r.events if isinstance(each, StartAbandoned)]
        assert (event.ref, event.error) == (ref_of("0"), None)
        assert event.run is not None
        assert event.run.ref == ref_of("0")
