"""Jobs and triggers at the fake AGH Runtime: created, listed, changed, deleted, and refused."""

from typing import Any

import pytest

from aioagents.providers.agh.fake import AghRules, FakeAgh
from tests.providers.agh.agh_fake_rig import (
    BACKOFF,
    HOOK,
    JOB,
    JOBS,
    SECRET,
    TRIGGER,
    TRIGGERS,
    Client,
    body_of,
    error_of,
)

_CRON = {"mode": "cron", "expr": "15 2 * * *"}
_DROP = object()


def _with(body: Any, **members: Any) -> dict[str, Any]:
    return {name: value for name, value in {**body, **members}.items() if value is not _DROP}


_JOBS: list[tuple[dict[str, Any], int]] = [
    ({}, 201),
    ({"scope": _DROP}, 400),
    ({"scope": "planet"}, 400),
    ({"scope": 7}, 400),
    ({"scope": "workspace"}, 400),
    ({"scope": "workspace", "workspace_id": "ws-1"}, 201),
    ({"workspace_id": "ws-1"}, 400),
    ({"workspace_id": "  "}, 201),
    ({"name": _DROP}, 400),
    ({"name": "  "}, 400),
    ({"name": None}, 400),
    ({"name": 7}, 400),
    ({"agent_name": _DROP}, 400),
    ({"prompt": " "}, 400),
    ({"agent_name": _DROP, "prompt": _DROP, "task": {}}, 201),
    ({"prompt": "{{ .Nonsense"}, 201),
    ({"enabled": False}, 201),
    ({"enabled": "yes"}, 400),
    ({"unknown": {"a": 1}}, 201),
    ({"schedule": _DROP}, 400),
    ({"schedule": {}}, 400),
    ({"schedule": "daily"}, 400),
    ({"schedule": {"mode": "weekly"}}, 400),
    ({"schedule": _CRON}, 201),
    ({"schedule": {**_CRON, "interval": " ", "time": ""}}, 201),
    ({"schedule": {**_CRON, "interval": "1h"}}, 400),
    ({"schedule": {"mode": "cron"}}, 400),
    ({"schedule": {"mode": "cron", "expr": "@daily"}}, 400),
    ({"schedule": {"mode": "cron", "expr": "0 15 2 * * *"}}, 400),
    ({"schedule": {"mode": "every", "interval": "1h30m"}}, 201),
    ({"schedule": {"mode": "every", "interval": "0s"}}, 400),
    ({"schedule": {"mode": "every", "interval": "P1D"}}, 400),
    ({"schedule": {"mode": "at", "time": "2020-01-01T00:00:00+02:00"}}, 201),
    ({"schedule": {"mode": "at", "time": "tomorrow"}}, 400),
    ({"schedule": {"mode": "at", "time": "2027-01-01T00:00:00Z", "expr": "* * * * *"}}, 400),
    ({"retry": BACKOFF}, 201),
    ({"retry": {"strategy": "none", "max_retries": 0, "base_delay": " "}}, 201),
    ({"retry": {}}, 400),
    ({"retry": {"strategy": "linear"}}, 400),
    ({"retry": {"strategy": "none", "max_retries": 1}}, 400),
    ({"retry": {"strategy": "none", "base_delay": "1s"}}, 400),
    ({"retry": {"strategy": "backoff", "base_delay": "1s"}}, 400),
    ({"retry": {"strategy": "backoff", "max_retries": 1}}, 400),
    ({"retry": {"strategy": "backoff", "max_retries": 1, "base_delay": "-1s"}}, 400),
    ({"retry": {"strategy": "backoff", "max_retries": 1.0, "base_delay": "1s"}}, 400),
    ({"retry": {"strategy": "backoff", "max_retries": 2**63, "base_delay": "1s"}}, 400),
    ({"retry": {"strategy": "backoff", "max_retries": True, "base_delay": "1s"}}, 400),
    ({"fire_limit": {"max": 4, "window": "30m"}}, 201),
    ({"fire_limit": {}}, 400),
    ({"fire_limit": {"max": 4}}, 400),
    ({"fire_limit": {"max": 0, "window": "1h"}}, 400),
    ({"fire_limit": {"max": 4, "window": "0"}}, 400),
    ({"task": {"title": "t", "description": "d", "network_channel": "a-b_9"}}, 201),
    ({"task": {"network_channel": "Upper"}}, 400),
    ({"task": {"network_channel": "a" * 65}}, 400),
    ({"task": {"owner": {"kind": "pool", "ref": "p-1"}}}, 201),
    ({"task": {"owner": {"kind": "cat", "ref": "c-1"}}}, 400),
    ({"task": {"owner": {"kind": "human", "ref": " "}}}, 400),
    ({"task": {"owner": {"kind": "human"}}}, 400),
    ({"task": {}, "retry": BACKOFF}, 400),
]


@pytest.mark.parametrize(("members", "status"), _JOBS)
def test_creating_jobs(members: dict[str, Any], status: int) -> None:
    """A job is checked as its facts say; a refused one does not exist, and the error has the reason."""
    client = Client()
    reply = client.reply("POST", JOBS, _with(JOB, **members))
    assert reply.status == status, reply.body
    jobs = client.get(JOBS)["jobs"]
    if status == 201:
        assert jobs == [body_of(reply)["job"]]
    else:
        assert jobs == []
        assert error_of(reply)
        assert client.fake.statistics()["refused_400"] == 1


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"null", b'"job"', b"\xff"])
@pytest.mark.parametrize("path", [JOBS, TRIGGERS])
def test_creating_wants_an_object(path: str, body: bytes) -> None:
    """A body that is no JSON object is a 400."""
    assert Client().status("POST", path, body) == 400


def test_job_as_json() -> None:
    """A new job has its defaults, the scheduler's state, trimmed texts, and nothing that is empty."""
    client = Client()
    sent = {**JOB, "name": "  digest ", "prompt": " Sum up.\n", "schedule": _CRON, "workspace_id": ""}
    job = client.json("POST", JOBS, sent, now=0.125)["job"]
    assert job["id"].startswith("job-")
    assert len(job["id"]) == 20
    assert job == {
        "id": job["id"],
        "scope": "global",
        "name": "digest",
        "agent_name": "writer",
        "prompt": "Sum up.",
        "schedule": _CRON,
        "enabled": True,
        "retry": {"strategy": "none", "max_retries": 0, "base_delay": ""},
        "fire_limit": {"max": 12, "window": "1h"},
        "source": "dynamic",
        "created_at": "2026-01-05T09:00:00.125Z",
        "updated_at": "2026-01-05T09:00:00.125Z",
        "next_run": "2026-01-06T02:15:00Z",
        "scheduler": {
            "job_id": job["id"],
            "registered": True,
            "next_run_at": "2026-01-06T02:15:00Z",
            "catch_up_policy": "skip_missed",
            "updated_at": "2026-01-05T09:00:00.125Z",
        },
    }
    assert client.get(f"{JOBS}/{job['id']}") == {"job": job}
    assert client.get(f"{JOBS}/%20{job['id']}%20") == {"job": job}


def test_job_with_all_it_can_have() -> None:
    """Optional members are present when they were set, nested ones without empty members."""
    task = {"title": "T", "description": "", "owner": {"kind": "human", "ref": "ann"}}
    sent = {"scope": "workspace", "workspace_id": " ws-1 ", "name": "n", "schedule": _CRON, "task": task}
    job = Client().json("POST", JOBS, {**sent, "enabled": False})["job"]
    assert (job["workspace_id"], job["agent_name"], job["prompt"], job["enabled"]) == ("ws-1", "", "", False)
    assert job["task"] == {"title": "T", "owner": {"kind": "human", "ref": "ann"}}
    assert "next_run" not in job
    assert "scheduler" not in job
    assert Client().job(task={})["task"] == {}


_TRIGGERS: list[tuple[dict[str, Any], int]] = [
    ({}, 201),
    ({"scope": _DROP}, 400),
    ({"scope": "workspace", "workspace_id": "ws-1"}, 201),
    ({"name": ""}, 400),
    ({"agent_name": _DROP}, 400),
    ({"prompt": _DROP}, 400),
    ({"event": _DROP}, 400),
    ({"event": " "}, 400),
    ({"retry": BACKOFF}, 201),
    ({"retry": {"strategy": "backoff"}}, 400),
    ({"fire_limit": {"max": -1, "window": "1h"}}, 400),
    ({"filter": {"kind": "a", "scope": "b", "workspace_id": "c", "source": "d", "data.a.b": "e"}}, 201),
    ({"filter": {" data.a ": " x "}}, 201),
    ({"filter": {"data": "x"}}, 400),
    ({"filter": {"data.": "x"}}, 400),
    ({"filter": {"data.a..b": "x"}}, 400),
    ({"filter": {"event": "x"}}, 400),
    ({"filter": {"": "x"}}, 400),
    ({"filter": {"kind": " "}}, 400),
    ({"filter": {"kind": None}}, 400),
    ({"filter": {"kind": 7}}, 400),
    ({"filter": []}, 400),
    ({"prompt": '{{ index .Data "branch" }} {{ .Source }}'}, 201),
    ({"prompt": "{{ .Branch }}"}, 400),
    ({"prompt": "{{ .Kind"}, 400),
    ({"endpoint_slug": "deploy"}, 400),
    ({"webhook_id": "wbh_1"}, 400),
    ({"webhook_secret_value": "s"}, 400),
    ({"webhook_secret_value": ""}, 201),
    ({"event": "webhook"}, 400),
    ({"event": "webhook", "endpoint_slug": "deploy"}, 400),
    ({"event": "webhook", "webhook_secret_value": "s"}, 400),
    ({"event": "webhook", "endpoint_slug": "deploy", "webhook_secret_value": "s"}, 201),
    ({"event": "webhook", "endpoint_slug": "deploy", "webhook_secret_value": " "}, 400),
    ({"event": "webhook", "endpoint_slug": "deploy", "webhook_secret_value": ""}, 400),
    ({"event": "webhook", "endpoint_slug": "deploy", "webhook_secret_value": 7}, 400),
    ({"event": "webhook", "webhook_id": "wbh_own", "webhook_secret_value": "s"}, 201),
    ({"event": "webhook", "webhook_id": "own", "webhook_secret_value": "s"}, 400),
]


@pytest.mark.parametrize(("members", "status"), _TRIGGERS)
def test_creating_triggers(members: dict[str, Any], status: int) -> None:
    """A trigger is checked as its facts say."""
    client = Client()
    reply = client.reply("POST", TRIGGERS, _with(TRIGGER, **members))
    assert reply.status == status, reply.body
    found = client.get(TRIGGERS)["triggers"]
    assert found == ([body_of(reply)["trigger"]] if status == 201 else [])
    if status != 201:
        assert error_of(reply)


def test_trigger_as_json() -> None:
    """A webhook trigger has ids derived from its own; of its secret it says only that there is one."""
    fake = FakeAgh()
    made = fake.install_trigger(
        {**HOOK, "name": "deploy-review", "filter": {"data.action": "deploy"}},
        trigger_id="trg-0011223344556677",
    )
    client = Client(fake)
    reply = client.reply("GET", f"{TRIGGERS}/{made}")
    assert body_of(reply)["trigger"] == {
        "id": "trg-0011223344556677",
        "scope": "global",
        "name": "deploy-review",
        "agent_name": "reviewer",
        "prompt": "Check it.",
        "event": "webhook",
        "filter": {"data.action": "deploy"},
        "enabled": True,
        "retry": {"strategy": "none", "max_retries": 0, "base_delay": ""},
        "fire_limit": {"max": 12, "window": "1h"},
        "source": "dynamic",
        "webhook_id": "wbh_fc2d53399f18b9a4",
        "endpoint_slug": "deploy",
        "webhook_secret_present": True,
        "webhook_secret_hash": "sha256:d27a0f3818eeb64380392922da878e281c05739c2139eca251e1deede635c892",
        "created_at": "2026-01-05T09:00:00Z",
        "updated_at": "2026-01-05T09:00:00Z",
    }
    assert SECRET.encode() not in reply.body
    assert SECRET not in repr(fake.__dict__)


def test_trigger_without_webhook_has_no_members_of_one() -> None:
    """Another event's trigger has no webhook members but the one that is always there."""
    trigger = Client().json("POST", TRIGGERS, TRIGGER)["trigger"]
    assert {name for name in trigger if "webhook" in name or "endpoint" in name} == {"webhook_secret_present"}
    assert trigger["webhook_secret_present"] is False
    assert "filter" not in trigger


def test_lists_are_sorted_and_cut() -> None:
    """Definitions are sorted by name, then by id; limits of 0 and less mean no limit."""
    client = Client()
    made = [client.job(name=name) for name in ("b", "a", "b", "c")]
    wanted = [job["id"] for job in sorted(made, key=lambda job: (job["name"], job["id"]))]
    for query, count in (("", 4), ("?limit=0", 4), ("?limit=-3", 4), ("?limit=2", 2), ("?limit=%2B9", 4)):
        found = [job["id"] for job in client.get(f"{JOBS}{query}")["jobs"]]
        assert found == wanted[:count]
    for path in (JOBS, TRIGGERS):
        assert client.status("GET", f"{path}?limit=x") == 400
        assert client.status("GET", f"{path}?limit=1.0") == 400


@pytest.mark.parametrize(
    ("query", "names"),
    [
        ("scope=global", "dynamic config package"),
        ("scope=workspace", "local"),
        ("workspace_id=ws-1", "local"),
        ("workspace_id=%20ws-1%20&scope=", "local"),
        ("workspace_id=ws-2", ""),
        ("source=config", "config"),
        ("source=package&scope=global", "package"),
        ("nonsense=1", "dynamic config package local"),
        ("scope=planet", None),
        ("source=file", None),
    ],
)
def test_lists_are_filtered(query: str, names: str | None) -> None:
    """Scope, workspace and source filter; unknown values are a 400, unknown parameters are ignored."""
    fake = FakeAgh()
    for body, install in ((JOB, fake.install_job), (TRIGGER, fake.install_trigger)):
        for source in ("dynamic", "config", "package"):
            install({**body, "name": source}, source=source)
        install({**body, "name": "local", "scope": "workspace", "workspace_id": "ws-1"})
    client = Client(fake)
    for path, member in ((JOBS, "jobs"), (TRIGGERS, "triggers")):
        reply = client.reply("GET", f"{path}?{query}")
        if names is None:
            assert reply.status == 400
        else:
            assert {each["name"] for each in body_of(reply)[member]} == set(names.split())


def test_triggers_are_filtered_by_event() -> None:
    """The event is compared exactly; jobs have no such filter."""
    client = Client()
    client.trigger()
    client.json("POST", TRIGGERS, TRIGGER)
    client.job()
    assert len(client.get(f"{TRIGGERS}?event=webhook")["triggers"]) == 1
    assert len(client.get(f"{TRIGGERS}?event=Webhook")["triggers"]) == 0
    assert len(client.get(f"{JOBS}?event=webhook")["jobs"]) == 1


_JOB_CHANGES: list[tuple[dict[str, Any], int]] = [
    ({}, 400),
    ({"name": None, "task": None}, 400),
    ({"scope": "workspace"}, 400),
    ({"unknown": 1}, 400),
    ({"name": " other "}, 200),
    ({"name": "  "}, 400),
    ({"name": 7}, 400),
    ({"name": "other", "scope": "workspace", "prompt": None}, 200),
    ({"workspace_id": "ws-1"}, 400),
    ({"schedule": {"mode": "every", "interval": "1h"}}, 200),
    ({"schedule": {"interval": "1h"}}, 400),
    ({"retry": {"max_retries": 3}}, 400),
    ({"retry": BACKOFF}, 200),
    ({"fire_limit": {"max": 4}}, 400),
    ({"fire_limit": {"max": 4, "window": "1m"}}, 200),
    ({"task": {"title": "t"}}, 200),
    ({"task": {"title": "t"}, "retry": BACKOFF}, 400),
    ({"enabled": False}, 200),
]


@pytest.mark.parametrize(("changes", "status"), _JOB_CHANGES)
def test_changing_jobs(changes: dict[str, Any], status: int) -> None:
    """Members replace the old ones whole; null changes nothing; the result is checked as a whole."""
    client = Client()
    job = client.job()
    reply = client.reply("PATCH", f"{JOBS}/{job['id']}", changes, now=5)
    assert reply.status == status, reply.body
    now = client.get(f"{JOBS}/{job['id']}", now=5)["job"]
    if status != 200:
        assert now == job
        return
    assert now == body_of(reply)["job"]
    assert (now["created_at"], now["updated_at"]) == (job["created_at"], "2026-01-05T09:00:05Z")
    for name, value in changes.items():
        if value is not None and name != "scope":
            assert now[name] == (value.strip() if isinstance(value, str) else value)
    assert now["scope"] == "global"
    unchanged = job.keys() - changes.keys() - {"updated_at", "next_run", "scheduler"}
    assert {name: now[name] for name in unchanged} == {name: job[name] for name in unchanged}


_EVENT = {"event": "session.stopped"}
_TRIGGER_CHANGES: list[tuple[dict[str, Any], int]] = [
    ({}, 400),
    ({"scope": "workspace"}, 400),
    ({"filter": None}, 400),
    ({"name": 7}, 400),
    ({"name": "other"}, 200),
    ({"name": " "}, 500),
    ({"filter": {}}, 200),
    ({"filter": {"data.b": "2"}}, 200),
    ({"filter": {"nothing": "2"}}, 500),
    ({"filter": {"data.b": 2}}, 400),
    ({"prompt": "{{ .Nonsense }}"}, 500),
    ({"retry": {"strategy": "often"}}, 500),
    ({"retry": BACKOFF}, 200),
    ({"fire_limit": {"max": 0, "window": "1h"}}, 500),
    ({"workspace_id": "ws-1"}, 500),
    ({"webhook_secret_value": "new"}, 200),
    ({"webhook_secret_value": " "}, 400),
    ({"webhook_secret_value": ""}, 400),
    ({"webhook_id": "own"}, 500),
    ({"webhook_id": "wbh_own"}, 200),
    ({"endpoint_slug": "other"}, 200),
    ({"endpoint_slug": ""}, 200),
    (_EVENT, 200),
    ({**_EVENT, "endpoint_slug": "deploy"}, 500),
    ({**_EVENT, "webhook_id": "wbh_1"}, 500),
    ({**_EVENT, "webhook_secret_value": "s"}, 500),
    ({"enabled": False}, 200),
]


@pytest.mark.parametrize(("changes", "status"), _TRIGGER_CHANGES)
def test_changing_triggers(changes: dict[str, Any], status: int) -> None:
    """As with jobs, but an inconsistent result is a masked 500."""
    client = Client()
    trigger = client.trigger(filter={"data.a": "1"})
    reply = client.reply("PATCH", f"{TRIGGERS}/{trigger['id']}", changes, now=5)
    assert reply.status == status, reply.body
    now = client.get(f"{TRIGGERS}/{trigger['id']}", now=5)["trigger"]
    if status != 200:
        assert now == trigger
        assert (error_of(reply) == "Internal Server Error") is (status == 500)
        return
    assert now == body_of(reply)["trigger"]
    assert now["updated_at"] == "2026-01-05T09:00:05Z"
    shown = {name: value for name, value in changes.items() if name != "webhook_secret_value" and value != {}}
    assert {name: now.get(name, "") for name in shown} == shown


def test_changing_the_event_changes_the_rest() -> None:
    """Another event drops webhook id, slug and secret; back again both have to be sent."""
    client = Client()
    trigger = client.trigger(filter={"data.a": "1"})
    path = f"{TRIGGERS}/{trigger['id']}"
    other = client.json("PATCH", path, {**_EVENT, "filter": {}})["trigger"]
    assert not {"webhook_id", "endpoint_slug", "webhook_secret_hash", "filter"} & other.keys()
    assert other["webhook_secret_present"] is False
    assert client.status("PATCH", path, {"event": "webhook", "endpoint_slug": "x"}) == 400
    assert client.status("PATCH", path, {"event": "webhook", "webhook_secret_value": "s"}) == 500
    both = {"event": "webhook", "endpoint_slug": "x", "webhook_secret_value": "s"}
    again = client.json("PATCH", path, both)["trigger"]
    assert (again["webhook_id"], again["endpoint_slug"]) == (trigger["webhook_id"], "x")
    named = client.json("PATCH", path, {"webhook_id": "wbh_own"})["trigger"]
    assert named["webhook_id"] == "wbh_own"
    unnamed = client.json("PATCH", path, {"webhook_id": ""})["trigger"]
    assert unnamed["webhook_id"] == trigger["webhook_id"]


@pytest.mark.parametrize("source", ["config", "package"])
@pytest.mark.parametrize(("base", "body"), [(JOBS, JOB), (TRIGGERS, TRIGGER)])
def test_definitions_of_others(source: str, base: str, body: Any) -> None:
    """A config-backed definition can be enabled and disabled alone, one of a package is read-only."""
    fake = FakeAgh()
    install = fake.install_job if base == JOBS else fake.install_trigger
    path = f"{base}/{install(body, source=source)}"
    client = Client(fake)
    changes: list[dict[str, Any]] = [{"enabled": False}, {"enabled": True, "name": "x"}, {"name": "x"}, {}]
    statuses = [client.status("PATCH", path, each) for each in changes]
    assert statuses == ([200, 400, 400, 400] if source == "config" else [409, 409, 409, 400])
    deleted = client.reply("DELETE", path)
    assert deleted.status == (400 if source == "config" else 409)
    assert ("read-only" in error_of(deleted)) is (source == "package")
    answer = client.get(path)["job" if base == JOBS else "trigger"]
    assert (answer["source"], answer["enabled"]) == (source, source == "package")


def test_webhook_ids_are_unique_among_enabled_triggers() -> None:
    """A webhook id that an enabled trigger has is refused on creation, on change, and when enabling."""
    client = Client()
    first = client.trigger(webhook_id="wbh_1")
    taken = client.reply("POST", TRIGGERS, {**HOOK, "webhook_id": "wbh_1"})
    assert taken.status == 409
    assert "webhook id already exists" in error_of(taken)
    second = client.trigger(webhook_id="wbh_1", enabled=False)
    path = f"{TRIGGERS}/{second['id']}"
    assert client.status("PATCH", path, {"enabled": True}) == 409
    assert client.json("PATCH", f"{TRIGGERS}/{first['id']}", {"enabled": False})["trigger"]
    assert client.json("PATCH", path, {"enabled": True})["trigger"]["enabled"] is True
    assert client.status("PATCH", f"{TRIGGERS}/{first['id']}", {"webhook_id": "wbh_1"}) == 200


def test_names_need_not_be_unique() -> None:
    """By default names may repeat; with `unique_names` they are unique within a scope."""
    assert [Client().status("POST", JOBS, JOB) for _ in range(2)] == [201, 201]
    strict = Client(FakeAgh(rules=AghRules(unique_names=True)))
    local = {"scope": "workspace", "workspace_id": "ws-1"}
    for base, body in ((JOBS, JOB), (TRIGGERS, TRIGGER)):
        assert [strict.status("POST", base, {**body, **more}) for more in ({}, local)] == [201, 201]
        taken = strict.reply("POST", base, body)
        assert taken.status == 409
        assert "name already exists" in error_of(taken)
        member = "jobs" if base == JOBS else "triggers"
        other = strict.get(f"{base}?scope=global")[member][0]["id"]
        assert strict.status("PATCH", f"{base}/{other}", {"enabled": False}) == 200


@pytest.mark.parametrize("base", [JOBS, TRIGGERS])
def test_deleting(base: str) -> None:
    """A deleted definition is gone, with an empty 204; a second time it is not found."""
    client = Client()
    made = client.job() if base == JOBS else client.trigger()
    path = f"{base}/{made['id']}"
    reply = client.reply("DELETE", path)
    assert (reply.status, reply.body) == (204, b"")
    assert "content-type" not in reply.headers
    assert reply.headers["date"] == "Mon, 05 Jan 2026 09:00:00 GMT"
    assert [client.status(method, path) for method in ("GET", "DELETE")] == [404, 404]
    assert client.status("PATCH", path, {"name": "x"}) == 404
    assert client.status("GET", f"{path}/runs?limit=x") == 404
    assert client.status("POST", f"{JOBS}/{made['id']}/trigger") == 404
