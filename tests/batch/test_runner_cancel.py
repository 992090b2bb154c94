"""Batches that are stopped with `cancel=True`: which runs are cancelled, and what is said of them."""

import asyncio
import csv
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

from aioagents import Conflict, Run, RunAborted, RunCancelled, RunRef, RunState, SessionPool, Unsupported
from aioagents.batch import Batch, Journal, Outcome, ResultFile, RowState
from tests.batch.batch_rig import StandIn, ref_of, rows
from tests.fakes import FakeClock, settle
from tests.polling.rig import begin


class _Cancels(StandIn):
    """A vendor that cancels runs, which it calls `ends_as`; the reply has the end unless it `says_nothing`."""

    def __init__(self, pool: SessionPool, *, lasts: float = 1e6) -> None:
        super().__init__(pool, lasts=lasts)
        self.asked: list[str] = []
        self.ends_as = RunState.ABORTED
        self.says_nothing = False
        self.refusals: dict[str, Exception] = {}
        self.held: asyncio.Event | None = None
        self.now_out = self.most_cancels = 0

    def end(self, key: str) -> None:
        """Let a run end now."""
        self._begun[ref_of(key).id] -= self.lasts

    async def cancel(
        self,
        ref: RunRef,
        *,
        reason: str | None,
        age: float | None,
        last: Run | None,
        on_sent: Callable[[], None],
    ) -> Run | None:
        key = ref.id.removeprefix("run-")
        on_sent()
        self.asked.append(key)
        self.now_out += 1
        self.most_cancels = max(self.most_cancels, self.now_out)
        try:
            await asyncio.sleep(0)
            if self.held is not None:
                await self.held.wait()
        finally:
            self.now_out -= 1
        if key in self.refusals:
            raise self.refusals[key]
        self.ends[key] = self.ends_as
        self.end(key)
        return None if self.says_nothing else self._run(ref)


class _Rig:
    def __init__(self, path: Path | None = None, kind: type[StandIn] = _Cancels, **options: Any) -> None:
        self.clock = FakeClock()
        self.pool = SessionPool(clock=self.clock, chance=lambda: 0.5)
        self.client: Any = None
        self.kind = kind
        self.path = path
        self.options = options
        self.found: list[Outcome] = []
        self.batch: Batch

    async def run(self, count: int, *, starts: int, **stop: Any) -> list[Outcome]:
        """Run a batch, stop it once so many runs were started, and return the outcomes."""
        async with self.pool:
            self.client = self.client or self.kind(self.pool, lasts=1e6)
            self.batch = Batch(self.client, journal=self.path, in_flight=max(starts, 1), **self.options)
            reader = await begin(self.read(count))
            while self.batch.statistics().starts + self.batch.statistics().resumed < starts:
                await self.clock.advance(1)
            self.batch.stop(**stop)
            for _ in range(100):
                await self.clock.advance(1)
                await asyncio.sleep(0.001 if self.path else 0)  # the disk takes its own time
                if reader.done():
                    break
            await reader
        return self.found

    async def read(self, count: int) -> None:
        """Read the outcomes of so many rows."""
        async for outcome in self.batch.run(rows(count)):
            self.found.append(outcome)


async def test_started_rows_are_cancelled() -> None:
    """Each run that was started is cancelled once, and is told as cancelled; nothing more is started."""
    rig = _Rig()
    found = await rig.run(8, starts=5, cancel=True)
    assert sorted(rig.client.asked) == sorted(rig.client.started) == ["0", "1", "2", "3", "4"]
    assert Counter(outcome.state for outcome in found) == {RowState.ABORTED: 5}
    for outcome in found:
        assert outcome.is_cancelled
        assert isinstance(outcome.error, RunCancelled)
        assert isinstance(outcome.error, RunAborted)
        assert outcome.error.run is outcome.run


async def test_stop_without_cancel_cancels_nothing() -> None:
    """By default runs go on, and their rows have no outcome."""
    rig = _Rig()
    assert await rig.run(8, starts=5) == []
    assert rig.client.asked == []


async def test_reply_that_says_nothing_is_followed_by_a_poll() -> None:
    """Where the reply does not have the end, it is seen by a poll that is made at once."""
    rig = _Rig()
    rig.client = _Cancels(rig.pool)
    rig.client.says_nothing = True
    found = await rig.run(3, starts=3, cancel=True)
    assert [outcome.is_cancelled for outcome in found] == [True] * 3
    assert set(rig.client.polls.values()) == {1}


async def test_run_that_the_vendor_calls_completed_is_told_as_cancelled(tmp_path: Path) -> None:
    """The state is the vendor's, the error says that the batch cancelled it, in the journal and in results too."""
    rig = _Rig(tmp_path / "batch.db")
    rig.client = _Cancels(rig.pool)
    rig.client.ends_as = RunState.COMPLETED
    found = await rig.run(3, starts=3, cancel=True)
    assert {(outcome.state, outcome.is_cancelled) for outcome in found} == {(RowState.COMPLETED, True)}
    with Journal.read_only(tmp_path / "batch.db") as view:
        assert {(each.state, each.kind) for each in view.records()} == {(RowState.COMPLETED, "RunCancelled")}
    async with (
        Journal(tmp_path / "batch.db") as journal,
        ResultFile(journal, tmp_path / "results.csv") as results,
    ):
        await results.finish()
    lines = list(csv.DictReader((tmp_path / "results.csv").read_text().splitlines()))
    assert {(line["state"], line["error_kind"]) for line in lines} == {("completed", "RunCancelled")}
    again = _Rig(tmp_path / "batch.db")
    async with again.pool:
        again.batch = Batch(StandIn(again.pool), journal=tmp_path / "batch.db")
        await again.read(3)
    assert [(each.is_replayed, each.is_cancelled) for each in again.found] == [(True, True)] * 3


async def test_few_are_cancelled_at_a_time() -> None:
    """No more runs are being cancelled at any time than starts may be under way."""
    rig = _Rig(sending=4)
    found = await rig.run(40, starts=40, cancel=True)
    assert len(found) == 40
    assert rig.client.most_cancels == 4


async def test_runs_of_an_earlier_process_are_cancelled_too(tmp_path: Path) -> None:
    """What the journal has as started is cancelled, also what was not followed yet when the batch was stopped."""
    first = _Rig(tmp_path / "batch.db")
    assert await first.run(6, starts=6) == []
    rig = _Rig(tmp_path / "batch.db")
    rig.client = _Cancels(rig.pool)
    for key in map(str, range(6)):
        rig.client.begin(key)
    found = await rig.run(6, starts=2, cancel=True)
    assert rig.client.started == []
    assert sorted(rig.client.asked) == ["0", "1", "2", "3", "4", "5"]
    assert [outcome.is_cancelled for outcome in found] == [True] * 6


async def test_run_that_is_not_cancelled_is_left(tmp_path: Path) -> None:
    """A refusal leaves its row as started, with the refusal as the outcome's error; others are cancelled."""
    rig = _Rig(tmp_path / "batch.db")
    rig.client = _Cancels(rig.pool)
    rig.client.refusals["1"] = Conflict("not now", status=409)
    found = {outcome.key: outcome for outcome in await rig.run(3, starts=3, cancel=True)}
    assert (found["1"].state, type(found["1"].error), found["1"].ref) == (
        RowState.STARTED,
        Conflict,
        ref_of("1"),
    )
    assert [found[key].is_cancelled for key in "02"] == [True, True]
    with Journal.read_only(tmp_path / "batch.db") as view:
        assert [each.state for each in view.records()] == [
            RowState.ABORTED,
            RowState.STARTED,
            RowState.ABORTED,
        ]


async def test_vendor_without_cancel_is_said_once() -> None:
    """The batch stops as without `cancel`; one outcome says why."""
    rig = _Rig(kind=StandIn)
    found = await rig.run(8, starts=5, cancel=True)
    assert len(found) == 1
    assert isinstance(found[0].error, Unsupported)
    assert found[0].state is RowState.STARTED


async def test_run_that_does_not_end_holds_up_the_stop_for_a_bounded_time() -> None:
    """An end that does not come within 30 seconds after the vendor accepted is not waited for."""
    rig = _Rig()
    rig.client = _Cancels(rig.pool)
    rig.client.ends_as = RunState.RUNNING
    began_at = rig.clock.now()
    assert await rig.run(3, starts=3, cancel=True) == []
    assert 30 <= rig.clock.now() - began_at <= 35


async def test_grace_bounds_a_vendor_that_is_silent() -> None:
    """With a grace, the iteration ends when it is over, whatever the vendor has not answered."""
    rig = _Rig()
    rig.client = _Cancels(rig.pool)
    rig.client.held = asyncio.Event()
    began_at = rig.clock.now()
    assert await rig.run(3, starts=3, cancel=True, grace=5) == []
    assert rig.clock.now() - began_at <= 8
    assert len(rig.client.asked) == 3


async def test_start_under_way_is_cancelled_once_its_run_is_known() -> None:
    """A start that was sent when the batch was stopped is recorded, and its run is cancelled then."""
    rig = _Rig()
    async with rig.pool:
        rig.client = _Cancels(rig.pool)
        rig.client.release = asyncio.Event()
        rig.batch = Batch(rig.client)
        reader = await begin(rig.read(3))
        rig.batch.stop(cancel=True)
        await settle()
        assert not reader.done()
        rig.client.release.set()
        await rig.clock.advance(1)
        await reader
    assert sorted(rig.client.asked) == ["0", "1", "2"]
    assert [outcome.is_cancelled for outcome in rig.found] == [True] * 3


async def test_run_that_ended_meanwhile_keeps_its_end() -> None:
    """A run that was over before it could be cancelled is told as what it is."""
    rig = _Rig()
    rig.client = _Cancels(rig.pool)
    rig.client.refusals["1"] = Conflict("it is over", status=409)
    rig.client.held = asyncio.Event()

    async def end() -> None:
        await settle(500)
        assert len(rig.client.asked) == 3
        rig.client.end("1")
        rig.client.held.set()

    task = asyncio.create_task(end())
    found = {outcome.key: outcome for outcome in await rig.run(3, starts=3, cancel=True)}
    await task
    assert (found["1"].state, found["1"].error) == (RowState.COMPLETED, None)
    assert [found[key].is_cancelled for key in "02"] == [True, True]


async def test_second_stop_cancels_what_the_first_left() -> None:
    """A stop may be followed by one that cancels, while starts are still under way."""
    rig = _Rig()
    async with rig.pool:
        rig.client = _Cancels(rig.pool)
        rig.client.releases["2"] = asyncio.Event()
        rig.batch = Batch(rig.client)
        reader = await begin(rig.read(3))
        rig.batch.stop()
        await settle()
        assert rig.client.asked == []
        rig.batch.stop(cancel=True)
        await settle()
        assert sorted(rig.client.asked) == ["0", "1"]
        rig.client.releases["2"].set()
        await rig.clock.advance(1)
        await reader
    assert sorted(rig.client.asked) == ["0", "1", "2"]


async def test_leaving_during_the_cancelling() -> None:
    """Whoever leaves the iteration meanwhile waits for the grace at most; requests under way go on in the pool."""
    rig = _Rig()
    async with rig.pool:
        rig.client = _Cancels(rig.pool)
        rig.client.held = asyncio.Event()
        rig.batch = Batch(rig.client, grace=0.0)
        reader = await begin(rig.read(3))
        rig.batch.stop(cancel=True)
        await settle()
        assert len(rig.client.asked) == 3
        reader.cancel()
        await settle()
        await asyncio.wait([reader], timeout=5)
        assert reader.cancelled()
        assert rig.client.now_out == 3
        rig.client.held.set()
        await settle()
        assert rig.client.now_out == 0
