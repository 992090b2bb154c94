"""The simulator as a server: where it listens, what it reports, and how it closes."""

import asyncio
import base64
import socket
import subprocess
import sys
import threading
import urllib.error
import urllib.request
from datetime import UTC, datetime, timedelta
from typing import Any

import aiohttp
import pytest

from aioagents import SessionPool
from aioagents.codec import decode_json, encode_json
from aioagents.contract.fake import FakeServer, RunPlan, Step, answer
from aioagents.model import Request
from aioagents.providers import find_provider
from aioagents.providers.leena.fake import FakeLeena
from aioagents.simulator import FaultPlan, Simulator
from aioagents.simulator.server import find_fakes
from tests.conformance.adapters import ADAPTERS

_ITEM = "/api/v1/external/aop/items/000000000000000000000000/status"


async def _status(session: aiohttp.ClientSession, url: str) -> int:
    async with session.get(url) as reply:
        await reply.read()
        return reply.status


def _start(fake: FakeServer) -> str:
    """Start a run at second 0, without a socket."""
    started = _post(fake, "/api/v1/external/aop/execute", {"aop_id": "triage"}, _sign(fake))
    item_id: str = started["aop_item_id"]
    return item_id


def _sign(fake: FakeServer) -> str:
    """Get a token, without a socket."""
    basic = base64.b64encode(b"demo-client:demo-secret").decode()
    grant = {"username": "demo-user", "password": "demo-password", "grant_type": "password"}
    return f"Bearer {_post(fake, '/api/v1.0/oauth/token', grant, f'Basic {basic}')['access_token']}"


def _post(fake: FakeServer, path: str, body: Any, authorization: str) -> dict[str, Any]:
    headers = {"content-type": "application/json", "authorization": authorization}
    request = Request(method="POST", url=path, call="", headers=headers, body=encode_json(body))
    decoded: dict[str, Any] = decode_json(answer([fake], request, now=0.0).body)
    return decoded


@pytest.mark.parametrize("host", ["127.0.0.1", "127.0.0.2", "localhost"])
async def test_listens_on_loopback(host: str) -> None:
    """Any loopback address can be used, and a free port is chosen."""
    async with Simulator(host=host) as simulator, aiohttp.ClientSession() as session:
        assert simulator.port > 0
        assert await _status(session, simulator.url + _ITEM) == 401


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1", "example.com", ""])  # noqa: S104 - refused
def test_refuses_other_addresses(host: str) -> None:
    """No address but a loopback one is listened on."""
    with pytest.raises(ValueError, match="loopback"):
        Simulator(host=host)


def test_url_of_the_other_loopback() -> None:
    """An IPv6 address is in brackets in the URL."""
    assert Simulator(host="::1", port=1234).url == "http://[::1]:1234"


@pytest.mark.parametrize("speed", [0.0, -1.0, float("inf"), float("nan")])
def test_refuses_speeds_that_are_not_positive(speed: float) -> None:
    """The speed is a positive number."""
    with pytest.raises(ValueError, match="speed"):
        Simulator(speed=speed)


def test_refuses_faults_for_calls_that_do_not_exist() -> None:
    """A misspelt call in a fault plan is an error, not a plan without effect."""
    with pytest.raises(ValueError, match=r"aop\.stats"):
        Simulator(faults=FaultPlan(reset=0.1, only="aop.stats"))


def test_serves_every_provider_that_has_a_fake() -> None:
    """Fake servers are found in the providers' folder, and each has variables and endpoints."""
    fakes = find_fakes(RunPlan())
    assert "leena" in {fake.vendor for fake in fakes}
    for fake in fakes:
        assert all(route.call and route.path.startswith("/") for route in fake.routes)
        assert {"token_requests", "starts", "polls"} <= set(fake.statistics())


async def test_environment_points_at_the_port() -> None:
    """The environment has the fake servers' variables with the simulator's URL."""
    async with Simulator() as simulator:
        variables = simulator.environment()
    assert variables["LEENA_TOKEN_URL"] == variables["LEENA_AOP_URL"] == f"http://127.0.0.1:{simulator.port}"
    assert variables["LEENA_CLIENT_ID"] == "demo-client"


async def test_fake_server_is_found_by_its_vendor() -> None:
    """A fake server is found by its vendor's name; an unknown name is a KeyError."""
    fake = FakeLeena()
    simulator = Simulator(fakes=[fake])
    assert simulator.fake("leena") is fake
    with pytest.raises(KeyError):
        simulator.fake("nobody")


async def test_unknown_paths_are_not_found() -> None:
    """A path or method that no fake server has is 404."""
    async with Simulator() as simulator, aiohttp.ClientSession() as session:
        assert await _status(session, simulator.url + "/") == 404
        assert await _status(session, simulator.url + "/api/v1.0/oauth/token") == 404
        assert simulator.statistics().calls == {"unknown": 2}


async def test_connections_are_kept_and_counted() -> None:
    """Requests one after the other share a connection."""
    async with Simulator() as simulator:
        for _ in range(2):
            async with aiohttp.ClientSession() as session:
                for _ in range(3):
                    await _status(session, simulator.url + _ITEM)
        statistics = simulator.statistics()
    assert (statistics.connections, statistics.requests) == (2, 6)
    assert statistics.calls == {"aop.status": 6}
    assert statistics.fakes["leena"]["refused_401"] == 6


async def test_clock_runs_at_its_speed() -> None:
    """The fake servers' clock is 0 at entry and runs `speed` times as fast as real time."""
    time = 100.0
    simulator = Simulator(speed=60.0, monotonic=lambda: time)
    assert simulator.now() == 0.0
    async with simulator:
        time = 102.0
        assert (simulator.now(), simulator.speed) == (120.0, 60.0)
        assert simulator.moment(120.0) - simulator.moment(0.0) == timedelta(seconds=2)
        assert abs(simulator.moment(0.0) - datetime.now(UTC)) < timedelta(minutes=1)


@pytest.mark.parametrize("vendor", ["agent-platform", "leap", "leena"])
async def test_runs_are_dated_now_or_from_the_epoch(vendor: str) -> None:
    """A run's dates are this machine's, unless the plan has an epoch."""
    epoch = datetime(2001, 2, 3, 4, 5, tzinfo=UTC)
    for plan, now in (
        (None, datetime.now(UTC)),
        (RunPlan(), datetime.now(UTC)),
        (RunPlan(epoch=epoch), epoch),
    ):
        async with Simulator(plan=plan) as simulator, SessionPool() as pool:
            client = find_provider(vendor).client.from_env(pool, simulator.environment())
            run = await (await ADAPTERS[vendor].start(client, "target")).poll()
        dated = run.created_at or run.started_at
        assert dated is not None
        assert abs(dated - now) < timedelta(seconds=30)


def test_seed_replaces_the_plans() -> None:
    """The simulator's seed, when given, draws the runs too."""

    def first_id(*, plan_seed: int, seed: int | None = None) -> str:
        return _start(Simulator(plan=RunPlan(seed=plan_seed), seed=seed).fake("leena"))

    assert first_id(plan_seed=1) == first_id(plan_seed=2, seed=1) != first_id(plan_seed=2)


async def test_is_entered_once() -> None:
    """A second entry raises, as the fake servers' time cannot begin again."""
    simulator = Simulator()
    async with simulator:
        assert simulator.url in repr(simulator)
    with pytest.raises(RuntimeError, match="once"):
        await simulator.__aenter__()


async def test_port_in_use_raises() -> None:
    """A port that is taken raises OSError."""
    async with Simulator() as simulator:
        with pytest.raises(OSError, match="in use"):
            await Simulator(port=simulator.port).__aenter__()


async def test_closing_ends_all_connections() -> None:
    """Closing ends idle connections, half-sent and delayed requests, and leaves no task."""
    before = asyncio.all_tasks()
    plan = FaultPlan(latency=1.0, delay=60.0)
    async with Simulator(faults=plan) as simulator:
        peers = [await asyncio.open_connection("127.0.0.1", simulator.port) for _ in range(3)]
        peers[1][1].write(b"GET / HTTP/1.1\r\nhost:")
        peers[2][1].write(f"GET {_ITEM} HTTP/1.1\r\nhost: x\r\n\r\n".encode())
        for _ in range(10_000):
            if simulator.statistics().requests:
                break
            await asyncio.sleep(0)
    for reader, writer in peers:
        try:
            assert b"200" not in await reader.read()
        except ConnectionResetError:
            pass
        finally:
            writer.transport.abort()
    assert asyncio.all_tasks() == before
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", simulator.port))


async def test_closing_does_not_wait_for_a_client_that_does_not_read() -> None:
    """A client that requests much and reads nothing does not delay the close."""
    fake = FakeLeena(RunPlan(history=1000))
    query = "metricId=aic:totalRunsTable&responseType=table&from=2026-01-01&to=2026-01-06&limit=1000"
    ask = f"GET /api/analytics/query/external?{query} HTTP/1.1\r\nhost: x\r\nauthorization: {_sign(fake)}\r\n\r\n"
    async with Simulator(fakes=[fake]) as simulator:
        with socket.socket() as peer:
            peer.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            peer.connect(("127.0.0.1", simulator.port))
            peer.sendall(ask.encode() * 8)
            await asyncio.sleep(0.05)
            await simulator.__aexit__(None, None, None)
    assert 0 < fake.statistics()["reports"] < 8


def test_thread_serves_sync_programs() -> None:
    """In a thread of its own the simulator serves programs without an event loop, and closes with the block."""
    threads = threading.active_count()
    with Simulator().in_thread() as simulator:
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with (
            pytest.raises(urllib.error.HTTPError, match="401") as raised,
            opener.open(simulator.url + _ITEM),
        ):
            pass
        raised.value.close()
        assert simulator.statistics().requests == 1
    assert threading.active_count() == threads


def test_thread_raises_what_went_wrong() -> None:
    """A simulator that cannot start in its thread raises in the thread that entered it."""
    with (
        Simulator().in_thread() as simulator,
        pytest.raises(OSError, match="in use"),
        Simulator(port=simulator.port).in_thread(),
    ):
        pass


_PROGRAM = f"""
import asyncio, aiohttp, logging
from aioagents.simulator import FaultPlan, Simulator

logging.getLogger("asyncio").setLevel(logging.ERROR)  # that a step was slow depends on the machine

async def main():
    async with aiohttp.ClientSession() as session:
        async with Simulator(faults=FaultPlan(reset=0.3, truncate=0.3, latency=0.5, delay=0.001)) as simulator:
            for _ in range(30):
                try:
                    async with session.get(simulator.url + "{_ITEM}") as reply:
                        await reply.read()
                except aiohttp.ClientError:
                    pass

asyncio.run(main(), debug=True)
with Simulator().in_thread():
    pass
"""


def test_leaves_no_warning() -> None:
    """A program in development mode, with warnings as errors, ends without any output."""
    done = subprocess.run(
        [sys.executable, "-X", "dev", "-W", "error", "-c", _PROGRAM],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


async def test_ends_of_runs_are_known_beforehand() -> None:
    """The time at which a run really ends can be read from the simulator, to measure how late it was seen."""
    fake = FakeLeena(RunPlan(scripts={"triage": [Step("in_progress", 30), Step("completed")]}))
    item_id = _start(fake)
    async with Simulator(fakes=[fake], speed=60.0) as simulator:
        ended_at = simulator.fake("leena").ended_at(item_id)
        assert ended_at == 30.0
        assert simulator.moment(ended_at) - simulator.moment(0.0) == timedelta(seconds=0.5)
