"""Who is meant by a delivery, and whether it can be one. No sockets, no waiting.

No vendor here signs what it announces, so each wait has a URL of its own that nobody can guess, and what comes in
is a hint: it wakes the run, whose state is then read from the vendor. A vendor that sends a bearer token along is
held to it.
"""

import asyncio
import hmac
import secrets
import weakref
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from http import HTTPStatus
from inspect import iscoroutinefunction
from typing import Any, Final, Protocol, TypeAlias

from attrs import field, frozen

from ..codec import decode_json
from ..errors import WebhookRejected
from ..model import Secret
from ..observe.logs import log_hook_error

#: Bytes that a delivery may have.
LIMIT: Final = 1024 * 1024
_STATES_MOST: Final = 16  # different states of one run that are accepted; a run has five
_MISSES_MOST: Final = 3
_TICKETS_MOST: Final = 1_000_000
_BEARER: Final = "bearer "

#: Reads a delivery's JSON: the id of the run it tells of, empty where it names none and its URL says which is meant,
#: and the status it claims; None where it can be no delivery.
Reading: TypeAlias = Callable[[Any], "tuple[str, str | None] | None"]


def read_run(content: Any) -> tuple[str, str | None] | None:
    """Read a delivery that is the run itself: an object with `id` and, perhaps, `status`."""
    match content:
        case {"id": str() as run_id} if run_id:
            status = content.get("status")
            return run_id, status if isinstance(status, str) else None
    return None


class Wakeable(Protocol):
    """A run that polls sooner when it is told to."""

    @property
    def id(self) -> str:
        """Return the vendor's id of the run."""
        ...

    def wake(self) -> None:
        """Look now."""
        ...


@frozen(kw_only=True)
class Delivery:
    """What a delivery claims, and nothing verified. `body` may hold personal data and is not in the repr."""

    run_id: str
    status: str | None
    received_at: datetime
    is_repeated: bool = False
    body: Any = field(default=None, repr=False)


class Ticket:
    """One URL that was given out, and the run that is waited for under it.

    With a `bearer`, deliveries have to carry it; `read` reads what they hold.
    """

    __slots__ = ("__weakref__", "_loop", "_run", "_seen", "bearer", "name", "read", "secret", "url")

    def __init__(self, base_url: str, *, bearer: Secret | None = None, read: Reading = read_run) -> None:
        self.bearer = bearer
        self.read = read
        self.name = secrets.token_urlsafe(9)
        self.secret = secrets.token_urlsafe(24)
        self.url = f"{base_url}/{self.name}/{self.secret}"
        self._run: weakref.ref[Wakeable] | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._seen: set[tuple[str, str | None]] = set()

    def bind(self, run: Wakeable, forget: Callable[["Ticket"], None]) -> None:
        """Have deliveries wake `run`, one that came before it was known included."""
        self._loop = asyncio.get_running_loop()
        self._run = weakref.ref(run, lambda _: forget(self))
        # Deliveries may come in another thread, so whoever is second has to see the first: here and in `ring`.
        if any(run_id in {"", run.id} for run_id, _ in tuple(self._seen)):
            run.wake()

    @property
    def run_id(self) -> str:
        """Return the id of the run that is waited for; empty while there is none."""
        run = None if self._run is None else self._run()
        return "" if run is None else run.id

    def is_opened_by(self, authorization: str) -> bool:
        """Return whether an `Authorization` header carries the bearer token, where there has to be one."""
        if self.bearer is None:
            return True
        scheme, token = authorization[: len(_BEARER)].lower(), authorization[len(_BEARER) :].strip()
        is_right = hmac.compare_digest(self.bearer.reveal().encode(), token.encode(errors="replace"))
        return is_right and scheme == _BEARER

    def ring(self, run_id: str, status: str | None) -> bool:
        """Wake the run; False when the very same was said before. Raises WebhookRejected for another run's id.

        An empty id stands for the run that is waited for here.
        """
        if run_id and self.run_id not in {"", run_id}:
            raise WebhookRejected("the delivery is about another run")
        if (run_id, status) in self._seen:
            return False
        if len(self._seen) >= _STATES_MOST:
            raise WebhookRejected("there were too many different deliveries for one run")
        self._seen.add((run_id, status))
        run = None if self._run is None else self._run()
        if run is not None and run_id in {"", run.id} and self._loop is not None:
            self._wake(run, self._loop)
        return True

    def _wake(self, run: Wakeable, loop: asyncio.AbstractEventLoop) -> None:
        """Wake the run in its own loop: the receiver may be served by another thread's."""
        try:
            is_here = asyncio.get_running_loop() is loop
        except RuntimeError:
            is_here = False
        if is_here:
            run.wake()
        else:
            with suppress(RuntimeError):  # the loop is closed, and nobody waits in it any more
                loop.call_soon_threadsafe(run.wake)

    def __repr__(self) -> str:
        return f"<Ticket {self.name}>"


@frozen(kw_only=True)
class WebhookStatistics:
    """What came in: deliveries accepted, repeated, and refused; `missed` runs ended unannounced, in a row."""

    accepted: int
    repeated: int
    refused: int
    missed: int
    tickets: int


class WebhookRouter:
    """Gives out URLs and takes in what arrives under them."""

    def __init__(
        self, on_delivery: Callable[[Delivery], object] | None = None, *, most: int = _TICKETS_MOST
    ) -> None:
        if iscoroutinefunction(on_delivery):
            raise TypeError("on_delivery is called and not awaited, so it must not be a coroutine function")
        self._on_delivery = on_delivery
        self._most = most
        self._complained = False
        self._tickets: dict[str, Ticket] = {}
        self._accepted = 0
        self._repeated = 0
        self._refused = 0
        self._missed = 0

    @property
    def is_working(self) -> bool:
        """Return whether deliveries can be relied on: until three runs in a row have ended without one."""
        return self._missed < _MISSES_MOST

    def missed(self) -> None:
        """Note that a run ended and no delivery had said so."""
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

    def open(self, base_url: str, *, bearer: Secret | None = None, read: Reading = read_run) -> Ticket:
        """Return out a URL under `base_url`. Raises WebhookRejected when far too many are out."""
        if len(self._tickets) >= self._most:
            raise WebhookRejected(f"{self._most} webhook URLs are out, which must be a leak")
        ticket = Ticket(base_url, bearer=bearer, read=read)
        self._tickets[ticket.name] = ticket
        return ticket

    def bind(self, ticket: Ticket, run: Wakeable) -> None:
        """Have deliveries to `ticket` wake `run`, for as long as somebody holds it."""
        ticket.bind(run, self.drop)

    def drop(self, ticket: Ticket) -> None:
        """Take a URL back; deliveries to it are refused from now on."""
        self._tickets.pop(ticket.name, None)

    def refuse(self, path: str, authorization: str = "") -> HTTPStatus | None:
        """Return the status by which a POST to `path` is refused unread; None where it may be a delivery."""
        status = self._fault(self._find(path), authorization)
        self._refused += status is not None
        return status

    def _fault(self, ticket: Ticket | None, authorization: str) -> HTTPStatus | None:
        if ticket is None:
            return HTTPStatus.NOT_FOUND
        return None if ticket.is_opened_by(authorization) else HTTPStatus.UNAUTHORIZED

    def take(self, path: str, body: bytes | None, authorization: str = "") -> HTTPStatus:
        """Take in a POST to `path`, and give the status to answer with. Raises nothing.

        `body` is None where it was too large to be read; `authorization` is that header, empty where there is none.
        """
        try:
            return self._take(path, body, authorization)
        except WebhookRejected:
            self._refused += 1
            return HTTPStatus.BAD_REQUEST

    def _take(self, path: str, body: bytes | None, authorization: str) -> HTTPStatus:
        ticket = self._find(path)
        fault = self._fault(ticket, authorization)
        if ticket is None or fault is not None:
            self._refused += 1
            return fault or HTTPStatus.NOT_FOUND
        if body is None or len(body) > LIMIT:
            self._refused += 1
            return HTTPStatus.REQUEST_ENTITY_TOO_LARGE
        run_id, status, content = _read(body, ticket.read)
        is_new = ticket.ring(run_id, status)
        self._missed = 0
        if is_new:
            self._accepted += 1
        else:
            self._repeated += 1
        self._tell(
            Delivery(
                run_id=run_id or ticket.run_id,
                status=status,
                received_at=datetime.now(UTC),
                is_repeated=not is_new,
                body=content,
            )
        )
        return HTTPStatus.ACCEPTED

    def _tell(self, delivery: Delivery) -> None:
        """Tell who wants to know. What a listener raises is its own fault, and not the vendor's to hear."""
        if self._on_delivery is None:
            return
        try:
            self._on_delivery(delivery)
        except Exception as exc:  # noqa: BLE001 - as above
            if not self._complained:
                self._complained = True
                log_hook_error(self._on_delivery, exc)

    def _find(self, path: str) -> Ticket | None:
        """Find a ticket by the last two segments; the secret one is compared in constant time."""
        *_, name, secret = ("", "", *path.split("/"))
        ticket = self._tickets.get(name)
        expected = "" if ticket is None else ticket.secret
        # A path may hold bytes that are no text, which come as lone surrogates.
        is_right = hmac.compare_digest(expected.encode(), secret.encode(errors="replace"))
        return ticket if is_right else None


def _read(body: bytes, read: Reading) -> tuple[str, str | None, Any]:
    try:
        content = decode_json(body)
    except ValueError:
        raise WebhookRejected("the delivery is not JSON") from None
    found = read(content)
    if found is None:
        raise WebhookRejected("the delivery names no run")
    return *found, content
