"""`agent-platform upload`: bring a file to the platform, in chunks where it is large."""

import click

from ....providers.agent_platform import AgentPlatform
from ...exits import Exit
from ...listing import ask
from ...options import documented, json_option
from ...output import Output
from .meter import Meter


@click.command("upload")
@click.argument("file", type=click.Path(exists=True, dir_okay=False))
@click.option("--context", default="bulkImport", metavar="WORD", help="What it is for.", show_default=True)
@json_option
def upload(*, file: str, context: str, is_json: bool) -> Exit:
    """Upload FILE, and print the id by which imports name it.

    Up to 25 MB go up in one call, more in chunks, each of which is tried again by itself.
    """

    async def call(client: AgentPlatform, out: Output) -> Exit:
        with Meter(out, "uploaded") as meter:
            uploaded = await client.files.upload(file, context=context, progress=meter.tell)
        out.document({"file_id": uploaded.file_id})
        out.line(uploaded.file_id)
        return Exit.OK

    return ask(AgentPlatform, call, is_json=is_json)


documented(upload)
