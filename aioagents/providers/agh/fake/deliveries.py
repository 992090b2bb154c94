"""Webhook deliveries: how the server reads and authenticates them, and which triggers they match. Pure."""

import hmac
import re
from collections.abc import Mapping
from decimal import Decimal
from hashlib import sha256
from typing import Any, Final

from attrs import field, frozen

from ....codec import decode_json
from ....contract.fake import Call, Refused
from .definitions import Trigger
from .times import SECOND, nanoseconds, read_moment, write_moment

MOST_BYTES: Final = 1_048_576
#: By how much a delivery's timestamp may differ from the clock, and for how long its id is remembered.
WINDOW: Final = 300 * SECOND
TIMESTAMP: Final = "x-agh-webhook-timestamp"
SIGNATURE: Final = "x-agh-webhook-signature"
DELIVERY_ID: Final = "x-agh-webhook-delivery-id"
_SIGNATURE: Final = re.compile(r"sha256=([0-9a-fA-F]{64})")
_SECONDS: Final = re.compile(r"[+-]?[0-9]{1,18}", flags=re.ASCII)


@frozen
class Delivery:
    """One delivery, read from its headers. `at` is its timestamp in nanoseconds."""

    slug: str
    webhook_id: str
    at: int
    signature: str = field(repr=False)
    id: str
    body: bytes = field(repr=False)

    @classmethod
    def read(cls, call: Call) -> "Delivery":
        """Read and check the headers in the server's order. Raises `Refused`."""
        slug, dashes, webhook_id = call.path["endpoint"].strip().rpartition("--")
        slug, webhook_id = slug.strip(), webhook_id.strip()
        if not (dashes and slug and webhook_id.startswith("wbh_")):
            raise Refused(400, "the webhook endpoint has to be <slug>--<webhook id>")
        at = _read_timestamp((call.header(TIMESTAMP) or "").strip())
        signature = (call.header(SIGNATURE) or "").strip()
        if not signature:
            raise Refused(400, "the webhook signature header is required")
        delivery_id = (call.header(DELIVERY_ID) or "").strip()
        if not delivery_id:
            raise Refused(400, "the webhook delivery id header is required")
        body = call.request.body or b""
        if len(body) > MOST_BYTES:
            raise Refused(413, "the webhook body is too large")
        return cls(slug, webhook_id, at, signature, delivery_id, body)

    def answers_at(self, trigger: Trigger, scope: str, workspace_id: str) -> bool:
        """Return whether a trigger has this endpoint."""
        return (
            trigger.enabled
            and trigger.is_webhook
            and (trigger.webhook_id, trigger.endpoint_slug) == (self.webhook_id, self.slug)
            and (trigger.scope, trigger.workspace_id) == (scope, workspace_id)
        )

    def authenticate(self, trigger: Trigger, call: Call, now: int) -> None:
        """Raise `Refused` unless it is fresh and signed with the trigger's secret.

        It has to be fresh by the fake server's clock, or by the client's own where that is known.
        """
        clocks = [now] if call.client_time is None else [now, nanoseconds(call.client_time)]
        if all(abs(clock - self.at) > WINDOW for clock in clocks):
            raise Refused(401, "the webhook timestamp lies outside the freshness window")
        if not trigger.secret:
            raise Refused(400, "the webhook secret is required")
        given = _SIGNATURE.fullmatch(self.signature)
        wanted = sign(trigger.secret, self.at, self.body)
        if given is None or not hmac.compare_digest(f"sha256={given[1].lower()}", wanted):
            raise Refused(401, "the webhook signature is not right")

    def data(self) -> dict[str, Any]:
        """Return the event's data: the body's members, and what the server adds."""
        try:
            members = decode_json(self.body)
        except ValueError:
            members = None
        data = dict(members) if isinstance(members, dict) else {}
        data.setdefault("payload", self.body.decode(errors="replace"))
        return data | {
            "endpoint": f"{self.slug}--{self.webhook_id}",
            "endpoint_slug": self.slug,
            "webhook_id": self.webhook_id,
            "timestamp": write_moment(self.at),
        }

    def digest(self, trigger_id: str) -> str:
        """Return the digest from which the ids of its run and fire are derived."""
        return sha256(f"{trigger_id}\0{self.id}".encode()).hexdigest()


def sign(secret: str, at: int, body: bytes) -> str:
    """Return the signature of a delivery."""
    message = f"{at // SECOND}.".encode() + body
    return f"sha256={hmac.new(secret.strip().encode(), message, sha256).hexdigest()}"


def matches(trigger: Trigger, data: Mapping[str, Any]) -> bool:
    """Return whether a trigger's filter matches an event with such data."""
    plain = {
        "kind": "webhook",
        "scope": trigger.scope,
        "workspace_id": trigger.workspace_id,
        "source": "webhook",
    }
    for key, wanted in trigger.filter.items():
        name = key.strip()
        found = plain[name] if name in plain else _text(_find(data, name.removeprefix("data.")))
        if found != wanted.strip():
            return False
    return True


def _find(data: Mapping[str, Any], path: str) -> Any:
    value: Any = data
    for segment in path.split("."):
        value = value.get(segment.strip()) if isinstance(value, dict) else None
    return value


def _text(value: Any) -> str | None:
    """Return the text with which a JSON value is compared; None for values that never match."""
    if isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        # All numbers are read as floats, and written without an exponent.
        return f"{Decimal(repr(float(value))).normalize():f}"
    return None


def _read_timestamp(text: str) -> int:
    if not text:
        raise Refused(400, "the webhook timestamp header is required")
    moment = read_moment(text)
    if moment is None and _SECONDS.fullmatch(text):
        moment = int(text) * SECOND
    if moment is None:
        raise Refused(400, "the webhook timestamp cannot be read")
    return moment
