"""AGH Runtime: webhooks, by which anybody who knows their secret fires a trigger."""

from collections.abc import Mapping
from typing import Any
from uuid import uuid4

from ... import codec
from ...calls import Start
from ...contract import check_header_value, path_segment
from ...model import Secret
from ...tracebacks import hides_locals
from .calls import Calls
from .checks import check_filled
from .delivery import MOST, Delivery, DeliverySender, OutgoingDelivery
from .handles import Handles
from .signing import check_endpoint, webhook_run_id
from .wire import check_size


class Webhooks:
    """The webhooks of a runtime. Made by `Agh.webhooks`."""

    def __init__(self, calls: Calls, handles: Handles) -> None:
        self._calls = calls
        self._handles = handles

    @hides_locals
    async def deliver(
        self,
        endpoint: str,
        body: bytes | str | Mapping[str, Any],
        *,
        secret: str | Secret,
        workspace_id: str | None = None,
        delivery_id: str | None = None,
        trigger_id: str | None = None,
        timeout: float | None = None,
    ) -> Delivery:
        """Deliver `body`, signed, and wait for the end of the run that it starts.

        `endpoint` is `<endpoint_slug>--<webhook_id>` (`Trigger.endpoint`), of the global scope unless a
        `workspace_id` is given. A mapping is sent as JSON, bytes and text unchanged, 1 MiB at most. Without a
        `delivery_id` a new one is used.

        The server answers when the run has ended, and CANCELS THE RUN when the connection is closed before. So the
        connection is kept until then, also when this call is cancelled (the outcome is then emitted as the event
        `StartAbandoned`), but not longer than the pool, whose closing closes it. `timeout` seconds after the first
        attempt it is closed on purpose.

        Safe to send again: the server accepts a delivery id once within 300 seconds, and a lost delivery is repeated
        with the same id and a new signature; one that had arrived already is a `Delivery` with `is_replay`. With the
        `trigger_id` the run's id is known beforehand, and the run is found without an answer; the server's answer
        hides a run that failed. Without it, or where there is no such run, an answer that was hidden or lost is
        `StartUnknown`. Raises `AuthenticationError` for a wrong secret or a clock that is more than 300 seconds off,
        `NotFound` where no enabled trigger has this endpoint, `Conflict` (`reason`, `retry_at`) at a limit (after a
        fire limit the delivery id is used up), `BadRequest`, `NotSent`, and ValueError or TypeError before anything
        is sent.
        """
        scope = (
            "global" if workspace_id is None else f"workspaces/{path_segment(workspace_id, 'workspace_id')}"
        )
        if timeout is not None and not timeout > 0:
            raise ValueError(f"timeout has to be above 0 seconds, or None, not {timeout!r}")
        delivery = OutgoingDelivery(
            url=f"{self._calls.base_url}/api/webhooks/{scope}/{check_endpoint(endpoint)}",
            body=_encoded(body),
            secret=Secret.of(secret),
            delivery_id=uuid4().hex if delivery_id is None else _header_value(delivery_id),
        )
        run = None
        if trigger_id is not None:
            run = self._handles.by_id(webhook_run_id(trigger_id, delivery.delivery_id))
        sender = DeliverySender(
            delivery, self._calls.pool.clock, make_handle=self._handles.of_started, run=run, timeout=timeout
        )
        return await self._calls.start(
            Start(
                vendor=self._calls.account.vendor,
                request=sender.request(),
                read=sender.read,
                target=endpoint,
                advice=sender.advice,
                find_early=None if run is None and timeout is None else sender.find_early,
                find_start=sender.find_start,
                next_attempt=sender.next_attempt,
                sign=sender.sign,
                find_handle=lambda delivery: delivery.run,
            )
        )


def _encoded(body: bytes | str | Mapping[str, Any]) -> bytes:
    if isinstance(body, str):
        body = body.encode()
    encoded = bytes(body) if isinstance(body, bytes | bytearray) else codec.encode_object(body, "body")
    return check_size(encoded, "body", most=MOST)


def _header_value(delivery_id: str) -> str:
    return check_header_value(check_filled(delivery_id, "delivery_id"), "delivery_id")
