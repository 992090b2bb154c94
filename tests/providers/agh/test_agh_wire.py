"""Requests to AGH Runtime and the reading of its replies, which are kept as files."""

import json
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aioagents import DecodeError, ForeignReply, NotFound
from aioagents.calls.reply_errors import error_of_reply
from aioagents.model import Purpose, Reply
from aioagents.providers.agh import FireLimit, JobTask, Retry, Schedule, TaskOwner, refusals, wire
from aioagents.providers.agh.refusals import read_refusal
from tests.fakes import EPOCH

SAMPLES = Path(__file__).parents[2] / "samples" / "agh"
_URL = "http://localhost:2123/api/automation"
_NAMES = st.sampled_from(
    [
        "id",
        "status",
        "retry",
        "schedule",
        "task",
        "owner",
        "scheduler",
        "fire_limit",
        "filter",
        "started_at",
        "max",
    ]
)


def sample(name: str) -> Reply:
    """Return a reply as it was received."""
    (path,) = SAMPLES.glob(f"{name}.json")
    return Reply(int(path.name[:3]), {"content-type": "application/json"}, path.read_bytes())


def _json(value: Any) -> Reply:
    return Reply(200, {}, json.dumps(value).encode())


def _conflict(name: str) -> Any:
    return _refused(sample(name))


def _refused(reply: Reply) -> Any:
    request = wire.status_request("http://localhost:2123")
    return error_of_reply("agh", request, reply, utcnow=EPOCH, read_refusal=read_refusal)


# Requests


def test_status_request() -> None:
    """The cheapest call reads the daemon's status."""
    request = wire.status_request("http://localhost:2123")
    assert (request.method, request.url, request.call) == (
        "GET",
        "http://localhost:2123/api/status",
        "status",
    )
    assert request.is_repeatable


def test_list_requests() -> None:
    """The whole query is percent-encoded, the plus of a zone included; an empty query adds no question mark."""
    assert wire.list_request(f"{_URL}/runs", "runs.list", {}).url == f"{_URL}/runs"
    query = {"since": "2026-01-05T10:00:00+01:00", "job_id": "a&b=c d/é"}
    request = wire.list_request(f"{_URL}/runs", "runs.list", query)
    assert request.url.endswith("/runs?since=2026-01-05T10%3A00%3A00%2B01%3A00&job_id=a%26b%3Dc%20d%2F%C3%A9")
    assert dict(parse_qsl(urlsplit(request.url).query)) == query
    assert (request.method, request.body, request.is_repeatable) == ("GET", None, True)


@pytest.mark.parametrize(
    ("item", "path"),
    [
        ("job-8899aabbccddeeff", "/jobs/job-8899aabbccddeeff"),
        (" job_1 ", "/jobs/job_1"),
        ("a/../b?c#d", "/jobs/a%2F..%2Fb%3Fc%23d"),
        ("é", "/jobs/%C3%A9"),
    ],
)
def test_item_urls(item: str, path: str) -> None:
    """An id is one segment of the path, whatever it holds."""
    assert wire.item_url(f"{_URL}/jobs", item, "job_id") == f"{_URL}{path}"


@pytest.mark.parametrize(
    ("item", "kind"),
    [("", ValueError), (" ", ValueError), ("..", ValueError), (None, TypeError), (5, TypeError)],
)
def test_items_that_cannot_be(item: Any, kind: type[Exception]) -> None:
    """An id that is empty, would change the path or is no text is refused under the argument's name."""
    with pytest.raises(kind, match=r"^job_id"):
        wire.item_url(f"{_URL}/jobs", item, "job_id")


def test_create_requests_are_starts() -> None:
    """What makes something new is sent once; a 503 says that nothing was made. Its repr shows no body."""
    request = wire.create_request(f"{_URL}/jobs", "jobs.create", {"name": "someone@example.com"})
    assert (request.method, request.call, request.purpose) == ("POST", "jobs.create", Purpose.START)
    assert (request.is_repeatable, request.refused_by) == (False, frozenset({503}))
    assert request.headers["Content-Type"] == "application/json"
    assert json.loads(request.body or b"") == {"name": "someone@example.com"}
    assert "example.com" not in repr(request)


def test_update_requests_may_be_repeated() -> None:
    """A change says what is to be, and may be sent twice."""
    request = wire.update_request(f"{_URL}/jobs/j", "jobs.update", {"enabled": False})
    assert (request.method, request.is_repeatable) == ("PATCH", True)
    assert request.body == b'{"enabled":false}'


def test_bodies_have_a_ceiling() -> None:
    """What the server would refuse for its size is refused before; the last byte that fits is sent."""
    room = wire.MOST - len(b'{"prompt":""}')
    wire.update_request(f"{_URL}/jobs/j", "jobs.update", {"prompt": "x" * room})
    with pytest.raises(ValueError, match="4194304 bytes at most"):
        wire.update_request(f"{_URL}/jobs/j", "jobs.update", {"prompt": "x" * (room + 1)})


# Jobs


def test_job_as_the_server_sends_it() -> None:
    """A job's members are read into values, moments cut to microseconds; `raw` keeps them as they came."""
    reply = sample("jobs_get/200-cron")
    job = wire.job_in(reply, "jobs.get")
    assert (job.id, job.scope, job.name) == ("job-8899aabbccddeeff", "global", "nightly-digest")
    assert (job.agent_name, job.prompt) == ("writer", "Summarise yesterday's changes.")
    assert job.schedule == Schedule.cron("15 2 * * *")
    assert (job.retry, job.fire_limit) == (Retry.backoff(2, "5s"), FireLimit(4, "1h"))
    assert (job.enabled, job.source, job.workspace_id, job.task) == (True, "dynamic", "", None)
    assert job.created_at == job.updated_at == datetime(2026, 1, 5, 10, 0, 0, 123456, tzinfo=UTC)
    assert job.next_run == datetime(2026, 1, 6, 2, 15, tzinfo=UTC)
    assert job.scheduler is not None
    assert (job.scheduler.job_id, job.scheduler.registered) == (job.id, True)
    assert (job.scheduler.catch_up_policy, job.scheduler.misfire_count) == ("skip_missed", 0)
    assert job.scheduler.last_run_at is None
    assert job.raw == json.loads(reply.body)["job"]
    assert wire.job_in(sample("jobs_create/201-cron"), "jobs.create") == job


def test_job_with_a_task() -> None:
    """A job of a workspace that hands over a task is read with it; disabled, the scheduler does not know it."""
    job = wire.job_in(sample("jobs_get/200-task"), "jobs.get")
    assert job.task == JobTask(title="Triage", network_channel="ops", owner=TaskOwner("pool", "triage"))
    assert (job.workspace_id, job.agent_name, job.prompt, job.source) == ("ws-1", "", "", "package")
    assert (job.enabled, job.next_run, job.scheduler) == (False, None, None)
    assert job.schedule is not None
    assert job.schedule.interval_seconds == 5400
    assert job.retry == Retry.none()


def test_job_whose_moment_is_over() -> None:
    """A job that ran, or was to run, at a moment keeps it as written, with a zone and nine digits."""
    job = wire.job_in(sample("jobs_get/200-at-over"), "jobs.get")
    assert job.schedule is not None
    assert job.schedule.time == "2026-01-01T00:00:00.123456789+01:00"
    assert job.schedule.moment == datetime(2025, 12, 31, 23, 0, 0, 123456, tzinfo=UTC)


def test_scheduler_in_the_daemons_zone() -> None:
    """The scheduler's moments may carry the daemon's zone; misfires and resume failures are counted."""
    state = wire.job_in(sample("jobs_get/200-misfires"), "jobs.get").scheduler
    assert state is not None
    zone = timezone(timedelta(hours=1))
    assert state.next_run_at == datetime(2026, 1, 6, 3, 15, tzinfo=zone)
    assert state.last_run_at == datetime(2026, 1, 5, 3, 15, 0, 250000, tzinfo=zone)
    assert state.last_scheduled_at == datetime(2026, 1, 5, 3, 15, tzinfo=zone)
    assert state.last_misfire_at == datetime(2026, 1, 3, 3, 15, tzinfo=zone)
    assert (state.misfire_grace_seconds, state.consecutive_resume_failures, state.misfire_count) == (60, 1, 2)
    assert state.last_fire_id == "fire_0a1b2c3d4e5f60718293a4b5"
    assert state.raw["misfire_count"] == 2


def test_new_words_and_members() -> None:
    """Words and members of a newer server are kept: words as they are, members in `raw`."""
    job = wire.job_in(sample("jobs_get/200-new-members"), "jobs.get")
    assert job.schedule == Schedule(mode="solar", expr="sunrise")
    assert job.retry == Retry(strategy="jitter", max_retries=1, base_delay="1s")
    assert (job.source, job.raw["target_kind"], job.raw["retry"]["cap"]) == ("remote", "agent", "1m")


@pytest.mark.parametrize("odd", [None, 5, "x", [], True])
def test_members_that_are_missing_or_odd(odd: Any) -> None:
    """What is left out, null or of another kind reads as empty, None or what the server sets by itself."""
    bare = wire.job_in(sample("jobs_get/200-bare"), "jobs.get")
    names = ["schedule", "task", "retry", "fire_limit", "next_run", "scheduler", "created_at"]
    made = wire.job_in(_json({"job": {"id": bare.id, **dict.fromkeys(names, odd)}}), "jobs.get")
    assert made == bare
    assert (bare.scope, bare.name, bare.enabled, bare.source) == ("", "", False, "")
    assert (bare.schedule, bare.task, bare.next_run, bare.scheduler) == (None, None, None, None)
    assert (bare.retry, bare.fire_limit) == (Retry.none(), FireLimit(12, "1h"))


def test_numbers_and_texts_of_other_kinds() -> None:
    """A number where a text belongs, and vice versa, reads as empty."""
    raw = {"id": "j", "name": 5, "retry": {"strategy": "backoff", "max_retries": "2", "base_delay": 5}}
    job = wire.job_in(_json({"job": {**raw, "fire_limit": {"max": True, "window": None}}}), "jobs.get")
    assert (job.name, job.retry) == ("", Retry(strategy="backoff"))
    assert (job.fire_limit.max, job.fire_limit.window) == (0, "")


# Triggers


def test_trigger_as_the_server_sends_it() -> None:
    """A trigger's members are read into values; its endpoint is made of slug and id."""
    reply = sample("triggers_get/200-webhook")
    trigger = wire.trigger_in(reply, "triggers.get")
    assert (trigger.id, trigger.event, trigger.filter) == (
        "trg-0011223344556677",
        "webhook",
        {"data.action": "deploy"},
    )
    assert trigger.endpoint == "deploy--wbh_fc2d53399f18b9a4"
    assert trigger.webhook_secret_present
    assert trigger.webhook_secret_hash.startswith("sha256:d27a0f38")
    assert trigger.raw == json.loads(reply.body)["trigger"]
    assert wire.trigger_in(sample("triggers_create/201-webhook"), "triggers.create") == trigger


def test_trigger_of_another_event() -> None:
    """A trigger of another event has no webhook, no endpoint and perhaps no filter."""
    trigger = wire.trigger_in(sample("triggers_get/200-event"), "triggers.get")
    assert (trigger.event, trigger.scope, trigger.workspace_id) == ("session.stopped", "workspace", "ws-1")
    assert (trigger.endpoint, trigger.webhook_id, trigger.filter) == ("", "", {})
    assert (trigger.webhook_secret_present, trigger.webhook_secret_hash) == (False, "")


def test_odd_filters_are_kept_in_raw() -> None:
    """Of a filter the texts are read; `raw` has the rest."""
    trigger = wire.trigger_in(_json({"trigger": {"id": "t", "filter": {"a": "b", "c": 5}}}), "triggers.get")
    assert (trigger.filter, trigger.raw["filter"]) == ({"a": "b"}, {"a": "b", "c": 5})
    assert wire.trigger_in(_json({"trigger": {"id": "t", "filter": None}}), "triggers.get").filter == {}


# Runs


def test_run_as_the_server_sends_it() -> None:
    """A run's members are read; the start is kept as written too, to the last digit."""
    reply = sample("runs_get/200-every-member")
    run = wire.run_in(reply, "runs.get")
    assert (run.id, run.status, run.attempt) == ("run_0a1b2c3d4e5f60718293a4b5", "completed", 1)
    assert (run.job_id, run.trigger_id, run.session_id) == (
        "job-8899aabbccddeeff",
        "",
        "sess-1122334455667788",
    )
    assert (run.task_id, run.task_run_id, run.fire_id) == ("", "", "fire_0a1b2c3d4e5f60718293a4b5")
    assert run.scheduled_at == datetime(2026, 1, 5, 10, 5, tzinfo=UTC)
    assert run.started_at == datetime(2026, 1, 5, 10, 5, 0, 500000, tzinfo=UTC)
    assert run.started_at_text == "2026-01-05T10:05:00.5Z"
    assert run.ended_at == datetime(2026, 1, 5, 8, 5, 42, 123456, tzinfo=UTC)
    assert (run.error, run.delivery_error, run.delivery_error_at) == ("", "", None)
    assert run.raw == json.loads(reply.body)["run"]


def test_run_of_a_webhook() -> None:
    """A run of a trigger names it, and no job."""
    run = wire.run_in(sample("runs_get/200-webhook"), "runs.get")
    assert (run.trigger_id, run.job_id) == ("trg-0011223344556677", "")
    assert run.fire_id.startswith("webhook:a5293902")


def test_run_that_says_little() -> None:
    """Of a run the id and the status have to be there; the status may be a new word."""
    run = wire.run_in(
        _json({"run": {"id": "r", "status": "suspended", "started_at": "a while ago"}}), "runs.get"
    )
    assert (run.status, run.attempt, run.started_at) == ("suspended", 0, None)
    assert run.started_at_text == "a while ago"


# Lists and wrong shapes


def test_lists() -> None:
    """Lists are read in the server's order; null is how an empty one may be written."""
    assert [each.name for each in wire.jobs_in(sample("jobs_list/200-two"), "jobs.list")] == [
        "nightly-digest",
        "triage",
    ]
    triggers = wire.triggers_in(sample("triggers_list/200-two"), "triggers.list")
    assert [each.event for each in triggers] == ["session.stopped", "webhook"]
    runs = wire.runs_in(sample("runs_list/200-two"), "runs.list")
    assert [each.id for each in runs] == ["run-0a1b2c3d4e5f6071", "run-0000000000000001"]
    assert wire.jobs_in(sample("jobs_list/200-none"), "jobs.list") == []
    assert wire.runs_in(sample("runs_list/200-none"), "runs.list") == []
    assert wire.runs_in(_json({"runs": None}), "runs.list") == []


@pytest.mark.parametrize(
    ("read", "body", "path"),
    [
        (wire.job_in, [], "$"),
        (wire.job_in, {"jobs": []}, "$.job"),
        (wire.job_in, {"job": None}, "$.job"),
        (wire.job_in, {"job": {"name": "x"}}, "$.job.id"),
        (wire.job_in, {"job": {"id": ""}}, "$.job.id"),
        (wire.trigger_in, {"trigger": {"id": 5}}, "$.trigger.id"),
        (wire.run_in, {"run": {"id": "r"}}, "$.run.status"),
        (wire.run_in, {"run": {"id": "r", "status": None}}, "$.run.status"),
        (wire.run_in, {"run": "r"}, "$.run"),
        (wire.jobs_in, {"jobs": {}}, "$.jobs"),
        (wire.jobs_in, {}, "$.jobs"),
        (wire.jobs_in, None, "$"),
        (wire.runs_in, {"runs": [{"id": "r", "status": "failed"}, {"id": "s"}]}, "$.runs[1].status"),
        (wire.triggers_in, {"triggers": [None]}, "$.triggers[0]"),
    ],
)
def test_wrong_shapes_are_named(read: Any, body: Any, path: str) -> None:
    """An answer of the wrong shape raises DecodeError with vendor, call and path, without the body."""
    with pytest.raises(DecodeError, match=r"the answer to some\.call has the wrong shape") as caught:
        read(_json(body), "some.call")
    assert (caught.value.vendor, caught.value.call, caught.value.path) == ("agh", "some.call", path)


@pytest.mark.parametrize("body", [b"", b"<html>", b'{"job":'])
def test_answers_that_are_no_json(body: bytes) -> None:
    """An answer that is not JSON raises DecodeError."""
    with pytest.raises(DecodeError, match="is not JSON"):
        wire.job_in(Reply(200, {}, body), "jobs.get")


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers(-5, 5) | st.text(max_size=5),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_NAMES, inner, max_size=6),
        max_leaves=20,
    )
)
def test_any_json_is_read_or_refused(value: Any) -> None:
    """Whatever JSON comes, it is read, or refused with DecodeError."""
    for name, read in {"job": wire.job_in, "trigger": wire.trigger_in, "run": wire.run_in}.items():
        for body in (value, {name: value}):
            try:
                found: Any = read(_json(body), "c")
            except DecodeError:
                continue
            assert found.id == found.raw["id"]


def test_reprs_show_no_words_of_people() -> None:
    """What is read shows neither prompts nor errors nor the rest of the body."""
    job = wire.job_in(_json({"job": {"id": "j", "prompt": "p@example.com", "x": "x@example.com"}}), "c")
    run = wire.run_in(_json({"run": {"id": "r", "status": "failed", "error": "e@example.com"}}), "c")
    assert "example.com" not in repr([job, run])


# Conflicts


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("jobs_trigger/409-concurrency", refusals.CONCURRENCY),
        ("jobs_trigger/409-fire", refusals.FIRE),
        ("webhooks_deliver/409-replay", refusals.REPLAY),
        ("jobs_update/409-read-only", refusals.READ_ONLY),
        ("triggers_create/409-webhook-id", refusals.WEBHOOK_ID),
        ("jobs_create/409-name", refusals.NAME),
        ("jobs_trigger/409-other", ""),
    ],
)
def test_reasons_of_conflicts(name: str, reason: str) -> None:
    """Each reason is known by its words, whatever their case; other words have none."""
    assert _conflict(name).reason == reason


def test_facts_of_conflicts() -> None:
    """A conflict has the active runs, the limit and the time to retry, as far as its text has them."""
    busy = _conflict("jobs_trigger/409-concurrency")
    assert (busy.active, busy.limit, busy.retry_at) == (5, 5, None)
    often = _conflict("jobs_trigger/409-fire")
    assert (often.active, often.limit) == (12, 12)
    assert often.retry_at == datetime(2026, 1, 5, 11, 0, 0, 123456, tzinfo=UTC)
    other = _conflict("jobs_trigger/409-other")
    assert (other.active, other.limit, other.retry_at) == (None, None, None)


@pytest.mark.parametrize(
    "detail",
    [
        "",
        "fire limit",
        "fire limit: limit= retry_at=",
        "Fire Limit fires=many limit=-1 retry_at=soon",
        "x=1 limit",
    ],
)
def test_facts_that_cannot_be_read(detail: str) -> None:
    """Numbers and moments that are none leave their facts empty."""
    error = _refused(Reply(409, {}, json.dumps({"error": detail}).encode()))
    assert (error.active, error.limit, error.retry_at) == (None, None, None)
    assert error.reason == ("fire" if "fire" in detail.lower() else "")


@given(st.text(max_size=200))
def test_any_words_are_a_conflict(detail: str) -> None:
    """Reading any text of the server raises nothing."""
    error = _refused(Reply(409, {}, json.dumps({"error": detail}).encode()))
    assert isinstance(error.reason, str)


def test_other_errors_stay_as_they_are() -> None:
    """Only a conflict has reasons."""
    error = _refused(Reply(404, {}, b'{"error": "concurrency limit"}'))
    assert isinstance(error, NotFound)
    assert not hasattr(error, "reason")


def test_facts_of_a_conflict_anywhere() -> None:
    """A name of any length before the facts hides none of them, and the diagnostic may have what the text lacks."""
    text = f"job {'n' * 600} reached its concurrency limit: active=5 limit=5"
    error = _refused(Reply(409, {}, json.dumps({"error": text}).encode()))
    assert (error.reason, error.active, error.limit, len(error.detail)) == ("concurrency", 5, 5, 500)
    body = {
        "error": "Conflict",
        "diagnostic": {"code": "busy", "message": "fire limit reached, fires=3 limit=3"},
    }
    error = _refused(Reply(409, {}, json.dumps(body).encode()))
    assert (error.reason, error.active, error.limit) == ("fire", 3, 3)
    assert (error.code, error.detail, error.is_foreign) == ("busy", "Conflict", False)


@pytest.mark.parametrize(
    "body", [b"", b"404 page not found", b"[]", b'{"error": {}}', b'{"message": "fire limit"}']
)
def test_bodies_of_others(body: bytes) -> None:
    """A body without the text `error` is not the runtime's, and its 409 is no conflict."""
    error = _refused(Reply(409, {}, body))
    assert isinstance(error, ForeignReply)
    assert error.is_foreign


@pytest.mark.parametrize(
    ("body", "path"),
    [
        ([], "$"),
        ({}, "$.run"),
        ({"run": 5}, "$.run"),
        ({"run": {}}, "$.run.run"),
        ({"run": {"run": []}}, "$.run.run"),
        ({"run": {"run": {"id": "tr"}}}, "$.run.run.status"),
        ({"run": {"run": {"status": 1}}}, "$.run.run.status"),
    ],
)
def test_task_runs_of_the_wrong_shape(body: Any, path: str) -> None:
    """An answer that holds no task run with a status raises DecodeError with the path of what is missing."""
    with pytest.raises(DecodeError) as caught:
        wire.task_run_in(_json(body), "tr", "task-runs.get")
    assert (caught.value.call, caught.value.path) == ("task-runs.get", path)
