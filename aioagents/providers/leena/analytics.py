"""Leena AI: the total-runs report, walked page by page, and its incremental reading."""

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
from .rows import CALL, VENDOR, Page, ReportRow, read_page

#: The vendor's data lags about two hours, for updates as for new runs; this is that and a margin.
OVERLAP: Final = timedelta(hours=2, minutes=30)
_DAY: Final = re.compile(r"\d{4}-\d{2}-\d{2}")
_WALKS: Final = 3
_VERSION: Final = 1


@frozen(kw_only=True)
class ReportQuery:
    """What is asked of the report: a window over run starts, and perhaps a bound on updates."""

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
        """Check and write the arguments. Raises ValueError or TypeError that says what is accepted."""
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

    Pages of a set that changes drift: rows move between them while they are read. So a walk goes on until an
    empty or short page, repeated rows are dropped, and when `total` changed on the way, or fewer runs were
    seen than it says, the pages are walked again, three times at most, for what was missed. `is_complete`
    tells afterwards whether nothing was; `total` is the vendor's count, for progress.

    When a page cannot be read, the error is raised, and iterating on asks for it once more.
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
            await self._turn(self._walk)
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

    async def _turn(self, walk: "_Walk") -> None:
        """Read the next page, and begin another walk where one that is over missed something."""
        number = walk.number
        page = await self.page(number)
        if walk is not self._walk or number != walk.number:
            return  # closed meanwhile, or another task was quicker
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
    """One walk over the pages, until one shows that there are no more. Pure."""

    def __init__(self, total: int | None) -> None:
        self.number = 1
        self.total = total
        self.is_drifted = False
        self.is_over = False
        self._met: set[tuple[str, str | None]] = set()

    def take(self, page: Page, keys: Collection[tuple[str, str | None]]) -> None:
        """Take in the page of the present number; `keys` are those of its rows."""
        if page.total is not None:
            self.is_drifted |= self.number > 1 and page.total != self.total
            self.total = page.total
        before = len(self._met)
        self._met.update(keys)
        # A server may ignore the page number, then a page brings nothing new; and it may clamp the limit
        # and echo what was asked for: a short page is the last one only if nothing is lacking.
        is_short = page.limit is not None and len(page.rows) < page.limit
        is_last = is_short and (page.total is None or len(self._met) >= page.total)
        self.is_over = is_last or len(self._met) == before
        self.number += 1


class Sync:
    """The rows that are new since a checkpoint, as an async iterator.

    Give `checkpoint` (a JSON-able dict: store it as it is) to the next `sync`. It stays what it was until a
    complete walk is over: a failure, or leaving the loop early, moves nothing, and the rows come again. Each
    state of a run comes once; a run that changes comes again, so write rows by `run_id`. Iterating on after an
    error asks for the page that failed once more.

    What is asked for overlaps what was read by `overlap`, since rows appear up to two hours late and not in
    order; known ones are dropped by (`run_id`, `timestamp`). Where no row carries a timestamp the checkpoint
    never gets a watermark, and each sync reads the whole window again (`has_watermark` tells).
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
        """Return whether the next sync can ask for updates alone."""
        return self.checkpoint["watermark"] is not None

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> ReportRow:
        async for row in self.report:
            stamp = row.timestamp
            # Without a timestamp, whether a row changed cannot be known: it comes again.
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
    """Read a page; `isSuccess` counts, not the status (HTTP 200 may carry a failed query)."""
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
    """Write a moment for the filter; a string, the vendor's own, goes back as it came."""
    if isinstance(value, datetime):
        if value.tzinfo is None:
            raise ValueError("updated_after has to know its zone; add tzinfo")
        return value.astimezone(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")
    if value is None or codec.parse_moment(value) is not None:
        return value
    raise ValueError(f"updated_after has to be an aware datetime or an ISO 8601 string, not {value!r}")


def _earlier(watermark: str | None, overlap: timedelta) -> str | None:
    """Return the moment to ask from; without an overlap it is the vendor's own text."""
    moment = codec.parse_moment(watermark)
    if moment is None or not overlap:
        return watermark
    try:
        return _moment(moment - overlap)
    except OverflowError:  # the beginning of time, as some write for "never"
        return watermark


def _later(first: str | None, second: str) -> str:
    """Return the later of two moments as written: formats are mixed, so texts cannot be compared."""
    one, two = codec.parse_moment(first), codec.parse_moment(second)
    return second if first is None or one is None or (two is not None and two >= one) else first


def _recent(known: Mapping[str, str], bound: str | None) -> dict[str, str]:
    """Keep what the next sync may meet again."""
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
    raise ValueError(
        "not a checkpoint of Leena.sync, version 1: give what an earlier sync's `checkpoint` was"
    )
