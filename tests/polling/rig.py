"""A pool, its one Leena client and the fake vendor behind it, all in memory and on a clock moved by hand."""

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any, Self, TypeVar

from aioagents import Leena, LeenaCredentials, LeenaEndpoints, RunHandle, SessionPool, Steady
from aioagents.contract.fake import RunPlan, Step
from aioagents.model import Reply, Request, Run, RunRef
from aioagents.observe import Event
from aioagents.polling import Cadence
from aioagents.providers.leena.fake import FakeLeena
from tests.fakes import FakeClock, FakeSend, settle

T = TypeVar("T")
E = TypeVar("E", bound=Event)

URL = "http://127.0.0.1"
CREDENTIALS = LeenaCredentials(
    client_id="demo-client", client_secret="demo-secret", username="demo-user", password="demo-password"
)
ENDPOINTS = LeenaEndpoints(token=URL, aop=URL, report=URL)
TRIAGE = "triage"


def script(*steps: tuple[str, float] | str) -> Sequence[Step]:
    """Return a script of words with the seconds they last; the last one lasts for ever."""
    return [Step(step) if isinstance(step, str) else Step(*step) for step in steps]


class _HeldSend(FakeSend):
    """A send whose replies to polls can be held back."""

    release: asyncio.Event | None = None

    async def send(
        self, request: Request, *, headers: Mapping[str, str], on_sent: Callable[[], None] | None = None
    ) -> Reply:
        reply = await super().send(request, headers=headers, on_sent=on_sent)
        if self.release is not None and request.call == "aop.status":
            await self.release.wait()
        return reply


class Rig:
    """A pool, a client, the vendor's fake, the clock, and what was sent and emitted."""

    def __init__(
        self,
        *steps: tuple[str, float] | str,
        cadence: Cadence | None = None,
        fake: FakeLeena | None = None,
        scripts: Mapping[str, Sequence[Step]] | None = None,
        hooks: Sequence[Callable[[Event], object]] = (),
        **pool: Any,
    ) -> None:
        chosen = scripts or {TRIAGE: script(*(steps or (("in_progress", 25.0), "completed")))}
        self.clock = FakeClock()
        self.fake = fake or FakeLeena(RunPlan(scripts=chosen))
        self.send = _HeldSend(self.fake, clock=self.clock)
        self.send.before = self._arrive
        self.events: list[Event] = []
        #: When each status request arrived, in seconds since the rig was made.
        self.polls: list[float] = []
        self.faults: list[Reply | Exception] = []
        options: dict[str, Any] = {
            "cadence": cadence or Steady(10),
            "chance": lambda: 0.5,
            "clock": self.clock,
            "send": self.send,
            "hooks": [self.events.append, *hooks],
        }
        self.pool = SessionPool(**{**options, **pool})
        self._began_at = self.clock.now()
        self.leena: Leena

    def _arrive(self, request: Request) -> Reply | None:
        if request.call != "aop.status":
            return None
        self.polls.append(self.now)
        if not self.faults:
            return None
        fault = self.faults.pop(0)
        if isinstance(fault, Exception):
            raise fault
        return fault

    def hold_polls(self, until: asyncio.Event) -> None:
        """Hold replies to polls back until an event is set."""
        self.send.release = until

    @property
    def now(self) -> float:
        """Return the seconds since the rig was made."""
        return self.clock.now() - self._began_at

    async def __aenter__(self) -> Self:
        await self.pool.__aenter__()
        self.leena = Leena(self.pool, credentials=CREDENTIALS, endpoints=ENDPOINTS)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.pool.aclose()

    async def start(self, target: str = TRIAGE) -> RunHandle:
        """Start a run; no time passes."""
        return await self.leena.execute(target)

    def events_of(self, kind: type[E]) -> list[E]:
        """Return the events of one kind."""
        return [event for event in self.events if isinstance(event, kind)]


@asynccontextmanager
async def rig(*steps: tuple[str, float] | str, **options: Any) -> AsyncIterator[Rig]:
    """Yield a rig whose pool is open."""
    async with Rig(*steps, **options) as made:
        yield made


async def begin(work: Coroutine[Any, Any, T], name: str = "waiter") -> "asyncio.Task[T]":
    """Run `work` in a task, as far as it gets while no time passes."""
    task = asyncio.create_task(work, name=name)
    await settle()
    return task


async def until_end(handle: RunHandle) -> Run:
    """Await a handle; a coroutine, as tasks need one."""
    return await handle


def reply(status: int, body: bytes | None = None, **headers: str) -> Reply:
    """Return a reply with JSON's content type; by default an empty object, or a refusal in the vendors' form."""
    if body is None:
        body = b'{"message": "no"}' if status >= 400 else b"{}"
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return Reply(status, {"content-type": "application/json", **named}, body)


def ref(run_id: str) -> RunRef:
    """Return the reference of a run of the rig's."""
    return RunRef("leena", "127.0.0.1", run_id)
