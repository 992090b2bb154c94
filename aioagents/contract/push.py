"""How the end of a run is announced: by a URL of its own at a receiver of ours, elsewhere, or not at all."""

from collections.abc import Generator
from typing import Any, Self

from ..model import Run, RunRef, Secret
from ..polling import RunHandle, ScheduledSource
from ..webhooks import Reading, Ticket, WebhookReceiver, read_run


class PushedHandle(RunHandle):
    """A handle that deliveries wake, for as long as somebody holds it: who awaits it does."""

    __slots__ = ()

    def __await__(self) -> Generator[Any, None, Run]:
        # In a generator, whose frame has `self`: `await (await leap.run(...))` keeps nothing but this.
        return (yield from super().__await__())


class WebhookRegistration:
    """Where one run's end is announced to, from before its start until its handle is dropped.

    A context manager around the start: where that fails, the receiver's URL is taken back.
    """

    def __init__(self, url: str | None, receiver: WebhookReceiver | None, ticket: Ticket | None) -> None:
        #: What the vendor is told; None where it announces nothing.
        self.url = url
        self._receiver = receiver
        self._ticket = ticket

    @classmethod
    def to(
        cls,
        webhook: str | WebhookReceiver | None,
        *,
        bearer: Secret | None = None,
        read: Reading = read_run,
    ) -> Self:
        """Have the end announced to a URL, which is told as it is, or to a URL of its own at a receiver.

        With a `bearer` the receiver takes deliveries that carry it alone; `read` says what they are about. Raises
        ValueError for a receiver that knows no public URL yet.
        """
        if not isinstance(webhook, WebhookReceiver):
            return cls(webhook, None, None)
        ticket = webhook.open(bearer=bearer, read=read)
        return cls(ticket.url, webhook, ticket)

    def handle(
        self, source: ScheduledSource, ref: RunRef, *, target: str, accepted: Run, begun_at: float
    ) -> RunHandle:
        """Make the handle of a run that was begun, and have deliveries wake it."""
        facts: dict[str, Any] = {"target": target, "accepted": accepted, "begun_at": begun_at}
        receiver, ticket = self._receiver, self._ticket
        if receiver is None or ticket is None:
            return RunHandle(source, ref, **facts)
        handle = PushedHandle(source, ref, push=receiver if receiver.is_working else None, **facts)
        receiver.bind(ticket, handle)
        return handle

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is not None and self._receiver is not None and self._ticket is not None:
            self._receiver.drop(self._ticket)
