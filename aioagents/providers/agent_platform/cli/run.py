"""`run agent-platform`: start a run of an app in the background, and follow it."""

from collections.abc import Mapping
from contextlib import AsyncExitStack
from typing import Any, Final
from uuid import uuid4

import click

from ....auth import read_settings
from ....cli.exits import Exit
from ....cli.options import Command, client_of, members_option
from ....cli.runs import run_command, start
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


def conversation_options(command: Command) -> Command:
    """Add the options that name the conversation and its end user."""
    session = click.option(
        "--session", "session_reference", metavar="NAME", help="The conversation.  [default: a new one]"
    )
    user = click.option(
        "--user", "user_reference", metavar="NAME", help="The end user.  [default: as the conversation]"
    )
    return session(user(command))


def new_conversation() -> str:
    """Return the name of a conversation that there was not before."""
    return f"cli-{uuid4().hex}"


@run_command("agent-platform")
@click.option("--text", required=True, metavar="TEXT", help="The user's message.")
@conversation_options
@members_option("--metadata", "metadata")
def run_platform(
    *,
    text: str,
    session_reference: str | None,
    user_reference: str | None,
    metadata: Mapping[str, Any] | None,
    **options: Any,
) -> Exit:
    """Start a run of the app named by AGENT_PLATFORM_APP_ID."""
    session = session_reference or new_conversation()

    async def begin(pool: SessionPool, _: AsyncExitStack) -> RunHandle:
        return await client_of(AgentPlatform, pool).runs.start(
            text, session_reference=session, user_reference=user_reference, metadata=metadata
        )

    return start(begin, **options)


RUN: Final = run_platform
