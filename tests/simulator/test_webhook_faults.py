"""Webhooks with faults, as a receiver gets them."""

import asyncio
from collections import Counter

import aiohttp
import pytest
from attrs import evolve
from hypothesis import given, settings
from hypothesis import strategies as st

from aioagents.codec import decode_json
from aioagents.contract.fake import RunPlan
from aioagents.providers.leap.fake import ENDS, FakeLeap
from aioagents.simulator import FaultPlan, Simulator
from aioagents.simulator.faults import FaultKind, Faults
from tests.simulator.rig import KINDS, poll, receiving, settled, simulating, start, until


@pytest.mark.parametrize(("kind", "sent"), [("webhook_lost", 0), ("webhook_twice", 2), ("webhook_late", 1)])
async def test_lost_twice_and_late(kind: str, sent: int) -> None:
    """A lost webhook is not sent, a doubled one twice with the same body, a late one after its delay."""
    async with (
        receiving() as receiver,
        simulating(faults=FaultPlan.parse(f"{kind}=1,webhook_delay=0.05")) as simulator,
        aiohttp.ClientSession() as session,
    ):
        run = await start(session, simulator, receiver.url)
        await settled(simulator, max(sent, 1))
        late = simulator.now() - 3.0
        seen = simulator.statistics()
        assert (await poll(session, simulator, run["id"]))["status"] == "completed"
    assert seen.faults == {kind: 1}
    assert (seen.webhooks_sent, len(set(receiver.bodies)), len(receiver.bodies)) == (sent, sent > 0, sent)
    assert kind != "webhook_late" or late >= 0.05 * simulator.speed


async def test_early_webhook_comes_before_the_reply() -> None:
    """An early webhook arrives before the run's id is known, and the run has ended by then."""
    known: list[str] = []
    seen: list[tuple[int, str, str]] = []

    async def on_post(body: bytes) -> int:
        delivery = decode_json(body)
        polled = await poll(session, simulator, delivery["id"])
        seen.append((len(known), delivery["id"], polled["status"]))
        return 200

    async with (
        receiving(on_post) as receiver,
        simulating(speed=0.001, faults=FaultPlan(webhook_early=1.0)) as simulator,
        aiohttp.ClientSession() as session,
    ):
        for _ in range(3):
            run = await start(session, simulator, receiver.url)
            known.append(run["id"])
        assert simulator.statistics().faults == {"webhook_early": 3}
    assert seen == [(index, run_id, "completed") for index, run_id in enumerate(known)]


async def test_early_webhook_to_another_host_is_refused() -> None:
    """An early webhook that must not be sent does not delay the reply."""
    async with (
        simulating(faults=FaultPlan(webhook_early=1.0)) as simulator,
        aiohttp.ClientSession() as session,
    ):
        await start(session, simulator, "http://192.0.2.1/")
        seen = simulator.statistics()
    assert (seen.webhooks_refused, seen.faults) == (1, {})


async def test_wrong_webhooks_are_wrong_in_many_ways() -> None:
    """A wrong body is garbage, names another run, or states a false end; it is never the true body."""
    async with (
        receiving() as receiver,
        simulating(faults=FaultPlan(webhook_wrong=1.0)) as simulator,
        aiohttp.ClientSession() as session,
    ):
        runs = {(await start(session, simulator, receiver.url))["id"] for _ in range(60)}
        await receiver.until(60)
        assert simulator.statistics().faults == {"webhook_wrong": 60}
    ways: Counter[str] = Counter()
    for body in receiver.bodies:
        try:
            delivery = decode_json(body)
            ways["untrue" if delivery["status"] != "completed" else "other"] += delivery["id"] in runs or 100
        except (ValueError, TypeError, LookupError):
            ways["garbage"] += 1
    assert set(ways) >= {"untrue", "other", "garbage"}
    assert len(set(receiver.bodies)) > 30


async def test_same_seed_same_webhook_faults() -> None:
    """For the same seed, the webhooks of the same starts get the same faults."""

    async def happened(seed: int) -> dict[str, int]:
        faults = FaultPlan.parse(",".join(f"{kind}=0.2" for kind in KINDS) + ",webhook_delay=0")
        async with (
            receiving() as receiver,
            simulating(seed=seed, faults=faults) as simulator,
            aiohttp.ClientSession() as session,
        ):
            for _ in range(20):
                await start(session, simulator, receiver.url, "drawn")
            await until(lambda: sum(simulator.statistics().faults.values()) == 20)
            return dict(simulator.statistics().faults)

    first = await happened(1)
    assert first == await happened(1)
    assert len(first) > 2


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 2**32), shares=st.dictionaries(st.sampled_from(KINDS), st.floats(0, 0.2)))
def test_no_webhook_before_the_end(seed: int, shares: dict[str, float]) -> None:
    """Under all faults, only a wrong webhook is about a run that has not ended, or states a false end."""

    async def check() -> None:
        faults = FaultPlan.parse(",".join(f"{kind}={share!r}" for kind, share in shares.items()))
        faults, true = evolve(faults, webhook_delay=0.005), 0
        drawn = Faults(faults, seed=seed)
        fake = FakeLeap(RunPlan(seed=seed, median=2.0, outcomes={"completed": 0.7, "failed": 0.3}))

        async def on_post(body: bytes) -> int:
            nonlocal true
            try:
                delivery = decode_json(body)
                end = fake.ended_at(delivery["id"])
            except (ValueError, TypeError, LookupError):
                return 200
            polled = await poll(session, simulator, delivery["id"])
            true += (
                end is not None
                and end <= simulator.now()
                and polled == delivery
                and delivery["status"] in ENDS
            )
            return 200

        async with (
            receiving(on_post) as receiver,
            Simulator(fakes=[fake], speed=300.0, seed=seed, faults=faults) as simulator,
            aiohttp.ClientSession() as session,
        ):
            runs = [await start(session, simulator, receiver.url, "drawn") for _ in range(12)]
            kinds = Counter(drawn.draw_webhook(run["id"]).kind for run in runs)
            twice = kinds[FaultKind.WEBHOOK_TWICE]
            await settled(simulator, kinds.total() + twice)
            seen = simulator.statistics()
        assert seen.webhooks_sent == kinds.total() + twice - kinds[FaultKind.WEBHOOK_LOST]
        assert true == seen.webhooks_sent - kinds[FaultKind.WEBHOOK_WRONG]
        assert seen.faults == {kind.value: count for kind, count in kinds.items() if kind is not None}

    asyncio.run(check())
