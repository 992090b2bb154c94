"""The simulator: all fake servers on one loopback port, in this event loop or in a thread of its own."""

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack, contextmanager
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from types import TracebackType
from typing import Final, Self

import attrs
from aiohttp import web
from anyio.from_thread import start_blocking_portal
from attrs import frozen

from ..contract.fake import FakeServer, RunPlan, SendsWebhooks
from ..providers import find_parts
from .app import App
from .fault_injection import FaultInjector
from .faults import FaultPlan, Faults
from .webhooks import WebhookSender

_KEEP_ALIVE: Final = 75.0
_GRACE: Final = 0.05
_BACKLOG: Final = 4096


@frozen(kw_only=True)
class Statistics:
    """What a simulator has counted so far.

    `token_requests`, `starts` (accepted) and `polls` are the fake servers' counts; `requests` are all that arrived,
    those included that never reached a fake server because of a fault, and `calls` the same by call (`aop.status`);
    `faults` are the faults that happened by name, `fakes` all counts of each fake server by vendor.
    """

    token_requests: int
    starts: int
    polls: int
    connections: int
    requests: int
    webhooks_sent: int
    webhooks_delivered: int
    webhooks_failed: int
    webhooks_refused: int
    calls: Mapping[str, int]
    faults: Mapping[str, int]
    fakes: Mapping[str, Mapping[str, int]]


class Simulator:
    """Serves vendors' fakes on one loopback port while it is entered: `async with Simulator() as simulator`.

    `fakes` defaults to one of each provider that has a fake server, made from `plan`. `seed` is that of the faults
    and, when given, replaces the plan's. The fake servers' clock is 0 on entry and runs `speed` times as fast as
    `monotonic`; their dates begin with the moment at which the simulator is made, unless the plan has an `epoch`.
    `faults` is one plan or several, of which the first with a fault for a request wins. Where no event loop runs, or
    the program's own must not be blocked: `with Simulator().in_thread() as simulator`. Webhooks are POSTed to the
    client's URL when they are due, once, and to loopback addresses only. Exit aborts all connections. `statistics`,
    `now`, `moment`, `fake` and `environment` may be called in any thread. A simulator is entered once.
    """

    def __init__(
        self,
        *,
        fakes: Sequence[FakeServer] | None = None,
        plan: RunPlan | None = None,
        host: str = "127.0.0.1",
        port: int = 0,
        speed: float = 1.0,
        seed: int | None = None,
        faults: FaultPlan | Sequence[FaultPlan] = (),
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        if not 0 < speed < float("inf"):
            raise ValueError(f"speed has to be more than 0, not {speed}")
        self._host = _loopback(host)
        self._port = port
        self._speed = speed
        self._monotonic = monotonic
        runs = (RunPlan() if plan is None else plan).begun(datetime.now(UTC))
        if seed is not None:
            runs = attrs.evolve(runs, seed=seed)
        self._fakes = {fake.vendor: fake for fake in (find_fakes(runs) if fakes is None else fakes)}
        drawn = Faults(faults, seed=seed or 0)
        drawn.check_names(route.call for fake in self._fakes.values() for route in fake.routes)
        self._injector = None if drawn.is_empty else FaultInjector(drawn)
        senders = [fake for fake in self._fakes.values() if isinstance(fake, SendsWebhooks)]
        self._webhooks = WebhookSender(senders, faults=drawn, now=self.now, speed=speed)
        self._app = App(
            list(self._fakes.values()),
            now=self.now,
            speed=speed,
            injector=self._injector,
            webhooks=self._webhooks,
        )
        self._began_at: float | None = None
        self._began_on = datetime.now(UTC)
        self._connections = 0
        self._stack = AsyncExitStack()

    def __repr__(self) -> str:
        where = f"at {self.url}" if self._began_at is not None else "not entered"
        return f"<Simulator of {', '.join(self._fakes) or 'nothing'}, {where}>"

    @property
    def port(self) -> int:
        """Return the port that is listened on; 0 before it is known."""
        return self._port

    @property
    def url(self) -> str:
        """Return the base URL of all fake servers, without a slash at the end."""
        host = f"[{self._host}]" if ":" in self._host else self._host
        return f"http://{host}:{self._port}"

    @property
    def speed(self) -> float:
        """Return how many of the fake servers' seconds pass in one second."""
        return self._speed

    def fake(self, vendor: str) -> FakeServer:
        """Return a vendor's fake server. Raises KeyError when it is not served."""
        return self._fakes[vendor]

    def environment(self) -> dict[str, str]:
        """Return the environment variables for clients of the fake servers, credentials included."""
        return {
            name: value for fake in self._fakes.values() for name, value in fake.environment(self.url).items()
        }

    def now(self) -> float:
        """Return the fake servers' time in seconds since the simulator was entered."""
        return 0.0 if self._began_at is None else (self._monotonic() - self._began_at) * self._speed

    def moment(self, seconds: float) -> datetime:
        """Return the date, by this machine's clock, of the fake servers' second `seconds`."""
        return self._began_on + timedelta(seconds=seconds / self._speed)

    def statistics(self) -> Statistics:
        """Return what was counted so far."""
        fakes = {vendor: dict(fake.statistics()) for vendor, fake in self._fakes.items()}
        whole: Counter[str] = Counter()
        for counts in fakes.values():
            whole.update(counts)
        calls, sent = dict(self._app.requests), self._webhooks
        faults = Counter(sent.happened) + (Counter() if self._injector is None else self._injector.happened)
        return Statistics(
            token_requests=whole["token_requests"],
            starts=whole["starts"],
            polls=whole["polls"],
            connections=self._connections,
            requests=sum(calls.values()),
            calls=calls,
            webhooks_sent=sent.sent,
            webhooks_delivered=sent.delivered,
            webhooks_failed=sent.failed,
            webhooks_refused=sent.refused,
            faults=dict(faults),
            fakes=fakes,
        )

    async def __aenter__(self) -> Self:
        if self._began_at is not None:
            raise RuntimeError("a simulator is entered once; make another one")
        web_server = web.Server(self._app, access_log=None, keepalive_timeout=_KEEP_ALIVE)

        def accept() -> asyncio.BaseProtocol:
            self._connections += 1
            return web_server()

        loop = asyncio.get_running_loop()
        async with AsyncExitStack() as stack:
            # Closed last: requests that wait for a delivery have ended by then.
            await self._webhooks.open()
            stack.push_async_callback(self._webhooks.aclose)
            listener = await loop.create_server(accept, self._host, self._port, backlog=_BACKLOG)
            stack.push_async_callback(_close, listener, web_server)
            stack.callback(self._app.close)
            self._stack = stack.pop_all()
        self._port = listener.sockets[0].getsockname()[1]
        self._began_at, self._began_on = self._monotonic(), datetime.now(UTC)
        self._webhooks.wake()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._stack.aclose()

    @contextmanager
    def in_thread(self) -> Iterator[Self]:
        """Serve from an event loop in a thread of its own until the block ends."""
        with start_blocking_portal("asyncio") as portal, portal.wrap_async_context_manager(self):
            yield self


def find_fakes(plan: RunPlan) -> list[FakeServer]:
    """Make a fake server of each provider that has one, as found in the providers' folder."""
    return [module.make_fake(plan) for module in find_parts("fake").values()]


def _loopback(host: str) -> str:
    if host == "localhost":
        return "127.0.0.1"
    try:
        is_loopback = ip_address(host).is_loopback
    except ValueError:
        is_loopback = False
    if not is_loopback:
        raise ValueError(f"a simulator listens on loopback addresses alone, such as 127.0.0.1, not {host!r}")
    return host


async def _close(listener: asyncio.Server, web_server: web.Server) -> None:
    listener.close()
    transports = [each.transport for each in web_server.connections if each.transport is not None]
    web_server.pre_shutdown()
    await web_server.shutdown(_GRACE)
    for transport in transports:
        # `close` was called before, but alone it waits for a peer that does not read.
        transport.abort()
    await listener.wait_closed()
    # The transports call `connection_lost` of their protocols in the next iterations; wait until that is done.
    for _ in range(3):
        await asyncio.sleep(0)
