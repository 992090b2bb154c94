"""AGH Runtime: its refusals, and the reasons of its answers with 409. Pure.

The server sends the reason as text for people, parts of which are known, and adds numbers as `name=value`. Unknown
text leaves `reason` empty (AGH automation API, section 2).
"""

import re
from collections.abc import Mapping
from datetime import datetime
from http import HTTPStatus
from typing import Any, Final

from ...calls import Refusal, refusal_object
from ...codec import parse_moment
from ...errors import Conflict
from ...model import Reply

#: Nothing was executed, and a slot may be free later.
CONCURRENCY: Final = "concurrency"
#: Too many runs began lately; `retry_at` is when one more may begin.
FIRE: Final = "fire"
#: A webhook with this delivery id has arrived before.
REPLAY: Final = "replay"
#: The definition belongs to an extension's package.
READ_ONLY: Final = "read-only"
#: Another trigger has this `webhook_id`.
WEBHOOK_ID: Final = "webhook-id"
#: The scope has another one of this name.
NAME: Final = "name"

# Final reasons come first: names are the user's own, and may contain the text of another reason.
_REASONS: Final = (
    ("already processed", REPLAY),
    ("webhook id already exists", WEBHOOK_ID),
    ("name already exists", NAME),
    ("read-only", READ_ONLY),
    ("concurrency limit", CONCURRENCY),
    ("fire limit", FIRE),
)
_FACT: Final = re.compile(r"\b(active|fires|limit|retry_at)=([^\s,;]+)", flags=re.IGNORECASE)
_FIRST_WAIT: Final = 1.0  # seconds
_LONGEST_WAIT: Final = 15.0
_LATEST: Final = 60.0
_LONGEST_EXPONENT: Final = 10
_SPREAD: Final = 0.25
_COUNT: Final = re.compile(r"[0-9]{1,18}", flags=re.ASCII)


def read_refusal(reply: Reply) -> Refusal | None:
    """Read a refusal: a JSON object whose `error` is a text, with an optional object `diagnostic`, for every status.

    No other body is the runtime's: that of a 404 of an unknown path, or of a proxy, has no such member. A 409 gives
    its error the facts of a `Conflict`, which stand anywhere in the text or in the diagnostic's message.
    """
    body = refusal_object(reply)
    text = None if body is None else body.get("error")
    if body is None or not isinstance(text, str):
        return None
    diagnostic = body.get("diagnostic")
    more: Mapping[str, Any] = diagnostic if isinstance(diagnostic, dict) else {}
    code, message = more.get("code"), more.get("message")
    return Refusal(
        detail=text,
        code=code if isinstance(code, str) else "",
        facts=_conflict(text, message if isinstance(message, str) else "")
        if reply.status == HTTPStatus.CONFLICT
        else {},
    )


def _conflict(*texts: str) -> Mapping[str, object]:
    """Return `reason`, `retry_at`, `active` and `limit` of a `Conflict`; of two texts the first that has them.

    With a fire limit, `active` is the number of runs within its window.
    """
    reasons = (reason for text in texts for words, reason in _REASONS if words in text.lower())
    facts = {name.lower(): value for text in reversed(texts) for name, value in _FACT.findall(text)}
    return {
        "reason": next(reasons, ""),
        "active": _count(facts.get("active", facts.get("fires", ""))),
        "limit": _count(facts.get("limit", "")),
        "retry_at": parse_moment(facts.get("retry_at", "").rstrip(".)")),
    }


def _count(text: str) -> int | None:
    found = _COUNT.match(text)
    return None if found is None else int(found.group())


def slot_delay(error: Conflict, tries: int, *, now: datetime, chance: float) -> float | None:
    """Return the seconds after which a refused start may find a slot; None where it never will.

    `tries` counts the refusals so far, `chance` in [0, 1) is the jitter. The server's `retry_at` is respected up to a
    minute: its clock may differ from ours, and limits may be raised meanwhile.
    """
    if error.reason not in {CONCURRENCY, FIRE}:
        return None
    wait = min(_FIRST_WAIT * 2.0 ** min(tries - 1, _LONGEST_EXPONENT), _LONGEST_WAIT)
    if error.retry_at is not None:
        wait = max(wait, min((error.retry_at - now).total_seconds(), _LATEST))
    return wait * (1.0 + chance * _SPREAD)
