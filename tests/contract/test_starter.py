"""Starts as most vendors allow them: the handle of the run in the answer, and what is known where there is none."""

from collections.abc import Callable, Mapping
from datetime import datetime

import pytest

from aioagents import (
    AgentsError,
    BadRequest,
    PermissionDenied,
    PoolClosed,
    ReplyLost,
    Run,
    RunRef,
    RunState,
    SessionPool,
    StartUnknown,
    Steady,
)
from aioagents.contract import RunReader, RunStarter
from aioagents.model import Purpose, Reply, Request
from tests.fakes import EPOCH, FakeClock

START = Request(
    method="POST", url="https://v.test/runs", call="runs.start", purpose=Purpose.START, body=b"hunter2"
)


class _Send:
    """Answers each start with its number, or with `answer`, or loses the answer."""

    def __init__(self) -> None:
        self.is_losing = False
        self.sent = 0
        self.answer: Reply | None = None

    async def send(
        self, request: Request, *, headers: Mapping[str, str], on_sent: Callable[[], None] | None = None
    ) -> Reply:
        assert on_sent is not None
        on_sent()
        self.sent += 1
        if self.is_losing:
            raise ReplyLost("cut", call=request.call)
        return self.answer or Reply(200, {}, str(self.sent).encode())


def _read(reply: Reply, at: datetime) -> Run:
    ref = RunRef("v", "", reply.body.decode())
    return Run(ref=ref, state=RunState.QUEUED, status="accepted", seen_at=at)


def _starter(pool: SessionPool) -> RunStarter:
    account = pool.account("v", name="v", vendor="v", headers={})
    reader = RunReader(pool, account, request=lambda _: START, read=lambda reply, _, at: _read(reply, at))
    return RunStarter(pool, account, pool.source("v", reader, "v"), advice="Check there.")


async def test_returns_the_handle_of_the_run() -> None:
    """The run that is read from the answer, at the time of the answer, is what the handle has as accepted."""
    async with SessionPool(send=_Send(), clock=FakeClock(), cadence=Steady(10)) as pool:
        handle = await _starter(pool).start(START, _read, target="tea")
        assert handle.accepted is not None
        assert (handle.id, handle.accepted.status, handle.accepted.seen_at) == ("1", "accepted", EPOCH)
        assert pool.statistics().starts == 1


async def test_lost_answer() -> None:
    """A start whose answer was lost is unknown, with the advice, and without the secret in its body."""
    send = _Send()
    async with SessionPool(send=send, clock=FakeClock()) as pool:
        send.is_losing = True
        with pytest.raises(StartUnknown) as caught:
            await _starter(pool).start(START, _read, target="tea", redacted_body=b"***")
        error = caught.value
        assert (error.vendor, error.target, error.advice, error.body) == ("v", "tea", "Check there.", b"***")
        assert send.sent == 1


async def test_pool_that_is_closed() -> None:
    """Nothing is sent once the pool is closed."""
    send = _Send()
    async with SessionPool(send=send, clock=FakeClock()) as pool:
        starter = _starter(pool)
    with pytest.raises(PoolClosed):
        await starter.start(START, _read, target="tea")
    assert send.sent == 0


async def test_lost_answer_is_looked_up() -> None:
    """A run that is found after its answer was lost is started as any other; with an answer none is looked for."""
    send, asked = _Send(), []

    async def find() -> Run | None:
        asked.append(send.sent)
        return _read(Reply(200, {}, b"found"), EPOCH)

    async with SessionPool(send=send, clock=FakeClock()) as pool:
        starter = _starter(pool)
        assert (await starter.start(START, _read, target="tea", find=find)).id == "1"
        send.is_losing = True
        handle = await starter.start(START, _read, target="tea", find=find)
        assert handle.accepted is not None
        assert handle.id == handle.accepted.id == "found"
        assert (asked, pool.statistics().starts) == ([2], 2)


@pytest.mark.parametrize("fault", [None, PermissionDenied("no lists", status=403)])
async def test_lost_answer_that_is_not_found(fault: AgentsError | None) -> None:
    """Where no run is found, or the look-up fails itself, the start is unknown because its answer was lost."""

    async def find() -> Run | None:
        if fault is not None:
            raise fault
        return None

    send = _Send()
    send.is_losing = True
    async with SessionPool(send=send, clock=FakeClock()) as pool:
        with pytest.raises(StartUnknown) as caught:
            await _starter(pool).start(START, _read, target="tea", find=find)
    assert isinstance(caught.value.__cause__, ReplyLost)
    assert (caught.value.status, caught.value.advice, send.sent) == (None, "Check there.", 1)


async def test_refused_start_is_not_looked_up() -> None:
    """Where the vendor refused a start, none can be found, and none is looked for."""

    async def find() -> Run | None:
        raise AssertionError

    send = _Send()
    send.answer = Reply(400)
    async with SessionPool(send=send, clock=FakeClock()) as pool:
        with pytest.raises(BadRequest):
            await _starter(pool).start(START, _read, target="tea", find=find)
    assert send.sent == 1
