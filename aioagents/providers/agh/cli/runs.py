"""`agh runs`, and the histories of jobs and triggers."""

from collections.abc import Callable, Sequence
from typing import Any, Final

import click

from ....cli.exits import Exit
from ....cli.listing import ask, show_members, show_table
from ....cli.options import Command, json_option
from ....cli.output import Output
from .. import Agh, RunHistory

#: Columns that a narrow terminal leaves out, if all runs have one owner.
OF_ONE: Final = ("owner", "attempt", "ended")
_SPARE: Final = ("attempt", "ended", "owner")
_HEADS: Final = ("id", "status", "attempt", "owner", "started", "ended")


def history_options(command: Command) -> Command:
    """Add the options that narrow a history."""
    for option in (
        json_option,
        click.option(
            "--limit",
            type=click.IntRange(min=0),
            default=50,
            metavar="N",
            help="At most this many; 0 for all.",
            show_default=True,
        ),
        click.option("--until", metavar="MOMENT", help="Only runs that started no later."),
        click.option(
            "--since", metavar="MOMENT", help="Only runs that started no sooner, as 2026-01-05T10:00:00Z."
        ),
        click.option(
            "--status",
            metavar="WORD",
            help="Only runs with this status: scheduled, running, delegated, completed, failed, canceled.",
        ),
    ):
        command = option(command)
    return command


def show_history(
    list_runs: Callable[[Agh], RunHistory], *, is_json: bool, spare: Sequence[str] = _SPARE
) -> Exit:
    """Print the runs of a history: a table, or a line of JSON for each as it arrives."""

    async def call(client: Agh, out: Output) -> Exit:
        rows = []
        async for run in list_runs(client):
            out.document(run.raw)
            owner = run.job_id or run.trigger_id
            if not out.is_json:
                rows.append((run.id, run.status, run.attempt, owner, run.started_at, run.ended_at))
        show_table(out, _HEADS, rows, spare=spare)
        return Exit.OK

    return ask(Agh, call, is_json=is_json)


@click.group("runs", no_args_is_help=True)
def runs() -> None:
    """List runs, and show one. 'aioagents wait agh:HOST/RUN_ID' follows one."""


@runs.command("list")
@click.option("--job", "job_id", metavar="ID", help="Only runs of this job, which may be deleted.")
@click.option(
    "--trigger", "trigger_id", metavar="ID", help="Only runs of this trigger, which may be deleted."
)
@history_options
def _list(*, is_json: bool, **filters: Any) -> Exit:
    """List runs, the newest first."""
    return show_history(lambda client: client.runs.list(**filters), is_json=is_json)


@runs.command("show")
@click.argument("run_id")
@json_option
def _show(*, run_id: str, is_json: bool) -> Exit:
    """Show the record of the run called RUN_ID.

    A record stays 'delegated' when its task is over, and one that has 'failed' may be retried;
    'aioagents status agh:HOST/RUN_ID' shows the state of the work itself.
    """

    async def call(client: Agh, out: Output) -> Exit:
        found = await client.runs.get(run_id)
        out.document(found.raw)
        show_members(out, found.raw)
        return Exit.OK

    return ask(Agh, call, is_json=is_json)
