"""Whole batches over loopback, with faults: each row started once at most, and settled or reported."""

from collections import Counter
from collections.abc import Iterator
from contextlib import aclosing
from pathlib import Path
from typing import Any

import pytest

from aioagents import (
    Growing,
    Leap,
    Leena,
    LeenaCredentials,
    LeenaEndpoints,
    PoolLimits,
    RetryPolicy,
    SessionPool,
)
from aioagents.batch import Batch, BatchRow, Outcome, RowState
from aioagents.contract import RunClient
from aioagents.contract.fake import RunPlan
from aioagents.providers.leap.fake import FakeLeap
from aioagents.providers.leena.fake import FakeLeena
from aioagents.simulator import FaultPlan, Simulator

_COUNT = 300
_FAULTS = FaultPlan(
    reset=0.05, lost=0.05, throttle=0.05, error=0.05, truncate=0.05, garble=0.05, expire=0.05, retry_after=1
)
_ENDS = {RowState.COMPLETED, RowState.FAILED, RowState.ABORTED}


def _fake(vendor: str) -> FakeLeena | FakeLeap:
    plan = RunPlan(seed=7, median=20.0)
    return FakeLeena(plan) if vendor == "leena" else FakeLeap(plan)


def _client(vendor: str, pool: SessionPool, simulator: Simulator) -> RunClient:
    environ = simulator.environment()
    if vendor == "leap":
        return Leap.from_env(pool, environ)
    url = simulator.url
    return Leena(
        pool,
        credentials=LeenaCredentials.from_env(environ),
        endpoints=LeenaEndpoints(token=url, aop=url, report=url),
    )


def _rows() -> Iterator[BatchRow]:
    return (BatchRow(f"row-{n}", "any", "", {"key": n}) for n in range(_COUNT))


async def _run(
    vendor: str, simulator: Simulator, path: Path, *, stop_at: int | None = None, **options: Any
) -> list[Outcome]:
    retry = RetryPolicy(first=0.05, cap=1.0, attempts=8, reserve=1000)
    limits = PoolLimits(requests_at_once=64)
    async with SessionPool(cadence=Growing(first=0.3, factor=1.3, cap=2), retry=retry, limits=limits) as pool:
        batch = Batch(_client(vendor, pool, simulator), journal=path, in_flight=100, sending=16, **options)
        found: list[Outcome] = []
        async with aclosing(batch.run(_rows())) as outcomes:
            async for outcome in outcomes:
                found.append(outcome)
                if len(found) == stop_at:
                    batch.stop()
        assert batch.statistics().sending == 0
        return found


@pytest.mark.parametrize("vendor", ["leena", "leap"])
async def test_three_hundred_rows_with_faults(tmp_path: Path, vendor: str) -> None:
    """With each fault at 5 % and a stop on the way, no row is started twice, and each is settled or reported."""
    fake = _fake(vendor)
    with Simulator(fakes=[fake], speed=30.0, seed=11, faults=_FAULTS).in_thread() as simulator:
        first = await _run(vendor, simulator, tmp_path / "batch.db", stop_at=100)
        assert 100 <= len(first) < _COUNT
        begun = sum(fake.starts_by_key.values())
        outcomes = await _run(vendor, simulator, tmp_path / "batch.db")
    assert begun < _COUNT
    assert Counter(outcome.key for outcome in outcomes) == Counter(row.key for row in _rows())
    assert {outcome.state for outcome in outcomes} <= _ENDS | {RowState.UNKNOWN, RowState.PLANNED}
    assert all(outcome.error is not None for outcome in outcomes if outcome.state not in _ENDS)
    assert set(fake.starts_by_key.values()) == {1}
    states = {outcome.key.removeprefix("row-"): outcome.state for outcome in outcomes}
    started = {str(key) for key in fake.starts_by_key}
    # A row that was started has a run or an unknown outcome; one that was not sent, or was refused, was not started.
    assert {key for key, state in states.items() if state in _ENDS} <= started
    assert all(states[key] in _ENDS | {RowState.UNKNOWN} for key in started)
    assert 10 <= sum(state is RowState.UNKNOWN for state in states.values()) <= 150
    # What the first run settled is given again as it was.
    again = {outcome.key: outcome for outcome in outcomes if outcome.is_replayed}
    assert {each.key: each.state for each in first if each.is_settled}.items() <= {
        key: outcome.state for key, outcome in again.items()
    }.items()
