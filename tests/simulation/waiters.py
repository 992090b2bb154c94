"""Who waits for a run beside the batches, in one way or another, and the webhooks that wake them."""

from collections.abc import Callable
from random import Random
from typing import TYPE_CHECKING, Any, Final

from aioagents import RunHandle, RunRef, RunState
from aioagents.errors import AgentsError, DecodeError, PoolClosed, WaitTimeout
from aioagents.model import Run
from aioagents.webhooks import WebhookReceiver

from .vendor import NAME, SimRun

if TYPE_CHECKING:
    import asyncio

    from .life import Life

_POLL_FAULTS: Final = frozenset(
    {
        *("poll.not_sent", "poll.lost", "poll.error", "poll.throttled", "poll.unauthorized", "poll.garbled"),
        *("poll.gone", "token.lost", "token.error", "token.garbled", "token.revoked", "token.short"),
        "start.unauthorized",
    }
)


class Waiter:
    """Somebody who waits for a run beside the batches, in one way or another."""

    def __init__(self, life: "Life", run: SimRun, chance: Random) -> None:
        self._life = life
        self._run = run
        self._chance = chance
        self._timeout: float | None = None
        self._until: set[RunState] | None = None
        self._calls = 0
        self._is_waiting = False

    def begin(self) -> None:
        """Begin to wait."""
        life, chance = self._life, self._chance
        if life.is_dead or life.was_closed:
            return
        handle = life.client.attach(RunRef(NAME, "", self._run.id))
        kinds: tuple[Callable[[RunHandle], Any], ...] = (
            self._await,
            self._wait,
            self._watch,
            self._result,
            self._poll,
        )
        if chance.random() < 0.2:
            self._listen(handle)
            return
        task = life.spawn(self._live(chance.choice(kinds), handle), f"waiter of {self._run.id}")
        if chance.random() < 0.4:
            life.loop.call_outside(chance.uniform(0.0, 20.0), task.cancel)
        if chance.random() < 0.3:
            life.loop.call_outside(chance.uniform(0.0, 20.0), lambda: self._wake(handle, task))

    def _wake(self, handle: RunHandle, task: "asyncio.Task[Any]") -> None:
        if not self._life.is_dead:
            self._life.polls.woken(handle.id, lambda: self._is_waiting and not task.done())
            handle.wake()

    async def _live(self, kind: Callable[[RunHandle], Any], handle: RunHandle) -> None:
        self._is_waiting = kind != self._poll
        try:
            await kind(handle)
        except PoolClosed:
            if not self._life.was_closed:
                self._fail("PoolClosed, and nobody closed it")
        except WaitTimeout:
            if self._timeout is None:
                self._fail("WaitTimeout without a timeout")
        except AgentsError as error:
            is_final = isinstance(error, DecodeError) or error.status in {401, 403, 404}
            if self._life.faults.count.keys().isdisjoint(_POLL_FAULTS) or not (
                is_final or kind == self._poll
            ):
                self._fail(repr(error))

    def _fail(self, words: str) -> None:
        self._life.checks.fail("wait", f"of {self._run.id}, which ends as {self._run.end}: {words}")

    def _see(self, run: Run) -> None:
        now = self._life.loop.time()
        if run.state.is_terminal and (run.state is not self._run.end or now < self._run.ends_at):
            self._fail(f"seen as {run.state} at {now}, it ends at {self._run.ends_at}")

    def _end(self, run: Run) -> None:
        self._see(run)
        if not (run.state.is_terminal or run.state in (self._until or ())):
            self._fail(f"ended with {run.state}")

    async def _await(self, handle: RunHandle) -> None:
        self._end(await handle)

    async def _wait(self, handle: RunHandle) -> None:
        chance = self._chance
        self._timeout = chance.choice((None, 0.0, 0.5, 5.0, 60.0))
        self._until = chance.choice((None, {RunState.RUNNING}, {RunState.PAUSED, RunState.UNKNOWN}))
        self._end(await handle.wait(timeout=self._timeout, until=self._until))

    async def _watch(self, handle: RunHandle) -> None:
        last = None
        async for run in handle.updates():
            self._see(run)
            if last is not None and last.state.is_terminal:
                self._fail("an update after the end")
            if run.is_same_as(last):
                self._fail("an update that tells nothing new")
            last = run
        if last is None or not last.state.is_terminal:
            self._fail("updates ended before the run")

    async def _result(self, handle: RunHandle) -> None:
        try:
            await handle.result()
        except AgentsError as error:
            if type(error).__name__ not in {"RunFailed", "RunAborted"}:
                raise
            if self._run.end is RunState.COMPLETED:
                self._fail(repr(error))
        else:
            if self._run.end is not RunState.COMPLETED:
                self._fail("a result")

    async def _poll(self, handle: RunHandle) -> None:
        self._see(await handle.poll())

    def _listen(self, handle: RunHandle) -> None:
        over: asyncio.Future[None] = self._life.loop.create_future()

        def call(end: Run | AgentsError) -> None:
            self._calls += 1
            if self._calls > 1:
                self._fail("called twice")
            if isinstance(end, Run):
                self._end(end)
            over.set_result(None)

        leave = handle.add_done_callback(call)

        async def stay() -> None:
            try:
                await over
            finally:
                leave()

        task = self._life.spawn(stay(), f"waiter of {self._run.id} with a callback")
        if self._chance.random() < 0.3:
            self._life.loop.call_outside(self._chance.uniform(0.0, 20.0), task.cancel)


async def deliver(receiver: WebhookReceiver, run: SimRun) -> None:
    """Deliver a webhook, through the receiver's ASGI face."""
    assert run.webhook is not None
    path = run.webhook.removeprefix("https://hooks.test")
    body = f'{{"id": "{run.id}"}}'.encode()
    scope = {
        "type": "http",
        "method": "POST",
        "path": path,
        "raw_path": path.encode(),
        "headers": [],
        "root_path": "",
    }

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": body, "more_body": False}

    async def answer(message: Any) -> None:
        pass

    await receiver(scope, receive, answer)
