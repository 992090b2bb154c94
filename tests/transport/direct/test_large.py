"""Large requests and replies over real sockets."""

import asyncio
import ssl

import pytest

from tests.transport.raw import Line, sender, serving

SIZE = 700_000


@pytest.fixture(params=["plain", "tls"])
def tls(request: pytest.FixtureRequest, server_tls: ssl.SSLContext) -> ssl.SSLContext | None:
    """Return what servers serve with."""
    return server_tls if request.param == "tls" else None


@pytest.mark.parametrize("is_chunked", [False, True])
async def test_replies_that_are_too_large_together(
    tls: ssl.SSLContext | None, client_tls: ssl.SSLContext, is_chunked: bool
) -> None:
    """Large replies that have more than is allowed together all arrive whole, in the end, and a small one too."""

    async def serve(line: Line) -> None:
        for _ in range(2):
            await line.hear()
            if is_chunked:
                await line.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
                await line.chunk(bytes(SIZE // 2), bytes(SIZE // 2), b"")
            else:
                await line.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % SIZE, bytes(SIZE))

    async with (
        serving(serve, tls=tls) as it,
        sender(tls=client_tls, reply_bytes_at_once=100_000) as send,
    ):
        request = it.request(method="GET")
        for _ in range(2):
            replies = await asyncio.gather(*[send.send(request, headers={}) for _ in range(6)])
            assert [len(reply.body) for reply in replies] == [SIZE] * 6
        assert it.connections == 6


async def test_a_large_request(tls: ssl.SSLContext | None, client_tls: ssl.SSLContext) -> None:
    """A request larger than any buffer is sent whole."""
    bodies: list[bytes] = []

    async def serve(line: Line) -> None:
        await line.hear()
        bodies.append(await line.body())
        await line.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")

    async with serving(serve, tls=tls) as it, sender(tls=client_tls) as send:
        body = bytes(range(256)) * 40_000
        assert (await send.send(it.request(body=body), headers={})).body == b"ok"
        assert bodies == [body]


async def test_a_reply_before_all_was_sent(tls: ssl.SSLContext | None, client_tls: ssl.SSLContext) -> None:
    """A refusal that comes before a request was sent as a whole is its reply; its connection is not used again."""

    async def serve(line: Line) -> None:
        await line.hear()
        await line.write(b"HTTP/1.1 413 Too Large\r\nContent-Length: 0\r\n\r\n")
        await line.gone()

    async with serving(serve, tls=tls) as it, sender(tls=client_tls) as send:
        for _ in range(2):
            assert (await send.send(it.request(body=bytes(20_000_000)), headers={})).status == 413
        assert it.connections == 2
