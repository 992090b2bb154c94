"""One URL of a receiver, and the run that its deliveries wake. No sockets, no waiting."""

import asyncio
import hmac
import secrets
import weakref
from collections.abc import Callable
from contextlib import suppress
from typing import Final, Protocol

from ..errors import WebhookRejected
from ..model import Run, Secret
from .claims import DeliveryClaim, DeliveryReader, read_run
from .seen import SeenDeliveries

_MOST_NEWS: Final = 16  # deliveries to one URL that may cost a poll in five minutes; a run has five statuses
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

        `content` is the digest of its body, which is compared where the delivery has no id. Raises WebhookRejected
        for another run's id, and when one run got too much news.
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
