"""A pool, its one Leap client, its fake server and a receiver for webhooks: in memory, with a clock moved by hand."""

from collections.abc import AsyncIterator, Callable, MutableMapping, Sequence
from contextlib import asynccontextmanager
from copy import copy
from typing import Any, Self, TypeVar
from urllib.parse import urlsplit

from aioagents import Leap, SessionPool, Steady, WebhookReceiver
from aioagents.contract.fake import RunPlan, Step
from aioagents.model import Reply, Request
from aioagents.observe import Event
from aioagents.polling import Cadence
from aioagents.providers.leap.fake import FakeLeap
from tests.fakes import FakeClock, FakeSend

E = TypeVar("E", bound=Event)

URL = "http://127.0.0.1"
PUBLIC = "https://hooks.example.com/leap"
KEY = "demo-key"
TEA = "wkf_tea"


def script(*steps: tuple[str, float] | str) -> Sequence[Step]:
    """Return a script of status words with the seconds they last; the last one lasts for ever."""
    return [Step(step) if isinstance(step, str) else Step(*step) for step in steps]


def fake_leap(*steps: tuple[str, float] | str, **options: Any) -> FakeLeap:
    """Make a fake server whose runs all go by one script."""
    return FakeLeap(RunPlan(scripts={TEA: script(*steps)}), **options)


async def deliver(receiver: WebhookReceiver, url: str, body: bytes) -> int:
    """POST `body` to a URL of the receiver's, as an ASGI server would, and return the status."""
    sent: list[MutableMapping[str, Any]] = []

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": body}

    async def send(message: MutableMapping[str, Any]) -> None:
        sent.append(message)

    await receiver({"type": "http", "method": "POST", "path": urlsplit(url).path}, receive, send)
    status: int = sent[0]["status"]
    return status


class LeapRig:
    """A pool, a client, the fake server, a receiver and a clock that is moved by hand."""

    def __init__(
        self,
        *steps: tuple[str, float] | str,
        cadence: Cadence | None = None,
        fake: FakeLeap | None = None,
        dialect: str = "workflows",
        clock: FakeClock | None = None,
        **pool: Any,
    ) -> None:
        self.clock = clock or FakeClock()
        self.fake = fake or fake_leap(*(steps or (("running", 25.0), "completed")))
        self.send = FakeSend(self.fake, clock=self.clock)
        self.events: list[Event] = []
        self.dialect = dialect
        self.receiver = WebhookReceiver(PUBLIC)
        options: dict[str, Any] = {
            "cadence": cadence or Steady(10),
            "chance": lambda: 0.5,
            "clock": self.clock,
            "send": self.send,
            "hooks": [self.events.append],
        }
        self.pool = SessionPool(**{**options, **pool})
        self._began_at = self.clock.now()
        self.leap: Leap

    @property
    def now(self) -> float:
        """Return the seconds since the rig was made."""
        return self.clock.now() - self._began_at

    @property
    def polls(self) -> int:
        """Count the polls that the vendor answered."""
        return self.fake.statistics()["polls"]

    async def __aenter__(self) -> Self:
        await self.pool.__aenter__()
        self.leap = Leap(self.pool, api_key=KEY, base_url=URL, dialect=self.dialect)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.pool.aclose()

    def events_of(self, kind: type[E]) -> list[E]:
        """Return the events of one kind."""
        return [event for event in self.events if isinstance(event, kind)]

    def answer(self, call: str, *answers: Reply | Exception) -> None:
        """Answer the next requests of one call with `answers`, and all others as before."""
        left = list(answers)
        before: Callable[[Request], Reply | None] | None = self.send.before

        def reply(request: Request) -> Reply | None:
            if request.call == call and left:
                first = left.pop(0)
                if isinstance(first, Exception):
                    raise copy(first)  # a case's own would keep the frames of its test alive
                return first
            return before(request) if before is not None else None

        self.send.before = reply

    async def send_webhooks(self) -> list[int]:
        """Send the webhooks that are due by now, and return the statuses of their answers."""
        due = self.fake.take_webhooks(self.now)
        return [await deliver(self.receiver, each.url, each.body) for each in due]


@asynccontextmanager
async def leap_rig(*steps: tuple[str, float] | str, **options: Any) -> AsyncIterator[LeapRig]:
    """Yield a rig whose pool is open."""
    async with LeapRig(*steps, **options) as made:
        yield made
