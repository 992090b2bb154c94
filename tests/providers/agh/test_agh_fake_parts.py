"""What the fake AGH Runtime reads and writes as a Go server does: moments, durations, cron, templates."""

from datetime import UTC, datetime, timedelta, timezone
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aioagents.providers.agh.fake.cron import Cron
from aioagents.providers.agh.fake.templates import check_template, missing_field
from aioagents.providers.agh.fake.times import (
    SECOND,
    nanoseconds,
    read_duration,
    read_moment,
    write_date,
    write_duration,
    write_moment,
)

_NOON = nanoseconds(datetime(2026, 1, 5, 12, 0, tzinfo=UTC))


@pytest.mark.parametrize(
    ("text", "after_noon"),
    [
        ("2026-01-05T12:00:00Z", 0),
        ("2026-01-05T12:00:00.5Z", SECOND // 2),
        ("2026-01-05T12:00:00.000000001Z", 1),
        ("2026-01-05T12:00:00,25Z", SECOND // 4),
        ("2026-01-05T12:00:00.1234567899Z", 123_456_789),
        ("2026-01-05T13:30:00+01:30", 0),
        ("2026-01-05T07:00:00.000001-05:00", 1000),
    ],
)
def test_moments_are_read_to_the_nanosecond(text: str, after_noon: int) -> None:
    """RFC 3339 with a zone, and any number of digits, of which nine count."""
    assert read_moment(text) == _NOON + after_noon


@pytest.mark.parametrize(
    "text",
    [
        "",
        "2026-01-05",
        "2026-01-05T12:00:00",
        "2026-01-05 12:00:00Z",
        "2026-01-05t12:00:00z",
        "2026-01-05T12:00Z",
        "2026-13-05T12:00:00Z",
        "2026-01-05T24:00:01Z",
        "2026-01-05T12:00:00.Z",
        "2026-01-05T12:00:00 01:00",
        "0000-01-05T12:00:00Z",
        "\u0662026-01-05T12:00:00Z",
    ],
)
def test_what_is_no_moment(text: str) -> None:
    """Anything else is read as None."""
    assert read_moment(text) is None


@pytest.mark.parametrize(
    ("after_noon", "text"),
    [
        (0, "2026-01-05T12:00:00Z"),
        (SECOND // 2, "2026-01-05T12:00:00.5Z"),
        (123_456_789, "2026-01-05T12:00:00.123456789Z"),
        (1, "2026-01-05T12:00:00.000000001Z"),
        (-1, "2026-01-05T11:59:59.999999999Z"),
    ],
)
def test_moments_are_written_as_short_as_can_be(after_noon: int, text: str) -> None:
    """Only the digits that are needed are written."""
    assert write_moment(_NOON + after_noon) == text


def test_moments_are_written_in_a_zone() -> None:
    """Another zone than UTC shows as an offset."""
    zone = timezone(timedelta(hours=-3, minutes=-30))
    assert write_moment(_NOON + 5, zone) == "2026-01-05T08:30:00.000000005-03:30"
    assert write_date(_NOON + 5) == "Mon, 05 Jan 2026 12:00:00 GMT"


@given(st.integers(0, 4_000_000_000 * SECOND))
def test_moments_are_read_back(moment: int) -> None:
    """What is written is read back unchanged."""
    assert read_moment(write_moment(moment)) == moment


@pytest.mark.parametrize(
    ("text", "duration"),
    [
        ("250ms", 250_000_000),
        ("90s", 90 * SECOND),
        ("1h30m", 5400 * SECOND),
        ("1.5h", 5400 * SECOND),
        (".5s", SECOND // 2),
        ("2.s", 2 * SECOND),
        ("1us1\u00b5s1\u03bcs1ns", 3001),
        ("+1s", SECOND),
        ("-1s", -SECOND),
        ("0", 0),
        ("0s", 0),
        ("2562047h47m16.854775807s", 2**63 - 1),
    ],
)
def test_durations_are_gos(text: str, duration: int) -> None:
    """Numbers with units, one after the other."""
    assert read_duration(text) == duration


@pytest.mark.parametrize(
    "text", ["", "s", "5", "1 h", "1d", "PT1H", "1h ", "1,5h", ".s", "--1s", "3000000h", "1h30"]
)
def test_what_is_no_duration(text: str) -> None:
    """Days, ISO 8601, numbers without a unit, and what 64 bits cannot count are read as None."""
    assert read_duration(text) is None


@pytest.mark.parametrize(
    ("duration", "text"),
    [
        (3600 * SECOND, "1h0m0s"),
        (5430 * SECOND + SECOND // 2, "1h30m30.5s"),
        (90 * SECOND, "1m30s"),
        (SECOND, "1s"),
        (250_000_000, "250ms"),
        (1_500_000, "1.5ms"),
        (1_000, "1\u00b5s"),
        (7, "7ns"),
    ],
)
def test_durations_are_written_as_go_does(duration: int, text: str) -> None:
    """All smaller units are shown, above a second; below, one unit."""
    assert write_duration(duration) == text


@given(st.integers(1, 2**63 - 1))
def test_durations_are_read_back(duration: int) -> None:
    """What is written is read back unchanged."""
    assert read_duration(write_duration(duration)) == duration


@pytest.mark.parametrize(
    ("expression", "due"),
    [
        ("* * * * *", "2026-01-05T12:01:00Z"),
        ("0 * * * *", "2026-01-05T13:00:00Z"),
        ("*/25 * * * *", "2026-01-05T12:25:00Z"),
        ("50/5 * * * *", "2026-01-05T12:50:00Z"),
        ("15 2 * * *", "2026-01-06T02:15:00Z"),
        ("0 9-17/4 * * *", "2026-01-05T13:00:00Z"),
        ("0 0 1 * *", "2026-02-01T00:00:00Z"),
        ("0 0 29 2 *", "2028-02-29T00:00:00Z"),
        ("0 0 * * sun", "2026-01-11T00:00:00Z"),
        ("0 0 * * MON-fri", "2026-01-06T00:00:00Z"),
        ("0 0 7 * 2", "2026-01-06T00:00:00Z"),
        ("0 0 */9 * 5", "2026-01-09T00:00:00Z"),  # the 10th would do as well
        ("0 0 ? jun,jul *", "2026-06-01T00:00:00Z"),
        ("10,5 12,13 5 1 *", "2026-01-05T12:05:00Z"),
        ("TZ=America/New_York 0 8 * * *", "2026-01-05T13:00:00Z"),
        ("CRON_TZ=UTC  30 12 * * *", "2026-01-05T12:30:00Z"),
    ],
)
def test_cron_is_due(expression: str, due: str) -> None:
    """The next moment that fits all fields, after a Monday's noon."""
    assert Cron.read(expression).after(_NOON, UTC) == read_moment(due)


def test_cron_that_is_never_due() -> None:
    """A date that no year has never matches."""
    assert Cron.read("0 0 30 2 *").after(_NOON, UTC) is None


def test_cron_keeps_to_clocks_that_are_put_forward_and_back() -> None:
    """An hour that summer time skips does not match that day; one that comes twice matches once."""
    zone = ZoneInfo("Europe/Berlin")
    spring = nanoseconds(datetime(2026, 3, 28, 12, 0, tzinfo=UTC))
    assert Cron.read("30 2 * * *").after(spring, zone) == read_moment("2026-03-30T00:30:00Z")
    autumn = nanoseconds(datetime(2026, 10, 24, 12, 0, tzinfo=UTC))
    first = Cron.read("30 2 * * *").after(autumn, zone)
    assert first is not None
    assert first == read_moment("2026-10-25T00:30:00Z")
    assert Cron.read("30 2 * * *").after(first, zone) == read_moment("2026-10-26T01:30:00Z")


@pytest.mark.parametrize(
    "expression",
    [
        "",
        "* * * *",
        "* * * * * *",
        "@daily",
        "60 * * * *",
        "* 24 * * *",
        "* * 0 * *",
        "* * * 13 *",
        "* * * * 7",
        "5-1 * * * *",
        "*/0 * * * *",
        "a * * * *",
        "1- * * * *",
        "1/ * * * *",
        "-1 * * * *",
        "* * * * monday",
        "TZ=No/Where * * * * *",
        "TZ= * * * * *",
        "\u0661 * * * *",
    ],
)
def test_what_is_no_cron_expression(expression: str) -> None:
    """Other numbers of fields, shortcuts, and values out of range are refused."""
    with pytest.raises(ValueError, match=r"."):
        Cron.read(expression)


_TEMPLATES = [
    ("Check it.", True),
    ('{{ index .Data "branch" }} of {{.Data.repo.name}}', True),
    ("{{ .Kind }}{{.Scope}}{{ .WorkspaceID }}{{.Source}}", True),
    ("{{- if .Data.x -}} a {{ else if eq .Kind `b` }} c {{ else }} d {{ end }}", True),
    ("{{ with .Data.x }}{{ .y }}{{ end }}{{ range .Data.z }}{{ .q }}{{ end }}", True),
    ("{{/* a comment with {{ braces */}}", True),
    ('{{ printf "%s }} %s" .Kind (len .Scope) }}', True),
    ("{{ $x := .Data.y }}{{ $x }}", True),
    ("closing }} alone", True),
    ("{{ .Branch }}", False),
    ("{{ .Kind.more }}", False),
    ('{{ index .Kind "a" }}', False),
    ('{{ index (index .Data "a") "b" }}', False),
    ("{{ .Kind ", False),
    ("{{ }}", False),
    ("{{ nosuch .Kind }}", False),
    ("{{ (len .Kind }}", False),
    ("{{ if .Kind }}", False),
    ("{{ end }}", False),
    ("{{ else }}", False),
]


@pytest.mark.parametrize(("text", "is_read"), _TEMPLATES)
def test_templates_are_read(text: str, is_read: bool) -> None:
    """Unknown roots and functions, and what is not closed, cannot be read."""
    if is_read:
        check_template(text)
    else:
        with pytest.raises(ValueError, match=r"."):
            check_template(text)


@pytest.mark.parametrize(
    ("text", "missing"),
    [
        ("{{ .Data.a.b }}", None),
        ("{{ .Data.a.c }}", ".Data.a.c"),
        ("{{ .Data.d }}", ".Data.d"),
        ("{{ .Data.e.f }}", ".Data.e.f"),
        ('{{ index .Data "d" }} {{ .Kind }} {{ .Data }}', None),
        ("{{ if .Data.e }}{{ .Data.d }}{{ end }}", None),
        ("{{ if .Data.d }}{{ end }}", ".Data.d"),
    ],
)
def test_fields_that_an_event_lacks(text: str, missing: str | None) -> None:
    """A field that is used unconditionally is required; a look-up by `index` need not find anything."""
    assert missing_field(text, {"a": {"b": 1}, "e": 5}) == missing
