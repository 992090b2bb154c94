"""How long things take at most, over real sockets: connecting, the reply once it was sent, and both together."""

import asyncio
from contextlib import suppress

import aiohttp
import pytest

from aioagents.errors import AgentsError, NotSent, ReplyLost
from aioagents.model import Purpose
from aioagents.transport import Timeouts
from aioagents.transport.deadlines import Deadlines
from aioagents.transport.send_observer import SendObserver
from tests.transport.raw import OK, STREAM, Line, Serve, sender, serving

pytestmark = pytest.mark.usefixtures("way")

#: Connecting may take far longer than any test; a reply may not.
HURRIED = Timeouts(connect=300, read=0.02, start=0.02)


async def _silence(line: Line) -> None:
    await line.hear()
    await line.gone()


async def _drip(line: Line) -> None:
    await line.hear()
    await line.write(STREAM)
    while True:
        await line.chunk(b"x")


@pytest.mark.parametrize("purpose", [Purpose.CALL, Purpose.START])
@pytest.mark.parametrize("serve", [_silence, _drip])
async def test_the_reply_has_its_time_alone(serve: Serve, purpose: Purpose) -> None:
    """A server that is silent, or never ends its reply, is given up after the reply's own timeout."""
    async with serving(serve) as it, sender(timeouts=HURRIED) as send, asyncio.timeout(5):
        for on_sent in (None, lambda: None):
            with pytest.raises(ReplyLost):
                await send.send(it.request(purpose=purpose), headers={}, on_sent=on_sent)


async def test_over_the_callers_session_silence_has_the_same_time() -> None:
    """Over a session of the caller's, a silent server is given up after the reply's own timeout."""
    async with serving(_silence) as it, aiohttp.ClientSession() as session, asyncio.timeout(5):
        with pytest.raises(ReplyLost):
            await sender(timeouts=HURRIED, session=session).send(it.request(), headers={})


async def test_connecting_is_not_counted() -> None:
    """A request that waited longer for a connection than a reply may take still has the whole time for its reply."""
    is_free = asyncio.Event()

    async def serve(line: Line) -> None:
        while True:
            await line.hear()
            await is_free.wait()
            await line.write(OK)

    timeouts = Timeouts(connect=300, read=0.2)
    async with serving(serve) as it, sender(timeouts=timeouts, per_host=1) as send, asyncio.timeout(5):
        first = asyncio.ensure_future(send.send(it.request(timeout=300.0), headers={}))
        later = asyncio.ensure_future(send.send(it.request(), headers={}))
        await asyncio.wait({first, later}, timeout=0.4)
        is_free.set()
        assert [(await each).body for each in (first, later)] == [b"ok", b"ok"]


async def test_a_timeout_of_ones_own_bounds_the_whole() -> None:
    """A request's own timeout bounds its connecting and its reply together."""
    is_busy = asyncio.Event()

    async def serve(line: Line) -> None:
        await line.hear()
        is_busy.set()
        await line.gone()

    async with serving(serve) as it, sender(timeouts=HURRIED, per_host=1) as send, asyncio.timeout(5):
        busy = asyncio.ensure_future(send.send(it.request(timeout=300.0), headers={}))
        await is_busy.wait()
        for options, kind in (({}, NotSent), ({"is_long": True}, ReplyLost)):
            with pytest.raises(AgentsError) as caught:
                await send.send(it.request(timeout=0.02, **options), headers={}, on_sent=lambda: None)
            assert type(caught.value) is kind
        busy.cancel()
        await asyncio.gather(busy, return_exceptions=True)


async def test_a_timeout_hides_no_cancellation() -> None:
    """A task that is cancelled in the same step in which the time is over stays cancelled."""
    found: list[tuple[bool, int]] = []

    async def wait(*, is_cancelled: bool) -> None:
        task = asyncio.current_task()
        assert task is not None
        observer = SendObserver(None, Deadlines(0.0))
        observer.note_sent()
        if is_cancelled:
            asyncio.get_running_loop().call_later(0.0, task.cancel)
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError as exc:
            found.append((observer.uncancel(exc), task.cancelling()))

    for is_cancelled in (False, True):
        await asyncio.gather(asyncio.ensure_future(wait(is_cancelled=is_cancelled)), return_exceptions=True)
    assert found == [(True, 0), (False, 1)]


async def test_the_time_ends_with_the_reply() -> None:
    """Once a reply has arrived, no task is cancelled for its timeout, and its connection stays open."""

    async def serve(line: Line) -> None:
        while True:
            await line.hear()
            await line.write(OK)

    async with serving(serve) as it, sender(timeouts=Timeouts(read=0.1, start=0.1)) as send:
        await send.send(it.request(), headers={})
        with suppress(TimeoutError):
            await asyncio.wait_for(asyncio.Event().wait(), 0.15)
        assert (await send.send(it.request(), headers={})).body == b"ok"
        assert it.connections == 1
