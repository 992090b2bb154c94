"""Secrets in what an error keeps alive: the local variables of its frames, and of those of its causes."""

import asyncio
import ssl
import traceback
from collections.abc import Iterator

import pytest

from aioagents.errors import AgentsError
from aioagents.model import Purpose, Request
from aioagents.transport import HttpSend, Timeouts
from tests.transport.forward_proxy import forward_proxy
from tests.transport.raw import Line, Serve, sender, serving

pytestmark = pytest.mark.usefixtures("way")

SECRET = "hunter2"
HURRIED = Timeouts(connect=5, read=0.02, start=0.02)


async def _reset(line: Line) -> None:
    await line.hear()
    line.writer.transport.abort()


async def _cut(line: Line) -> None:
    await line.hear()
    await line.write(b"HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\nabc")


async def _silent(line: Line) -> None:
    await line.hear()
    await line.gone()


async def _foreign(line: Line) -> None:
    await line.hear()
    await line.write(b"SSH-2.0\r\n\r\n")


async def _large(line: Line) -> None:
    await line.hear()
    await line.write(b"HTTP/1.1 200 OK\r\nContent-Length: 5000\r\n\r\n" + bytes(5000))


def _locals(error: BaseException) -> Iterator[str]:
    """Yield the local variables of all frames that are not of these tests."""
    shown: traceback.TracebackException | None
    shown = traceback.TracebackException.from_exception(error, capture_locals=True)
    while shown is not None:
        for frame in shown.stack:
            if "/tests/" not in frame.filename:
                yield from (f"{frame.name}: {name} = {text}" for name, text in (frame.locals or {}).items())
        shown = shown.__cause__ or shown.__context__


async def _caught(send: HttpSend, request: Request) -> BaseException:
    headers = {"Authorization": f"Bearer {SECRET}"}
    with pytest.raises((AgentsError, asyncio.CancelledError)) as caught:
        await send.send(request, headers=headers, on_sent=lambda: None)
    return caught.value


def _request(url: str) -> Request:
    return Request(
        method="POST",
        url=url,
        call="c",
        purpose=Purpose.START,
        headers={"X-Key": SECRET},
        body=f'{{"password": "{SECRET}"}}'.encode(),
    )


@pytest.mark.parametrize("serve", [_reset, _cut, _silent, _foreign, _large])
async def test_replies_that_are_lost(serve: Serve) -> None:
    """An error without a reply keeps neither headers nor body of its request."""
    async with serving(serve) as it, sender(timeouts=HURRIED, reply_bytes=1000) as send:
        error = await _caught(send, _request(f"http://127.0.0.1:{it.port}/a"))
        assert not [line for line in _locals(error) if SECRET in line]


@pytest.mark.parametrize("url", ["http://no-such-host.invalid/a", "http://127.0.0.1:1/a", "http:///a"])
async def test_requests_that_are_not_sent(url: str) -> None:
    """Neither does one that was not sent."""
    async with sender() as send:
        error = await _caught(send, _request(url))
        assert not [line for line in _locals(error) if SECRET in line]


async def test_credentials_of_a_proxy(client_tls: ssl.SSLContext) -> None:
    """An error through a proxy keeps its credentials neither."""
    for refusal in (b"HTTP/1.1 407 X\r\nContent-Length: 0\r\n\r\n", b""):
        async with forward_proxy(refusal=refusal) as proxy:
            url = proxy.url.replace("://", f"://user:{SECRET}@")
            async with serving(_reset) as it, sender(proxy=url, tls=client_tls) as send:
                for scheme in ("https",) if refusal else ("http", "https"):
                    error = await _caught(send, _request(f"{scheme}://127.0.0.1:{it.port}/a"))
                    assert not [line for line in _locals(error) if SECRET in line]


async def test_what_http_does_not_allow(way: str) -> None:
    """An error about a header does not keep the others."""
    if way == "session":
        pytest.skip("aiohttp raises it itself")
    async with sender() as send:
        with pytest.raises(ValueError, match="header") as caught:
            await send.send(_request("http://127.0.0.1:1/a"), headers={"A": SECRET, "B": "\n"})
        assert not [line for line in _locals(caught.value) if SECRET in line]


async def test_a_request_that_is_cancelled(way: str) -> None:
    """The traceback of a cancellation keeps neither headers nor body."""
    if way == "session":
        pytest.skip("aiohttp's own frames are in it")
    is_heard = asyncio.Event()

    async def serve(line: Line) -> None:
        await line.hear()
        is_heard.set()
        await line.gone()

    async with serving(serve) as it, sender() as send:
        request = _request(f"http://127.0.0.1:{it.port}/a")
        asking = asyncio.ensure_future(_caught(send, request))
        await is_heard.wait()
        asking.cancel()
        error = await asking
        assert not [line for line in _locals(error) if SECRET in line]
