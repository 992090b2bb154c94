"""Refusals over real sockets: status and headers are the answer, whatever happens to the body."""

from collections.abc import AsyncIterator

import aiohttp
import pytest

from aioagents import Leap, PoolLimits, RetryPolicy, SessionPool, Timeouts
from aioagents.errors import ForeignReply, StartUnknown, Throttled
from aioagents.model import Purpose, Upload
from tests.transport.raw import STREAM, Line, Serve, sender, serving

pytestmark = pytest.mark.usefixtures("way")

HURRIED = Timeouts(connect=5, read=0.02, start=5)
PLAIN = b"HTTP/1.1 %d X\r\nRetry-After: 7\r\nContent-Length: %d\r\n\r\n"


def _plain(body: bytes, *, length: int | None = None, ends: bool = False) -> Serve:
    """Answer with a body, or with so much of it, and then close or keep silent."""

    async def serve(line: Line) -> None:
        await line.hear()
        await line.write(PLAIN % (429, len(body) if length is None else length) + body)
        if not ends:
            await line.gone()

    return serve


async def _endless(line: Line) -> None:
    await line.hear()
    await line.write(STREAM.replace(b"200 OK", b"429 X\r\nRetry-After: 7"))
    while True:
        await line.chunk(bytes(32_000))


async def _broken_gzip(line: Line) -> None:
    await line.hear()
    head = b"HTTP/1.1 429 X\r\nRetry-After: 7\r\nContent-Encoding: gzip\r\nContent-Length: 7\r\n\r\n"
    await line.write(head + b"\x1f\x8b\x08\x00abc")
    await line.gone()


SERVED: dict[str, tuple[Serve, bytes]] = {
    "whole": (_plain(b"abc"), b"abc"),
    "empty": (_plain(b""), b""),
    "above reply_bytes": (_plain(b"x" * 5000), b"x" * 5000),
    "above 64 KiB": (_plain(b"x" * 1_000_000), b"x" * 65536),
    "cut off": (_plain(b"abc", length=50, ends=True), b"abc"),
    "stuck": (_plain(b"abc", length=50), b"abc"),
    "broken gzip": (_broken_gzip, b""),
    "endless": (_endless, bytes(65536)),
}


@pytest.mark.parametrize("is_long", [False, True])
@pytest.mark.parametrize("name", SERVED)
async def test_a_refusal_is_one_whatever_its_body(name: str, is_long: bool) -> None:
    """A refusal too large, cut off, stuck, garbled or endless is returned with status, headers and beginning."""
    serve, body = SERVED[name]
    async with serving(serve) as it, sender(timeouts=HURRIED, reply_bytes=2000) as send:
        request = it.request(is_long=is_long, purpose=Purpose.START)
        reply = await send.send(request, headers={}, on_sent=lambda: None)
        assert (reply.status, reply.headers["retry-after"], reply.body) == (429, "7", body)


async def test_a_refusal_over_the_callers_session() -> None:
    """Over a session of the caller's, a refusal that is cut off is returned as well."""
    serve, body = SERVED["cut off"]
    async with serving(serve) as it, aiohttp.ClientSession() as session, sender(session=session) as send:
        reply = await send.send(it.request(), headers={})
        assert (reply.status, reply.body) == (429, body)


@pytest.mark.parametrize(("size", "connections"), [(10, 1), (1_000_000, 2)])
async def test_a_refusal_that_was_read_leaves_its_connection(size: int, connections: int) -> None:
    """After a refusal that was read to its end the connection is used again; after any other it is not."""

    async def serve(line: Line) -> None:
        for _ in range(2):
            await line.hear()
            await line.write(PLAIN % (404, size) + b"x" * size)

    async with serving(serve) as it, sender() as send:
        for _ in range(2):
            assert (await send.send(it.request(), headers={})).status == 404
        assert it.connections == connections


async def test_an_upload_that_is_refused_at_once() -> None:
    """A refusal that arrives before an upload was read is returned, though its body never ends."""

    async def pieces() -> AsyncIterator[bytes]:
        while True:
            yield bytes(100_000)

    async with serving(_endless) as it, sender() as send:
        request = it.request(upload=Upload(open=pieces))
        assert (await send.send(request, headers={})).status == 429


@pytest.mark.parametrize("body", [b"x" * 5000, b"abc"])
async def test_a_start_that_was_refused_is_refused(body: bytes) -> None:
    """A start whose refusal cannot be read to its end was refused; a 500 is unknown, read or not."""
    statuses = [404, 500, 429]

    async def serve(line: Line) -> None:
        await line.hear()
        await line.body()
        await line.write(PLAIN % (statuses.pop(0), 5000) + body)

    limits, retry = PoolLimits(reply_bytes=2000), RetryPolicy(attempts=1)
    async with serving(serve) as it, SessionPool(retry=retry, limits=limits) as pool:
        leap = Leap(pool, api_key="k", base_url=f"http://127.0.0.1:{it.port}")
        with pytest.raises(ForeignReply):
            await leap.run("w")
        with pytest.raises(StartUnknown) as unknown:
            await leap.run("w")
        assert unknown.value.status == 500
        with pytest.raises(Throttled) as throttled:
            await leap.run("w")
        assert throttled.value.retry_after == 7
