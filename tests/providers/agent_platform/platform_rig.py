"""A pool, its one Agent Platform client, the fake vendor and a receiver for callbacks: all in memory."""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, MutableMapping, Sequence
from contextlib import asynccontextmanager
from copy import copy
from pathlib import Path
from typing import Any, Final, Self, TypeVar
from urllib.parse import urlsplit

from anyio.to_thread import run_sync

from aioagents import AgentPlatform, SessionPool, Steady, WebhookReceiver
from aioagents.codec import decode_json
from aioagents.contract.fake import RunPlan, Step
from aioagents.model import Reply, Request
from aioagents.observe import Event
from aioagents.providers.agent_platform.fake import AgentPlatformRules, FakeAgentPlatform
from tests.fakes import FakeClock, FakeSend

E = TypeVar("E", bound=Event)
T = TypeVar("T")

URL: Final = "http://127.0.0.1"
PUBLIC: Final = "https://hooks.example.com/kore"
APP_URL: Final = f"{URL}/api/v2/apps/aa-demo/environments/draft"
TOOLS_URL: Final = f"{URL}/api/public"
#: What the scope of references to runs begins with.
SCOPE: Final = "127.0.0.1;app=aa-demo;environment=draft"
APP_KEY: Final = "demo-app-key"
TOOLS_KEY: Final = "demo-tools-key"
SETTINGS: Final[Mapping[str, Any]] = {
    "base_url": URL,
    "app_id": "aa-demo",
    "environment": "draft",
    "app_key": APP_KEY,
    "tools_key": TOOLS_KEY,
}
HELLO: Final = "hello"
_SAMPLES: Final = Path(__file__).parents[2] / "samples" / "agent_platform"


def sample(name: str) -> Reply:
    """Return a reply as it was received, by its path: `runs_status/200-success`."""
    path = _SAMPLES / f"{name}.json"
    return Reply(int(path.name[:3]), {"content-type": "application/json"}, path.read_bytes())


def sample_body(name: str) -> Any:
    """Return the decoded body of a sample, which may be that of a delivery."""
    return decode_json((_SAMPLES / f"{name}.json").read_bytes())


def script(*steps: tuple[str, float] | str) -> Sequence[Step]:
    """Return a script: status words with their seconds; the last one lasts for ever."""
    return [Step(step) if isinstance(step, str) else Step(*step) for step in steps]


def fake_of(*steps: tuple[str, float] | str, **rules: Any) -> FakeAgentPlatform:
    """Return a fake in which runs with the text `HELLO`, and jobs with that name, follow one script."""
    jobs = ("import", "export", "deploy", "undeploy")
    names = [HELLO, *(f"{job}:{HELLO}" for job in jobs)]
    plan = RunPlan(scripts=dict.fromkeys(names, script(*steps)))
    return FakeAgentPlatform(plan, rules=AgentPlatformRules(**rules))


async def deliver(receiver: WebhookReceiver, url: str, body: bytes, headers: Mapping[str, str]) -> int:
    """POST `body` to a URL of the receiver, as an ASGI server would, and return the status."""
    sent: list[MutableMapping[str, Any]] = []

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": body}

    async def send(message: MutableMapping[str, Any]) -> None:
        sent.append(message)

    pairs = [(name.lower().encode(), value.encode()) for name, value in headers.items()]
    scope = {"type": "http", "method": "POST", "path": urlsplit(url).path, "headers": pairs}
    await receiver(scope, receive, send)
    status: int = sent[0]["status"]
    return status


class PlatformRig:
    """Everything that a test uses."""

    def __init__(
        self,
        *steps: tuple[str, float] | str,
        fake: FakeAgentPlatform | None = None,
        settings: Mapping[str, Any] | None = None,
        rules: Mapping[str, Any] | None = None,
        send: type[FakeSend] = FakeSend,
        **pool: Any,
    ) -> None:
        self.clock = FakeClock()
        chosen = steps or (("pending", 2.0), ("running", 23.0), "success")
        self.fake = fake or fake_of(*chosen, **(rules or {}))
        self.send = send(self.fake, clock=self.clock)
        self.events: list[Event] = []
        self.receiver = WebhookReceiver(PUBLIC)
        self._settings = {**SETTINGS, **(settings or {})}
        options: dict[str, Any] = {
            "cadence": Steady(10),
            "chance": lambda: 0.5,
            "clock": self.clock,
            "send": self.send,
            "hooks": [self.events.append],
        }
        self.pool = SessionPool(**{**options, **pool})
        self._began_at = self.clock.now()
        self.platform: AgentPlatform

    @property
    def now(self) -> float:
        """Return the seconds since the rig was created."""
        return self.clock.now() - self._began_at

    @property
    def polls(self) -> int:
        """Count the polls that the vendor answered."""
        return self.fake.statistics()["polls"]

    @property
    def calls(self) -> list[str]:
        """Return the names of all requests, in order."""
        return [each.call for each in self.send.sent]

    @property
    def last(self) -> Request:
        """Return the latest request."""
        return self.send.sent[-1]

    @property
    def body(self) -> Any:
        """Return the decoded body of the latest request."""
        return decode_json(self.last.body or b"null")

    async def __aenter__(self) -> Self:
        await self.pool.__aenter__()
        self.platform = AgentPlatform(self.pool, **self._settings)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.pool.aclose()

    def events_of(self, kind: type[E]) -> list[E]:
        """Return the events of one kind."""
        return [event for event in self.events if isinstance(event, kind)]

    def answer(self, call: str, *answers: Reply | Exception) -> None:
        """Answer the next requests of one call with these answers, and all others as usual."""
        left = list(answers)
        before: Callable[[Request], Reply | None] | None = self.send.before

        def reply(request: Request) -> Reply | None:
            if request.call == call and left:
                first = left.pop(0)
                if isinstance(first, Exception):
                    raise copy(first)  # the original would keep the frames of its test alive
                return first
            return before(request) if before is not None else None

        self.send.before = reply

    async def until(self, waiter: asyncio.Task[T]) -> T:
        """Advance the clock, and let threads that read and write files run, until a task is done."""
        while not waiter.done():
            await self.clock.advance(1)
            await run_sync(int)
        return await waiter

    async def send_webhooks(self) -> list[int]:
        """Send the webhooks that are due by now, and return the statuses."""
        due = self.fake.take_webhooks(self.now)
        return [await deliver(self.receiver, each.url, each.body, each.headers) for each in due]


@asynccontextmanager
async def platform_rig(*steps: tuple[str, float] | str, **options: Any) -> AsyncIterator[PlatformRig]:
    """Return a context manager that yields a rig with an open pool."""
    async with PlatformRig(*steps, **options) as made:
        yield made
