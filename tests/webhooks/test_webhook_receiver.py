"""The receiver over loopback: as a sub-application of aiohttp, as an ASGI app in uvicorn, on a port of its own."""

import asyncio
import contextlib
import gzip
import io
import json
import logging
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, MutableMapping
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import urlsplit

import aiohttp
import pytest
import uvicorn
from aiohttp import web
from fastapi import FastAPI
from starlette.applications import Starlette
from starlette.routing import Mount

from aioagents import WebhookReceiver

_LARGE = 1024 * 1024 + 1
_Mount = Callable[[WebhookReceiver], contextlib.AbstractAsyncContextManager[str]]


class CountingRun:
    """A run that counts how often it was woken."""

    def __init__(self, run_id: str = "rnp_1") -> None:
        self.id = run_id
        self.woken = 0

    def wake(self) -> None:
        """Count this call."""
        self.woken += 1


def body(run_id: Any = "rnp_1", status: Any = "completed") -> bytes:
    """Write a delivery."""
    return json.dumps({"id": run_id, "status": status}).encode()


@asynccontextmanager
async def _in_aiohttp(receiver: WebhookReceiver) -> AsyncIterator[str]:
    """Serve it as a sub-application, two prefixes deep."""
    inner, outer = web.Application(), web.Application()
    inner.add_subapp("/leap", receiver.app())
    outer.add_subapp("/hooks", inner)
    runner = web.AppRunner(outer, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    try:
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        yield f"http://127.0.0.1:{runner.addresses[0][1]}/hooks/leap"
    finally:
        await runner.cleanup()


@asynccontextmanager
async def _uvicorn(app: Any, **options: Any) -> AsyncIterator[str]:
    """Serve an ASGI app in a real uvicorn, in this loop."""
    settings: dict[str, Any] = {"log_level": "warning", "timeout_graceful_shutdown": 1, **options}
    server = uvicorn.Server(uvicorn.Config(app, **settings))
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        # Its own `serve` catches signals, which are the test run's.
        task = asyncio.create_task(server._serve([listener]))  # noqa: SLF001
        try:
            while not (server.started or task.done()):  # noqa: ASYNC110 - uvicorn has no event for it
                await asyncio.sleep(0.005)
            assert server.started
            yield f"http://127.0.0.1:{port}"
        finally:
            server.should_exit = True
            await task


@asynccontextmanager
async def _in_fastapi(receiver: WebhookReceiver) -> AsyncIterator[str]:
    app = FastAPI()
    app.mount("/hooks", receiver)
    async with _uvicorn(app) as url:
        yield f"{url}/hooks"


@asynccontextmanager
async def _in_starlette(receiver: WebhookReceiver) -> AsyncIterator[str]:
    app = Starlette(routes=[Mount("/a", routes=[Mount("/hooks", app=receiver)])])
    async with _uvicorn(app, root_path="/behind/a/proxy") as url:
        yield f"{url}/a/hooks"


@asynccontextmanager
async def _in_uvicorn(receiver: WebhookReceiver) -> AsyncIterator[str]:
    async with _uvicorn(receiver, lifespan="on") as url:
        yield url


@asynccontextmanager
async def _alone(receiver: WebhookReceiver) -> AsyncIterator[str]:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    async with receiver.serve(port=port):
        yield f"http://127.0.0.1:{port}"


_MOUNTS = [_in_aiohttp, _in_fastapi, _in_starlette, _in_uvicorn, _alone]


@pytest.fixture(params=_MOUNTS, ids=lambda mount: mount.__name__)
def mount(request: pytest.FixtureRequest) -> _Mount:
    """Return each way to serve a receiver."""
    chosen: _Mount = request.param
    return chosen


@asynccontextmanager
async def _served(
    mount: _Mount, receiver: WebhookReceiver
) -> AsyncIterator[tuple[aiohttp.ClientSession, Callable[[CountingRun | None], str]]]:
    """Return a client, and a function that makes the URL of a run under the address that is really served."""
    async with mount(receiver) as base, aiohttp.ClientSession() as session:
        yield (
            session,
            lambda run: base + "".join(f"/{each}" for each in receiver.url_for(run).split("/")[-2:]),
        )


async def _post(session: aiohttp.ClientSession, url: str, data: Any = None, **options: Any) -> int:
    async with session.post(url, data=body() if data is None else data, **options) as reply:
        assert await reply.read() == b"" or reply.status in {404, 405}
        return reply.status


def _errors(caplog: pytest.LogCaptureFixture) -> list[str]:
    """Return the errors logged, but those of aiohttp's own parser, which logs everything that is not HTTP."""
    return [
        each.getMessage()
        for each in caplog.records
        if each.levelno >= logging.ERROR and each.name != "aiohttp.server"
    ]


# However it is served


async def test_deliveries_are_answered(mount: _Mount) -> None:
    """A delivery gets 202 and wakes its run, once; another run's id, garbage and forged URLs do not."""
    receiver = WebhookReceiver("https://hooks.example.com")
    async with _served(mount, receiver) as (session, url_for):
        one, other = CountingRun("rnp_1"), CountingRun("rnp_2")
        url, others = url_for(one), url_for(other)
        assert await _post(session, url) == 202
        assert await _post(session, url) == 202
        assert await _post(session, url, body("rnp_2")) == 400
        assert await _post(session, url, b"<html>") == 400
        assert await _post(session, url, b"") == 400
        assert await _post(session, url + "x") == 404
        assert await _post(session, f"{url}/more") == 404
        assert await _post(session, url.rpartition("/")[0]) == 404
        assert await _post(session, f"{url.rpartition('/')[0]}/{others.rpartition('/')[2]}") == 404
        assert await _post(session, f"{url}?a=b", body(status="failed")) == 202
        assert (one.woken, other.woken) == (2, 0)


async def test_id_in_a_header_tells_repeats(mount: _Mount) -> None:
    """The header `Webhook-Id` decides whether a delivery is a repeat."""
    receiver = WebhookReceiver("https://hooks.example.com")
    async with _served(mount, receiver) as (session, url_for):
        run = CountingRun("rnp_1")
        url = url_for(run)
        for delivery_id in ("one", "two", "one", "two"):
            assert await _post(session, url, headers={"Webhook-Id": delivery_id}) == 202
        assert (run.woken, receiver.statistics().repeated) == (2, 2)


async def test_only_posts_are_deliveries(mount: _Mount) -> None:
    """Any other method is refused, and wakes no run."""
    receiver, run = WebhookReceiver("https://hooks.example.com"), CountingRun()
    async with _served(mount, receiver) as (session, url_for):
        url = url_for(run)
        for method in ("GET", "HEAD", "PUT", "DELETE", "PATCH", "OPTIONS"):
            async with session.request(method, url, data=body()) as reply:
                assert reply.status == 405
        assert run.woken == 0


async def test_large_bodies(mount: _Mount) -> None:
    """A body above 1 MiB is refused with 413, whether its length is announced or it is streamed without one."""
    receiver, run = WebhookReceiver("https://hooks.example.com"), CountingRun()

    async def stream(size: int) -> AsyncIterator[bytes]:
        yield body()
        for _ in range(size // 65536 + 1):
            yield b" " * 65536

    async with _served(mount, receiver) as (session, url_for):
        url = url_for(run)
        assert await _post(session, url, io.BytesIO(b" " * _LARGE)) == 413
        assert await _post(session, url, stream(_LARGE)) == 413
        assert run.woken == 0
        assert await _post(session, url, stream(200_000)) == 202
        assert run.woken == 1
    assert (receiver.statistics().accepted, receiver.statistics().refused) == (1, 2)


async def test_body_without_end(mount: _Mount, caplog: pytest.LogCaptureFixture) -> None:
    """A sender that disconnects in the middle of its body, or sends a body that is not HTTP, does no harm."""
    receiver, run = WebhookReceiver("https://hooks.example.com"), CountingRun()
    async with _served(mount, receiver) as (session, url_for):
        parts = urlsplit(url_for(run))
        head = f"POST {parts.path} HTTP/1.1\r\nHost: h\r\n".encode()
        for rest in (
            b"Content-Length: 500\r\n\r\n" + body(),
            b"Transfer-Encoding: chunked\r\n\r\n5\r\nabc",
            b"Transfer-Encoding: chunked\r\n\r\nZZ\r\nabc\r\n",
            b"Content-Length: 10\r\nContent-Encoding: gzip\r\n\r\n" + b"0123456789",
        ):
            reader, writer = await asyncio.open_connection(parts.hostname, parts.port)
            writer.write(head + rest)
            await writer.drain()
            with contextlib.suppress(TimeoutError):
                answer = await asyncio.wait_for(reader.read(1000), 0.05)
                assert not answer or answer.split()[1] == b"400"
            writer.close()
            with contextlib.suppress(ConnectionError):
                await writer.wait_closed()
        assert await _post(session, url_for(run)) == 202
        assert run.woken == 1
    assert _errors(caplog) == []


async def test_paths_that_are_not_text(mount: _Mount, caplog: pytest.LogCaptureFixture) -> None:
    """A path whose bytes are not text is refused like any other unknown path."""
    receiver = WebhookReceiver("https://hooks.example.com")
    async with _served(mount, receiver) as (_, url_for):
        parts = urlsplit(url_for(None))
        name, _, _ = parts.path.rpartition("/")
        for last in (b"\xff\xfe", b"%ff%fe", b"%ed%a0%80", b"%00", b"%2f", "é".encode()):
            reader, writer = await asyncio.open_connection(parts.hostname, parts.port)
            writer.write(
                b"POST %s/%s HTTP/1.1\r\nHost: h\r\nConnection: close\r\nContent-Length: %d\r\n\r\n%s"
                % (name.encode(), last, len(body()), body())
            )
            status = (await reader.read()).split()[1]
            assert status in {b"404", b"400"}
            writer.close()
            with contextlib.suppress(ConnectionError):
                await writer.wait_closed()
    assert _errors(caplog) == []


async def test_many_deliveries_at_once(mount: _Mount) -> None:
    """Of 300 runs whose deliveries arrive twice each, all at once, each is woken once."""
    receiver = WebhookReceiver("https://hooks.example.com")
    runs = [CountingRun(f"rnp_{n}") for n in range(300)]
    async with _served(mount, receiver) as (session, url_for):
        urls = [(url_for(run), body(run.id)) for run in runs]
        statuses = await asyncio.gather(*[_post(session, *each) for each in [*urls, *urls]])
    assert set(statuses) == {202}
    assert {run.woken for run in runs} == {1}


# aiohttp alone


async def test_compressed_bodies_are_measured_unpacked() -> None:
    """In aiohttp, which unpacks bodies, a small one that unpacks to a large one is refused."""
    receiver, run = WebhookReceiver("https://hooks.example.com"), CountingRun()
    packed = {"Content-Encoding": "gzip"}
    async with _served(_in_aiohttp, receiver) as (session, url_for):
        url = url_for(run)
        assert await _post(session, url, gzip.compress(b" " * 50 * _LARGE), headers=packed) == 413
        assert run.woken == 0
        assert await _post(session, url, gzip.compress(body()), headers=packed) == 202
        assert run.woken == 1


# On a port of its own


async def test_own_address_is_the_public_url() -> None:
    """Without a public URL, the address that is listened on is used, until the block ends."""
    receiver, run = WebhookReceiver(), CountingRun()
    ports = set()
    for _ in range(2):
        async with receiver.serve() as same, aiohttp.ClientSession() as session:
            assert same is receiver
            url = receiver.url_for(run)
            assert url.startswith("http://127.0.0.1:")
            ports.add(urlsplit(url).port)
            assert await _post(session, url) == 202
        with pytest.raises(ValueError, match="public_url"):
            receiver.issue()
    assert len(ports) == 2
    assert run.woken == 2


async def test_public_url_may_be_given() -> None:
    """A public URL that is given, to `serve` or else to the receiver, is used as behind a proxy."""
    receiver = WebhookReceiver("https://one.example.com/a")
    async with receiver.serve():
        assert receiver.url_for().startswith("https://one.example.com/a/")
    async with receiver.serve(public_url="https://two.example.com/"):
        assert receiver.url_for().startswith("https://two.example.com/")
        assert "//" not in receiver.url_for().removeprefix("https://")
    assert receiver.url_for().startswith("https://one.example.com/a/")


async def test_public_url_that_cannot_be() -> None:
    """An invalid public URL is refused before anything listens."""
    with pytest.raises(ValueError, match="public_url"):
        async with WebhookReceiver().serve(public_url="hooks.example.com"):
            pass


async def test_port_may_be_chosen_and_taken() -> None:
    """It listens on the given port, raises OSError when that is taken, and frees it at the end."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(OSError, match=r"[Aa]ddress already in use"):
            async with WebhookReceiver().serve(port=port):
                pass
    for _ in range(2):
        async with WebhookReceiver().serve(port=port) as receiver:
            assert urlsplit(receiver.url_for()).port == port


async def test_ipv6() -> None:
    """An IPv6 address is in brackets in the URL, and is reached by it."""
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        pytest.skip("this machine has no IPv6")
    run = CountingRun()
    async with WebhookReceiver().serve(host="::1") as receiver, aiohttp.ClientSession() as session:
        url = receiver.url_for(run)
        assert url.startswith("http://[::1]:")
        assert await _post(session, url) == 202
    assert run.woken == 1


async def test_block_that_raises_is_closed_all_the_same() -> None:
    """The port is free again after an error in the block, and the error is the block's own."""
    ports: list[int | None] = []

    async def work() -> None:
        async with WebhookReceiver().serve() as receiver:
            ports.append(urlsplit(receiver.url_for()).port)
            raise KeyError

    with pytest.raises(KeyError):
        await work()
    socket.create_server(("127.0.0.1", ports[0] or 0)).close()


# ASGI without a server


async def _ask(
    receiver: WebhookReceiver, scope: dict[str, Any], *messages: dict[str, Any]
) -> list[MutableMapping[str, Any]]:
    """Call the app as a server would, with these messages, and return what it sent."""
    waiting, sent = list(messages), list[MutableMapping[str, Any]]()

    async def receive() -> dict[str, Any]:
        return waiting.pop(0)

    async def send(message: MutableMapping[str, Any]) -> None:
        sent.append(message)

    app: Callable[..., Awaitable[None]] = receiver
    await app(scope, receive, send)
    return sent


async def test_websockets_are_refused() -> None:
    """A websocket is closed with the code for what is not supported."""
    assert await _ask(WebhookReceiver(), {"type": "websocket", "path": "/"}) == [
        {"type": "websocket.close", "code": 1003}
    ]


async def test_lifespan() -> None:
    """Where the receiver is the whole app, it says that it started and that it stopped."""
    sent = await _ask(
        WebhookReceiver(), {"type": "lifespan"}, {"type": "lifespan.startup"}, {"type": "lifespan.shutdown"}
    )
    assert [each["type"] for each in sent] == ["lifespan.startup.complete", "lifespan.shutdown.complete"]


async def test_disconnect_in_the_body() -> None:
    """A body that was cut off by a disconnect is not a delivery."""
    receiver, run = WebhookReceiver("https://h"), CountingRun()
    scope = {"type": "http", "method": "POST", "path": urlsplit(receiver.url_for(run)).path}
    part = {"type": "http.request", "body": body(), "more_body": True}
    sent = await _ask(receiver, scope, part, {"type": "http.disconnect"})
    assert sent[0]["status"] == 400
    assert run.woken == 0
    whole: list[dict[str, Any]] = [{**part, "body": body()[:5]}, {"type": "http.request", "body": body()[5:]}]
    sent = await _ask(receiver, scope, *whole)
    assert sent[0]["status"] == 202
    assert run.woken == 1


async def test_reading_ends_where_the_body_is_too_large() -> None:
    """Of an endless body no more is read than the limit and one piece."""
    receiver = WebhookReceiver("https://h")
    scope = {"type": "http", "method": "POST", "path": urlsplit(receiver.url_for()).path}
    pieces = [{"type": "http.request", "body": b" " * 300_000, "more_body": True}] * 4
    sent = await _ask(receiver, scope, *pieces)
    assert sent[0]["status"] == 413
