"""What goes wrong with a row, with a wait, with the journal, and with the input."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest

from aioagents import (
    AgentsError,
    AuthenticationError,
    BadRequest,
    Conflict,
    DecodeError,
    JournalError,
    NotFound,
    NotSent,
    PermissionDenied,
    PoolClosed,
    ReplyError,
    ServerError,
    StartUnknown,
    Throttled,
    WaitTimeout,
)
from aioagents.batch import BatchRow, Change, RowState
from tests.batch.batch_rig import Fault, Notebook, Rig, fault, ref_of, rig, rows
from tests.fakes import settle

FULL = JournalError("the disk is full")


def at(state: RowState, *keys: str, error: Exception = FULL) -> Any:
    """Return a fault of a journal, raised when one of these rows (or any) is to enter `state`."""

    def ask(wanted: Change | BatchRow) -> Fault:
        is_it = isinstance(wanted, Change) and wanted.state is state and (not keys or wanted.key in keys)
        return error if is_it else None

    return ask


@pytest.mark.parametrize(
    ("error", "state"),
    [
        (StartUnknown("lost"), RowState.UNKNOWN),
        (BadRequest("no", status=400), RowState.REFUSED),
        (PermissionDenied("no", status=403), RowState.PLANNED),
        (NotFound("no", status=404), RowState.REFUSED),
        (Conflict("no", status=409), RowState.REFUSED),
        (ReplyError("no", status=418), RowState.REFUSED),
        (ValueError("no message for this vendor"), RowState.REFUSED),
        (TypeError("not JSON-able"), RowState.REFUSED),
        (NotSent("no connection"), RowState.PLANNED),
        (Throttled("slow down", status=429), RowState.PLANNED),
        (ServerError("busy", status=503), RowState.PLANNED),
        (DecodeError("an odd token"), RowState.PLANNED),
        (ReplyError("moved", status=308), RowState.PLANNED),
        (LookupError("a fault of the client's"), RowState.UNKNOWN),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else None,
)
async def test_failed_start_stops_nothing(error: Exception, state: RowState) -> None:
    """Whatever one row's start raises is that row's outcome, is recorded, and all others go their way."""
    async with rig() as r:
        r.client.faults = {"1": error}
        outcomes = {outcome.key: outcome for outcome in await r.finish(rows(4))}
        assert len(outcomes) == 4
        assert (outcomes["1"].state, outcomes["1"].error) == (state, error)
        assert outcomes["1"].is_settled == (state is not RowState.PLANNED)
        assert r.notebook.log["1"] == [RowState.SENDING, state]
        assert [r.states[key] for key in "023"] == [RowState.COMPLETED] * 3
        record = r.notebook.records["1"]
        assert (record.kind, record.error) == (type(error).__name__, str(error))


@pytest.mark.parametrize("error", [AuthenticationError("who?", status=401), PoolClosed("closed")])
async def test_error_of_every_row_stops_the_batch(error: AgentsError) -> None:
    """Where every row would fare the same, the batch ends with that error, and the row may be sent again."""
    async with rig(sending=2) as r:
        r.client.faults = {"5": error}
        await r.begin(rows(100))
        await r.clock.advance(10)
        assert (r.is_over, r.error) == (True, error)
        assert r.states["5"] is RowState.PLANNED
        assert r.notebook.states["5"] is RowState.PLANNED
        assert len(r.client.started) <= 8
        states = Counter(r.notebook.states.values())
        assert states[RowState.SENDING] == 0
        assert states[RowState.STARTED] == len(r.client.started) - 1


async def test_vendors_words_are_kept() -> None:
    """What the vendor said of a refused row stands in the journal."""
    async with rig() as r:
        r.client.faults = {"0": BadRequest("answered with 400", status=400, detail="no such tea")}
        await r.finish(rows(1))
        assert r.notebook.records["0"].error == "answered with 400 (no such tea)"


@pytest.mark.parametrize("sending", [4, 16])
@pytest.mark.parametrize(
    ("error", "state"),
    [(NotSent("no connection"), RowState.PLANNED), (StartUnknown("no whole reply"), RowState.UNKNOWN)],
)
async def test_an_outage_is_not_run_through(error: AgentsError, state: RowState, sending: int) -> None:
    """While nothing can be started rows are tried ever more rarely, and one at a time: most see the outage's end."""
    async with rig(sending=sending) as r:
        r.client.faults = {str(n): error for n in range(500)}
        await r.begin(rows(1000))
        await r.clock.advance(60)
        assert 8 <= len(r.client.started) <= sending + 16
        await r.clock.advance(3600)
        assert len(r.client.started) <= sending + 16 + 3600 / 30
        r.client.faults.clear()
        for _ in range(100):
            await r.clock.advance(1)
        assert r.is_over
        states = Counter(r.states.values())
        assert states[state] <= sending + 16 + 3600 / 30
        assert states[RowState.COMPLETED] == 1000 - states[state]


async def test_short_fault_holds_up_little() -> None:
    """A fault that all starts out at that moment meet, and none later, costs a second, not the time of an outage."""
    async with rig(sending=64, in_flight=1000) as r:
        r.client.faults = {str(n): StartUnknown("no whole reply") for n in range(64)}
        await r.begin(rows(500))
        await r.clock.advance(2)
        assert len(r.client.started) == 500


async def test_rights_that_some_rows_lack_hold_up_nothing() -> None:
    """Rows that the vendor has no right for are left, and cost the others none of their time."""
    async with rig(sending=4, in_flight=100) as r:
        r.client.faults = {str(n): PermissionDenied("no right", status=403) for n in range(50)}
        await r.begin(rows(60))
        await r.clock.advance(0.4)
        assert len(r.client.started) == 60
        assert Counter(r.states.values()) == {RowState.PLANNED: 50}


async def test_few_failures_hold_up_nothing() -> None:
    """The slot of a row that fails rests for half a second, and other rows are not delayed."""
    async with rig(sending=4, in_flight=100) as r:
        r.client.faults = {str(n): StartUnknown("no whole reply") for n in range(0, 60, 10)}
        await r.begin(rows(60))
        await r.clock.advance(3)
        assert len(r.client.started) == 60


async def test_starts_heed_what_the_vendor_asks_for() -> None:
    """A slot rests for as long as `Retry-After` asks, but for five minutes at most."""
    async with rig(sending=1) as r:
        slow = Throttled("slow down", status=429, retry_after=60.0)
        slower = Throttled("slow down", status=429, retry_after=3600.0)
        r.client.faults = {"0": slow, "1": slower}
        await r.begin(rows(3))
        await r.clock.advance(59)
        assert r.client.started == ["0"]
        await r.clock.advance(2)
        assert r.client.started == ["0", "1"]
        await r.clock.advance(298)
        assert r.client.started == ["0", "1"]
        await r.clock.advance(2)
        assert r.client.started == ["0", "1", "2"]


# Waits


async def test_wait_has_a_deadline() -> None:
    """A run that does not end in time is left: its row stays STARTED, and its slot is free."""
    async with rig(timeout=12, lasts=25, in_flight=3) as r:
        outcomes = await r.finish(rows(7))
        assert [type(each.error) for each in outcomes] == [WaitTimeout] * 7
        assert {each.state for each in outcomes} == {RowState.STARTED}
        assert not any(each.is_settled for each in outcomes)
        assert outcomes[0].ref == ref_of(outcomes[0].key)
        assert outcomes[0].run is not None
        assert outcomes[0].run.status == "is running"
        assert str(outcomes[0].error).endswith("did not end within 12 s; last seen as is running; it goes on")
        assert set(r.notebook.states.values()) == {RowState.STARTED}
        assert r.pool.statistics().polling.runs == 0
    assert r.clock.timers == 0


async def test_deadlines_are_each_runs_own() -> None:
    """Each run is left so long after its own start; those that end in time are not."""
    async with rig(timeout=29, lasts=25, sending=1) as r:
        r.client.releases["1"] = asyncio.Event()
        r.client.poll_faults = {"0": NotSent("no connection")}
        await r.begin(rows(2))
        await r.clock.advance(14)
        r.client.releases["1"].set()
        await r.clock.advance(14)
        assert r.outcomes == []
        await r.clock.advance(2)
        assert r.states == {"0": RowState.STARTED}
        await r.clock.advance(20)
        assert r.states == {"0": RowState.STARTED, "1": RowState.STARTED}


async def test_wait_that_fails() -> None:
    """A run that cannot be polled is that row's outcome; the row stays STARTED, others go on."""
    async with rig() as r:
        r.client.poll_faults = {"1": NotFound("no such run", status=404)}
        outcomes = {outcome.key: outcome for outcome in await r.finish(rows(3))}
        assert outcomes["1"].state is RowState.STARTED
        assert isinstance(outcomes["1"].error, NotFound)
        assert outcomes["1"].ref == ref_of("1")
        assert r.notebook.states["1"] is RowState.STARTED
        assert [r.states[key] for key in "02"] == [RowState.COMPLETED] * 2


async def test_run_that_cannot_be_followed() -> None:
    """Where the pool's cadence is broken, each run that was started is its row's outcome, and stays STARTED."""

    class _Broken:
        def gap(self, elapsed: float, *, key: str = "", chance: float = 0.5) -> float:
            raise LookupError("mine")

    async with rig(cadence=_Broken()) as r:
        outcomes = await r.finish(rows(3))
        assert [type(each.error) for each in outcomes] == [LookupError] * 3
        assert {each.ref for each in outcomes} == {ref_of(key) for key in "012"}
        assert set(r.notebook.states.values()) == {RowState.STARTED}


async def test_pool_that_closes_ends_the_batch() -> None:
    """When the pool is closed the batch ends with `PoolClosed`, and rows stay as they are."""
    async with rig(lasts=1e6) as r:
        await r.begin(rows(5))
        await r.pool.aclose()
        await settle()
        assert (r.is_over, type(r.error)) == (True, PoolClosed)
        assert set(r.notebook.states.values()) == {RowState.STARTED}


# The journal


async def test_start_that_cannot_be_recorded_is_not_made() -> None:
    """Where SENDING cannot be recorded, nothing is sent, nothing more is started, and the error is raised."""
    async with rig(sending=1) as r:
        r.notebook.fault = at(RowState.SENDING, "3")
        await r.begin(rows(10))
        await r.clock.advance(10)
        assert (r.is_over, r.error) == (True, FULL)
        assert r.client.started == ["0", "1", "2"]
        assert r.notebook.states["3"] is RowState.PLANNED


async def test_starts_that_are_out_are_recorded_all_the_same() -> None:
    """After the journal failed once, starts that are out are waited for and recorded, and only then it is raised."""
    async with rig(sending=4) as r:
        for key in "012":
            r.client.releases[key] = asyncio.Event()
        r.notebook.fault = at(RowState.SENDING, "4")
        await r.begin(rows(10))
        assert not r.is_over
        assert r.client.started == ["0", "1", "2", "3"]
        for release in r.client.releases.values():
            release.set()
        await settle()
        assert (r.is_over, r.error) == (True, FULL)
        assert Counter(r.notebook.states[key] for key in "01234") == {
            RowState.STARTED: 4,
            RowState.PLANNED: 1,
        }
        assert r.client.started == ["0", "1", "2", "3"]


async def test_fault_of_one_row_keeps_no_other_from_being_recorded() -> None:
    """Where many are recorded together and one cannot be, the others are, before the batch ends."""
    async with rig() as r:
        r.client.release = asyncio.Event()
        await r.begin(rows(20))
        r.notebook.fault = at(RowState.STARTED, "7")
        r.client.release.set()
        await settle()
        assert (r.is_over, r.error) == (True, FULL)
        assert Counter(r.notebook.states.values()) == {RowState.STARTED: 19, RowState.SENDING: 1}
        assert [(each.key, each.ref) for each in r.outcomes] == [("7", ref_of("7"))]


async def test_rows_that_were_recorded_beside_a_fault_are_not_sent() -> None:
    """Rows that became SENDING together with one that could not are given back, for nothing may leave any more."""
    async with rig() as r:
        r.notebook.fault = at(RowState.SENDING, "3")
        await r.begin(rows(5))
        assert (r.is_over, r.error) == (True, FULL)
        assert r.client.started == []
        assert set(r.notebook.states.values()) == {RowState.PLANNED}


async def test_starts_that_stay_out_are_waited_for_so_long() -> None:
    """A start whose reply does not come within the grace is left as SENDING."""
    async with rig(sending=2, grace=3.0) as r:
        r.client.releases["0"] = asyncio.Event()
        r.notebook.fault = at(RowState.SENDING, "4")
        await r.begin(rows(10))
        await r.clock.advance(2.9)
        assert not r.is_over
        await r.clock.advance(0.2)
        assert (r.is_over, r.error) == (True, FULL)
        assert r.notebook.states["0"] is RowState.SENDING


async def test_run_that_cannot_be_recorded_is_reported() -> None:
    """If STARTED cannot be recorded, the outcome has the run's reference, since the journal does not."""
    async with rig() as r:
        r.notebook.fault = at(RowState.STARTED, "1")
        await r.begin(rows(2))
        assert (r.is_over, r.error) == (True, FULL)
        (outcome,) = r.outcomes
        assert (outcome.key, outcome.state, outcome.ref) == ("1", RowState.SENDING, ref_of("1"))
        assert (outcome.error, outcome.is_settled) == (FULL, False)
        assert r.notebook.states == {"0": RowState.STARTED, "1": RowState.SENDING}


async def test_refusal_that_cannot_be_recorded_is_reported() -> None:
    """The outcome has the start's own error, and the state that the journal has."""
    async with rig() as r:
        lost = StartUnknown("lost")
        r.client.faults = {"0": lost}
        r.notebook.fault = at(RowState.UNKNOWN)
        await r.begin(rows(1))
        assert r.error is FULL
        assert [(each.state, each.error) for each in r.outcomes] == [(RowState.SENDING, lost)]


async def test_end_that_cannot_be_recorded() -> None:
    """Where an end cannot be recorded the batch ends, the row stays STARTED, and no outcome says otherwise."""
    async with rig() as r:
        r.notebook.fault = at(RowState.COMPLETED)
        await r.begin(rows(3))
        await r.clock.advance(40)
        assert (r.is_over, r.error, r.outcomes) == (True, FULL, [])
        assert set(r.notebook.states.values()) == {RowState.STARTED}


async def test_rows_that_cannot_be_claimed() -> None:
    """Where rows cannot be claimed, none of them is started."""
    async with rig() as r:
        r.notebook.fault = lambda wanted: FULL if isinstance(wanted, BatchRow) else None
        await r.begin(rows(3))
        assert (r.error, r.client.started) == (FULL, [])


async def test_row_that_cannot_be_written_down() -> None:
    """A row whose content is no JSON is refused by itself, and is not started."""
    odd = TypeError("not JSON-able")

    def ask(wanted: Change | BatchRow) -> Fault:
        return odd if isinstance(wanted, BatchRow) and wanted.key == "2" else None

    async with rig() as r:
        r.notebook.fault = ask
        outcomes = await r.finish(rows(5))
        assert [each.error for each in outcomes if each.key == "2"] == [odd]
        assert Counter(r.states.values()) == {RowState.COMPLETED: 4, RowState.REFUSED: 1}
        assert "2" not in r.client.started


async def test_foreign_error_of_a_journal_stops_the_batch() -> None:
    """Whatever a journal raises is raised; nothing may be started on its word."""
    async with rig() as r:
        broken = LookupError("a fault in the journal")
        r.notebook.fault = at(RowState.SENDING, error=broken)
        await r.begin(rows(3))
        assert (r.error, r.client.started) == (broken, [])


class _Forgetful(Notebook):
    """A journal whose open rows cannot be read."""

    async def unfinished(self) -> AsyncIterator[Any]:
        raise FULL
        yield


async def test_open_rows_that_cannot_be_read() -> None:
    """Where what is open cannot be read, nothing is started."""
    async with rig(_Forgetful()) as r:
        await r.begin(rows(3))
        assert (r.error, r.client.started) == (FULL, [])


# The input


async def _read(r: Rig, given: Any) -> None:
    await r.begin(given)
    await r.clock.advance(10)
    assert r.is_over


async def test_input_that_raises() -> None:
    """What the input raises is raised, after the starts that are out were recorded."""

    def broken() -> Iterator[BatchRow]:
        yield from rows(3)
        raise fault(4)

    async with rig() as r:
        await _read(r, broken())
        assert str(r.error) == "line 4: no row"
        assert RowState.SENDING not in r.notebook.states.values()


async def test_async_input_that_raises() -> None:
    """An async input is no different; rows that it gave before are started, and left as they are."""
    go = asyncio.Event()

    async def broken() -> AsyncIterator[BatchRow]:
        for row in rows(3):
            yield row
        await go.wait()
        raise fault(4)

    async with rig() as r:
        await r.begin(broken())
        go.set()
        await settle()
        assert str(r.error) == "line 4: no row"
        assert set(r.notebook.states.values()) == {RowState.STARTED}


async def test_input_of_something_else() -> None:
    """What is neither a row nor a faulty line is a mistake of the program's, and is raised as one."""
    async with rig() as r:
        await _read(r, [{"key": "1", "target": "tea"}])
        assert isinstance(r.error, TypeError)
        assert str(r.error) == "rows have to be BatchRow values, not dict"


async def test_input_that_is_cancelled() -> None:
    """An input whose own task was cancelled ends the batch, instead of being waited for without end."""

    async def cancelled() -> AsyncIterator[BatchRow]:
        for row in rows(1):
            yield row
        raise asyncio.CancelledError

    async with rig() as r:
        await _read(r, cancelled())
        assert isinstance(r.error, AgentsError)
        assert "cancelled" in str(r.error)
