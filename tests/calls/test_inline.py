"""Starts that travel in the task of who asks for them, since nobody but the pool cancels it."""

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


class Carried:
    """A start in a carried task, and what became of it."""

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
    """A carried start is sent, read and counted as any other, in the one task that carries it."""
    held = Held()
    async with Rig(REFUSED, held) as rig:
        before = asyncio.all_tasks()
        carried = Carried(rig)
        await settle()
        assert asyncio.all_tasks() - before == {carried.task}
        held.reply.set_result(OK)
        await settle()
        assert (carried.outcome, carried.ended) == ("ok", [carried.task])
        assert (rig.send.times, rig.caller.starts) == (2, 1)
        rig.assert_idle()


@pytest.mark.parametrize(
    ("reply", "error"), [(Reply(400, {}, b"{}"), BadRequest), (Reply(500, {}, b""), StartUnknown)]
)
async def test_raises_as_others_do(reply: Reply, error: type[AgentsError]) -> None:
    """A refusal is raised as it is, and an answer that tells nothing as unknown; neither is told as abandoned."""
    async with Rig(reply) as rig:
        carried = Carried(rig)
        await settle()
        assert type(carried.outcome) is error
        assert rig.emitted(StartAbandoned) == []
        rig.assert_idle()


async def test_closing_crew_leaves_no_fate_untold() -> None:
    """When the pool's tasks end, a start that is out is unknown, and one that is not raises `PoolClosed`."""
    async with Rig(Held(), Held(is_connecting=True)) as rig:
        out, connecting = Carried(rig), Carried(rig)
        await settle()
        await rig.supervisor.aclose()
        assert type(out.outcome) is StartUnknown
        assert type(connecting.outcome) is PoolClosed
        assert (out.cancelling, connecting.cancelling) == (0, 0)
        rig.assert_idle()


async def test_landing_waits_for_what_is_out() -> None:
    """Landing waits for a carried start that is out, and ends the others before anything of them is sent."""
    out = Held()
    async with Rig(out, THROTTLED_LONG, Held(is_connecting=True)) as rig:
        carried = [Carried(rig) for _ in range(3)]
        await settle()
        landing = await rig.begin(rig.caller.drain(60.0))
        assert [type(each.outcome) for each in carried[1:]] == [PoolClosed, PoolClosed]
        assert not landing.done()
        out.reply.set_result(OK)
        await settle()
        assert landing.done()
        assert carried[0].outcome == "ok"
        rig.assert_idle()


async def test_called_off() -> None:
    """Called off, a carried start that is out goes on and is not sent again, and one that is not raises `NotSent`."""
    out = Held()
    async with Rig(out, THROTTLED_LONG) as rig:
        first, second = Carried(rig), Carried(rig)
        await settle()
        rig.caller.cancel_unsent([first.task, second.task])
        out.reply.set_result(THROTTLED)
        await settle()
        assert type(first.outcome) is Throttled
        assert type(second.outcome) is NotSent
        assert rig.send.times == 2
        rig.assert_idle()


async def test_two_in_a_row() -> None:
    """A carried task may make several starts, one after the other."""
    async with Rig(OK) as rig:

        async def both() -> str:
            return await rig.start() + await rig.start()

        carried = Carried(rig, start=both)
        await settle()
        assert carried.outcome == "okok"
        assert rig.caller.starts == 2


async def test_closed_pool_carries_nothing() -> None:
    """A pool that is closed refuses to carry, and the work leaves no warning behind."""
    rig = Rig(OK)
    with pytest.raises(PoolClosed):
        Carried(rig)


async def test_called_off_before_it_asked() -> None:
    """A task that polls something up before its start sends nothing once it is called off, or its pool is landing."""
    async with Rig(OK) as rig:
        gates = [asyncio.Event(), asyncio.Event()]

        def later(limiter: asyncio.Event) -> Callable[[], Awaitable[str]]:
            async def start() -> str:
                await limiter.wait()
                return await rig.start()

            return start

        called_off, landing = (Carried(rig, start=later(limiter)) for limiter in gates)
        await settle()
        rig.caller.cancel_unsent([called_off.task])
        gates[0].set()
        await settle()
        await rig.caller.drain(0.0)
        gates[1].set()
        await settle()
        assert type(called_off.outcome) is NotSent
        assert type(landing.outcome) is PoolClosed
        assert rig.send.times == 0
        rig.assert_idle()


async def test_called_off_by_a_hook() -> None:
    """A hook may call off the very start of which it is told; its task is not cancelled for it."""
    async with Rig(NotSent("no connection")) as rig:
        carried = Carried(rig)
        rig.send.on_sending = lambda: rig.caller.cancel_unsent([carried.task])
        await settle()
        assert type(carried.outcome) is NotSent
        assert (carried.cancelling, carried.task.cancelled()) == (0, False)
        assert rig.send.times == 1


async def test_unknown_tells_its_cause() -> None:
    """The error of a carried start that its pool ends says what became of the reply, as that of any other does."""
    async with Rig(Held()) as rig:
        carried = Carried(rig)
        await settle()
        await rig.supervisor.aclose()
        assert isinstance(carried.outcome, StartUnknown)
        assert isinstance(carried.outcome.__cause__, ReplyLost)
