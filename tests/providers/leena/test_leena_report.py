"""The total-runs report: its rows, its pages that drift, and its incremental reading."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import aclosing
from datetime import UTC, date, datetime, timedelta, timezone
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aioagents import BadRequest, DecodeError, ReplyError
from aioagents.contract.fake import RunPlan
from aioagents.model import Reply, Request
from aioagents.providers.leena import Person, Report, ReportRow, Sync
from aioagents.providers.leena.analytics import ReportQuery
from aioagents.providers.leena.fake import FakeLeena, ReportRules
from aioagents.providers.leena.rows import Page, read_page
from tests.polling.rig import Rig, begin, reply, rig
from tests.providers.leena.test_leena_wire import SAMPLES, sample

_WINDOW = ("2026-01-01", "2026-01-09")


class _Server:
    """A report over rows that a test may change between two pages."""

    def __init__(self, *rows: dict[str, Any], most: int = 1000) -> None:
        self.rows = list(rows)
        self.most = most
        self.echo: int | None = None
        self.total: Callable[[], Any] = lambda: len(self.rows)
        self.ignores_page = False
        self.then: dict[int, Callable[[], object]] = {}
        self.answers: dict[int, Reply] = {}
        self.asked: list[dict[str, str]] = []

    def __call__(self, request: Request) -> Reply | None:
        if request.call != "report":
            return None
        query = {name: values[0] for name, values in parse_qs(urlsplit(request.url).query).items()}
        self.asked.append(query)
        count = len(self.asked)
        if count in self.answers:
            return self.answers[count]
        page = 1 if self.ignores_page else int(query["page"])
        limit = min(int(query["limit"]), self.most)
        rows = self.rows[(page - 1) * limit : page * limit]
        body = {
            "isSuccess": True,
            "result": {
                "rows": rows,
                "total": self.total(),
                "page": page,
                "limit": limit if self.echo is None else self.echo,
            },
        }
        if count in self.then:
            self.then[count]()
        return Reply(200, {}, json.dumps(body).encode())


def _rows(*names: str) -> list[dict[str, Any]]:
    return [_row(name) for name in names]


def _row(name: str, minute: int = 0) -> dict[str, Any]:
    return {"runId": name, "timestamp": f"2026-01-05T10:{minute:02}:00.000Z"}


async def _read(r: Rig, server: _Server, **options: Any) -> tuple[list[str], Report]:
    r.send.before = server
    report = r.leena.report(*_WINDOW, **options)
    return [row.run_id async for row in report], report


# Requests


def test_query_is_as_the_vendor_has_it() -> None:
    """All six parameters are always sent, encoded."""
    query = ReportQuery.of(date(2026, 1, 1), "2026-01-31", page_size=50)
    request = query.request("https://analytics-api.leena.ai", 3)
    assert request.url == (
        "https://analytics-api.leena.ai/api/analytics/query/external?metricId=aic%3AtotalRunsTable"
        "&responseType=table&from=2026-01-01&to=2026-01-31&page=3&limit=50"
    )
    assert (request.method, request.body, request.is_repeatable) == ("GET", None, True)
    assert request.headers["Content-Type"] == "application/json"


@pytest.mark.parametrize(
    ("after", "sent"),
    [
        ("2026-01-05T10:00:00.000Z", "2026-01-05T10%3A00%3A00.000Z"),
        ("2026-01-05T10:00:00+00:00", "2026-01-05T10%3A00%3A00%2B00%3A00"),
        (datetime(2026, 1, 5, 10, tzinfo=UTC), "2026-01-05T10%3A00%3A00.000000Z"),
        (
            datetime(2026, 1, 5, 10, tzinfo=timezone(timedelta(hours=2))),
            "2026-01-05T08%3A00%3A00.000000Z",
        ),
    ],
)
def test_filter_goes_verbatim_and_encoded(after: datetime | str, sent: str) -> None:
    """The vendor's own text is sent back unchanged, and no plus sign becomes a space."""
    url = ReportQuery.of(*_WINDOW, updated_after=after).request("https://h", 1).url
    assert url.endswith(f"&filters%5Btimestamp%5D%5Bgt%5D={sent}")


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        ({"start": "2026-1-1"}, "start has to be a date"),
        ({"start": "01.01.2026"}, "start has to be a date"),
        ({"start": None}, "start has to be a date"),
        ({"start": 20260101}, "start has to be a date"),
        ({"end": "2026-02-30"}, "day"),
        ({"end": "2025-12-31"}, "lies before start"),
        ({"updated_after": datetime(2026, 1, 1)}, "zone"),  # noqa: DTZ001 - that is the point
        ({"updated_after": "lately"}, "ISO 8601"),
        ({"updated_after": ""}, "ISO 8601"),
        ({"page_size": 0}, "page_size"),
        ({"page_size": -1}, "page_size"),
        ({"page_size": 2.5}, "page_size"),
        ({"page_size": True}, "page_size"),
    ],
)
async def test_bad_arguments_are_refused_at_the_call(arguments: dict[str, Any], word: str) -> None:
    """An invalid query is refused before anything is sent."""
    async with rig() as r:
        given = {"start": "2026-01-01", "end": "2026-01-31", **arguments}
        start, end = given.pop("start"), given.pop("end")
        with pytest.raises(ValueError, match=word):
            r.leena.report(start, end, **given)
        assert r.send.sent == []


# Rows


def _page(name: str) -> Page:
    return read_page(json.loads(sample(f"report/{name}").body))


def test_all_fields_of_a_row() -> None:
    """Each member the vendor describes is there, typed."""
    (row,) = _page("200-rows").rows
    person = Person(id="u1", name="A B", email="a@example.com")
    assert (row.run_id, row.request_id, row.status) == ("run-1", "0123456789abcdef01234560", "Handled")
    assert (row.handled_by, row.trigger_type, row.escalation) == (("Main Orchestrator",), "api", "No")
    assert row.initiated_on == "2026-04-02T10:00:00.000Z"
    assert row.initiated_at == datetime(2026, 4, 2, 10, tzinfo=UTC)
    assert (row.initiated_by, row.initiated_for) == (person, person)
    assert row.completed_on == "2026-04-02T10:02:13.000Z"
    assert row.completed_at == datetime(2026, 4, 2, 10, 2, 13, tzinfo=UTC)
    assert row.is_finished
    assert (row.schedule_name, row.unhandled_due_to, row.unhandled_reason_text) == (None, None, None)
    assert (row.associated_skills, row.associated_aops) == (("Ticketing",), ("it_ticket_triage",))
    assert (row.total_time_taken, row.input_tokens, row.output_tokens) == ("2m 13s", 1200, 300)
    assert row.guardrail is not None
    assert row.guardrail.total_violations == 1
    assert [(each.type, each.count) for each in row.guardrail.violations] == [("PII", 1)]
    (participant,) = row.participants
    assert (participant.title, participant.sub_title, participant.users) == ("Initiator", "", (person,))
    assert row.timestamp == "2026-04-02T10:05:00.000Z"
    assert row.updated_at == datetime(2026, 4, 2, 10, 5, tzinfo=UTC)
    assert row.key == ("run-1", "2026-04-02T10:05:00.000Z")


def test_row_of_an_id_alone() -> None:
    """Missing members read as None or empty."""
    row = _page("200-odd-rows").rows[0]
    assert row.run_id == "run-2"
    found = {
        name: getattr(row, name)
        for name in dir(ReportRow)
        if not name.startswith("_") and name not in {"raw", "run_id", "key", "is_finished"}
    }
    assert set(found.values()) <= {None, ()}
    assert not row.is_finished


def test_odd_rows_break_nothing() -> None:
    """Other shapes than described read as None or empty, numbers in texts as numbers, new members are in `raw`."""
    page = _page("200-odd-rows")
    assert (page.total, page.limit) == (2, 100)
    row = page.rows[1]
    assert (row.status, row.initiated_on, row.initiated_at) == ("Brand New", "02/04/2026", None)
    assert (row.initiated_by, row.initiated_for) == (None, Person(name="C D"))
    assert (row.trigger_type, row.escalation, row.associated_skills) == (None, None, ())
    assert row.associated_aops == ("a",)
    assert (row.input_tokens, row.output_tokens) == (1200, 300)
    assert (row.unhandled_due_to, row.unhandled_reason_text) == ("Scope/Guardrails", "A long text")
    assert (row.schedule_name, row.timestamp, row.updated_at) == (None, None, None)
    assert [each.users for each in row.participants] == [(Person(),)]
    assert row.raw["brandNew"] == {"x": 1}


@pytest.mark.parametrize("text", ["NA", "N/A", "na", "", " ", None, 5])
def test_all_words_for_not_finished(text: Any) -> None:
    """The API's word, the dashboard's, and nothing at all mean the same."""
    row = ReportRow({"runId": "1", "completedOn": text})
    assert not row.is_finished
    assert row.completed_at is None


def test_row_shows_nobody() -> None:
    """The repr of a row and of the people in it names nobody."""
    (row,) = _page("200-rows").rows
    shown = repr(row) + repr(row.initiated_by) + repr(row.participants) + repr(row.guardrail)
    assert "A B" not in shown
    assert "example.com" not in shown
    assert "u1" not in shown


@pytest.mark.parametrize(
    ("body", "path"),
    [
        ("[]", "$.result"),
        ("{}", "$.result"),
        ('{"result": []}', "$.result"),
        ('{"result": {}}', "$.result.rows"),
        ('{"isSuccess": true, "result": {"rows": null}}', "$.result.rows"),
        ('{"result": {"rows": [{"runId": "1"}, 5]}}', "$.result.rows[1].runId"),
        ('{"result": {"rows": [{"runId": "a@example.com"}, {"runId": 5}]}}', "$.result.rows[1].runId"),
    ],
)
def test_page_of_the_wrong_shape(body: str, path: str) -> None:
    """A page without rows, or a row without an id, is a `DecodeError` that says where and quotes nothing."""
    with pytest.raises(DecodeError) as caught:
        read_page(json.loads(body))
    assert caught.value.path == path
    assert "example" not in str(caught.value)


async def test_page_that_is_no_json() -> None:
    """An answer that is no JSON is a `DecodeError`."""
    async with rig() as r:
        server = _Server()
        server.answers = {number: reply(200, b"<html>") for number in range(1, 6)}
        reading = await begin(_read(r, server))
        await r.clock.advance(60)
        with pytest.raises(DecodeError, match="report"):
            await reading


# Failures at the vendor


@pytest.mark.parametrize("name", ["failed", "failed-with-result"])
@pytest.mark.parametrize("page", [1, 2, 3])
async def test_query_that_failed_in_a_200(name: str, page: int) -> None:
    """`isSuccess: false` is an error on whatever page; the vendor's words are kept apart from the message."""
    async with rig() as r:
        server = _Server(*_rows("a", "b", "c"))
        server.answers[page] = sample(f"report/200-{name}")
        with pytest.raises(ReplyError, match="isSuccess is false") as caught:
            await _read(r, server, page_size=1)
        assert caught.value.status == 200
        assert caught.value.detail == ("metric unavailable for a@example.com" if name == "failed" else "")
        assert "example" not in str(caught.value) + repr(caught.value)
        assert len(server.asked) == page


async def test_refused_query() -> None:
    """A query that the vendor refuses is a `BadRequest`, asked once."""
    async with rig() as r:
        server = _Server()
        server.answers[1] = Reply(400, {}, (SAMPLES / "report" / "400-bad-date.json").read_bytes())
        with pytest.raises(BadRequest):
            await _read(r, server)
        assert len(server.asked) == 1


async def test_passing_faults_of_pages_are_tried_again() -> None:
    """A page that fails for a passing reason is asked for again; the walk goes on."""
    async with rig() as r:
        server = _Server(*_rows("a", "b", "c"))
        server.answers[2] = reply(503)
        server.answers[3] = reply(429, retry_after="2")
        reading = await begin(_read(r, server, page_size=1))
        await r.clock.advance(30)
        assert (await reading)[0] == ["a", "b", "c"]


# Walking


async def test_walks_all_pages() -> None:
    """Pages are read until one is short; every row comes once."""
    async with rig() as r:
        names, report = await _read(r, server := _Server(*_rows(*"abcde")), page_size=2)
        assert names == list("abcde")
        assert [query["page"] for query in server.asked] == ["1", "2", "3"]
        assert (report.total, report.pages, report.is_complete) == (5, 3, True)


async def test_empty_report() -> None:
    """A window without runs is one page, and complete."""
    async with rig() as r:
        names, report = await _read(r, server := _Server())
        assert (names, report.is_complete, len(server.asked)) == ([], True, 1)


async def test_last_page_that_is_full() -> None:
    """After a full page one more is asked for, whatever `total` says."""
    async with rig() as r:
        names, report = await _read(r, server := _Server(*_rows(*"abcd")), page_size=2)
        assert (names, report.is_complete, len(server.asked)) == (list("abcd"), True, 3)


async def test_clamped_limit() -> None:
    """A server that sends fewer rows than requested is read by the limit it echoes."""
    async with rig() as r:
        names, report = await _read(r, server := _Server(*_rows(*"abcdefg"), most=3), page_size=100)
        assert (names, report.is_complete, len(server.asked)) == (list("abcdefg"), True, 3)


async def test_lowered_limit_that_is_not_echoed() -> None:
    """A server that clamps and echoes what was asked for is read to its end all the same."""
    async with rig() as r:
        server = _Server(*_rows(*"abcdefg"), most=3)
        server.echo = 100
        names, report = await _read(r, server, page_size=100)
        assert (names, report.is_complete) == (list("abcdefg"), True)


@pytest.mark.parametrize("echo", [0, -1])
async def test_odd_limits_end_all_the_same(echo: int) -> None:
    """A limit that makes no sense does not keep the walk from ending."""
    async with rig() as r:
        server = _Server(*_rows(*"abc"))
        server.echo = echo
        names, report = await _read(r, server, page_size=2)
        assert (names, report.is_complete) == (list("abc"), True)


async def test_server_that_ignores_the_page() -> None:
    """A page that brings nothing new ends the walk; missing rows show in `is_complete`, and walks are bounded."""
    async with rig() as r:
        server = _Server(*_rows(*"abcde"))
        server.ignores_page = True
        names, report = await _read(r, server, page_size=2)
        assert names == ["a", "b"]
        assert not report.is_complete
        assert len(server.asked) <= 6


async def test_server_that_ignores_page_and_limit() -> None:
    """A server that always returns everything is read once, with one page more."""
    async with rig() as r:
        server = _Server(*_rows(*"abcde"))
        server.ignores_page = True
        server.echo = 5
        names, report = await _read(r, server, page_size=5)
        assert (names, report.is_complete, len(server.asked)) == (list("abcde"), True, 2)


async def test_repeated_rows_come_once() -> None:
    """A row that is on two pages comes once."""
    async with rig() as r:
        names, report = await _read(r, _Server(*_rows(*"abbcac"), most=2), page_size=2)
        assert sorted(names) == ["a", "b", "c"]
        assert report.total == 6


async def test_row_inserted_between_two_pages() -> None:
    """A run that enters on top pushes others down: none is given twice, and a second walk brings the new one."""
    async with rig() as r:
        server = _Server(*_rows(*"abcd"))
        server.then[1] = lambda: server.rows.insert(0, _row("new"))
        names, report = await _read(r, server, page_size=2)
        assert sorted(names) == ["a", "b", "c", "d", "new"]
        assert len(names) == len(set(names))
        assert report.is_complete


async def test_row_removed_between_two_pages() -> None:
    """A run that leaves pulls others up: the one that slipped through is found by a second walk."""
    async with rig() as r:
        server = _Server(*_rows(*"abcde"))
        server.then[1] = lambda: server.rows.pop(0)
        names, report = await _read(r, server, page_size=2)
        assert sorted(names) == list("abcde")
        assert report.is_complete


async def test_row_moved_between_two_pages() -> None:
    """A run that moves to a page that was read already is found by a second walk."""
    async with rig() as r:
        server = _Server(*_rows(*"abcdef"))
        server.then[1] = lambda: server.rows.insert(0, server.rows.pop())
        names, report = await _read(r, server, page_size=2)
        assert sorted(names) == list("abcdef")
        assert report.is_complete


async def test_row_that_changes_during_the_walk() -> None:
    """Each state of a run comes once, in the order in which they were met."""
    async with rig() as r:
        server = _Server(*_rows(*"abcd"))

        def change() -> None:
            server.rows = [row for row in server.rows if row["runId"] != "a"] + [_row("a", minute=5)]

        server.then[1] = change
        r.send.before = server
        seen = [row.key async for row in r.leena.report(*_WINDOW, page_size=2)]
        assert len(seen) == len(set(seen))
        assert [key for key in seen if key[0] == "a"] == [
            ("a", "2026-01-05T10:00:00.000Z"),
            ("a", "2026-01-05T10:05:00.000Z"),
        ]


async def test_total_that_never_holds_still() -> None:
    """Where the set changes in every walk, three are made, and the report says that it may be incomplete."""
    async with rig() as r:
        server = _Server(*_rows(*"abcd"))
        totals = iter(range(4, 1000))
        server.total = lambda: next(totals)
        names, report = await _read(r, server, page_size=2)
        assert names == list("abcd")
        assert not report.is_complete
        assert len(server.asked) <= 15


@pytest.mark.parametrize("total", [None, "many", True, {}])
async def test_total_that_is_missing(total: Any) -> None:
    """Without a usable total, a walk to its end is complete."""
    async with rig() as r:
        server = _Server(*_rows(*"abcde"))
        server.total = lambda: total
        names, report = await _read(r, server, page_size=2)
        assert (names, report.is_complete, report.total) == (list("abcde"), True, None)


async def test_rows_without_timestamp() -> None:
    """Rows without a timestamp are distinguished by their run alone."""
    async with rig() as r:
        server = _Server(*({"runId": name} for name in "abcab"), most=2)
        names, _ = await _read(r, server)
        assert sorted(names) == ["a", "b", "c"]


async def test_leaving_early_asks_no_more() -> None:
    """A reader that stops costs no further page."""
    async with rig() as r:
        r.send.before = server = _Server(*_rows(*"abcdef"))
        async with aclosing(r.leena.report(*_WINDOW, page_size=2)) as rows:
            async for row in rows:
                if row.run_id == "c":
                    break
        assert len(server.asked) == 2
        assert [row async for row in rows] == []
        assert (rows.is_complete, len(server.asked)) == (False, 2)


async def test_report_and_sync_are_iterators() -> None:
    """Rows can be taken one by one, and an end stays the end."""
    async with rig() as r:
        r.send.before = _Server(*_rows(*"abc"))
        for rows in (r.leena.report(*_WINDOW, page_size=2), r.leena.sync(start="2026-01-01", page_size=2)):
            assert isinstance(rows, AsyncIterator)
            assert [(await anext(rows)).run_id for _ in range(3)] == list("abc")
            for _ in range(2):
                with pytest.raises(StopAsyncIteration):
                    await anext(rows)


@pytest.mark.parametrize("kind", ["report", "sync"])
async def test_iterating_on_after_an_error(kind: str) -> None:
    """A page that cannot be read is asked for once more, and no row is lost or given twice."""
    async with rig() as r:
        r.send.before = server = _Server(*_rows(*"abcdef"))
        server.answers = {2: sample("report/200-failed"), 3: reply(403)}
        report = r.leena.report(*_WINDOW, page_size=2)
        sync = r.leena.sync(start="2026-01-01", page_size=2)
        rows = report if kind == "report" else sync
        names = [(await anext(rows)).run_id for _ in range(2)]
        for _ in range(2):
            with pytest.raises(ReplyError):
                await anext(rows)
        names += [row.run_id async for row in rows]
        assert names == list("abcdef")
        assert [query["page"] for query in server.asked] == ["1", "2", "2", "2", "3", "4"]
        assert (report if kind == "report" else sync.report).is_complete
        assert sync.has_watermark is (kind == "sync")


async def test_two_readers_of_one_report() -> None:
    """Tasks that read the same report at once share its rows, and none is lost."""
    async with rig() as r:
        r.send.before = server = _Server(*_rows(*"abcdefg"))
        report = r.leena.report(*_WINDOW, page_size=2)
        names: list[str] = []

        async def read() -> None:
            async for row in report:
                names.append(row.run_id)
                await asyncio.sleep(0)

        await asyncio.gather(read(), read())
        assert sorted(names) == list("abcdefg")
        assert report.is_complete
        assert {query["page"] for query in server.asked} == {"1", "2", "3", "4"}


@settings(max_examples=60, deadline=None)
@given(
    size=st.integers(1, 5),
    start=st.integers(0, 12),
    moves=st.lists(st.tuples(st.integers(1, 12), st.sampled_from("idm"), st.integers(0, 12)), max_size=6),
)
async def test_drift_loses_nothing_that_stays(
    size: int, start: int, moves: list[tuple[int, str, int]]
) -> None:
    """However rows enter, leave and move, no state comes twice; and what a quiet complete walk has is all given."""
    async with rig() as r:
        server = _Server(*(_row(f"r{n}") for n in range(start)))

        def move(kind: str, at: int) -> Callable[[], None]:
            def act() -> None:
                if kind == "i":
                    server.rows.insert(min(at, len(server.rows)), _row(f"n{len(server.asked)}-{at}"))
                elif server.rows:
                    row = server.rows.pop(at % len(server.rows))
                    if kind == "m":
                        server.rows.insert(0, row)

            return act

        server.then = {count: move(kind, at) for count, kind, at in moves}
        names, _ = await _read(r, server, page_size=size)
        assert len(names) == len(set(names))
        if not moves:
            assert names == [f"r{n}" for n in range(start)]


# Sync


async def _sync(r: Rig, server: _Server, checkpoint: Any = None, **options: Any) -> tuple[list[str], Sync]:
    r.send.before = server
    sync = r.leena.sync(checkpoint, start="2026-01-01", **options)
    return [row.run_id async for row in sync], sync


async def test_first_sync_reads_the_window_until_tomorrow() -> None:
    """Without a checkpoint there is no filter; `end` is tomorrow by the pool's clock."""
    async with rig() as r:
        names, sync = await _sync(r, server := _Server(_row("a", 1), _row("b", 7), _row("c", 3)))
        assert names == ["a", "b", "c"]
        assert server.asked[0]["from"] == "2026-01-01"
        assert server.asked[0]["to"] == "2026-01-06"
        assert "filters[timestamp][gt]" not in server.asked[0]
        assert sync.checkpoint["watermark"] == "2026-01-05T10:07:00.000Z"
        assert sync.has_watermark


async def test_next_sync_overlaps_and_drops_what_is_known() -> None:
    """The filter reaches back by the overlap; rows delivered already do not come again, changed ones do."""
    async with rig() as r:
        server = _Server(_row("a", 1), _row("b", 7))
        _, first = await _sync(r, server)
        stored = json.loads(json.dumps(first.checkpoint))
        server.rows = [_row("late", 2), _row("a", 1), _row("b", 9), _row("c", 8)]
        names, second = await _sync(r, server, stored, overlap=timedelta(hours=3))
        assert names == ["late", "b", "c"]
        assert server.asked[-1]["filters[timestamp][gt]"] == "2026-01-05T07:07:00.000000Z"
        assert second.checkpoint["watermark"] == "2026-01-05T10:09:00.000Z"
        names, _ = await _sync(r, server, json.loads(json.dumps(second.checkpoint)))
        assert names == []


async def test_without_overlap_the_watermark_goes_back_verbatim() -> None:
    """The vendor's own text is sent back unchanged, whatever its form."""
    async with rig() as r:
        server = _Server({"runId": "a", "timestamp": "2026-01-05T10:00:00.123456789+05:30"})
        _, first = await _sync(r, server)
        await _sync(r, server, first.checkpoint, overlap=timedelta())
        assert server.asked[-1]["filters[timestamp][gt]"] == "2026-01-05T10:00:00.123456789+05:30"


async def test_watermark_is_the_latest_moment_not_the_largest_text() -> None:
    """Texts of mixed forms are compared as moments."""
    async with rig() as r:
        server = _Server(
            {"runId": "a", "timestamp": "2026-01-05T23:00:00+14:00"},
            {"runId": "b", "timestamp": "2026-01-05T10:00:00Z"},
            {"runId": "c", "timestamp": "2026-01-05T09:59:59.9"},
            {"runId": "d", "timestamp": "zzz"},
            {"runId": "e"},
        )
        names, sync = await _sync(r, server)
        assert names == list("abcde")
        assert sync.checkpoint["watermark"] == "2026-01-05T10:00:00Z"


async def test_sync_of_nothing_keeps_the_watermark() -> None:
    """A sync that brings no row leaves the checkpoint where it was."""
    async with rig() as r:
        server = _Server(_row("a", 1))
        _, first = await _sync(r, server)
        server.rows = []
        names, second = await _sync(r, server, first.checkpoint)
        assert (names, second.checkpoint) == ([], first.checkpoint)


async def test_sync_without_timestamps_reads_all_again() -> None:
    """Where no row carries a timestamp there is no watermark, and each sync reads the window."""
    async with rig() as r:
        server = _Server({"runId": "a"}, {"runId": "b"})
        names, first = await _sync(r, server)
        assert not first.has_watermark
        again, second = await _sync(r, server, first.checkpoint)
        assert names == again == ["a", "b"]
        assert "filters[timestamp][gt]" not in server.asked[-1]
        assert not second.has_watermark


async def test_leaving_early_moves_nothing() -> None:
    """A loop that is left before its end keeps the checkpoint; all rows come again."""
    async with rig() as r:
        r.send.before = server = _Server(*_rows(*"abcd"))
        _, before = await _sync(r, _Server(_row("x")))
        sync = r.leena.sync(before.checkpoint, start="2026-01-01", page_size=2)
        r.send.before = server
        async for row in sync:
            if row.run_id == "d":
                break
        assert sync.checkpoint == before.checkpoint
        names, _ = await _sync(r, server, sync.checkpoint)
        assert names == list("abcd")


@pytest.mark.parametrize("fault", ["failed", "refused", "garbage"])
async def test_failure_in_mid_walk_moves_nothing(fault: str) -> None:
    """A page that fails keeps the checkpoint as it was."""
    async with rig() as r:
        server = _Server(*_rows(*"abcd"))
        answers = {
            "failed": sample("report/200-failed"),
            "refused": reply(403),
            "garbage": reply(200, b"<html>"),
        }
        server.answers = dict.fromkeys(range(2, 20), answers[fault])
        r.send.before = server
        sync = r.leena.sync(start="2026-01-01", page_size=2)
        names: list[str] = []

        async def read() -> None:
            async for row in sync:
                names.append(row.run_id)  # noqa: PERF401 - what came before the failure counts

        reading = await begin(read())
        await r.clock.advance(100)
        with pytest.raises((ReplyError, DecodeError)):
            await reading
        assert names == ["a", "b"]
        assert sync.checkpoint == {"version": 1, "watermark": None, "known": {}}


async def test_incomplete_walk_moves_nothing() -> None:
    """Where pages drifted in every walk the checkpoint stays, though rows were given."""
    async with rig() as r:
        server = _Server(*_rows(*"abcd"))
        totals = iter(range(4, 1000))
        server.total = lambda: next(totals)
        names, sync = await _sync(r, server, page_size=2)
        assert names == list("abcd")
        assert not sync.report.is_complete
        assert not sync.has_watermark


async def test_closing_before_the_last_row_moves_nothing() -> None:
    """Where rows of the last page are not read any more, the checkpoint stays; closing at the end leaves it moved."""
    async with rig() as r:
        r.send.before = _Server(*_rows(*"abc"))
        async with aclosing(r.leena.sync(start="2026-01-01", page_size=5)) as sync:
            assert (await anext(sync)).run_id == "a"
        assert [row async for row in sync] == []
        assert not sync.has_watermark
        async with aclosing(r.leena.sync(start="2026-01-01", page_size=5)) as sync:
            assert len([row async for row in sync]) == 3
        assert [row async for row in sync] == []
        assert sync.has_watermark
        assert sync.report.is_complete


async def test_checkpoint_stays_small() -> None:
    """A checkpoint keeps the runs that the next overlap can read again."""
    async with rig() as r:
        rows = [
            {"runId": f"r{n}", "timestamp": f"2026-01-{1 + n // 24:02}T{n % 24:02}:00:00Z"} for n in range(96)
        ]
        _, sync = await _sync(r, _Server(*rows), overlap=timedelta(hours=3))
        assert set(sync.checkpoint["known"]) == {"r92", "r93", "r94", "r95"}


async def test_zero_moments_break_nothing() -> None:
    """A timestamp at the beginning of time is a moment like any other."""
    async with rig() as r:
        server = _Server({"runId": "a", "timestamp": "0001-01-01T00:00:00Z"})
        names, sync = await _sync(r, server)
        assert names == ["a"]
        again, _ = await _sync(r, server, json.loads(json.dumps(sync.checkpoint)))
        assert again == []


@pytest.mark.parametrize(
    "checkpoint",
    [
        {},
        [],
        "2026-01-05",
        {"version": 2, "watermark": None, "known": {}},
        {"version": 1, "watermark": None},
        {"version": 1, "watermark": 5, "known": {}},
        {"version": 1, "watermark": "lately", "known": {}},
        {"version": 1, "watermark": None, "known": {"a": 5}},
        {"version": 1, "watermark": None, "known": []},
    ],
)
async def test_bad_checkpoints_are_refused(checkpoint: Any) -> None:
    """An invalid checkpoint is refused at the call, before anything is sent."""
    async with rig() as r:
        with pytest.raises(ValueError, match=r"checkpoint|ISO 8601"):
            r.leena.sync(checkpoint, start="2026-01-01")
        assert r.send.sent == []


async def test_bad_arguments_of_sync_are_refused() -> None:
    """Sync refuses what the report refuses, and a negative overlap."""
    async with rig() as r:
        with pytest.raises(ValueError, match="overlap"):
            r.leena.sync(start="2026-01-01", overlap=timedelta(seconds=-1))
        with pytest.raises(ValueError, match="lies before start"):
            r.leena.sync(start="2026-01-02", end="2026-01-01")
        with pytest.raises(ValueError, match="page_size"):
            r.leena.sync(start="2026-01-02", page_size=0)


async def test_sync_against_a_lagging_vendor_delivers_every_state() -> None:
    """Rows that show up late and out of order, within the overlap, are all delivered: each run's end is known."""
    plan = RunPlan(seed=5, median=1800.0, pausing=0.0, outcomes={"completed": 1.0})
    fake = FakeLeena(plan, report=ReportRules(lag=(0.0, 7200.0), most_rows=7))
    async with rig(fake=fake) as r:
        checkpoint: Any = None
        statuses: dict[str, str | None] = {}
        for _ in range(40):
            for _ in range(3):
                await r.start("any")
            await r.clock.advance(600)
            sync = r.leena.sync(checkpoint, start="2026-01-01")
            async for row in sync:
                statuses[row.run_id] = row.status
            checkpoint = json.loads(json.dumps(sync.checkpoint))
        await r.clock.advance(40_000)
        sync = r.leena.sync(checkpoint, start="2026-01-01")
        async for row in sync:
            statuses[row.run_id] = row.status
        assert len(statuses) == 120
        assert set(statuses.values()) <= {"Handled", "Unhandled"}


def _names(rows: Sequence[ReportRow]) -> list[str]:
    return [row.run_id for row in rows]


async def test_report_of_the_fake() -> None:
    """The client and the vendor's fake agree on the report, all types included."""
    async with rig() as r:
        runs = [await r.start() for _ in range(25)]
        await r.clock.advance(100)
        rows = [row async for row in r.leena.report("2026-01-05", "2026-01-05", page_size=10)]
        assert len(set(_names(rows))) == 25
        assert {row.request_id for row in rows} == {
            run.accepted.raw["request_id"] for run in runs if run.accepted is not None
        }
        assert all(row.is_finished and row.updated_at and row.initiated_at for row in rows)
