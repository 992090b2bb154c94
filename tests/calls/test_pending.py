"""The outcome of a start is always reported: also when its caller, the pool or the vendor goes away."""

import asyncio
from datetime import UTC, datetime

import anyio
import pytest

from aioagents.calls import Start
from aioagents.errors import (
    AgentsError,
    AuthenticationError,
    BadRequest,
    NotSent,
    PoolClosed,
    ReplyLost,
    StartUnknown,
    Throttled,
)
from aioagents.model import Reply, Run, RunRef, RunState
from aioagents.observe import RetryScheduled, RunStarted, StartAbandoned
from aioagents.polling import RunHandle
from aioagents.transport import PoolLimits
from tests.calls.rig import OK, REFUSED, SECRET, START, THROTTLED, Attempt, Held, Rig, Step
from tests.fakes import EPOCH, settle

THROTTLED_LONG = Reply(429, {"retry-after": "60"}, b"")
ONE = PoolLimits(requests_at_once=1)


async def _cancel(task: "asyncio.Task[str]") -> None:
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await settle()


# ── cancelled before the first byte ─────────────────────────────────────────────────────────────────────


async def test_cancelled_while_waiting_for_a_permit_nothing_is_sent() -> None:
    """A start that waits for a permit and is cancelled is not sent."""
    held = Held()
    async with Rig(held, OK, limits=ONE) as rig:
        first = await rig.begin(rig.start())
        second = await rig.begin(rig.start())
        assert rig.account.limiter.statistics().waiting == 1
        await _cancel(second)
        held.reply.set_result(OK)
        assert await first == "ok"
        assert rig.send.times == 1
        assert rig.emitted(StartAbandoned) == []
        rig.assert_idle()


async def test_cancelled_while_waiting_for_the_token_nothing_is_sent() -> None:
    """A start that waits for a token and is cancelled is not sent; the others still get the token."""
    token: asyncio.Future[tuple[str, float]] = asyncio.get_running_loop().create_future()

    async def fetch() -> tuple[str, float]:
        return await token

    async with Rig(OK, fetch=fetch) as rig:
        first = await rig.begin(rig.start())
        second = await rig.begin(rig.start())
        await _cancel(first)
        token.set_result(("token-1", 60.0))
        assert await second == "ok"
        assert rig.send.times == 1
        rig.assert_idle()


@pytest.mark.parametrize("step", [THROTTLED_LONG, NotSent("x", retry_after=60.0)])
async def test_cancelled_between_two_attempts_nothing_more_is_sent(step: Step) -> None:
    """A start that was refused or not sent, and is cancelled before its next attempt, has ended."""
    async with Rig(step, OK) as rig:
        task = await rig.begin(rig.start())
        assert len(rig.emitted(RetryScheduled)) == 1
        await _cancel(task)
        await rig.clock.advance(1000)
        assert rig.send.times == 1
        assert rig.emitted(StartAbandoned) == []
        rig.assert_idle()


async def test_cancelled_while_connecting_nothing_is_sent() -> None:
    """A start that has no connection yet is not sent when it is cancelled."""
    held = Held(is_connecting=True)
    async with Rig(held) as rig:
        task = await rig.begin(rig.start())
        await _cancel(task)
        assert held.reply.cancelled()
        assert rig.emitted(StartAbandoned) == []
        rig.assert_idle()


async def test_cancelled_before_it_began_nothing_is_sent() -> None:
    """A caller that is cancelled before its first step starts nothing, and no coroutine is left unawaited."""
    async with Rig(OK) as rig:
        assert await rig.start() == "ok"  # from here on there is a token, and nothing to wait for
        task = asyncio.ensure_future(rig.start())
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        with anyio.CancelScope() as scope:
            scope.cancel()
            await rig.start()
        with anyio.move_on_after(-1):
            await rig.start()

        async def cancel_oneself() -> None:
            current = asyncio.current_task()
            assert current is not None
            current.cancel()
            await rig.start()

        with pytest.raises(asyncio.CancelledError):
            await asyncio.create_task(cancel_oneself())
        await settle()
        assert rig.send.times == 1
        rig.assert_idle()


# ── cancelled after the first byte ──────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("reply", "error"),
    [
        (OK, None),
        (Reply(500, {}, b"hunter2"), StartUnknown),
        (Reply(200), StartUnknown),
        (Reply(400, {}, b"hunter2"), BadRequest),
        (THROTTLED, Throttled),
        (REFUSED, AuthenticationError),
    ],
)
async def test_cancelled_in_flight_it_goes_on(reply: Reply, error: type[AgentsError] | None) -> None:
    """A start that was sent goes on without its caller, is emitted to hooks, and is never sent again."""
    held = Held()
    async with Rig(held, OK) as rig:
        task = await rig.begin(rig.start())
        await rig.clock.advance(3)
        await _cancel(task)
        assert not held.reply.done()
        held.reply.set_result(reply)
        await rig.clock.advance(1000)
        (event,) = rig.emitted(StartAbandoned)
        assert (event.vendor, event.target, event.sent_at) == ("leena", "triage", EPOCH)
        assert type(event.error) is (type(None) if error is None else error)
        assert SECRET not in repr(event)
        assert rig.send.times == 1
        assert rig.emitted(RetryScheduled) == []
        rig.assert_idle()


async def test_cancelled_in_flight_and_lost() -> None:
    """A start whose reply is lost when nobody waits is emitted as unknown."""
    lost: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    async def lose(attempt: Attempt) -> Reply:
        attempt.note_sent()
        await lost
        raise ReplyLost("reset", call=attempt.request.call)

    async with Rig(lose, OK) as rig:
        await _cancel(await rig.begin(rig.start()))
        lost.set_result(None)
        await rig.clock.advance(1000)
        (event,) = rig.emitted(StartAbandoned)
        assert isinstance(event.error, StartUnknown)
        assert rig.send.times == 1


@pytest.mark.parametrize(
    ("reply", "error"), [(OK, None), (Reply(500), StartUnknown), (Reply(400), BadRequest)]
)
@pytest.mark.parametrize("steps", range(8))
async def test_cancelled_as_the_reply_arrives(
    reply: Reply, error: type[AgentsError] | None, steps: int
) -> None:
    """A result or error that the caller misses because of its cancellation is emitted to hooks."""
    held = Held()
    async with Rig(held) as rig:
        task = await rig.begin(rig.start())
        held.reply.set_result(reply)
        for _ in range(steps):
            await asyncio.sleep(0)
        was_done = task.done()
        task.cancel()
        outcome = (await asyncio.gather(task, return_exceptions=True))[0]
        await settle()
        if was_done:
            assert outcome == "ok" if error is None else type(outcome) is error
            assert rig.emitted(StartAbandoned) == []
        else:
            assert isinstance(outcome, asyncio.CancelledError)
            (event,) = rig.emitted(StartAbandoned)
            assert type(event.error) is (type(None) if error is None else error)
        rig.assert_idle()


async def test_anyio_deadline_around_a_start() -> None:
    """A cancel scope that ends a start does not end its request."""
    held = Held()

    async def pass_the_deadline(attempt: Attempt) -> Reply:
        attempt.note_sent()
        scope.deadline = anyio.current_time()
        return await held.reply

    async with Rig(pass_the_deadline) as rig:
        with anyio.move_on_after(3600) as scope:
            await rig.start()
        assert scope.cancelled_caught
        held.reply.set_result(OK)
        await settle()
        assert len(rig.emitted(StartAbandoned)) == 1
        assert asyncio.current_task().cancelling() == 0  # type: ignore[union-attr]


async def test_one_abandoned_start_disturbs_no_other() -> None:
    """Cancelling one of many starts does not affect the others."""
    held = [Held() for _ in range(10)]
    async with Rig(*held) as rig:
        tasks = [await rig.begin(rig.start()) for _ in held]
        await _cancel(tasks[3])
        for each in held:
            each.reply.set_result(OK)
        await settle()
        assert [
            task.done() and not task.cancelled() and task.result() for task in tasks if task is not tasks[3]
        ] == ["ok"] * 9
        assert len(rig.emitted(StartAbandoned)) == 1


# ── the pool goes away ──────────────────────────────────────────────────────────────────────────────────


async def test_pool_closed_in_flight() -> None:
    """A start that is in flight when the pool is closed is unknown; its caller is not cancelled."""
    held = Held()
    async with Rig(held) as rig:
        task = await rig.begin(rig.start())
        await rig.supervisor.aclose()
        with pytest.raises(StartUnknown) as caught:
            await task
        assert isinstance(caught.value.__cause__, ReplyLost)
        assert caught.value.sent_at == EPOCH


@pytest.mark.parametrize("step", [THROTTLED_LONG, NotSent("x", retry_after=60.0)])
async def test_pool_closed_between_two_attempts(step: Step) -> None:
    """A start that waits for its next attempt when the pool is closed began nothing."""
    async with Rig(step) as rig:
        task = await rig.begin(rig.start())
        await rig.supervisor.aclose()
        with pytest.raises(PoolClosed):
            await task
        rig.assert_idle()


async def test_pool_closed_while_connecting() -> None:
    """A start that is unsent when the pool is closed began nothing."""
    async with Rig(Held(is_connecting=True)) as rig:
        task = await rig.begin(rig.start())
        await rig.supervisor.aclose()
        with pytest.raises(PoolClosed):
            await task


async def test_pool_closed_as_a_start_is_made() -> None:
    """A start that is made while the pool is being closed ends too, whichever comes first."""
    for steps in range(6):
        async with Rig(OK) as rig:
            closing = asyncio.ensure_future(rig.supervisor.aclose())
            for _ in range(steps):
                await asyncio.sleep(0)
            task = asyncio.ensure_future(rig.start())
            await closing
            outcome = (await asyncio.gather(task, return_exceptions=True))[0]
            assert outcome == "ok" or isinstance(outcome, PoolClosed | StartUnknown)
            rig.assert_idle()


async def test_pool_closed_after_the_caller_was_cancelled() -> None:
    """An abandoned start whose pool is closed before its reply arrives is emitted as unknown."""
    async with Rig(Held()) as rig:
        await _cancel(await rig.begin(rig.start()))
        await rig.supervisor.aclose()
        (event,) = rig.emitted(StartAbandoned)
        assert isinstance(event.error, StartUnknown)


async def test_task_of_a_start_that_never_ran_settles_it() -> None:
    """A start whose task is cancelled from outside before its first step does not leave its caller waiting."""
    async with Rig(OK) as rig:
        before = asyncio.all_tasks()
        task = asyncio.ensure_future(rig.start())
        await asyncio.sleep(0)
        (flying,) = asyncio.all_tasks() - before - {task}
        flying.cancel()
        with pytest.raises(PoolClosed):
            await task
        assert rig.send.times == 0


async def test_drain_waits_for_starts_in_flight() -> None:
    """Draining waits for starts in flight, ends those that are unsent, and lets no other be sent."""
    out, refused, connecting = Held(), Held(), Held(is_connecting=True)
    async with Rig(out, refused, connecting, THROTTLED_LONG, OK) as rig:
        tasks = [await rig.begin(rig.start()) for _ in range(4)]
        draining = await rig.begin(rig.caller.drain(60.0))
        assert not draining.done()
        out.reply.set_result(OK)
        refused.reply.set_result(THROTTLED)
        await settle()
        assert draining.done()
        outcomes = await asyncio.gather(*tasks, return_exceptions=True)
        assert [type(each) for each in outcomes] == [str, Throttled, PoolClosed, PoolClosed]
        assert rig.send.times == 4
        await rig.caller.drain(60.0)
        rig.assert_idle()


async def test_drain_gives_up_in_time() -> None:
    """Draining waits for no longer than its argument says."""
    async with Rig(Held()) as rig:
        task = await rig.begin(rig.start())
        await rig.caller.drain(0.001)
        assert not task.done()
        await rig.supervisor.aclose()
        with pytest.raises(StartUnknown):
            await task


# ── other exceptions ────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("is_sent", [False, True])
async def test_other_exceptions_are_wrapped(is_sent: bool) -> None:
    """Any other exception means unknown after the first byte, and is wrapped in an error of ours before it."""

    async def break_down(attempt: Attempt) -> Reply:
        if is_sent:
            attempt.note_sent()
        raise KeyError(SECRET)

    async with Rig(break_down) as rig:
        ended = await rig.ends(rig.start())
        assert isinstance(ended, AgentsError)
        assert isinstance(ended, StartUnknown) is is_sent
        assert SECRET not in f"{ended} {ended!r}"
        cause = ended.__cause__ if is_sent else ended
        assert isinstance(cause, AgentsError)
        assert isinstance(cause.__cause__, KeyError)
        assert rig.send.times == 1


async def test_sent_at_is_that_of_the_last_attempt() -> None:
    """`sent_at` is when the attempt was sent that matters, not an earlier one that was refused."""
    async with Rig(Reply(429, {"retry-after": "60"}), ReplyLost("x")) as rig:
        ended = await rig.ends(rig.start())
        assert isinstance(ended, StartUnknown)
        assert ended.sent_at is not None
        assert (ended.sent_at - EPOCH).total_seconds() >= 60


class _Handle(RunHandle):
    """A handle that is bound to no pool: only what the vendor accepted matters here."""

    def __init__(self, run: Run) -> None:
        self.accepted = run


@pytest.mark.parametrize("is_cancelled", [False, True])
async def test_accepted_runs_are_emitted(is_cancelled: bool) -> None:
    """A run that began is emitted, with its reference also where nobody waits for it any more."""
    run = Run(
        ref=RunRef("leena", "", "1"),
        state=RunState.QUEUED,
        status="accepted",
        seen_at=datetime(2026, 1, 5, tzinfo=UTC),
    )
    held = Held()
    async with Rig(held) as rig:
        start: Start[RunHandle] = Start(
            vendor="leena", request=START, read=lambda _: _Handle(run), target="triage", advice=""
        )
        task = await rig.begin(rig.caller.start(rig.account, start))
        if is_cancelled:
            task.cancel()
            await settle()
        held.reply.set_result(OK)
        await settle()
        assert [event.run for event in rig.emitted(RunStarted)] == [run]
        assert [event.run for event in rig.emitted(StartAbandoned)] == ([run] if is_cancelled else [])
        if not is_cancelled:
            assert (await task).accepted is run


async def test_cancel_unsent() -> None:
    """Starts that are cancelled unless sent raise `NotSent` if unsent, and go on if sent; others are not affected."""
    out, connecting = Held(), Held(is_connecting=True)
    async with Rig(out, connecting, THROTTLED_LONG, OK) as rig:
        tasks = [await rig.begin(rig.start()) for _ in range(3)]
        other = await rig.begin(rig.start())
        rig.caller.cancel_unsent(tasks)
        await settle()
        assert other.done()
        assert [type(task.exception()) for task in tasks[1:]] == [NotSent, NotSent]
        assert not tasks[0].done()
        out.reply.set_result(OK)
        assert await tasks[0] == "ok"
        assert await other == "ok"
        assert rig.emitted(StartAbandoned) == []
        rig.assert_idle()


async def test_cancelled_unsent_is_not_sent_again() -> None:
    """A start in flight that is cancelled unless sent, and is refused then, raises the refusal and is not retried."""
    held = Held()
    async with Rig(held, OK) as rig:
        task = await rig.begin(rig.start())
        rig.caller.cancel_unsent([task])
        held.reply.set_result(THROTTLED)
        with pytest.raises(Throttled):
            await task
        assert rig.send.times == 1
        rig.assert_idle()


async def test_nothing_is_sent_once_the_pool_drains() -> None:
    """A start that its caller prepared before the pool began to drain, and makes then, is not sent."""
    async with Rig(OK) as rig:
        await rig.caller.drain(0.0)
        with pytest.raises(PoolClosed):
            await rig.start()
        assert rig.send.times == 0
        rig.assert_idle()
