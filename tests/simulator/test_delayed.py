"""Delayed replies over sockets: clients that wait or disconnect, and the simulator's end."""

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
from aioagents.simulator.delayed import DelayedReplies
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
        body = await self.get(f"/api/automation/runs/{run_id_of(self.trigger)}")
        status: str = body.get("run", {}).get("status", "")
        return status

    async def started(self, count: int) -> None:
        """Wait until this many runs have started."""
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


async def test_a_delayed_reply_comes_with_the_runs_end() -> None:
    """A triggered run can be read at once; the reply comes when it has ended, with the fake server's dates."""
    async with _site(speed=20.0) as site:
        call = asyncio.create_task(site.fire("quick"))
        await site.started(1)
        (running,) = await site.runs("quick")
        assert not call.done()
        status, body = await call
        assert (status, body["run"]["status"]) == (200, "completed")
        assert (running["status"], running["id"]) == ("running", body["run"]["id"])
        assert body["run"]["ended_at"].startswith("2026-01-05T09:00:")
        assert await site.fire("failing") == (500, {"error": "Internal Server Error"})


async def test_five_hundred_wait_at_once() -> None:
    """Five hundred calls wait at once, each on its connection, and all are answered."""
    async with _site(speed=4.0) as site:
        calls = [asyncio.create_task(site.fire("quick")) for _ in range(500)]
        await site.started(500)
        assert {run["status"] for run in await site.runs("quick")} == {"running"}
        answered = await asyncio.gather(*calls)
        assert len({body["run"]["id"] for status, body in answered if status == 200}) == 500


async def test_a_client_that_disconnects_from_a_delivery_cancels_its_run() -> None:
    """A disconnect is detected while the reply is delayed, and cancels the run."""
    async with _site() as site:
        call = asyncio.create_task(site.deliver())
        await site.started(1)
        assert await site.status_of_delivery() == "running"
        call.cancel()
        await asyncio.gather(call, return_exceptions=True)
        await until(lambda: site.fake.ended_at(run_id_of(site.trigger)) is not None)
        assert await site.status_of_delivery() == "canceled"


async def test_a_client_that_stays_keeps_its_delivery() -> None:
    """When one client disconnects, the delivery of another goes on."""
    async with _site() as site:
        staying = asyncio.create_task(site.deliver())
        leaving = asyncio.create_task(site.fire("endless"))
        await site.started(2)
        leaving.cancel()
        await asyncio.gather(leaving, return_exceptions=True)
        await asyncio.sleep(0.12)
        assert await site.status_of_delivery() == "running"
        assert not staying.done()
        staying.cancel()


async def test_a_client_that_disconnects_from_a_trigger_does_not_end_the_run() -> None:
    """A triggered run goes on when its client has disconnected."""
    async with _site() as site:
        call = asyncio.create_task(site.fire("quick"))
        await site.started(1)
        call.cancel()
        await asyncio.gather(call, return_exceptions=True)
        await until(lambda: site.simulator.now() > 30)
        (run,) = await site.runs("quick")
        assert run["status"] == "completed"


@pytest.mark.parametrize("late", [0, 299, -299, 1000])
async def test_deliveries_are_dated_by_the_machine(late: float) -> None:
    """Over sockets a delivery is fresh by this machine's clock, whatever the fake server's date is."""
    async with _site() as site:
        call = asyncio.create_task(site.deliver(late=late))
        if late > 300:
            assert (await call)[0] == 401
        else:
            await site.started(1)
            call.cancel()


async def test_closing_while_replies_are_delayed() -> None:
    """The simulator closes at once, also with clients that disconnected before; those that wait get no reply."""
    before = asyncio.all_tasks()
    async with _site() as site:
        gone = [asyncio.create_task(site.fire("endless")) for _ in range(20)]
        await site.started(20)
        for call in gone:
            call.cancel()
        await asyncio.gather(*gone, return_exceptions=True)
        calls = [asyncio.create_task(site.fire("endless")) for _ in range(100)]
        calls.append(asyncio.create_task(site.deliver()))
        await site.started(121)
        async with asyncio.timeout(10):
            await site.simulator.__aexit__(None, None, None)
        outcomes = await asyncio.gather(*calls, return_exceptions=True)
        assert {isinstance(outcome, aiohttp.ClientError) for outcome in outcomes} == {True}
    assert asyncio.all_tasks() == before


@pytest.mark.parametrize("kind", ["lost", "truncate", "garble", "error", "slow"])
async def test_faults_of_a_delayed_reply_happen_when_it_is_due(kind: str) -> None:
    """A fault after the fake server acted happens at the run's end, and not before."""
    share: dict[str, Any] = {kind: 1.0}
    faults = FaultPlan(only="start", delay=0.0, **share)
    async with _site(faults=faults) as site:
        for _ in range(20):
            body: Any = None
            try:
                body = await site.fire("quick")
            except aiohttp.ClientError:
                assert kind in {"lost", "truncate", "garble"}
            if site.fake.statistics()["starts"]:
                break
        assert (body is not None) is (kind in {"error", "slow"})
        (run,) = await site.runs("quick")
        assert run["status"] == "completed"


async def test_reset_before_the_request_starts_no_run() -> None:
    """A reset before the request reaches the fake server leaves no run."""
    async with _site(faults=FaultPlan(only="start", reset=1.0)) as site:
        with pytest.raises(aiohttp.ClientError):
            await site.fire("endless")
        assert await site.runs("endless") == []


async def test_a_lost_reply_does_not_cancel_the_run() -> None:
    """A run whose reply is going to be lost goes on while the client waits."""
    async with _site(faults=FaultPlan(only="start", lost=1.0)) as site:
        call = asyncio.create_task(site.deliver())
        await site.started(1)
        await asyncio.sleep(0.12)
        assert await site.status_of_delivery() == "running"
        call.cancel()


async def test_unknown_paths_are_answered_by_the_fake_server() -> None:
    """Over sockets too, unknown paths of a vendor are answered in its form, and counted as unknown."""
    async with _site() as site:
        async with site.session.get(site.url("/api/automation/nothing")) as reply:
            assert (reply.status, reply.content_type) == (404, "text/plain")
            assert reply.headers["date"].startswith("Mon, 05 Jan 2026 09:")
        async with site.session.get(site.url("/elsewhere")) as reply:
            assert (reply.status, reply.content_type) == (404, "application/json")
        assert site.simulator.statistics().calls["unknown"] == 2


async def test_large_bodies_reach_the_fake_server() -> None:
    """The size limit is the fake server's own: 1 MiB for a delivery, 4 MiB for other calls."""
    async with _site() as site:
        for size, status in ((4_194_304, 400), (4_194_305, 413)):
            async with site.session.post(site.url(JOBS), data=BytesIO(b" " * size)) as reply:
                assert reply.status == status


# `DelayedReplies` alone


class _Transport:
    """The part of a transport that is used: it records that it was aborted."""

    def __init__(self) -> None:
        self.is_cut = False

    def abort(self) -> None:
        self.is_cut = True


class _Request:
    """The part of a request that is used; `checks` counts how often its connection was checked."""

    def __init__(self, transport: _Transport | None) -> None:
        self._transport = transport
        self.checks = 0

    @property
    def transport(self) -> _Transport | None:
        self.checks += 1
        return self._transport


def _delayed_twice(clock: Callable[[], float], seconds: float, calls: list[str]) -> DelayedReply:
    """Return a reply that is delayed once more when it is due."""

    def reply(now: float) -> Reply | DelayedReply:
        calls.append("called")
        return Reply(200) if len(calls) > 1 else DelayedReply(until=clock(), reply=reply)

    return DelayedReply(until=clock() + seconds, reply=reply)


async def test_a_reply_that_is_due_already_comes_at_once() -> None:
    """A reply that is due is called at once, and again when it returns one that is due now."""
    calls: list[str] = []
    delayed = DelayedReplies(now=time.monotonic, speed=1.0)
    request: Any = _Request(_Transport())
    settled = await delayed.settle(request, _delayed_twice(time.monotonic, -1.0, calls))
    assert (settled.status, calls) == (200, ["called", "called"])


async def test_no_wait_for_a_client_that_has_disconnected() -> None:
    """With the connection lost already, `on_disconnect` is called at once, and only once."""
    dropped: list[float] = []
    delayed = DelayedReplies(now=lambda: 7.0, speed=1.0)
    request: Any = _Request(None)
    await delayed.settle(
        request, DelayedReply(until=1e9, reply=lambda now: Reply(200), on_disconnect=dropped.append)
    )
    assert dropped == [7.0]


async def test_no_wait_after_close() -> None:
    """After `close`, waits end at once, also where the connection is lost already."""
    delayed = DelayedReplies(now=lambda: 0.0, speed=1.0)
    delayed.close()
    request: Any = _Request(None)
    assert (
        await delayed.settle(request, DelayedReply(until=1e9, reply=lambda now: Reply(200)))
    ).status == 404


async def test_connections_are_checked_only_where_it_matters() -> None:
    """Connections are checked only while a reply with `on_disconnect` waits."""
    delayed = DelayedReplies(now=time.monotonic, speed=1.0)
    staying: Any = _Request(_Transport())
    free: Any = _Request(_Transport())
    soon = time.monotonic() + 0.12
    reply = DelayedReply(until=soon, reply=lambda now: Reply(200))
    await asyncio.gather(
        delayed.settle(staying, evolve(reply, on_disconnect=lambda now: None)), delayed.settle(free, reply)
    )
    assert staying.checks >= 2
    assert free.checks == 0
    checks = staying.checks
    await asyncio.sleep(0.12)
    assert staying.checks == checks


async def test_close_may_be_called_twice() -> None:
    """Waits end and their connections are aborted once, however often `close` is called."""
    delayed = DelayedReplies(now=lambda: 0.0, speed=1.0)
    transport = _Transport()
    request: Any = _Request(transport)
    wait = asyncio.create_task(
        delayed.settle(request, DelayedReply(until=math.inf, reply=lambda now: Reply(200)))
    )
    await asyncio.sleep(0)
    delayed.close()
    delayed.close()
    assert (await wait).status == 404
    assert transport.is_cut
