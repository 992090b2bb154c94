"""Replies that are read while they arrive, over real sockets: what comes, what breaks off, what leaving does."""

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


class Gates:
    """Lets a test and its server go on in turns."""

    def __init__(self) -> None:
        self.may_go_on = asyncio.Event()
        self.is_gone = asyncio.Event()
        self.heads: list[str] = []

    async def __call__(self, line: Line) -> None:
        """Send a first chunk, another when told to, and then wait for the client to leave."""
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


async def test_pieces_are_given_as_they_arrive() -> None:
    """Head and first piece are there while the server has not sent the second, which comes when it is sent."""
    gates = Gates()
    async with serving(gates) as it, sender() as send:
        assert isinstance(send, StreamSend)
        async with send.stream(it.request(headers={"X-One": "1"}), headers=SIGNED) as reply:
            assert (reply.status, reply.headers["content-type"]) == (200, "text/event-stream")
            pieces = reply.pieces()
            assert await anext(pieces) == b"one"
            gates.may_go_on.set()
            assert await anext(pieces) == b"two"
    (head,) = gates.heads
    assert head.startswith("post /a http/1.1\r\n")
    for line in ("x-one: 1", f"authorization: bearer {SECRET}", "accept-encoding: identity"):
        assert f"\r\n{line}\r\n" in head


@pytest.mark.parametrize("is_packed", [False, True])
async def test_a_whole_body_ends(is_packed: bool) -> None:
    """A body that ends as it should ends the pieces, whatever portions it came in; a packed one is unpacked."""
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
    """A body with its length told, and one that ends with its connection, are read to their end."""

    async def serve(line: Line) -> None:
        await line.hear()
        await line.write(answer)

    async with serving(serve) as it, sender() as send, send.stream(it.request(), headers={}) as reply:
        assert await _all(reply) == b"ok"


async def test_the_whole_has_no_bound() -> None:
    """Neither the pool's limit on replies nor its times for them apply to a stream that goes on."""

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
    """What is not read does not pile up here: the server has to wait."""
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
async def test_the_mark_is_made_before_the_first_byte(is_foreign: bool) -> None:
    """What says that sending begins is called once, when nothing has arrived yet."""
    gates, marks = Gates(), list[int]()
    async with aiohttp.ClientSession() as session, serving(gates) as it:
        async with sender(session=session if is_foreign else None) as send:
            stream = send.stream(it.request(), headers={}, on_sent=lambda: marks.append(len(gates.heads)))
            async with stream as reply:
                assert await anext(reply.pieces()) == b"one"
        assert not session.closed
    assert marks == [0]


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
async def test_of_a_refusal_what_there_is(serve: Serve, size: int) -> None:
    """A refusal's body is given up to a bound, and also where the rest of it does not come."""
    async with (
        serving(serve) as it,
        sender(timeouts=Timeouts(connect=5, read=0.3)) as send,
        send.stream(it.request(), headers={}) as reply,
    ):
        assert reply.status == 400
        assert await reply.read() == b"x" * size


async def test_of_a_refusal_without_end_its_beginning() -> None:
    """A refusal that never ends is not read for ever."""

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


async def test_of_a_refusal_that_breaks_off_what_there_is() -> None:
    """A refusal is one, with its words, though its connection was lost."""

    async def serve(line: Line) -> None:
        await line.hear()
        await line.write(b"HTTP/1.1 429 Slow\r\nContent-Length: 100\r\n\r\nnot so fast")

    async with serving(serve) as it, sender() as send, send.stream(it.request(), headers={}) as reply:
        assert (reply.status, await reply.read()) == (429, b"not so fast")


# ── what breaks ─────────────────────────────────────────────────────────────────────────────────────────


async def test_what_was_not_sent_is_told() -> None:
    """Where nobody listens nothing was sent, and nothing was marked."""
    marks = list[None]()
    async with serving(Gates()) as it:
        request = it.request()
    async with sender() as send:
        for on_sent in (None, lambda: marks.append(None)):
            with pytest.raises(NotSent):
                await send.stream(request, headers=SIGNED, on_sent=on_sent).__aenter__()
    assert marks == []


async def _reset(line: Line) -> None:
    await line.hear()
    line.writer.transport.abort()


async def _mute(line: Line) -> None:
    await line.hear()
    await line.gone()


@pytest.mark.parametrize("serve", [_reset, _mute])
async def test_no_head_is_a_lost_reply(serve: Serve) -> None:
    """Where no head comes, at all or in time, the request was sent and its reply is lost."""
    marks = list[None]()
    async with serving(serve) as it, sender(timeouts=Timeouts(connect=5, silence=0.2)) as send:
        with pytest.raises(ReplyLost) as caught:
            await send.stream(it.request(), headers=SIGNED, on_sent=lambda: marks.append(None)).__aenter__()
    assert caught.value.call == "c"
    assert marks == [None]


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
    """Whatever breaks a stream, what came before is given first, and the error shows nothing of it."""
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


async def test_who_reads_late_gets_what_came_before_the_cut() -> None:
    """What arrived is given, and only then the error, also to a reader who was not waiting when it was cut."""
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
    """Nor does a request that is waited for without end wait for a body that cannot come any more."""
    async with serving(CUT["no chunk"]) as it, sender() as send:
        with pytest.raises(ReplyLost):
            await send.send(it.request(is_long=True), headers={}, on_sent=lambda: None)


async def test_a_request_may_bring_its_own_patience() -> None:
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

    async with serving(Gates()) as it, sender() as send:
        with pytest.raises(ValueError, match="an upload has no streamed reply"):
            send.stream(it.request(upload=Upload(open=nothing)), headers={})
        assert it.connections == 0


# ── leaving ─────────────────────────────────────────────────────────────────────────────────────────────


async def test_leaving_closes_the_connection_at_once() -> None:
    """Who leaves in the middle waits for nothing, and the server sees the end of the connection."""
    gates = Gates()
    async with serving(gates) as it, sender() as send:
        async with send.stream(it.request(), headers={}) as reply:
            assert await anext(reply.pieces()) == b"one"
        gates.may_go_on.set()
        async with asyncio.timeout(5):
            await gates.is_gone.wait()
        with pytest.raises(ReplyLost):
            await anext(reply.pieces())


async def test_cancelling_closes_the_connection() -> None:
    """A reader that is cancelled while it waits leaves the stream and its connection."""
    gates = Gates()
    async with serving(gates) as it, sender() as send:
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
        gates.may_go_on.set()
        async with asyncio.timeout(5):
            await gates.is_gone.wait()


@pytest.mark.parametrize("is_whole", [False, True])
async def test_no_connection_is_used_again(is_whole: bool) -> None:
    """Each stream has a connection of its own, read to its end or not, and takes none of the others' places."""

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
    """A stream in its middle is told that the pool is closed; one without a head, that its reply is lost."""
    async with serving(Gates()) as it, sender() as send, send.stream(it.request(), headers={}) as reply:
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
    """What was not entered has neither status nor pieces; a closed pool has no streams."""
    send = sender()
    async with serving(Gates()) as it:
        stream = send.stream(it.request(), headers={})
        with pytest.raises(RuntimeError, match="entered first"):
            _ = stream.status
        with pytest.raises(RuntimeError, match="entered first"):
            await anext(stream.pieces())
        with pytest.raises(PoolClosed):
            await stream.__aenter__()
