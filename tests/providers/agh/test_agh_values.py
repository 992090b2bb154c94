"""Durations, times, cron expressions and the values made of them."""

from datetime import UTC, datetime, timedelta, timezone
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aioagents.providers.agh import FireLimit, JobTask, Retry, Schedule, TaskOwner
from aioagents.providers.agh.cron import check_cron
from aioagents.providers.agh.times import (
    order_of,
    parse_duration,
    parse_moment,
    write_duration,
    write_moment,
)
from aioagents.providers.agh.values import check_fire_limit, check_retry, check_schedule, check_task

_SECONDS = {"ns": Fraction(1, 10**9), "us": Fraction(1, 10**6), "µs": Fraction(1, 10**6)} | {
    "ms": Fraction(1, 1000),
    "s": Fraction(1),
    "m": Fraction(60),
    "h": Fraction(3600),
}

# Durations


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("250ms", 0.25),
        ("90s", 90.0),
        ("1h30m", 5400.0),
        ("1.5h", 5400.0),
        (".5s", 0.5),
        ("5.s", 5.0),
        ("+2m", 120.0),
        ("1ns", 1e-9),
        ("3us", 3e-6),
        ("3µs", 3e-6),
        ("3μs", 3e-6),
        ("1m1m", 120.0),
        (" 1h ", 3600.0),
        ("2562047h47m16.854775807s", 9223372036.854776),
    ],
)
def test_durations_as_go_writes_them(text: str, seconds: float) -> None:
    """A duration is a sequence of decimal numbers, each with a unit, in any order and number."""
    assert parse_duration(text) == seconds


@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        "5",
        "s",
        "1d",
        "1w",
        "PT5S",
        "1h 30m",
        "1e3s",
        "-5s",
        "0s",
        "0",
        "0.1ns",
        "1H",
        "1.2.3s",
        ".s",
        "1h30",
        "inf",
        "٣s",
        "2562047h47m16.854775808s",
        "9" * 5000 + "s",
    ],
)
def test_texts_that_are_no_duration(text: str) -> None:
    """What Go does not read, what is not longer than zero, and what does not fit is refused."""
    with pytest.raises(ValueError, match=r"duration|longer than zero|digits"):
        parse_duration(text)


@given(
    st.lists(
        st.tuples(
            st.integers(0, 10**6),
            st.text("0123456789", max_size=9),
            st.sampled_from(sorted(_SECONDS)),
        ),
        min_size=1,
        max_size=6,
    )
)
def test_any_sequence_of_numbers_and_units(parts: list[tuple[int, str, str]]) -> None:
    """Any sequence of numbers with units is read as their sum, cut to nanoseconds part by part."""
    text = "".join(f"{whole}.{digits}{unit}" if digits else f"{whole}{unit}" for whole, digits, unit in parts)
    nanoseconds = sum(
        (whole + Fraction(int(digits or "0"), 10 ** len(digits))) * _SECONDS[unit] * 10**9 // 1
        for whole, digits, unit in parts
    )
    if 0 < nanoseconds < 2**63:
        assert parse_duration(text) == nanoseconds / 10**9
    else:
        with pytest.raises(ValueError, match="longer than zero"):
            parse_duration(text)


@given(st.integers(1, 10**15))
def test_written_durations_are_read_back(microseconds: int) -> None:
    """What is written of a timedelta is read as the same time."""
    span = timedelta(microseconds=microseconds)
    assert parse_duration(write_duration(span, "x")) == pytest.approx(span.total_seconds(), rel=1e-12)


@given(st.floats(min_value=1e-9, max_value=1e9))
def test_written_seconds_are_read_back(seconds: float) -> None:
    """What is written of seconds is read as the same time, to the nanosecond."""
    assert parse_duration(write_duration(seconds, "x")) == pytest.approx(seconds, rel=1e-12, abs=1e-9)


@given(st.text("0123456789.hmsuµn +-", max_size=40))
def test_duration_parser_raises_nothing_else(text: str) -> None:
    """Any text is read as more than zero, or refused with ValueError."""
    try:
        assert parse_duration(text) > 0
    except ValueError:
        pass
    else:
        assert write_duration(text, "x") == text.strip()


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (90, "1m30s"),
        (0.25, "250ms"),
        (5400.5, "1h30m500ms"),
        (1e-9, "1ns"),
        (timedelta(days=2), "48h"),
        (timedelta(microseconds=1), "1us"),
        ("90s", "90s"),
        (" 1h ", "1h"),
    ],
)
def test_how_durations_are_written(value: Any, text: str) -> None:
    """Seconds and timedeltas are written in Go's units; text goes as it is."""
    assert write_duration(value, "x") == text


@pytest.mark.parametrize(
    "value", [0, -1, 0.0, 1e-10, timedelta(0), timedelta(seconds=-1), 1e10, float("nan"), float("inf"), "1d"]
)
def test_lengths_that_are_none(value: Any) -> None:
    """What is not longer than zero, or not to be counted in nanoseconds, is refused under the member's name."""
    with pytest.raises(ValueError, match=r"^retry\.base_delay: "):
        write_duration(value, "retry.base_delay")


@pytest.mark.parametrize("value", [None, True, [], b"1s"])
def test_kinds_that_are_no_duration(value: Any) -> None:
    """What is neither text, timedelta nor number is refused under the member's name."""
    with pytest.raises(TypeError, match=r"^fire_limit\.window: expected Go duration text"):
        write_duration(value, "fire_limit.window")


# Moments


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("2026-01-05T10:00:00Z", datetime(2026, 1, 5, 10, tzinfo=UTC)),
        ("2026-01-05T10:00:00.5Z", datetime(2026, 1, 5, 10, 0, 0, 500000, tzinfo=UTC)),
        ("2026-01-05T10:00:00.123456789Z", datetime(2026, 1, 5, 10, 0, 0, 123456, tzinfo=UTC)),
        ("2026-01-05T10:00:00+01:00", datetime(2026, 1, 5, 9, tzinfo=UTC)),
    ],
)
def test_moments_of_any_precision(text: str, moment: datetime) -> None:
    """RFC 3339 with 0 to 9 digits is read, cut to microseconds."""
    assert parse_moment(text) == moment


@pytest.mark.parametrize(
    "text",
    [
        "",
        "2026-01-05",
        "2026-01-05T10:00:00",
        "2026-01-05 10:00:00Z",
        "2026-01-05T10:00Z",
        "soon",
        "2026-13-05T10:00:00Z",
        "2026-01-05T10:00:00.Z",
        "2026-01-05T10:00:00.1234567890Z",
        "1767225600",
        "2026-01-05T10:00:00+0100",
        "2026-01-05t10:00:00z",
        "٢026-01-05T10:00:00Z",
    ],
)
def test_texts_that_are_no_moment(text: str) -> None:
    """What is not RFC 3339 with a zone is refused."""
    with pytest.raises(ValueError, match="RFC 3339"):
        parse_moment(text)
    with pytest.raises(ValueError, match=r"^until: expected RFC 3339"):
        write_moment(text, "until")


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (datetime(2026, 1, 5, 10, tzinfo=UTC), "2026-01-05T10:00:00Z"),
        (
            datetime(2026, 1, 5, 10, 0, 0, 1, tzinfo=timezone(timedelta(hours=1))),
            "2026-01-05T09:00:00.000001Z",
        ),
        (" 2026-01-05T10:00:00.123456789+01:00 ", "2026-01-05T10:00:00.123456789+01:00"),
    ],
)
def test_how_moments_are_written(value: Any, text: str) -> None:
    """Datetimes are written in UTC; text goes as it is, with all of its digits."""
    assert write_moment(value, "until") == text


def test_moments_without_a_zone() -> None:
    """A datetime that does not know its zone is refused, and so are other kinds, and what no UTC year holds."""
    with pytest.raises(ValueError, match=r"^since: .*zone"):
        write_moment(datetime(2026, 1, 5), "since")  # noqa: DTZ001 - which is the point
    with pytest.raises(ValueError, match=r"^since: .*years"):
        write_moment(datetime.min.replace(tzinfo=timezone(timedelta(hours=1))), "since")
    wrong: Any = 1767225600
    with pytest.raises(TypeError, match=r"^since: expected an aware datetime or RFC 3339 text"):
        write_moment(wrong, "since")


@given(
    st.datetimes(min_value=datetime(2, 1, 1), max_value=datetime(9998, 1, 1)),  # noqa: DTZ001 - zones are drawn
    st.integers(-1439, 1439),
)
def test_written_moments_are_read_back(local: datetime, minutes: int) -> None:
    """What is written of a datetime is the same moment, whatever its zone."""
    moment = local.replace(tzinfo=timezone(timedelta(minutes=minutes)))
    assert parse_moment(write_moment(moment, "x")) == moment


def test_moments_are_ordered_to_the_nanosecond() -> None:
    """Moments are ordered by time, whatever their zones and digits: as texts they would not be."""
    texts = ["2026-01-05T10:00:00Z", "2026-01-05T10:00:00.5Z", "2026-01-05T11:00:00.500000001+01:00"]
    first, second, third = map(order_of, texts)
    assert first < second < third
    assert sorted(texts) != texts


# Cron expressions


@pytest.mark.parametrize(
    "text",
    [
        "15 2 * * *",
        "*/5 * * * *",
        "0 0 1-15/2,20 jan-MAR Mon-fri",
        "? * ? * *",
        "0-59 0-23 1-31 1-12 0-6",
        "5/10 * * * *",
        " 1  2 3\t4 5 ",
        "TZ=Europe/Berlin 0 9 * * 1",
        "CRON_TZ=UTC 0 9 * * sun",
        "1,,2 * * * *",
    ],
)
def test_cron_expressions_of_five_fields(text: str) -> None:
    """Five fields of numbers, names, ranges, steps and lists are accepted."""
    check_cron(text)
    assert Schedule.cron(text).expr == text.strip()


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("* * * *", "five fields"),
        ("0 * * * * *", "five fields"),
        ("@daily", "shortcuts"),
        ("@every 5m", "shortcuts"),
        ("60 * * * *", "minute"),
        ("* 24 * * *", "hour"),
        ("* * 0 * *", "day of the month"),
        ("* * * 13 *", "month"),
        ("* * * * 7", "day of the week"),
        ("* * * * mon-sun", "day of the week"),
        ("5-1 * * * *", "ends before"),
        ("*/0 * * * *", "step"),
        ("1/ * * * *", "step"),
        ("1/2/3 * * * *", "step"),
        (", * * * *", "minute"),
        ("jan * * * *", "minute"),
        ("1-2-3 * * * *", "minute"),
        ("-1 * * * *", "minute"),
        ("* * * * ²", "day of the week"),
        ("", "is required"),
    ],
)
def test_cron_expressions_that_cannot_be(text: str, words: str) -> None:
    """What the server does not take is refused, and the error says which field is wrong."""
    with pytest.raises(ValueError, match=rf"^schedule\.expr: .*{words}"):
        Schedule.cron(text)


# Values


def test_schedules_by_their_constructors() -> None:
    """Each mode has a constructor, and is sent with its own member alone."""
    at = datetime(2026, 3, 1, 12, tzinfo=UTC)
    assert check_schedule(Schedule.cron("15 2 * * *")) == {"mode": "cron", "expr": "15 2 * * *"}
    assert check_schedule(Schedule.every(timedelta(hours=1.5))) == {"mode": "every", "interval": "1h30m"}
    assert check_schedule(Schedule.at(at)) == {"mode": "at", "time": "2026-03-01T12:00:00Z"}
    assert Schedule.every("90s").interval_seconds == 90.0
    assert Schedule.at(at).moment == at
    assert (Schedule.cron("* * * * *").interval_seconds, Schedule.every(1).moment) == (None, None)


@pytest.mark.parametrize(
    ("given_schedule", "sent"),
    [
        ({"mode": "cron", "expr": "15 2 * * *"}, {"mode": "cron", "expr": "15 2 * * *"}),
        ({"mode": "every", "interval": "5m", "expr": "", "time": " "}, {"mode": "every", "interval": "5m"}),
        ({"mode": "every", "interval": 90}, {"mode": "every", "interval": "1m30s"}),
        ({"mode": " at ", "time": "2026-01-01T00:00:00Z"}, {"mode": "at", "time": "2026-01-01T00:00:00Z"}),
        ({"mode": "cron", "expr": "* * * * *", "time": None}, {"mode": "cron", "expr": "* * * * *"}),
    ],
)
def test_schedules_by_the_members_of_the_wire(given_schedule: Any, sent: Any) -> None:
    """A mapping with the members of the JSON is accepted as well; members of other modes may be blank."""
    assert check_schedule(given_schedule) == sent


@pytest.mark.parametrize(
    ("given_schedule", "words"),
    [
        ({}, r"schedule\.mode: expected cron or every or at"),
        ({"mode": "hourly"}, r"schedule\.mode: .*'hourly'"),
        ({"mode": "cron"}, r"schedule\.expr: is required"),
        ({"mode": "every", "interval": " "}, r"schedule\.interval: is required"),
        ({"mode": "every", "interval": "0s"}, r"schedule\.interval: .*longer than zero"),
        ({"mode": "every", "interval": 0}, r"schedule\.interval: .*longer than zero"),
        ({"mode": "every", "interval": "1d"}, r"schedule\.interval: expected a duration"),
        ({"mode": "at", "time": "tomorrow"}, r"schedule\.time: expected RFC 3339"),
        ({"mode": "at", "time": "2026-01-01T00:00:00Z", "expr": "* * * * *"}, r"schedule\.expr: .*left out"),
        ({"mode": "cron", "expr": "* * * * *", "interval": "5m"}, r"schedule\.interval: .*mode is cron"),
        ({"mode": "cron", "expression": "* * * * *"}, r"schedule\.expression: is unknown"),
        (Schedule(mode="solar"), r"schedule\.mode: "),
    ],
)
def test_schedules_that_cannot_be(given_schedule: Any, words: str) -> None:
    """A schedule that the server would refuse is refused under the member's path."""
    with pytest.raises(ValueError, match=f"^{words}"):
        check_schedule(given_schedule)


def test_retries_by_constructor_and_mapping() -> None:
    """Without retries nothing but the strategy is sent; with them, how many and after what delay."""
    assert check_retry(Retry.none()) == {"strategy": "none"}
    assert check_retry({"strategy": "none", "max_retries": 0, "base_delay": ""}) == {"strategy": "none"}
    written = {"strategy": "backoff", "max_retries": 2, "base_delay": "5s"}
    assert check_retry(Retry.backoff(2, 5)) == check_retry(written) == written
    assert Retry.backoff(2, "1m").base_seconds == 60.0
    assert Retry.none().base_seconds is None


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ({"max_retries": 2}, r"retry\.strategy: "),
        ({"strategy": "linear"}, r"retry\.strategy: expected none or backoff"),
        ({"strategy": "none", "max_retries": 1}, r"retry\.max_retries: .*left out"),
        ({"strategy": "none", "max_retries": -1}, r"retry\.max_retries: has to be 0 or more"),
        ({"strategy": "none", "base_delay": "5s"}, r"retry\.base_delay: .*left out"),
        ({"strategy": "backoff", "base_delay": "5s"}, r"retry\.max_retries: has to be 1 or more"),
        ({"strategy": "backoff", "max_retries": 1}, r"retry\.base_delay: is required"),
        ({"strategy": "backoff", "max_retries": 1, "base_delay": "-5s"}, r"retry\.base_delay: "),
        (
            {"strategy": "backoff", "max_retries": 1, "base_delay": "5s", "cap": "1m"},
            r"retry\.cap: is unknown",
        ),
    ],
)
def test_retries_that_cannot_be(value: Any, words: str) -> None:
    """A retry policy that the server would refuse is refused under the member's path."""
    with pytest.raises(ValueError, match=f"^{words}"):
        check_retry(value)


def test_retry_constructor_checks_at_once() -> None:
    """`Retry.backoff` refuses what can never be sent."""
    with pytest.raises(ValueError, match=r"^retry\.max_retries: has to be 1 or more, not 0"):
        Retry.backoff(0, "5s")
    with pytest.raises(ValueError, match=r"^retry\.base_delay: "):
        Retry.backoff(1, 0)
    number: Any = 1.5
    with pytest.raises(TypeError, match=r"^retry\.max_retries: expected a whole number"):
        Retry.backoff(number, 1)


def test_fire_limits() -> None:
    """A fire limit's window may be text, a timedelta or seconds."""
    for limit in (FireLimit(4, "1h"), FireLimit(4, timedelta(hours=1)), FireLimit(4, 3600)):
        assert check_fire_limit(limit) == {"max": 4, "window": "1h"}
        assert limit.window_seconds == 3600.0
    assert check_fire_limit({"max": 1, "window": 60}) == {"max": 1, "window": "1m"}
    assert FireLimit(4, "some day").window_seconds is None


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ({"window": "1h"}, r"fire_limit\.max: has to be 1 or more"),
        (FireLimit(0, "1h"), r"fire_limit\.max: has to be 1 or more"),
        ({"max": 1}, r"fire_limit\.window: is required"),
        (FireLimit(1, "1 hour"), r"fire_limit\.window: expected a duration"),
        ({"max": 1, "window": "1h", "maximum": 2}, r"fire_limit\.maximum: is unknown"),
    ],
)
def test_fire_limits_that_cannot_be(value: Any, words: str) -> None:
    """A fire limit that the server would refuse is refused under the member's path."""
    with pytest.raises(ValueError, match=f"^{words}"):
        check_fire_limit(value)


def test_tasks() -> None:
    """What is blank in a task is left out, and an empty task is one."""
    task = JobTask(title=" Triage ", network_channel="ops", owner=TaskOwner("pool", "triage"))
    sent = {"title": "Triage", "network_channel": "ops", "owner": {"kind": "pool", "ref": "triage"}}
    assert check_task(task) == check_task(sent) == sent
    assert check_task({}) == check_task(JobTask()) == {}
    assert check_task({"description": "Look at it.", "owner": None}) == {"description": "Look at it."}
    assert check_task(JobTask(owner=TaskOwner("human", "ann"))) == {"owner": {"kind": "human", "ref": "ann"}}


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ({"network_channel": "Ops"}, r"task\.network_channel: "),
        ({"network_channel": "-ops"}, r"task\.network_channel: "),
        ({"network_channel": "o" * 65}, r"task\.network_channel: "),
        ({"owner": {}}, r"task\.owner\.kind: expected human or"),
        ({"owner": {"kind": "robot", "ref": "x"}}, r"task\.owner\.kind: .*'robot'"),
        ({"owner": {"kind": "pool"}}, r"task\.owner\.ref: is required"),
        ({"owner": {"kind": "pool", "ref": "x", "name": "y"}}, r"task\.owner\.name: is unknown"),
        ({"titel": "Triage"}, r"task\.titel: is unknown; the members are title,"),
    ],
)
def test_tasks_that_cannot_be(value: Any, words: str) -> None:
    """A task that the server would refuse, or with a member it would not see, is refused under its path."""
    with pytest.raises(ValueError, match=f"^{words}"):
        check_task(value)


@pytest.mark.parametrize(
    ("check", "value", "words"),
    [
        (check_schedule, "15 2 * * *", "schedule: expected Schedule or a mapping, not str"),
        (check_schedule, {"mode": 5}, r"schedule\.mode: expected a string, not int"),
        (check_schedule, {"mode": "cron", "expr": 5}, r"schedule\.expr: expected a string, not int"),
        (check_schedule, {"mode": "every", "interval": True}, r"schedule\.interval: expected Go duration"),
        (check_retry, 3, "retry: expected Retry or a mapping, not int"),
        (check_retry, {"strategy": "backoff", "max_retries": True}, r"retry\.max_retries: expected a whole"),
        (check_fire_limit, [4, "1h"], "fire_limit: expected FireLimit or a mapping, not list"),
        (
            check_fire_limit,
            {"max": 4.0, "window": "1h"},
            r"fire_limit\.max: expected a whole number, not float",
        ),
        (check_task, "Triage", "task: expected JobTask or a mapping, not str"),
        (check_task, {"title": 5}, r"task\.title: expected a string, not int"),
        (check_task, {"owner": "ann"}, r"task\.owner: expected TaskOwner or a mapping, not str"),
    ],
)
def test_values_of_other_kinds(check: Any, value: Any, words: str) -> None:
    """What is of another kind is refused with TypeError, under the member's path."""
    with pytest.raises(TypeError, match=f"^{words}"):
        check(value)


def test_values_do_not_show_what_they_ask_for() -> None:
    """The repr of a task leaves its description out, which may be anybody's words."""
    assert "secret plan" not in repr(JobTask(title="t", description="secret plan"))
