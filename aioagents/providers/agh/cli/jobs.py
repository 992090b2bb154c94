"""`agh jobs`: runs by a schedule."""

from typing import Final

from .. import Job
from ..definitions import JobChanges, job_body, job_changes
from .resource_commands import Resource, resource_group

_GUIDE: Final = """FILE holds 'scope' (global or workspace), 'name', 'schedule' and, unless there is a 'task',
'agent_name' and 'prompt'; optionally 'workspace_id', 'enabled', 'retry', 'fire_limit':

\b
{"scope": "global", "name": "digest", "agent_name": "writer",
 "prompt": "Sum up the day.",
 "schedule": {"mode": "cron", "expr": "15 2 * * *"},
 "retry": {"strategy": "backoff", "max_retries": 2, "base_delay": "5s"},
 "fire_limit": {"max": 4, "window": "1h"}}

A schedule may also be {"mode": "every", "interval": "90s"} or {"mode": "at", "time": "2026-01-05T10:00:00Z"}."""


def _row(job: Job) -> tuple[object, ...]:
    plan = job.schedule
    words = () if plan is None else filter(None, (plan.mode, plan.expr, plan.interval, plan.time))
    return (job.id, job.name, job.scope, " ".join(words), job.enabled, job.source, job.next_run)


jobs: Final = resource_group(
    Resource(
        name="job",
        about="List, create, change and delete jobs. 'aioagents run agh JOB_ID' triggers one.",
        about_list="List jobs, by name.",
        of=lambda client: client.jobs,
        check_new=job_body,
        check_changes=job_changes,
        members=frozenset({"scope", *JobChanges.__annotations__}),
        guide=_GUIDE,
        heads=("id", "name", "scope", "schedule", "enabled", "source", "next run"),
        row=_row,
        spare=("source", "scope", "enabled"),
    )
)
