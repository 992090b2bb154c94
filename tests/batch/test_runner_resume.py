"""A batch that is run again: what an earlier run left open, settled, or unknown."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from datetime import timedelta

import attrs
import pytest

from aioagents import AgentsError, BadRequest, JournalError, RunFailed, RunState, StartUnknown
from aioagents.batch import BatchRow, Change, Outcome, Record, RowState
from aioagents.batch.settings import BatchSettings
from tests.batch.batch_rig import Notebook, ref_of, rig, rows
from tests.fakes import EPOCH


def record(key: str, state: RowState, **facts: object) -> Record:
    """Return what a journal knows of a row."""
    known = Record(key=key, target="tea", digest=b"", state=state, owner="another")
    if state in (RowState.STARTED, RowState.COMPLETED, RowState.FAILED, RowState.ABORTED):
        known = attrs.evolve(known, ref=ref_of(key))
    if state.is_settled:
        known = attrs.evolve(known, ended_at=EPOCH)
    return attrs.evolve(known, **facts)  # type: ignore[arg-type]  # whatever facts the test names


async def test_runs_that_went_on_are_followed() -> None:
    """A row with a reference is attached to, not started, and comes out once though the input has it too."""
    book = Notebook([record("1", RowState.STARTED), record("2", RowState.STARTED)])
    async with rig(book) as r:
        r.client.begin("1")
        r.client.begin("2")
        outcomes = await r.finish(rows(4))
        assert sorted(r.client.started) == ["0", "3"]
        assert Counter(outcome.key for outcome in outcomes) == {"0": 1, "1": 1, "2": 1, "3": 1}
        assert set(r.states.values()) == {RowState.COMPLETED}
        assert not any(outcome.is_replayed for outcome in outcomes)
        assert r.batch.statistics().resumed == 2


async def test_run_that_ends_before_the_input_comes_to_its_row() -> None:
    """A row that was followed to its end has its one outcome, though the input names it only then."""
    go = asyncio.Event()

    async def late() -> AsyncIterator[BatchRow]:
        await go.wait()
        for row in rows(3):
            yield row

    async with rig(Notebook([record("1", RowState.STARTED), record("2", RowState.SENDING)])) as r:
        r.client.begin("1")
        await r.begin(late())
        await r.clock.advance(60)
        assert r.states == {"1": RowState.COMPLETED, "2": RowState.UNKNOWN}
        go.set()
        await r.clock.advance(60)
        assert r.is_over
        assert Counter(outcome.key for outcome in r.outcomes) == {"0": 1, "1": 1, "2": 1}
        assert r.client.started == ["0"]


async def test_following_needs_no_input() -> None:
    """What is open is followed to its end though the input is empty."""
    async with rig(Notebook([record("1", RowState.STARTED)])) as r:
        r.client.begin("1")
        (outcome,) = await r.finish([])
        assert (outcome.key, outcome.state) == ("1", RowState.COMPLETED)


async def test_following_is_bounded() -> None:
    """No more runs are followed at a time than may be in flight, and they go before the input."""
    book = Notebook([record(str(n), RowState.STARTED) for n in range(50)])
    async with rig(book, in_flight=10) as r:
        for n in range(50):
            r.client.begin(str(n))
        await r.begin(rows(60))
        assert r.pool.statistics().polling.runs == 10
        await r.clock.advance(200)
        assert (r.is_over, len(r.outcomes)) == (True, 60)
        assert len(r.client.started) == 10


async def test_start_that_was_out_is_unknown() -> None:
    """A row that was SENDING is reported as unknown, once, and is not sent again."""
    book = Notebook([record("1", RowState.SENDING, sent_at=EPOCH)])
    async with rig(book) as r:
        outcomes = await r.finish(rows(3))
        (lost,) = [outcome for outcome in outcomes if outcome.key == "1"]
        assert (lost.state, lost.is_settled, lost.is_replayed) == (RowState.UNKNOWN, True, False)
        assert isinstance(lost.error, StartUnknown)
        assert (lost.error.target, lost.error.sent_at) == ("tea", EPOCH)
        assert sorted(r.client.started) == ["0", "2"]
        assert r.notebook.states["1"] is RowState.UNKNOWN
        assert r.batch.statistics().unknown == 1
    async with rig(r.notebook.reopened()) as r:
        (again,) = [outcome for outcome in await r.finish(rows(3)) if outcome.key == "1"]
        assert (again.state, again.is_replayed) == (RowState.UNKNOWN, True)
        assert isinstance(again.error, StartUnknown)
        assert again.error.sent_at == EPOCH
        assert r.client.started == []


@pytest.mark.parametrize("state", [RowState.SENDING, RowState.UNKNOWN])
async def test_unknown_rows_are_sent_again_if_asked_for(state: RowState) -> None:
    """With `on_unknown="resend"` the row is planned anew, and is started when the input comes to it."""
    async with rig(Notebook([record("1", state)]), on_unknown="resend") as r:
        outcomes = await r.finish(rows(3))
        assert sorted(r.client.started) == ["0", "1", "2"]
        assert len(outcomes) == 3
        assert r.notebook.log["1"] == [
            RowState.PLANNED,
            RowState.SENDING,
            RowState.STARTED,
            RowState.COMPLETED,
        ]


@pytest.mark.parametrize("state", [RowState.SENDING, RowState.UNKNOWN])
@pytest.mark.parametrize("on_unknown", ["report", "resend"])
async def test_unknown_rows_that_cannot_be_recorded(state: RowState, on_unknown: str) -> None:
    """If the state of a row cannot be recorded, it has no outcome, and nothing is started."""
    full = JournalError("the disk is full")
    book = Notebook([record("1", state)])
    book.fault = lambda wanted: full if isinstance(wanted, Change) else None
    async with rig(book, on_unknown=on_unknown) as r:
        await r.begin(rows(2))
        assert (r.error, r.client.started) == (full, [])
        assert all(outcome.is_replayed for outcome in r.outcomes)
        assert r.notebook.states["1"] is state


async def test_what_gets_unknown_in_this_run_is_not_sent_again_in_it() -> None:
    """To send once more what is unknown is for the next run: this one just learned that it is."""
    async with rig(on_unknown="resend") as r:
        r.client.faults = {"1": StartUnknown("lost")}
        await r.finish(rows(3))
        assert r.states["1"] is RowState.UNKNOWN
        assert Counter(r.client.started)["1"] == 1


async def test_settled_rows_come_from_the_journal() -> None:
    """A batch that is run again starts nothing that is settled, and gives the same ends once more."""
    book = Notebook()
    async with rig(book) as r:
        r.client.ends = {"1": RunState.FAILED, "2": RunState.ABORTED}
        r.client.faults = {"3": BadRequest("no", status=400)}
        first = {outcome.key: outcome for outcome in await r.finish(rows(5))}
    async with rig(book.reopened()) as r:
        second = {outcome.key: outcome for outcome in await r.finish(rows(5))}
        assert r.client.started == []
        assert r.batch.statistics().replayed == 5
        assert r.batch.statistics().states == Counter(each.state for each in first.values())
    assert all(outcome.is_replayed and outcome.is_settled for outcome in second.values())
    for key, outcome in second.items():
        before = first[key]
        assert (outcome.state, outcome.ref, type(outcome.error)) == (
            before.state,
            before.ref,
            type(before.error),
        )
        assert str(outcome.error) == str(before.error)
        if before.run is not None and outcome.run is not None:
            assert outcome.run == attrs.evolve(before.run, ended_at=before.run.seen_at)
    assert isinstance(second["1"].error, RunFailed)
    assert second["1"].error.run == second["1"].run


async def test_rows_that_were_given_back_are_started() -> None:
    """A row that is planned, from whatever time, is started as any other."""
    async with rig(Notebook([record("1", RowState.PLANNED)])) as r:
        await r.finish(rows(2))
        assert r.client.started == ["0", "1"]


@pytest.mark.parametrize("ref", [None, ref_of("1", scope="elsewhere")], ids=["none", "foreign"])
async def test_run_that_cannot_be_attached_to(ref: object) -> None:
    """A reference that this client cannot follow is that row's outcome, and holds up no other."""
    async with rig(Notebook([record("1", RowState.STARTED, ref=ref)])) as r:
        outcomes = {outcome.key: outcome for outcome in await r.finish(rows(2))}
        assert isinstance(outcomes["1"].error, ValueError)
        assert (outcomes["1"].state, outcomes["1"].ref) == (RowState.STARTED, ref)
        assert outcomes["0"].state is RowState.COMPLETED


async def test_rows_of_another_owner_are_left_alone() -> None:
    """A row that another machine claims meanwhile is neither started nor reported."""

    class _Shared(Notebook):
        async def claim(self, claimed: object) -> list[Record]:
            return [record("0", RowState.STARTED), record("1", RowState.SENDING)]

    async with rig(_Shared()) as r:
        assert await r.finish(rows(2)) == []
        assert r.client.started == []


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("StartUnknown", StartUnknown),
        ("BadRequest", BadRequest),
        ("ValueError", ValueError),
        ("UnicodeEncodeError", AgentsError),
        ("Final", AgentsError),
        ("", type(None)),
    ],
)
def test_errors_come_back_by_their_kind(kind: str, expected: type) -> None:
    """A replayed error is of the kind that was recorded, where that can be made; else of the root."""
    error = Outcome.of_record(record("1", RowState.REFUSED, kind=kind, error="words")).error
    assert type(error) is expected
    assert str(error or "words") == "words"


def test_end_without_a_run() -> None:
    """A row that was dropped by hand comes back without a run."""
    outcome = Outcome.of_record(record("1", RowState.DROPPED, ended_at=EPOCH + timedelta(1)))
    assert (outcome.run, outcome.error, outcome.is_settled) == (None, None, True)


@pytest.mark.parametrize("is_input_given", [True, False])
async def test_runs_that_go_on_are_read_as_they_are_followed(is_input_given: bool) -> None:
    """Of thousands of runs that an earlier run left, few are read ahead of those followed; each is reported once."""
    count = 3000
    book = Notebook(record(str(n), RowState.STARTED) for n in range(count))
    async with rig(book, in_flight=10, lasts=25) as r:
        for n in range(count):
            r.client.begin(str(n))
        await r.begin(rows(count if is_input_given else 0))
        assert r.batch.statistics().in_flight == 10
        assert (
            book.read <= count + 10 + BatchSettings().ahead + 1
        )  # all were searched for rows that were SENDING
        for _ in range(200):
            await r.clock.advance(100)
        assert r.is_over
        assert Counter(r.states.values()) == {RowState.COMPLETED: count}
        assert len(r.outcomes) == count
        assert r.client.started == []
        assert book.most_open <= count
