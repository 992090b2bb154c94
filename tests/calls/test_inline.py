"""Inline starts: made in the task of their caller, which only the pool cancels."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from aioagents.errors import (
    AgentsError,
    BadRequest,
    NotSent,
    PoolClosed,
    ReplyLost,
    StartUnknown,
    Throttled,
)
from aioagents.model import Reply
from aioagents.observe import StartAbandoned
from tests.calls.rig import OK, REFUSED, THROTTLED, Held, Rig
from tests.fakes import settle

THROTTLED_LONG = Reply(429, {"retry-after": "60"}, b"")


class InlineStart:
    """An inline start, and its outcome."""

    def __init__(self, rig: Rig, *, start: Callable[[], Awaitable[str]] | None = None) -> None:
        self.outcome: str | Exception | None = None
        self.ended: list[asyncio.Task[object]] = []
        self.cancelling: int | None = None
        self._start = start or rig.start
        self.task = rig.caller.run_inline(self._work(), self.ended.append)

    async def _work(self) -> None:
        try:
            self.outcome = await self._start()
        except Exception as exc:  # noqa: BLE001 - asserted by tests
            self.outcome = exc
        current = asyncio.current_task()
        self.cancelling = None if current is None else current.cancelling()


async def test_makes_no_task_of_its_own() -> None:
    """An inline start is sent, read and counted like any other, in the one task of its caller."""
    held = Held()
    async with Rig(REFUSED, held) as rig:
        before = asyncio.all_tasks()
        inline = InlineStart(rig)
        await settle()
        assert asyncio.all_tasks() - before == {inline.task}
        held.reply.set_result(OK)
        await settle()
        assert (inline.outcome, inline.ended) == ("ok", [inline.task])
        assert (rig.send.times, rig.caller.starts) == (2, 1)
        rig.assert_idle()


@pytest.mark.parametrize(
    ("reply", "error"), [(Reply(400, {}, b"{}"), BadRequest), (Reply(500, {}, b""), StartUnknown)]
)
async def test_raises_as_others_do(reply: Reply, error: type[AgentsError]) -> None:
    """A refusal is raised as it is, and a reply that leaves the outcome unknown as unknown; neither is emitted."""
    async with Rig(reply) as rig:
        inline = InlineStart(rig)
        await settle()
        assert type(inline.outcome) is error
        assert rig.emitted(StartAbandoned) == []
        rig.assert_idle()


async def test_closing_supervisor_leaves_no_outcome_unreported() -> None:
    """When the pool's tasks end, a start in flight is unknown, and an unsent one raises `PoolClosed`."""
    async with Rig(Held(), Held(is_connecting=True)) as rig:
        sent, connecting = InlineStart(rig), InlineStart(rig)
        await settle()
        await rig.supervisor.aclose()
        assert type(sent.outcome) is StartUnknown
        assert type(connecting.outcome) is PoolClosed
        assert (sent.cancelling, connecting.cancelling) == (0, 0)
        rig.assert_idle()


async def test_drain_waits_for_starts_in_flight() -> None:
    """Draining waits for an inline start that is in flight, and ends the unsent ones."""
    sent = Held()
    async with Rig(sent, THROTTLED_LONG, Held(is_connecting=True)) as rig:
        inline = [InlineStart(rig) for _ in range(3)]
        await settle()
        draining = await rig.begin(rig.caller.drain(60.0))
        assert [type(each.outcome) for each in inline[1:]] == [PoolClosed, PoolClosed]
        assert not draining.done()
        sent.reply.set_result(OK)
        await settle()
        assert draining.done()
        assert inline[0].outcome == "ok"
        rig.assert_idle()


async def test_cancel_unsent() -> None:
    """Cancelled unless sent, an inline start in flight goes on but is not retried; an unsent one raises `NotSent`."""
    sent = Held()
    async with Rig(sent, THROTTLED_LONG) as rig:
        first, second = InlineStart(rig), InlineStart(rig)
        await settle()
        rig.caller.cancel_unsent([first.task, second.task])
        sent.reply.set_result(THROTTLED)
        await settle()
        assert type(first.outcome) is Throttled
        assert type(second.outcome) is NotSent
        assert rig.send.times == 2
        rig.assert_idle()


async def test_two_in_a_row() -> None:
    """An inline task may make several starts, one after the other."""
    async with Rig(OK) as rig:

        async def both() -> str:
            return await rig.start() + await rig.start()

        inline = InlineStart(rig, start=both)
        await settle()
        assert inline.outcome == "okok"
        assert rig.caller.starts == 2


async def test_closed_pool_runs_nothing() -> None:
    """A pool that is closed refuses to run the coroutine, and leaves no warning behind."""
    rig = Rig(OK)
    with pytest.raises(PoolClosed):
        InlineStart(rig)


async def test_cancelled_before_it_started() -> None:
    """A task that prepares a start sends nothing once it is cancelled unless sent, or its pool drains."""
    async with Rig(OK) as rig:
        events = [asyncio.Event(), asyncio.Event()]

        def later(event: asyncio.Event) -> Callable[[], Awaitable[str]]:
            async def start() -> str:
                await event.wait()
                return await rig.start()

            return start

        cancelled, draining = (InlineStart(rig, start=later(event)) for event in events)
        await settle()
        rig.caller.cancel_unsent([cancelled.task])
        events[0].set()
        await settle()
        await rig.caller.drain(0.0)
        events[1].set()
        await settle()
        assert type(cancelled.outcome) is NotSent
        assert type(draining.outcome) is PoolClosed
        assert rig.send.times == 0
        rig.assert_idle()


async def test_cancelled_by_a_hook() -> None:
    """A hook may cancel the very start whose event it gets; the task itself is not cancelled."""
    async with Rig(NotSent("no connection")) as rig:
        inline = InlineStart(rig)
        rig.send.on_sending = lambda: rig.caller.cancel_unsent([inline.task])
        await settle()
        assert type(inline.outcome) is NotSent
        assert (inline.cancelling, inline.task.cancelled()) == (0, False)
        assert rig.send.times == 1


async def test_unknown_has_its_cause() -> None:
    """The error of an inline start that the pool ends has as its cause what happened to the reply."""
    async with Rig(Held()) as rig:
        inline = InlineStart(rig)
        await settle()
        await rig.supervisor.aclose()
        assert isinstance(inline.outcome, StartUnknown)
        assert isinstance(inline.outcome.__cause__, ReplyLost)
