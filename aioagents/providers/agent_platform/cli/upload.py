"""`agent-platform upload`: upload a file to the platform, in chunks if it is large."""

import click

from ....cli.exits import Exit
from ....cli.listing import ask
from ....cli.options import json_option
from ....cli.output import Output
from .. import AgentPlatform
from .transfer_bar import TransferBar


@click.command("upload")
@click.argument("file", type=click.Path(exists=True, dir_okay=False))
@click.option(
    "--context", default="bulkImport", metavar="WORD", help="The purpose of the file.", show_default=True
)
@json_option
def upload(*, file: str, context: str, is_json: bool) -> Exit:
    """Upload FILE, and print its id, which imports use.

    Up to 25 MB are sent in one call, more in chunks, each of which is retried by itself.
    """

    async def call(client: AgentPlatform, out: Output) -> Exit:
        with TransferBar(out, "uploaded") as bar:
            uploaded = await client.files.upload(file, context=context, progress=bar.update)
        out.document({"file_id": uploaded.file_id})
        out.line(uploaded.file_id)
        return Exit.OK

    return ask(AgentPlatform, call, is_json=is_json)
