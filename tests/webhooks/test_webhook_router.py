"""Which run a delivery wakes: URLs, early and repeated deliveries, and what is refused. All in memory."""

import asyncio
import gc
import json
import logging
import threading
from datetime import UTC, datetime
from http import HTTPStatus
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aioagents import Run, RunRef, RunState, WebhookReceiver, WebhookRejected
from aioagents.webhooks import Delivery, DeliveryClaim, Ticket, run_reader
from aioagents.webhooks.router import LIMIT, WebhookRouter
from tests.fakes import settle

_BASE = "https://hooks.example.com/leap"


class CountingRun:
    """A run that counts how often it was woken, and records in which thread."""

    def __init__(self, run_id: str = "rnp_1") -> None:
        self.id = run_id
        self.threads: list[int] = []

    def wake(self) -> None:
        """Count this call."""
        self.threads.append(threading.get_ident())

    @property
    def woken(self) -> int:
        """Return how often it was woken."""
        return len(self.threads)


def body(run_id: Any = "rnp_1", status: Any = "completed", **more: Any) -> bytes:
    """Write a delivery."""
    return json.dumps({"id": run_id, "status": status, **more}).encode()


def path(ticket: Ticket) -> str:
    """Return the path of a ticket's URL."""
    return urlsplit(ticket.url).path


def bound(router: WebhookRouter, run: CountingRun) -> Ticket:
    """Return a ticket whose deliveries wake `run`."""
    ticket = router.issue(_BASE)
    router.bind(ticket, run)
    return ticket


_FOLDER = Path(__file__).parents[1] / "samples" / "leap" / "webhook"
SAMPLES = {each.stem: each.read_bytes() for each in sorted(_FOLDER.glob("*.json"))}


@pytest.mark.parametrize("sample", SAMPLES.values(), ids=list(SAMPLES))
async def test_deliveries_as_the_vendor_sends_them_wake(sample: bytes) -> None:
    """A run object in either dialect, as the vendor sends it, wakes its run."""
    router = WebhookRouter()
    run = CountingRun(json.loads(sample)["id"])
    assert router.receive(path(bound(router, run)), sample) is HTTPStatus.ACCEPTED
    assert run.woken == 1


# URLs


def test_urls_cannot_be_guessed() -> None:
    """Each URL has 24 random bytes of its own, in characters that need no encoding, under the public URL."""
    router = WebhookRouter()
    tickets = [router.issue(_BASE) for _ in range(1000)]
    assert len({ticket.secret for ticket in tickets}) == len({ticket.name for ticket in tickets}) == 1000
    for ticket in tickets:
        assert ticket.url == f"{_BASE}/{ticket.name}/{ticket.secret}"
        assert len(ticket.secret) >= 32
        assert all(each.isalnum() or each in "-_" for each in ticket.name + ticket.secret)
    assert router.statistics().tickets == 1000


def test_reprs_show_no_secret() -> None:
    """No repr of a ticket, a receiver or its statistics shows the secret part of a URL."""
    receiver = WebhookReceiver(_BASE)
    ticket = receiver.issue()
    for shown in (repr(ticket), repr(receiver), repr(receiver.statistics())):
        assert ticket.secret not in shown
    assert repr(receiver) == f"<WebhookReceiver at {_BASE}, 1 runs>"
    assert "no URL yet" in repr(WebhookReceiver())


def test_delivery_hides_its_body() -> None:
    """What a delivery carries may be personal, and is not in its repr."""
    seen: list[Delivery] = []
    router = WebhookRouter(seen.append)
    ticket = router.issue(_BASE)
    assert router.receive(path(ticket), body(output={"mail": "a@example.com"})) == HTTPStatus.ACCEPTED
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


def test_no_url_is_issued_before_the_public_one_is_known() -> None:
    """Without a public URL no ticket can be issued, and the error says what is needed."""
    with pytest.raises(ValueError, match=r"public_url, or that serve\(\) is entered"):
        WebhookReceiver().issue()


def test_slash_at_the_end_of_the_public_url() -> None:
    """A public URL may end in a slash; issued URLs have no double ones."""
    assert "//" not in WebhookReceiver(f"{_BASE}/").url_for().removeprefix("https://")


def test_far_too_many_urls() -> None:
    """The number of valid URLs is bounded, since URLs that leak would fill the memory."""
    router = WebhookRouter(most=3)
    tickets = [router.issue(_BASE) for _ in range(3)]
    with pytest.raises(WebhookRejected, match="3 webhook URLs are in use"):
        router.issue(_BASE)
    router.revoke(tickets[0])
    router.issue(_BASE)


# Deliveries


async def test_a_delivery_wakes_its_run() -> None:
    """A delivery is answered with 202 and wakes the run of its URL, and no other."""
    router, one, other = WebhookRouter(), CountingRun("rnp_1"), CountingRun("rnp_2")
    ticket, _ = bound(router, one), bound(router, other)
    assert router.receive(path(ticket), body()) == HTTPStatus.ACCEPTED
    assert (one.woken, other.woken) == (1, 0)
    assert router.statistics().accepted == 1


async def test_a_repeated_delivery_wakes_no_run() -> None:
    """The same delivery again is answered with 202, reported as repeated, and costs no poll."""
    seen: list[bool] = []
    router, run = WebhookRouter(lambda each: seen.append(each.is_repeated)), CountingRun()
    ticket = bound(router, run)
    assert [router.receive(path(ticket), body()) for _ in range(5)] == [HTTPStatus.ACCEPTED] * 5
    assert run.woken == 1
    assert seen == [False] + [True] * 4
    assert (router.statistics().accepted, router.statistics().repeated) == (1, 4)


async def test_another_status_wakes_again() -> None:
    """Each status that is delivered wakes once."""
    router, run = WebhookRouter(), CountingRun()
    ticket = bound(router, run)
    for status in ("running", "completed", "running"):
        router.receive(path(ticket), body(status=status))
    assert run.woken == 2


@pytest.mark.parametrize("members", [{}, {"status": None}, {"status": 5}, {"status": ["completed"]}])
async def test_odd_status_is_a_hint_still(members: dict[str, Any]) -> None:
    """A delivery without a status word wakes the run: what it says does not decide."""
    statuses: list[str | None] = []
    router, run = WebhookRouter(lambda each: statuses.append(each.status)), CountingRun()
    ticket = bound(router, run)
    assert (
        router.receive(path(ticket), json.dumps({"id": "rnp_1", **members}).encode()) == HTTPStatus.ACCEPTED
    )
    assert (run.woken, statuses) == (1, [None])


async def test_camel_and_snake() -> None:
    """Bodies of both dialects are accepted."""
    router, run = WebhookRouter(), CountingRun()
    ticket = bound(router, run)
    assert router.receive(path(ticket), body(versionId="v", workflowId="w")) == HTTPStatus.ACCEPTED
    assert router.receive(path(ticket), body(status="failed", version_id="v")) == HTTPStatus.ACCEPTED
    assert run.woken == 2


_STATES = {"queued": RunState.QUEUED, "running": RunState.RUNNING, "paused": RunState.PAUSED}


def _state_of(status: str) -> RunState:
    return _STATES.get(status, RunState.UNKNOWN)


async def test_delivery_that_says_the_run_goes_on_wakes_no_run() -> None:
    """Queued and running are answered with 202 and cost no poll; pauses, ends, unknown words and none are news."""
    seen: list[tuple[str | None, bool]] = []
    router = WebhookRouter(lambda each: seen.append((each.status, each.is_news)))
    run = CountingRun()
    ticket = router.issue(_BASE, read=run_reader(_state_of))
    router.bind(ticket, run)
    woken: list[int] = []
    for status in ("queued", "running", "paused", "completed", "odd", None):
        assert router.receive(path(ticket), body(status=status)) == HTTPStatus.ACCEPTED
        woken.append(run.woken)
    assert woken == [0, 0, 1, 2, 3, 4]
    assert [is_news for _, is_news in seen] == [False, False, True, True, True, True]
    assert router.statistics().accepted == 6


async def test_second_pause_wakes_again() -> None:
    """The same words are news again once the run went on; repeats in between are not."""
    router, run = WebhookRouter(), CountingRun()
    ticket = router.issue(_BASE, read=run_reader(_state_of))
    router.bind(ticket, run)
    for status in ("running", "running", "paused", "paused", "running", "running", "paused", "paused"):
        router.receive(path(ticket), body(status=status))
    assert run.woken == 2
    assert (router.statistics().accepted, router.statistics().repeated) == (4, 4)


async def test_content_is_repeated_for_five_minutes() -> None:
    """A delivery without an id of its own is news again when the same came long ago."""
    now = 0.0
    router, run = WebhookRouter(monotonic=lambda: now), CountingRun()
    ticket = bound(router, run)
    woken: list[int] = []
    for at in (0.0, 299.0, 300.0, 599.0, 600.0):
        now = at
        router.receive(path(ticket), body(status="paused"))
        woken.append(run.woken)
    assert woken == [1, 1, 2, 2, 3]


async def test_id_of_a_delivery_decides_what_is_repeated() -> None:
    """With an id in its header, a delivery is repeated when the id came before, whatever its content."""
    router, run = WebhookRouter(), CountingRun()
    ticket = bound(router, run)
    for delivery_id in ("one", "two", "one", "two", "three"):
        router.receive(path(ticket), body(status="paused"), "", delivery_id)
    assert (run.woken, router.statistics().repeated) == (3, 2)
    router.receive(path(ticket), body(status="completed"), "", "three")
    assert run.woken == 3


async def test_time_that_a_reader_finds_decides_what_is_repeated() -> None:
    """A reader may take the id or the time of a delivery from its body; it goes before the header's."""

    def read(content: Any) -> DeliveryClaim | None:
        return DeliveryClaim(content["id"], content["status"], delivery_id=content["at"])

    router, run = WebhookRouter(), CountingRun()
    ticket = router.issue(_BASE, read=read)
    router.bind(ticket, run)
    for n, at in enumerate(("9:00", "9:01", "9:00", "9:01")):
        router.receive(path(ticket), body(status="paused", at=at, n=n), "", f"header-{n}")
    assert (run.woken, router.statistics().repeated) == (2, 2)


async def test_too_much_news_is_bounded_by_time() -> None:
    """Sixteen deliveries in five minutes may cost a poll; refused ones are not remembered as seen."""
    now = 0.0
    router, run = WebhookRouter(monotonic=lambda: now), CountingRun()
    ticket = bound(router, run)
    for n in range(17):
        answer = router.receive(path(ticket), body(status=f"state-{n}"))
    assert answer == HTTPStatus.BAD_REQUEST
    now = 300.0
    assert router.receive(path(ticket), body(status="state-16")) == HTTPStatus.ACCEPTED
    assert run.woken == 17


async def test_deliveries_without_news_are_not_bounded() -> None:
    """A thousand deliveries that say that a run goes on cost no poll, and its end is news."""
    router, run = WebhookRouter(), CountingRun()
    ticket = router.issue(_BASE, read=run_reader(_state_of))
    router.bind(ticket, run)
    for n in range(1000):
        assert router.receive(path(ticket), body(status="running", step=n)) == HTTPStatus.ACCEPTED
    assert run.woken == 0
    assert router.receive(path(ticket), body()) == HTTPStatus.ACCEPTED
    assert run.woken == 1


async def test_deliveries_without_news_do_not_show_that_ends_arrive() -> None:
    """Where a vendor announces that runs go on, and never their ends, deliveries cannot be relied on."""
    router, run = WebhookRouter(), CountingRun()
    ticket = router.issue(_BASE, read=run_reader(_state_of))
    router.bind(ticket, run)
    for n in range(3):
        router.receive(path(ticket), body(status="running", step=n))
        ticket.missed()
    assert not router.is_working


@pytest.mark.parametrize(
    ("statuses", "seen", "is_kept"),
    [
        (("running", "paused"), "paused", True),
        (("running", "PAUSED"), "paused", True),
        (("paused",), "paused", False),  # perhaps only pauses are announced
        (("running", "completed"), "paused", False),  # the poll saw an older state
        (("running", "completed", "running"), "running", False),
        (("running", None), "", False),
        (("running",), "running", False),
    ],
)
async def test_when_another_wake_can_be_relied_on(
    statuses: tuple[str | None, ...], seen: str, is_kept: bool
) -> None:
    """After a poll that saw just what was announced, of a run whose every change is."""
    router, run = WebhookRouter(), CountingRun()
    ticket = router.issue(_BASE, read=run_reader(_state_of))
    router.bind(ticket, run)
    for status in statuses:
        router.receive(path(ticket), body(status=status))
    ref = RunRef(vendor="leap", scope="", id="rnp_1")
    polled = Run(ref=ref, state=RunState.PAUSED, status=seen, seen_at=datetime(2026, 1, 5, tzinfo=UTC))
    assert ticket.will_wake_again(polled) is is_kept


async def test_early_delivery_wakes_once_the_run_is_known() -> None:
    """A delivery that overtakes the reply to its start is kept, and wakes the run when it is bound; once."""
    router, run = WebhookRouter(), CountingRun()
    ticket = router.issue(_BASE)
    assert router.receive(path(ticket), body()) == HTTPStatus.ACCEPTED
    router.bind(ticket, run)
    assert run.woken == 1
    assert router.receive(path(ticket), body()) == HTTPStatus.ACCEPTED
    assert run.woken == 1


async def test_early_delivery_about_another_run_wakes_no_run() -> None:
    """A delivery that came before the run was bound and names another run does not wake it."""
    router, run = WebhookRouter(), CountingRun()
    ticket = router.issue(_BASE)
    router.receive(path(ticket), body("rnp_2"))
    router.bind(ticket, run)
    assert run.woken == 0
    router.receive(path(ticket), body())
    assert run.woken == 1


async def test_another_runs_id_is_refused() -> None:
    """A delivery that names another run than its URL was made for is refused, and wakes no run."""
    router, run = WebhookRouter(), CountingRun()
    ticket = bound(router, run)
    assert router.receive(path(ticket), body("rnp_2")) == HTTPStatus.BAD_REQUEST
    assert (run.woken, router.statistics().refused) == (0, 1)


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
    """A body that is not a JSON object with an id is refused, and wakes no run."""
    router, run = WebhookRouter(), CountingRun()
    ticket = bound(router, run)
    assert router.receive(path(ticket), text) == HTTPStatus.BAD_REQUEST
    assert (run.woken, router.statistics().refused) == (0, 1)


@pytest.mark.parametrize("text", [None, b" " * (LIMIT + 1)])
async def test_bodies_that_are_too_large(text: bytes | None) -> None:
    """A body above 1 MiB is refused, and one of just that size is not."""
    router, run = WebhookRouter(), CountingRun()
    ticket = bound(router, run)
    assert router.receive(path(ticket), text) == HTTPStatus.REQUEST_ENTITY_TOO_LARGE
    assert (run.woken, router.statistics().refused) == (0, 1)
    assert router.receive(path(ticket), body() + b" " * (LIMIT - len(body()))) == HTTPStatus.ACCEPTED


async def test_too_many_states() -> None:
    """The seventeenth different status of one run is refused: a URL costs a bounded number of polls."""
    router, run = WebhookRouter(), CountingRun()
    ticket = bound(router, run)
    answers = [router.receive(path(ticket), body(status=f"state-{n}")) for n in range(100)]
    assert answers == [HTTPStatus.ACCEPTED] * 16 + [HTTPStatus.BAD_REQUEST] * 84
    assert run.woken == 16


async def test_forged_paths() -> None:
    """Without the exact name and secret there is a 404, whatever the body, and no run is woken."""
    router, run = WebhookRouter(), CountingRun()
    ticket = bound(router, run)
    other = router.issue(_BASE)
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
        assert router.receive(forged, body()) == HTTPStatus.NOT_FOUND
        assert router.receive(forged, None) == HTTPStatus.NOT_FOUND
    assert run.woken == 0
    assert router.statistics().refused == 36
    assert router.statistics().accepted == 0


@given(st.text(), st.binary())
async def test_requests_without_a_valid_url_are_refused(where: str, text: bytes) -> None:
    """Any other path with any body is answered with a 404."""
    router = WebhookRouter()
    router.issue(_BASE)
    assert router.receive(where, text) == HTTPStatus.NOT_FOUND


@given(st.binary())
async def test_nothing_breaks_over_any_body(text: bytes) -> None:
    """Any body at a valid URL is accepted or refused, and raises nothing."""
    router = WebhookRouter()
    ticket = router.issue(_BASE)
    assert router.receive(path(ticket), text) in {HTTPStatus.ACCEPTED, HTTPStatus.BAD_REQUEST}


# Hooks


async def test_a_listener_that_raises_breaks_nothing(caplog: pytest.LogCaptureFixture) -> None:
    """What `on_delivery` raises changes neither the answer nor the wake; it is logged once, without the body."""

    def listen(_: Delivery) -> None:
        raise RuntimeError("mine")

    router, run = WebhookRouter(listen), CountingRun()
    ticket = bound(router, run)
    with caplog.at_level(logging.ERROR, "aioagents"):
        for status in ("running", "completed"):
            assert router.receive(path(ticket), body(status=status, output="private")) == HTTPStatus.ACCEPTED
    assert run.woken == 2
    assert len(caplog.records) == 1
    assert "mine" in caplog.text
    assert "private" not in caplog.text
    assert router.statistics().accepted == 2


def test_a_listener_is_not_awaited() -> None:
    """A coroutine function as `on_delivery` would never run, and is refused."""

    async def listen(_: Delivery) -> None: ...

    with pytest.raises(TypeError, match="must not be a coroutine"):
        WebhookReceiver(_BASE, on_delivery=listen)


# Lifetime


async def test_a_url_is_forgotten_with_its_run() -> None:
    """Once the run is garbage, its URL is refused and costs no memory."""
    router, run = WebhookRouter(), CountingRun()
    ticket = bound(router, run)
    del run
    gc.collect()
    assert router.statistics().tickets == 0
    assert router.receive(path(ticket), body()) == HTTPStatus.NOT_FOUND


async def test_a_url_may_be_revoked() -> None:
    """A revoked URL is refused; revoking it again does no harm."""
    router, run = WebhookRouter(), CountingRun()
    ticket = bound(router, run)
    router.revoke(ticket)
    router.revoke(ticket)
    assert router.receive(path(ticket), body()) == HTTPStatus.NOT_FOUND
    assert run.woken == 0


async def test_wakes_in_the_loop_that_waits() -> None:
    """A delivery received in another thread's loop wakes the run in the run's own loop."""
    router, run = WebhookRouter(), CountingRun()
    ticket = bound(router, run)

    async def deliver() -> HTTPStatus:
        return router.receive(path(ticket), body())

    answer = await asyncio.to_thread(asyncio.run, deliver())
    await settle()
    assert answer == HTTPStatus.ACCEPTED
    assert run.threads == [threading.get_ident()]
    assert await asyncio.to_thread(router.receive, path(ticket), body(status="failed")) == HTTPStatus.ACCEPTED
    await settle()
    assert run.threads == [threading.get_ident()] * 2


def test_delivery_after_the_loop_has_ended() -> None:
    """A delivery to a run whose event loop is closed is answered like any other."""
    router, run = WebhookRouter(), CountingRun()

    async def start() -> Ticket:
        return bound(router, run)

    ticket = asyncio.run(start())
    assert router.receive(path(ticket), body()) == HTTPStatus.ACCEPTED
    assert run.woken == 0


# Whether deliveries arrive


async def test_works_until_three_runs_in_a_row_end_without_a_delivery() -> None:
    """After three runs in a row without a delivery it is not working; after one delivery it is again."""
    router, run = WebhookRouter(), CountingRun()
    where = path(bound(router, run))
    for _ in range(2):
        router.missed()
    assert router.is_working
    router.receive(where, body())
    for _ in range(2):
        router.missed()
    assert router.is_working
    router.missed()
    assert not router.is_working
    assert router.statistics().missed == 3
    router.receive("/forged/path", body())
    router.receive(where, b"garbage")
    assert not router.is_working
    router.receive(where, body())
    assert router.is_working
    assert router.statistics().missed == 0
