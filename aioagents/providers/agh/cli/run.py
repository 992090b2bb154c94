"""`run agh`: trigger a job."""

from collections.abc import Mapping
from contextlib import AsyncExitStack
from typing import Any, Final

import click

from ....auth import read_settings
from ....cli.exits import Exit
from ....cli.options import client_of
from ....cli.runs import run_command, start
from ....contract import check_base_url
from ....polling import RunHandle
from ....pool import SessionPool
from .. import BASE_URL, Agh


def endpoints(environ: Mapping[str, str] | None = None) -> Mapping[str, str]:
    """Return the base URL of the runtime. Raises ValueError for an invalid setting."""
    found = read_settings((), ("AGH_BASE_URL",), environ)
    return {"automation": check_base_url(found.get("AGH_BASE_URL", BASE_URL), "AGH_BASE_URL")}


@run_command("agh")
@click.argument("job_id")
@click.option(
    "--wait-for-slot",
    is_flag=True,
    help="At a concurrency or fire limit, wait and retry until a slot is free.",
)
def run_agh(*, job_id: str, wait_for_slot: bool, **options: Any) -> Exit:
    """Trigger the job called JOB_ID at AGH Runtime; 'aioagents agh jobs list' lists the ids of jobs.

    A delegated run is followed to the end of its task.
    """

    async def begin(pool: SessionPool, _: AsyncExitStack) -> RunHandle:
        return await client_of(Agh, pool).jobs.trigger(job_id, wait_for_slot=wait_for_slot)

    return start(begin, **options)


RUN: Final = run_agh
