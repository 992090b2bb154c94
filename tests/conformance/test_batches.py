"""A batch with its journal on disk: the same tests for every vendor."""

from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from attrs import frozen

from aioagents import SessionPool, Steady, Unsupported
from aioagents.batch import Batch, Journal, Outcome, Record, RowState
from aioagents.contract.fake import FakeServer, RunPlan, Step
from aioagents.model import RunState
from aioagents.providers import all_providers
from tests.conformance.adapter import PRIVATE, Adapter
from tests.conformance.adapters import ADAPTERS
from tests.fakes import FakeClock, FakeSend
from tests.polling.rig import begin

_KEYS = [f"row-{number}" for number in range(8)]


@frozen
class _Case:
    """A vendor's fake server, which outlives each process that runs a batch with it."""

    vendor: Adapter
    fake: FakeServer
    clock: FakeClock
    send: FakeSend
    path: Path

    async def run(
        self, *, stops_at: int | None = None, cancels: bool = False, **options: Any
    ) -> tuple[list[Outcome], int]:
        """Run the batch in a pool of its own; return the outcomes, and how many runs were attached to.

        With `stops_at` it is stopped once so many starts are recorded.
        """
        found: list[Outcome] = []
        pool = SessionPool(clock=self.clock, send=self.send, cadence=Steady(10), chance=lambda: 0.5)
        async with pool:
            client = self.vendor.client(all_providers()[self.vendor.name].client, pool, self.fake)
            batch = Batch(client, journal=self.path, **options)

            async def read() -> None:
                async for outcome in batch.run(map(self.vendor.row, _KEYS)):
                    found.append(outcome)  # noqa: PERF401 - read as they come

            reader = await begin(read())
            while not reader.done():  # the disk takes its own time
                if stops_at is None:
                    await self.clock.advance(1)
                elif batch.statistics().starts >= stops_at:
                    batch.stop(cancel=cancels)
                await self.clock.advance(0)
            await reader
            return found, batch.statistics().resumed

    def records(self) -> dict[str, Record]:
        with Journal.read_only(self.path) as view:
            return {record.key: record for record in view.records()}

    def check_starts(self, count: int) -> None:
        """Check that the vendor started this many runs, each for another row where rows can be distinguished."""
        assert self.fake.statistics()["starts"] == len(self.send.calls(self.vendor.start_call)) == count
        by_key = getattr(self.fake, "starts_by_key", dict.fromkeys(_KEYS[:count], 1))
        assert (len(by_key), set(by_key.values())) == (count, {1})


@pytest.fixture(params=sorted(all_providers()))
def case(request: pytest.FixtureRequest, tmp_path: Path) -> _Case:
    """Return each vendor in turn, with a script of one run."""
    vendor, clock = ADAPTERS[request.param], FakeClock()
    steps = [Step(vendor.words[RunState.RUNNING], 25.0), Step(vendor.words[RunState.COMPLETED])]
    fake = vendor.fake(RunPlan(scripts={"target": steps}))
    return _Case(vendor, fake, clock, FakeSend(fake, clock=clock), tmp_path / "batch.db")


async def test_batch_from_start_to_end(case: _Case) -> None:
    """Each row is started once and has one outcome: completed, with the run in the journal."""
    outcomes, resumed = await case.run(in_flight=3)
    assert (sorted(outcome.key for outcome in outcomes), resumed) == (_KEYS, 0)
    assert {outcome.state for outcome in outcomes} == {RowState.COMPLETED}
    case.check_starts(len(_KEYS))
    records = case.records()
    assert {outcome.key: outcome.ref for outcome in outcomes} == {
        key: record.ref for key, record in records.items()
    }
    assert len({str(record.ref) for record in records.values()}) == len(_KEYS)
    assert {record.ref.vendor for record in records.values() if record.ref} == {case.vendor.name}


async def test_batch_that_is_run_again(case: _Case) -> None:
    """Runs that an earlier process started are attached to by their reference, and end without a second start."""
    first, _ = await case.run(stops_at=len(_KEYS))
    assert first == []
    left = case.records()
    assert {record.state for record in left.values()} == {RowState.STARTED}
    sent = len(case.send.calls(case.vendor.poll_call))
    outcomes, resumed = await case.run()
    assert resumed == len(_KEYS)
    assert Counter(outcome.key for outcome in outcomes) == Counter(_KEYS)
    assert all(each.state is RowState.COMPLETED and not each.is_replayed for each in outcomes)
    assert {outcome.key: outcome.ref for outcome in outcomes} == {
        key: record.ref for key, record in left.items()
    }
    case.check_starts(len(_KEYS))
    assert len(case.send.calls(case.vendor.poll_call)) >= sent + len(_KEYS)


async def test_batch_that_is_stopped_half_way(case: _Case) -> None:
    """Runs started before the stop are followed, other rows are started, and each row is started once."""
    await case.run(stops_at=3, in_flight=3)
    assert Counter(record.state for record in case.records().values()) == {
        RowState.STARTED: 3,
        RowState.PLANNED: len(_KEYS) - 3,
    }
    case.check_starts(3)
    outcomes, resumed = await case.run()
    assert (resumed, sorted(outcome.key for outcome in outcomes)) == (3, _KEYS)
    assert {outcome.state for outcome in outcomes} == {RowState.COMPLETED}
    case.check_starts(len(_KEYS))
    replayed, _ = await case.run()
    assert all(outcome.is_replayed for outcome in replayed)
    case.check_starts(len(_KEYS))


async def test_batch_that_is_stopped_and_cancelled(case: _Case) -> None:
    """Started runs are cancelled, and told as such in outcomes and journal; one outcome says where that cannot be."""
    outcomes, _ = await case.run(stops_at=3, in_flight=3, cancels=True)
    states = Counter(record.state for record in case.records().values())
    case.check_starts(3)
    if not case.vendor.cancel_call:
        (outcome,) = outcomes
        assert (outcome.state, type(outcome.error)) == (RowState.STARTED, Unsupported)
        assert states == {RowState.STARTED: 3, RowState.PLANNED: len(_KEYS) - 3}
        return
    assert [outcome.is_cancelled for outcome in outcomes] == [True] * 3
    assert states == {outcomes[0].state: 3, RowState.PLANNED: len(_KEYS) - 3}
    kinds = Counter(record.kind for record in case.records().values() if record.state.is_settled)
    assert kinds == {"RunCancelled": 3}
    again, _ = await case.run()
    assert Counter(outcome.is_cancelled for outcome in again) == {True: 3, False: len(_KEYS) - 3}
    case.check_starts(len(_KEYS))


async def test_journal_has_nothing_of_what_was_sent(case: _Case) -> None:
    """Neither a secret nor a row's message or input can be read in the journal's files."""
    await case.run()
    contents = b"".join(path.read_bytes() for path in case.path.parent.iterdir())
    assert b"row-7" in contents
    for secret in (*case.vendor.secrets, PRIVATE):
        assert secret.encode() not in contents
