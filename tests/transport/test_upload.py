"""Bodies that are read while they are sent: what arrives, what is raised, what is closed, and what it costs."""

import asyncio
import json
import subprocess
import sys
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from pathlib import Path

import aiohttp
import pytest

from aioagents.errors import NotSent, PoolClosed, ReplyLost
from aioagents.model import Purpose, Reply, Request, Upload
from aioagents.transport import HttpSend, Timeouts
from aioagents.transport.upload import pieces_of
from tests.fakes import settle
from tests.transport.raw import OK, Line, sender, serving

_ROOT = Path(__file__).parents[2]


class Source:
    """Pieces that can be read any number of times; it counts how often they were opened and closed."""

    def __init__(self, *pieces: bytes, fault: BaseException | None = None, size: int | None = None) -> None:
        self.pieces = pieces
        self.fault = fault
        self.opened = 0
        self.closed = 0
        self.is_open = asyncio.Event()
        self.upload = Upload(open=self.open, size=size)

    async def open(self) -> AsyncGenerator[bytes, None]:
        """Return the pieces, and the fault after them."""
        self.opened += 1
        self.is_open.set()
        try:
            for piece in self.pieces:
                yield piece
                await asyncio.sleep(0)
            if self.fault is not None:
                raise self.fault
        finally:
            self.closed += 1


class Endless(Source):
    """Pieces without end."""

    async def open(self) -> AsyncGenerator[bytes, None]:
        """Return piece after piece."""
        self.opened += 1
        self.is_open.set()
        try:
            while True:
                yield bytes(65536)
                await asyncio.sleep(0)
        finally:
            self.closed += 1


async def _put(send: HttpSend, request: Request, *, is_marked: bool = False) -> Reply:
    return await send.send(request, headers={}, on_sent=(lambda: None) if is_marked else None)


class Keeper:
    """A server that reads whole bodies, and keeps them."""

    def __init__(self) -> None:
        self.heads: list[str] = []
        self.bodies: list[bytes] = []

    async def __call__(self, line: Line) -> None:
        """Serve one connection."""
        while True:
            self.heads.append(await line.hear())
            self.bodies.append(await line.body())
            await line.write(OK)


# ── what arrives ────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("is_marked", [False, True])
@pytest.mark.parametrize("is_long", [False, True])
async def test_a_known_size_is_sent(is_marked: bool, is_long: bool) -> None:
    """All pieces arrive in order, with a Content-Length, also large ones and empty ones."""
    keeper, pieces = Keeper(), (b"a" * 200_000, b"", b"b", b"c" * 65_536)
    source = Source(*pieces, size=265_537)
    async with serving(keeper) as it, sender() as send:
        headers = {"Content-Type": "multipart/form-data; boundary=x"}
        request = it.request(upload=source.upload, headers=headers, is_long=is_long)
        assert (await _put(send, request, is_marked=is_marked)).body == b"ok"
    assert keeper.bodies == [b"".join(pieces)]
    assert "content-length: 265537\r\n" in keeper.heads[0]
    assert "content-type: multipart/form-data; boundary=x\r\n" in keeper.heads[0]
    assert "transfer-encoding" not in keeper.heads[0]
    assert (source.opened, source.closed) == (1, 1)


async def test_an_unknown_size_goes_in_chunks() -> None:
    """Where the size is not known, the body is chunked; the connection is used again afterwards."""
    keeper = Keeper()
    async with serving(keeper) as it, sender() as send:
        for _ in range(3):
            request = it.request(upload=Source(b"abc", b"", b"def").upload)
            assert (await _put(send, request)).body == b"ok"
        assert it.connections == 1
    assert keeper.bodies == [b"abcdef"] * 3
    assert "transfer-encoding: chunked\r\n" in keeper.heads[0]
    assert "content-length" not in keeper.heads[0]


@pytest.mark.parametrize("size", [0, None])
async def test_an_empty_upload(size: int | None) -> None:
    """An upload without a byte arrives as an empty body."""
    keeper = Keeper()
    async with serving(keeper) as it, sender() as send:
        await _put(send, it.request(upload=Source(size=size).upload))
        await _put(send, it.request(upload=Source(b"", size=size).upload))
    assert keeper.bodies == [b"", b""]


async def test_each_attempt_reads_from_the_beginning() -> None:
    """The same request sent twice opens its upload twice, and both times all of it arrives."""
    keeper, source = Keeper(), Source(b"abc", b"def", size=6)
    async with serving(keeper) as it, sender() as send:
        request = it.request(upload=source.upload)
        await _put(send, request)
        await _put(send, request)
    assert keeper.bodies == [b"abcdef"] * 2
    assert (source.opened, source.closed) == (2, 2)


async def test_a_session_of_the_callers_sends_uploads() -> None:
    """A session of the caller's sends uploads as well."""
    keeper = Keeper()
    async with serving(keeper) as it, aiohttp.ClientSession() as session, sender(session=session) as send:
        await _put(send, it.request(upload=Source(b"abc", size=3).upload), is_marked=True)
    assert keeper.bodies == [b"abc"]


async def test_nothing_is_opened_before_there_is_a_connection() -> None:
    """What could not be sent was not read, and can be sent again even if it can be read only once."""
    source = Source(b"abc")
    async with serving(Keeper()) as it:
        request = it.request(upload=source.upload)
    async with sender() as send:
        for is_marked in (False, True):
            with pytest.raises(NotSent):
                await _put(send, request, is_marked=is_marked)
    assert source.opened == 0


async def test_on_sent_is_called_before_the_source_is_opened() -> None:
    """`on_sent` is called before anything is read."""
    order: list[str] = []

    async def pieces() -> AsyncIterator[bytes]:
        order.append("opened")
        yield b"abc"

    async with serving(Keeper()) as it, sender() as send:
        request = it.request(upload=Upload(open=pieces))
        await send.send(request, headers={}, on_sent=lambda: order.append("sent"))
    assert order == ["sent", "opened"]


# ── what its source does wrong ──────────────────────────────────────────────────────────────────────────


class Whole:
    """Records whether a whole body ever arrived, and waits for the connection's end."""

    def __init__(self) -> None:
        self.is_whole = False
        self.is_over = asyncio.Event()

    async def __call__(self, line: Line) -> None:
        """Read one body."""
        try:
            await line.hear()
            await line.body()
            self.is_whole = True
        finally:
            self.is_over.set()


class _Odd(Exception):
    """An error neither of this package nor of Python."""


@pytest.mark.parametrize(
    "fault", [FileNotFoundError(2, "gone"), _Odd("x"), TimeoutError(), ConnectionResetError()]
)
@pytest.mark.parametrize("size", [None, 9])
@pytest.mark.parametrize("is_marked", [False, True])
async def test_what_the_source_raises_is_raised(fault: Exception, size: int | None, is_marked: bool) -> None:
    """A source's own error is raised as it is, the connection is closed, and the whole did not arrive."""
    whole, source = Whole(), Source(b"abc", b"def", fault=fault, size=size)
    async with serving(whole) as it, sender() as send:
        with pytest.raises(type(fault)) as caught:
            await _put(send, it.request(upload=source.upload), is_marked=is_marked)
        assert caught.value is fault
        await whole.is_over.wait()
    assert not whole.is_whole
    assert (source.opened, source.closed) == (1, 1)


async def test_a_source_that_cannot_be_opened() -> None:
    """What opening raises is raised as it is."""

    def gone() -> AsyncIterator[bytes]:
        raise FileNotFoundError(2, "gone")

    whole = Whole()
    async with serving(whole) as it, sender() as send:
        with pytest.raises(FileNotFoundError):
            await _put(send, it.request(upload=Upload(open=gone)))
        await whole.is_over.wait()
    assert not whole.is_whole


@pytest.mark.parametrize(
    ("pieces", "size", "words"),
    [
        ((b"abc", b"d"), 3, "3 bytes yielded more"),
        ((b"abc", b"", b"d"), 3, "3 bytes yielded more"),
        ((b"abcd",), 3, "3 bytes yielded more"),
        ((b"a",), 0, "0 bytes yielded more"),
        ((b"ab",), 3, "3 bytes yielded only 2"),
        ((), 3, "3 bytes yielded only 0"),
    ],
)
async def test_a_wrong_size_is_an_error_and_no_body(pieces: Sequence[bytes], size: int, words: str) -> None:
    """Neither more nor less than the stated size is ever sent as if it were the whole."""
    whole, source = Whole(), Source(*pieces, size=size)
    async with serving(whole) as it, sender() as send:
        with pytest.raises(ValueError, match=words):
            await _put(send, it.request(upload=source.upload))
        await whole.is_over.wait()
    assert size == 0 or not whole.is_whole
    assert source.closed == 1


async def test_a_piece_that_is_no_bytes() -> None:
    """A piece that is not bytes is an error of the upload's author."""
    source = Source("abc")  # type: ignore[arg-type]  # which is the point
    async with serving(Whole()) as it, sender() as send:
        with pytest.raises(TypeError, match="bytes, not str"):
            await _put(send, it.request(upload=source.upload))


# ── what the other side does ────────────────────────────────────────────────────────────────────────────


async def _reset(line: Line) -> None:
    await line.hear()
    line.writer.transport.abort()


async def _swallow(line: Line) -> None:
    await line.hear()
    await line.gone()


async def _stall(line: Line) -> None:
    await line.hear()
    await asyncio.Event().wait()


@pytest.mark.parametrize("serve", [_reset, _stall, _swallow])
async def test_a_lost_upload_is_a_lost_reply(serve: Callable[[Line], object]) -> None:
    """Reset, no longer read, or never answered: the reply is lost, in time, and the source is closed."""
    pieces = [bytes(65536)] * 400 if serve is not _swallow else [b"abc"]
    source = Source(*pieces)
    async with (
        serving(serve) as it,  # type: ignore[arg-type]  # what it gives is of no use
        sender(timeouts=Timeouts(connect=5, read=0.2)) as send,
    ):
        with pytest.raises(ReplyLost):
            await _put(send, it.request(upload=source.upload))
        assert (source.opened, source.closed) == (1, 1)


async def test_a_slow_source_has_all_the_time_it_needs() -> None:
    """A slow source does not use up the time for the reply."""

    async def slowly() -> AsyncIterator[bytes]:
        yield b"abc"
        yield b"def"
        await asyncio.sleep(0.6)
        yield b"ghi"

    keeper = Keeper()
    async with serving(keeper) as it, sender(timeouts=Timeouts(connect=5, read=0.4)) as send:
        assert (await _put(send, it.request(upload=Upload(open=slowly)))).body == b"ok"
    assert keeper.bodies == [b"abcdefghi"]


async def test_a_slow_line_has_time_for_each_portion() -> None:
    """A large piece over a slow connection is not given up as long as some of it gets through."""

    async def slowly(line: Line) -> None:
        await line.hear()
        for _ in range(8):
            await line.reader.readexactly(2_000_000)
            await asyncio.sleep(0.12)
        await line.write(OK)

    async with serving(slowly) as it, sender(timeouts=Timeouts(connect=5, read=0.5)) as send:
        upload = Source(bytes(16_000_000), size=16_000_000).upload
        assert (await _put(send, it.request(upload=upload))).body == b"ok"


async def test_a_request_may_have_its_own_timeout() -> None:
    """A request's own timeout bounds the wait for the reply to its upload."""
    async with serving(_swallow) as it, sender(timeouts=Timeouts(connect=5, read=None)) as send:
        with pytest.raises(ReplyLost):
            await _put(send, it.request(upload=Source(b"abc").upload, timeout=0.05))


async def test_a_long_request_waits_without_end() -> None:
    """Where the reply comes when the work is done, there is no timeout for it."""

    async def late(line: Line) -> None:
        await line.hear()
        await line.body()
        await asyncio.sleep(0.1)
        await line.write(OK)

    async with serving(late) as it, sender(timeouts=Timeouts(connect=5, read=0.02)) as send:
        request = it.request(upload=Source(b"abc").upload, is_long=True)
        assert (await _put(send, request)).body == b"ok"


async def test_nothing_is_sent_again_by_aiohttp() -> None:
    """An upload that met a dead connection is opened once, even if it may be repeated; the reply is lost."""
    heads: list[str] = []

    async def once(line: Line) -> None:
        heads.append(await line.hear())
        await line.body()
        await line.write(OK)
        heads.append(await line.hear())
        line.writer.transport.abort()

    async with serving(once) as it, sender() as send:
        await _put(send, it.request(upload=Source(b"abc").upload, method="PUT"))
        source = Source(b"abc", b"def")
        with pytest.raises(ReplyLost):
            await _put(send, it.request(upload=source.upload, method="PUT"))
        assert source.opened == 1
    assert len(heads) == 2


async def test_an_early_refusal_is_a_reply() -> None:
    """A refusal that arrives before all was sent is returned at once, and the source is read no further."""

    async def refuse(line: Line) -> None:
        await line.hear()
        await line.write(b"HTTP/1.1 413 Too Large\r\nContent-Length: 5\r\n\r\nlarge")
        await line.gone()

    source = Endless()
    async with serving(refuse) as it, sender() as send:
        reply = await _put(send, it.request(upload=source.upload))
        assert (reply.status, reply.body) == (413, b"large")
        assert (source.opened, source.closed) == (1, 1)


async def test_a_half_sent_connection_is_not_used_again() -> None:
    """After an early reply the rest of the body cannot be taken for the next request."""

    async def refuse(line: Line) -> None:
        assert "post /a" in await line.hear()
        await line.write(OK)
        await line.gone()

    async with serving(refuse) as it, sender() as send:
        for _ in range(3):
            assert (await _put(send, it.request(upload=Endless().upload))).body == b"ok"
        assert it.connections == 3


@pytest.mark.parametrize("is_marked", [False, True])
async def test_cancelling_closes_the_source(is_marked: bool) -> None:
    """A call that is cancelled in the middle has closed its source when it ends."""
    source = Endless()
    async with serving(_stall) as it, sender() as send:
        task = asyncio.ensure_future(_put(send, it.request(upload=source.upload), is_marked=is_marked))
        await source.is_open.wait()
        await settle()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert source.closed == 1


async def test_cancelling_a_source_that_waits() -> None:
    """A source that waits for something of its own is cancelled there."""
    was_cancelled = asyncio.Event()
    is_waiting = asyncio.Event()

    async def waiting() -> AsyncIterator[bytes]:
        yield b"abc"
        is_waiting.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            was_cancelled.set()
            raise

    async with serving(_swallow) as it, sender() as send:
        task = asyncio.ensure_future(_put(send, it.request(upload=Upload(open=waiting))))
        await is_waiting.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert was_cancelled.is_set()


async def test_closing_ends_uploads() -> None:
    """An upload in flight while all connections are closed raises PoolClosed, and its source is closed."""
    source = Endless()
    async with serving(_swallow) as it, sender() as send:
        task = asyncio.ensure_future(_put(send, it.request(upload=source.upload)))
        await source.is_open.wait()
        await send.aclose()
        with pytest.raises(PoolClosed):
            await task
        assert source.closed == 1


async def test_closing_with_a_start_in_flight_loses_its_reply() -> None:
    """A start by upload that is in flight while all is closed may have been acted upon."""
    source = Endless()
    async with serving(_swallow) as it, sender() as send:
        request = it.request(upload=source.upload, purpose=Purpose.START)
        task = asyncio.ensure_future(_put(send, request, is_marked=True))
        await source.is_open.wait()
        await send.aclose()
        with pytest.raises(ReplyLost):
            await task


async def test_closing_pieces_early_closes_their_source() -> None:
    """Closing the pieces early closes their source, if it can be closed."""
    source = Source(b"a", b"b", b"c")
    pieces = pieces_of(source.upload)
    assert await anext(pieces) == b"a"
    await pieces.aclose()
    assert source.closed == 1

    class Bare:
        def __init__(self) -> None:
            self.left = [b"a", b"b"]

        def __aiter__(self) -> "Bare":
            return self

        async def __anext__(self) -> bytes:
            if not self.left:
                raise StopAsyncIteration
            return self.left.pop(0)

    assert [piece async for piece in pieces_of(Upload(open=Bare))] == [b"a", b"b"]


# ── what it costs ───────────────────────────────────────────────────────────────────────────────────────

_SERVER = """
import asyncio
from aiohttp import web

async def take(request):
    count = 0
    async for piece in request.content.iter_any():
        count += len(piece)
    return web.Response(text=str(count))

async def main():
    listener = await asyncio.get_running_loop().create_server(web.Server(take, access_log=None), "127.0.0.1", 0)
    print(listener.sockets[0].getsockname()[1], flush=True)
    await asyncio.Event().wait()

asyncio.run(main())
"""

_CLIENT = """
import asyncio, json, sys
from aioagents.model import Request, Upload
from aioagents.transport import HttpSend, PoolLimits, Timeouts

PIECE = 256 * 1024

def resident(name):
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) for line in status if line.startswith(name))

async def main(port, size):
    async def pieces():
        for _ in range(size // PIECE):
            yield bytes(PIECE)

    def request(pieces, size):
        upload = Upload(open=pieces, size=size)
        return Request(method="POST", url=f"http://127.0.0.1:{port}/", call="c", upload=upload)

    async def little():
        yield b"warm"

    async with HttpSend(limits=PoolLimits(), timeouts=Timeouts()) as send:
        await send.send(request(little, None), headers={})
        before = resident("VmRSS")
        reply = await send.send(request(pieces, size), headers={})
        print(json.dumps({"sent": int(reply.body), "kilobytes": resident("VmHWM") - before}))

asyncio.run(main(int(sys.argv[1]), int(sys.argv[2])))
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="memory is read from /proc")
def test_memory_is_bounded() -> None:
    """Two hundred megabytes in one request cost the client's process less than twenty."""
    size = 200 * 1024 * 1024
    with subprocess.Popen([sys.executable, "-c", _SERVER], stdout=subprocess.PIPE, text=True) as server:
        try:
            assert server.stdout is not None
            port = server.stdout.readline().strip()
            client = subprocess.run(
                [sys.executable, "-c", _CLIENT, port, str(size)],
                stdout=subprocess.PIPE,
                text=True,
                check=True,
                cwd=_ROOT,
                timeout=120,
            )
        finally:
            server.terminate()
    result = json.loads(client.stdout)
    assert result["sent"] == size
    assert result["kilobytes"] < 20 * 1024
