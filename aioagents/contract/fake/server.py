"""The interfaces of a fake server: one that all have, and those of vendors that do more. Pure."""

from collections.abc import Mapping, Sequence
from typing import Protocol, runtime_checkable

from attrs import field, frozen

from ...model import Reply
from .routes import Route


class FakeServer(Protocol):
    """A vendor's fake: strict where the facts are known, and counting what it is asked."""

    @property
    def vendor(self) -> str:
        """Return the vendor's name, as in a run reference."""
        ...

    @property
    def routes(self) -> Sequence[Route]:
        """Return all endpoints."""
        ...

    def statistics(self) -> Mapping[str, int]:
        """Return the counters: at least `token_requests`, `starts` (accepted ones) and `polls`."""
        ...

    def environment(self, url: str) -> Mapping[str, str]:
        """Return the environment variables for a client of this server at `url`, credentials included."""
        ...

    def revoke(self, authorization: str) -> bool:
        """Stop accepting the token in this `Authorization` header; False when it is no granted token."""
        ...

    def ended_at(self, run_id: str) -> float | None:
        """Return the server's second at which a run ends; None when it is unknown or never ends."""
        ...


@frozen
class Webhook:
    """One request that a vendor POSTs to a URL which a client supplied, due at the server's second `at`.

    `run` is the vendor's id of the run that it is about. URLs may hold secrets, and bodies personal data: both stay
    out of the repr.
    """

    url: str = field(repr=False)
    body: bytes = field(repr=False)
    headers: Mapping[str, str]
    at: float
    run: str = ""


@runtime_checkable
class SendsWebhooks(Protocol):
    """What a `FakeServer` has in addition when its vendor sends webhooks. Others have none of these methods."""

    def next_webhook_at(self) -> float | None:
        """Return the server's second at which the next webhook is due; None when none is planned."""
        ...

    def take_webhooks(self, now: float) -> Sequence[Webhook]:
        """Return the webhooks that are due by now, in the order in which they fell due, each once."""
        ...

    def false_bodies(self, webhook: Webhook) -> Sequence[bytes]:
        """Return bodies of the same shape that are false: of another run, or with a status that the run has not."""
        ...


@runtime_checkable
class AnswersUnknownPaths(Protocol):
    """What a `FakeServer` has in addition when its vendor answers unknown paths in its own way."""

    def answer_unknown(self, method: str, raw_path: str, now: float) -> Reply | None:
        """Return the reply to a request that no endpoint matches; None where the path is not this vendor's."""
        ...
