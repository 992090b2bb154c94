"""Webhooks as a receiver gets them: sent over HTTP, when they are due."""

import asyncio
import subprocess
import sys

import aiohttp
import pytest

from aioagents.contract.fake import RunPlan, Step
from aioagents.providers.leap.fake import FakeLeap, LeapRules
from aioagents.simulator import FaultPlan, Simulator
from tests.simulator.rig import PLAN, poll, receiving, settled, simulating, start, until


async def test_webhook_is_sent_when_the_run_has_ended() -> None:
    """The run object arrives once, as JSON, not before the run has ended, and equals what a poll then reads."""
    async with (
        receiving() as receiver,
        simulating() as simulator,
        aiohttp.ClientSession() as session,
    ):
        run = await start(session, simulator, receiver.url)
        await receiver.until(1)
        assert simulator.now() >= 3.0
        await settled(simulator, 1)
        assert receiver.deliveries == [await poll(session, simulator, run["id"])]
        assert receiver.deliveries[0]["status"] == "completed"
        assert receiver.kinds == ["application/json"]
        seen = simulator.statistics()
    assert (seen.webhooks_sent, seen.webhooks_delivered, seen.webhooks_failed) == (1, 1, 0)
    assert seen.faults == {}


async def test_a_webhook_that_is_due_sooner_is_sent_first() -> None:
    """The webhook of a run that ends before all others planned is sent first."""
    async with (
        receiving() as receiver,
        simulating() as simulator,
        aiohttp.ClientSession() as session,
    ):
        await start(session, simulator, receiver.url, "long")
        runs = [await start(session, simulator, receiver.url) for _ in range(3)]
        await receiver.until(3)
        assert {delivery["id"] for delivery in receiver.deliveries} == {run["id"] for run in runs}


async def test_many_are_sent_at_once() -> None:
    """Webhooks that are due at once all arrive, over a bounded number of connections."""
    begun, most = 0, 0

    async def on_post(_: bytes) -> int:
        nonlocal begun, most
        begun += 1
        most = max(most, begun)
        await asyncio.sleep(0.02)
        begun -= 1
        return 200

    fake = FakeLeap(PLAN)
    async with (
        receiving(on_post) as receiver,
        simulating(fake, speed=20.0) as simulator,
        aiohttp.ClientSession() as session,
    ):
        async with asyncio.TaskGroup() as group:
            for _ in range(250):
                group.create_task(start(session, simulator, receiver.url))
        await settled(simulator, 250)
        assert simulator.statistics().webhooks_delivered == 250
    assert 1 < most <= 100


@pytest.mark.parametrize(
    ("host", "refused"),
    [
        ("127.0.0.1", False),
        ("localhost", False),
        ("LOCALHOST", False),
        ("192.0.2.1", True),
        ("hooks.example.com", True),
        ("localhost.example.com", True),
        ("127.0.0.1@192.0.2.1", True),
        ("192.0.2.1\\@127.0.0.1", True),
        ("0.0.0.0", True),  # noqa: S104 - refused
        ("2130706433", True),
    ],
)
async def test_only_loopback_is_sent_to(host: str, refused: bool) -> None:
    """Nothing is ever sent to another host than this one; what was refused is counted."""
    async with (
        receiving() as receiver,
        simulating() as simulator,
        aiohttp.ClientSession() as session,
    ):
        await start(session, simulator, receiver.url.replace("127.0.0.1", host))
        await settled(simulator, 1)
        seen = simulator.statistics()
    assert (seen.webhooks_refused, seen.webhooks_sent) == (refused, not refused)
    assert len(receiver.bodies) == (not refused)


@pytest.mark.parametrize("url", ["http://127.0.0.1:99999/", "http://[::1%25lo]/", "http://[::ffff:9.9.9.9]/"])
async def test_odd_urls_do_no_harm(url: str) -> None:
    """A URL that leads nowhere is refused and the next webhook is sent."""
    async with (
        receiving() as receiver,
        simulating() as simulator,
        aiohttp.ClientSession() as session,
    ):
        await start(session, simulator, url)
        await start(session, simulator, receiver.url)
        await settled(simulator, 2)
        assert simulator.statistics().webhooks_refused == len(receiver.bodies) == 1


@pytest.mark.parametrize("status", [302, 307, 400, 404, 500])
async def test_refusing_receiver_is_not_asked_again(status: int) -> None:
    """Another answer than 2xx is a failure; no redirect is followed and nothing repeated."""

    async def on_post(_: bytes) -> int:
        return status

    async with (
        receiving(on_post) as receiver,
        simulating() as simulator,
        aiohttp.ClientSession() as session,
    ):
        await start(session, simulator, receiver.url)
        await settled(simulator, 1)
        seen = simulator.statistics()
    assert (seen.webhooks_sent, seen.webhooks_failed, len(receiver.bodies)) == (1, 1, 1)


async def test_absent_receiver_is_a_failure() -> None:
    """A receiver that is gone, or does not speak HTTP, is counted as a failure and nothing more."""

    async def babble(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"hello\r\n\r\n")
        writer.close()

    async with receiving() as receiver:
        gone = receiver.url
    server = await asyncio.start_server(babble, "127.0.0.1", 0)
    async with server, simulating() as simulator, aiohttp.ClientSession() as session:
        await start(session, simulator, gone)
        await start(session, simulator, f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/")
        await settled(simulator, 2)
        assert simulator.statistics().webhooks_failed == 2


async def test_ends_without_a_webhook() -> None:
    """Nothing is sent for a cancelled run unless the rules say so."""
    plan = RunPlan(scripts={"w": [Step("cancelled")]})
    for webhook_ends, count in ((frozenset({"completed"}), 0), (frozenset({"cancelled"}), 1)):
        fake = FakeLeap(plan, rules=LeapRules(webhook_ends=webhook_ends))
        async with (
            receiving() as receiver,
            simulating(fake) as simulator,
            aiohttp.ClientSession() as session,
        ):
            await start(session, simulator, receiver.url)
            await settled(simulator, count)
        assert len(receiver.bodies) == count


async def test_clock_that_stands_still() -> None:
    """A webhook is sent once it is due by the given clock, and not before."""
    time = 100.0
    fake = FakeLeap(PLAN)
    async with (
        receiving() as receiver,
        Simulator(fakes=[fake], monotonic=lambda: time, speed=3000) as simulator,
        aiohttp.ClientSession() as session,
    ):
        await start(session, simulator, receiver.url)
        await asyncio.sleep(0.01)
        assert receiver.bodies == []
        time = 101.0
        await receiver.until(1)


async def test_closing_ends_deliveries() -> None:
    """Closing ends webhooks that are being sent or late, and starts that wait for one, and leaves no task."""
    before = asyncio.all_tasks()
    hold, came = asyncio.Event(), asyncio.Event()

    async def on_post(_: bytes) -> int:
        came.set()
        await hold.wait()
        return 200

    async with receiving(on_post) as receiver:
        for text in ("", "webhook_late=1,webhook_delay=60", "webhook_early=1"):
            came.clear()
            async with aiohttp.ClientSession() as session:
                async with simulating(faults=FaultPlan.parse(text)) as simulator:
                    begun = asyncio.ensure_future(start(session, simulator, receiver.url))
                    await until(lambda: came.is_set() or bool(simulator.statistics().faults))
                await asyncio.wait([begun])
                assert (begun.exception() is not None) == ("early" in text)
            assert simulator.statistics().webhooks_delivered == 0
        hold.set()
    await asyncio.sleep(0)
    assert asyncio.all_tasks() == before


async def test_thread_sends_too() -> None:
    """A simulator in a thread of its own sends webhooks to a receiver in this one."""
    async with receiving() as receiver, aiohttp.ClientSession() as session:
        running = simulating().in_thread()
        simulator = await asyncio.to_thread(running.__enter__)
        try:
            run = await start(session, simulator, receiver.url)
            await receiver.until(1)
        finally:
            await asyncio.to_thread(running.__exit__, None, None, None)
        assert receiver.deliveries[0]["id"] == run["id"]


_PROGRAM = """
import asyncio, aiohttp, logging
from aiohttp import web
from aioagents.contract.fake import RunPlan
from aioagents.simulator import FaultPlan, Simulator

logging.getLogger("asyncio").setLevel(logging.ERROR)  # that a step was slow depends on the machine
faults = FaultPlan(webhook_twice=0.3, webhook_late=0.3, webhook_early=0.2, webhook_wrong=0.2, webhook_delay=0.02)

async def main():
    async def take(request):
        return web.Response(status=202)

    server = web.Server(take)
    listener = await asyncio.get_running_loop().create_server(server, "127.0.0.1", 0)
    hook = f"http://127.0.0.1:{listener.sockets[0].getsockname()[1]}/"
    plan = RunPlan(median=0.02)
    async with aiohttp.ClientSession(headers={"x-api-key": "demo-key"}) as session:
        async def start(simulator):
            for _ in range(30):
                body = {"workflowId": "w", "webhookUrl": hook}
                async with session.post(simulator.url + "/v1/workflows", json=body) as reply:
                    await reply.read()

        async with Simulator(plan=plan, faults=faults) as simulator:
            await start(simulator)
        with Simulator(plan=plan, faults=FaultPlan(webhook_late=1.0)).in_thread() as simulator:
            await start(simulator)
    listener.close()
    await server.shutdown(0.01)
    await listener.wait_closed()

asyncio.run(main(), debug=True)
"""


def test_sending_leaves_no_warning() -> None:
    """A program in development mode that leaves in the middle of its deliveries ends without any output."""
    done = subprocess.run(
        [sys.executable, "-X", "dev", "-W", "error", "-c", _PROGRAM],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
