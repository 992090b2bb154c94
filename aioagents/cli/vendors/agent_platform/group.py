"""`agent-platform`: the group of all that Kore Agent Platform has besides runs to start."""

from typing import Final

import click

from ...options import documented
from .jobs import guardrails, models, tools
from .upload import upload


@click.group("agent-platform", no_args_is_help=True)
def _platform() -> None:
    """Tools, models, guardrails and files of Kore Agent Platform; AGENT_PLATFORM_TOOLS_KEY opens them."""


for _each in (guardrails, models, tools, upload):
    _platform.add_command(_each)

GROUP: Final = documented(_platform)
