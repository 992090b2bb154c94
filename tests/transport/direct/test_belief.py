"""Whose reply is it? Servers that say more than they were asked, or close when they are asked."""

import asyncio
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest
import trustme

from aioagents.errors import NotSent, ReplyLost
from aioagents.model import Purpose, Request
from aioagents.transport import HttpSend
from tests.transport.raw import Line, Serve, Server, sender, serving

STRANGER = b"HTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\nstranger"


def own(number: int) -> bytes:
    """Return the reply to the request of that number."""
    body = b"own %d" % number
    return b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body)


@pytest.fixture(params=["plain", "TLSv1_2", "TLSv1_3"])
def tls(request: pytest.FixtureRequest, authority: trustme.CA) -> ssl.SSLContext | None:
    """Return what servers serve with."""
    if request.param == "plain":
        return None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.maximum_version = ssl.TLSVersion[request.param]
    authority.issue_cert("127.0.0.1").configure_cert(context)
    return context


@pytest.fixture(params=[Purpose.POLL, Purpose.START])
def purpose(request: pytest.FixtureRequest) -> Purpose:
    """Return what requests are made for."""
    found: Purpose = request.param
    return found


@asynccontextmanager
async def both(
    serve: Serve, tls: ssl.SSLContext | None, client_tls: ssl.SSLContext
) -> AsyncIterator[tuple[Server, HttpSend]]:
    """Return a server and what sends to it."""
    async with serving(serve, tls=tls) as it, sender(tls=client_tls) as send:
        yield it, send


async def body_of(send: HttpSend, request: Request) -> bytes:
    """Send, and return the body of the reply."""
    on_sent = (lambda: None) if request.purpose is Purpose.START else None
    return (await send.send(request, headers={}, on_sent=on_sent)).body


def answering(extra: Callable[[Line], object] | None = None) -> Serve:
    """Return what answers each request with its number, and after the first one does something more."""
    count = 0

    async def serve(line: Line) -> None:
        nonlocal count
        while True:
            await line.hear()
            if "content-length" in line.head:
                await line.body()
            count += 1
            line.writer.write(own(count))
            if count == 1 and extra is not None:
                extra(line)

    return serve


async def test_a_second_reply_on_the_idle_connection(
    tls: ssl.SSLContext | None, client_tls: ssl.SSLContext, purpose: Purpose
) -> None:
    """A reply that comes after the one that was asked for answers nobody, and closes its connection at once."""
    async with both(answering(), tls, client_tls) as (it, send):
        request = it.request(purpose=purpose)
        assert await body_of(send, request) == b"own 1"
        await it.lines[0].write(STRANGER)
        await it.has_ended.wait()
        assert await body_of(send, request) == b"own 2"
        assert it.connections == 2


async def test_a_second_reply_that_was_not_read_yet(
    tls: ssl.SSLContext | None, client_tls: ssl.SSLContext, purpose: Purpose
) -> None:
    """A reply that has arrived in this machine, but not in the event loop yet, answers nobody either."""
    async with both(answering(), tls, client_tls) as (it, send):
        request = it.request(purpose=purpose)
        assert await body_of(send, request) == b"own 1"
        it.lines[0].writer.write(STRANGER)  # it is there when the next line takes the connection
        assert await body_of(send, request) == b"own 2"
        assert it.connections == 2


async def test_bytes_right_behind_a_reply(
    tls: ssl.SSLContext | None, client_tls: ssl.SSLContext, purpose: Purpose
) -> None:
    """What follows a reply in the same packet answers nobody."""
    for extra in (STRANGER, b"\r\n", b"x"):
        serve = answering(lambda line, extra=extra: line.writer.write(extra))  # type: ignore[misc]  # bound now
        async with both(serve, tls, client_tls) as (it, send):
            request = it.request(purpose=purpose)
            assert [await body_of(send, request) for _ in range(2)] == [b"own 1", b"own 2"]
            assert it.connections == 2


@pytest.mark.parametrize("extra", [b"HTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\nstranger", b"\0"])
async def test_a_server_that_speaks_first(
    tls: ssl.SSLContext | None, client_tls: ssl.SSLContext, purpose: Purpose, extra: bytes
) -> None:
    """A reply that comes before its request was sent is none, and nothing is sent there.

    With TLS 1.3 the request leaves together with the end of the handshake, so that no server can be earlier.
    """
    if tls is not None and tls.maximum_version is ssl.TLSVersion.TLSv1_3:
        pytest.skip("no server can be earlier")

    async def serve(line: Line) -> None:
        if len(it.lines) == 1:
            await line.write(extra)
            await line.gone()
            return
        await answering()(line)

    async with both(serve, tls, client_tls) as (it, send):
        request = it.request(purpose=purpose)
        with pytest.raises(NotSent):
            await body_of(send, request)
        assert await body_of(send, request) == b"own 1"


async def test_a_connection_that_was_just_closed(
    tls: ssl.SSLContext | None, client_tls: ssl.SSLContext, purpose: Purpose
) -> None:
    """A connection that the server has closed is not used, also where the event loop does not know it yet."""
    for close in ("close", "abort"):
        async with both(answering(), tls, client_tls) as (it, send):
            request = it.request(purpose=purpose)
            assert await body_of(send, request) == b"own 1"
            getattr(it.lines[0].writer.transport, close)()
            await asyncio.sleep(0)  # in which the server's end closes its socket
            assert await body_of(send, request) == b"own 2"
            assert it.connections == 2


async def test_a_server_that_says_that_it_closes(
    tls: ssl.SSLContext | None, client_tls: ssl.SSLContext, purpose: Purpose
) -> None:
    """After `Connection: close` a connection is not used again, though the server leaves it open."""

    async def serve(line: Line) -> None:
        for _ in range(2):
            await line.hear()
            await line.write(own(1).replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"))

    async with both(serve, tls, client_tls) as (it, send):
        request = it.request(method="GET", purpose=purpose)
        for _ in range(2):
            await body_of(send, request)
        assert it.connections == 2


def closing(heads: list[str], *answers: bytes) -> Serve:
    """Return what answers the requests of all connections in a row, and closes after an answer that is not whole."""
    left = list(answers)

    async def serve(line: Line) -> None:
        while left:
            heads.append(await line.hear())
            answer = left.pop(0)
            await line.write(answer)
            if not answer.startswith(b"HTTP/1.1 200 OK\r\nContent-Length"):
                return

    return serve


async def test_a_poll_on_a_connection_that_had_just_been_closed_is_sent_again() -> None:
    """A poll whose connection had been idle, and ends before any byte, is sent again, once; a start is not."""
    heads: list[str] = []
    async with serving(closing(heads, own(1), b"", own(2))) as it, sender() as send:
        request = it.request(method="GET", purpose=Purpose.POLL)
        assert [await body_of(send, request) for _ in range(2)] == [b"own 1", b"own 2"]
        assert len(heads) == 3
    heads.clear()
    async with serving(closing(heads, own(1), b"", b"")) as it, sender() as send:
        request = it.request(method="GET", purpose=Purpose.POLL)
        assert await body_of(send, request) == b"own 1"
        with pytest.raises(ReplyLost):
            await body_of(send, request)
        assert len(heads) == 3
    heads.clear()
    async with serving(closing(heads, own(1), b"", own(2))) as it, sender() as send:
        request = it.request(method="GET", purpose=Purpose.START)
        assert await body_of(send, request) == b"own 1"
        with pytest.raises(ReplyLost):
            await body_of(send, request)
        assert len(heads) == 2


@pytest.mark.parametrize("answers", [(b"",), (own(1), b"HTTP/1.1 200"), (own(1), b"HTTP/1.1 200 OK\r\n\r\n")])
async def test_a_poll_is_not_sent_again_otherwise(answers: tuple[bytes, ...]) -> None:
    """A poll on a new connection, or whose reply has begun, is not sent again by this layer."""
    heads: list[str] = []
    async with serving(closing(heads, *answers, own(9))) as it, sender() as send:
        request = it.request(method="GET", purpose=Purpose.POLL)
        for _ in answers[:-1]:
            await body_of(send, request)
        if answers[-1].endswith(b"\r\n\r\n"):
            assert await body_of(send, request) == b""  # it ended with its connection
        else:
            with pytest.raises(ReplyLost):
                await body_of(send, request)
        assert len(heads) == len(answers)


async def test_a_start_takes_no_connection_that_a_server_drops_early() -> None:
    """Where a server keeps connections for no time at all, a start has a new one, and a poll too."""

    async def serve(line: Line) -> None:
        while True:
            await line.hear()
            await line.write(own(1).replace(b"\r\n\r\n", b"\r\nKeep-Alive: timeout=0\r\n\r\n"))

    async with serving(serve) as it, sender() as send:
        for purpose in (Purpose.START, Purpose.START, Purpose.POLL):
            await body_of(send, it.request(method="GET", purpose=purpose))
        assert it.connections == 3
