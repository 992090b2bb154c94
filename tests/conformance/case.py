"""A vendor's client in a pool, and its fake server, as the common tests use them."""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any

from aioagents import RunHandle, RunState, SessionPool, Steady
from aioagents.contract.fake import FakeServer, RunPlan, Step
from aioagents.model import Reply, Request
from aioagents.observe import Event
from aioagents.providers import all_providers
from tests.conformance.adapter import Adapter
from tests.fakes import FakeClock, FakeSend


class _SilentSend(FakeSend):
    """A send that never gets a reply to some calls."""

    def __init__(self, fake: FakeServer, clock: FakeClock) -> None:
        super().__init__(fake, clock=clock)
        self.silent: set[str] = set()

    async def send(
        self, request: Request, *, headers: Mapping[str, str], on_sent: Callable[[], None] | None = None
    ) -> Reply:
        if request.call in self.silent:
            self.sent.append(request)
            await asyncio.Event().wait()
        return await super().send(request, headers=headers, on_sent=on_sent)


class Case:
    """A vendor's client in a pool, and its fake server."""

    def __init__(self, vendor: Adapter, end: RunState | None) -> None:
        steps = [Step(vendor.words[RunState.RUNNING], 25.0 if end else 1e9)]
        steps += [Step(vendor.words[end])] if end else []
        self.vendor = vendor
        self.clock = FakeClock()
        self.fake: FakeServer = vendor.fake(RunPlan(scripts={"target": steps}, outcomes={"completed": 1.0}))
        self.send = _SilentSend(self.fake, self.clock)
        self.events: list[Event] = []
        self.pool = SessionPool(
            clock=self.clock,
            send=self.send,
            cadence=Steady(10),
            chance=lambda: 0.5,
            hooks=[self.events.append],
        )
        self.client = vendor.client(all_providers()[vendor.name].client, self.pool, self.fake)

    async def start(self) -> RunHandle:
        """Start a run of the target."""
        return await self.vendor.start(self.client, "target")

    def follow(self, run_id: str) -> RunHandle:
        """Return the handle of a run by its id."""
        return self.vendor.follow(self.client, run_id)

    def events_of(self, kind: type[Event]) -> list[Any]:
        """Return the events of one kind."""
        return [event for event in self.events if isinstance(event, kind)]

    def starts(self) -> int:
        """Return how many runs the vendor started."""
        return self.fake.statistics()["starts"]

    def hang(self, call: str) -> None:
        """Let the requests of a call get no reply."""
        self.send.silent.add(call)

    def answer(self, call: str, *answers: Reply | Exception, is_handled: bool = False) -> None:
        """Answer the first requests of a call with `answers`; with `is_handled` after the fake server acted."""
        left = list(answers)

        def take(request: Request) -> Reply | None:
            if request.call != call or not left:
                return None
            first = left.pop(0)
            if isinstance(first, Exception):
                raise first
            return first

        if is_handled:
            self.send.after = lambda request, reply: take(request) or reply
        else:
            self.send.before = take


@asynccontextmanager
async def open_case(vendor: Adapter, end: RunState | None = RunState.COMPLETED) -> AsyncIterator[Case]:
    """Yield a vendor's client in an open pool; its runs reach `end` after 25 seconds, or never."""
    case = Case(vendor, end)
    async with case.pool:
        yield case
