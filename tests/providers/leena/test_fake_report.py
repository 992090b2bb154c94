"""The report of the Leena fake: a pure function of the items, the query and the time."""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aioagents.contract.fake import RunPlan, Step
from aioagents.providers.leena.fake import ReportRules
from aioagents.providers.leena.fake.items import Items
from aioagents.providers.leena.fake.report import report_body

_DAY = {"metricId": "aic:totalRunsTable", "responseType": "table", "from": "2026-01-05", "to": "2026-01-05"}
_FILTER = "filters[timestamp][gt]"
_MEMBERS = {
    *(
        "runId",
        "requestId",
        "handledBy",
        "status",
        "initiatedOn",
        "initiatedBy",
        "initiatedFor",
        "triggerType",
    ),
    *("completedOn", "scheduleName", "escalation", "associatedSkills", "associatedAops", "totalTimeTaken"),
    *("unhandledDueTo", "unhandledReasonText", "inputTokens", "outputTokens", "guardrail", "participants"),
    "timestamp",
}


def _items(*steps: Step, starts: Sequence[float] = (), **plan: Any) -> Items:
    items = Items(RunPlan(scripts={"triage": steps or (Step("completed"),)}, **plan))
    for now in starts:
        items.begin("triage", now)
    return items


def _result(
    items: Items,
    changes: Mapping[str, str | None] | None = None,
    *,
    now: float = 1e6,
    rules: ReportRules | None = None,
) -> dict[str, Any]:
    query = {key: value for key, value in (_DAY | dict(changes or {})).items() if value is not None}
    body = report_body(items, query, rules=rules or ReportRules(), now=now)
    assert body["isSuccess"] is True
    result: dict[str, Any] = body["result"]
    return result


def _rows(items: Items, changes: Mapping[str, str | None] | None = None, **more: Any) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = _result(items, {"limit": "1000"} | dict(changes or {}), **more)["rows"]
    return rows


@pytest.mark.parametrize(
    "changes",
    [
        {"metricId": None},
        {"metricId": "aic:other"},
        {"responseType": None},
        {"responseType": "chart"},
        {"from": None},
        {"to": None},
        {"from": "2026-1-5"},
        {"from": "20260105"},
        {"from": "2026-02-30"},
        {"to": "2026-01-05T00:00:00Z"},
        {"page": "0"},
        {"page": "-1"},
        {"page": "x"},
        {"page": ""},
        {"limit": "0"},
        {"limit": "1.5"},
        {_FILTER: ""},
        {_FILTER: "yesterday"},
        {_FILTER: "2026-01-05T09:00:00 00:00"},
    ],
)
def test_bad_parameters(changes: Mapping[str, str | None]) -> None:
    """A parameter that is missing or malformed is refused, a moment with a raw plus among them."""
    with pytest.raises(ValueError, match="has to be"):
        _result(_items(), changes)


@pytest.mark.parametrize(
    "text", ["2026-01-05T09:00:04Z", "2026-01-05T11:00:04.5+02:00", "2026-01-05T09:00:04.000001"]
)
def test_moments_of_the_filter(text: str) -> None:
    """The filter takes moments with Z, an offset or no zone, and with fractions."""
    items = _items(Step("in_progress", 5), starts=[0.0])
    assert _rows(items, {_FILTER: text}) == []
    assert len(_rows(_items(starts=[5.0]), {_FILTER: text})) == 1


def test_first_page_has_ten_rows() -> None:
    """Without page and limit the first ten rows come, the newest first."""
    result = _result(_items(starts=[float(n) for n in range(12)]))
    assert (result["page"], result["limit"], result["total"], result["columns"]) == (1, 10, 12, [])
    assert [row["runId"] for row in result["rows"]] == [f"RUN_{n:06d}" for n in range(11, 1, -1)]


def test_rows_have_all_members() -> None:
    """Each row has every member that the vendor documents, joined to the execute by its request id."""
    items = _items(Step("in_progress", 75), Step("completed"))
    item = items.begin("triage", 0.0)
    running, ended = _rows(items, now=3.0)[0], _rows(items, now=80.0)[0]
    for row in (running, ended):
        assert set(row) == _MEMBERS
        assert row["requestId"] == item.request_id
        assert row["associatedAops"] == ["triage"]
    assert (running["status"], running["completedOn"]) == ("In Progress", "NA")
    assert running["timestamp"] == running["initiatedOn"] == "2026-01-05T09:00:00.000Z"
    assert ended["completedOn"] == ended["timestamp"] == "2026-01-05T09:01:15.000Z"
    assert ended["totalTimeTaken"] == "1m 15s"
    assert ended["status"] in {"Handled", "Unhandled"}


def test_rows_vary_as_real_ones_do() -> None:
    """Over a long history, optional members are present and absent, and all words of the report occur."""
    items = Items(RunPlan(history=500))
    rows = _rows(items, {"from": "2026-01-04"}, now=0.0)
    assert len(rows) == 500
    assert {row["status"] for row in rows} == {"Handled", "Unhandled", "Failed", "Cancelled"}
    assert {row["escalation"] for row in rows} == {"Yes", "No"}
    assert {row["guardrail"] is None for row in rows} == {True, False}
    assert {row["initiatedBy"] == "N/A" for row in rows} == {True, False}
    assert all((row["unhandledDueTo"] is not None) == (row["status"] == "Unhandled") for row in rows)
    assert _rows(items, {"from": "2026-01-04"}, now=0.0) == rows


def test_window_counts_days_of_start() -> None:
    """The window takes runs that started on its first to its last day, both included."""
    items = _items(starts=[day * 86400.0 for day in range(4)])
    rows = _rows(items, {"from": "2026-01-06", "to": "2026-01-07"})
    assert [row["initiatedOn"][:10] for row in rows] == ["2026-01-07", "2026-01-06"]
    assert _rows(items, {"from": "2026-01-08", "to": "2026-01-05"}) == []


def test_filter_is_strict() -> None:
    """A run updated at the very instant of the filter is not included; a later update is."""
    items = _items(Step("in_progress", 5.0004), Step("completed"), starts=[0.0])
    seen_at = _rows(items, now=3.0)[0]["timestamp"]
    assert _rows(items, {_FILTER: seen_at}, now=3.0) == []
    later = _rows(items, {_FILTER: seen_at}, now=6.0)[0]["timestamp"]
    assert later == "2026-01-05T09:00:05.000Z"
    assert _rows(items, {_FILTER: later}, now=6.0) == []


def test_lag_hides_what_just_happened() -> None:
    """Starts and updates are visible once the lag has passed, and not before."""
    items, rules = _items(Step("in_progress", 5), Step("failed"), starts=[0.0]), ReportRules(lag=(10.0, 10.0))
    seen = [[row["status"] for row in _rows(items, now=now, rules=rules)] for now in (9.9, 10.0, 14.9, 15.0)]
    assert seen == [[], ["In Progress"], ["In Progress"], ["Failed"]]


def test_lag_can_disorder_visibility() -> None:
    """With lags drawn per run, an older update may show after a newer one."""
    items, rules = _items(starts=[float(n) for n in range(20)]), ReportRules(lag=(0.0, 100.0))
    order: list[str] = []
    for now in range(130):
        visible = {row["runId"] for row in _rows(items, now=float(now), rules=rules)}
        order.extend(sorted(visible - set(order)))
    assert len(order) == 20
    assert order != sorted(order)


def test_page_is_clamped_and_says_so() -> None:
    """A limit above the largest page is lowered, and the lowered one is echoed."""
    items, rules = _items(starts=[0.0] * 5), ReportRules(most_rows=3)
    pages = [_result(items, {"limit": "100", "page": str(page)}, rules=rules) for page in (1, 2, 3)]
    assert [(page["limit"], page["total"], len(page["rows"])) for page in pages] == [
        (3, 5, 3),
        (3, 5, 2),
        (3, 5, 0),
    ]


@pytest.mark.parametrize(("share", "least", "most"), [(0.0, 0, 0), (0.5, 60, 140), (1.0, 200, 200)])
def test_rows_without_timestamp(share: float, least: int, most: int) -> None:
    """Only the chosen share of rows has the undocumented `timestamp`."""
    rows = _rows(_items(starts=[0.0] * 200), rules=ReportRules(stamped=share))
    assert least <= sum("timestamp" in row for row in rows) <= most


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.2, "0s"), (59.9, "59s"), (61.0, "1m 1s"), (3600.0, "1h"), (3725.0, "1h 2m 5s")]
)
def test_spans_are_written_without_zeros(seconds: float, text: str) -> None:
    """Hours, minutes and seconds are written without those that are zero."""
    items = _items(Step("in_progress", seconds), Step("completed"), starts=[0.0])
    assert _rows(items)[0]["totalTimeTaken"] == text


@settings(max_examples=50, deadline=None)
@given(
    starts=st.lists(st.integers(0, 80_000_000).map(lambda number: number / 1000), max_size=40),
    limit=st.integers(1, 12),
    lag=st.sampled_from([(0.0, 0.0), (0.0, 50.0)]),
    after=st.none() | st.integers(0, 50_000),
)
def test_walk_has_each_row_once(
    starts: list[float], limit: int, lag: tuple[float, float], after: int | None
) -> None:
    """While nothing changes, the pages have each row of the window once."""
    items = _items(starts=sorted(starts))
    changes: dict[str, str | None] = {"limit": str(limit)}
    if after is not None:
        bound: datetime = items.epoch + timedelta(seconds=after)
        changes[_FILTER] = bound.isoformat()
    ids: list[str] = []
    for page in range(1, 100):
        rows = _rows(items, changes | {"page": str(page)}, rules=ReportRules(lag=lag))
        ids.extend(row["runId"] for row in rows)
        if len(rows) < limit:
            break
    # The server's second 0 is at nine in the morning: second 54,000 is midnight, the end of the window.
    expected = [now for now in starts if now < 54_000 and (after is None or now > after)]
    assert len(ids) == len(set(ids)) == len(expected)
