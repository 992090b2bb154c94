"""Several batches at once over one journal that machines share."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import AsyncExitStack

import attrs
import pytest

from aioagents import JournalError, StartUnknown
from aioagents.batch import BatchRow, Change, Outcome, Record, RowState
from tests.batch.batch_rig import Notebook, Rig, rig, rows
from tests.fakes import settle


class Table:
    """What all owners see: rows, who has each in hand, and who is alive."""

    def __init__(self) -> None:
        self.records: dict[str, Record] = {}
        self.holders: dict[str, str] = {}
        self.alive: set[str] = set()


class Shared(Notebook):
    """One owner's view of a table. Each method does what it does in one step, as a transaction would."""

    def __init__(self, table: Table, owner: str) -> None:
        super().__init__()
        self.table, self.owner = table, owner
        self.records = table.records
        table.alive.add(owner)

    def _is_held(self, key: str) -> bool:
        holder = self.table.holders.get(key, self.owner)
        return holder != self.owner and holder in self.table.alive

    async def begin(self) -> None:
        """Release what the previous run held."""
        await super().begin()
        self.table.holders = {key: who for key, who in self.table.holders.items() if who != self.owner}

    async def claim(self, claimed: Sequence[BatchRow]) -> Sequence[Record]:
        """Return rows out, or say that somebody else has them."""
        given = await super().claim(claimed)
        for record in given:
            if not self._is_held(record.key):
                self.table.holders[record.key] = self.owner
        return [attrs.evolve(record, is_held=self._is_held(record.key)) for record in given]

    def _check(self, wanted: Sequence[Change | BatchRow]) -> None:
        super()._check(wanted)
        for each in wanted:
            if isinstance(each, Change) and self._is_held(each.key):
                raise JournalError(f"somebody else has {each.key}", key=each.key)

    async def unfinished(self) -> AsyncIterator[Record]:
        """Return what nobody else has who is alive."""
        found = [record async for record in super().unfinished() if not self._is_held(record.key)]
        self.table.holders.update((record.key, self.owner) for record in found)
        for record in found:
            yield record


async def _end(machines: Sequence[Rig]) -> list[Outcome]:
    """Advance the clock until all batches are over, and return all outcomes."""
    for _ in range(500):
        if all(machine.is_over for machine in machines):
            break
        for machine in machines:
            await machine.clock.advance(1)
    assert [machine.error for machine in machines] == [None] * len(machines)
    assert all(machine.is_over for machine in machines)
    return [outcome for machine in machines for outcome in machine.outcomes]


def _once(given: Iterable[str]) -> dict[str, int]:
    return dict.fromkeys(given, 1)


@pytest.mark.parametrize("on_unknown", ["report", "resend"])
@pytest.mark.parametrize("is_late", [False, True], ids=["at once", "one later"])
async def test_each_row_is_started_by_one(on_unknown: str, is_late: bool) -> None:
    """Of two batches over the same rows, one starts each row, and the same one reports its outcome."""
    table, given = Table(), rows(600)
    async with AsyncExitStack() as stack:
        a, b = [
            await stack.enter_async_context(rig(Shared(table, owner), in_flight=50, on_unknown=on_unknown))
            for owner in ("a", "b")
        ]
        for machine in (a, b):
            machine.client.faults = {"7": StartUnknown("lost")}
        a.client.release = asyncio.Event()
        await a.begin(given)
        if is_late:
            assert RowState.SENDING in a.notebook.states.values()
        else:
            a.client.release.set()
        await b.begin(reversed(given))
        await settle()
        a.client.release.set()
        outcomes = await _end([a, b])
        assert Counter([*a.client.started, *b.client.started]) == _once(row.key for row in given)
        assert Counter(outcome.key for outcome in outcomes) == _once(row.key for row in given)
        assert min(len(a.outcomes), len(b.outcomes)) > 0
        for machine in (a, b):
            assert set(machine.client.started) == {outcome.key for outcome in machine.outcomes}
        assert Counter(table.records[key].state for key in table.records) == {
            RowState.COMPLETED: 599,
            RowState.UNKNOWN: 1,
        }


async def test_rows_of_who_is_gone_are_taken_up_by_one() -> None:
    """What an owner that is gone left open is followed, or reported, by one of the others alone."""
    table, given = Table(), rows(20)
    async with rig(Shared(table, "gone")) as r:
        r.client.releases = {"3": asyncio.Event()}
        await r.begin(given)
    assert (table.records["3"].state, table.records["4"].state) == (RowState.SENDING, RowState.STARTED)
    table.alive.remove("gone")
    async with AsyncExitStack() as stack:
        a, b = [await stack.enter_async_context(rig(Shared(table, owner))) for owner in ("a", "b")]
        for machine in (a, b):
            for row in given:
                machine.client.begin(row.key)
            await machine.begin(given)
        outcomes = await _end([a, b])
        assert Counter(outcome.key for outcome in outcomes) == _once(row.key for row in given)
        assert (a.client.started, b.client.started) == ([], [])
        assert table.records["3"].state is RowState.UNKNOWN


async def test_who_was_taken_for_gone_starts_nothing_more() -> None:
    """An owner whose rows were given to another learns of it from the journal, and its batch ends."""
    table = Table()
    async with AsyncExitStack() as stack:
        a, b = [await stack.enter_async_context(rig(Shared(table, owner), sending=2)) for owner in ("a", "b")]
        a.client.release = asyncio.Event()
        await a.begin(rows(10))
        table.alive.remove("a")
        await b.begin(rows(10))
        a.client.release.set()
        await a.clock.advance(10)
        assert isinstance(a.error, JournalError)
        assert len(a.client.started) == 2
        await _end([b])
        assert Counter([*a.client.started, *b.client.started]) == _once(row.key for row in rows(10))
        assert Counter(outcome.key for outcome in b.outcomes) == _once(row.key for row in rows(10))
