"""The total-runs report over a fake Leena AI's items: one page for one query. Pure: the time is a parameter."""

import random
import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from types import MappingProxyType
from typing import Any, Final

from attrs import frozen

from ....codec import parse_moment
from .items import Item, Items

_WORDS: Final = MappingProxyType({"completed": "Handled", "failed": "Failed", "aborted": "Cancelled"})
_DAY: Final = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
_WHOLE: Final = re.compile(r"[0-9]{1,9}")
_NOBODY: Final = "N/A"
_UNFINISHED: Final = "NA"


@frozen(kw_only=True)
class ReportRules:
    """How the report behaves.

    A change of a run is visible after `lag` (least, most) seconds, each run with a lag of its own drawn between the
    two; `most_rows` is the largest page; the share `stamped` of the rows has a `timestamp`.
    """

    lag: tuple[float, float] = (0.0, 0.0)
    most_rows: int = 1000
    stamped: float = 1.0


def report_body(items: Items, query: Mapping[str, str], *, rules: ReportRules, now: float) -> dict[str, Any]:
    """Return the answer to one query, newest runs first. Raises ValueError for a bad parameter.

    The days are UTC and `to` is inclusive: the vendor documents neither. Costs a search for the window, and
    a scan of it when there is a filter or a lag.
    """
    if query.get("metricId") != "aic:totalRunsTable" or query.get("responseType") != "table":
        raise ValueError("metricId has to be aic:totalRunsTable and responseType table")
    first, last = _day(query, "from"), _day(query, "to") + timedelta(days=1)
    page, limit = _whole(query, "page", 1), min(_whole(query, "limit", 10), rules.most_rows)
    after = _moment(query, "filters[timestamp][gt]")
    window = items.initiated_between(
        (first - items.epoch).total_seconds(), (last - items.epoch).total_seconds()
    )
    seen: Sequence[tuple[Item, float]] | None = None
    if after is not None or rules.lag[1] > 0:
        seen = _visible(items, window, rules=rules, now=now, after=after)
    total = len(window) if seen is None else len(seen)
    # Newest first: the page is counted from the window's end.
    end = max(total - (page - 1) * limit, 0)
    begin = max(end - limit, 0)
    shown = [(item, now) for item in window[begin:end]] if seen is None else seen[begin:end]
    rows = [_row(items, item, seen_at, stamped=rules.stamped) for item, seen_at in reversed(shown)]
    return {
        "isSuccess": True,
        "result": {"columns": [], "rows": rows, "total": total, "page": page, "limit": limit},
    }


def _visible(
    items: Items, window: Sequence[Item], *, rules: ReportRules, now: float, after: datetime | None
) -> list[tuple[Item, float]]:
    least, most = rules.lag
    after_ms = None if after is None else (after - items.epoch) / timedelta(milliseconds=1)
    seen = []
    for item in window:
        seen_at = now - least - (most - least) * _share(item)
        if item.created_at <= seen_at and (
            after_ms is None or _milliseconds(item.status_at(seen_at)[0]) > after_ms
        ):
            seen.append((item, seen_at))
    return seen


def _share(item: Item) -> float:
    """Return a number in [0, 1] that depends on the item's id alone."""
    return int(item.id[:6], 16) / 0xFFFFFF


def _milliseconds(seconds: float) -> int:
    return int(seconds * 1000 // 1)


def _day(query: Mapping[str, str], name: str) -> datetime:
    text = query.get(name, "")
    moment = parse_moment(text) if _DAY.fullmatch(text) else None
    if moment is None:
        raise ValueError(f"{name} has to be a date, YYYY-MM-DD")
    return moment


def _whole(query: Mapping[str, str], name: str, default: int) -> int:
    text = query.get(name)
    if text is None:
        return default
    if not _WHOLE.fullmatch(text) or int(text) < 1:
        raise ValueError(f"{name} has to be a whole number from 1 on")
    return int(text)


def _moment(query: Mapping[str, str], name: str) -> datetime | None:
    text = query.get(name)
    if text is None:
        return None
    moment = parse_moment(text)
    if moment is None:
        raise ValueError(f"{name} has to be an ISO 8601 date-time")
    return moment


def _row(items: Items, item: Item, seen_at: float, *, stamped: float) -> dict[str, Any]:
    chance = random.Random(int(item.id, 16) ^ items.seed)  # noqa: S311 - the details depend on the item alone
    since, status = item.status_at(seen_at)
    is_ended = item.is_over(seen_at)
    person = _PEOPLE[chance.randrange(len(_PEOPLE))]
    is_unhandled = status == "completed" and chance.random() < 0.1  # noqa: PLR2004 - a share
    is_named, is_escalated, is_guarded = (chance.random() < share for share in (0.8, 0.1, 0.2))
    who: Any = {"id": person[0], "name": person[1], "email": person[2]} if is_named else _NOBODY
    row = {
        "runId": f"RUN_{item.index:06d}",
        "requestId": item.request_id,
        "handledBy": ["Main Orchestrator"],
        "status": "Unhandled" if is_unhandled else _WORDS.get(status, "In Progress"),
        "initiatedOn": _text(items, item.initiated_at),
        "initiatedBy": who,
        "initiatedFor": who,
        "triggerType": "api",
        "completedOn": _text(items, since) if is_ended else _UNFINISHED,
        "scheduleName": None,
        "escalation": "Yes" if is_escalated else "No",
        "associatedSkills": ["Ticketing"] if chance.random() < 0.5 else [],  # noqa: PLR2004 - a share
        "associatedAops": [item.target],
        "totalTimeTaken": _span((since if is_ended else seen_at) - item.initiated_at),
        "unhandledDueTo": "Scope/Guardrails" if is_unhandled else None,
        "unhandledReasonText": "The question lies outside of what the agent may do."
        if is_unhandled
        else None,
        "inputTokens": chance.randrange(200, 8000),
        "outputTokens": chance.randrange(50, 2000),
        "guardrail": {"totalViolations": 1, "violations": [{"type": "PII", "count": 1}]}
        if is_guarded
        else None,
        "participants": [
            {
                "title": "Initiator",
                "sub_title": "",
                "user_list": [{"userId": person[0], "displayName": person[1], "email": person[2]}],
            }
        ],
    }
    if chance.random() < stamped:
        row["timestamp"] = _text(items, since)
    return row


_PEOPLE: Final = tuple((f"u{n}", f"Person {n}", f"person{n}@example.com") for n in range(1, 10))


def _text(items: Items, seconds: float) -> str:
    moment = items.epoch + timedelta(milliseconds=_milliseconds(seconds))
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _span(seconds: float) -> str:
    minutes, rest = divmod(max(int(seconds), 0), 60)
    hours, minutes = divmod(minutes, 60)
    parts = [(hours, "h"), (minutes, "m"), (rest, "s")]
    return " ".join(f"{count}{unit}" for count, unit in parts if count) or "0s"
