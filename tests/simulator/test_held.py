"""Replies that a world owes, over sockets: who waits, who leaves, and what ends it."""

import asyncio
import math
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from io import BytesIO
from typing import Any

import aiohttp
import pytest
from attrs import evolve

from aioagents.contract.fake import DelayedReply, RunPlan, Step
from aioagents.model import Reply
from aioagents.providers.agh.fake import AghRules, FakeAgh, sign
from aioagents.simulator import FaultPlan, Simulator
from aioagents.simulator.owed import Owed
from tests.providers.agh.agh_fake_rig import HOOK, JOB, JOBS, MANY, SECRET, endpoint, run_id_of
from tests.simulator.rig import until

_STEPS = {
    "quick": [Step("running", 20), Step("completed")],
    "failing": [Step("running", 20), Step("failed")],
    "endless": [Step("running")],
}


class _Site:
    """A simulator of one AGH Runtime, and a client without limits."""

    def __init__(self, simulator: Simulator, session: aiohttp.ClientSession, fake: FakeAgh) -> None:
        self.simulator = simulator
        self.session = session
        self.fake = fake
        self.jobs = {name: fake.install_job({**JOB, "name": name, "fire_limit": MANY}) for name in _STEPS}
        self.trigger_id = fake.install_trigger({**HOOK, "name": "endless"})
        self.trigger: dict[str, Any] = {}

    def url(self, path: str) -> str:
        return self.simulator.url + path

    async def fire(self, name: str) -> tuple[int, Any]:
        async with self.session.post(self.url(f"{JOBS}/{self.jobs[name]}/trigger")) as reply:
            return reply.status, await reply.json()

    async def deliver(self, *, late: float = 0.0) -> tuple[int, Any]:
        moment = int(datetime.now(UTC).timestamp() - late)
        headers = {
            "X-AGH-Webhook-Timestamp": str(moment),
            "X-AGH-Webhook-Signature": sign(SECRET, moment * 1_000_000_000, b"{}"),
            "X-AGH-Webhook-Delivery-ID": "d-1",
        }
        async with self.session.post(self.url(endpoint(self.trigger)), data=b"{}", headers=headers) as reply:
            return reply.status, await reply.json()

    async def get(self, path: str) -> Any:
        async with self.session.get(self.url(path)) as reply:
            return await reply.json()

    async def runs(self, name: str) -> list[dict[str, Any]]:
        runs: list[dict[str, Any]] = (await self.get(f"{JOBS}/{self.jobs[name]}/runs"))["runs"]
        return runs

    async def status_of_delivery(self) -> str:
        told = await self.get(f"/api/automation/runs/{run_id_of(self.trigger)}")
        status: str = told.get("run", {}).get("status", "")
        return status

    async def begun(self, count: int) -> None:
        """Wait until so many runs have begun."""
        await until(lambda: self.fake.statistics()["starts"] >= count)


@asynccontextmanager
async def _site(*, speed: float = 100.0, faults: FaultPlan | None = None) -> AsyncIterator[_Site]:
    fake = FakeAgh(RunPlan(scripts=_STEPS), rules=AghRules(concurrency=1000))
    simulator = Simulator(fakes=[fake], speed=speed, faults=faults or FaultPlan())
    async with (
        simulator,
        aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session,
    ):
        site = _Site(simulator, session, fake)
        site.trigger = (await site.get(f"/api/automation/triggers/{site.trigger_id}"))["trigger"]
        yield site


async def test_a_held_reply_comes_with_the_end() -> None:
    """A triggered run is there at once, its reply when it has ended, with the world's dates."""
    async with _site(speed=20.0) as site:
        call = asyncio.create_task(site.fire("quick"))
        await site.begun(1)
        (running,) = await site.runs("quick")
        assert not call.done()
        status, told = await call
        assert (status, told["run"]["status"]) == (200, "completed")
        assert (running["status"], running["id"]) == ("running", told["run"]["id"])
        assert told["run"]["ended_at"].startswith("2026-01-05T09:00:")
        assert await site.fire("failing") == (500, {"error": "Internal Server Error"})


async def test_five_hundred_wait_at_once() -> None:
    """Five hundred calls are held at once, each on its connection, and all are answered."""
    async with _site(speed=4.0) as site:
        calls = [asyncio.create_task(site.fire("quick")) for _ in range(500)]
        await site.begun(500)
        assert {run["status"] for run in await site.runs("quick")} == {"running"}
        answered = await asyncio.gather(*calls)
        assert len({told["run"]["id"] for status, told in answered if status == 200}) == 500


async def test_a_client_that_leaves_a_delivery_cancels_its_run() -> None:
    """The connection's end is seen while the reply is held, and breaks the run off."""
    async with _site() as site:
        call = asyncio.create_task(site.deliver())
        await site.begun(1)
        assert await site.status_of_delivery() == "running"
        call.cancel()
        await asyncio.gather(call, return_exceptions=True)
        await until(lambda: site.fake.ended_at(run_id_of(site.trigger)) is not None)
        assert await site.status_of_delivery() == "canceled"


async def test_a_client_that_stays_keeps_its_delivery() -> None:
    """While one client leaves, the delivery of another that stays goes on."""
    async with _site() as site:
        staying = asyncio.create_task(site.deliver())
        leaving = asyncio.create_task(site.fire("endless"))
        await site.begun(2)
        leaving.cancel()
        await asyncio.gather(leaving, return_exceptions=True)
        await asyncio.sleep(0.12)
        assert await site.status_of_delivery() == "running"
        assert not staying.done()
        staying.cancel()


async def test_a_client_that_leaves_a_trigger_leaves_the_run_alone() -> None:
    """The run of a trigger whose client has gone takes its course."""
    async with _site() as site:
        call = asyncio.create_task(site.fire("quick"))
        await site.begun(1)
        call.cancel()
        await asyncio.gather(call, return_exceptions=True)
        await until(lambda: site.simulator.now() > 30)
        (run,) = await site.runs("quick")
        assert run["status"] == "completed"


@pytest.mark.parametrize("late", [0, 299, -299, 1000])
async def test_deliveries_are_dated_by_the_machine(late: float) -> None:
    """Over sockets a delivery is fresh by this machine's clock, whatever date the world has."""
    async with _site() as site:
        call = asyncio.create_task(site.deliver(late=late))
        if late > 300:
            assert (await call)[0] == 401
        else:
            await site.begun(1)
            call.cancel()


async def test_leaving_while_replies_are_held() -> None:
    """The simulator ends at once, also for clients that left before; those that wait get no reply."""
    before = asyncio.all_tasks()
    async with _site() as site:
        gone = [asyncio.create_task(site.fire("endless")) for _ in range(20)]
        await site.begun(20)
        for call in gone:
            call.cancel()
        await asyncio.gather(*gone, return_exceptions=True)
        calls = [asyncio.create_task(site.fire("endless")) for _ in range(100)]
        calls.append(asyncio.create_task(site.deliver()))
        await site.begun(121)
        async with asyncio.timeout(10):
            await site.simulator.__aexit__(None, None, None)
        outcomes = await asyncio.gather(*calls, return_exceptions=True)
        assert {isinstance(outcome, aiohttp.ClientError) for outcome in outcomes} == {True}
    assert asyncio.all_tasks() == before


@pytest.mark.parametrize("kind", ["lost", "truncate", "garble", "error", "slow"])
async def test_faults_befall_a_held_reply_when_it_is_due(kind: str) -> None:
    """A fault that lets the world act comes with the run's end, and not before."""
    share: dict[str, Any] = {kind: 1.0}
    faults = FaultPlan(only="start", delay=0.0, **share)
    async with _site(faults=faults) as site:
        for _ in range(20):
            told: Any = None
            try:
                told = await site.fire("quick")
            except aiohttp.ClientError:
                assert kind in {"lost", "truncate", "garble"}
            if site.fake.statistics()["starts"]:
                break
        assert (told is not None) is (kind in {"error", "slow"})
        (run,) = await site.runs("quick")
        assert run["status"] == "completed"


async def test_reset_before_the_world_is_asked_holds_nothing() -> None:
    """A reset that comes before leaves no run."""
    async with _site(faults=FaultPlan(only="start", reset=1.0)) as site:
        with pytest.raises(aiohttp.ClientError):
            await site.fire("endless")
        assert await site.runs("endless") == []


async def test_a_delivery_that_is_lost_is_dropped_by_nobody() -> None:
    """A client that waits for a lost reply does not cancel the run by that."""
    async with _site(faults=FaultPlan(only="start", lost=1.0)) as site:
        call = asyncio.create_task(site.deliver())
        await site.begun(1)
        await asyncio.sleep(0.12)
        assert await site.status_of_delivery() == "running"
        call.cancel()


async def test_unknown_paths_are_the_worlds_to_answer() -> None:
    """Over sockets as well, unknown paths of a vendor are answered as it does, and counted as unknown."""
    async with _site() as site:
        async with site.session.get(site.url("/api/automation/nothing")) as reply:
            assert (reply.status, reply.content_type) == (404, "text/plain")
            assert reply.headers["date"].startswith("Mon, 05 Jan 2026 09:")
        async with site.session.get(site.url("/elsewhere")) as reply:
            assert (reply.status, reply.content_type) == (404, "application/json")
        assert site.simulator.statistics().calls["unknown"] == 2


async def test_large_bodies_reach_the_world() -> None:
    """How much is too much is the world's to say: 1 MiB for a delivery, 4 MiB for the rest."""
    async with _site() as site:
        for size, status in ((4_194_304, 400), (4_194_305, 413)):
            async with site.session.post(site.url(JOBS), data=BytesIO(b" " * size)) as reply:
                assert reply.status == status


# What waits, by itself


class _Transport:
    """As much of a connection as is cut off."""

    def __init__(self) -> None:
        self.is_cut = False

    def abort(self) -> None:
        self.is_cut = True


class _Request:
    """As much of a request as a wait needs; `polls` counts how often it was asked for its connection."""

    def __init__(self, transport: _Transport | None) -> None:
        self._transport = transport
        self.polls = 0

    @property
    def transport(self) -> _Transport | None:
        self.polls += 1
        return self._transport


def _held(clock: Callable[[], float], seconds: float, calls: list[str]) -> DelayedReply:
    """Owe a reply that puts itself off once."""

    def reply(now: float) -> Reply | DelayedReply:
        calls.append("asked")
        return Reply(200) if len(calls) > 1 else DelayedReply(until=clock(), reply=reply)

    return DelayedReply(until=clock() + seconds, reply=reply)


async def test_what_is_due_already_is_asked_at_once() -> None:
    """A reply that was due when it was owed is asked for, and again when it puts itself off to now."""
    calls: list[str] = []
    owed = Owed(now=time.monotonic, speed=1.0)
    request: Any = _Request(_Transport())
    settled = await owed.settle(request, _held(time.monotonic, -1.0, calls))
    assert (settled.status, calls) == (200, ["asked", "asked"])


async def test_a_client_that_had_left_before_is_not_waited_for() -> None:
    """Where the connection is gone already, what is owed is dropped at once, and only once."""
    dropped: list[float] = []
    owed = Owed(now=lambda: 7.0, speed=1.0)
    request: Any = _Request(None)
    await owed.settle(
        request, DelayedReply(until=1e9, reply=lambda now: Reply(200), on_disconnect=dropped.append)
    )
    assert dropped == [7.0]


async def test_nothing_is_waited_for_after_the_end() -> None:
    """What comes after the end is cut off, also where the connection is gone already."""
    owed = Owed(now=lambda: 0.0, speed=1.0)
    owed.close()
    request: Any = _Request(None)
    assert (await owed.settle(request, DelayedReply(until=1e9, reply=lambda now: Reply(200)))).status == 404


async def test_nobody_polls_after_clients_that_need_not_stay() -> None:
    """Connections are polled only while what is owed to them can be dropped, and until it is there."""
    owed = Owed(now=time.monotonic, speed=1.0)
    staying: Any = _Request(_Transport())
    free: Any = _Request(_Transport())
    soon = time.monotonic() + 0.12
    held = DelayedReply(until=soon, reply=lambda now: Reply(200))
    await asyncio.gather(
        owed.settle(staying, evolve(held, on_disconnect=lambda now: None)), owed.settle(free, held)
    )
    assert staying.polls >= 2
    assert free.polls == 0
    polls = staying.polls
    await asyncio.sleep(0.12)
    assert staying.polls == polls


async def test_the_end_may_be_told_twice() -> None:
    """What waits is cut off once, however often the end is told."""
    owed = Owed(now=lambda: 0.0, speed=1.0)
    transport = _Transport()
    request: Any = _Request(transport)
    wait = asyncio.create_task(
        owed.settle(request, DelayedReply(until=math.inf, reply=lambda now: Reply(200)))
    )
    await asyncio.sleep(0)
    owed.close()
    owed.close()
    assert (await wait).status == 404
    assert transport.is_cut
