"""`run agent-platform`: start a run of an app in the background, and follow it."""

from collections.abc import Mapping
from contextlib import AsyncExitStack
from typing import Final
from uuid import uuid4

import click

from ....auth import read_settings
from ....cli.exits import Exit
from ....cli.options import documented, json_option, read_members, timeout_option
from ....cli.runs import start
from ....contract import check_base_url
from ....polling import RunHandle
from ....pool import SessionPool
from .. import AgentPlatform

_URLS: Final = ("AGENT_PLATFORM_BASE_URL", "AGENT_PLATFORM_TOOLS_URL")


def endpoints(environ: Mapping[str, str] | None = None) -> Mapping[str, str]:
    """Return the base URLs of the app's and the tools' APIs. Raises ValueError for an invalid setting."""
    found = read_settings((), _URLS, environ)
    names = {"app": _URLS[0], "tools": _URLS[1]}
    return {name: check_base_url(found[each], each) for name, each in names.items() if each in found}


@click.command("agent-platform")
@click.option("--text", required=True, metavar="TEXT", help="The user's message.")
@click.option(
    "--session", "session_reference", metavar="NAME", help="The conversation.  [default: a new one]"
)
@click.option(
    "--user", "user_reference", metavar="NAME", help="The end user.  [default: as the conversation]"
)
@click.option(
    "--metadata", "pairs", multiple=True, metavar="K=V", help="A member of the metadata; repeatable."
)
@click.option(
    "--metadata-file",
    metavar="FILE",
    help="The metadata as a JSON object, '-' for stdin; --metadata overrides it.",
)
@click.option(
    "--wait/--no-wait",
    default=True,
    help="Follow the run, or print its reference and exit.  [default: wait]",
)
@timeout_option
@json_option
def _run(
    *,
    text: str,
    session_reference: str | None,
    user_reference: str | None,
    pairs: tuple[str, ...],
    metadata_file: str | None,
    wait: bool,
    timeout: float | None,
    is_json: bool,
) -> Exit:
    """Start a run of the app named by AGENT_PLATFORM_APP_ID.

    The run's reference is printed as soon as it is known; 'aioagents wait REF' follows it from anywhere. A
    start is never sent twice: if its reply is lost, the command reports it and exits with 4.
    """
    metadata = read_members(pairs, metadata_file, option="--metadata") if pairs or metadata_file else None
    session = session_reference or f"cli-{uuid4().hex}"

    async def begin(pool: SessionPool, _: AsyncExitStack) -> RunHandle:
        return await AgentPlatform.from_env(pool).runs.start(
            text, session_reference=session, user_reference=user_reference, metadata=metadata
        )

    return start(begin, is_waited=wait, timeout=timeout, is_json=is_json)


RUN: Final = documented(_run)
