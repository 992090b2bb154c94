"""How much of a body a receiver reads before it answers, also in an application that would read far more."""

import asyncio
import io
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import urlsplit

import aiohttp
import pytest
from aiohttp import web

from aioagents import WebhookReceiver
from aioagents.model import Secret
from tests.webhooks.test_webhook_receiver import body

_LARGE = 1024 * 1024 + 1


@asynccontextmanager
async def _in_a_large_app(receiver: WebhookReceiver) -> AsyncIterator[str]:
    """Serve it inside of an application that reads large bodies, and whose middleware reads each that it may."""

    @web.middleware
    async def read_some(request: web.Request, handler: Any) -> Any:
        if request.headers.get("X-Read"):
            await request.read()
        return await handler(request)

    app = web.Application(client_max_size=200 * _LARGE, middlewares=[read_some])
    app.add_subapp("/hooks", receiver.app())
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    try:
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        yield f"http://127.0.0.1:{runner.addresses[0][1]}/hooks"
    finally:
        await runner.cleanup()


@pytest.mark.parametrize(
    ("size", "fault", "status"), [(_LARGE, "", 413), (1, "secret", 404), (1, "bearer", 401)]
)
async def test_refused_before_the_body_is_over(size: int, fault: str, status: int) -> None:
    """Too large a body is refused once it is, and one to a wrong URL or without its token before it is read."""

    async def endless() -> AsyncIterator[bytes]:
        yield bytes(size)
        await asyncio.Event().wait()

    receiver = WebhookReceiver("https://x.example")
    async with _in_a_large_app(receiver) as url, aiohttp.ClientSession() as session, asyncio.timeout(5):
        ticket = receiver.issue(bearer=Secret("b") if fault == "bearer" else None)
        path = urlsplit(ticket.url).path + ("x" if fault == "secret" else "")
        async with session.post(url + path, data=endless()) as answer:
            assert answer.status == status
        assert receiver.statistics().refused == 1


@pytest.mark.parametrize(("count", "status"), [(1, 202), (_LARGE, 413)])
async def test_body_that_was_read_before(count: int, status: int) -> None:
    """A body that a middleware of the application has read is used and measured all the same."""
    receiver = WebhookReceiver("https://x.example")
    async with _in_a_large_app(receiver) as url, aiohttp.ClientSession() as session:
        path = urlsplit(receiver.url_for()).path
        data = body(status="x" * count)
        async with session.post(url + path, data=io.BytesIO(data), headers={"X-Read": "1"}) as answer:
            assert answer.status == status


async def test_refused_unread_in_an_asgi_app() -> None:
    """In an ASGI app too, a body that is sent to a wrong URL is not read."""
    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    async def receive() -> Any:
        raise AssertionError

    receiver = WebhookReceiver("https://x.example")
    await receiver({"type": "http", "method": "POST", "path": "/a/b", "headers": []}, receive, send)
    assert sent[0]["status"] == 404
    assert receiver.statistics().refused == 1
