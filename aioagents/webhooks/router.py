"""Find the run that a delivery is about, check the delivery, and wake the run. No sockets, no waiting.

No vendor here signs its webhooks. So each run has a URL of its own that nobody can guess, and a delivery is only a
hint: unless it says that the run merely goes on, it wakes the run, whose state is then read from the vendor. Where a
vendor sends a bearer token, deliveries without it are refused.
"""

import hmac
import time
from collections.abc import Callable
from datetime import UTC, datetime
from hashlib import blake2b
from http import HTTPStatus
from inspect import iscoroutinefunction
from typing import Any, Final

from attrs import field, frozen

from ..codec import decode_tolerant
from ..errors import WebhookRejected
from ..model import Secret
from ..observe.logs import log_hook_error
from .claims import DeliveryClaim, DeliveryReader, read_run
from .tickets import Ticket, Wakeable

#: Bytes that a delivery may have.
LIMIT: Final = 1024 * 1024
_MOST_MISSES: Final = 3
_MOST_TICKETS: Final = 1_000_000


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
        own_id = claim.delivery_id or delivery_id
        if own_id:  # of any length, and many are kept
            claim = claim._replace(delivery_id=_digest(own_id.encode(errors="replace")).hex())
        is_new = ticket.wake(claim, _digest(body), self._monotonic())
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


def _digest(content: bytes) -> bytes:
    return blake2b(content, digest_size=16).digest()


def _read(body: bytes, read: DeliveryReader) -> tuple[DeliveryClaim, Any]:
    try:
        content = decode_tolerant(body)
    except ValueError:
        raise WebhookRejected("the delivery is not JSON") from None
    claim = read(content)
    if claim is None:
        raise WebhookRejected("the delivery names no run")
    return claim, content
