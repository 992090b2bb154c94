"""What is cut off in the middle of a batch's own work: a journal call, a start, a decision."""

import asyncio
import math
from collections.abc import AsyncIterator
from typing import Any

import attrs
import pytest

from aioagents import AgentsError, BadRequest, JournalError, RunHandle
from aioagents.batch import Batch, BatchRow, Record, RowState
from aioagents.observe import StartAbandoned
from tests.batch.batch_rig import Notebook, ref_of, rig, rows
from tests.fakes import settle


def _tasks_of(name: str) -> list["asyncio.Task[Any]"]:
    return [task for task in asyncio.all_tasks() if f"{name}()" in repr(task)]


async def test_start_is_recorded_after_a_journal_call_was_cancelled() -> None:
    """A cancelled call of the journal ends the batch, and starts that are in flight are recorded by later calls."""
    async with rig(sending=2, in_flight=2) as r:
        r.client.releases["1"] = asyncio.Event()
        r.notebook.release = asyncio.Event()
        await r.begin(rows(2))
        r.notebook.release.set()
        await r.clock.advance(1)
        r.notebook.release = asyncio.Event()  # run 0 ends: its end is being recorded
        await r.clock.advance(40)
        [save] = _tasks_of("_save_all")
        save.cancel()
        await settle()
        r.notebook.release = None
        r.client.releases["1"].set()
        await r.clock.advance(1)
        assert r.is_over
        assert "cancelled from outside" in str(r.error)
        assert r.notebook.states == {"0": RowState.STARTED, "1": RowState.STARTED}


@pytest.mark.parametrize("is_begun", [True, False])
async def test_started_run_whose_journal_call_was_cancelled_is_reported(*, is_begun: bool) -> None:
    """Where the call that records STARTED is cancelled, the outcome has the run's reference, without delay."""
    async with rig() as r:
        r.client.release = asyncio.Event()
        await r.begin(rows(1))
        r.notebook.release = asyncio.Event()
        r.client.release.set()
        for _ in range(10):
            await asyncio.sleep(0)
            if save := _tasks_of("_save_all"):
                break
        if is_begun:
            await settle()
        save[0].cancel()
        await r.clock.advance(1)
        assert r.is_over
        [outcome] = r.outcomes
        assert (outcome.state, outcome.ref) == (RowState.SENDING, ref_of("0"))


class Stopped(BaseException):
    """What no client raises, and no `except Exception` catches."""


async def test_start_that_raises_what_is_no_exception() -> None:
    """The row may have been sent: its outcome says so, and the batch ends with what happened."""
    async with rig() as r:
        r.client.faults["0"] = Stopped()  # type: ignore[assignment]
        r.client.releases["1"] = asyncio.Event()
        await r.begin(rows(2))
        r.client.releases["1"].set()
        await r.clock.advance(1)
        assert r.is_over
        assert "Stopped" in str(r.error)
        assert r.states["0"] is RowState.SENDING
        assert r.notebook.states == {"0": RowState.SENDING, "1": RowState.STARTED}


async def test_start_that_returns_no_handle() -> None:
    """A client that returns something else may have started a run: the outcome says so, and the batch ends."""
    async with rig() as r:

        async def start_row(_: BatchRow) -> None:
            return None

        r.client.start_row = start_row  # type: ignore[method-assign,assignment]
        await r.begin(rows(1))
        await r.clock.advance(1)
        assert r.is_over
        assert isinstance(r.error, AttributeError)
        assert r.states == {"0": RowState.SENDING}


async def test_client_that_cannot_say_when_to_retry() -> None:
    """An error of `retry_delay` ends the batch, and costs the row neither its outcome nor its record."""
    async with rig() as r:

        def retry_delay(*_: object) -> float:
            raise LookupError("no such delay")

        r.client.retry_delay = retry_delay  # type: ignore[method-assign,assignment]
        r.client.faults["0"] = BadRequest("no", status=400)
        await r.begin(rows(1))
        await r.clock.advance(1)
        assert r.is_over
        assert isinstance(r.error, LookupError)
        assert r.states == {"0": RowState.REFUSED}


@pytest.mark.parametrize("seconds", [math.nan, math.inf, -1.0])
async def test_delay_that_would_never_end(seconds: float) -> None:
    """A `retry_delay` that is no time to wait ends the batch: a slot would rest for ever, and nothing say so."""
    async with rig(sending=1) as r:
        r.client.retry_delay = lambda *_: seconds  # type: ignore[method-assign]
        r.client.faults["0"] = BadRequest("no", status=400)
        await r.begin(rows(2))
        await r.clock.advance(1)
        assert r.is_over
        assert isinstance(r.error, ValueError)
        assert "retry_delay" in str(r.error)
        assert r.states == {"0": RowState.REFUSED}


async def test_batch_whose_tasks_are_all_cancelled_while_it_only_follows() -> None:
    """Where nothing can be recorded any more, the batch ends with that, instead of waiting without end."""
    async with rig() as r:
        before = set(_tasks_of("_run_root"))
        await r.begin(rows(1))
        [root] = set(_tasks_of("_run_root")) - before
        root.cancel()
        await r.clock.advance(60)
        assert r.is_over
        assert isinstance(r.error, AgentsError)
        assert r.notebook.states == {"0": RowState.STARTED}


class StoppingCadence:
    """A cadence that stops the batch when it is asked for the first gap, with three seconds of grace."""

    def __init__(self) -> None:
        self.batch: Batch | None = None

    def gap(self, elapsed: float, *, key: str = "", chance: float = 0.5) -> float:
        """Stop the batch."""
        assert self.batch is not None
        self.batch.stop(grace=3.0)
        return 1000.0


async def test_stop_from_within_a_decision() -> None:
    """A stop that comes while the batch carries out what it decided has its own grace."""
    cadence = StoppingCadence()
    async with rig(timeout=100.0, cadence=cadence) as r:
        cadence.batch = r.batch
        r.client.releases["1"] = asyncio.Event()
        await r.begin(rows(2))
        await r.clock.advance(2)
        assert not r.is_over
        await r.clock.advance(2)
        assert r.is_over


@pytest.mark.parametrize("times", [1, 2, 3])
async def test_reader_that_is_cancelled_again_and_again(times: int) -> None:
    """A run that began, and that a hanging journal does not record, is reported after one to three cancellations."""
    async with rig(grace=0.05) as r:
        r.client.release = asyncio.Event()
        reader = await r.begin(rows(1))
        r.notebook.release = asyncio.Event()
        r.client.release.set()
        await settle()
        for _ in range(times):
            reader.cancel()
            await settle()
        await asyncio.wait([reader])
        await settle()
        [abandoned] = [event for event in r.events if isinstance(event, StartAbandoned)]
        assert abandoned.ref == ref_of("0")
        assert r.notebook.states == {"0": RowState.SENDING}


class Torn(Notebook):
    """A journal whose open rows can be read in part, and that counts the iterators that were closed."""

    closed = 0

    async def unfinished(self) -> AsyncIterator[Record]:
        """Raise after the first row."""
        try:
            async for record in super().unfinished():
                yield record
                raise JournalError("the page is damaged")
        finally:
            self.closed += 1


@pytest.mark.parametrize("state", [RowState.SENDING, RowState.STARTED])
async def test_open_rows_that_can_be_read_in_part(state: RowState) -> None:
    """Rows read before the fault are settled or left as they are, nothing is started, and the cursor is closed."""
    record = Record(key="0", target="tea", digest=b"", state=state, owner="me", ref=ref_of("0"))
    torn = Torn([record, attrs.evolve(record, key="1", ref=ref_of("1"))])
    async with rig(torn) as r:
        await r.begin(rows(3))
        await r.clock.advance(1)
        assert r.is_over
        assert isinstance(r.error, JournalError)
        assert r.client.started == []
        left = {RowState.SENDING: RowState.UNKNOWN, RowState.STARTED: RowState.STARTED}[state]
        assert r.notebook.states == {"0": left, "1": state}
        assert r.states == ({"0": left} if left is RowState.UNKNOWN else {})
        assert torn.closed == 1


async def test_second_run_over_a_journal_whose_first_run_left_starts_in_flight() -> None:
    """A start that goes on when its batch is left is unknown to the next run, and is not sent again."""
    async with rig(grace=0.0) as r:
        r.client.release = asyncio.Event()
        reader = await r.begin(rows(1))
        reader.cancel()
        await asyncio.wait([reader])
        assert r.notebook.states == {"0": RowState.SENDING}
        outcomes = await r.finish(rows(1))
        assert [outcome.state for outcome in outcomes] == [RowState.UNKNOWN]
        assert r.client.started == ["0"]
        r.client.release.set()
        await settle()
        [abandoned] = [event for event in r.events if isinstance(event, StartAbandoned)]
        assert abandoned.ref == ref_of("0")


async def test_client_whose_attach_stops_the_batch() -> None:
    """A stop from within `attach` ends the batch, and the run stays STARTED."""
    record = Record(key="0", target="tea", digest=b"", state=RowState.STARTED, owner="me", ref=ref_of("0"))
    async with rig(Notebook([record])) as r:
        attach = r.client.attach

        def stopping(ref: Any) -> RunHandle:
            r.batch.stop()
            return attach(ref)

        r.client.attach = stopping  # type: ignore[method-assign]
        await r.begin(rows(3))
        await r.clock.advance(1)
        assert r.is_over
        assert r.error is None
        assert r.client.started == []
        assert r.pool.statistics().polling.runs == 0
