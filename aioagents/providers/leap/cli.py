"""Leap on the command line."""

from collections.abc import Mapping
from contextlib import AsyncExitStack
from typing import Any, Final

import click

from ...auth import read_settings
from ...cli.exits import Exit
from ...cli.options import client_of, members_option
from ...cli.runs import run_command, start
from ...contract import check_base_url
from ...polling import RunHandle
from ...pool import SessionPool
from ...webhooks import WebhookReceiver
from . import BASE_URL, Leap


def endpoints(environ: Mapping[str, str] | None = None) -> Mapping[str, str]:
    """Return the base URL of the API. Raises ValueError for an invalid setting."""
    found = read_settings((), ("LEAP_BASE_URL",), environ)
    return {"workflows": check_base_url(found.get("LEAP_BASE_URL", BASE_URL), "LEAP_BASE_URL")}


@run_command("leap")
@click.argument("workflow_id")
@members_option("--input", "inputs")
@click.option(
    "--webhook-port",
    type=click.IntRange(0, 65535),
    help="Listen on this port for the vendor's webhook when the run is over; 0 takes a free one.",
)
@click.option("--webhook-host", default="127.0.0.1", help="The address to listen on.", show_default=True)
@click.option("--webhook-url", metavar="URL", help="The public URL of that port.  [default: its own address]")
def run_leap(
    *,
    workflow_id: str,
    inputs: Mapping[str, Any] | None,
    webhook_port: int | None,
    webhook_host: str,
    webhook_url: str | None,
    **options: Any,
) -> Exit:
    """Start a run of the workflow called WORKFLOW_ID at Leap."""

    async def begin(pool: SessionPool, stack: AsyncExitStack) -> RunHandle:
        receiver = None
        client = client_of(Leap, pool)
        if webhook_port is not None:
            serving = WebhookReceiver(webhook_url).serve(port=webhook_port, host=webhook_host)
            receiver = await stack.enter_async_context(serving)
        return await client.run(workflow_id, inputs, webhook_url=receiver)

    return start(begin, **options)


RUN: Final = run_leap
