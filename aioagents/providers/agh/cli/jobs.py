"""`agh jobs`: runs by a schedule."""

from typing import Any, Final

import click

from ....cli.exits import Exit
from ....cli.listing import ask, show_table
from ....cli.options import documented
from ....cli.output import Output
from .. import Agh, Job
from ..definitions import JobChanges, job_body, job_changes
from .resource_commands import Resource, add_commands, list_options
from .runs import OF_ONE, history_options, show_history

_GUIDE: Final = """FILE holds 'scope' (global or workspace), 'name', 'schedule' and, unless there is a 'task',
'agent_name' and 'prompt'; optionally 'workspace_id', 'enabled', 'retry', 'fire_limit':

\b
{"scope": "global", "name": "digest", "agent_name": "writer",
 "prompt": "Sum up the day.",
 "schedule": {"mode": "cron", "expr": "15 2 * * *"},
 "retry": {"strategy": "backoff", "max_retries": 2, "base_delay": "5s"},
 "fire_limit": {"max": 4, "window": "1h"}}

A schedule may also be {"mode": "every", "interval": "90s"} or {"mode": "at", "time": "2026-01-05T10:00:00Z"}."""
_HEADS: Final = ("id", "name", "scope", "schedule", "enabled", "source", "next run")


@click.group("jobs", no_args_is_help=True)
def _jobs() -> None:
    """List, create, change and delete jobs. 'aioagents run agh JOB_ID' triggers one."""


@_jobs.command("list")
@list_options
def _list(*, is_json: bool, **filters: Any) -> Exit:
    """List jobs, by name."""

    async def call(client: Agh, out: Output) -> Exit:
        found = await client.jobs.list(**filters)
        for job in found:
            out.document(job.raw)
        show_table(out, _HEADS, [_row(job) for job in found], spare=("source", "scope", "enabled"))
        return Exit.OK

    return ask(Agh, call, is_json=is_json)


def _row(job: Job) -> tuple[object, ...]:
    plan = job.schedule
    words = () if plan is None else filter(None, (plan.mode, plan.expr, plan.interval, plan.time))
    return (job.id, job.name, job.scope, " ".join(words), job.enabled, job.source, job.next_run)


@_jobs.command("runs")
@click.argument("job_id")
@history_options
def _list_runs(*, job_id: str, is_json: bool, **filters: Any) -> Exit:
    """List the runs of the job called JOB_ID, the newest first."""
    return show_history(lambda client: client.jobs.runs(job_id, **filters), is_json=is_json, spare=OF_ONE)


add_commands(
    _jobs,
    Resource(
        name="job",
        of=lambda client: client.jobs,
        check_new=job_body,
        check_changes=job_changes,
        members=frozenset({"scope", *JobChanges.__annotations__}),
        guide=_GUIDE,
    ),
)
for _each in (_list, _list_runs):
    documented(_each)

jobs: Final = documented(_jobs)
