"""AGH Runtime: the reasons of its answers with 409. Pure.

The server sends the reason as text for people, parts of which are known, and adds numbers as `name=value`. Unknown
text leaves `reason` empty (AGH automation API, section 2).
"""

import re
from datetime import datetime
from typing import Final

from ...codec import parse_moment
from ...errors import AgentsError, Conflict

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


def read_conflict(error: AgentsError) -> None:
    """Set `reason`, `retry_at`, `active` and `limit` of a `Conflict` from its text. Other errors stay unchanged.

    With a fire limit, `active` is the number of runs within its window.
    """
    if not isinstance(error, Conflict):
        return
    text = error.detail.lower()
    error.reason = next((reason for words, reason in _REASONS if words in text), "")
    facts = {name.lower(): value for name, value in _FACT.findall(error.detail)}
    error.active = _count(facts.get("active", facts.get("fires", "")))
    error.limit = _count(facts.get("limit", ""))
    error.retry_at = parse_moment(facts.get("retry_at", "").rstrip(".)"))


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
