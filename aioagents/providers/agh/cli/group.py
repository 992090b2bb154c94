"""`agh`: the group of all commands of AGH Runtime but `run`."""

from typing import Final

import click

from .deliver import deliver
from .jobs import jobs
from .runs import runs
from .triggers import triggers


@click.group("agh", no_args_is_help=True)
def agh_group() -> None:
    """Jobs, triggers, runs and webhooks of AGH Runtime. 'aioagents run agh JOB_ID' starts a run."""


for _each in (deliver, jobs, runs, triggers):
    agh_group.add_command(_each)

GROUP: Final = agh_group
