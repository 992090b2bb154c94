"""Registering a webhook for a run's end: a URL of our own receiver, one of the caller's, or none."""

from collections.abc import Generator
from typing import Any, Self

from ..model import Run, RunRef, Secret
from ..polling import RunHandle, ScheduledSource
from ..webhooks import DeliveryReader, Ticket, WebhookReceiver, read_run


class PushedHandle(RunHandle):
    """A handle that deliveries wake while a reference to it exists; awaiting it holds one."""

    __slots__ = ()

    def __await__(self) -> Generator[Any, None, Run]:
        # A generator's frame refers to `self`; in `await (await leap.run(...))` nothing else does.
        return (yield from super().__await__())


class WebhookRegistration:
    """The URL that the vendor calls when one run ends: valid from before the start until the handle is dropped.

    A context manager around the start: if that fails, a URL of the receiver is revoked.
    """

    def __init__(self, url: str | None, receiver: WebhookReceiver | None, ticket: Ticket | None) -> None:
        #: The URL to send to the vendor; None where no webhook is registered.
        self.url = url
        self._receiver = receiver
        self._ticket = ticket

    @classmethod
    def to(
        cls,
        webhook: str | WebhookReceiver | None,
        *,
        bearer: Secret | None = None,
        read: DeliveryReader = read_run,
    ) -> Self:
        """Register a URL, which is sent to the vendor as it is, or a new URL of a receiver; None registers nothing.

        With a `bearer` the receiver refuses deliveries without that token; `read` finds the run in a delivery. Raises
        ValueError for a receiver that knows no public URL yet.
        """
        if not isinstance(webhook, WebhookReceiver):
            return cls(webhook, None, None)
        ticket = webhook.issue(bearer=bearer, read=read)
        return cls(ticket.url, webhook, ticket)

    def handle(
        self, source: ScheduledSource, ref: RunRef, *, target: str, accepted: Run, begun_at: float
    ) -> RunHandle:
        """Return the handle of a run that was started; deliveries to the receiver's URL wake it."""
        facts: dict[str, Any] = {"target": target, "accepted": accepted, "begun_at": begun_at}
        receiver, ticket = self._receiver, self._ticket
        if receiver is None or ticket is None:
            return RunHandle(source, ref, **facts)
        handle = PushedHandle(source, ref, push=ticket if receiver.is_working else None, **facts)
        receiver.bind(ticket, handle)
        return handle

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is not None and self._receiver is not None and self._ticket is not None:
            self._receiver.revoke(self._ticket)
