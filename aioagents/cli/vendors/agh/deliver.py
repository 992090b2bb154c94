"""`agh deliver`: sets off a trigger by its webhook."""

import sys
from pathlib import Path
from typing import Any, Final

import click

from ....model import Run, Secret
from ....providers.agh import Agh, Delivery
from ...exits import Exit, code_of
from ...listing import ask
from ...options import documented, json_option
from ...output import Output, describe_run

#: Seconds that the server may take to end a run whose connection was closed.
_ENDING: Final = 10.0
_PARTING: Final = "The connection is closed, by which the server cancels the run of this delivery."


@click.command("deliver", short_help="Deliver a signed webhook, and wait for the end of its run.")
@click.argument("endpoint")
@click.option(
    "--secret-file", required=True, metavar="FILE", help="Where the trigger's secret stands, '-' for stdin."
)
@click.option("--body", default="", metavar="TEXT", help="What is delivered; @FILE reads a file, @- stdin.")
@click.option("--workspace", "workspace_id", metavar="ID", help="The trigger's workspace.  [default: global]")
@click.option(
    "--delivery-id", metavar="ID", help="What the server knows a repetition by.  [default: a new one]"
)
@click.option(
    "--trigger",
    "trigger_id",
    metavar="ID",
    help="The trigger's id: by it the run is found whatever became of the answer, and one that failed as well.",
)
@click.option(
    "--timeout",
    type=click.FloatRange(min=0, min_open=True),
    metavar="S",
    help="Close the connection, and so have the run canceled, after so many seconds.  [default: never]",
)
@json_option
def _deliver(*, endpoint: str, secret_file: str, body: str, is_json: bool, **options: Any) -> Exit:
    """Deliver a webhook to ENDPOINT, as 'aioagents agh triggers list' tells it, and wait until its run has ended.

    The server cancels the run when the connection is closed: Ctrl-C ends the command and the run. A delivery that
    was lost on its way is repeated under the same id, which the server takes once within 300 seconds. Without
    --trigger a run that failed cannot be told from one that is not known: exit code 4.
    """
    if (secret_file, body) == ("-", "@-"):
        raise click.BadParameter("stdin holds the secret already", param_hint="--body")
    secret = _read_secret(secret_file)
    content = _read_body(body)

    async def call(client: Agh, out: Output) -> Exit:
        delivery = await client.webhooks.deliver(endpoint, content, secret=secret, **options)
        return _tell(out, delivery, await _ended(delivery, options["timeout"]))

    return ask(Agh, call, is_json=is_json, hidden=[secret.reveal()], if_interrupted=_PARTING)


async def _ended(delivery: Delivery, timeout: float | None) -> Run | None:
    """Return the end of the delivery's run, None where it is not known. Raises `WaitTimeout`."""
    if delivery.run is None:
        return None
    # By now the run is over, or about to be since its connection was closed; one that had arrived before may go on.
    is_ending = timeout is not None and not delivery.is_replay
    return await delivery.run.wait(timeout=_ENDING if is_ending else timeout)


def _tell(out: Output, delivery: Delivery, run: Run | None) -> Exit:
    out.document(
        {
            "delivery_id": delivery.delivery_id,
            "matched": delivery.matched,
            "is_replay": delivery.is_replay,
            "run": None if run is None else describe_run(run),
        }
    )
    told = "had arrived before" if delivery.is_replay else f"matched {delivery.matched}"
    out.line(f"delivery {delivery.delivery_id}: {told}")
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


deliver: Final = documented(_deliver)
