"""`agent-platform`: the group of all commands of Kore Agent Platform but `run` and `chat`."""

from typing import Final

import click

from .jobs import guardrails, models, tools
from .upload import upload


@click.group("agent-platform", no_args_is_help=True)
def platform_group() -> None:
    """Tools, models, guardrails and files of Kore Agent Platform; needs AGENT_PLATFORM_TOOLS_KEY."""


for _each in (guardrails, models, tools, upload):
    platform_group.add_command(_each)

GROUP: Final = platform_group
