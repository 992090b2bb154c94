"""What holds for every vendor: the same tests for each."""

import asyncio
import logging
import pickle
import traceback
from collections.abc import Sequence
from typing import Any

import pytest

from aioagents import (
    AgentsError,
    DecodeError,
    NotSent,
    PoolClosed,
    ReplyLost,
    RunAborted,
    RunFailed,
    RunHandle,
    RunRef,
    RunState,
    SessionPool,
    StartUnknown,
    Steady,
    WaitTimeout,
)
from aioagents.contract.fake import RunPlan, Step
from aioagents.model import Purpose, Reply, Request
from aioagents.observe import PollFailed, RunStarted, StartAbandoned
from aioagents.providers import all_providers
from tests.conformance.adapter import PRIVATE, Adapter
from tests.conformance.adapters import ADAPTERS
from tests.conformance.case import open_case
from tests.fakes import FakeClock, FakeSend, settle
from tests.polling.rig import begin, until_end

_ENDS = [RunState.COMPLETED, RunState.FAILED, RunState.ABORTED]


def test_every_vendor_is_put_to_these_tests() -> None:
    """Each vendor has an adapter."""
    assert set(ADAPTERS) == set(all_providers())


# From start to end


@pytest.mark.parametrize("end", _ENDS)
async def test_run_from_start_to_end(vendor: Adapter, end: RunState) -> None:
    """A start returns a handle; awaiting it returns the run in its final state, with the vendor's own word."""
    if end not in vendor.words:
        pytest.skip("this vendor's runs know no such end")
    async with open_case(vendor, end) as c:
        run = await c.start()
        assert run.accepted is not None
        assert not run.accepted.state.is_terminal
        assert run.ref.vendor == vendor.name == c.client.vendor
        waiter = await begin(until_end(run))
        await c.clock.advance(20)
        assert not waiter.done()
        assert run.last is not None
        assert run.last.state is RunState.RUNNING
        await c.clock.advance(20)
        done = await waiter
        assert (done.state, done.status, done.ref) == (end, vendor.words[end], run.ref)
        assert done.raw is not None
        assert done.seen_at.tzinfo is not None
        assert len(c.send.calls(vendor.poll_call)) == 3
        assert c.starts() == c.pool.statistics().starts == 1
        (started,) = c.events_of(RunStarted)
        assert started.run is run.accepted


async def test_result(vendor: Adapter) -> None:
    """`result()` returns the output of a completed run and raises for the other ends."""
    for end, kind in (
        (RunState.COMPLETED, None),
        (RunState.FAILED, RunFailed),
        (RunState.ABORTED, RunAborted),
    ):
        if end not in vendor.words:
            continue
        async with open_case(vendor, end) as c:
            run = await c.start()
            waiter = await begin(run.result())
            await c.clock.advance(40)
            if kind is None:
                assert await waiter == (await run).output
                continue
            with pytest.raises(kind) as caught:
                await waiter
            assert caught.value.run is await run


async def test_ref_as_text_leads_to_the_run(vendor: Adapter) -> None:
    """Another process needs only the text of a reference to follow the same run."""
    async with open_case(vendor) as c:
        run = await c.start()
        text = str(run.ref)
        assert RunRef.parse(text) == run.ref
        again = c.client.attach(text)
        assert again.ref == c.client.attach(run.ref).ref == c.follow(run.id).ref == run.ref
        waiters = [await begin(until_end(each)) for each in (run, again, c.follow(run.id))]
        assert c.pool.statistics().polling.runs == 1
        await c.clock.advance(40)
        assert len({id(await waiter) for waiter in waiters}) == 1
        assert len(c.send.calls(vendor.poll_call)) == 3


async def test_refs_of_others_are_refused(vendor: Adapter) -> None:
    """A reference of another vendor, of another scope, or an invalid one, is refused before anything is sent."""
    async with open_case(vendor) as c:
        for ref in ("nobody:/abc", f"{vendor.name}:no-such-scope/abc", "abc", f"{vendor.name}:/", ""):
            with pytest.raises(ValueError, match=r"not a|reference|id|names no"):
                c.client.attach(ref)
        for bad in ("", " ", ".", ".."):
            with pytest.raises(ValueError, match=r"."):
                c.follow(bad)
        assert c.send.sent == []


async def test_requests_say_what_they_are(vendor: Adapter) -> None:
    """The request of a start may not be repeated, that of a poll may."""
    async with open_case(vendor) as c:
        run = await c.start()
        await run.poll()
        (start,), (poll,) = c.send.calls(vendor.start_call), c.send.calls(vendor.poll_call)
        assert (start.purpose, start.is_repeatable) == (Purpose.START, False)
        assert (poll.purpose, poll.is_repeatable) == (Purpose.POLL, True)


# A start is never made twice, and never forgotten


_LOST: Sequence[Reply | Exception] = (
    ReplyLost("reset"),
    Reply(500),
    Reply(502, {}, b"<html>"),
    Reply(504),
)


@pytest.mark.parametrize("fault", range(len(_LOST)))
async def test_lost_reply_to_a_start(vendor: Adapter, fault: int) -> None:
    """A reply that was lost after the vendor acted is `StartUnknown`, or the run is found; it was started once."""
    async with open_case(vendor) as c:
        c.answer(vendor.start_call, _LOST[fault], is_handled=True)
        starting = await begin(c.start())
        await c.clock.advance(600)
        assert c.starts() == len(c.send.calls(vendor.start_call)) == 1
        if vendor.finds_lost:
            assert c.fake.ended_at((await starting).id) is not None
            return
        with pytest.raises(StartUnknown) as caught:
            await starting
        error = caught.value
        assert (error.vendor, error.target) == (vendor.name, "target")
        assert error.advice
        assert error.sent_at is not None
        assert error.body is not None
        assert PRIVATE.encode() in error.body


async def test_unreadable_reply_to_a_start(vendor: Adapter) -> None:
    """A 2xx that names no run is `StartUnknown`, sent once."""
    for body in vendor.unreadable:
        async with open_case(vendor) as c:
            c.answer(vendor.start_call, Reply(200, {}, body), is_handled=not vendor.finds_lost)
            starting = await begin(c.start())
            await c.clock.advance(60)
            with pytest.raises(StartUnknown):
                await starting
            if vendor.finds_lost:
                continue
            assert c.starts() == len(c.send.calls(vendor.start_call)) == 1


async def test_start_that_was_not_sent(vendor: Adapter) -> None:
    """A start that surely did not reach the vendor, or was throttled, is sent again; the vendor gets one start."""
    async with open_case(vendor) as c:
        fault = NotSent("refused", call=vendor.start_call)
        c.answer(vendor.start_call, fault, Reply(429), Reply(429, {"retry-after": "2"}))
        starting = await begin(c.start())
        await c.clock.advance(60)
        assert (await starting).accepted is not None
        assert c.starts() == 1


@pytest.mark.parametrize("status", [400, 403, 404, 409, 422])
async def test_refused_start(vendor: Adapter, status: int) -> None:
    """A refusal is raised as its own error, without a retry and without `StartUnknown`."""
    async with open_case(vendor) as c:
        c.answer(vendor.start_call, Reply(status, {}, vendor.refusals[0][0]))
        with pytest.raises(AgentsError) as caught:
            await c.start()
        assert caught.value.status == status
        assert not isinstance(caught.value, StartUnknown)
        assert len(c.send.calls(vendor.start_call)) == 1


async def test_cancelled_start_is_reported(vendor: Adapter) -> None:
    """A start whose caller is cancelled while it is in flight goes on; its run is reported to hooks."""
    async with open_case(vendor) as c:
        task: asyncio.Task[RunHandle]

        def leave(request: Request) -> Reply | None:
            if request.call == vendor.start_call:
                task.cancel()
            return None

        c.send.before = leave
        task = asyncio.create_task(c.start())
        await settle()
        assert task.cancelled()
        (event,) = c.events_of(StartAbandoned)
        assert event.run is not None
        assert c.starts() == 1
        assert c.fake.ended_at(event.run.id) is not None


# Waiting


async def test_passing_faults_end_no_wait(vendor: Adapter) -> None:
    """Resets, 429 and 5xx of polls end no wait."""
    async with open_case(vendor) as c:
        run = await c.start()
        faults: list[Reply | Exception] = [ReplyLost("reset"), Reply(500), Reply(503), Reply(429)]
        c.answer(vendor.poll_call, *faults * 3)
        waiter = await begin(until_end(run))
        await c.clock.advance(300)
        assert (await waiter).state is RunState.COMPLETED
        assert len(c.events_of(PollFailed)) == 12


async def test_retry_after_of_a_good_poll(vendor: Adapter) -> None:
    """A good reply to a poll that asks for patience is heeded: the next poll comes when it says, and no sooner."""
    async with open_case(vendor) as c:
        run = await c.start()
        c.send.after = lambda request, reply: (
            Reply(reply.status, {**reply.headers, "retry-after": "60"}, reply.body)
            if request.purpose is Purpose.POLL
            else reply
        )
        waiter = await begin(until_end(run))
        await c.clock.advance(10)
        polls = len(c.send.calls(vendor.poll_call))
        await c.clock.advance(59)
        assert len(c.send.calls(vendor.poll_call)) == polls
        await c.clock.advance(2)
        assert (await waiter).state is RunState.COMPLETED
        assert c.events_of(PollFailed) == []


async def test_answer_about_another_run_is_not_believed(vendor: Adapter) -> None:
    """An answer to somebody else's poll, which names its run, ends no wait: it sees the end of its own run."""
    async with open_case(vendor) as case:
        other, handle = await case.start(), await case.start()
        await case.clock.advance(60)
        answers: list[Reply] = []

        def keep(request: Request, reply: Reply) -> Reply:
            if request.call == vendor.poll_call:
                answers.append(reply)
            return reply

        case.send.after = keep
        waiting = await begin(until_end(other))
        await case.clock.advance(30)
        assert (await waiting).ref == other.ref
        case.answer(vendor.poll_call, answers[-1])
        waiting = await begin(until_end(handle))
        await case.clock.advance(10)
        assert isinstance(case.events_of(PollFailed)[-1].error, DecodeError)
        assert not waiting.done()
        await case.clock.advance(30)
        run = await waiting
        assert run.ref == handle.ref
        assert run.id in str(run.raw)


async def test_unknown_status_is_polled_on(vendor: Adapter) -> None:
    """An unknown status ends no wait."""
    words = {**vendor.words, RunState.RUNNING: "brand-new-word"}
    fake = vendor.fake(
        RunPlan(
            scripts={"target": [Step("brand-new-word", 25.0), Step(words[RunState.COMPLETED])]},
        )
    )
    clock = FakeClock()
    send = FakeSend(fake, clock=clock)
    async with SessionPool(clock=clock, send=send, cadence=Steady(10), chance=lambda: 0.5) as pool:
        client = vendor.client(all_providers()[vendor.name].client, pool, fake)
        run = await vendor.start(client, "target")
        waiter = await begin(until_end(run))
        await clock.advance(15)
        assert run.last is not None
        assert run.last.state is RunState.UNKNOWN
        await clock.advance(20)
        assert (await waiter).state is RunState.COMPLETED


async def test_unknown_run_ends_the_wait(vendor: Adapter) -> None:
    """A run that the vendor does not know raises the vendor's refusal."""
    async with open_case(vendor) as c:
        waiter = await begin(until_end(c.follow(vendor.unknown_id)))
        await c.clock.advance(100)
        error: Any = waiter.exception()
        assert isinstance(error, AgentsError)
        assert not error.is_passing
        assert error.ref == c.follow(vendor.unknown_id).ref


async def test_cancelling_a_wait(vendor: Adapter) -> None:
    """A cancelled wait leaves the others and the run alone, and nothing behind."""
    async with open_case(vendor) as c:
        run = await c.start()
        one, other = await begin(until_end(run)), await begin(until_end(run))
        await c.clock.advance(15)
        one.cancel()
        await c.clock.advance(20)
        assert one.cancelled()
        assert (await other).state is RunState.COMPLETED
        assert c.pool.statistics().polling.runs == 0


async def test_timeout(vendor: Adapter) -> None:
    """A wait's own deadline carries the last state seen."""
    async with open_case(vendor, None) as c:
        run = await c.start()
        waiter = await begin(run.wait(timeout=15))
        await c.clock.advance(15)
        with pytest.raises(WaitTimeout) as caught:
            await waiter
        assert caught.value.run is run.last


async def test_pool_closed(vendor: Adapter) -> None:
    """Closing the pool ends waits, and afterwards each call is refused before anything is sent."""
    async with open_case(vendor, None) as c:
        run = await c.start()
        waiter = await begin(until_end(run))
        await c.clock.advance(15)
    with pytest.raises(PoolClosed):
        await waiter
    sent = len(c.send.sent)
    for call in (c.start, run.poll, run.wait, run.result):
        with pytest.raises(PoolClosed):
            await call()
    assert len(c.send.sent) == sent


async def test_updates(vendor: Adapter) -> None:
    """Each change comes once, the end last."""
    async with open_case(vendor) as c:
        run = await c.start()
        states: list[RunState] = []

        async def read() -> None:
            async for seen in run.updates():
                states.append(seen.state)  # noqa: PERF401 - read as they come

        reader = await begin(read())
        await c.clock.advance(100)
        assert reader.done()
        assert states == [RunState.RUNNING, RunState.COMPLETED]


# What is shown


async def test_no_secret_is_shown(vendor: Adapter, caplog: pytest.LogCaptureFixture) -> None:
    """No repr, error, traceback, event or log record shows a secret, a token, or what was sent to a run."""
    with caplog.at_level(logging.DEBUG):
        async with open_case(vendor) as c:
            run = await c.start()
            waiter = await begin(until_end(run))
            c.answer(vendor.poll_call, Reply(500, {}, PRIVATE.encode()), Reply(200, {}, PRIVATE.encode()))
            await c.clock.advance(100)
            shown: list[Any] = [c.client, c.pool, c.pool.statistics(), run, await waiter, *c.events]
            errors: list[BaseException] = []
            faults: Sequence[Reply | Exception] = (
                ReplyLost("reset"),
                Reply(400, {}, PRIVATE.encode()),
                Reply(200, {}, PRIVATE.encode()),
                Reply(401),
            )
            for fault in faults:
                c.answer(vendor.start_call, fault, fault)
                starting = await begin(c.start())
                await c.clock.advance(100)
                if (error := starting.exception()) is not None:
                    errors.append(error)
            assert len(errors) >= 3
        headers = {
            value
            for request in c.send.sent
            for name, value in request.headers.items()
            if name in {"authorization", "x-api-key"}
        }
    text = [repr(each) for each in (*shown, *c.events, *errors)]
    text += [line for error in errors for line in traceback.format_exception(error)]
    text += [caplog.text, *(repr(vars(record)) for record in caplog.records)]
    hidden = {*vendor.secrets, PRIVATE, *headers, *(value.split()[-1] for value in headers)}
    assert headers or not vendor.secrets
    for secret in hidden:
        assert not any(secret in each for each in text), secret


async def test_errors_survive_pickling(vendor: Adapter) -> None:
    """What a worker process raises reaches its parent, facts included."""
    async with open_case(vendor) as c:
        c.answer(vendor.start_call, ReplyLost("reset"))
        starting = await begin(c.start())
        await c.clock.advance(60)
        with pytest.raises(StartUnknown) as caught:
            await starting
        again = pickle.loads(pickle.dumps(caught.value))  # noqa: S301 - our own
        assert (type(again), str(again), again.target) == (StartUnknown, str(caught.value), "target")
        waiter = await begin(c.follow(vendor.unknown_id).wait(timeout=5))
        await c.clock.advance(5)
        error: Any = waiter.exception()
        assert pickle.loads(pickle.dumps(error)).ref == error.ref  # noqa: S301 - our own
