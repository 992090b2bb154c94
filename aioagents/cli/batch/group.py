"""The group `batch`: what is given a file runs it; `status` and `unknown` are about its journal."""

from typing import Final

import click

from ..exits import HELP
from .ending import HELP as ENDING_HELP
from .run import run
from .settle import unknown
from .status import status


class _Group(click.Group):
    """Takes whatever is none of its commands for the beginning of `run`'s arguments."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Put `run` before arguments that name no command."""
        if args and args[0] not in self.commands and args[0] not in ctx.help_option_names:
            args = ["run", *args]
        return super().parse_args(ctx, args)

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Show the options of `run` as the group's own, and the other commands."""
        self.commands["run"].format_options(ctx, formatter)
        self.format_commands(ctx, formatter)


batch: Final = _Group(
    "batch",
    commands=[run, status, unknown],
    help=run.help,
    short_help="Start each row of a file once, and follow all runs to their end.",
    epilog=f"{HELP}\n\n{ENDING_HELP}",
    options_metavar="FILE --vendor NAME [OPTIONS]",
    subcommand_metavar="",
    no_args_is_help=True,
)
