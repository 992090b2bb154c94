"""Find the run that a delivery is about, check the delivery, and wake the run. No sockets, no waiting.

No vendor here signs its webhooks. So each run has a URL of its own that nobody can guess, and a delivery is only a
hint: unless it says that the run merely goes on, it wakes the run, whose state is then read from the vendor. Where a
vendor sends a bearer token, deliveries without it are refused.
"""

import asyncio
import hmac
import secrets
import time
import weakref
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from hashlib import blake2b
from http import HTTPStatus
from inspect import iscoroutinefunction
from typing import Any, Final, Protocol

from attrs import field, frozen

from ..codec import decode_json
from ..errors import WebhookRejected
from ..model import Run, Secret
from ..observe.logs import log_hook_error
from .claims import DeliveryClaim, DeliveryReader, read_run
from .seen import SeenDeliveries

#: Bytes that a delivery may have.
LIMIT: Final = 1024 * 1024
_MOST_NEWS: Final = 16  # deliveries to one URL that may cost a poll in five minutes; a run has five statuses
_MOST_MISSES: Final = 3
_MOST_TICKETS: Final = 1_000_000
_BEARER: Final = "bearer "


def _ignore() -> None:
    """Do nothing."""


class Wakeable(Protocol):
    """A run that can be polled sooner than planned."""

    @property
    def id(self) -> str:
        """Return the vendor's id of the run."""
        ...

    def wake(self) -> None:
        """Poll now."""
        ...


@frozen(kw_only=True)
class Delivery:
    """What a delivery claims; none of it is verified. `body` may hold personal data and is not in the repr.

    `is_news` is False where the delivery says that the run merely goes on, so that it was not polled.
    """

    run_id: str
    status: str | None
    received_at: datetime
    is_repeated: bool = False
    is_news: bool = True
    body: Any = field(default=None, repr=False)


class Ticket:
    """One URL that was issued, and the run that deliveries to it wake. A `Push`.

    With a `bearer`, deliveries have to carry that token; `read` reads their JSON. `on_missed` is called when the run
    ended without a delivery.
    """

    __slots__ = (
        "__weakref__",
        "_announced",
        "_announces_changes",
        "_early",
        "_loop",
        "_on_missed",
        "_run",
        "_seen",
        "bearer",
        "name",
        "read",
        "secret",
        "url",
    )

    def __init__(
        self,
        base_url: str,
        *,
        bearer: Secret | None = None,
        read: DeliveryReader = read_run,
        on_missed: Callable[[], object] = _ignore,
    ) -> None:
        self.bearer = bearer
        self.read = read
        self.name = secrets.token_urlsafe(9)
        self.secret = secrets.token_urlsafe(24)
        self.url = f"{base_url}/{self.name}/{self.secret}"
        self._run: weakref.ref[Wakeable] | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._on_missed = on_missed
        self._seen = SeenDeliveries(most=_MOST_NEWS)
        # Ids of runs that deliveries named before a run was bound.
        self._early: tuple[str, ...] = ()
        # Whether the vendor announces every change of the run: a delivery came that was no news.
        self._announces_changes = False
        self._announced: str | None = None  # the status in the latest news

    def missed(self) -> None:
        """Record that the run ended without a delivery."""
        self._on_missed()

    def will_wake_again(self, seen: Run) -> bool:
        """Return whether the vendor announces every change, and `seen` is what it announced last.

        If a poll did not see what was announced, which may be the end, nothing will announce it again.
        """
        announced = self._announced
        is_seen = announced is not None and announced.casefold() == seen.status.casefold()
        return self._announces_changes and is_seen

    def bind(self, run: Wakeable, forget: Callable[["Ticket"], None]) -> None:
        """Make deliveries wake `run`, also one that came before this call. `forget` is called when `run` is gone."""
        self._loop = asyncio.get_running_loop()
        self._run = weakref.ref(run, lambda _: forget(self))
        # Deliveries may come in another thread. Both this and `wake` write their own part before they read the
        # other's, so the later of the two wakes the run.
        if any(run_id in {"", run.id} for run_id in self._early):
            run.wake()

    @property
    def run_id(self) -> str:
        """Return the id of the bound run; empty while there is none."""
        run = None if self._run is None else self._run()
        return "" if run is None else run.id

    def is_authorized_by(self, authorization: str) -> bool:
        """Return whether an `Authorization` header carries the bearer token; True where none is needed."""
        if self.bearer is None:
            return True
        scheme, token = authorization[: len(_BEARER)].lower(), authorization[len(_BEARER) :].strip()
        is_right = hmac.compare_digest(self.bearer.reveal().encode(), token.encode(errors="replace"))
        return is_right and scheme == _BEARER

    def wake(self, claim: DeliveryClaim, content: bytes, now: float) -> bool:
        """Wake the run because of a delivery that is news; False when the same delivery came before.

        `content` is compared where the delivery has no id. Raises WebhookRejected for another run's id, and when one
        run got too much news.
        """
        run_id, delivery_id = claim.run_id, claim.delivery_id
        if run_id and self.run_id not in {"", run_id}:
            raise WebhookRejected("the delivery is about another run")
        if self._seen.is_repeated(delivery_id, content, now):
            return False
        if claim.is_news and not self._seen.may_add_news(now):
            raise WebhookRejected("there were too many different deliveries for one run")
        self._seen.add(delivery_id, content, now, is_news=claim.is_news)
        if not claim.is_news:
            self._announces_changes = True
            return True
        self._announced = claim.status
        if self._run is None:
            self._early = (*self._early, run_id)[-_MOST_NEWS:]
        run = None if self._run is None else self._run()
        if run is not None and run_id in {"", run.id} and self._loop is not None:
            self._wake_in(self._loop, run)
        return True

    def _wake_in(self, loop: asyncio.AbstractEventLoop, run: Wakeable) -> None:
        """Wake the run in its own event loop: the receiver may be served by the loop of another thread."""
        try:
            is_here = asyncio.get_running_loop() is loop
        except RuntimeError:
            is_here = False
        if is_here:
            run.wake()
        else:
            with suppress(RuntimeError):  # the loop is closed, so nothing waits in it
                loop.call_soon_threadsafe(run.wake)

    def __repr__(self) -> str:
        return f"<Ticket {self.name}>"


@frozen(kw_only=True)
class WebhookStatistics:
    """Counts of deliveries that were accepted, repeated and refused, and of tickets that are valid.

    `missed` is the number of runs that ended without a delivery since the last delivery.
    """

    accepted: int
    repeated: int
    refused: int
    missed: int
    tickets: int


class WebhookRouter:
    """Issues URLs, and wakes runs by the deliveries to them."""

    def __init__(
        self,
        on_delivery: Callable[[Delivery], object] | None = None,
        *,
        most: int = _MOST_TICKETS,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        if iscoroutinefunction(on_delivery):
            raise TypeError("on_delivery is called and not awaited, so it must not be a coroutine function")
        self._on_delivery = on_delivery
        self._most = most
        self._monotonic = monotonic
        self._has_complained = False
        self._tickets: dict[str, Ticket] = {}
        self._accepted = 0
        self._repeated = 0
        self._refused = 0
        self._missed = 0

    @property
    def is_working(self) -> bool:
        """Return whether deliveries can be relied on: until three runs in a row have ended without one."""
        return self._missed < _MOST_MISSES

    def missed(self) -> None:
        """Record that a run ended without a delivery."""
        self._missed += 1

    def statistics(self) -> WebhookStatistics:
        """Return the present numbers."""
        return WebhookStatistics(
            accepted=self._accepted,
            repeated=self._repeated,
            refused=self._refused,
            missed=self._missed,
            tickets=len(self._tickets),
        )

    def issue(
        self, base_url: str, *, bearer: Secret | None = None, read: DeliveryReader = read_run
    ) -> Ticket:
        """Return a ticket with a new URL under `base_url`. Raises WebhookRejected when too many are valid."""
        if len(self._tickets) >= self._most:
            raise WebhookRejected(f"{self._most} webhook URLs are in use, which must be a leak")
        ticket = Ticket(base_url, bearer=bearer, read=read, on_missed=self.missed)
        self._tickets[ticket.name] = ticket
        return ticket

    def bind(self, ticket: Ticket, run: Wakeable) -> None:
        """Make deliveries to `ticket` wake `run`, for as long as the program keeps a reference to `run`."""
        ticket.bind(run, self.revoke)

    def revoke(self, ticket: Ticket) -> None:
        """Refuse deliveries to this URL from now on. May be called twice."""
        self._tickets.pop(ticket.name, None)

    def refuse(self, path: str, authorization: str = "") -> HTTPStatus | None:
        """Return the status that refuses a POST to `path` before its body is read; None if it may be a delivery."""
        status = self._refusal(self._find(path), authorization)
        self._refused += status is not None
        return status

    def _refusal(self, ticket: Ticket | None, authorization: str) -> HTTPStatus | None:
        if ticket is None:
            return HTTPStatus.NOT_FOUND
        return None if ticket.is_authorized_by(authorization) else HTTPStatus.UNAUTHORIZED

    def receive(
        self, path: str, body: bytes | None, authorization: str = "", delivery_id: str = ""
    ) -> HTTPStatus:
        """Check a POST to `path`, wake the run that it is about, and return the status to answer with. Never raises.

        `body` is None where it was too large to be read; `authorization` and `delivery_id` are the headers
        `Authorization` and `Webhook-Id`, empty where there is none.
        """
        try:
            return self._receive(path, body, authorization, delivery_id)
        except WebhookRejected:
            self._refused += 1
            return HTTPStatus.BAD_REQUEST

    def _receive(self, path: str, body: bytes | None, authorization: str, delivery_id: str) -> HTTPStatus:
        ticket = self._find(path)
        refusal = self._refusal(ticket, authorization)
        if ticket is None or refusal is not None:
            self._refused += 1
            return refusal or HTTPStatus.NOT_FOUND
        if body is None or len(body) > LIMIT:
            self._refused += 1
            return HTTPStatus.REQUEST_ENTITY_TOO_LARGE
        claim, content = _read(body, ticket.read)
        if delivery_id and not claim.delivery_id:
            claim = claim._replace(delivery_id=delivery_id)
        is_new = ticket.wake(claim, blake2b(body, digest_size=16).digest(), self._monotonic())
        if claim.is_news:
            self._missed = 0
        if is_new:
            self._accepted += 1
        else:
            self._repeated += 1
        self._notify(
            Delivery(
                run_id=claim.run_id or ticket.run_id,
                status=claim.status,
                received_at=datetime.now(UTC),
                is_repeated=not is_new,
                is_news=claim.is_news,
                body=content,
            )
        )
        return HTTPStatus.ACCEPTED

    def _notify(self, delivery: Delivery) -> None:
        """Call `on_delivery`. What that raises is logged once, and changes nothing in the answer to the vendor."""
        if self._on_delivery is None:
            return
        try:
            self._on_delivery(delivery)
        except Exception as exc:  # noqa: BLE001 - as above
            if not self._has_complained:
                self._has_complained = True
                log_hook_error(self._on_delivery, exc)

    def _find(self, path: str) -> Ticket | None:
        """Find a ticket by the last two segments; the secret one is compared in constant time."""
        *_, name, secret = ("", "", *path.split("/"))
        ticket = self._tickets.get(name)
        expected = "" if ticket is None else ticket.secret
        # Bytes of a path that are not valid text arrive as lone surrogates.
        is_right = hmac.compare_digest(expected.encode(), secret.encode(errors="replace"))
        return ticket if is_right else None


def _read(body: bytes, read: DeliveryReader) -> tuple[DeliveryClaim, Any]:
    try:
        content = decode_json(body)
    except ValueError:
        raise WebhookRejected("the delivery is not JSON") from None
    claim = read(content)
    if claim is None:
        raise WebhookRejected("the delivery names no run")
    return claim, content
