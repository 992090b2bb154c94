"""Leena AI: the total-runs report, walked page by page, and its incremental reading."""

import re
from collections.abc import AsyncIterator, Mapping
from datetime import UTC, date, datetime, timedelta
from typing import Any, Final, Self
from urllib.parse import quote, urlencode

from attrs import frozen

from ... import codec
from ...caller import Account
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
    """

    def __init__(self, pool: SessionPool, account: Account, base_url: str, query: ReportQuery) -> None:
        self._pool = pool
        self._account = account
        self._base_url = base_url
        self._query = query
        self.total: int | None = None
        self.pages = 0
        self.is_complete = False
        self._rows = self._read()

    def __aiter__(self) -> AsyncIterator[ReportRow]:
        return self._rows

    async def _read(self) -> AsyncIterator[ReportRow]:
        seen: set[tuple[str, str | None]] = set()
        runs: set[str] = set()
        for _ in range(_WALKS):
            walk = _Walk(self, seen, runs)
            async for row in walk.rows():
                yield row
            if not walk.is_drifted and (self.total is None or len(runs) >= self.total):
                self.is_complete = True
                return

    async def page(self, number: int) -> Page:
        """Read one page. Raises `ReplyError` also for a 200 that says the query failed."""
        self._pool.ensure_open()
        request = self._query.request(self._base_url, number)
        page = await self._pool.caller.call(self._account, request, _read)
        self.pages += 1
        return page


class _Walk:
    """One walk over the pages."""

    def __init__(self, report: Report, seen: set[tuple[str, str | None]], runs: set[str]) -> None:
        self._report = report
        self._seen = seen
        self._runs = runs
        self.is_drifted = False

    async def rows(self) -> AsyncIterator[ReportRow]:
        """Give the rows that no walk gave before, until a page shows that there are no more."""
        met: set[tuple[str, str | None]] = set()
        number = 1
        while True:
            page = await self._report.page(number)
            self._count(page, is_first=number == 1)
            before = len(met)
            for row in page.rows:
                key = row.key
                met.add(key)
                if key not in self._seen:
                    self._seen.add(key)
                    self._runs.add(row.run_id)
                    yield row
            # A server may ignore the page number, then a page brings nothing new; and it may clamp the limit
            # and echo what was asked for: a short page is the last one only if nothing is lacking.
            is_short = page.limit is not None and len(page.rows) < page.limit
            if len(met) == before or (is_short and (page.total is None or len(met) >= page.total)):
                return
            number += 1

    def _count(self, page: Page, *, is_first: bool) -> None:
        if page.total is not None:
            self.is_drifted |= not is_first and page.total != self._report.total
            self._report.total = page.total


class Sync:
    """The rows that are new since a checkpoint, as an async iterator.

    Give `checkpoint` (a JSON-able dict: store it as it is) to the next `sync`. It stays what it was until a
    complete walk is over: a failure, or leaving the loop early, moves nothing, and the rows come again. Each
    state of a run comes once; a run that changes comes again, so write rows by `run_id`.

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
        self._rows = self._read()

    @property
    def has_watermark(self) -> bool:
        """Say whether the next sync can ask for updates alone."""
        return self.checkpoint["watermark"] is not None

    def __aiter__(self) -> AsyncIterator[ReportRow]:
        return self._rows

    async def _read(self) -> AsyncIterator[ReportRow]:
        watermark, known = self._watermark, dict(self._known)
        async for row in self.report:
            stamp = row.timestamp
            # Without a timestamp, whether a row changed cannot be known: it comes again.
            if stamp is not None and self._known.get(row.run_id) == stamp:
                continue
            yield row
            if stamp is not None and codec.parse_moment(stamp) is not None:
                known[row.run_id] = _later(known.get(row.run_id), stamp)
                watermark = _later(watermark, stamp)
        if self.report.is_complete:
            self.checkpoint = _checkpoint(watermark, _recent(known, _earlier(watermark, self._overlap)))


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
    """Give the moment to ask from; without an overlap it is the vendor's own text."""
    moment = codec.parse_moment(watermark)
    if moment is None or not overlap:
        return watermark
    try:
        return _moment(moment - overlap)
    except OverflowError:  # the beginning of time, as some write for "never"
        return watermark


def _later(first: str | None, second: str) -> str:
    """Give the later of two moments as written: formats are mixed, so texts cannot be compared."""
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
