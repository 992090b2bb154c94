"""Leap on the command line."""

from collections.abc import Mapping
from contextlib import AsyncExitStack
from typing import Final

import click

from ...auth import read_settings
from ...cli.exits import Exit
from ...cli.options import documented, json_option, read_members, timeout_option
from ...cli.runs import start
from ...contract import check_base_url
from ...polling import RunHandle
from ...pool import SessionPool
from ...webhooks import WebhookReceiver
from . import BASE_URL, Leap


def endpoints(environ: Mapping[str, str] | None = None) -> Mapping[str, str]:
    """Return the base URL of the API. Raises ValueError for an invalid setting."""
    found = read_settings((), ("LEAP_BASE_URL",), environ)
    return {"workflows": check_base_url(found.get("LEAP_BASE_URL", BASE_URL), "LEAP_BASE_URL")}


@click.command("leap")
@click.argument("workflow_id")
@click.option("--input", "pairs", multiple=True, metavar="K=V", help="An input; repeatable.")
@click.option(
    "--input-file", metavar="FILE", help="The inputs as a JSON object, '-' for stdin; --input overrides it."
)
@click.option(
    "--webhook-port",
    type=click.IntRange(0, 65535),
    help="Listen on this port for the vendor's webhook when the run is over; 0 takes a free one.",
)
@click.option("--webhook-host", default="127.0.0.1", help="The address to listen on.", show_default=True)
@click.option("--webhook-url", metavar="URL", help="The public URL of that port.  [default: its own address]")
@click.option(
    "--wait/--no-wait",
    default=True,
    help="Follow the run, or print its reference and exit.  [default: wait]",
)
@timeout_option
@json_option
def run_leap(
    *,
    workflow_id: str,
    pairs: tuple[str, ...],
    input_file: str | None,
    webhook_port: int | None,
    webhook_host: str,
    webhook_url: str | None,
    wait: bool,
    timeout: float | None,
    is_json: bool,
) -> Exit:
    """Start a run of the workflow called WORKFLOW_ID at Leap.

    The run's reference is printed as soon as it is known; 'aioagents wait REF' follows it from anywhere. A
    start is never sent twice: if its reply is lost, the command reports it and exits with 4.
    """
    inputs = read_members(pairs, input_file, option="--input") if pairs or input_file else None

    async def begin(pool: SessionPool, stack: AsyncExitStack) -> RunHandle:
        receiver = None
        client = Leap.from_env(pool)
        if webhook_port is not None:
            serving = WebhookReceiver(webhook_url).serve(port=webhook_port, host=webhook_host)
            receiver = await stack.enter_async_context(serving)
        return await client.run(workflow_id, inputs, webhook_url=receiver)

    return start(begin, is_waited=wait, timeout=timeout, is_json=is_json)


RUN: Final = documented(run_leap)
