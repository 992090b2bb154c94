"""AGH's jobs, triggers and histories as a program uses them. Only type-checked, never run."""

from datetime import UTC, datetime, timedelta
from typing import assert_type

from aioagents import Agh, Conflict, Secret, SessionPool
from aioagents.providers.agh import (
    AutomationRun,
    FireLimit,
    Job,
    JobTask,
    Retry,
    RunHistory,
    Schedule,
    SchedulerState,
    TaskOwner,
    Trigger,
)


async def jobs(pool: SessionPool) -> None:
    """Keep jobs."""
    agh = Agh(pool, base_url="http://localhost:2123")
    job = await agh.jobs.create(
        scope="global",
        name="nightly-digest",
        agent_name="writer",
        prompt="Summarise yesterday's changes.",
        schedule={"mode": "cron", "expr": "15 2 * * *"},
        retry=Retry.backoff(2, timedelta(seconds=5)),
        fire_limit=FireLimit(4, "1h"),
    )
    assert_type(job, Job)
    assert_type(job.schedule, Schedule | None)
    assert_type(job.scheduler, SchedulerState | None)
    assert_type(job.retry.base_seconds, float | None)
    assert_type(await agh.jobs.list(scope="global", limit=10), list[Job])
    assert_type(await agh.jobs.get(job.id), Job)
    task = JobTask(title="Digest", owner=TaskOwner("pool", "writers"))
    await agh.jobs.update(job.id, enabled=False, schedule=Schedule.every(3600), task=task)
    await agh.jobs.delete(job.id)
    assert_type(agh.jobs.runs(job.id, since=datetime.now(UTC), limit=5), RunHistory)


async def triggers(agh: Agh, secret: Secret) -> None:
    """Keep triggers."""
    trigger = await agh.triggers.create(
        scope="global",
        name="deploy-review",
        agent_name="reviewer",
        prompt="Check it.",
        event="webhook",
        endpoint_slug="deploy",
        webhook_secret_value=secret,
        filter={"data.action": "deploy"},
    )
    assert_type(trigger, Trigger)
    assert_type(trigger.endpoint, str)
    assert_type(await agh.triggers.update(trigger.id, webhook_secret_value="new", filter={}), Trigger)
    await agh.triggers.update(trigger.id, filter=None)  # type: ignore[arg-type]  # null is refused
    await agh.triggers.update(trigger.id, scope="global")  # type: ignore[call-arg]  # stays what it is
    try:
        await agh.triggers.delete(trigger.id)
    except Conflict as error:
        assert_type(error.reason, str)
        assert_type(error.retry_at, datetime | None)


async def runs(agh: Agh) -> None:
    """Read histories."""
    async for run in agh.runs.list(job_id="job-1", until="2026-01-05T10:00:00Z"):
        assert_type(run, AutomationRun)
        assert_type(run.started_at, datetime | None)
    assert_type(await agh.runs.get("run-1"), AutomationRun)
