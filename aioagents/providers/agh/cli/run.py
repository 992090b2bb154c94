"""`run agh`: trigger a job."""

from collections.abc import Mapping
from contextlib import AsyncExitStack
from typing import Final

import click

from ....auth import read_settings
from ....cli.exits import Exit
from ....cli.options import documented, json_option, timeout_option
from ....cli.runs import start
from ....contract import check_base_url
from ....polling import RunHandle
from ....pool import SessionPool
from .. import BASE_URL, Agh


def endpoints(environ: Mapping[str, str] | None = None) -> Mapping[str, str]:
    """Return the base URL of the runtime. Raises ValueError for an invalid setting."""
    found = read_settings((), ("AGH_BASE_URL",), environ)
    return {"automation": check_base_url(found.get("AGH_BASE_URL", BASE_URL), "AGH_BASE_URL")}


@click.command("agh")
@click.argument("job_id")
@click.option(
    "--wait-for-slot",
    is_flag=True,
    help="At a concurrency or fire limit, wait and retry until a slot is free.",
)
@click.option(
    "--wait/--no-wait",
    default=True,
    help="Follow the run, or print its reference and exit.  [default: wait]",
)
@timeout_option
@json_option
def _run(*, job_id: str, wait_for_slot: bool, wait: bool, timeout: float | None, is_json: bool) -> Exit:
    """Trigger the job called JOB_ID at AGH Runtime.

    The run's reference is printed as soon as it is known; 'aioagents wait REF' follows it from anywhere. A
    delegated run is followed to the end of its task. A trigger is never sent twice: if its run cannot be found, the
    command reports it and exits with 4. 'aioagents agh jobs list' lists the ids of jobs.
    """

    async def begin(pool: SessionPool, _: AsyncExitStack) -> RunHandle:
        return await Agh.from_env(pool).jobs.trigger(job_id, wait_for_slot=wait_for_slot)

    return start(begin, is_waited=wait, timeout=timeout, is_json=is_json)


RUN: Final = documented(_run)
