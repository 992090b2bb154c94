"""Whole batches over loopback against the simulator, without and with faults."""

import asyncio
import gc
import warnings
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from itertools import pairwise
from typing import Any

import pytest

from aioagents import (
    Growing,
    Leena,
    LeenaCredentials,
    LeenaEndpoints,
    NotSent,
    PoolClosed,
    PoolLimits,
    RetryPolicy,
    Run,
    RunHandle,
    RunState,
    SessionPool,
    StartUnknown,
    Throttled,
)
from aioagents.contract.fake import Answer, Call, Route, RunPlan
from aioagents.observe import Event, StartAbandoned
from aioagents.providers.leena.fake import FakeLeena
from aioagents.simulator import FaultPlan, Simulator

_FAULTS: Mapping[str, Any] = {
    "throttle": 0.05,
    "error": 0.05,
    "truncate": 0.05,
    "expire": 0.05,
    "retry_after": 1,
}


class _RecordingServer(FakeLeena):
    """A fake server that records when each run was accepted and polled, by its own clock."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.accepted: dict[str, float] = {}
        self.polled: dict[str, list[float]] = defaultdict(list)
        self._routes = tuple(self._noting(route) for route in self._routes)

    def _noting(self, route: Route) -> Route:
        def handle(call: Call) -> Answer:
            if route.call == "aop.status":
                self.polled[call.path["aop_item_id"]].append(call.now)
            return route.handler(call)

        return Route(
            method=route.method, path=route.path, call=route.call, purpose=route.purpose, handler=handle
        )


def _client(pool: SessionPool, simulator: Simulator) -> Leena:
    return Leena(
        pool,
        credentials=LeenaCredentials.from_env(simulator.environment()),
        endpoints=LeenaEndpoints(token=simulator.url, aop=simulator.url, report=simulator.url),
    )


def _tasks() -> set[asyncio.Task[Any]]:
    """Return the tasks that go on, but for those of a simulator in the same loop."""
    return {task for task in asyncio.all_tasks() if "RequestHandler" not in repr(task.get_coro())}


@asynccontextmanager
async def _nothing_left() -> AsyncIterator[None]:
    """Check that the block leaves no task behind, and nothing that warns when it is collected."""
    before = _tasks()
    complaints: list[dict[str, Any]] = []
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda _, context: complaints.append(context))
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        yield
        for _ in range(5):
            await asyncio.sleep(0)
        gc.collect()
        assert _tasks() == before
    assert complaints == []
    assert [str(each.message) for each in caught] == []
    loop.set_exception_handler(None)


async def _all(works: Sequence[Any]) -> list[Any]:
    return await asyncio.gather(*works, return_exceptions=True)


async def test_ten_thousand_runs_at_once() -> None:
    """Ten thousand awaits end, each with its own run, with one token per lifetime; no poll comes before its time."""
    count, speed, lifetime = 10_000, 40.0, 10.0
    cadence = Growing(first=4.0, factor=1.5, cap=6.0)
    # The vendor's median is 150 of its seconds, close to the first gap: some end before it, some after.
    fake = _RecordingServer(RunPlan(seed=3, median=150.0, spread=0.3, pausing=0.02), token_lifetime=lifetime)
    async with Simulator(fakes=[fake], speed=speed) as simulator:
        async with _nothing_left(), SessionPool(cadence=cadence) as pool:
            leena = _client(pool, simulator)
            accepted_at: dict[str, float] = {}

            async def one(n: int) -> Run:
                run = await leena.execute("any", context={"key": n})
                accepted_at[run.id] = simulator.now()
                return await run

            ends = await _all([one(n) for n in range(count)])
            statistics, seen = pool.statistics(), simulator.statistics()
            seconds = simulator.now() / speed
        assert Counter(type(end).__name__ for end in ends) == {"Run": count}
        assert len({end.id for end in ends}) == count
        assert all(end.state.is_terminal for end in ends)
        assert set(fake.starts_by_key.values()) == {1}
        assert seen.starts == count
        # A token is renewed in the last fifth of its life, and not before.
        assert 1 <= seen.token_requests <= 1 + seconds / (0.8 * lifetime)
        assert seen.polls == statistics.polling.polls
        assert (statistics.polling.runs, statistics.polling.polls_failed) == (0, 0)
        # A tenth is the jitter; the elapsed time of a state is never less than since its last change.
        for end in ends:
            times = fake.polled[end.id]
            first = (times[0] - accepted_at[end.id]) / speed
            assert first >= 0.9 * cadence.first - 0.1
            gaps = [(later - earlier) / speed for earlier, later in pairwise(times)]
            assert all(gap >= 0.9 * cadence.first - 0.1 for gap in gaps)
            known = fake.ended_at(end.id)
            assert known is not None
            assert times[-1] >= known
            assert all(time < known for time in times[:-1])


@pytest.mark.parametrize("kind", ["reset", "lost"])
async def test_two_thousand_runs_with_faults(kind: str) -> None:
    """With each fault at 5 %, every run ends or is `StartUnknown`, none is started twice, and none is forgotten."""
    count = 1000
    fake = FakeLeena(RunPlan(seed=7, median=60.0))
    faults = FaultPlan(**{**_FAULTS, kind: 0.05})
    abandoned: list[StartAbandoned] = []

    def note(event: Event) -> None:
        if isinstance(event, StartAbandoned):
            abandoned.append(event)

    with Simulator(fakes=[fake], speed=30.0, seed=11, faults=faults).in_thread() as simulator:
        async with (
            _nothing_left(),
            SessionPool(
                cadence=Growing(first=0.5, factor=1.3, cap=3),
                retry=RetryPolicy(first=0.1, cap=2.0, attempts=10, reserve=1000),
                hooks=[note],
            ) as pool,
        ):
            leena = _client(pool, simulator)
            handles: dict[int, RunHandle] = {}

            async def one(n: int) -> Run:
                handles[n] = await leena.execute("any", context={"key": n})
                return await handles[n]

            ends = await _all([one(n) for n in range(count)])
        starts = {int(key): times for key, times in fake.starts_by_key.items()}
        unknown = {n for n, end in enumerate(ends) if isinstance(end, StartUnknown)}
        refused = {n for n, end in enumerate(ends) if isinstance(end, Throttled | NotSent)}
        others = [end for end in ends if not isinstance(end, Run | StartUnknown | Throttled | NotSent)]
        assert others == []
        assert all(end.state.is_terminal for end in ends if isinstance(end, Run))
        assert set(starts.values()) == {1}
        # Each start that the fake server accepted has a handle or an unknown outcome, and none is missing.
        assert set(starts) == set(handles) | (set(starts) & unknown)
        assert not refused & set(starts)
        assert len(unknown) + len(handles) + len(refused) == count
        assert not unknown & set(handles)
        assert abandoned == []
        assert len(unknown) >= count * 0.05
        assert simulator.statistics().starts == len(starts)
        happened = simulator.statistics().faults
        assert all(happened.get(each, 0) > 0 for each in (kind, "throttle", "error", "truncate", "expire"))


async def test_closing_with_faults() -> None:
    """Closing a pool during starts, polls and faults ends all of them, forgets none, and leaves nothing behind."""
    fake = FakeLeena(RunPlan(seed=9, median=600.0))
    faults = FaultPlan(**_FAULTS, reset=0.03, lost=0.03, slow=0.05, latency=0.2, delay=0.1)
    abandoned: list[StartAbandoned] = []

    def note(event: Event) -> None:
        if isinstance(event, StartAbandoned):
            abandoned.append(event)

    with Simulator(fakes=[fake], speed=30.0, seed=13, faults=faults).in_thread() as simulator:
        async with _nothing_left():
            pool = SessionPool(cadence=Growing(first=0.1, factor=1.2, cap=0.5), hooks=[note])
            works: list[asyncio.Task[Any]] = []
            amid = asyncio.Event()
            handles: dict[int, RunHandle] = {}
            async with pool:
                leena = _client(pool, simulator)

                async def one(n: int) -> None:
                    handles[n] = await leena.execute("any", context={"key": n})
                    if len(handles) == 250:
                        amid.set()
                    async for _ in handles[n].updates():
                        pass

                async def read() -> None:
                    async for _ in leena.report("2026-01-01", "2026-01-09", page_size=20):
                        pass

                works += [asyncio.create_task(one(n)) for n in range(600)]
                works += [asyncio.create_task(read()) for _ in range(5)]
                await amid.wait()
            ends = await _all(works)
        kinds = Counter(type(end).__name__ for end in ends)
        assert kinds["PoolClosed"] >= 200
        assert set(kinds) <= {
            "NoneType",
            "PoolClosed",
            "StartUnknown",
            "Throttled",
            "ServerError",
            "ReplyLost",
            "NotSent",
            "DecodeError",
        }
        unknown = {n for n, end in enumerate(ends[:600]) if isinstance(end, StartUnknown)}
        starts = {int(key): times for key, times in fake.starts_by_key.items()}
        assert set(starts.values()) <= {1}
        assert set(starts) <= set(handles) | unknown
        assert abandoned == []
        assert repr(pool).startswith("<SessionPool closed")
        with pytest.raises(PoolClosed):
            await handles[next(iter(handles))]


async def test_stalled_vendor_does_not_hold_up_the_others() -> None:
    """While one account's replies take seconds, another account's runs end in time."""
    plan = RunPlan(seed=1, median=5.0, spread=0.1, pausing=0.0)
    slow = FaultPlan(slow=1.0, delay=3.0, only=frozenset({"poll"}))
    limits = PoolLimits(pollers=8)
    with (
        Simulator(plan=plan, speed=10, faults=slow).in_thread() as stalled,
        Simulator(plan=plan, speed=10).in_thread() as well,
    ):
        async with _nothing_left(), SessionPool(cadence=Growing(first=0.3, cap=1), limits=limits) as pool:
            hanging = [await _client(pool, stalled).execute("any") for _ in range(50)]
            waits = [asyncio.create_task(run.wait(timeout=60)) for run in hanging]
            await asyncio.sleep(1)
            fast = [await _client(pool, well).execute("any") for _ in range(50)]
            ends = await _all([run.wait(timeout=10) for run in fast])
            assert {end.state for end in ends} <= {
                RunState.COMPLETED,
                RunState.FAILED,
                RunState.ABORTED,
            }
            assert not all(wait.done() for wait in waits)
            for wait in waits:
                wait.cancel()
            await _all(waits)
