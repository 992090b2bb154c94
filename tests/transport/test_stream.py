"""Replies that are read while they arrive, over real sockets: what arrives, what breaks off, what leaving does."""

import asyncio
import gzip
from collections.abc import Awaitable, Callable
from typing import Any

import aiohttp
import pytest

from aioagents.errors import NotSent, PoolClosed, ReplyLost
from aioagents.model import StreamedReply, StreamSend, Upload
from aioagents.transport import Timeouts
from tests.transport.raw import OK, STREAM, Line, sender, serving

SECRET = "hunter2"
SIGNED = {"Authorization": f"Bearer {SECRET}"}

Serve = Callable[[Line], Awaitable[None]]


class SteppedServer:
    """A server whose stream goes on when a test says so."""

    def __init__(self) -> None:
        self.may_go_on = asyncio.Event()
        self.is_gone = asyncio.Event()
        self.heads: list[str] = []

    async def __call__(self, line: Line) -> None:
        """Send a first chunk, another when the test says so, and then wait for the client to leave."""
        self.heads.append(await line.hear())
        await line.write(STREAM)
        await line.chunk(b"one")
        await self.may_go_on.wait()
        await line.chunk(b"two")
        await line.gone()
        self.is_gone.set()


async def _all(reply: StreamedReply) -> bytes:
    return b"".join([piece async for piece in reply.pieces()])


# ── what comes ──────────────────────────────────────────────────────────────────────────────────────────


async def test_pieces_are_returned_as_they_arrive() -> None:
    """Headers and first piece are there before the server sends the second piece."""
    server = SteppedServer()
    async with serving(server) as it, sender() as send:
        assert isinstance(send, StreamSend)
        async with send.stream(it.request(headers={"X-One": "1"}), headers=SIGNED) as reply:
            assert (reply.status, reply.headers["content-type"]) == (200, "text/event-stream")
            pieces = reply.pieces()
            assert await anext(pieces) == b"one"
            server.may_go_on.set()
            assert await anext(pieces) == b"two"
    (head,) = server.heads
    assert head.startswith("post /a http/1.1\r\n")
    for line in ("x-one: 1", f"authorization: bearer {SECRET}", "accept-encoding: identity"):
        assert f"\r\n{line}\r\n" in head


@pytest.mark.parametrize("is_packed", [False, True])
async def test_a_whole_body_ends(is_packed: bool) -> None:
    """A complete body ends the pieces, whatever sizes it arrived in; a compressed one is decompressed."""
    packed = gzip.compress(b"abcdef")

    async def serve(line: Line) -> None:
        await line.hear()
        if is_packed:
            await line.write(STREAM.replace(b"Content-Type", b"Content-Encoding: gzip\r\nContent-Type"))
            await line.chunk(*(packed[at : at + 1] for at in range(len(packed))), b"")
        else:
            await line.write(STREAM)
            await line.chunk(b"a", b"bcd", b"ef", b"")

    async with serving(serve) as it, sender() as send, send.stream(it.request(), headers={}) as reply:
        pieces = [piece async for piece in reply.pieces()]
    assert b"".join(pieces) == b"abcdef"
    assert b"" not in pieces


@pytest.mark.parametrize("answer", [OK, b"HTTP/1.1 200 OK\r\n\r\nok"])
async def test_other_bodies_are_streams_too(answer: bytes) -> None:
    """A body with a length, and one that ends with its connection, are read to their end."""

    async def serve(line: Line) -> None:
        await line.hear()
        await line.write(answer)

    async with serving(serve) as it, sender() as send, send.stream(it.request(), headers={}) as reply:
        assert await _all(reply) == b"ok"


async def test_the_whole_has_no_bound() -> None:
    """Neither the pool's limit on the size of replies nor its timeouts apply to a stream that goes on."""

    async def serve(line: Line) -> None:
        await line.hear()
        await line.write(STREAM)
        for _ in range(10):
            await line.chunk(bytes(1000))
            await asyncio.sleep(0.02)
        await line.chunk(b"")

    timeouts = Timeouts(connect=5, read=0.05, start=0.05, silence=5)
    async with (
        serving(serve) as it,
        sender(timeouts=timeouts, reply_bytes=2000) as send,
        send.stream(it.request(), headers={}) as reply,
    ):
        assert len(await _all(reply)) == 10_000


async def test_a_reader_that_falls_behind_holds_back_its_server() -> None:
    """What is not read does not pile up: the server has to wait."""
    sent = 0

    async def serve(line: Line) -> None:
        nonlocal sent
        await line.hear()
        await line.write(STREAM)
        while True:
            await line.chunk(bytes(100_000))
            sent += 100_000

    async with serving(serve) as it, sender() as send, send.stream(it.request(), headers={}) as reply:
        assert await anext(reply.pieces())
        before = -1
        while before != sent:
            before = sent
            await asyncio.sleep(0.1)
        assert sent < 32_000_000


@pytest.mark.parametrize("is_foreign", [False, True])
async def test_on_sent_is_called_before_the_first_byte(is_foreign: bool) -> None:
    """`on_sent` is called once, before anything has arrived."""
    server, on_sent_calls = SteppedServer(), list[int]()
    async with aiohttp.ClientSession() as session, serving(server) as it:
        async with sender(session=session if is_foreign else None) as send:
            stream = send.stream(
                it.request(), headers={}, on_sent=lambda: on_sent_calls.append(len(server.heads))
            )
            async with stream as reply:
                assert await anext(reply.pieces()) == b"one"
        assert not session.closed
    assert on_sent_calls == [0]


# ── refusals ────────────────────────────────────────────────────────────────────────────────────────────


def _refusal(body: bytes, length: int | None = None) -> Serve:
    async def serve(line: Line) -> None:
        await line.hear()
        size = len(body) if length is None else length
        await line.write(b"HTTP/1.1 400 Bad\r\nContent-Length: %d\r\n\r\n" % size + body)
        if length is not None:
            await line.reader.read(1)

    return serve


@pytest.mark.parametrize(
    ("serve", "size"),
    [
        (_refusal(b"x" * 5000), 5000),
        (_refusal(b""), 0),
        (_refusal(b"x" * 1_000_000), 65536),
        (_refusal(b"xxx", length=100), 3),
    ],
)
async def test_the_body_of_a_refusal(serve: Serve, size: int) -> None:
    """A refusal's body is returned up to a bound, and also where the rest of it does not arrive."""
    async with (
        serving(serve) as it,
        sender(timeouts=Timeouts(connect=5, read=0.3)) as send,
        send.stream(it.request(), headers={}) as reply,
    ):
        assert reply.status == 400
        assert await reply.read() == b"x" * size


async def test_the_beginning_of_an_endless_refusal() -> None:
    """A refusal that never ends is not read without end."""

    async def serve(line: Line) -> None:
        await line.hear()
        await line.write(STREAM.replace(b"200 OK", b"400 Bad"))
        while True:
            await line.chunk(bytes(1000))

    async with (
        serving(serve) as it,
        sender(timeouts=Timeouts(connect=5, read=None)) as send,
        send.stream(it.request(), headers={}) as reply,
    ):
        assert await reply.read() == bytes(65536)


async def test_a_refusal_that_breaks_off() -> None:
    """A refusal is one, with its message, though its connection was lost."""

    async def serve(line: Line) -> None:
        await line.hear()
        await line.write(b"HTTP/1.1 429 Slow\r\nContent-Length: 100\r\n\r\nnot so fast")

    async with serving(serve) as it, sender() as send, send.stream(it.request(), headers={}) as reply:
        assert (reply.status, await reply.read()) == (429, b"not so fast")


# ── what breaks ─────────────────────────────────────────────────────────────────────────────────────────


async def test_what_was_not_sent_is_not_sent() -> None:
    """Where nobody listens, nothing was sent, and `on_sent` was not called."""
    on_sent_calls = list[None]()
    async with serving(SteppedServer()) as it:
        request = it.request()
    async with sender() as send:
        for on_sent in (None, lambda: on_sent_calls.append(None)):
            with pytest.raises(NotSent):
                await send.stream(request, headers=SIGNED, on_sent=on_sent).__aenter__()
    assert on_sent_calls == []


async def _reset(line: Line) -> None:
    await line.hear()
    line.writer.transport.abort()


async def _mute(line: Line) -> None:
    await line.hear()
    await line.gone()


@pytest.mark.parametrize("serve", [_reset, _mute])
async def test_no_head_is_a_lost_reply(serve: Serve) -> None:
    """Where no headers arrive, at all or in time, the request was sent and its reply is lost."""
    on_sent_calls = list[None]()
    async with serving(serve) as it, sender(timeouts=Timeouts(connect=5, silence=0.2)) as send:
        with pytest.raises(ReplyLost) as caught:
            await send.stream(
                it.request(), headers=SIGNED, on_sent=lambda: on_sent_calls.append(None)
            ).__aenter__()
    assert caught.value.call == "c"
    assert on_sent_calls == [None]


def _then(*parts: bytes, is_silent: bool = False, is_reset: bool = False) -> Serve:
    async def serve(line: Line) -> None:
        await line.hear()
        await line.write(STREAM, *parts)
        if is_silent:
            await line.gone()
        if is_reset:
            line.writer.transport.abort()

    return serve


CUT = {
    "closed within a chunk": _then(b"5\r\none"),
    "closed between chunks": _then(b"3\r\none\r\n"),
    "reset": _then(b"3\r\none\r\n", is_reset=True),
    "silent": _then(b"3\r\none\r\n", is_silent=True),
    "no chunk": _then(b"3\r\none\r\n", b"zz hunter2\r\n"),
}


@pytest.mark.parametrize("name", CUT)
async def test_a_cut_is_a_lost_reply_after_what_came(name: str) -> None:
    """Whatever breaks a stream, what arrived is returned first, and the error shows nothing of it."""
    async with (
        serving(CUT[name]) as it,
        sender(timeouts=Timeouts(connect=5, silence=0.2)) as send,
        send.stream(it.request(), headers=SIGNED) as reply,
    ):
        pieces = reply.pieces()
        assert await anext(pieces) == b"one"
        with pytest.raises(ReplyLost) as caught:
            await anext(pieces)
    shown: BaseException | None = caught.value
    while shown is not None:
        assert SECRET not in f"{shown} {shown!r}"
        shown = shown.__cause__ or shown.__context__


async def test_reading_late_returns_what_came_before_the_cut() -> None:
    """What arrived is returned before the error, also to a reader who was not waiting when it was cut."""
    async with (
        serving(_then(b"3\r\none\r\n", b"9\r\ntwo")) as it,
        sender() as send,
        send.stream(it.request(), headers={}) as reply,
    ):
        await it.has_ended.wait()
        await asyncio.sleep(0.05)
        pieces, got = reply.pieces(), b""
        while got != b"onetwo":
            got += await anext(pieces)
        with pytest.raises(ReplyLost):
            await anext(pieces)


async def test_wrong_chunks_end_a_long_request() -> None:
    """A request without a timeout does not wait for a body that cannot arrive any more."""
    async with serving(CUT["no chunk"]) as it, sender() as send:
        with pytest.raises(ReplyLost):
            await send.send(it.request(is_long=True), headers={}, on_sent=lambda: None)


async def test_a_request_may_have_its_own_timeout() -> None:
    """A request's own timeout bounds the silence in place of the pool's."""
    serve = _then(b"3\r\none\r\n", is_silent=True)
    async with (
        serving(serve) as it,
        sender(timeouts=Timeouts(connect=5, silence=None)) as send,
        send.stream(it.request(timeout=0.1), headers={}) as reply,
    ):
        with pytest.raises(ReplyLost):
            await _all(reply)


async def test_an_upload_has_no_stream() -> None:
    """A request whose body is an upload is refused before anything is sent."""

    async def nothing() -> Any:
        yield b""

    async with serving(SteppedServer()) as it, sender() as send:
        with pytest.raises(ValueError, match="an upload has no streamed reply"):
            send.stream(it.request(upload=Upload(open=nothing)), headers={})
        assert it.connections == 0


# ── leaving ─────────────────────────────────────────────────────────────────────────────────────────────


async def test_leaving_closes_the_connection_at_once() -> None:
    """Leaving in the middle waits for nothing, and the server sees the end of the connection."""
    server = SteppedServer()
    async with serving(server) as it, sender() as send:
        async with send.stream(it.request(), headers={}) as reply:
            assert await anext(reply.pieces()) == b"one"
        server.may_go_on.set()
        async with asyncio.timeout(5):
            await server.is_gone.wait()
        with pytest.raises(ReplyLost):
            await anext(reply.pieces())


async def test_cancelling_closes_the_connection() -> None:
    """A reader that is cancelled while it waits leaves the stream, whose connection is closed."""
    server = SteppedServer()
    async with serving(server) as it, sender() as send:
        is_waiting = asyncio.Event()

        async def read() -> None:
            async with send.stream(it.request(), headers={}) as reply:
                async for _ in reply.pieces():
                    is_waiting.set()

        task = asyncio.ensure_future(read())
        await is_waiting.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        server.may_go_on.set()
        async with asyncio.timeout(5):
            await server.is_gone.wait()


@pytest.mark.parametrize("is_whole", [False, True])
async def test_no_connection_is_used_again(is_whole: bool) -> None:
    """Each stream has a connection of its own, read to its end or not, and uses none of the others."""

    async def serve(line: Line) -> None:
        while True:
            await line.hear()
            await line.write(STREAM)
            await line.chunk(b"one", b"")

    async with serving(serve) as it, sender(per_host=1) as send:
        for _ in range(3):
            async with (
                send.stream(it.request(), headers={}) as first,
                send.stream(it.request(), headers={}) as second,
            ):
                assert (await anext(first.pieces()), await anext(second.pieces())) == (b"one", b"one")
                if is_whole:
                    assert await _all(first) == await _all(second) == b""
        assert it.connections == 6


async def test_closing_ends_streams() -> None:
    """A stream in its middle raises that the pool is closed; one without headers, that its reply is lost."""
    async with (
        serving(SteppedServer()) as it,
        sender() as send,
        send.stream(it.request(), headers={}) as reply,
    ):
        assert await anext(reply.pieces()) == b"one"
        task = asyncio.ensure_future(anext(reply.pieces()))
        await asyncio.sleep(0)
        await send.aclose()
        with pytest.raises(PoolClosed, match="in the middle"):
            await task
    is_heard = asyncio.Event()

    async def mute(line: Line) -> None:
        await line.hear()
        is_heard.set()
        await line.gone()

    async with serving(mute) as it, sender() as send:
        stream = send.stream(it.request(), headers={}, on_sent=lambda: None)
        entering = asyncio.ensure_future(stream.__aenter__())
        await is_heard.wait()
        await send.aclose()
        with pytest.raises(ReplyLost):
            await entering


async def test_a_stream_is_entered_first() -> None:
    """A stream that was not entered has neither status nor pieces; a closed pool has no streams."""
    send = sender()
    async with serving(SteppedServer()) as it:
        stream = send.stream(it.request(), headers={})
        with pytest.raises(RuntimeError, match="entered first"):
            _ = stream.status
        with pytest.raises(RuntimeError, match="entered first"):
            await anext(stream.pieces())
        with pytest.raises(PoolClosed):
            await stream.__aenter__()
