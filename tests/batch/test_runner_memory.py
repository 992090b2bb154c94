"""What a batch takes of memory: as much as is in flight, however long the input is."""

import asyncio
import gc
import tracemalloc
from collections.abc import Iterator
from pathlib import Path

import pytest

from aioagents import Run, RunHandle, RunRef, RunState, SessionPool, Steady
from aioagents.batch import Batch, BatchRow, Change, Journal, RowState
from tests.batch.batch_rig import StandIn, ref_of, rows
from tests.fakes import EPOCH

#: What is made but once, the first batch makes; the others are compared.
_FEW, _SHORT, _LONG = 50, 2_000, 10_000
_IN_FLIGHT = 200
#: What the longer input may take more. Each of its 8,000 further rows would need 100 bytes for its key alone.
_MORE = 300_000
#: The same where runs are left: the journal remembers how 4,096 rows stand that are not settled, at 260 bytes each.
_MORE_LEFT = 1_400_000


class _Lean(StandIn):
    """A vendor that remembers nothing of its runs, which end at the first poll or never do."""

    def __init__(self, pool: SessionPool, *, are_endless: bool) -> None:
        super().__init__(pool)
        self._state = RunState.RUNNING if are_endless else RunState.COMPLETED

    async def start_row(self, row: BatchRow) -> RunHandle:
        """Return that it began."""
        await asyncio.sleep(0)
        ref, now = ref_of(row.key), self.pool.clock.now()
        return RunHandle(self._source, ref, accepted=self._seen(ref, RunState.RUNNING), begun_at=now)

    async def poll(self, ref: RunRef, *, age: float | None, last: Run | None) -> Run:
        """Return how all of them are."""
        return self._seen(ref, self._state)

    read = poll

    def _seen(self, ref: RunRef, state: RunState) -> Run:
        return Run(ref=ref, state=state, status=state.value, seen_at=self.pool.clock.utcnow())


def _lazily(count: int) -> Iterator[BatchRow]:
    return (BatchRow(str(number), "tea") for number in range(count))


async def _peak(path: Path | None, count: int, *, are_left: bool = False) -> int:
    """Run a batch of so many rows, and give the most bytes that were taken meanwhile."""
    async with SessionPool(cadence=Steady(0.005)) as pool:
        timeout = 0.001 if are_left else None
        client = _Lean(pool, are_endless=are_left)
        batch = Batch(client, journal=path, in_flight=_IN_FLIGHT, timeout=timeout)
        gc.collect()
        tracemalloc.start()
        try:
            seen = 0
            async for _ in batch.run(_lazily(count)):
                seen += 1
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
    states = batch.statistics().states
    assert (seen, states) == (count, {RowState.STARTED if are_left else RowState.COMPLETED: count})
    return peak


async def _left_behind(path: Path, count: int) -> None:
    """Make the journal of a batch that was left with all of its runs going on."""
    async with Journal(path) as journal:
        given = rows(count)
        await journal.claim(given)
        for state in (RowState.SENDING, RowState.STARTED):
            ref = state is RowState.STARTED
            await journal.record(
                [Change(key=e.key, state=state, ref=ref_of(e.key) if ref else None, at=EPOCH) for e in given]
            )


@pytest.mark.parametrize("is_kept", [False, True], ids=["without a journal", "with one"])
async def test_memory_does_not_grow_with_the_input(tmp_path: Path, is_kept: bool) -> None:
    """Five times as many rows, of which as many are in flight, take no more memory."""
    peaks = [
        await _peak(tmp_path / f"{count}.db" if is_kept else None, count) for count in (_FEW, _SHORT, _LONG)
    ]
    assert peaks[2] - peaks[1] < _MORE


async def test_memory_does_not_grow_with_runs_that_are_left(tmp_path: Path) -> None:
    """Runs that go on at the timeout are left behind in memory as well, but for the 4,096 rows remembered."""
    peaks = [await _peak(tmp_path / f"{count}.db", count, are_left=True) for count in (_FEW, _SHORT, _LONG)]
    assert peaks[2] - peaks[1] < _MORE_LEFT


async def test_memory_does_not_grow_with_what_an_earlier_run_left(tmp_path: Path) -> None:
    """A batch that goes on with five times as many runs takes up no more of them at a time."""
    peaks = []
    for count in (_FEW, _SHORT, _LONG):
        path = tmp_path / f"{count}.db"
        await _left_behind(path, count)
        peaks.append(await _peak(path, count))
    assert peaks[2] - peaks[1] < _MORE_LEFT
