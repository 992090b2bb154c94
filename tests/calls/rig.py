"""A caller with one account, a script in place of the vendor, and a clock that is moved by hand."""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from typing import Any, Self, TypeVar

from aioagents.auth import TokenCache, TokenSource
from aioagents.calls import Account, Caller, Start
from aioagents.errors import AgentsError, DecodeError, NotSent
from aioagents.model import Purpose, Reply, Request
from aioagents.observe import Dispatcher, Event
from aioagents.retry import RetryPolicy
from aioagents.tasks import Supervisor
from aioagents.transport import PoolLimits
from tests.fakes import FakeClock, settle

T = TypeVar("T")
E = TypeVar("E", bound=Event)

#: A step of a script: a reply, an error, or a function that returns or raises one.
Step = Reply | AgentsError | Callable[["Attempt"], Awaitable[Reply]]

SECRET = "hunter2"
BODY = b'{"message_to_start": "hunter2"}'
POLL = Request(method="GET", url="https://x.example/status", call="aop.status", purpose=Purpose.POLL)
CALL = Request(method="GET", url="https://x.example/call", call="report.page")
START = Request(
    method="POST", url="https://x.example/start", call="aop.execute", purpose=Purpose.START, body=BODY
)
TOKEN = Request(method="POST", url="https://x.example/token", call="token", purpose=Purpose.TOKEN, body=BODY)


class Attempt:
    """One attempt: the request, its signature, and the function that reports its first byte."""

    def __init__(self, request: Request, headers: Mapping[str, str], note_sent: Callable[[], None]) -> None:
        self.request = request
        self.signature = headers.get("Authorization", "")
        self.note_sent = note_sent


class ScriptSend:
    """A `Send` that follows a script; its last step is repeated."""

    def __init__(self, *steps: Step) -> None:
        self.steps = list(steps)
        self.attempts: list[Attempt] = []
        self.on_sending: Callable[[], None] = lambda: None

    async def send(
        self, request: Request, *, headers: Mapping[str, str], on_sent: Callable[[], None] | None = None
    ) -> Reply:
        """Follow the next step; a `NotSent` comes before the first byte, everything else after it."""
        attempt = Attempt(request, headers, on_sent or (lambda: None))
        self.attempts.append(attempt)
        self.on_sending()
        step = self.steps.pop(0) if len(self.steps) > 1 else self.steps[0]
        if callable(step):
            return await step(attempt)
        if not isinstance(step, NotSent):
            attempt.note_sent()
        await asyncio.sleep(0)
        if isinstance(step, Reply):
            return step
        raise type(step)(*step.args, **{"call": request.call, **vars(step)})

    @property
    def times(self) -> int:
        """Count the attempts."""
        return len(self.attempts)


class Held:
    """A step that blocks: before the first byte (`is_connecting`), or with the request in flight."""

    def __init__(self, *, is_connecting: bool = False) -> None:
        self.is_connecting = is_connecting
        self.reply: asyncio.Future[Reply] = asyncio.get_running_loop().create_future()

    async def __call__(self, attempt: Attempt) -> Reply:
        """Block until there is a reply."""
        if self.is_connecting:
            reply = await self.reply
            attempt.note_sent()
            return reply
        attempt.note_sent()
        return await self.reply


class Rig:
    """A caller and what tests need around it. Its tokens are called token-1, token-2 and so on."""

    def __init__(
        self,
        *steps: Step,
        retry: RetryPolicy | None = None,
        limits: PoolLimits | None = None,
        fetch: Callable[[], Awaitable[tuple[str, float]]] | None = None,
        is_signed: bool = True,
    ) -> None:
        self.clock = FakeClock()
        self.send = ScriptSend(*steps)
        self.events: list[Event] = []
        self.supervisor = Supervisor()
        self.retry = retry or RetryPolicy()
        self.emit = Dispatcher([self.events.append])
        self.caller = Caller(
            self.send,
            supervisor=self.supervisor,
            clock=self.clock,
            retry=self.retry,
            emit=self.emit,
            chance=lambda: 0.5,
        )
        self.cache = TokenCache(clock=self.clock)
        self.source = TokenSource(
            key="k",
            name="k",
            vendor="leena",
            fetch=fetch or self.fetch,
            spawn=self.supervisor.spawn,
            emit=self.emit,
        )
        self.fetches = 0
        self.account = Account(
            "k",
            "leena",
            limits=limits or PoolLimits(),
            retry=self.retry,
            clock=self.clock,
            tokens=(self.cache, self.source) if is_signed else None,
        )

    async def fetch(self) -> tuple[str, float]:
        """Return the next token, which is valid for an hour."""
        self.fetches += 1
        await asyncio.sleep(0)
        return f"token-{self.fetches}", 3600.0

    async def __aenter__(self) -> Self:
        await self.supervisor.open()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.supervisor.aclose()

    def emitted(self, kind: type[E]) -> list[E]:
        """Return the events of one kind."""
        return [event for event in self.events if isinstance(event, kind)]

    def start(self, request: Request = START) -> Coroutine[Any, Any, str]:
        """Start something; the result is the body of the reply, which must not be empty."""
        return self.caller.start(
            self.account,
            Start(
                vendor="leena", request=request, read=read_text, target="triage", advice="Check the report."
            ),
        )

    async def poll(self, request: Request = POLL) -> str:
        """Poll once; the result is the body of the reply, which must not be empty."""
        return read_text(await self.caller.poll(self.account, request))

    async def ends(self, work: Coroutine[Any, Any, T]) -> "T | Exception":
        """Run `work` to its end, however long that takes; return its result or what it raised."""
        task = asyncio.ensure_future(work)
        await self.clock.advance(5000.0)
        assert task.done()
        try:
            return await task
        except Exception as exc:  # noqa: BLE001 - the outcome is what the test asserts
            return exc

    async def begin(self, work: Coroutine[Any, Any, T]) -> "asyncio.Task[T]":
        """Run `work` as far as it gets without time passing."""
        task = asyncio.ensure_future(work)
        await settle()
        return task

    def assert_idle(self) -> None:
        """Assert that nothing is left: no permit in use, nobody in a queue, no timer."""
        numbers = self.account.limiter.statistics()
        assert (numbers.under_way, numbers.waiting, numbers.waiting_polls) == (0, 0, 0)
        assert self.clock.timers == 0


def read_text(reply: Reply) -> str:
    """Return a body, which must not be empty."""
    if not reply.body:
        raise DecodeError("leena: the answer has the wrong shape at $", vendor="leena", call="c", path="$")
    return reply.body.decode()


OK = Reply(200, {}, b"ok")
REFUSED = Reply(401, {}, b"{}")
THROTTLED = Reply(429, {}, b"{}")
