"""The group `batch`: given a file it runs it; its other commands work on a journal."""

from typing import Final

import click

from .copies import backup, check
from .run import run
from .status import status
from .summary import HELP
from .unknown import unknown


class _Group(click.Group):
    """A group that runs `run` if the first argument is not the name of a command."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Insert `run` before arguments that do not begin with a command."""
        if args and args[0] not in self.commands and args[0] not in ctx.help_option_names:
            args = ["run", *args]
        return super().parse_args(ctx, args)

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Show the options of `run` as the group's own, and the commands."""
        self.commands["run"].format_options(ctx, formatter)
        self.format_commands(ctx, formatter)


batch: Final = _Group(
    "batch",
    commands=[run, status, unknown, check, backup],
    help=run.help,
    short_help="Start each row of a file once, and follow all runs to their end.",
    epilog=HELP,
    options_metavar="FILE --vendor NAME [OPTIONS]",
    subcommand_metavar="",
    no_args_is_help=True,
)
