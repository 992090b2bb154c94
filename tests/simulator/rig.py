"""What tests of webhooks share: a receiver on a loopback port, and a client that starts and polls."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
from aiohttp import web

from aioagents.codec import decode_json
from aioagents.contract.fake import RunPlan, Step
from aioagents.providers.leap.fake import FakeLeap
from aioagents.simulator import FaultPlan, Simulator
from aioagents.simulator.faults import FaultKind

_KEY = {"x-api-key": "demo-key"}
PLAN = RunPlan(
    median=5.0,
    outcomes={"completed": 0.8, "failed": 0.2},
    scripts={"w": [Step("running", 3), Step("completed")], "long": [Step("running", 1e6), Step("completed")]},
)
KINDS = [kind.value for kind in FaultKind if kind.value.startswith("webhook_")]


class Receiver:
    """Keeps what is POSTed to it, and answers 202 or what `on_post` returns."""

    def __init__(self, on_post: Callable[[bytes], Awaitable[int]] | None = None) -> None:
        self.bodies: list[bytes] = []
        self.kinds: list[str | None] = []
        self.url = ""
        self._on_post = on_post
        self._came = asyncio.Event()

    @property
    def deliveries(self) -> list[Any]:
        """Return what was POSTed, read as JSON."""
        return [decode_json(body) for body in self.bodies]

    async def __call__(self, request: web.BaseRequest) -> web.StreamResponse:
        """Answer one POST."""
        body = await request.read()
        self.bodies.append(body)
        self.kinds.append(request.headers.get("content-type"))
        self._came.set()
        status = 202 if self._on_post is None else await self._on_post(body)
        return web.Response(status=status, headers={"location": self.url})

    async def until(self, count: int) -> None:
        """Wait until this many have come."""
        async with asyncio.timeout(30):
            while len(self.bodies) < count:
                self._came.clear()
                await self._came.wait()


@asynccontextmanager
async def receiving(on_post: Callable[[bytes], Awaitable[int]] | None = None) -> AsyncIterator[Receiver]:
    """Listen on a free port until the block ends."""
    receiver = Receiver(on_post)
    server = web.Server(receiver)
    listener = await asyncio.get_running_loop().create_server(server, "127.0.0.1", 0)
    receiver.url = f"http://127.0.0.1:{listener.sockets[0].getsockname()[1]}/hook"
    try:
        yield receiver
    finally:
        listener.close()
        await server.shutdown(0.05)
        await listener.wait_closed()


def simulating(
    fake: FakeLeap | None = None, *, seed: int = 0, speed: float = 600.0, faults: FaultPlan | None = None
) -> Simulator:
    """Make a simulator of Leap alone."""
    fakes = [FakeLeap(PLAN) if fake is None else fake]
    return Simulator(fakes=fakes, speed=speed, seed=seed, faults=faults or FaultPlan())


async def start(
    session: aiohttp.ClientSession, simulator: Simulator, url: str, workflow: str = "w"
) -> dict[str, Any]:
    """Start a run whose end is to be delivered to `url`."""
    body = {"workflow_id": workflow, "webhook_url": url}
    async with session.post(f"{simulator.url}/v1/runs", json=body, headers=_KEY) as reply:
        assert reply.status == 200
        run: dict[str, Any] = await reply.json()
        return run


async def poll(session: aiohttp.ClientSession, simulator: Simulator, run_id: str) -> dict[str, Any]:
    """Read a run."""
    async with session.get(f"{simulator.url}/v1/runs/{run_id}", headers=_KEY) as reply:
        run: dict[str, Any] = await reply.json()
        return run


async def until(condition: Callable[[], bool]) -> None:
    """Wait until the condition holds; polled, since the other end of a socket sets no event here."""
    for _ in range(20_000):
        if condition():
            return
        await asyncio.sleep(0.001)
    raise AssertionError("the condition never held")


async def settled(simulator: Simulator, count: int) -> None:
    """Wait until this many webhooks have been answered, or have failed, or were refused or lost."""

    def is_settled() -> bool:
        seen = simulator.statistics()
        lost = seen.faults.get("webhook_lost", 0)
        return seen.webhooks_delivered + seen.webhooks_failed + seen.webhooks_refused + lost >= count

    await until(is_settled)
