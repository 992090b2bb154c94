"""Leena AI: the total-runs report, read page by page, and its incremental reading."""

import re
from collections import deque
from collections.abc import Collection, Mapping
from datetime import UTC, date, datetime, timedelta
from typing import Any, Final, Self
from urllib.parse import quote, urlencode

from attrs import frozen

from ... import codec
from ...calls import Account
from ...errors import ReplyError
from ...model import Purpose, Reply, Request
from ...pool import SessionPool
from .rows import CALL, Page, ReportRow, read_page
from .settings import VENDOR

#: The vendor's data lags about two hours, for updates as for new runs; this is that and a margin.
OVERLAP: Final = timedelta(hours=2, minutes=30)
_DAY: Final = re.compile(r"\d{4}-\d{2}-\d{2}")
_WALKS: Final = 3
_VERSION: Final = 1


@frozen(kw_only=True)
class ReportQuery:
    """A query of the report: a window of run starts, and optionally a lower bound of updates."""

    start: str
    end: str
    updated_after: str | None = None
    page_size: int = 100

    @classmethod
    def of(
        cls,
        start: date | str,
        end: date | str,
        *,
        updated_after: datetime | str | None = None,
        page_size: int = 100,
    ) -> Self:
        """Return the query of checked arguments. Raises ValueError or TypeError that says what is accepted."""
        first, last = _day(start, "start"), _day(end, "end")
        if last < first:
            raise ValueError(f"end ({last}) lies before start ({first})")
        if isinstance(page_size, bool) or not isinstance(page_size, int) or page_size < 1:
            raise ValueError(f"page_size has to be a whole number above 0, not {page_size!r}")
        return cls(start=first, end=last, updated_after=_moment(updated_after), page_size=page_size)

    def request(self, base_url: str, page: int) -> Request:
        """Build the request for one page, counted from 1."""
        parameters = {
            "metricId": "aic:totalRunsTable",
            "responseType": "table",
            "from": self.start,
            "to": self.end,
            "page": str(page),
            "limit": str(self.page_size),
        }
        if self.updated_after is not None:
            parameters["filters[timestamp][gt]"] = self.updated_after
        return Request(
            method="GET",
            url=f"{base_url}/api/analytics/query/external?{urlencode(parameters, quote_via=quote)}",
            call=CALL,
            purpose=Purpose.CALL,
            headers={"Content-Type": "application/json"},
        )


class Report:
    """The rows of one query, as an async iterator; each state of a run comes once.

    While pages are read, runs change and rows move between pages. So one walk reads pages until one is empty or
    short, and repeated rows are dropped; when `total` changed meanwhile, or fewer runs were seen than it says, the
    pages are walked again, three times at most in all, for rows that were missed. Afterwards `is_complete` says
    whether none was missed; `total` is the vendor's count, for progress.

    When a page cannot be read, the error is raised; further iteration requests that page again.
    """

    def __init__(self, pool: SessionPool, account: Account, base_url: str, query: ReportQuery) -> None:
        self._pool = pool
        self._account = account
        self._base_url = base_url
        self._query = query
        self.total: int | None = None
        self.pages = 0
        self.is_complete = False
        self._seen: set[tuple[str, str | None]] = set()
        self._runs: set[str] = set()
        self._walks = 1
        self._walk: _Walk | None = _Walk(None)
        self._has_all = False
        self._waiting: deque[ReportRow] = deque()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> ReportRow:
        while not self._waiting:
            if self._walk is None:
                self.is_complete |= self._has_all
                raise StopAsyncIteration
            await self._read_next(self._walk)
        return self._waiting.popleft()

    async def aclose(self) -> None:
        """Return no more rows. May be called twice."""
        self._walk, self._has_all = None, False
        self._waiting.clear()

    async def page(self, number: int) -> Page:
        """Read one page. Raises `ReplyError` also for a 200 that says the query failed."""
        self._pool.ensure_open()
        request = self._query.request(self._base_url, number)
        page = await self._pool.caller.call(self._account, request, _read)
        self.pages += 1
        return page

    async def _read_next(self, walk: "_Walk") -> None:
        """Read the next page; begin another walk where one that has ended may have missed rows."""
        number = walk.number
        page = await self.page(number)
        if walk is not self._walk or number != walk.number:
            return  # closed meanwhile, or another task has read this page
        keys = [row.key for row in page.rows]
        walk.take(page, keys)
        self.total = walk.total
        for key, row in zip(keys, page.rows, strict=True):
            if key not in self._seen:
                self._seen.add(key)
                self._runs.add(row.run_id)
                self._waiting.append(row)
        if walk.is_over:
            self._has_all = not walk.is_drifted and (self.total is None or len(self._runs) >= self.total)
            self._walk = None if self._has_all or self._walks == _WALKS else _Walk(self.total)
            self._walks += 1


class _Walk:
    """One walk over the pages, until a page shows that there are no more. Pure."""

    def __init__(self, total: int | None) -> None:
        self.number = 1
        self.total = total
        self.is_drifted = False
        self.is_over = False
        self._met: set[tuple[str, str | None]] = set()

    def take(self, page: Page, keys: Collection[tuple[str, str | None]]) -> None:
        """Add the page `number`; `keys` are those of its rows."""
        if page.total is not None:
            self.is_drifted |= self.number > 1 and page.total != self.total
            self.total = page.total
        before = len(self._met)
        self._met.update(keys)
        # A server may ignore the page number: then a page has nothing new. It may also lower the limit and echo the
        # one that was requested: then a short page is the last one only if no row is missing.
        is_short = page.limit is not None and len(page.rows) < page.limit
        is_last = is_short and (page.total is None or len(self._met) >= page.total)
        self.is_over = is_last or len(self._met) == before
        self.number += 1


class Sync:
    """The rows that are new since a checkpoint, as an async iterator.

    Pass `checkpoint` (a dict that can be stored as JSON) to the next `sync`. It changes only at the end of a complete
    walk: after a failure, or when the loop is left early, it is unchanged, and the rows come again. Each state of a
    run comes once; a run that changes comes again, so store rows by `run_id`. After an error, further iteration
    requests the page that failed again.

    Each sync reads back by `overlap`, since rows appear up to two hours late and not in order; known ones are dropped
    by (`run_id`, `timestamp`). If no row has a timestamp the checkpoint has no watermark (`has_watermark`), and each
    sync reads the whole window again.
    """

    def __init__(
        self,
        pool: SessionPool,
        account: Account,
        base_url: str,
        checkpoint: Mapping[str, Any] | None,
        *,
        start: date | str,
        end: date | str | None,
        overlap: timedelta,
        page_size: int,
    ) -> None:
        if overlap < timedelta():
            raise ValueError(f"overlap has to be 0 or longer, not {overlap}")
        self._watermark, self._known = _read_checkpoint(checkpoint)
        self._overlap = overlap
        today = pool.clock.utcnow().date()
        query = ReportQuery.of(
            start,
            # The zone of the vendor's dates is undocumented: tomorrow is today somewhere.
            today + timedelta(days=1) if end is None else end,
            updated_after=_earlier(self._watermark, overlap),
            page_size=page_size,
        )
        self.report = Report(pool, account, base_url, query)
        self.checkpoint: dict[str, Any] = _checkpoint(self._watermark, self._known)
        self._latest = dict(self._known)

    @property
    def has_watermark(self) -> bool:
        """Return whether the next sync can request only updates."""
        return self.checkpoint["watermark"] is not None

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> ReportRow:
        async for row in self.report:
            stamp = row.timestamp
            # Without a timestamp it is unknown whether a row changed: it comes again.
            if stamp is not None and self._known.get(row.run_id) == stamp:
                continue
            if stamp is not None and codec.parse_moment(stamp) is not None:
                self._latest[row.run_id] = _later(self._latest.get(row.run_id), stamp)
                self._watermark = _later(self._watermark, stamp)
            return row
        if self.report.is_complete:
            recent = _recent(self._latest, _earlier(self._watermark, self._overlap))
            self.checkpoint = _checkpoint(self._watermark, recent)
        raise StopAsyncIteration

    async def aclose(self) -> None:
        """Return no more rows; the checkpoint stays what it is. May be called twice."""
        await self.report.aclose()


def _read(reply: Reply) -> Page:
    """Read a page. Raises ReplyError where `isSuccess` is false: HTTP 200 may carry a failed query."""
    body = codec.decode(reply.body, vendor=VENDOR, call=CALL)
    if isinstance(body, dict) and body.get("isSuccess") is False:
        message = body.get("message")
        raise ReplyError(
            f"{VENDOR}: {CALL} failed at the vendor (isSuccess is false)",
            vendor=VENDOR,
            call=CALL,
            status=reply.status,
            detail=message[:500] if isinstance(message, str) else "",
        )
    return read_page(body)


def _day(value: date | str, name: str) -> str:
    if isinstance(value, datetime):
        return value.date().isoformat()
    if isinstance(value, date):
        return value.isoformat()
    if isinstance(value, str) and _DAY.fullmatch(value):
        date.fromisoformat(value)
        return value
    raise ValueError(f"{name} has to be a date or YYYY-MM-DD, not {value!r}")


def _moment(value: datetime | str | None) -> str | None:
    """Return a moment as text for the filter; a string, which is the vendor's own, is unchanged."""
    if isinstance(value, datetime):
        if value.tzinfo is None:
            raise ValueError("updated_after has no time zone; add tzinfo")
        return value.astimezone(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")
    if value is None or codec.parse_moment(value) is not None:
        return value
    raise ValueError(f"updated_after has to be an aware datetime or an ISO 8601 string, not {value!r}")


def _earlier(watermark: str | None, overlap: timedelta) -> str | None:
    """Return the lower bound of the next query; without an overlap it is the vendor's own text."""
    moment = codec.parse_moment(watermark)
    if moment is None or not overlap:
        return watermark
    try:
        return _moment(moment - overlap)
    except OverflowError:  # year 1, as some servers write for "never"
        return watermark


def _later(first: str | None, second: str) -> str:
    """Return the later of two moments as text. Formats are mixed, so the texts cannot be compared."""
    one, two = codec.parse_moment(first), codec.parse_moment(second)
    return second if first is None or one is None or (two is not None and two >= one) else first


def _recent(known: Mapping[str, str], bound: str | None) -> dict[str, str]:
    """Return the runs that the next sync may read again."""
    since = codec.parse_moment(bound)
    if since is None:
        return dict(known)
    return {run: stamp for run, stamp in known.items() if (codec.parse_moment(stamp) or since) >= since}


def _checkpoint(watermark: str | None, known: Mapping[str, str]) -> dict[str, Any]:
    return {"version": _VERSION, "watermark": watermark, "known": dict(known)}


def _read_checkpoint(checkpoint: Mapping[str, Any] | None) -> tuple[str | None, dict[str, str]]:
    if checkpoint is None:
        return None, {}
    match checkpoint:
        case {"version": 1, "watermark": None | str() as watermark, "known": dict() as known} if all(
            isinstance(stamp, str) for stamp in known.values()
        ):
            return watermark, dict(known)
    raise ValueError("not a checkpoint of Leena.sync, version 1: pass the `checkpoint` of an earlier sync")
