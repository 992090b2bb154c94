"""Who is meant by a delivery: URLs, early and repeated deliveries, and what is refused. All in memory."""

import asyncio
import gc
import json
import logging
import threading
from http import HTTPStatus
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aioagents import WebhookReceiver, WebhookRejected
from aioagents.webhooks import Delivery, Ticket
from aioagents.webhooks.router import LIMIT, WebhookRouter
from tests.fakes import settle

_BASE = "https://hooks.example.com/leap"


class Bell:
    """A run that counts how often it was woken, and notes in which thread."""

    def __init__(self, run_id: str = "rnp_1") -> None:
        self.id = run_id
        self.threads: list[int] = []

    def wake(self) -> None:
        """Take notice."""
        self.threads.append(threading.get_ident())

    @property
    def woken(self) -> int:
        """Count the wakings."""
        return len(self.threads)


def body(run_id: Any = "rnp_1", status: Any = "completed", **more: Any) -> bytes:
    """Write a delivery."""
    return json.dumps({"id": run_id, "status": status, **more}).encode()


def path(ticket: Ticket) -> str:
    """Return the path of a ticket's URL."""
    return urlsplit(ticket.url).path


def bound(router: WebhookRouter, bell: Bell) -> Ticket:
    """Return a ticket whose deliveries ring `bell`."""
    ticket = router.open(_BASE)
    router.bind(ticket, bell)
    return ticket


_FOLDER = Path(__file__).parents[1] / "samples" / "leap" / "webhook"
SAMPLES = {each.stem: each.read_bytes() for each in sorted(_FOLDER.glob("*.json"))}


@pytest.mark.parametrize("sample", SAMPLES.values(), ids=list(SAMPLES))
async def test_announcements_as_the_vendor_sends_them_wake(sample: bytes) -> None:
    """A run object in either dialect, as the vendor announces it, wakes its run."""
    router = WebhookRouter()
    bell = Bell(json.loads(sample)["id"])
    assert router.take(path(bound(router, bell)), sample) is HTTPStatus.ACCEPTED
    assert bell.woken == 1


# URLs


def test_urls_cannot_be_guessed() -> None:
    """Each URL has 24 random bytes of its own, in characters that need no encoding, under the public URL."""
    router = WebhookRouter()
    tickets = [router.open(_BASE) for _ in range(1000)]
    assert len({ticket.secret for ticket in tickets}) == len({ticket.name for ticket in tickets}) == 1000
    for ticket in tickets:
        assert ticket.url == f"{_BASE}/{ticket.name}/{ticket.secret}"
        assert len(ticket.secret) >= 32
        assert all(each.isalnum() or each in "-_" for each in ticket.name + ticket.secret)
    assert router.statistics().tickets == 1000


def test_reprs_show_no_secret() -> None:
    """Neither a ticket nor a receiver nor its numbers show what stands in the URLs."""
    receiver = WebhookReceiver(_BASE)
    ticket = receiver.open()
    for shown in (repr(ticket), repr(receiver), repr(receiver.statistics())):
        assert ticket.secret not in shown
    assert repr(receiver) == f"<WebhookReceiver at {_BASE}, 1 runs>"
    assert "no URL yet" in repr(WebhookReceiver())


def test_delivery_hides_its_body() -> None:
    """What a delivery carries may be personal, and is not in its repr."""
    seen: list[Delivery] = []
    router = WebhookRouter(seen.append)
    ticket = router.open(_BASE)
    assert router.take(path(ticket), body(output={"mail": "a@example.com"})) == HTTPStatus.ACCEPTED
    (delivery,) = seen
    assert delivery.body["output"] == {"mail": "a@example.com"}
    assert "example" not in repr(delivery)
    assert (delivery.run_id, delivery.status, delivery.is_repeated) == ("rnp_1", "completed", False)
    assert delivery.received_at.tzinfo is not None


@pytest.mark.parametrize(
    "url",
    [
        "",
        "hooks.example.com",
        "ftp://hooks.example.com",
        "https://",
        "https:///leap",
        "https://h/?a=b",
        "https://h/#a",
        "https://user:s3cr3t@h/leap",
        "https://s3cr3t@h/leap",
    ],
)
def test_public_urls_that_cannot_be(url: str) -> None:
    """A public URL is plain http or https; what is refused is not quoted, since it may hold a password."""
    with pytest.raises(ValueError, match="public_url has to be like") as caught:
        WebhookReceiver(url)
    assert "s3cr3t" not in str(caught.value)


def test_no_url_is_given_out_before_one_is_known() -> None:
    """Without a public URL there is nothing to tell a vendor, and the error says what to do."""
    with pytest.raises(ValueError, match=r"public_url, or enter serve\(\)"):
        WebhookReceiver().open()


def test_slash_at_the_end_of_the_public_url() -> None:
    """A public URL may end in a slash; the ones that are given out have single ones."""
    assert "//" not in WebhookReceiver(f"{_BASE}/").url_for().removeprefix("https://")


def test_far_too_many_urls() -> None:
    """URLs that leak are bounded: beyond that many the router says so."""
    router = WebhookRouter(most=3)
    tickets = [router.open(_BASE) for _ in range(3)]
    with pytest.raises(WebhookRejected, match="3 webhook URLs are out"):
        router.open(_BASE)
    router.drop(tickets[0])
    router.open(_BASE)


# Deliveries


async def test_a_delivery_wakes_its_run() -> None:
    """A delivery is answered with 202 and wakes the run of its URL, and no other."""
    router, one, other = WebhookRouter(), Bell("rnp_1"), Bell("rnp_2")
    ticket, _ = bound(router, one), bound(router, other)
    assert router.take(path(ticket), body()) == HTTPStatus.ACCEPTED
    assert (one.woken, other.woken) == (1, 0)
    assert router.statistics().accepted == 1


async def test_a_repeated_delivery_wakes_nobody() -> None:
    """The same delivery again is answered with 202, told as repeated, and costs no poll."""
    seen: list[bool] = []
    router, bell = WebhookRouter(lambda each: seen.append(each.is_repeated)), Bell()
    ticket = bound(router, bell)
    assert [router.take(path(ticket), body()) for _ in range(5)] == [HTTPStatus.ACCEPTED] * 5
    assert bell.woken == 1
    assert seen == [False] + [True] * 4
    assert (router.statistics().accepted, router.statistics().repeated) == (1, 4)


async def test_another_status_wakes_again() -> None:
    """Each state that is announced wakes once."""
    router, bell = WebhookRouter(), Bell()
    ticket = bound(router, bell)
    for status in ("running", "completed", "running"):
        router.take(path(ticket), body(status=status))
    assert bell.woken == 2


@pytest.mark.parametrize("members", [{}, {"status": None}, {"status": 5}, {"status": ["completed"]}])
async def test_odd_status_is_a_hint_still(members: dict[str, Any]) -> None:
    """A delivery without a status word wakes the run: what it says does not decide."""
    told: list[str | None] = []
    router, bell = WebhookRouter(lambda each: told.append(each.status)), Bell()
    ticket = bound(router, bell)
    assert router.take(path(ticket), json.dumps({"id": "rnp_1", **members}).encode()) == HTTPStatus.ACCEPTED
    assert (bell.woken, told) == (1, [None])


async def test_camel_and_snake() -> None:
    """Bodies of both dialects are taken."""
    router, bell = WebhookRouter(), Bell()
    ticket = bound(router, bell)
    assert router.take(path(ticket), body(versionId="v", workflowId="w")) == HTTPStatus.ACCEPTED
    assert router.take(path(ticket), body(status="failed", version_id="v")) == HTTPStatus.ACCEPTED
    assert bell.woken == 2


async def test_early_delivery_wakes_once_the_run_is_known() -> None:
    """A delivery that overtakes the reply to its start is kept, and wakes the run when it is bound; once."""
    router, bell = WebhookRouter(), Bell()
    ticket = router.open(_BASE)
    assert router.take(path(ticket), body()) == HTTPStatus.ACCEPTED
    router.bind(ticket, bell)
    assert bell.woken == 1
    assert router.take(path(ticket), body()) == HTTPStatus.ACCEPTED
    assert bell.woken == 1


async def test_early_delivery_about_another_run_wakes_nobody() -> None:
    """What came before the run was known and names another one is no news of it."""
    router, bell = WebhookRouter(), Bell()
    ticket = router.open(_BASE)
    router.take(path(ticket), body("rnp_2"))
    router.bind(ticket, bell)
    assert bell.woken == 0
    router.take(path(ticket), body())
    assert bell.woken == 1


async def test_another_runs_id_is_refused() -> None:
    """A delivery that names another run than its URL was made for is refused, and wakes nobody."""
    router, bell = WebhookRouter(), Bell()
    ticket = bound(router, bell)
    assert router.take(path(ticket), body("rnp_2")) == HTTPStatus.BAD_REQUEST
    assert (bell.woken, router.statistics().refused) == (0, 1)


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b" ",
        b"{",
        b"[]",
        b'"completed"',
        b"null",
        b"7",
        b"{}",
        b'{"id": 7}',
        b'{"id": ""}',
        b'{"id": null, "status": "completed"}',
        b"\xff\xfe",
        b'{"id": "\\ud800"}',
        b"[" * 100_000,
        b"<html></html>",
        b"id=rnp_1",
    ],
)
async def test_bodies_that_are_no_delivery(text: bytes) -> None:
    """A body that is not a JSON object with an id is refused, and wakes nobody."""
    router, bell = WebhookRouter(), Bell()
    ticket = bound(router, bell)
    assert router.take(path(ticket), text) == HTTPStatus.BAD_REQUEST
    assert (bell.woken, router.statistics().refused) == (0, 1)


@pytest.mark.parametrize("text", [None, b" " * (LIMIT + 1)])
async def test_bodies_that_are_too_large(text: bytes | None) -> None:
    """A body above 1 MiB is refused, and one of just that size is not."""
    router, bell = WebhookRouter(), Bell()
    ticket = bound(router, bell)
    assert router.take(path(ticket), text) == HTTPStatus.REQUEST_ENTITY_TOO_LARGE
    assert (bell.woken, router.statistics().refused) == (0, 1)
    assert router.take(path(ticket), body() + b" " * (LIMIT - len(body()))) == HTTPStatus.ACCEPTED


async def test_too_many_states() -> None:
    """Whoever makes up states is refused after the sixteenth: a URL costs a bounded number of polls."""
    router, bell = WebhookRouter(), Bell()
    ticket = bound(router, bell)
    answers = [router.take(path(ticket), body(status=f"state-{n}")) for n in range(100)]
    assert answers == [HTTPStatus.ACCEPTED] * 16 + [HTTPStatus.BAD_REQUEST] * 84
    assert bell.woken == 16


async def test_forged_paths() -> None:
    """Without the exact name and secret there is a 404, whatever the body, and nobody is woken."""
    router, bell = WebhookRouter(), Bell()
    ticket = bound(router, bell)
    other = router.open(_BASE)
    name, secret = ticket.name, ticket.secret
    for forged in [
        "",
        "/",
        "//",
        f"/{name}",
        f"/{name}/",
        f"/{secret}",
        f"/{name}/{secret}/",
        f"/{name}/{secret}x",
        f"/{name}/{secret[:-1]}",
        f"/{name}/{secret.swapcase()}",
        f"/{name}/{other.secret}",
        f"/{other.name}/{secret}",
        f"/{secret}/{name}",
        f"/{name}/%2e%2e",
        f"/{name}/é",
        f"/{name}/\udcff",
        f"/\udcff/{secret}",
        f"/{name}/{secret}?",
    ]:
        assert router.take(forged, body()) == HTTPStatus.NOT_FOUND
        assert router.take(forged, None) == HTTPStatus.NOT_FOUND
    assert bell.woken == 0
    assert router.statistics().refused == 36
    assert router.statistics().accepted == 0


@given(st.text(), st.binary())
async def test_nothing_comes_of_what_strangers_send(where: str, text: bytes) -> None:
    """Any path with any body is answered with a 404."""
    router = WebhookRouter()
    router.open(_BASE)
    assert router.take(where, text) == HTTPStatus.NOT_FOUND


@given(st.binary())
async def test_nothing_breaks_over_any_body(text: bytes) -> None:
    """Any body at a right URL is taken or refused."""
    router = WebhookRouter()
    ticket = router.open(_BASE)
    assert router.take(path(ticket), text) in {HTTPStatus.ACCEPTED, HTTPStatus.BAD_REQUEST}


# Hooks


async def test_a_listener_that_raises_breaks_nothing(caplog: pytest.LogCaptureFixture) -> None:
    """The answer and the waking do not depend on `on_delivery`; its error is logged once, without the body."""

    def listen(_: Delivery) -> None:
        raise RuntimeError("mine")

    router, bell = WebhookRouter(listen), Bell()
    ticket = bound(router, bell)
    with caplog.at_level(logging.ERROR, "aioagents"):
        for status in ("running", "completed"):
            assert router.take(path(ticket), body(status=status, output="private")) == HTTPStatus.ACCEPTED
    assert bell.woken == 2
    assert len(caplog.records) == 1
    assert "mine" in caplog.text
    assert "private" not in caplog.text
    assert router.statistics().accepted == 2


def test_a_listener_is_not_awaited() -> None:
    """A coroutine function as `on_delivery` would never run, and is refused."""

    async def listen(_: Delivery) -> None: ...

    with pytest.raises(TypeError, match="must not be a coroutine"):
        WebhookReceiver(_BASE, on_delivery=listen)


# Lives


async def test_a_url_is_forgotten_with_its_run() -> None:
    """Once nobody holds the run, its URL is refused and costs no memory."""
    router, bell = WebhookRouter(), Bell()
    ticket = bound(router, bell)
    del bell
    gc.collect()
    assert router.statistics().tickets == 0
    assert router.take(path(ticket), body()) == HTTPStatus.NOT_FOUND


async def test_a_url_may_be_taken_back() -> None:
    """A dropped URL is refused; to drop it again does no harm."""
    router, bell = WebhookRouter(), Bell()
    ticket = bound(router, bell)
    router.drop(ticket)
    router.drop(ticket)
    assert router.take(path(ticket), body()) == HTTPStatus.NOT_FOUND
    assert bell.woken == 0


async def test_wakes_in_the_loop_that_waits() -> None:
    """A delivery that another thread's loop takes in wakes the run in the run's own loop."""
    router, bell = WebhookRouter(), Bell()
    ticket = bound(router, bell)

    async def deliver() -> HTTPStatus:
        return router.take(path(ticket), body())

    answer = await asyncio.to_thread(asyncio.run, deliver())
    await settle()
    assert answer == HTTPStatus.ACCEPTED
    assert bell.threads == [threading.get_ident()]
    assert await asyncio.to_thread(router.take, path(ticket), body(status="failed")) == HTTPStatus.ACCEPTED
    await settle()
    assert bell.threads == [threading.get_ident()] * 2


def test_delivery_after_the_loop_has_ended() -> None:
    """A delivery to a run whose event loop is closed is answered like any other."""
    router, bell = WebhookRouter(), Bell()

    async def start() -> Ticket:
        return bound(router, bell)

    ticket = asyncio.run(start())
    assert router.take(path(ticket), body()) == HTTPStatus.ACCEPTED
    assert bell.woken == 0


# Whether it works


async def test_works_until_three_ends_in_a_row_were_unannounced() -> None:
    """Three unannounced ends in a row mean that deliveries do not arrive; one delivery means that they do."""
    router, bell = WebhookRouter(), Bell()
    where = path(bound(router, bell))
    for _ in range(2):
        router.missed()
    assert router.is_working
    router.take(where, body())
    for _ in range(2):
        router.missed()
    assert router.is_working
    router.missed()
    assert not router.is_working
    assert router.statistics().missed == 3
    router.take("/forged/path", body())
    router.take(where, b"garbage")
    assert not router.is_working
    router.take(where, body())
    assert router.is_working
    assert router.statistics().missed == 0
