"""Runs at the fake AGH Runtime: blocking triggers, retries, limits, the history, and delegated runs."""

import math
import re
from datetime import UTC, datetime, timedelta
from urllib.parse import quote

import pytest

from aioagents.contract.fake import RunPlan, Step
from aioagents.providers.agh.fake import AghRules, FakeAgh
from tests.providers.agh.agh_fake_rig import (
    BACKOFF,
    JOB,
    JOBS,
    MANY,
    RUNS,
    Client,
    body_of,
    delayed,
    error_of,
    final,
    scripted,
    settled,
)

_RUN = [Step("running", 5), Step("completed")]


# The call that blocks


def test_trigger_blocks_until_the_run_has_ended() -> None:
    """The run can be read at once; the reply comes with its end."""
    client = scripted(*_RUN)
    job = client.job()
    reply = delayed(client.fire(job["id"], now=1.0))
    assert (reply.until, reply.on_disconnect) == (6.0, None)
    (run,) = client.runs(job["id"], now=1.0)
    assert re.fullmatch(r"run-[0-9a-f]{16}", run["id"])
    assert re.fullmatch(r"sess-[0-9a-f]{16}", run["session_id"])
    assert run == {
        "id": run["id"],
        "job_id": job["id"],
        "session_id": run["session_id"],
        "status": "running",
        "attempt": 1,
        "started_at": "2026-01-05T09:00:01Z",
    }
    assert delayed(reply.reply(5.0)).until == 6.0
    answered = settled(reply, 6.0)
    assert answered.status == 200
    ended = {**run, "status": "completed", "ended_at": "2026-01-05T09:00:06Z"}
    assert body_of(answered) == {"run": ended}
    assert client.run(run["id"], now=6.0) == ended
    assert client.fake.ended_at(run["id"]) == 6.0


def test_trigger_of_a_run_that_fails() -> None:
    """A failed run is a masked 500 without the run, which the history has."""
    client = scripted(Step("running", 5), Step("failed"))
    job = client.job()
    reply = final(client.fire(job["id"]))
    assert (reply.status, error_of(reply)) == (500, "Internal Server Error")
    (run,) = client.runs(job["id"], now=5.0)
    assert (run["status"], run["ended_at"]) == ("failed", "2026-01-05T09:00:05Z")
    assert run["error"]
    assert client.counted({"starts": 1, "refused_500": 1})


def test_trigger_of_a_run_that_a_hook_vetoes() -> None:
    """A trigger call whose run is canceled is answered with 200; a run that did not begin has no session."""
    client = scripted(Step("scheduled", 2), Step("canceled"))
    run = body_of(final(client.fire(client.job()["id"])))["run"]
    assert (run["status"], run["ended_at"]) == ("canceled", "2026-01-05T09:00:02Z")
    assert not {"session_id", "error"} & run.keys()


def test_trigger_of_a_run_that_ends_at_once() -> None:
    """A run that ends at once is answered at once."""
    client = scripted(Step("completed"))
    assert client.json("POST", f"{JOBS}/{client.job()['id']}/trigger")["run"]["status"] == "completed"


def test_trigger_of_a_run_that_never_ends() -> None:
    """The reply of a run without an end is delayed for ever; unknown words are shown unchanged."""
    client = scripted(Step("running", 5), Step("brand-new-word"))
    job = client.job()
    reply = delayed(client.fire(job["id"]))
    assert reply.until == math.inf
    assert delayed(reply.reply(1e6)).until == math.inf
    (run,) = client.runs(job["id"], now=1e6)
    assert run["status"] == "brand-new-word"
    assert client.fake.ended_at(run["id"]) is None


def test_trigger_of_a_disabled_job_with_a_body() -> None:
    """Disabled jobs are triggered as others are, and a body is ignored."""
    client = scripted(*_RUN)
    job = client.job(enabled=False)
    reply = client.send("POST", f"{JOBS}/{job['id']}/trigger", b"{nonsense")
    assert final(reply).status == 200


def test_a_job_that_is_deleted_keeps_its_history() -> None:
    """A manual run goes on when its job is changed or deleted, and is read under its own id and its owner's."""
    client = scripted(*_RUN)
    job = client.job()
    reply = client.fire(job["id"])
    assert client.status("PATCH", f"{JOBS}/{job['id']}", {"enabled": False}, now=1) == 200
    assert client.status("DELETE", f"{JOBS}/{job['id']}", now=2) == 204
    run = body_of(final(reply))["run"]
    assert (run["status"], run["job_id"]) == ("completed", job["id"])
    assert client.run(run["id"], now=9) == run
    assert client.get(f"{RUNS}?job_id={job['id']}", now=9)["runs"] == [run]


@pytest.mark.parametrize("path", [f"{RUNS}/run-0", f"{JOBS}/job-0", f"{JOBS}/job-0/runs"])
def test_what_is_not_there(path: str) -> None:
    """Unknown runs and jobs are not found."""
    client = Client()
    reply = client.reply("GET", path)
    assert (reply.status, client.fake.statistics()["refused_404"]) == (404, 1)
    assert error_of(reply)
    assert client.fake.ended_at("run-0") is None


def test_what_is_counted() -> None:
    """Starts, single polls and reads of histories are counted, those that succeed."""
    client = scripted(*_RUN)
    job = client.job()
    for _ in range(3):
        final(client.fire(job["id"]))
    (run, *_) = client.runs(job["id"], now=99)
    client.run(run["id"], now=99)
    client.get(RUNS, now=99)
    client.status("GET", f"{RUNS}?limit=x", now=99)
    counts = client.fake.statistics()
    assert (counts["starts"], counts["polls"], counts["lists"], counts["token_requests"]) == (3, 1, 2, 0)
    assert client.fake.starts_by_target == {job["id"]: 3}


# Drawn runs


def test_drawn_runs_wait_run_and_end() -> None:
    """A drawn run is scheduled for the plan's delay, runs, and ends in one of the plan's ends."""
    plan = RunPlan(median=10, delay=2.5, outcomes={"aborted": 1.0})
    client = Client(FakeAgh(plan))
    job = client.job()
    reply = delayed(client.fire(job["id"]))
    seen = [client.runs(job["id"], now=now)[0] for now in (0, 2.4, 2.5)]
    assert [run["status"] for run in seen] == ["scheduled", "scheduled", "running"]
    assert ["session_id" in run for run in seen] == [False, False, True]
    assert reply.until > 2.5
    run = body_of(final(reply))["run"]
    assert run["status"] == "canceled"
    assert client.fake.ended_at(run["id"]) == pytest.approx(reply.until)


def test_a_script_waits_for_the_delay_as_well() -> None:
    """The first step lasts longer by the plan's delay; scripts go by id as by name."""
    client = scripted(*_RUN, delay=3.0)
    assert delayed(client.fire(client.job()["id"])).until == 8.0
    job_id = "job-by-its-id"
    fake = FakeAgh(RunPlan(scripts={job_id: _RUN}))
    fake.install_job({**JOB, "name": "n"}, job_id=job_id)
    assert delayed(Client(fake).fire(job_id)).until == 5.0


def test_a_script_has_steps() -> None:
    """An empty script is refused."""
    with pytest.raises(ValueError, match="'digest' has no steps"):
        scripted()


def test_same_seed_same_bytes() -> None:
    """Two servers with one seed answer the same, byte by byte; with another seed they do not."""

    def body(seed: int, *, peeks: bool) -> list[bytes]:
        client = Client(FakeAgh(RunPlan(seed=seed, outcomes={"completed": 0.5, "failed": 0.5})))
        bodies = []
        for name in ("a", "b"):
            job = client.job(name=name, retry=BACKOFF, schedule={"mode": "every", "interval": "7s"})
            client.fire(job["id"], now=1)
            for run in client.runs(job["id"], now=1) if peeks else ():
                client.fake.ended_at(run["id"])
            bodies.append(client.reply("GET", f"{JOBS}/{job['id']}/runs", now=60).body)
        return bodies

    assert body(1, peeks=True) == body(1, peeks=False) != body(2, peeks=False)


# Further attempts


def test_manual_retries_have_records_of_their_own() -> None:
    """With backoff each attempt of a manual run has its own id, and waits twice as long as the one before."""
    script = [Step("running", 5), Step("failed"), Step("running", 1), Step("failed"), Step("completed")]
    client = scripted(*script)
    job = client.job(retry=BACKOFF)
    reply = client.fire(job["id"])
    assert delayed(reply).until == 5.0
    second = delayed(delayed(reply).reply(5.0))
    assert second.until == 15.0
    waiting = client.runs(job["id"], now=14.9)
    assert [(run["status"], run["attempt"]) for run in waiting] == [("failed", 1)]
    assert client.fake.ended_at(waiting[0]["id"]) == 5.0
    third = delayed(second.reply(15.0))
    assert third.until == 16.0
    assert client.fake.ended_at(client.runs(job["id"], now=15.0)[0]["id"]) == 16.0
    run = body_of(final(third))["run"]
    runs = client.runs(job["id"], now=36.0)
    assert runs[0] == run
    assert [(each["status"], each["attempt"], each["started_at"][-3:]) for each in runs] == [
        ("completed", 3, "36Z"),
        ("failed", 2, "15Z"),
        ("failed", 1, "00Z"),
    ]
    assert len({each["id"] for each in runs}) == 3
    assert client.counted({"starts": 1, "retries": 2})


def test_the_last_part_of_a_script_serves_all_later_attempts() -> None:
    """When all attempts fail, the reply is a 500 after the last of them."""
    client = scripted(Step("running", 5), Step("failed"))
    job = client.job(retry=BACKOFF)
    reply = client.fire(job["id"])
    assert final(reply).status == 500
    runs = client.runs(job["id"], now=45)
    assert [(run["attempt"], run["status"]) for run in runs] == [(3, "failed"), (2, "failed"), (1, "failed")]
    assert [run["ended_at"][-4:] for run in runs] == [":45Z", ":20Z", ":05Z"]


# Limits


def test_concurrency_is_limited_over_all_jobs() -> None:
    """Five runs go on at once, of any owner; a sixth is a 409 with the figures, and leaves nothing behind."""
    client = scripted(*_RUN)
    first, second = client.job(), client.job()
    replies = [client.fire(job["id"]) for job in (first, second, first, second, first)]
    assert len([delayed(reply) for reply in replies]) == 5
    refused = client.fire(second["id"])
    text = error_of(refused)
    assert "concurrency limit" in text
    assert text.endswith(" active=5 limit=5")
    assert (len(client.runs(first["id"])), len(client.runs(second["id"]))) == (3, 2)
    assert client.fake.statistics()["starts"] == 5
    assert delayed(client.fire(second["id"], now=5.0)).until == 10.0


def test_waiting_for_a_retry_takes_no_slot() -> None:
    """A slot is free while a run waits for its next attempt, which is refused when all are taken by then."""
    client = scripted(Step("running", 5), Step("failed"), rules=AghRules(concurrency=1))
    job, other = client.job(retry=BACKOFF), client.job(name="other")
    waiting = delayed(delayed(client.fire(job["id"])).reply(5.0))
    blocking = delayed(client.fire(other["id"], now=5.0))
    assert blocking.until > 15.0
    refused = settled(waiting, 15.0)
    assert refused.status == 409
    assert "active=1 limit=1" in error_of(refused)
    (run,) = client.runs(job["id"], now=99)
    assert (run["status"], run["attempt"]) == ("failed", 1)


def test_fire_limit_has_the_time_of_its_end() -> None:
    """The text of a fire limit ends with its numbers, nanoseconds included; nothing is recorded."""
    client = scripted(Step("completed"))
    job = client.job(fire_limit={"max": 2, "window": "90m"})
    for now in (0.123456789, 60.0):
        assert client.json("POST", f"{JOBS}/{job['id']}/trigger", now=now)
    refused = client.fire(job["id"], now=100.0)
    text = error_of(refused)
    assert "fire limit" in text
    tokens = dict(token.split("=") for token in text.split(": ")[1].split())
    assert tokens == {
        "fires": "2",
        "limit": "2",
        "window": "1h30m0s",
        "retry_at": "2026-01-05T10:30:00.123456789Z",
    }
    assert len(client.runs(job["id"], now=100.0)) == 2
    assert client.status("POST", f"{JOBS}/{job['id']}/trigger", now=5400.1) == 409
    assert client.status("POST", f"{JOBS}/{job['id']}/trigger", now=5400.2) == 200


def test_fire_limit_does_not_count_what_was_canceled() -> None:
    """Canceled runs leave room, failed ones and further attempts do not."""
    canceled = scripted(Step("canceled"))
    job = canceled.job(fire_limit={"max": 1, "window": "1h"})
    assert [canceled.status("POST", f"{JOBS}/{job['id']}/trigger") for _ in range(3)] == [200] * 3
    failed = scripted(Step("failed"))
    job = failed.job(fire_limit={"max": 2, "window": "1h"}, retry=BACKOFF)
    reply = final(failed.fire(job["id"]))
    assert reply.status == 409
    assert "fires=2 limit=2" in error_of(reply)
    assert [run["attempt"] for run in failed.runs(job["id"], now=99)] == [2, 1]


# The history


def _history() -> tuple[Client, str, list[str]]:
    """Return a job with runs at the seconds 0, 1, 1, 2 and 2.000000001, and their ids, newest first."""
    client = scripted(Step("completed"))
    job = client.job(fire_limit=MANY)["id"]
    for now in (0, 1, 1, 2, 2.000000001):
        client.json("POST", f"{JOBS}/{job}/trigger", now=now)
    runs = client.runs(job, now=9)
    assert runs == sorted(runs, key=lambda run: (_moment(run["started_at"]), run["id"]), reverse=True)
    return client, job, [run["id"] for run in runs]


def _moment(text: str) -> tuple[str, str]:
    seconds, _, digits = text.removesuffix("Z").partition(".")
    return seconds, f"{digits:0<9}"


def _at(seconds: float, digits: str = "") -> str:
    moment = datetime(2026, 1, 5, 9, tzinfo=UTC) + timedelta(seconds=seconds)
    return f"{moment:%Y-%m-%dT%H:%M:%S}{digits}Z"


@pytest.mark.parametrize(
    ("query", "first", "last"),
    [
        ("", 0, 5),
        ("limit=0", 0, 5),
        ("limit=2", 0, 2),
        ("limit=99", 0, 5),
        (f"since={_at(1)}", 0, 4),
        (f"since={_at(1, '.000000001')}", 0, 2),
        (f"since={_at(2, '.000000001')}", 0, 1),
        (f"until={_at(2)}", 1, 5),
        (f"until={_at(1)}&limit=1", 2, 3),
        (f"since={_at(1)}&until={_at(1)}", 2, 4),
        (f"since={quote('2026-01-05T10:00:01+01:00')}", 0, 4),
        (f"since=%20{_at(1)}%20&until=", 0, 4),
        ("status=completed", 0, 5),
        ("status=failed", 0, 0),
        ("job_id=job-other&trigger_id=x", 0, 5),
    ],
)
def test_history_is_newest_first_with_inclusive_bounds(query: str, first: int, last: int) -> None:
    """Bounds are inclusive to the nanosecond, the newest come first, then the greater id."""
    client, job, ids = _history()
    assert [run["id"] for run in client.runs(job, f"?{query}", now=9)] == ids[first:last]


def test_history_is_paged_without_gaps() -> None:
    """Passing on the oldest start as `until`, and dropping known runs, each run comes once."""
    client, job, ids = _history()
    seen: list[str] = []
    until = ""
    while True:
        page = client.runs(job, f"?limit=3{until}", now=9)
        new = [run for run in page if run["id"] not in seen]
        seen += [run["id"] for run in new]
        if not new:
            break
        until = f"&until={page[-1]['started_at']}"
    assert seen == ids


@pytest.mark.parametrize(
    ("query", "status"),
    [
        ("limit=x", 400),
        ("limit=-1", 500),
        ("since=yesterday", 400),
        ("since=2026-01-05T10:00:01+01:00", 400),  # a plus that was not encoded
        ("until=1", 400),
        ("status=done", 400),
        ("status=cancelled", 400),
        (f"since={_at(2)}&until={_at(1)}", 500),
        (f"since={_at(1)}&until={_at(1)}", 200),
    ],
)
def test_histories_refuse(query: str, status: int) -> None:
    """Values that cannot be read are a 400, bounds in the wrong order and negative limits a masked 500."""
    client, job, _ = _history()
    for path in (RUNS, f"{JOBS}/{job}/runs"):
        reply = client.reply("GET", f"{path}?{query}")
        assert reply.status == status
        if status == 500:
            assert error_of(reply) == "Internal Server Error"


def test_history_of_all() -> None:
    """The whole history is filtered by owner; by two owners at once it is empty."""
    client = scripted(Step("completed"))
    first, second = client.job()["id"], client.job()["id"]
    trigger = client.trigger(name="digest")
    for now, job in enumerate((first, second, first)):
        client.json("POST", f"{JOBS}/{job}/trigger", now=now)
    client.deliver(trigger, now=3)

    def owners(query: str) -> list[str]:
        runs = client.get(f"{RUNS}?{query}", now=9)["runs"]
        return [run.get("job_id") or run["trigger_id"] for run in runs]

    assert owners("") == [trigger["id"], first, second, first]
    assert owners(f"job_id={first}") == [first, first]
    assert owners(f"trigger_id=%20{trigger['id']}") == [trigger["id"]]
    assert owners(f"job_id={first}&trigger_id={trigger['id']}") == []
    assert owners("job_id=unknown") == []


def test_a_thousand_runs() -> None:
    """A thousand runs of one job go at once where there is room, and one list has them all."""
    client = Client(FakeAgh(RunPlan(outcomes={"completed": 1.0}), rules=AghRules(concurrency=1000)))
    job = client.job(fire_limit=MANY)["id"]
    replies = [delayed(client.fire(job, now=index / 1000)) for index in range(1000)]
    assert len(client.runs(job, "?status=running", now=1.0)) > 900
    ended = [final(reply) for reply in sorted(replies, key=lambda reply: reply.until)]
    assert {reply.status for reply in ended} == {200}
    runs = client.runs(job, f"?since={_at(0)}", now=1e6)
    assert {run["id"] for run in runs} == {body_of(reply)["run"]["id"] for reply in ended}


# What is delegated


_TASK = [
    Step("queued", 1),
    Step("claimed", 1),
    Step("starting", 1),
    Step("running", 1),
]


def test_a_job_with_a_task_is_delegated_at_once() -> None:
    """The call is answered with a delegated run that never changes again, however its task run goes on."""
    client = scripted(*_TASK, Step("completed"))
    task = {
        "title": " Tea ",
        "description": "Make it.",
        "network_channel": "ops",
        "owner": {"kind": "human", "ref": "a"},
    }
    job = client.job(task=task)
    run = client.json("POST", f"{JOBS}/{job['id']}/trigger", now=10)["run"]
    assert re.fullmatch(r"task-[0-9a-f]{16}", run["task_id"])
    assert re.fullmatch(r"run-[0-9a-f]{16}", run["task_run_id"])
    assert (run["status"], run["ended_at"], run["started_at"]) == ("delegated", _at(10), _at(10))
    assert "session_id" not in run
    assert client.run(run["id"], now=99) == run
    assert client.fake.ended_at(run["id"]) == client.fake.ended_at(run["task_run_id"]) == 14.0
    assert client.fake.statistics()["starts"] == 1


def test_a_task_run_takes_its_course() -> None:
    """A task run is queued, claimed, starting and running; its JSON gets more members with each."""
    client = scripted(*_TASK, Step("completed"))
    job = client.job(task={"network_channel": "ops"})
    run = client.json("POST", f"{JOBS}/{job['id']}/trigger")["run"]
    seen = [client.task_run(run["task_run_id"], now=now) for now in range(5)]
    assert [each["status"] for each in seen] == ["queued", "claimed", "starting", "running", "completed"]
    worker = {"kind": "agent_session", "ref": seen[1]["claimed_by"]["ref"]}
    assert seen[4] == {
        "id": run["task_run_id"],
        "task_id": run["task_id"],
        "status": "completed",
        "attempt": 1,
        "origin": {"kind": "automation", "ref": f"run:{run['id']}"},
        "queued_at": _at(0),
        "claimed_by": worker,
        "session_id": seen[2]["session_id"],
        "idempotency_key": f"automation-run:{run['id']}",
        "network_channel": "ops",
        "claimed_at": _at(1),
        "started_at": _at(3),
        "ended_at": _at(4),
        "result": {"answer": "tea", "score": 0.5},
    }
    assert not {"claimed_by", "session_id", "claimed_at", "result"} & seen[0].keys()
    assert client.fake.statistics()["polls"] == 5


@pytest.mark.parametrize(
    ("words", "body"),
    [
        (["running", "failed"], {"status": "failed", "error": "the worker gave up on the task"}),
        (["canceled"], {"status": "canceled"}),
        (["queued", "needs_attention"], {"status": "needs_attention"}),
        (["running", "queued"], {"status": "queued"}),
        (["running", "brand-new-word"], {"status": "brand-new-word"}),
    ],
)
def test_a_task_run_ends_as_scripted(words: list[str], body: dict[str, str]) -> None:
    """Failing, being canceled, needing attention and being queued again are shown in its JSON."""
    client = scripted(*[Step(word, 1) for word in words])
    run = client.json("POST", f"{JOBS}/{client.job(task={})['id']}/trigger")["run"]
    now = client.task_run(run["task_run_id"], now=9)
    assert now | body == now
    assert ("ended_at" in now) is (body["status"] in {"failed", "canceled"})
    assert ("claimed_by" in now) is ("running" in words and words[-1] != "queued")
    assert "result" not in now


def test_drawn_task_runs_go_through_all_words() -> None:
    """A drawn task run waits in the queue for the plan's delay, and completed ones take their results in turn."""
    rules = AghRules(results=("tea", 7))
    client = Client(
        FakeAgh(RunPlan(median=100, spread=0.0, delay=10, outcomes={"completed": 1.0}), rules=rules)
    )
    job = client.job(task={})
    runs = [client.json("POST", f"{JOBS}/{job['id']}/trigger")["run"]["task_run_id"] for _ in range(3)]
    words = [client.task_run(runs[0], now=now)["status"] for now in (0, 11.9, 12, 14, 16, 109.9, 110)]
    assert words == ["queued", "queued", "claimed", "starting", "running", "running", "completed"]
    assert [client.task_run(run, now=110)["result"] for run in runs] == ["tea", 7, "tea"]


def test_delegated_runs_take_no_slot_for_long() -> None:
    """A delegated run needs a free slot only for a moment, and counts against the fire limit."""
    client = scripted(*_TASK, Step("completed"), rules=AghRules(concurrency=1))
    job = client.job(task={}, fire_limit={"max": 3, "window": "1h"})
    statuses = [client.status("POST", f"{JOBS}/{job['id']}/trigger") for _ in range(4)]
    assert statuses == [200, 200, 200, 409]
    blocked = scripted(*_RUN, rules=AghRules(concurrency=1))
    blocked.fire(blocked.job()["id"])
    assert blocked.status("POST", f"{JOBS}/{blocked.job(name='t', task={})['id']}/trigger") == 409


# When the daemon stops


def test_runs_are_orphaned_by_a_restart() -> None:
    """Runs that were scheduled or running when the daemon stopped stay so; those waiting for a retry stay failed."""
    client = scripted(Step("running", 5), Step("failed"))
    job, other = client.job(retry=BACKOFF), client.job(name="other", fire_limit=MANY)
    waiting, running = delayed(client.fire(job["id"])), delayed(client.fire(other["id"], now=6))
    client.fake.restart(7.0)
    assert delayed(waiting.reply(100.0)).until == math.inf
    assert delayed(running.reply(1e5)).until == math.inf
    (failed,), (orphan,) = client.runs(job["id"], now=1e5), client.runs(other["id"], now=1e5)
    assert (failed["status"], failed["attempt"], orphan["status"]) == ("failed", 1, "running")
    assert "ended_at" not in orphan
    assert (client.fake.ended_at(failed["id"]), client.fake.ended_at(orphan["id"])) == (5.0, None)
    assert delayed(client.fire(other["id"], now=1e5)).until > 1e5


def test_a_restart_frees_all_slots() -> None:
    """Runs from before a restart occupy no slot after it; task runs go on."""
    client = scripted(*_RUN, rules=AghRules(concurrency=1))
    job, delegating = client.job(), client.job(name="d", task={})
    task_run = client.json("POST", f"{JOBS}/{delegating['id']}/trigger")["run"]["task_run_id"]
    client.fire(job["id"])
    client.fake.restart(1.0)
    assert delayed(client.fire(job["id"], now=1.0)).until == 6.0
    assert client.task_run(task_run, now=1e5)["status"] in {"completed", "failed", "canceled"}


def test_far_from_the_beginning_replies_still_fall_due() -> None:
    """Where a float no longer distinguishes nanoseconds, a reply is complete at the time it was delayed until."""
    client = Client(FakeAgh(RunPlan(outcomes={"completed": 1.0})))
    job = client.job(fire_limit=MANY)
    for index in range(50):
        reply = delayed(client.fire(job["id"], now=3e8 + index * 1000))
        assert settled(reply, reply.until).status == 200
