"""What handles ask a vendor for, over a vendor in memory: whose the outcome is, and who learns of it."""

import asyncio
from collections.abc import Callable, Sequence
from contextvars import ContextVar
from typing import Any

import pytest

from aioagents import (
    AgentsError,
    Conflict,
    Run,
    RunHandle,
    RunRef,
    RunState,
    ServerError,
    SessionPool,
    Steady,
)
from aioagents.observe import CancelSent, Event
from tests.fakes import EPOCH, FakeClock, settle
from tests.polling.rig import begin, until_end

_REF = RunRef("v", "", "1")
_TRACE: ContextVar[str] = ContextVar("trace", default="")


class _Vendor:
    """Cancels and answers as a test says."""

    answers: Sequence[str] = ("yes",)

    def __init__(self) -> None:
        self.state = RunState.RUNNING
        self.fault: Exception | None = None
        self.reply: Run | None = None
        self.release: asyncio.Event | None = None
        self.asked: list[str] = []
        self.traces: list[str] = []

    def run(self, state: RunState | None = None) -> Run:
        state = state or self.state
        return Run(ref=_REF, state=state, status=state.value, seen_at=EPOCH)

    async def poll(self, ref: RunRef, *, age: float | None, last: Run | None) -> Run:
        self.asked.append("poll")
        return self.run()

    read = poll

    def may_retry(self) -> bool:
        return True

    async def cancel(
        self,
        ref: RunRef,
        *,
        reason: str | None,
        age: float | None,
        last: Run | None,
        on_sent: Callable[[], None],
    ) -> Run | None:
        on_sent()
        self.asked.append("cancel")
        self.traces.append(_TRACE.get())
        return await self._replied()

    async def answer(self, ref: RunRef, answer: str, *, age: float | None, last: Run | None) -> Run | None:
        self.asked.append(answer)
        return await self._replied()

    async def _replied(self) -> Run | None:
        if self.release is not None:
            await self.release.wait()
        if self.fault is not None:
            raise self.fault
        return self.reply


class _Rig:
    def __init__(self) -> None:
        self.clock, self.vendor = FakeClock(), _Vendor()
        self.events: list[tuple[Event, str]] = []
        self.pool = SessionPool(clock=self.clock, cadence=Steady(10), hooks=[self._hook])
        self.source = self.pool.source("v", self.vendor, "v")

    def _hook(self, event: Event) -> None:
        self.events.append((event, _TRACE.get()))

    def handle(self) -> RunHandle:
        """Return a new handle of the one run."""
        return RunHandle(self.source, _REF)

    def sent(self) -> list[tuple[CancelSent, str]]:
        """Return the events of cancelling, each with the trace in which it was emitted."""
        return [(event, trace) for event, trace in self.events if isinstance(event, CancelSent)]


async def test_request_and_event_have_the_callers_context() -> None:
    """A vendor's code and the hooks see the context variables of who asked."""
    r = _Rig()
    async with r.pool:
        r.vendor.reply = r.vendor.run(RunState.ABORTED)
        _TRACE.set("t-1")
        await r.handle().cancel()
        assert r.vendor.traces == ["t-1"]
        ((event, trace),) = r.sent()
        assert (event.run, trace) == (r.vendor.reply, "t-1")


async def test_state_in_the_reply_is_reported_without_a_poll() -> None:
    """A reply that the run is being cancelled is a change that listeners see; its end is polled for later."""
    r = _Rig()
    async with r.pool:
        run = r.handle()
        waiter = await begin(run.wait(until={RunState.PAUSED}))
        r.vendor.reply = r.vendor.run(RunState.PAUSED)
        await r.handle().cancel()
        await settle()
        assert (await waiter) is r.vendor.reply
        assert r.vendor.asked == ["cancel"]


async def test_request_of_one_handle_is_known_to_the_others() -> None:
    """Handles of one run share that it was cancelled, whichever began to wait first."""
    r = _Rig()
    async with r.pool:
        first, second = r.handle(), r.handle()
        await first.cancel()
        assert (first.is_cancel_requested, second.is_cancel_requested) == (True, False)
        waiters = [await begin(until_end(second)), await begin(until_end(first))]
        assert (first.is_cancel_requested, second.is_cancel_requested) == (True, True)
        r.vendor.state = RunState.COMPLETED
        await r.clock.advance(20)
        assert all(waiter.done() for waiter in waiters)
        assert (first.is_cancel_requested, second.is_cancel_requested) == (True, True)


async def test_run_that_cannot_be_cancelled_and_goes_on() -> None:
    """A conflict is looked into with one read; if the run goes on, it is raised, and an earlier request stands."""
    r = _Rig()
    async with r.pool:
        run = r.handle()
        r.vendor.fault = Conflict("not now")
        with pytest.raises(Conflict):
            await run.cancel()
        assert (r.vendor.asked, run.is_cancel_requested) == (["cancel", "poll"], False)
        r.vendor.fault = None
        await run.cancel()
        r.vendor.fault = Conflict("already")
        with pytest.raises(Conflict):
            await run.cancel()
        assert run.is_cancel_requested


async def test_failed_request_may_have_been_acted_upon() -> None:
    """After a server's own failure it is not known whether the run was cancelled: it counts as asked for."""
    r = _Rig()
    async with r.pool:
        run = r.handle()
        r.vendor.fault = ServerError("broke", status=500)
        with pytest.raises(ServerError):
            await run.cancel()
        assert run.is_cancel_requested


async def test_fault_in_a_vendors_code() -> None:
    """It is raised as it is; where nobody waits for it any more, the loop's handler gets it."""
    r = _Rig()
    handled: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: handled.append(context))
    async with r.pool:
        r.vendor.fault = KeyError("oops")
        with pytest.raises(KeyError):
            await r.handle().cancel()
        r.vendor.release = asyncio.Event()
        asking = await begin(r.handle().cancel())
        asking.cancel()
        await settle()
        assert handled == []
        r.vendor.release.set()
        await settle()
    (context,) = handled
    assert context["exception"] is r.vendor.fault
    for event, _ in r.sent():
        assert type(event.error) is AgentsError
        assert event.error.__cause__ is r.vendor.fault


async def test_answer_whose_reply_has_the_state() -> None:
    """What the reply to an answer says reaches those who wait, without a poll."""
    r = _Rig()
    async with r.pool:
        run = r.handle()
        waiter = await begin(until_end(run))
        r.vendor.reply = r.vendor.run(RunState.COMPLETED)
        await run.answer("yes")
        assert (await waiter) is r.vendor.reply
        assert r.vendor.asked == ["yes"]
        with pytest.raises(ValueError, match="yes"):
            await run.answer("no")
