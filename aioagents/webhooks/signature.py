"""HMAC-SHA256 signatures of webhooks, made and checked. Pure: time and key are parameters.

The signed message is the timestamp's whole Unix seconds in ASCII, a dot, and the exact body bytes; the value
is `sha256=` and the digest in hex. AGH Runtime signs so (its server source, `internal/automation/trigger.go`).
"""

import hmac
import re
from datetime import UTC, datetime
from hashlib import sha256
from typing import Final

from ..codec import parse_moment
from ..errors import WebhookRejected
from ..model import Secret

#: Seconds by which a timestamp may differ from the clock, either way.
TOLERANCE: Final = 300.0
_PREFIX: Final = "sha256="
_SECONDS: Final = re.compile(r"-?[0-9]{1,15}")  # as many as a float keeps exactly


def sign(secret: Secret, body: bytes, *, timestamp: str) -> str:
    """Return the signature of `body`; `timestamp` is the text of the header: Unix seconds, or RFC 3339.

    White space around the secret is ignored. Raises ValueError for a timestamp that is neither, and for an empty
    secret, with which anybody could sign.
    """
    key = secret.reveal().strip().encode()
    if not key:
        raise ValueError("the secret is empty")
    seconds = read_timestamp(timestamp)
    if seconds is None:
        raise ValueError("a timestamp has to be Unix seconds or RFC 3339")
    message = b"%d." % int(seconds // 1) + body
    return _PREFIX + hmac.new(key, message, sha256).hexdigest()


def verify(
    secret: Secret,
    body: bytes,
    *,
    timestamp: str,
    signature: str,
    now: datetime,
    tolerance: float = TOLERANCE,
) -> None:
    """Check `signature` and that it is fresh at `now`. Raises WebhookRejected, ValueError for an empty secret."""
    seconds = read_timestamp(timestamp)
    if seconds is None or abs(now.timestamp() - seconds) > tolerance:
        raise WebhookRejected("the delivery's timestamp is missing, malformed, or too far from the present")
    digits = signature.strip().removeprefix(_PREFIX)
    is_prefixed = signature.strip().startswith(_PREFIX)
    expected = sign(secret, body, timestamp=timestamp).removeprefix(_PREFIX)
    # Compared in constant time, as bytes: text with other characters than ASCII would raise.
    is_right = hmac.compare_digest(expected.encode(), digits.lower().encode(errors="replace"))
    if not (is_right and is_prefixed):
        raise WebhookRejected("the delivery's signature is wrong")


def read_timestamp(text: str) -> float | None:
    """Return a timestamp header as Unix seconds; None for anything else."""
    text = text.strip()
    if _SECONDS.fullmatch(text):
        return float(text)
    moment = parse_moment(text)
    if moment is None or "T" not in text.upper():
        return None
    return (moment - datetime(1970, 1, 1, tzinfo=UTC)).total_seconds()
