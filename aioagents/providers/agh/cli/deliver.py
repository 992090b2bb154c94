"""`agh deliver`: fire a trigger by its webhook."""

import sys
from pathlib import Path
from typing import Any, Final

import click

from ....cli.exits import Exit, code_of
from ....cli.listing import ask
from ....cli.options import json_option
from ....cli.output import Output, describe_run
from ....model import Run, Secret
from .. import Agh, Delivery

#: Seconds that the server may take to cancel a run whose connection was closed.
_CANCEL_GRACE: Final = 10.0
_PARTING: Final = "The connection is closed, by which the server cancels the run of this delivery."


@click.command("deliver", short_help="Deliver a signed webhook, and wait for the end of its run.")
@click.argument("endpoint")
@click.option(
    "--secret-file", required=True, metavar="FILE", help="The file with the trigger's secret, '-' for stdin."
)
@click.option("--body", default="", metavar="TEXT", help="The body; @FILE reads a file, @- stdin.")
@click.option("--workspace", "workspace_id", metavar="ID", help="The trigger's workspace.  [default: global]")
@click.option(
    "--delivery-id",
    metavar="ID",
    help="The id by which the server recognizes a repetition.  [default: a new one]",
)
@click.option(
    "--trigger",
    "trigger_id",
    metavar="ID",
    help="The trigger's id, which finds the run even if it failed or the answer was lost.",
)
@click.option(
    "--timeout",
    type=click.FloatRange(min=0, min_open=True),
    metavar="S",
    help="Close the connection, which cancels the run, after this many seconds.  [default: never]",
)
@json_option
def deliver(*, endpoint: str, secret_file: str, body: str, is_json: bool, **options: Any) -> Exit:
    """Deliver a webhook to ENDPOINT, as listed by 'aioagents agh triggers list', and wait for the end of its run.

    The server cancels the run when the connection is closed: Ctrl-C ends the command and the run. A delivery whose
    answer is lost is repeated under the same id, which the server accepts once within 300 seconds. Without --trigger
    a failed run cannot be distinguished from an unknown one: exit code 4.
    """
    if (secret_file, body) == ("-", "@-"):
        raise click.BadParameter("stdin holds the secret already", param_hint="--body")
    secret = _read_secret(secret_file)
    content = _read_body(body)

    async def call(client: Agh, out: Output) -> Exit:
        delivery = await client.webhooks.deliver(endpoint, content, secret=secret, **options)
        return _show_delivery(out, delivery, await _ended(delivery, options["timeout"]))

    return ask(Agh, call, is_json=is_json, hidden=[secret.reveal()], if_interrupted=_PARTING)


async def _ended(delivery: Delivery, timeout: float | None) -> Run | None:
    """Wait for the end of the delivery's run and return it; None if the run is unknown. Raises `WaitTimeout`."""
    if delivery.run is None:
        return None
    # The run is over, or being canceled since its connection was closed, unless the delivery is a repetition.
    is_ending = timeout is not None and not delivery.is_replay
    return await delivery.run.wait(timeout=_CANCEL_GRACE if is_ending else timeout)


def _show_delivery(out: Output, delivery: Delivery, run: Run | None) -> Exit:
    out.document(
        {
            "delivery_id": delivery.delivery_id,
            "matched": delivery.matched,
            "is_replay": delivery.is_replay,
            "run": None if run is None else describe_run(run),
        }
    )
    result = "had arrived before" if delivery.is_replay else f"matched {delivery.matched}"
    out.line(f"delivery {delivery.delivery_id}: {result}")
    if run is not None:
        out.line(f"{run.status:<10} {run.ref}")
        if run.error is not None:
            out.line(f"error      {run.error}")
    return Exit.OK if run is None else code_of(run)


def _read_secret(file: str) -> Secret:
    hint = "--secret-file"
    try:
        text = (sys.stdin.buffer.read() if file == "-" else Path(file).read_bytes()).decode().strip()
    except OSError as exc:
        raise click.BadParameter(f"{file}: {exc.strerror}", param_hint=hint) from None
    except UnicodeDecodeError:
        raise click.BadParameter(f"{file}: not UTF-8", param_hint=hint) from None
    if not text:
        raise click.BadParameter(f"{file}: holds no secret", param_hint=hint)
    return Secret.of(text)


def _read_body(body: str) -> bytes:
    if not body.startswith("@"):
        return body.encode()
    try:
        return sys.stdin.buffer.read() if body == "@-" else Path(body[1:]).read_bytes()
    except OSError as exc:
        raise click.BadParameter(f"{body[1:]}: {exc.strerror}", param_hint="--body") from None
