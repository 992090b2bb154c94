"""Requests that are answered when the work is done: they use no permit, connection or timeout of the others."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any

import aiohttp
import attrs
import pytest
from aiohttp import web

from aioagents import PoolLimits, SessionPool, Timeouts
from aioagents.calls import Account, PendingStart, Start
from aioagents.errors import AgentsError, NotSent, PoolClosed, ReplyLost, StartUnknown
from aioagents.model import Purpose, Reply, Request
from aioagents.observe import StartAbandoned
from aioagents.retry import RetryPolicy
from aioagents.transport import HttpSend
from tests.calls.rig import OK, POLL, START, Attempt, Held, Rig, read_text
from tests.fakes import settle

pytestmark = pytest.mark.usefixtures("way")

LONG = attrs.evolve(START, is_long=True)
QUICK = Timeouts(connect=5, read=5, start=5, close=0.01)
#: Timeouts by which a reply is given up after a twentieth of a second.
HURRIED = Timeouts(connect=0.04, read=0.01, start=0.01)


# ── their permits ───────────────────────────────────────────────────────────────────────────────────────


async def test_a_thousand_hold_no_permit() -> None:
    """However many wait for their reply, the account's few permits are free for others."""
    held = [Held() for _ in range(1000)]
    async with Rig(*held, OK, limits=PoolLimits(requests_at_once=2)) as rig:
        tasks = [asyncio.ensure_future(rig.start(LONG)) for _ in held]
        await settle(1500)
        assert rig.send.times == 1000
        assert rig.account.limiter.statistics().under_way == 0
        assert await rig.poll() == "ok"
        assert await rig.start() == "ok"
        for each in held:
            each.reply.set_result(OK)
        assert await asyncio.gather(*tasks) == ["ok"] * 1000
        rig.assert_idle()


async def test_until_they_are_sent_they_hold_one() -> None:
    """While it connects, a long request holds a permit like any other, and releases it once."""
    connecting = [Held(is_connecting=True) for _ in range(3)]
    answer: asyncio.Future[Reply] = asyncio.get_running_loop().create_future()

    async def connect(attempt: Attempt) -> Reply:
        await connecting[rig.send.times - 1](attempt)
        return await answer

    async with Rig(connect, limits=PoolLimits(requests_at_once=2)) as rig:
        tasks = [await rig.begin(rig.start(LONG)) for _ in connecting]
        numbers = rig.account.limiter.statistics()
        assert (numbers.under_way, numbers.waiting, rig.send.times) == (2, 1, 2)
        connecting[0].reply.set_result(OK)
        await settle()
        numbers = rig.account.limiter.statistics()
        assert (numbers.under_way, numbers.waiting, rig.send.times) == (2, 0, 3)
        for each in connecting[1:]:
            each.reply.set_result(OK)
        await settle()
        assert rig.account.limiter.statistics().under_way == 0
        answer.set_result(OK)
        assert await asyncio.gather(*tasks) == ["ok"] * 3
        rig.assert_idle()


async def test_rate_limit_holds_for_them_too() -> None:
    """Long requests are sent no faster than the account's rate allows."""
    async with Rig(*(Held() for _ in range(30)), limits=PoolLimits(requests_per_second=5)) as rig:
        tasks = [await rig.begin(rig.start(LONG)) for _ in range(30)]
        assert rig.send.times == 1
        await rig.clock.advance(4.1)
        assert rig.send.times == 1 + 4 * 5
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


@pytest.mark.parametrize("fault", [NotSent("refused"), ReplyLost("cut"), Reply(500), Reply(401), Reply(429)])
async def test_failures_release_the_permit_once(fault: Any) -> None:
    """Whatever happens to a long request, its permit is released, and no other one."""
    async with Rig(fault, retry=RetryPolicy(attempts=2), limits=PoolLimits(requests_at_once=1)) as rig:
        assert isinstance(await rig.ends(rig.start(LONG)), AgentsError)
        rig.assert_idle()


async def test_cancelled_while_connecting_releases_the_permit() -> None:
    """A long request that is cancelled before it was sent releases its permit."""
    async with Rig(Held(is_connecting=True), OK, limits=PoolLimits(requests_at_once=1)) as rig:
        task = await rig.begin(rig.start(LONG))
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        assert await rig.start() == "ok"
        rig.assert_idle()


async def test_a_long_request_that_may_be_repeated() -> None:
    """A long read holds no permit either, and is retried like any read."""
    read = attrs.evolve(POLL, is_long=True, purpose=Purpose.CALL)
    held = Held()
    async with Rig(ReplyLost("cut"), held, limits=PoolLimits(requests_at_once=1)) as rig:
        task = await rig.begin(rig.caller.call(rig.account, read, read_text))
        await rig.clock.advance(10)
        assert (rig.send.times, rig.account.limiter.statistics().under_way) == (2, 0)
        held.reply.set_result(OK)
        assert await task == "ok"
        rig.assert_idle()


async def test_long_polls_leave_room_for_others() -> None:
    """Long polls release the permits for polls that they used."""
    poll = attrs.evolve(POLL, is_long=True)
    held = [Held() for _ in range(20)]
    async with Rig(*held, OK, limits=PoolLimits(requests_at_once=2)) as rig:
        tasks = [await rig.begin(rig.poll(poll)) for _ in held]
        assert rig.send.times == 20
        for each in held:
            each.reply.set_result(OK)
        assert await asyncio.gather(*tasks) == ["ok"] * 20
        assert await rig.poll() == "ok"
        rig.assert_idle()


async def test_so_many_wait_for_their_reply_at_once() -> None:
    """Beyond the limit a long request waits unsent, holds no permit, and may be cancelled."""
    held = [Held() for _ in range(3)]
    limits = PoolLimits(requests_at_once=1, long_at_once=2)
    async with Rig(*held, OK, limits=limits) as rig:
        tasks = [await rig.begin(rig.start(LONG)) for _ in range(5)]
        assert rig.send.times == 2
        numbers = rig.account.limiter.statistics()
        assert (numbers.under_way, numbers.waiting) == (0, 0)
        tasks[2].cancel()
        await settle()
        assert (rig.send.times, rig.emitted(StartAbandoned)) == (2, [])
        held[0].reply.set_result(OK)
        await settle()
        assert rig.send.times == 3
        for each in held[1:]:
            each.reply.set_result(OK)
        del tasks[2]
        assert await asyncio.gather(*tasks) == ["ok"] * 4
        rig.assert_idle()


@pytest.mark.parametrize("fault", [NotSent("refused"), ReplyLost("cut"), Reply(500), Reply(401)])
async def test_failures_release_the_long_permit_once(fault: Any) -> None:
    """Whatever happens to a long request, its permit is the next one's."""
    limits, retry = PoolLimits(long_at_once=1), RetryPolicy(attempts=2)
    async with Rig(fault, fault, fault, fault, OK, retry=retry, limits=limits) as rig:
        outcomes = [await rig.ends(rig.start(LONG)) for _ in range(5)]
        assert isinstance(outcomes[0], AgentsError)
        assert outcomes[-1] == "ok"
        assert not rig.account.limiter.long_permits.locked()


# ── their connections ───────────────────────────────────────────────────────────────────────────────────


class Server:
    """A server whose path `/slow` answers when a test says so, and whose other paths answer at once."""

    def __init__(self) -> None:
        self.answer = asyncio.Event()
        self.connections: list[Any] = []
        self.heads: list[Any] = []
        self.dropped = 0
        self.changed = asyncio.Condition()
        self.port = 0

    async def handle(self, request: web.Request) -> web.Response:
        """Answer one request."""
        assert request.transport is not None
        async with self.changed:
            self.connections.append(request.transport.get_extra_info("peername"))
            self.heads.append(request.headers)
            self.changed.notify_all()
        try:
            if request.path == "/slow":
                await self.answer.wait()
        except asyncio.CancelledError:
            self.dropped += 1
            async with self.changed:
                self.changed.notify_all()
            raise
        return web.Response(text="ok")

    async def until(self, is_so: Callable[[], bool]) -> None:
        """Wait until something was heard or dropped."""
        async with self.changed:
            await asyncio.wait_for(self.changed.wait_for(is_so), 10)

    def request(self, path: str = "/slow", *, is_long: bool = True, **options: Any) -> Request:
        """Build a start."""
        url = f"http://127.0.0.1:{self.port}{path}"
        return Request(
            **{
                "method": "POST",
                "url": url,
                "call": "c",
                "purpose": Purpose.START,
                "is_long": is_long,
                **options,
            }
        )


@asynccontextmanager
async def serving() -> AsyncIterator[Server]:
    """Serve on a free port of this machine."""
    server = Server()
    app = web.Application()
    app.router.add_route("*", "/{path}", server.handle)
    runner = web.AppRunner(app, handler_cancellation=True, shutdown_timeout=0.01)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    server.port = runner.addresses[0][1]
    try:
        yield server
    finally:
        await runner.cleanup()


def sender(
    *, timeouts: Timeouts = QUICK, session: aiohttp.ClientSession | None = None, per_host: int = 100
) -> HttpSend:
    """Make what is under test."""
    return HttpSend(limits=PoolLimits(per_host=per_host), timeouts=timeouts, session=session)


async def send_it(send: HttpSend, request: Request, on_sent_calls: list[None] | None = None) -> Reply:
    """Send, recording the first byte."""
    return await send.send(request, headers={}, on_sent=lambda: (on_sent_calls or []).append(None))


async def test_each_has_a_connection_of_its_own() -> None:
    """A long request uses no connection that was idle, and leaves none behind for others."""
    async with serving() as server, sender() as send:
        server.answer.set()
        for is_long in (False, False, True, True, False):
            assert (await send_it(send, server.request(is_long=is_long))).body == b"ok"
        first, second, third, fourth, fifth = server.connections
        assert first == second == fifth
        assert len({first, third, fourth}) == 3
        assert [head.get("Connection") for head in server.heads] == [None, None, "close", "close", None]


@pytest.mark.parametrize("is_start", [True, False])
async def test_many_at_one_host_block_nobody(is_start: bool) -> None:
    """Any number may be in flight at a host that has one connection for everything else, which is free."""
    on_sent_calls: list[None] = []
    async with serving() as server, sender(per_host=1) as send:
        request = server.request() if is_start else server.request(method="GET", purpose=Purpose.CALL)
        tasks = [asyncio.ensure_future(send_it(send, request, on_sent_calls)) for _ in range(40)]
        await server.until(lambda: len(server.heads) == 40)
        assert (await send_it(send, server.request("/quick", is_long=False))).body == b"ok"
        server.answer.set()
        assert [reply.body for reply in await asyncio.gather(*tasks)] == [b"ok"] * 40
        assert len(set(server.connections)) == 41


async def test_waited_for_without_end() -> None:
    """A long request outlasts the timeout of any other start; with a timeout of its own it does not."""
    async with serving() as server, sender(timeouts=HURRIED) as send:
        task = asyncio.ensure_future(send_it(send, server.request()))
        await server.until(lambda: len(server.heads) == 1)
        for request in (server.request(is_long=False), server.request(timeout=0.01)):
            with pytest.raises(ReplyLost):
                await send_it(send, request)
        assert not task.done()
        server.answer.set()
        assert (await task).body == b"ok"


async def test_bound_without_a_bound_on_connecting() -> None:
    """Where connecting has no timeout, a long request's own bounds the silence."""
    async with serving() as server, sender(timeouts=Timeouts(connect=None)) as send:
        with pytest.raises(ReplyLost):
            await send_it(send, server.request(timeout=0.2))


async def test_not_sent_where_nobody_listens() -> None:
    """Without a connection a long request was not sent."""
    on_sent_calls: list[None] = []
    async with serving() as server:
        request = server.request()
    async with sender() as send:
        with pytest.raises(NotSent):
            await send_it(send, request, on_sent_calls)
    assert on_sent_calls == []


async def test_connecting_has_its_bound() -> None:
    """A connection that is not established is given up in time, however long the request itself may be."""
    held = asyncio.Event()

    async def accept(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await held.wait()
        writer.close()

    tcp = await asyncio.start_server(accept, "127.0.0.1", 0)
    url = f"https://127.0.0.1:{tcp.sockets[0].getsockname()[1]}/slow"
    async with tcp, sender(timeouts=HURRIED) as send:
        with pytest.raises(NotSent, match="no connection in time"):
            await send_it(send, attrs.evolve(LONG, url=url))
        held.set()


async def test_cancelled_at_the_last_moment() -> None:
    """Where `on_sent` raises, no byte is sent, and nobody else uses the connection."""

    def forbid() -> None:
        raise asyncio.CancelledError

    async with serving() as server, sender() as send:
        for is_long in (True, False):
            with pytest.raises(asyncio.CancelledError):
                await send.send(server.request("/quick", is_long=is_long), headers={}, on_sent=forbid)
        assert (await send_it(send, server.request("/quick", is_long=False))).body == b"ok"
        assert len(server.heads) == 1


async def test_over_a_session_of_the_callers() -> None:
    """A session of the caller's is used for long requests too, without end, and stays open."""
    async with (
        serving() as server,
        aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=0.03)) as session,
    ):
        async with sender(timeouts=HURRIED, session=session) as send:
            on_sent_calls: list[None] = []
            task = asyncio.ensure_future(
                send.send(server.request(), headers={}, on_sent=lambda: on_sent_calls.append(None))
            )
            await server.until(lambda: len(server.heads) == 1)
            with pytest.raises(ReplyLost):
                await send_it(send, server.request(timeout=0.01))
            assert (task.done(), len(on_sent_calls)) == (False, 1)
            server.answer.set()
            assert (await task).body == b"ok"
        assert not session.closed


async def test_closing_ends_them() -> None:
    """Closing the connections ends long requests as lost, or as not sent; afterwards there are none."""
    async with serving() as server, sender() as send:
        task = asyncio.ensure_future(send_it(send, server.request()))
        await server.until(lambda: len(server.heads) == 1)
        await send.aclose()
        with pytest.raises(ReplyLost):
            await task
        await server.until(lambda: server.dropped == 1)
        with pytest.raises(PoolClosed):
            await send_it(send, server.request())


# ── in a pool ───────────────────────────────────────────────────────────────────────────────────────────


def _account(pool: SessionPool) -> Account:
    return pool.account("v", name="v", vendor="v", headers={})


def _start(server: Server, **changes: Any) -> Start[str]:
    start: Start[str] = Start(
        vendor="v", request=server.request(), read=read_text, target="t", advice="Check there."
    )
    return attrs.evolve(start, **changes)


async def test_pool_that_closes_ends_them_as_unknown() -> None:
    """A long start that is in flight when its pool closes is unknown, and its connection is closed."""
    async with serving() as server:
        pool = SessionPool(timeouts=QUICK)
        async with pool:
            task = asyncio.ensure_future(pool.caller.start(_account(pool), _start(server)))
            await server.until(lambda: len(server.heads) == 1)
        with pytest.raises(StartUnknown) as caught:
            await task
        assert isinstance(caught.value.__cause__, ReplyLost)
        await server.until(lambda: server.dropped == 1)


@pytest.mark.parametrize("has_session", [False, True])
async def test_found_run_closes_the_connection(has_session: bool) -> None:
    """A run that is found before the reply is returned at once, and the server sees the connection end."""
    session = aiohttp.ClientSession() if has_session else None
    async with serving() as server:
        async with SessionPool(timeouts=QUICK, session=session) as pool:
            sight: asyncio.Future[str] = asyncio.get_running_loop().create_future()

            async def find_early(_: PendingStart[str]) -> str:
                return await sight

            task = asyncio.ensure_future(
                pool.caller.start(_account(pool), _start(server, find_early=find_early))
            )
            await server.until(lambda: len(server.heads) == 1)
            sight.set_result("seen")
            assert await task == "seen"
            await server.until(lambda: server.dropped == 1)
            assert pool.statistics().accounts["v"].under_way == 0
        if session is not None:
            await session.close()


async def test_cancelled_caller_keeps_the_connection() -> None:
    """A long start goes on without its caller, and the connection stays until the reply arrives."""
    async with serving() as server, SessionPool(timeouts=QUICK) as pool:
        task = asyncio.ensure_future(pool.caller.start(_account(pool), _start(server)))
        await server.until(lambda: len(server.heads) == 1)
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
        await settle()
        assert server.dropped == 0
        server.answer.set()
        await pool.caller.drain(5.0)
        assert server.dropped == 0
        assert pool.caller.starts == 1
