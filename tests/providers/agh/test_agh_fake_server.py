"""The fake AGH Runtime as a whole: access, default content, tasks and their operators, and its status."""

from typing import Any

import pytest

from aioagents.contract.fake import DelayedReply, RunPlan, Step
from aioagents.model import Purpose
from aioagents.providers.agh import fake
from aioagents.providers.agh.fake import AghRules, FakeAgh, make_fake
from tests.providers.agh.agh_fake_rig import (
    JOB,
    JOBS,
    RUNS,
    SECOND,
    TRIGGERS,
    Client,
    body_of,
    delayed,
    endpoint,
    error_of,
    final,
    scripted,
)

_LARGE = b" " * 4_194_305
_TASKS, _TASK_RUNS = "/api/tasks", "/api/task-runs"


# Who gets in


def test_all_seventeen_endpoints_and_some_more() -> None:
    """Each endpoint of the facts is there, under the name of its call."""
    routes = [f"{route.method} {route.path} {route.call}" for route in FakeAgh().routes]
    automation = [route for route in routes if "/api/automation/" in route or "/api/webhooks/" in route]
    assert len(automation) == len(set(routes) & set(automation)) == 17
    assert "POST /api/automation/jobs/{id}/trigger jobs.trigger" in automation
    assert "POST /api/webhooks/workspaces/{workspace_id}/{endpoint} webhooks.deliver" in automation
    assert "GET /api/task-runs/{id} task-runs.get" in routes
    assert "GET /api/status status" in routes


def test_what_makes_something_new_counts_as_a_start() -> None:
    """Calls that a client must send only once are starts, so that faults of starts apply to them."""
    starts = {route.call for route in FakeAgh().routes if route.purpose is Purpose.START}
    assert starts == {"jobs.create", "jobs.trigger", "triggers.create", "webhooks.deliver"}


@pytest.mark.parametrize(
    ("origin", "host", "status"),
    [
        ("", "", 200),
        ("http://127.0.0.1:2123", "127.0.0.1:2123", 200),
        ("HTTP://LOCALHOST:2123", "localhost:2123", 200),
        ("http://localhost:2123", "127.0.0.1:2123", 403),
        ("https://127.0.0.1:2123", "127.0.0.1:2123", 403),
        ("http://127.0.0.1:2123", "", 403),
        ("null", "127.0.0.1:2123", 403),
    ],
)
def test_origins(origin: str, host: str, status: int) -> None:
    """A request with another origin than the server's own is refused everywhere."""
    client = Client()
    for path in (JOBS, RUNS, "/api/status"):
        reply = client.reply("GET", path, origin=origin, host=host)
        assert reply.status == status
        if status == 403:
            assert error_of(reply)
    trigger = client.trigger()
    assert client.status("POST", endpoint(trigger), b"", origin=origin, host=host) == (
        400 if status == 200 else 403
    )


def test_exposed_daemons_let_nobody_in_but_deliveries() -> None:
    """Bound to more than loopback, all but deliveries are a 403."""
    client = Client(FakeAgh(rules=AghRules(is_exposed=True)))
    calls = [("GET", JOBS), ("POST", TRIGGERS), ("GET", RUNS), ("GET", "/api/status"), ("GET", f"{_TASKS}/x")]
    assert [client.status(*call) for call in calls] == [403] * 5
    trigger_id = client.fake.install_trigger(
        {**JOB, "event": "webhook", "endpoint_slug": "x", "webhook_secret_value": "k3y-for-docs-only"}
    )
    trigger = {"scope": "global", "endpoint_slug": "x", "webhook_id": fake_webhook_id(trigger_id)}
    assert isinstance(client.deliver(trigger), DelayedReply)


def fake_webhook_id(trigger_id: str) -> str:
    """Return the webhook id that a server derives."""
    known = Client()
    made = known.fake.install_trigger(
        {**JOB, "event": "webhook", "endpoint_slug": "x", "webhook_secret_value": "s"}, trigger_id=trigger_id
    )
    webhook_id: str = known.get(f"{TRIGGERS}/{made}")["trigger"]["webhook_id"]
    return webhook_id


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", JOBS),
        ("PATCH", f"{JOBS}/x"),
        ("POST", f"{JOBS}/x/trigger"),
        ("POST", f"{_TASK_RUNS}/x/claim"),
    ],
)
def test_bodies_have_a_ceiling(method: str, path: str) -> None:
    """More than 4 MiB is a 413, exactly that much is read."""
    client = Client()
    assert client.status(method, path, _LARGE) == 413
    assert client.status(method, path, _LARGE[1:]) in {400, 404}


def test_automation_may_be_off() -> None:
    """With automation off each of its endpoints is a masked 503; status and tasks answer."""
    client = Client(FakeAgh(rules=AghRules(is_enabled=False)))
    for route in client.fake.routes:
        path = route.path.replace("{", "").replace("}", "")
        reply = client.reply(route.method, path)
        if path.startswith(("/api/automation", "/api/webhooks")):
            assert (reply.status, error_of(reply)) == (503, "Service Unavailable")
        else:
            assert reply.status in {200, 404}
    automation = client.get("/api/status")["automation"]
    assert (automation["enabled"], automation["scheduler_running"]) == (False, False)
    assert "next_fire" not in automation


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/api/automation/nothing", 404),
        ("PUT", JOBS, 404),
        ("GET", f"{JOBS}/x/trigger", 404),
        ("DELETE", "/api/status", 404),
        ("POST", "/api/webhooks/global/a/b", 404),
        ("GET", f"{JOBS}/", 301),
        ("POST", f"{JOBS}/x/trigger/", 307),
        ("GET", f"{JOBS}//", 404),
    ],
)
def test_unknown_paths_are_answered_in_text(method: str, path: str, status: int) -> None:
    """An unknown path and a wrong method are a plain 404; an extra slash is redirected."""
    reply = Client().reply(method, path, now=1)
    assert (reply.status, reply.headers["content-type"]) == (status, "text/plain; charset=utf-8")
    assert reply.headers["date"] == "Mon, 05 Jan 2026 09:00:01 GMT"
    assert reply.headers.get("location") == (None if status == 404 else path[:-1])


@pytest.mark.parametrize("path", ["/api/v1/runs", "/v1/runs", "/api", "/", "/apis/automation/jobs"])
def test_unknown_paths_of_others(path: str) -> None:
    """Other paths than those below its own are left to other servers."""
    reply = Client().reply("GET", path)
    assert (reply.status, reply.headers["content-type"]) == (404, "application/json")


def test_all_replies_have_the_servers_date() -> None:
    """Replies are JSON in UTF-8 with the server's date, also refusals and delayed ones."""
    client = scripted(Step("running", 5), Step("failed"))
    replies = [
        client.reply("GET", JOBS, now=3.9),
        client.reply("GET", f"{JOBS}/x", now=3.9),
        client.reply("GET", JOBS, now=3.9, origin="x"),
        client.reply("GET", "/api/status", now=3.9),
    ]
    assert {reply.headers["date"] for reply in replies} == {"Mon, 05 Jan 2026 09:00:03 GMT"}
    delayed_reply = final(client.fire(client.job()["id"], now=4))
    assert delayed_reply.headers["date"] == "Mon, 05 Jan 2026 09:00:09 GMT"
    kinds = {reply.headers["content-type"] for reply in (*replies, delayed_reply)}
    assert kinds == {"application/json; charset=utf-8"}


def test_environment() -> None:
    """A client needs only the base URL."""
    fake = FakeAgh()
    assert fake.vendor == "agh"
    assert fake.environment("http://127.0.0.1:1") == {"AGH_BASE_URL": "http://127.0.0.1:1"}
    assert fake.revoke("Bearer x") is False


@pytest.mark.parametrize(("host", "port"), [("", 2123), ("127.0.0.1:8080", 8080), ("localhost", 2123)])
def test_status(host: str, port: int) -> None:
    """The status has version and port of the daemon."""
    body = body_of(Client().reply("GET", "/api/status", host=host))
    assert (body["daemon"]["http_port"], bool(body["daemon"]["version"])) == (port, True)
    assert body["automation"] == {
        "enabled": True,
        "jobs": {"total": 0, "enabled": 0},
        "triggers": {"total": 0, "enabled": 0},
        "scheduler_running": True,
    }


# Tasks


def _queued() -> tuple[Client, dict[str, Any]]:
    """Return a delegated run whose task run waits to be claimed."""
    client = scripted(Step("queued"))
    task = {"title": "Tea", "owner": {"kind": "pool", "ref": "p"}}
    job = client.job(task=task, scope="workspace", workspace_id="ws-1")
    run: dict[str, Any] = client.json("POST", f"{JOBS}/{job['id']}/trigger")["run"]
    return client, run


def test_task_run_with_its_task() -> None:
    """A task run has its task, its session once there is one, and a summary."""
    client, run = _queued()
    path = f"{_TASK_RUNS}/{run['task_run_id']}"
    body = client.get(path)["run"]
    assert body["task"] == {
        "id": run["task_id"],
        "title": "Tea",
        "status": "ready",
        "scope": "workspace",
        "latest_event_seq": 2,
        "owner": {"kind": "pool", "ref": "p"},
        "workspace_id": "ws-1",
    }
    assert (body["summary"], body.keys()) == ({"status": "queued"}, {"run", "task", "summary"})
    client.json("POST", f"{path}/claim")
    client.json("POST", f"{path}/start")
    body = client.get(path)["run"]
    assert body["session"] == {"id": body["run"]["session_id"]}
    assert body["task"]["status"] == "in_progress"


def test_task_with_its_runs() -> None:
    """A task has its runs, which are filtered and limited as lists are."""
    client, run = _queued()
    path = f"{_TASKS}/{run['task_id']}"
    task = client.get(path)["task"]
    assert task["task"]["description"] == "Sum up."
    assert [task[part]["status"] for part in ("task", "summary")] == ["ready", "ready"]
    assert task["runs"] == [client.task_run(run["task_run_id"])]
    client.json("POST", f"{_TASK_RUNS}/{run['task_run_id']}/cancel")
    second = client.json("POST", f"/api/runs/{run['task_run_id']}/retry")["run"]
    for query, count in (
        ("", 2),
        ("?limit=1", 1),
        ("?limit=-1", 2),
        ("?status=queued", 1),
        ("?status=failed", 0),
        ("?session_id=none", 0),
    ):
        assert len(client.get(f"{path}/runs{query}")["runs"]) == count
    assert client.get(f"{path}/runs?status=queued")["runs"] == [second]
    assert [client.status("GET", f"{path}/runs?{query}") for query in ("limit=x", "status=done")] == [
        400,
        400,
    ]
    missing = [f"{_TASKS}/x", f"{_TASKS}/x/runs", f"{_TASK_RUNS}/x"]
    assert [client.status("GET", each) for each in missing] == [404, 404, 404]
    assert client.status("POST", f"{_TASK_RUNS}/x/claim") == 404


@pytest.mark.parametrize(
    ("actions", "status"),
    [
        (["claim"], "claimed"),
        (["claim", "start"], "running"),
        (["claim", "start", "complete"], "completed"),
        (["claim", "start", "fail"], "failed"),
        (["cancel"], "canceled"),
        (["claim", "cancel"], "canceled"),
        (["claim", "start", "cancel"], "canceled"),
        (["start"], None),
        (["complete"], None),
        (["fail"], None),
        (["claim", "claim"], None),
        (["claim", "complete"], None),
        (["cancel", "cancel"], None),
        (["claim", "start", "complete", "fail"], None),
    ],
)
def test_acting_upon_task_runs(actions: list[str], status: str | None) -> None:
    """An operator changes a task run; a change that its status does not permit is a 409."""
    client, run = _queued()
    bodies: dict[str, Any] = {
        "complete": {"result": [1]},
        "fail": {"error": " no tea "},
        "cancel": {"reason": "x"},
    }
    path = f"{_TASK_RUNS}/{run['task_run_id']}"
    replies = [client.reply("POST", f"{path}/{action}", bodies.get(action)) for action in actions]
    if status is None:
        assert replies[-1].status == 409
        return
    body = body_of(replies[-1])["run"]
    assert body["status"] == status
    assert body == client.task_run(run["task_run_id"], now=1e6)
    assert ("ended_at" in body) is (status in {"completed", "failed", "canceled"})
    assert body.get("result") == ([1] if status == "completed" else None)
    assert body.get("error") == ("no tea" if status == "failed" else None)
    assert ("claimed_by" in body) is ("claim" in actions)
    ended = 0.0 if "ended_at" in body else None
    assert client.fake.ended_at(run["id"]) == client.fake.ended_at(run["task_run_id"]) == ended


@pytest.mark.parametrize(
    ("path", "body", "status"),
    [
        (f"{_TASK_RUNS}/{{}}/fail", {}, 400),
        (f"{_TASK_RUNS}/{{}}/fail", {"error": " "}, 400),
        (f"{_TASK_RUNS}/{{}}/fail", b"{", 400),
        (f"{_TASK_RUNS}/{{}}/cancel", [], 400),
        ("/api/runs/{}/fail", {}, 422),
        ("/api/runs/{}/fail", {"reason": 7}, 422),
        ("/api/runs/{}/fail", {"reason": "stuck"}, 200),
        ("/api/runs/{}/retry", {}, 409),
        ("/api/runs/x/fail", {"reason": "stuck"}, 404),
    ],
)
def test_actions_want_their_bodies(path: str, body: Any, status: int) -> None:
    """An action without its required text is refused."""
    client, run = _queued()
    reply = client.reply("POST", path.format(run["task_run_id"]), body)
    assert reply.status == status
    if status == 200:
        answer = body_of(reply)["run"]
        assert (answer["status"], answer["error"], answer["failure_kind"]) == (
            "failed",
            "stuck",
            "operator_forced",
        )


def test_a_workers_run_is_its_own() -> None:
    """A run that a worker has claimed cannot be completed or failed by others, but it can be canceled."""
    client = scripted(Step("running", 9), Step("completed"))
    job = client.job(task={})
    run = client.json("POST", f"{JOBS}/{job['id']}/trigger")["run"]["task_run_id"]
    path = f"{_TASK_RUNS}/{run}"
    assert client.status("POST", f"{path}/complete", {}) == 403
    assert client.status("POST", f"{path}/fail", {"error": "x"}) == 403
    assert client.status("POST", f"{path}/start") == 403
    assert client.json("POST", f"{path}/cancel")["run"]["status"] == "canceled"
    assert client.task_run(run, now=99)["status"] == "canceled"


def test_what_needs_attention_goes_on_in_a_successor() -> None:
    """A retry fails the run that needed attention, and queues one that refers to it and waits to be claimed."""
    client = scripted(Step("queued", 1), Step("needs_attention"))
    job = client.job(task={})
    run = client.json("POST", f"{JOBS}/{job['id']}/trigger")["run"]
    assert client.get(f"{_TASKS}/{run['task_id']}", now=1)["task"]["task"]["status"] == "blocked"
    assert client.fake.ended_at(run["id"]) is None
    assert client.status("POST", f"{_TASK_RUNS}/{run['task_run_id']}/cancel", now=1) == 409
    after = client.json("POST", f"/api/runs/{run['task_run_id']}/retry", now=2)["run"]
    assert (after["previous_run_id"], after["attempt"], after["status"]) == (run["task_run_id"], 2, "queued")
    assert "idempotency_key" not in after
    assert client.task_run(run["task_run_id"], now=2)["status"] == "failed"
    assert client.fake.ended_at(run["id"]) == 2.0
    assert client.run(run["id"], now=99)["status"] == "delegated"


def test_forced_changes_are_limited() -> None:
    """Ten forced changes of one task in a minute are a 429 from then on, until the minute is over."""
    client, run = _queued()
    client.json("POST", f"{_TASK_RUNS}/{run['task_run_id']}/cancel")
    path = f"/api/runs/{run['task_run_id']}/retry"
    statuses = [client.status("POST", path, now=now) for now in range(11)]
    assert statuses == [200] * 10 + [429]
    assert client.status("POST", path, now=60) == 200


# What is in it at first


def test_default_content() -> None:
    """The default fake server has jobs of each sort and a trigger, under known ids."""
    client = Client(make_fake(RunPlan(median=5, outcomes={"completed": 1.0})))
    jobs = {job["id"]: job for job in client.get(JOBS)["jobs"]}
    assert jobs.keys() == {fake.DIGEST_JOB, fake.REVIEW_JOB, fake.IMPORT_JOB}
    assert jobs[fake.IMPORT_JOB]["retry"]["strategy"] == "backoff"
    assert delayed(client.fire(fake.DIGEST_JOB)).until > 0
    assert client.json("POST", f"{JOBS}/{fake.REVIEW_JOB}/trigger")["run"]["status"] == "delegated"
    (trigger,) = client.get(TRIGGERS)["triggers"]
    assert trigger["id"] == fake.DEPLOY_TRIGGER
    assert endpoint(trigger) == f"/api/webhooks/global/{fake.DEPLOY_ENDPOINT}"
    at = 1_767_603_600
    headers = {"x-agh-webhook-signature": fake.sign(fake.DEPLOY_SECRET, at * SECOND, b"{}")}
    assert delayed(client.deliver(trigger, headers=headers)).on_disconnect is not None
    assert client.get(RUNS + "?until=2026-01-05T08:00:00Z")["runs"] == []


def test_default_concurrency() -> None:
    """Hundreds of runs of one job go at once."""
    client = Client(make_fake(RunPlan()))
    assert {isinstance(client.fire(fake.DIGEST_JOB), DelayedReply) for _ in range(300)} == {True}


def test_default_content_has_scripted_jobs() -> None:
    """Each other name that is scripted has a job, with a task where the words are a task run's."""
    scripts = {
        "plain": [Step("running", 1), Step("completed")],
        "task": [Step("queued", 1), Step("completed")],
        "nightly-digest": [Step("running", 3), Step("completed")],
        fake.REVIEW_JOB: [Step("running", 4), Step("completed")],
        "deploy-check": [Step("running", 2), Step("completed")],
    }
    client = Client(make_fake(RunPlan(scripts=scripts)))
    assert len(client.get(JOBS)["jobs"]) == 5
    assert delayed(client.fire(fake.job_id("plain"))).until == 1.0
    assert delayed(client.fire(fake.DIGEST_JOB)).until == 3.0
    for job, ends_at in ((fake.job_id("task"), 1.0), (fake.REVIEW_JOB, 4.0)):
        run = client.json("POST", f"{JOBS}/{job}/trigger")["run"]
        assert client.fake.ended_at(run["id"]) == ends_at


def test_default_history() -> None:
    """As many old runs of the digest as the plan wants, one a minute, which ended an hour ago and before."""
    plan = RunPlan(seed=3, history=50)
    client = Client(make_fake(plan))
    runs = client.runs(fake.DIGEST_JOB)
    assert len(runs) == 50
    assert (runs[0]["started_at"], runs[-1]["started_at"]) == ("2026-01-05T07:59:00Z", "2026-01-05T07:10:00Z")
    assert {run["status"] for run in runs} == {"completed", "failed", "canceled"}
    assert all(("error" in run) is (run["status"] == "failed") for run in runs)
    assert max(run["ended_at"] for run in runs) <= "2026-01-05T08:00:00Z"
    assert Client(make_fake(plan)).runs(fake.DIGEST_JOB) == runs
