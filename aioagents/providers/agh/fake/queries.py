"""The queries of lists and histories, read as the server reads them. Pure."""

import re
from collections.abc import Mapping
from typing import Final

from attrs import evolve

from ....contract.fake import Refused
from .runs import STATUSES, Query
from .times import read_moment

_COUNT: Final = re.compile(r"[+-]?[0-9]{1,18}", flags=re.ASCII)


def read_count(text: str) -> int:
    """Read an integer; a blank one is 0. Raises `Refused`."""
    text = text.strip()
    if text and not _COUNT.fullmatch(text):
        raise Refused(400, "limit has to be an integer")
    return int(text or "0")


def read_run_query(query: Mapping[str, str], *, job_id: str = "", trigger_id: str = "") -> Query:
    """Return the query of a history; a given owner replaces those in the query. Raises `Refused`."""
    asked = Query(
        status=query.get("status", "").strip(),
        since=_read_bound(query, "since"),
        until=_read_bound(query, "until"),
        limit=read_count(query.get("limit", "")),
    )
    if asked.status and asked.status not in STATUSES:
        raise Refused(400, "status has no such value")
    if asked.limit < 0:
        raise Refused(500, "limit is negative")
    if asked.since is not None and asked.until is not None and asked.until < asked.since:
        raise Refused(500, "until lies before since")
    if not (job_id or trigger_id):
        job_id, trigger_id = (query.get(name, "").strip() for name in ("job_id", "trigger_id"))
    return evolve(asked, job_id=job_id, trigger_id=trigger_id)


def _read_bound(query: Mapping[str, str], name: str) -> int | None:
    text = query.get(name, "").strip()
    moment = read_moment(text) if text else None
    if text and moment is None:
        raise Refused(400, f"{name} has to be an RFC 3339 moment")
    return moment
