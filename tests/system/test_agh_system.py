"""Runs of AGH Runtime over loopback: triggers that are answered when the work is done, deliveries, delegated work."""

import asyncio
import time
from collections import Counter
from collections.abc import Sequence
from typing import Any, TypeVar

from aioagents import Agh, Growing, RetryPolicy, RunHandle, RunState, SessionPool, StartUnknown
from aioagents.codec import decode_json
from aioagents.contract.fake import RunPlan, Step, answer
from aioagents.model import Request
from aioagents.observe import Event, StartAbandoned
from aioagents.providers.agh import Delivery
from aioagents.providers.agh.fake import (
    DEPLOY_ENDPOINT,
    DEPLOY_SECRET,
    DEPLOY_TRIGGER,
    FakeAgh,
    job_id,
    make_fake,
)
from aioagents.providers.agh.signing import webhook_run_id
from aioagents.providers.agh.states import RUN_STATES
from aioagents.simulator import FaultPlan, Simulator

T = TypeVar("T")

_TRIES = RetryPolicy(first=0.05, cap=0.5, attempts=10, reserve=1000)
_POLLS = Growing(first=0.3, factor=1.2, cap=1.0)


class _Clock:
    """A monotonic clock that can be advanced."""

    def __init__(self) -> None:
        self.ahead = 0.0

    def __call__(self) -> float:
        return time.monotonic() + self.ahead


async def _all(works: Sequence[Any]) -> list[Any]:
    return await asyncio.gather(*works, return_exceptions=True)


def _client(pool: SessionPool, simulator: Simulator) -> Agh:
    return Agh.from_env(pool, simulator.environment())


def _record(fake: FakeAgh, run_id: str, *, now: float) -> Any:
    """Return a run's record, read from the fake server directly, without faults; None where there is none."""
    url = f"http://127.0.0.1/api/automation/runs/{run_id}"
    reply = answer([fake], Request(method="GET", url=url, call="truth"), now=now)
    return decode_json(reply.body)["run"] if reply.is_success else None


def _history(fake: FakeAgh, *, now: float) -> list[Any]:
    url = "http://127.0.0.1/api/automation/runs"
    reply = answer([fake], Request(method="GET", url=url, call="truth"), now=now)
    runs: list[Any] = decode_json(reply.body)["runs"]
    return runs


async def test_five_hundred_triggers_of_a_slow_job() -> None:
    """500 handles are returned before the first run has ended; all 500 runs are polled by lists, to their end."""
    count, clock = 500, _Clock()
    steps = [Step("running", 3600.0), Step("completed")]
    fake = make_fake(RunPlan(scripts={"slow": steps}))
    with Simulator(fakes=[fake], monotonic=clock).in_thread() as simulator:
        async with SessionPool(cadence=_POLLS) as pool:
            agh = _client(pool, simulator)
            async with asyncio.timeout(120):
                handles = await asyncio.gather(*(agh.jobs.trigger(job_id("slow")) for _ in range(count)))
            # The fake server's own history, not what the client saw: nothing has ended, all have begun.
            begun = _history(fake, now=simulator.now())
            assert Counter(record["status"] for record in begun) == {"running": count}
            assert {handle.id for handle in handles} == {record["id"] for record in begun}
            assert all(handle.last is not None and not handle.last.state.is_terminal for handle in handles)
            before = fake.statistics()
            assert (before["polls"], before["starts"]) == (0, count)
            waits = [asyncio.create_task(handle.wait(timeout=60)) for handle in handles]
            await asyncio.sleep(0)
            clock.ahead = 3600.0
            ends = await asyncio.gather(*waits)
            seen = fake.statistics()
            statistics = pool.statistics()
        assert {end.state for end in ends} == {RunState.COMPLETED}
        assert {end.id for end in ends} == {handle.id for handle in handles}
        assert simulator.statistics().calls["jobs.trigger"] == count
        assert seen["polls"] == 0
        # What the calls share while they are out, and what the waiting runs share in each gap.
        assert before["lists"] <= count / 5
        assert seen["lists"] - before["lists"] <= 30
        assert statistics.polling.runs == 0


async def test_triggers_with_faults() -> None:
    """With any faults, a call returns a handle of a run of its own or raises `StartUnknown`; none starts two runs.

    Where nobody else triggers the job, a run that began is always found.
    """
    shared, names = "shared", [f"single-{n}" for n in range(100)]
    ends = {0: [Step("running", 60.0), Step("completed")], 1: [Step("running", 60.0), Step("failed")]}
    fake = make_fake(RunPlan(scripts={name: ends[n % 2] for n, name in enumerate([shared, *names])}))
    calls = frozenset({"jobs.trigger", "jobs.runs", "runs.list", "runs.get"})
    faults = FaultPlan(reset=0.05, lost=0.05, throttle=0.05, error=0.05, truncate=0.05, only=calls)
    targets = [job_id(name) for name in [shared] * 100 + names]
    abandoned: list[Event] = []

    def note(event: Event) -> None:
        if isinstance(event, StartAbandoned):
            abandoned.append(event)

    with Simulator(fakes=[fake], speed=20.0, seed=5, faults=faults).in_thread() as simulator:
        async with SessionPool(cadence=_POLLS, retry=_TRIES, hooks=[note]) as pool:
            agh = _client(pool, simulator)
            async with asyncio.timeout(120):
                outcomes = await _all([agh.jobs.trigger(target) for target in targets])
            handles = [each for each in outcomes if isinstance(each, RunHandle)]
            runs = await asyncio.gather(*(handle.wait(timeout=120) for handle in handles))
        now, happened = simulator.now(), simulator.statistics().faults
    assert [each for each in outcomes if not isinstance(each, RunHandle | StartUnknown)] == []
    assert abandoned == []
    assert len({handle.id for handle in handles}) == len(handles) > 100
    handled: Counter[str] = Counter()
    for target, outcome in zip(targets, outcomes, strict=True):
        if isinstance(outcome, RunHandle):
            handled[target] += 1
            assert _record(fake, outcome.id, now=now)["job_id"] == target
        else:
            assert (outcome.target, outcome.call) == (target, "jobs.trigger")
    started = {target: fake.starts_by_target.get(target, 0) for target in targets}
    assert {name for name in names if started[job_id(name)] != handled[job_id(name)]} == set()
    assert max(started[job_id(name)] for name in names) == 1
    assert handled[job_id(shared)] <= started[job_id(shared)] <= 100
    for run in runs:
        assert run.state is RUN_STATES[_record(fake, run.id, now=now)["status"]]
        assert run.state.is_terminal
    assert all(happened[each] > 0 for each in ("reset", "lost", "throttle", "error", "truncate"))


async def test_deliveries_whose_answers_are_lost() -> None:
    """A hundred deliveries arrive though connections break before and after them, and each is executed once."""
    count = 100
    fake = make_fake(RunPlan(scripts={"deploy-check": [Step("running", 0.3), Step("completed")]}))
    faults = FaultPlan(lost=0.3, reset=0.1, only=frozenset({"webhooks.deliver"}))
    with Simulator(fakes=[fake], seed=2, faults=faults).in_thread() as simulator:
        async with SessionPool(cadence=_POLLS, retry=_TRIES) as pool:
            agh = _client(pool, simulator)

            async def deliver(n: int) -> Delivery:
                return await agh.webhooks.deliver(
                    DEPLOY_ENDPOINT,
                    {"n": n},
                    secret=DEPLOY_SECRET,
                    delivery_id=f"d-{n}",
                    trigger_id=DEPLOY_TRIGGER if n % 2 else None,
                )

            async with asyncio.timeout(120):
                deliveries = await asyncio.gather(*(deliver(n) for n in range(count)))
                ends = await asyncio.gather(*(each.run.wait() for each in deliveries if each.run is not None))
        happened, records = simulator.statistics().faults, _history(fake, now=simulator.now())
    ids = {webhook_run_id(DEPLOY_TRIGGER, f"d-{n}") for n in range(count)}
    assert {record["id"] for record in records} == ids
    assert {record["status"] for record in records} == {"completed"}
    assert fake.starts_by_target[DEPLOY_TRIGGER] == fake.statistics()["deliveries"] == count
    for n, each in enumerate(deliveries):
        is_known = n % 2 == 1 or not each.is_replay
        assert (each.run is not None) is is_known
        if each.run is not None:
            assert each.run.id == webhook_run_id(DEPLOY_TRIGGER, f"d-{n}")
    assert {end.state for end in ends} == {RunState.COMPLETED}
    assert any(each.is_replay for each in deliveries)
    assert happened["lost"] > 20
    assert happened["reset"] > 5


async def test_delegated_runs_end_with_their_tasks() -> None:
    """A hundred delegated runs end when their tasks do, with the results of these."""
    count, speed = 100, 60.0
    ends = [Step("queued", 20.0), Step("claimed", 5.0), Step("running", 35.0)]
    scripts = {"good": [*ends, Step("completed")], "bad": [*ends, Step("failed")]}
    fake = make_fake(RunPlan(scripts=scripts))
    with Simulator(fakes=[fake], speed=speed).in_thread() as simulator:
        async with SessionPool(cadence=_POLLS) as pool:
            agh = _client(pool, simulator)
            names = ["good", "bad"] * (count // 2)
            async with asyncio.timeout(120):
                handles = await asyncio.gather(*(agh.jobs.trigger(job_id(name)) for name in names))
            ended = await asyncio.gather(*(handle.wait(timeout=60) for handle in handles))
        now, statistics = simulator.now(), simulator.statistics()
    assert len({handle.id for handle in handles}) == count
    for name, run in zip(names, ended, strict=True):
        assert run.state is (RunState.COMPLETED if name == "good" else RunState.FAILED)
        assert (run.output is not None) is (name == "good")
        assert run.raw["run"]["status"] == "delegated"
        assert run.raw["task_run"]["status"] == run.status
        ended_at = fake.ended_at(run.id)
        assert ended_at is not None
        assert ended_at <= now
    # The record of a delegated run never changes: it is read no more, alone or in lists.
    assert "runs.get" not in statistics.calls
    assert "runs.list" not in statistics.calls
