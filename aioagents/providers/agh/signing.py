"""AGH Runtime: webhook endpoints, signatures and the ids that follow from them. Pure.

The server derives these in the same way (AGH automation API, sections 9.1, 9.4 and 9.7).
"""

from hashlib import sha256
from typing import Final

from ...contract import path_segment
from ...model import Secret
from ...webhooks import sign
from .checks import check_filled
from .definitions import WEBHOOK_PREFIX

_SPLIT: Final = "--"


def signature(secret: str | Secret, timestamp: int, body: bytes) -> str:
    """Return the signature of a body, for a time in whole Unix seconds. Raises ValueError for a blank secret.

    White space around the secret is ignored.
    """
    return sign(Secret.of(secret), body, timestamp=str(timestamp))


def webhook_run_id(trigger_id: str, delivery_id: str) -> str:
    """Return the id of the run that a delivery starts."""
    return f"run_wbh_{_digest(trigger_id, delivery_id)[:24]}"


def webhook_fire_id(trigger_id: str, delivery_id: str) -> str:
    """Return the `fire_id` of the run that a delivery starts."""
    return f"webhook:{_digest(trigger_id, delivery_id)}"


def default_webhook_id(trigger_id: str) -> str:
    """Return the webhook id that the server derives for a trigger which has no `webhook_id` of its own."""
    return f"{WEBHOOK_PREFIX}{sha256(trigger_id.strip().encode()).hexdigest()[:16]}"


def check_endpoint(endpoint: str) -> str:
    """Return `slug--wbh_id` encoded as one path segment. Raises ValueError or TypeError for anything else."""
    text = check_filled(endpoint, "endpoint")
    slug, _, webhook_id = text.rpartition(_SPLIT)
    if not (slug.strip() and webhook_id.startswith(WEBHOOK_PREFIX)):
        raise ValueError(f"endpoint: expected <endpoint_slug>--{WEBHOOK_PREFIX}<id>, not {text!r}")
    return path_segment(text, "endpoint")


def _digest(trigger_id: str, delivery_id: str) -> str:
    trigger, delivery = check_filled(trigger_id, "trigger_id"), check_filled(delivery_id, "delivery_id")
    return sha256(f"{trigger}\0{delivery}".encode()).hexdigest()
