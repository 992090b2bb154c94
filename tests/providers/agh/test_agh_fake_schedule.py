"""The fake AGH Runtime's scheduler: when jobs fire, and how fires end."""

import re
from datetime import timedelta, timezone
from typing import Any

import pytest

from aioagents.contract.fake import RunPlan, Step
from aioagents.providers.agh.fake import AghRules, FakeAgh
from tests.providers.agh.agh_fake_rig import BACKOFF, JOB, JOBS, MANY, Client, delayed, scripted, settled

_DAY = 86_400.0


def _every(interval: str) -> dict[str, Any]:
    return {"schedule": {"mode": "every", "interval": interval}, "fire_limit": MANY}


def _at(moment: str) -> dict[str, Any]:
    return {"schedule": {"mode": "at", "time": moment}}


def _state(client: Client, job: str, now: float) -> dict[str, Any]:
    state: dict[str, Any] = client.get(f"{JOBS}/{job}", now=now)["job"].get("scheduler", {})
    return state


def test_jobs_fire_every_so_often() -> None:
    """Fires come on time, each with ids derived from the job and its time, also without requests meanwhile."""
    client = scripted(Step("running", 2), Step("completed"))
    job = client.job(**_every("10s"), now=1.5)["id"]
    assert client.runs(job, now=11.4) == []
    runs = client.runs(job, now=33.0)
    assert [run["scheduled_at"][17:] for run in runs] == ["31.5Z", "21.5Z", "11.5Z"]
    assert [run["status"] for run in runs] == ["running", "completed", "completed"]
    for run in runs:
        assert re.fullmatch(r"run_[0-9a-f]{24}", run["id"])
        assert run["fire_id"] == f"fire_{run['id'][4:]}"
        assert run["started_at"] == run["scheduled_at"]
    assert client.fake.ended_at(runs[0]["id"]) == 33.5
    counts = client.fake.statistics()
    assert (counts["fires"], counts["starts"]) == (3, 0)
    state = _state(client, job, 33.0)
    assert (state["last_run_at"], state["next_run_at"]) == (runs[0]["started_at"], "2026-01-05T09:00:41.5Z")
    assert (state["last_scheduled_at"], state["last_fire_id"]) == (
        runs[0]["scheduled_at"],
        runs[0]["fire_id"],
    )
    assert "misfire_count" not in state


def test_jobs_fire_by_cron() -> None:
    """Cron expressions and the scheduler's dates are in the daemon's zone; a job's own dates are in UTC."""
    zone = timezone(timedelta(hours=2))
    client = scripted(Step("completed"), rules=AghRules(zone=zone))
    job = client.job(schedule={"mode": "cron", "expr": "0 12 * * *"})
    assert job["next_run"] == "2026-01-05T10:00:00Z"
    assert job["scheduler"]["next_run_at"] == "2026-01-05T12:00:00+02:00"
    (run,) = client.runs(job["id"], now=3600.0)
    assert run["scheduled_at"] == "2026-01-05T10:00:00Z"
    assert client.get(f"{JOBS}/{job['id']}", now=3600.0)["job"]["next_run"] == "2026-01-06T10:00:00Z"


def test_a_job_fires_at_its_moment_once() -> None:
    """A job with one time leaves the scheduler when it has fired; a past time is never registered."""
    client = scripted(Step("completed"))
    job = client.job(**_at("2026-01-05T09:00:30.25Z"))["id"]
    assert _state(client, job, 30.0)["next_run_at"] == "2026-01-05T09:00:30.25Z"
    assert _state(client, job, 30.25) == {}
    assert [run["scheduled_at"] for run in client.runs(job, now=_DAY)] == ["2026-01-05T09:00:30.25Z"]
    past = client.job(**_at("2026-01-05T09:00:00Z"), now=_DAY)
    assert not {"scheduler", "next_run"} & past.keys()
    assert client.status("PATCH", f"{JOBS}/{job}", {"name": "x"}, now=_DAY) == 200
    assert _state(client, job, 2 * _DAY) == {}
    assert len(client.runs(job, now=2 * _DAY)) == 1


def test_a_schedule_that_is_never_due() -> None:
    """A date that no year has is not registered."""
    job = Client().job(schedule={"mode": "cron", "expr": "0 0 31 2 *"})
    assert "scheduler" not in job


def test_disabled_jobs_do_not_fire() -> None:
    """Disabling removes the scheduler's state; enabling begins anew."""
    client = scripted(Step("completed"))
    job = client.job(**_every("10s"))["id"]
    assert client.status("PATCH", f"{JOBS}/{job}", {"enabled": False}, now=15) == 200
    assert _state(client, job, 15) == {}
    assert len(client.runs(job, now=100)) == 1
    assert client.status("PATCH", f"{JOBS}/{job}", {"enabled": True}, now=100) == 200
    assert _state(client, job, 100).keys() == {
        "job_id",
        "registered",
        "next_run_at",
        "catch_up_policy",
        "updated_at",
    }
    assert len(client.runs(job, now=111)) == 2


def test_fires_of_one_job_follow_each_other() -> None:
    """A fire that is due while the last run goes on happens when that has ended, for its own time."""
    client = scripted(Step("running", 25), Step("completed"))
    job = client.job(**_every("10s"))["id"]
    runs = client.runs(job, now=60.0)
    assert [(run["scheduled_at"][17:19], run["started_at"][17:19]) for run in runs] == [
        ("30", "00"),
        ("20", "35"),
        ("10", "10"),
    ]
    assert _state(client, job, 60.0)["next_run_at"] == "2026-01-05T09:00:40Z"


def test_retries_of_a_fire_keep_its_record() -> None:
    """With backoff the record of a fire is failed, then running again, with a higher attempt and the same start."""
    client = scripted(Step("running", 5), Step("failed"), Step("running", 5), Step("completed"))
    job = client.job(**_at("2026-01-05T09:00:10Z"), retry=BACKOFF)["id"]
    seen = [client.runs(job, now=now)[0] for now in (10, 15, 24.9, 25, 30)]
    assert [(run["status"], run["attempt"]) for run in seen] == [
        ("running", 1),
        ("failed", 1),
        ("failed", 1),
        ("running", 2),
        ("completed", 2),
    ]
    assert len({(run["id"], run["started_at"]) for run in seen}) == 1
    assert len({run.get("session_id") for run in seen}) == 2
    assert ["ended_at" in run for run in seen] == [False, True, True, False, True]
    assert "error" not in seen[3]
    assert "delivery_error" not in seen[4]
    assert client.fake.ended_at(seen[0]["id"]) == 30.0
    assert client.counted({"fires": 1, "retries": 1, "starts": 0})


def test_the_end_of_a_fire_is_known_ahead() -> None:
    """The end that is known beforehand includes all attempts to come; without an end it is None."""
    fails = scripted(Step("running", 5), Step("failed"))
    job = fails.job(**_at("2026-01-05T09:00:10Z"), retry=BACKOFF)["id"]
    (run,) = fails.runs(job, now=10)
    assert [fails.fake.ended_at(run["id"]) for _ in range(2)] == [55.0, 55.0]
    assert (fails.runs(job, now=20)[0]["status"], fails.fake.ended_at(run["id"])) == ("failed", 55.0)
    (run,) = fails.runs(job, now=55)
    assert (run["status"], run["attempt"], run["ended_at"]) == ("failed", 3, "2026-01-05T09:00:55Z")
    assert run["delivery_error"] == run["error"]
    hangs = scripted(Step("running", 5), Step("failed"), Step("running", 5))
    job = hangs.job(**_at("2026-01-05T09:00:10Z"), retry=BACKOFF)["id"]
    assert hangs.fake.ended_at(hangs.runs(job, now=10)[0]["id"]) is None
    often = {"strategy": "backoff", "max_retries": 1000, "base_delay": "1ns"}
    job = fails.job(**_at("2026-01-06T09:00:00Z"), retry=often, now=100)["id"]
    assert fails.fake.ended_at(fails.runs(job, now=_DAY)[0]["id"]) is None


def test_a_fire_that_finds_no_slot_is_never_delivered() -> None:
    """Its record stays scheduled, with a delivery error; the next fire comes as planned."""
    client = scripted(Step("running", 15), Step("completed"), name="blocker", rules=AghRules(concurrency=1))
    job = client.job(**_every("10s"))["id"]
    client.fire(client.job(name="blocker")["id"], now=1.0)
    (run,) = client.runs(job, now=12)
    assert (run["status"], run["delivery_error_at"]) == ("scheduled", "2026-01-05T09:00:10Z")
    assert "concurrency limit" in run["delivery_error"]
    assert not {"ended_at", "session_id", "error"} & run.keys()
    assert client.fake.ended_at(run["id"]) is None
    assert [each["status"] for each in client.runs(job, now=20)] == ["running", "scheduled"]
    assert client.runs(job, now=1e4)[-1] == run


def test_a_fire_beyond_the_limit_is_canceled_and_put_off() -> None:
    """Its record is canceled, and the next fire moves to the time at which the limit permits it."""
    client = scripted(Step("completed"))
    job = client.job(schedule={"mode": "every", "interval": "10s"}, fire_limit={"max": 2, "window": "1m"})[
        "id"
    ]
    runs = client.runs(job, now=30)
    assert [run["status"] for run in runs] == ["canceled", "completed", "completed"]
    assert "fire limit" in runs[0]["error"]
    assert runs[0]["ended_at"] == "2026-01-05T09:00:30Z"
    assert "delivery_error" not in runs[0]
    assert _state(client, job, 30)["next_run_at"] == "2026-01-05T09:01:10Z"
    assert [run["scheduled_at"][14:19] for run in client.runs(job, now=75)][:2] == ["01:10", "00:30"]


def test_a_single_fire_beyond_the_limit_is_gone() -> None:
    """A job with one time is not postponed: it has left the scheduler."""
    client = scripted(Step("completed"))
    job = client.job(**_at("2026-01-05T09:00:10Z"), fire_limit={"max": 1, "window": "1h"})["id"]
    client.fire(job)
    assert [run["status"] for run in client.runs(job, now=_DAY)] == ["canceled", "completed"]


def test_a_fire_may_be_delegated() -> None:
    """A fire of a job with a task ends as delegated at once."""
    client = scripted(Step("running", 5), Step("completed"))
    job = client.job(**_every("10s"), task={})["id"]
    run = client.runs(job, now=10)[0]
    assert (run["status"], run["id"][:4]) == ("delegated", "run_")
    assert client.fake.ended_at(run["id"]) == 15.0


@pytest.mark.parametrize("change", ["create", "change", "delete"])
def test_any_change_to_a_job_cuts_scheduled_runs_off(change: str) -> None:
    """Scheduled runs in progress are canceled, waiting ones stay failed, due fires are skipped; manual runs go on."""
    failing = {**JOB, "name": "other", **_at("2026-01-05T09:00:10Z"), "retry": BACKOFF}
    fake = FakeAgh(
        RunPlan(scripts={"digest": [Step("running", 25), Step("completed")], "other": [Step("failed")]})
    )
    client = Client(fake)
    job, other = client.job(**_every("10s"))["id"], client.json("POST", JOBS, failing)["job"]["id"]
    third = client.job(**_every("24h"))["id"]
    manual = delayed(client.fire(third, now=10))
    match change:
        case "create":
            client.job(now=21)
        case "change":
            client.json("PATCH", f"{JOBS}/{third}", {"name": "x"}, now=21)
        case _:
            assert client.status("DELETE", f"{JOBS}/{third}", now=21) == 204
    (run,), (waiting,) = client.runs(job, now=21), client.runs(other, now=21)
    assert (run["status"], run["ended_at"]) == ("canceled", "2026-01-05T09:00:21Z")
    assert run["error"] == run["delivery_error"]
    assert (waiting["status"], waiting["attempt"]) == ("failed", 2)
    state = _state(client, job, 21)
    assert (state["misfire_count"], state["last_misfire_at"]) == (1, "2026-01-05T09:00:21Z")
    assert (state["last_scheduled_at"], state["next_run_at"]) == (
        "2026-01-05T09:00:20Z",
        "2026-01-05T09:00:30Z",
    )
    assert settled(manual, 35.0).status == 200
    assert len(client.runs(job, now=31)) == 2
    assert client.runs(other, now=1e4) == [waiting]


def test_changing_a_schedule_begins_it_anew() -> None:
    """A new schedule counts from the change, an unchanged one goes on."""
    client = scripted(Step("completed"))
    job, other = client.job(**_every("10s"))["id"], client.job(**_every("1m"))["id"]
    changed = client.json("PATCH", f"{JOBS}/{job}", {"schedule": {"mode": "every", "interval": "30s"}}, now=4)
    assert changed["job"]["next_run"] == "2026-01-05T09:00:34Z"
    assert _state(client, other, 4)["next_run_at"] == "2026-01-05T09:01:00Z"
    client.json("PATCH", f"{JOBS}/{job}", {"schedule": {"mode": "cron", "expr": "* * * * *"}}, now=5)
    assert _state(client, job, 5)["next_run_at"] == "2026-01-05T09:01:00Z"


def test_what_fell_due_while_the_daemon_was_down_is_missed() -> None:
    """Missed fires are skipped and counted once; a single time that was missed never comes."""
    client = scripted(Step("completed"))
    every = client.job(**_every("10s"))["id"]
    cron = client.job(schedule={"mode": "cron", "expr": "* * * * *"})["id"]
    once = client.job(**_at("2026-01-05T09:02:00Z"))["id"]
    client.fake.restart(195.0, down_since=35.0)
    assert [len(client.runs(job, now=195)) for job in (every, cron, once)] == [3, 0, 0]
    states = [_state(client, job, 195) for job in (every, cron, once)]
    assert [state.get("misfire_count") for state in states] == [1, 1, None]
    assert [state.get("next_run_at", "")[14:19] for state in states] == ["03:20", "04:00", ""]
    assert states[0]["last_scheduled_at"] == "2026-01-05T09:00:40Z"
    assert [len(client.runs(job, now=240)) for job in (every, cron, once)] == [8, 1, 0]


def test_making_up_for_a_long_time_is_bounded() -> None:
    """Ten thousand fires are made up for in one go; those beyond are missed."""
    client = scripted(Step("completed"))
    job = client.job(**_every("1s"))["id"]
    runs = client.runs(job, now=30_000.5)
    assert len(runs) == 10_000
    state = _state(client, job, 30_000.5)
    assert (state["misfire_count"], state["next_run_at"]) == (1, "2026-01-05T17:20:01Z")
    assert len(client.runs(job, now=30_001.0)) == 10_001


def test_next_fire_of_all() -> None:
    """The status has the next fire of all jobs, and the scheduler's state of each."""
    client = Client()
    assert "next_fire" not in client.get("/api/status")["automation"]
    later, sooner = client.job(**_every("2h")), client.job(**_every("1h"))
    client.job(enabled=False)
    client.trigger(enabled=False)
    body = client.get("/api/status")["automation"]
    assert body["next_fire"] == "2026-01-05T10:00:00Z"
    wanted = sorted([later["scheduler"], sooner["scheduler"]], key=lambda state: state["job_id"])
    fresh = [{**state, "updated_at": "2026-01-05T09:00:00Z"} for state in wanted]
    assert body["scheduled_jobs"] == fresh
    assert (body["jobs"], body["triggers"]) == ({"total": 3, "enabled": 2}, {"total": 1, "enabled": 0})
