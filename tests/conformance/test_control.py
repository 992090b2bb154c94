"""Cancelling runs and answering what they ask: the same tests for every vendor."""

import asyncio
import pickle
from typing import Any

import pytest

from aioagents import AgentsError, NotSent, PoolClosed, ReplyLost, RunState, Unsupported
from aioagents.model import Purpose, Reply, Request
from aioagents.observe import AnswerSent, CancelSent
from tests.conformance.adapter import PRIVATE, Adapter
from tests.conformance.case import open_case
from tests.fakes import settle
from tests.polling.rig import begin, until_end


def _needs_cancel(vendor: Adapter) -> None:
    if not vendor.cancel_call:
        pytest.skip("this vendor cannot cancel runs")


# Cancelling


async def test_vendor_that_cannot_cancel_says_so_before_anything_is_sent(vendor: Adapter) -> None:
    """Without a call for it, `cancel` and a wait that would cancel raise `Unsupported` at once, and send nothing."""
    if vendor.cancel_call:
        pytest.skip("this vendor can")
    async with open_case(vendor, None) as c:
        run = await c.start()
        sent = len(c.send.sent)
        for call in (run.cancel(reason="no need"), run.wait(on_cancel="cancel")):
            with pytest.raises(Unsupported) as caught:
                await call
            error = caught.value
            assert (error.vendor, error.ref) == (vendor.name, run.ref)
            again = pickle.loads(pickle.dumps(error))  # noqa: S301 - our own
            assert (type(again), str(again)) == (Unsupported, str(error))
        assert len(c.send.sent) == sent
        assert not run.is_cancel_requested
        assert c.events_of(CancelSent) == []


async def test_cancelled_run_ends_the_waits(vendor: Adapter) -> None:
    """All who wait for the run learn of its end from the vendor's reply, or from one poll that is made at once."""
    _needs_cancel(vendor)
    async with open_case(vendor, None) as c:
        run = await c.start()
        one, other = await begin(until_end(run)), await begin(until_end(c.follow(run.id)))
        await c.clock.advance(15)
        assert not run.is_cancel_requested
        await run.cancel(reason="no need")
        await c.clock.advance(0)
        assert (await one) is (await other)
        assert (await one).state.is_terminal
        assert run.is_cancel_requested
        assert len(c.send.calls(vendor.cancel_call)) == 1
        (event,) = c.events_of(CancelSent)
        assert (event.ref, event.error) == (run.ref, None)


async def test_cancelling_again_is_no_error(vendor: Adapter) -> None:
    """A run may be cancelled twice, through any handle; what is known to have ended costs no request."""
    _needs_cancel(vendor)
    async with open_case(vendor, None) as c:
        run = await c.start()
        await run.cancel()
        end = await run.poll()
        sent = len(c.send.sent)
        await run.cancel()
        assert len(c.send.sent) == sent
        again = c.follow(run.id)
        await again.cancel()
        assert again.last is not None
        assert again.last.state is end.state
        assert not again.is_cancel_requested  # it was over when this one asked
        assert run.is_cancel_requested


async def test_end_of_a_run_that_was_over_before_wins(vendor: Adapter) -> None:
    """Cancelling a run that ended meanwhile is no error, and the run keeps its end."""
    _needs_cancel(vendor)
    async with open_case(vendor) as c:
        run = await c.start()
        await run.poll()
        await c.clock.advance(60)
        await run.cancel()
        assert run.last is not None
        assert run.last.state is RunState.COMPLETED
        assert not run.is_cancel_requested
        assert (await run).state is RunState.COMPLETED


async def test_cancel_is_tried_again(vendor: Adapter) -> None:
    """Asking to cancel is repeatable: a request that was lost, before or after the vendor acted, is sent again."""
    _needs_cancel(vendor)
    for is_handled in (False, True):
        async with open_case(vendor, None) as c:
            run = await c.start()
            c.answer(vendor.cancel_call, ReplyLost("reset"), Reply(503), is_handled=is_handled)
            asking = await begin(run.cancel())
            await c.clock.advance(60)
            await asking
            (first, *_) = c.send.calls(vendor.cancel_call)
            assert (first.purpose, first.is_repeatable) == (Purpose.CALL, True)
            assert run.is_cancel_requested
            waiter = await begin(until_end(run))
            await c.clock.advance(15)
            assert (await waiter).state.is_terminal


@pytest.mark.parametrize("status", [403, 422])
async def test_refused_cancel(vendor: Adapter, status: int) -> None:
    """A refusal is raised, the wait goes on, and nothing says that the run was cancelled."""
    _needs_cancel(vendor)
    async with open_case(vendor, None) as c:
        run = await c.start()
        waiter = await begin(until_end(run))
        c.answer(vendor.cancel_call, Reply(status, {}, b'{"error": "no"}'))
        with pytest.raises(AgentsError) as caught:
            await run.cancel()
        assert caught.value.status == status
        assert not run.is_cancel_requested
        await c.clock.advance(15)
        assert not waiter.done()
        (event,) = c.events_of(CancelSent)
        assert event.error is caught.value
        waiter.cancel()


async def test_cancel_that_was_not_sent(vendor: Adapter) -> None:
    """A vendor that cannot be reached raises `NotSent` in the end, and nothing says that the run was cancelled."""
    _needs_cancel(vendor)
    async with open_case(vendor, None) as c:
        run = await c.start()
        await run.poll()
        c.answer(vendor.cancel_call, *[NotSent("refused", call=vendor.cancel_call)] * 50)
        asking = await begin(run.cancel())
        await c.clock.advance(600)
        with pytest.raises(NotSent):
            await asking
        assert not run.is_cancel_requested


async def test_cancel_whose_caller_is_cancelled(vendor: Adapter) -> None:
    """Once under way, the request goes on when its caller is cancelled, and informs those who wait."""
    _needs_cancel(vendor)
    async with open_case(vendor, None) as c:
        run = await c.start()
        await run.poll()
        waiter = await begin(until_end(run))
        task: asyncio.Task[None]
        c.send.before = _cancels(lambda: task, vendor.cancel_call)
        task = asyncio.create_task(run.cancel())
        await settle()
        assert task.cancelled()
        assert (await waiter).state.is_terminal
        (event,) = c.events_of(CancelSent)
        assert event.error is None


async def test_cancelled_wait_leaves_the_run_by_default(vendor: Adapter) -> None:
    """A wait that is cancelled asks the vendor for nothing."""
    async with open_case(vendor, None) as c:
        run = await c.start()
        for waiting in (run.wait(), run.wait(on_cancel="leave"), until_end(run)):
            waiter = await begin(waiting)
            waiter.cancel()
            await settle()
            assert waiter.cancelled()
        assert c.events_of(CancelSent) == []
        with pytest.raises(ValueError, match="on_cancel"):
            await run.wait(on_cancel="stop")  # type: ignore[arg-type]  # which is tested


async def test_cancelled_wait_that_cancels_the_run(vendor: Adapter) -> None:
    """With `on_cancel="cancel"` the vendor is asked first, and then the cancellation is passed on."""
    _needs_cancel(vendor)
    async with open_case(vendor, None) as c:
        run = await c.start()
        other = await begin(until_end(run))
        waiter = await begin(run.wait(on_cancel="cancel", timeout=1e6))
        await c.clock.advance(15)
        waiter.cancel()
        await settle()
        assert waiter.cancelled()
        assert len(c.send.calls(vendor.cancel_call)) == 1
        assert (await other).state.is_terminal
        await c.clock.advance(60)
        assert c.clock.timers == 0


async def test_cancelled_wait_passes_on_whatever_the_vendor_says(vendor: Adapter) -> None:
    """A refused, unreachable or silent vendor holds a cancellation up for a bounded time, and hides it never."""
    _needs_cancel(vendor)
    faults: list[list[Reply | Exception]] = [
        [Reply(403)],
        [NotSent("refused")] * 50,
        [ReplyLost("reset")] * 50,
    ]
    for fault in faults:
        async with open_case(vendor, None) as c:
            run = await c.start()
            c.answer(vendor.cancel_call, *fault)
            waiter = await begin(run.wait(on_cancel="cancel"))
            waiter.cancel()
            await c.clock.advance(60)
            assert waiter.cancelled()


async def test_silent_vendor_bounds_a_cancel(vendor: Adapter) -> None:
    """A vendor that never answers ends `cancel` with `ReplyLost`: it may have acted or not."""
    _needs_cancel(vendor)
    async with open_case(vendor, None) as c:
        run = await c.start()
        await run.poll()
        c.hang(vendor.cancel_call)
        asking = await begin(run.cancel())
        await c.clock.advance(29)
        assert not asking.done()
        await c.clock.advance(2)
        with pytest.raises(ReplyLost) as caught:
            await asking
        assert caught.value.ref == run.ref
        assert run.is_cancel_requested
        assert c.clock.timers == 0


async def test_second_cancellation_is_passed_on_at_once(vendor: Adapter) -> None:
    """A wait that is cancelled twice waits for no reply, and the request goes on until the pool closes."""
    _needs_cancel(vendor)
    async with open_case(vendor, None) as c:
        run = await c.start()
        await run.poll()
        c.hang(vendor.cancel_call)
        waiter = await begin(run.wait(on_cancel="cancel"))
        waiter.cancel()
        await settle()
        assert not waiter.done()
        waiter.cancel()
        await settle()
        assert waiter.cancelled()
        assert c.events_of(CancelSent) == []
    (event,) = c.events_of(CancelSent)
    assert isinstance(event.error, PoolClosed)


async def test_closed_pool_refuses_to_cancel(vendor: Adapter) -> None:
    """After the pool is closed nothing is sent; one that closes meanwhile raises `PoolClosed`."""
    _needs_cancel(vendor)
    async with open_case(vendor, None) as c:
        run = await c.start()
        await run.poll()
        c.hang(vendor.cancel_call)
        asking = await begin(run.cancel())
    with pytest.raises(PoolClosed):
        await asking
    sent = len(c.send.sent)
    with pytest.raises(PoolClosed):
        await run.cancel()
    assert len(c.send.sent) == sent


async def test_reason_is_shown_nowhere(vendor: Adapter, caplog: pytest.LogCaptureFixture) -> None:
    """The reason of a cancel goes to the vendor alone, and to no event, log record or error."""
    _needs_cancel(vendor)
    with caplog.at_level("DEBUG"):
        async with open_case(vendor, None) as c:
            run = await c.start()
            body, detail, _ = vendor.refusals[0]
            c.answer(vendor.cancel_call, Reply(403, {}, body.replace(detail.encode(), PRIVATE.encode())))
            with pytest.raises(AgentsError) as caught:
                await run.cancel(reason=PRIVATE)
            await run.cancel(reason=PRIVATE)
    shown = [repr(caught.value), str(caught.value), repr(run), caplog.text, *map(repr, c.events)]
    assert not any(PRIVATE in each for each in shown)


def _cancels(task: Any, call: str) -> Any:
    def before(request: Request) -> Reply | None:
        if request.call == call:
            task().cancel()
        return None

    return before


# Answering


async def test_vendor_that_takes_no_answers_says_so_before_anything_is_sent(vendor: Adapter) -> None:
    """Where runs ask nothing, `answer` raises `Unsupported` at once, and `asks` is empty."""
    if vendor.ask is not None:
        pytest.skip("runs of this vendor ask")
    async with open_case(vendor, None) as c:
        run = await c.start()
        seen = await run.poll()
        sent = len(c.send.sent)
        with pytest.raises(Unsupported):
            await run.answer("resume")
        assert len(c.send.sent) == sent
        assert seen.asks == ()


async def test_answer_lets_a_run_go_on(vendor: Adapter) -> None:
    """A run that asks says what; the answer is sent once, and those who wait see that it does not ask any more."""
    if vendor.ask is None:
        pytest.skip("runs of this vendor ask nothing")
    async with open_case(vendor, None) as c:
        run = await c.start()
        assert (await run.poll()).asks == ()
        asks = vendor.ask(c.fake, run.id)
        assert (await run.poll()).asks == asks != ()
        waiter = await begin(until_end(run))
        await run.answer(asks[0])
        await c.clock.advance(0)
        assert run.last is not None
        assert run.last.asks == ()
        (event,) = c.events_of(AnswerSent)
        assert (event.ref, event.answer, event.error) == (run.ref, asks[0], None)
        waiter.cancel()


async def test_unknown_answer_is_refused_before_anything_is_sent(vendor: Adapter) -> None:
    """An answer that the vendor has no call for is a ValueError that names those it has."""
    if vendor.ask is None:
        pytest.skip("runs of this vendor ask nothing")
    async with open_case(vendor, None) as c:
        run = await c.start()
        await run.poll()
        sent = len(c.send.sent)
        with pytest.raises(ValueError, match="approve"):
            await run.answer("perhaps")
        assert len(c.send.sent) == sent
