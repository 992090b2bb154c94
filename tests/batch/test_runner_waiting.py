"""Stopping while starts wait: for their next attempt, for the rate limiter, or for a slot at the vendor."""

import asyncio
from collections import Counter
from collections.abc import Mapping
from contextlib import aclosing
from typing import Any, ClassVar, Self

import pytest

from aioagents import AgentsError, Conflict, Run, RunHandle, RunRef, RunState, SessionPool, Steady
from aioagents.batch import Batch, BatchRow, Outcome, RowState
from aioagents.calls import Start
from aioagents.contract import RunClient
from aioagents.model import Reply
from tests.batch.batch_rig import Notebook, Rig, StandIn, rig, rows
from tests.calls.rig import OK, START, THROTTLED, Held, ScriptSend, Step
from tests.fakes import FakeClock, settle

LATER = Reply(429, {"retry-after": "60"}, b"")


class Caller(RunClient):
    """A vendor whose starts go through the pool's caller, as those of real ones do."""

    vendor: ClassVar[str] = "scripted"

    def __init__(self, pool: SessionPool) -> None:
        super().__init__(pool)
        self._account = pool.account("k", name="k", vendor="scripted")
        self._source = pool.source("k", StandIn(pool), "scripted")

    @classmethod
    def from_env(cls, pool: SessionPool, environ: Mapping[str, str] | None = None, *, name: str = "") -> Self:
        """Make one."""
        return cls(pool)

    async def check(self) -> None:
        """Find all well."""

    async def start_row(self, row: BatchRow) -> RunHandle:
        """Send a start."""

        def read(_: Reply) -> RunHandle:
            ref = RunRef("scripted", "", row.key)
            now = self.pool.clock.utcnow()
            accepted = Run(ref=ref, state=RunState.QUEUED, status="accepted", seen_at=now)
            return RunHandle(self._source, ref, accepted=accepted)

        start = Start(vendor="scripted", request=START, read=read, target=row.target, advice="Look.")
        return await self.pool.caller.start(self._account, start)

    def attach(self, ref: RunRef | str) -> RunHandle:
        """Follow a run."""
        return RunHandle(self._source, RunRef.parse(str(ref)))


async def _stopped(
    *steps: Step, is_quiet: bool = False, **stopping: Any
) -> tuple[Counter[RowState], ScriptSend, Notebook]:
    """Stop a batch of ten rows, four at a time, as soon as it stands still; give what came of it.

    With `is_quiet`, no outcome is reported.
    """
    clock, send, book = FakeClock(), ScriptSend(*steps), Notebook()
    outcomes: list[Outcome] = []
    async with SessionPool(clock=clock, send=send, cadence=Steady(10), chance=lambda: 0.5) as pool:
        batch = Batch(Caller(pool), journal=book, sending=4)

        async def read() -> None:
            async with aclosing(batch.run(rows(10))) as outcomes_read:
                outcomes.extend([outcome async for outcome in outcomes_read])

        reading = asyncio.create_task(read())
        await settle()
        batch.stop(**stopping)
        await settle()
        for step in steps:
            if isinstance(step, Held) and not step.reply.done():
                step.reply.set_result(OK)
        await settle()
        assert reading.done()
        await reading
        assert not (is_quiet and outcomes)
    return Counter(book.states.values()), send, book


async def test_stops_at_once_while_the_vendor_throttles() -> None:
    """Starts that were refused and wait for their next try are not sent again, and are left as never sent."""
    states, send, _ = await _stopped(LATER, is_quiet=True)
    assert send.times == 4
    assert states == {RowState.PLANNED: 10}


async def test_what_is_out_is_recorded_and_not_sent_again() -> None:
    """Of starts that are out, the one that is taken is started, and the one that is refused is left."""
    taken, refused = Held(), Held()
    refused.reply.set_result(THROTTLED)
    states, send, book = await _stopped(taken, refused, LATER)
    assert states == {RowState.STARTED: 1, RowState.PLANNED: 9}
    assert book.states["0"] is RowState.STARTED
    assert send.times <= 4  # a refusal slows the account down


class Slots(StandIn):
    """A vendor that has two slots, and refuses more."""

    def __init__(self, pool: SessionPool, *, lasts: float = 25.0) -> None:
        super().__init__(pool, lasts=lasts)
        self._source = pool.source("slots", self, self.vendor)

    async def start_row(self, row: BatchRow) -> RunHandle:
        """Start a run if there is a slot."""
        runs = [self._run(RunRef(self.vendor, "", each)) for each in self._begun]
        if sum(not run.state.is_terminal for run in runs) + self.out >= 2:
            self.started.append(row.key)
            raise Conflict("no slot", status=409, reason="concurrency")
        return await super().start_row(row)

    def retry_delay(self, error: AgentsError, failures: int) -> float | None:
        """Wait a second."""
        return 1.0 if isinstance(error, Conflict) and failures else None


def _slots(made: Rig) -> Slots:
    made.client = client = Slots(made.pool, lasts=25.0)
    made.batch = Batch(client, journal=made.notebook, sending=4)
    return client


async def test_rows_that_find_no_slot_wait_again() -> None:
    """A row that the vendor has no slot for is not sending while it waits, is started later, and is reported once."""
    async with rig() as r:
        _slots(r)
        await r.begin(rows(9))
        await r.clock.advance(5.5)
        assert Counter(r.notebook.states.values()) == {RowState.STARTED: 2, RowState.PLANNED: 7}
        outcomes = await r.finish_begun()
        assert Counter(outcome.state for outcome in outcomes) == {RowState.COMPLETED: 9}
        assert r.notebook.most_sending <= 4
        assert all(log.count(RowState.STARTED) == 1 for log in r.notebook.log.values())


@pytest.mark.parametrize("seconds", [0.0, 0.5, 7.0])
async def test_stops_at_once_while_rows_wait_for_slots(seconds: float) -> None:
    """Stopped while rows wait for slots, a batch is over at once and leaves them as never sent."""
    async with rig() as r:
        client = _slots(r)
        await r.begin(rows(9))
        await r.clock.advance(seconds)
        tried = len(client.started)
        r.batch.stop()
        await settle()
        assert r.is_over
        assert len(client.started) == tried
        assert Counter(r.notebook.states.values()) == {RowState.STARTED: 2, RowState.PLANNED: 7}
