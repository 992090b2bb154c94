"""Deliveries with a bearer token, and deliveries that name no run and are about the run of their URL."""

import json
from collections.abc import MutableMapping
from http import HTTPStatus
from typing import Any
from urllib.parse import urlsplit

import aiohttp
import pytest

from aioagents import Secret, WebhookReceiver
from aioagents.webhooks import Delivery, DeliveryClaim, Ticket
from aioagents.webhooks.router import WebhookRouter

_BASE = "https://hooks.example.com/kore"
_TOKEN = Secret("demo-token")
_RIGHT = "Bearer demo-token"


class CountingRun:
    """A run that counts how often it was woken."""

    def __init__(self, run_id: str = "r-1") -> None:
        self.id = run_id
        self.woken = 0

    def wake(self) -> None:
        """Count this call."""
        self.woken += 1


def nameless(content: Any) -> DeliveryClaim | None:
    """Read any object as a delivery about the run of its URL."""
    return DeliveryClaim("", content.get("status")) if isinstance(content, dict) else None


def path(ticket: Ticket) -> str:
    """Return the path of a ticket's URL."""
    return urlsplit(ticket.url).path


@pytest.mark.parametrize(
    "given",
    [
        "",
        "Bearer",
        "Bearer ",
        "Bearer demo-toke",
        "Bearer demo-tokens",
        "Basic demo-token",
        "demo-token",
        "Bearer \udce4",
    ],
)
async def test_wrong_bearer(given: str) -> None:
    """A delivery whose token is not the one of its ticket is refused, and wakes nothing."""
    router, run = WebhookRouter(), CountingRun()
    ticket = router.issue(_BASE, bearer=_TOKEN)
    router.bind(ticket, run)
    assert router.receive(path(ticket), b'{"id": "r-1"}', given) is HTTPStatus.UNAUTHORIZED
    assert (run.woken, router.statistics().refused) == (0, 1)


@pytest.mark.parametrize("given", [_RIGHT, "bearer demo-token", "Bearer  demo-token "])
async def test_right_bearer(given: str) -> None:
    """The right token is accepted, whatever the case of its scheme and the space around it."""
    router, run = WebhookRouter(), CountingRun()
    ticket = router.issue(_BASE, bearer=_TOKEN)
    router.bind(ticket, run)
    assert router.receive(path(ticket), b'{"id": "r-1"}', given) is HTTPStatus.ACCEPTED
    assert run.woken == 1
    assert "demo-token" not in repr(ticket)


async def test_token_where_none_is_asked_for() -> None:
    """A URL that was issued without a token accepts deliveries with any."""
    router = WebhookRouter()
    assert (
        router.receive(path(router.issue(_BASE)), b'{"id": "r-1"}', "Bearer whatever") is HTTPStatus.ACCEPTED
    )


async def test_delivery_that_names_no_run() -> None:
    """It is about the run of its URL: it wakes that one, and is reported under its id."""
    deliveries: list[Delivery] = []
    router, run = WebhookRouter(deliveries.append), CountingRun()
    ticket = router.issue(_BASE, read=nameless)
    router.bind(ticket, run)
    assert router.receive(path(ticket), b'{"status": "success"}') is HTTPStatus.ACCEPTED
    assert router.receive(path(ticket), b'{"status": "success"}') is HTTPStatus.ACCEPTED
    assert run.woken == 1
    assert [(each.run_id, each.status, each.is_repeated) for each in deliveries] == [
        ("r-1", "success", False),
        ("r-1", "success", True),
    ]
    assert router.receive(path(ticket), b"[]") is HTTPStatus.BAD_REQUEST


async def test_delivery_that_names_no_run_and_is_early() -> None:
    """One that comes before its run is known wakes the run once it is."""
    deliveries: list[Delivery] = []
    router, run = WebhookRouter(deliveries.append), CountingRun()
    ticket = router.issue(_BASE, read=nameless)
    router.receive(path(ticket), b"{}")
    router.bind(ticket, run)
    assert (run.woken, deliveries[0].run_id) == (1, "")


async def _ask(receiver: WebhookReceiver, url: str, headers: list[tuple[bytes, bytes]] | None) -> int:
    sent: list[MutableMapping[str, Any]] = []

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": json.dumps({"id": "r-1"}).encode()}

    async def send(message: MutableMapping[str, Any]) -> None:
        sent.append(message)

    scope: dict[str, Any] = {"type": "http", "method": "POST", "path": urlsplit(url).path}
    if headers is not None:
        scope["headers"] = headers
    await receiver(scope, receive, send)
    status: int = sent[0]["status"]
    return status


async def test_bearer_in_an_asgi_app() -> None:
    """As an ASGI application the receiver reads the token from the headers, where there are any."""
    receiver = WebhookReceiver(_BASE)
    url = receiver.issue(bearer=_TOKEN).url
    assert await _ask(receiver, url, None) == HTTPStatus.UNAUTHORIZED
    assert await _ask(receiver, url, [(b"x-api-key", b"demo-token")]) == HTTPStatus.UNAUTHORIZED
    right = [(b"host", b"hooks"), (b"Authorization", _RIGHT.encode())]
    assert await _ask(receiver, url, right) == HTTPStatus.ACCEPTED


async def test_bearer_over_a_socket() -> None:
    """As a server of its own the receiver reads the token from the headers."""
    async with WebhookReceiver().serve() as receiver, aiohttp.ClientSession() as session:
        url = receiver.issue(bearer=_TOKEN).url
        for headers, status in (({}, 401), ({"Authorization": _RIGHT}, 202)):
            async with session.post(url, json={"id": "r-1"}, headers=headers) as answer:
                assert answer.status == status
