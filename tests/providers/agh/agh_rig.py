"""A pool, its Agh client and the daemon's fake server, in memory and on a clock moved by hand."""

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any, TypeVar

from aioagents import SessionPool, Steady, Timeouts
from aioagents.contract.fake import RunPlan, Step
from aioagents.model import Reply, Request
from aioagents.observe import Event
from aioagents.providers.agh import Agh
from aioagents.providers.agh.fake import AghRules, FakeAgh
from tests.fakes import FakeClock, FakeSend, settle

T = TypeVar("T")
E = TypeVar("E", bound=Event)

URL = "http://127.0.0.1:2123"
LIMIT = {"max": 1_000_000, "window": "1h"}
GLOBAL = {"scope": "global", "agent_name": "writer", "prompt": "Do it.", "fire_limit": LIMIT}
YEARLY = {"mode": "cron", "expr": "0 0 1 1 *"}
SECRET = "k3y-for-docs-only"


def script(*steps: tuple[str, float] | str) -> Sequence[Step]:
    """Return a script of status words with the seconds they last; the last one lasts for ever."""
    return [Step(step) if isinstance(step, str) else Step(*step) for step in steps]


class AghRig:
    """A pool, a client, the fake server and a clock that is moved by hand."""

    def __init__(
        self, *, rules: AghRules, scripts: Mapping[str, Sequence[Step]], pool: Mapping[str, Any]
    ) -> None:
        self.clock = FakeClock()
        self.fake = FakeAgh(RunPlan(scripts=scripts), rules=rules)
        self.send = FakeSend(self.fake, clock=self.clock)
        self.events: list[Event] = []
        options: dict[str, Any] = {
            "cadence": Steady(10.0),
            "chance": lambda: 0.5,
            "clock": self.clock,
            "send": self.send,
            "hooks": [self.events.append],
            "timeouts": Timeouts(close=0.1),  # real seconds for replies that are still out at the end
        }
        self.pool = SessionPool(**{**options, **pool})
        self.agh = Agh(self.pool, base_url=URL)
        self.tasks: list[asyncio.Task[Any]] = []

    def job(self, name: str, **members: Any) -> str:
        """Create a job, and return its id."""
        return self.fake.install_job({**GLOBAL, "schedule": YEARLY, "name": name, **members})

    def trigger(self, name: str, **members: Any) -> str:
        """Create a webhook trigger with the endpoint `name`, and return its id."""
        webhook = {"event": "webhook", "endpoint_slug": name, "webhook_secret_value": SECRET}
        return self.fake.install_trigger({**GLOBAL, "name": name, **webhook, **members})

    async def endpoint(self, trigger_id: str) -> str:
        """Return the endpoint of a trigger."""
        return (await self.agh.triggers.get(trigger_id)).endpoint

    async def begin(self, work: Coroutine[Any, Any, T]) -> "asyncio.Task[T]":
        """Run `work` in a task, as far as it gets without time passing."""
        task = asyncio.create_task(work)
        self.tasks.append(task)
        await settle()
        return task

    async def done(self, work: Coroutine[Any, Any, T], *, within: float = 60.0) -> T:
        """Return the result of `work`, advancing the clock until it is there."""
        task = await self.begin(work)
        began_at = self.clock.now()
        while not task.done() and self.clock.now() < began_at + within:
            # Small steps, so that little time passes beyond the end; a wait that is long takes larger ones.
            passed = self.clock.now() - began_at
            await self.clock.advance(max(0.25, min(passed / 20.0, began_at + within - self.clock.now())))
        assert task.done(), f"not done within {within} s"
        return task.result()

    def events_of(self, kind: type[E]) -> list[E]:
        """Return the events of one kind."""
        return [event for event in self.events if isinstance(event, kind)]

    def calls(self, name: str) -> list[Request]:
        """Return the requests of one call."""
        return self.send.calls(name)

    def answer(self, name: str, *answers: Reply | Exception | None) -> None:
        """Answer the next requests of one call with `answers`, or raise them; None leaves one to the daemon."""
        left = list(answers)

        def before(request: Request) -> Reply | None:
            if request.call != name or not left:
                return None
            answer = left.pop(0)
            if isinstance(answer, Exception):
                raise answer
            return answer

        self.send.before = before

    def lose(self, name: str, error: Callable[[], Exception]) -> None:
        """Lose the answers to one call, after the daemon has acted on it."""

        def after(request: Request, reply: Reply) -> Reply:
            if request.call == name:
                raise error()
            return reply

        self.send.after = after


@asynccontextmanager
async def agh_rig(
    *,
    rules: AghRules | None = None,
    scripts: Mapping[str, Sequence[Step]] | None = None,
    **pool: Any,
) -> AsyncIterator[AghRig]:
    """Yield a rig whose pool is open, and cancel the tasks that are left."""
    rig = AghRig(rules=rules or AghRules(concurrency=1000), scripts=scripts or {}, pool=pool)
    async with rig.pool:
        yield rig
        for task in rig.tasks:
            task.cancel()
        await asyncio.gather(*rig.tasks, return_exceptions=True)
