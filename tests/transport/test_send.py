"""Requests over real sockets, all to this machine: what is sent, what comes back, and what is known otherwise."""

import asyncio
import gzip
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any

import aiohttp
import pytest

from aioagents.errors import DecodeError, NotSent, PoolClosed, ReplyLost
from aioagents.model import Purpose, Reply, Request
from aioagents.transport import HttpSend, PoolLimits, Timeouts
from tests.fakes import settle

pytestmark = pytest.mark.usefixtures("way")

SECRET = "hunter2"
SIGNED = {"Authorization": f"Bearer {SECRET}"}
QUICK = Timeouts(connect=5, read=5, start=5)
HURRIED = Timeouts(connect=0.2, read=0.01, start=0.01)
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"

Answer = bytes | Callable[["Peer", asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


class Peer:
    """A server that answers each request with the next of its answers; the last one is repeated."""

    def __init__(self, *answers: Answer) -> None:
        self.answers = list(answers)
        self.heads: list[str] = []
        self.bodies: list[bytes] = []
        self.came = asyncio.Event()
        self.connections = 0
        self.port = 0

    @property
    def origin(self) -> str:
        """Return how URLs to it begin."""
        return f"http://127.0.0.1:{self.port}"

    def request(self, path: str = "/a", *, is_start: bool = False, **options: Any) -> Request:
        """Return a poll or a start."""
        if is_start:
            options = {"body": b'{"a": 1}', "purpose": Purpose.START, "method": "POST", **options}
        else:
            options = {"purpose": Purpose.POLL, "method": "GET", **options}
        return Request(url=self.origin + path, call="c", **options)

    async def heard(self) -> None:
        """Wait until a request has arrived."""
        await self.came.wait()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one connection."""
        self.connections += 1
        with suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode()
                self.heads.append(head)
                self.came.set()
                length = [line for line in head.lower().split("\r\n") if line.startswith("content-length")]
                self.bodies.append(await reader.readexactly(int(length[0].split(":")[1])) if length else b"")
                answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
                if not isinstance(answer, bytes):
                    await answer(self, reader, writer)
                    break
                writer.write(answer)
                await writer.drain()
        writer.close()


@asynccontextmanager
async def peer(*answers: Answer) -> AsyncIterator[Peer]:
    """Serve answers on a free port of this machine."""
    it = Peer(*answers)
    tasks: set[asyncio.Task[None]] = set()

    def take(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.ensure_future(it.serve(reader, writer))
        tasks.add(task)
        task.add_done_callback(lambda _: writer.close())

    server = await asyncio.start_server(take, "127.0.0.1", 0)
    it.port = server.sockets[0].getsockname()[1]
    try:
        yield it
    finally:
        server.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await server.wait_closed()


def sender(
    *, timeouts: Timeouts = QUICK, session: aiohttp.ClientSession | None = None, **limits: int
) -> HttpSend:
    """Return what is under test."""
    return HttpSend(limits=PoolLimits(**limits), timeouts=timeouts, session=session)


async def get(send: HttpSend, request: Request) -> Reply:
    """Send what may be repeated."""
    return await send.send(request, headers=SIGNED)


async def silence(_: Peer, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Never answer."""
    await reader.read()


async def reset(_: Peer, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Break the connection."""
    writer.transport.abort()


# ── what leaves and what comes back ─────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("is_start", [False, True])
async def test_sends_the_request_as_it_is(is_start: bool) -> None:
    """Method, path, headers, signature and body arrive as they are; encoded paths stay encoded."""
    async with peer(OK) as it, sender() as send:
        request = it.request("/a%2Fb/%E2%82%AC?x=%2B1&y[gt]=2", is_start=is_start, headers={"X-One": "1"})
        on_sent_calls: list[int] = []
        on_sent = (lambda: on_sent_calls.append(len(it.heads))) if is_start else None
        reply = await send.send(request, headers=SIGNED, on_sent=on_sent)
        assert (reply.status, reply.body, reply.headers["content-length"]) == (200, b"ok", "2")
        (head,) = it.heads
        assert head.startswith(f"{request.method} /a%2Fb/%E2%82%AC?x=%2B1&y[gt]=2 HTTP/1.1\r\n")
        for line in ("X-One: 1", f"Authorization: Bearer {SECRET}", "User-Agent: aioagents"):
            assert f"\r\n{line}\r\n" in head
        assert it.bodies == [request.body or b""]
        assert on_sent_calls == ([0] if is_start else [])


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_redirects_are_not_followed(status: int) -> None:
    """A redirect is returned, and nothing is sent to its target."""
    async with peer(OK) as other, sender() as send:
        moved = f"HTTP/1.1 {status} X\r\nLocation: {other.origin}/b\r\nContent-Length: 0\r\n\r\n".encode()
        async with peer(moved) as it:
            assert (await get(send, it.request())).status == status
            assert len(it.heads) == 1
        assert other.connections == 0


async def test_cookies_are_not_kept() -> None:
    """A cookie that is set is not sent back."""
    baked = b"HTTP/1.1 200 OK\r\nSet-Cookie: a=hunter2; Path=/\r\nContent-Length: 0\r\n\r\n"
    async with peer(baked, OK) as it, sender() as send:
        await get(send, it.request())
        await get(send, it.request())
        assert "cookie" not in it.heads[1].lower()


async def test_connections_are_kept() -> None:
    """Requests in a row share a connection, starts and polls alike."""
    async with peer(OK) as it, sender() as send:
        for _ in range(3):
            await get(send, it.request())
            await send.send(it.request(is_start=True), headers={}, on_sent=lambda: None)
        assert (len(it.heads), it.connections) == (6, 1)


async def test_connections_are_kept_for_as_long_as_is_set() -> None:
    """An idle connection is kept for as long as is set, by default longer than aiohttp's 15 seconds."""
    async with peer(OK) as it, sender(timeouts=Timeouts(keep_alive=0.001)) as send:
        await get(send, it.request())
        await asyncio.sleep(0.01)
        await get(send, it.request())
        assert it.connections == 2
    assert Timeouts().keep_alive > 60


async def test_a_stalled_host_starves_no_other() -> None:
    """However many requests wait at one host, another answers."""
    async with peer(silence) as stalled, peer(OK) as it, sender(per_host=1) as send:
        tasks = [asyncio.ensure_future(get(send, stalled.request())) for _ in range(20)]
        await stalled.heard()
        assert (await get(send, it.request())).body == b"ok"
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


# ── the size limit ──────────────────────────────────────────────────────────────────────────────────────


def _plain(body: bytes) -> bytes:
    return b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body) + body


def _chunked(body: bytes) -> bytes:
    pieces = [body[at : at + 100] for at in range(0, len(body), 100)] + [b""]
    return b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + b"".join(
        b"%x\r\n%s\r\n" % (len(piece), piece) for piece in pieces
    )


def _gzip(body: bytes) -> bytes:
    packed = gzip.compress(body)
    return b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: %d\r\n\r\n" % len(packed) + packed


@pytest.mark.parametrize("form", [_plain, _chunked, _gzip])
@pytest.mark.parametrize("is_start", [False, True])
async def test_size_limit(form: Callable[[bytes], bytes], is_start: bool) -> None:
    """A reply up to the limit is read, a larger one is a DecodeError, however it is encoded."""
    on_sent = (lambda: None) if is_start else None
    async with peer(form(b"x" * 5000), form(b"x" * 5001), OK) as it, sender(reply_bytes=5000) as send:
        reply = await send.send(it.request(is_start=is_start), headers={}, on_sent=on_sent)
        assert reply.body == b"x" * 5000
        with pytest.raises(DecodeError, match="larger than 5000 bytes") as caught:
            await send.send(it.request(is_start=is_start), headers={}, on_sent=on_sent)
        assert (caught.value.call, caught.value.status) == ("c", 200)
        assert (await get(send, it.request())).body == b"ok"


async def test_gzip_bombs_are_not_decompressed() -> None:
    """A small reply that decompresses to twenty megabytes is given up at the limit."""
    async with peer(_gzip(bytes(20_000_000))) as it, sender(reply_bytes=100_000) as send:
        with pytest.raises(DecodeError):
            await get(send, it.request())


# ── not sent ────────────────────────────────────────────────────────────────────────────────────────────


async def _assert_not_sent(send: HttpSend, request: Request, reason: str) -> None:
    """Assert that with and without `on_sent`, nothing counts as sent."""
    on_sent_calls: list[None] = []
    for on_sent in (None, lambda: on_sent_calls.append(None)):
        with pytest.raises(NotSent) as caught:
            await send.send(request, headers=SIGNED, on_sent=on_sent)
        assert reason in str(caught.value)
        assert caught.value.call == "c"
        assert caught.value.__cause__ is not None
    assert on_sent_calls == []


async def test_refused_connection_is_not_sent() -> None:
    """Where nobody listens, nothing was sent."""
    async with peer(OK) as it:
        request = it.request()
    async with sender() as send:
        await _assert_not_sent(send, request, "was not sent")


async def test_unknown_host_is_not_sent() -> None:
    """Where a host name does not resolve, nothing was sent."""
    async with sender() as send:
        request = Request(method="GET", url="http://no-such-host.invalid/a", call="c", purpose=Purpose.POLL)
        await _assert_not_sent(send, request, "does not resolve")


async def test_tls_to_a_plain_port_is_not_sent() -> None:
    """Where TLS fails, nothing was sent."""

    async def plain(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(OK)
        with suppress(ConnectionError):
            await writer.drain()
        writer.close()

    server = await asyncio.start_server(plain, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    async with server, sender() as send:
        url = f"https://127.0.0.1:{port}/a"
        await _assert_not_sent(
            send, Request(method="GET", url=url, call="c", purpose=Purpose.POLL), "was not sent"
        )


async def test_connection_that_breaks_in_the_handshake_is_not_sent() -> None:
    """Where a connection ends during the TLS handshake, nothing was sent."""

    def close(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.close()

    server = await asyncio.start_server(close, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    async with server, sender() as send:
        url = f"https://127.0.0.1:{port}/a"
        await _assert_not_sent(
            send, Request(method="GET", url=url, call="c", purpose=Purpose.POLL), "was not sent"
        )


async def test_no_connection_in_time_is_not_sent() -> None:
    """A request that got no connection in time, since all are busy, was not sent."""
    async with peer(silence) as it, sender(timeouts=Timeouts(connect=0.2, read=5), per_host=1) as send:
        busy = asyncio.ensure_future(get(send, it.request()))
        await it.heard()
        await _assert_not_sent(send, it.request(), "no connection in time")
        busy.cancel()
        await asyncio.gather(busy, return_exceptions=True)
        assert len(it.heads) == 1


async def test_malformed_url_is_not_sent() -> None:
    """A URL that cannot be connected to raises an error of ours, not aiohttp's."""
    async with sender() as send:
        await _assert_not_sent(
            send, Request(method="GET", url="http:///a", call="c", purpose=Purpose.POLL), "was not sent"
        )


async def test_cancelled_while_connecting_nothing_is_sent() -> None:
    """A request that is cancelled while it waits for a connection was not sent."""
    on_sent_calls: list[None] = []
    async with peer(silence) as it, sender(per_host=1) as send:
        busy = asyncio.ensure_future(get(send, it.request()))
        await it.heard()
        task = asyncio.ensure_future(
            send.send(it.request(is_start=True), headers={}, on_sent=lambda: on_sent_calls.append(None))
        )
        await asyncio.sleep(0.005)
        for each in (task, busy):
            each.cancel()
        await asyncio.gather(task, busy, return_exceptions=True)
        assert on_sent_calls == []
        assert len(it.heads) == 1


# ── the reply is lost ───────────────────────────────────────────────────────────────────────────────────


async def _stutter(_: Peer, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc")
    await reader.read()


async def _half_head(_: Peer, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Le")
    await writer.drain()


LOST: dict[str, tuple[Answer, Timeouts]] = {
    "reset after reading": (reset, QUICK),
    "closed after reading": (b"", QUICK),
    "no reply in time": (silence, HURRIED),
    "slow body": (_stutter, HURRIED),
    "truncated head": (_half_head, QUICK),
    "truncated body": (b"HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\nhunter2", QUICK),
    "truncated chunks": (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n9\r\nhunter2", QUICK),
    "broken chunks": (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\nhunter2\r\n", QUICK),
    "broken gzip": (
        b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 18\r\n\r\n%shunter2"
        % b"\x1f\x8b\x08\0\0\0\0\0\0\x03\x07",
        QUICK,
    ),
    "not HTTP": (b"SSH-2.0-hunter2\r\n\r\n", QUICK),
    "broken header": (b"HTTP/1.1 200 OK\r\nhunter2\r\n\r\n", QUICK),
    "broken length": (b"HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\nhunter2", QUICK),
    "header too long": (b"HTTP/1.1 200 OK\r\nX: " + b"hunter2" * 9500 + b"\r\n\r\n", QUICK),
}


async def _then_close(answer: bytes, writer: asyncio.StreamWriter) -> None:
    writer.write(answer)
    with suppress(ConnectionError):
        await writer.drain()


@pytest.mark.parametrize("name", LOST)
@pytest.mark.parametrize("is_start", [False, True])
async def test_reply_lost(name: str, is_start: bool) -> None:
    """Whatever happens to a reply, the request was sent, once where it must not be repeated, and nothing is shown."""
    answer, timeouts = LOST[name]
    on_sent_calls: list[None] = []
    on_sent = (lambda: on_sent_calls.append(None)) if is_start else None

    async def answer_and_close(it: Peer, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if isinstance(answer, bytes):
            await _then_close(answer, writer)
        else:
            await answer(it, reader, writer)

    async with peer(answer_and_close) as it, sender(timeouts=timeouts) as send:
        with pytest.raises(ReplyLost) as caught:
            await send.send(it.request(is_start=is_start), headers=SIGNED, on_sent=on_sent)
        assert caught.value.call == "c"
        shown: BaseException | None = caught.value
        while shown is not None:
            assert SECRET not in f"{shown} {shown!r}"
            assert not isinstance(shown, aiohttp.ClientResponseError)
            shown = shown.__cause__ or shown.__context__
        if is_start:
            assert len(on_sent_calls) == 1
            assert len(it.heads) == 1


async def test_reset_before_reading_is_lost() -> None:
    """A connection that is reset before anything is read may have been read from, for all that is known."""
    writers: list[asyncio.StreamWriter] = []
    on_sent_calls: list[None] = []

    def reset_now() -> None:
        on_sent_calls.append(None)
        writers[0].transport.abort()

    server = await asyncio.start_server(lambda _, writer: writers.append(writer), "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    request = Request(
        method="POST", url=f"http://127.0.0.1:{port}/a", call="c", purpose=Purpose.START, body=b"x" * 10
    )
    async with server, sender() as send:
        with pytest.raises(ReplyLost):
            await send.send(request, headers={}, on_sent=reset_now)
    assert len(on_sent_calls) == 1


@pytest.mark.parametrize("timeouts", [Timeouts(connect=None, read=0.02), Timeouts(connect=None, read=None)])
async def test_timeouts_without_end(timeouts: Timeouts) -> None:
    """A timeout without end is none, and leaves the other bounds as they are."""
    async with peer(OK) as it, sender(timeouts=timeouts) as send:
        assert (await get(send, it.request())).body == b"ok"
    if timeouts.read is not None:
        async with peer(silence) as it, sender(timeouts=timeouts) as send:
            with pytest.raises(ReplyLost):
                await get(send, it.request())


async def test_a_request_may_have_its_own_timeout() -> None:
    """A request's own timeout is used in place of the pool's."""
    async with peer(silence) as it, sender(timeouts=Timeouts(connect=0.2, read=None)) as send:
        with pytest.raises(ReplyLost):
            await get(send, it.request(timeout=0.01))


async def test_cancelled_in_flight_the_connection_is_not_used_again() -> None:
    """A reply that nobody waited for cannot be taken for the next request's."""

    async def late(_: Peer, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()

    async with peer(late, OK) as it, sender() as send:
        task = asyncio.ensure_future(get(send, it.request()))
        await it.heard()
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        assert (await get(send, it.request())).body == b"ok"
        assert it.connections == 2


# ── a session of the caller's, and the end ──────────────────────────────────────────────────────────────


async def test_a_session_of_the_callers_is_used_and_not_closed() -> None:
    """A session of the caller's is used for everything, and is still open afterwards."""
    async with peer(OK) as it, aiohttp.ClientSession(headers={"X-Mine": "1"}) as session:
        async with sender(session=session) as send:
            on_sent_calls: list[int] = []
            await get(send, it.request())
            await send.send(
                it.request(is_start=True), headers={}, on_sent=lambda: on_sent_calls.append(len(it.heads))
            )
            assert all("X-Mine: 1" in head for head in it.heads)
            assert on_sent_calls == [1]
        assert not session.closed


async def test_a_session_of_the_callers_knows_what_was_not_sent() -> None:
    """Over a session of the caller's too, a refused connection is not sent, and a lost reply is lost."""
    async with peer(reset) as it, aiohttp.ClientSession() as session, sender(session=session) as send:
        with pytest.raises(ReplyLost):
            await send.send(it.request(is_start=True), headers={}, on_sent=lambda: None)
    async with aiohttp.ClientSession() as session, sender(session=session) as send:
        for on_sent in (None, lambda: None):
            with pytest.raises(NotSent):
                await send.send(it.request(is_start=True), headers={}, on_sent=on_sent)


async def test_a_closed_session_of_the_callers_is_an_error() -> None:
    """A session of the caller's that was closed meanwhile raises an error that says so."""
    session = aiohttp.ClientSession()
    await session.close()
    async with peer(OK) as it, sender(session=session) as send:
        with pytest.raises(PoolClosed, match="handed to the pool"):
            await get(send, it.request())


async def test_closed_sends_nothing() -> None:
    """Before it is opened and after it was closed, nothing can be sent; closing twice does no harm."""
    send = sender()
    async with peer(OK) as it:
        with pytest.raises(PoolClosed):
            await get(send, it.request())
        async with send:
            await get(send, it.request())
        await send.aclose()
        with pytest.raises(PoolClosed):
            await get(send, it.request())


@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_closing_ends_requests_in_flight(method: str) -> None:
    """A call in flight while the connections are closed raises PoolClosed; a start in flight has lost its reply."""
    async with peer(silence) as it, sender() as send:
        task = asyncio.ensure_future(get(send, it.request(method=method)))
        await it.heard()
        await send.aclose()
        with pytest.raises(PoolClosed):
            await task
    async with peer(silence) as it, sender() as send:
        task = asyncio.ensure_future(send.send(it.request(is_start=True), headers={}, on_sent=lambda: None))
        await it.heard()
        await send.aclose()
        with pytest.raises(ReplyLost):
            await task


@pytest.mark.parametrize("is_start", [False, True])
async def test_closing_ends_what_waits_for_a_connection(is_start: bool) -> None:
    """A request that waits for a connection while all are closed was not sent, and raises why."""
    async with peer(silence) as it, sender(per_host=1) as send:
        busy = asyncio.ensure_future(get(send, it.request()))
        await it.heard()
        on_sent = (lambda: None) if is_start else None
        task = asyncio.ensure_future(send.send(it.request(is_start=is_start), headers={}, on_sent=on_sent))
        await settle()
        await send.aclose()
        with pytest.raises(PoolClosed):
            await task
        await asyncio.gather(busy, return_exceptions=True)


async def test_other_exceptions_are_not_translated() -> None:
    """A header that HTTP does not allow is an error of its author's, and no lost reply."""
    async with peer(OK) as it, sender() as send:
        with pytest.raises(ValueError, match="header"):
            await send.send(it.request(), headers={"X": "a\nb"})
