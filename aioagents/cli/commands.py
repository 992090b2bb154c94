"""All commands, in one group."""

from collections.abc import Sequence
from importlib.metadata import version

import click

from .batch import batch
from .demo import demo
from .discover import find_commands
from .doctor import doctor
from .exits import HELP, Exit
from .listen import listen
from .options import add_endpoint_option
from .output import Output
from .runs import cancel, status, wait
from .simulate import simulate

_SETTINGS = """\b
Settings come from the environment only; 'aioagents doctor' lists them, and
'aioagents simulate' prints those that point at a simulator."""


@click.group(
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog=_SETTINGS,
    no_args_is_help=True,
)
@click.version_option(version("aioagents"), prog_name="aioagents")
def commands() -> None:
    """Start agent and workflow runs, and follow them to their end."""


@commands.group(no_args_is_help=True)
def run() -> None:
    """Start a run and follow it to its end. Each vendor has options of its own."""


@commands.group(no_args_is_help=True)
def report() -> None:
    """Read a vendor's report of runs."""


@commands.group(no_args_is_help=True)
def chat() -> None:
    """Talk to an agent, answer by answer."""


for _each in (batch, cancel, demo, doctor, listen, simulate, status, wait):
    commands.add_command(_each)
for _name, _group in {"GROUP": commands, "RUN": run, "CHAT": chat, "REPORT": report}.items():
    for _each in find_commands(_name):
        _group.add_command(add_endpoint_option(_each))


def _document_exits(command: click.Command) -> None:
    """Add the exit codes to the help of a command, and of all commands of a group."""
    own = () if command.epilog is None else (command.epilog,)
    command.epilog = "\n\n".join([HELP, *own])
    for each in command.commands.values() if isinstance(command, click.Group) else ():
        _document_exits(each)


_document_exits(commands)


def invoke(arguments: Sequence[str]) -> int:
    """Run a command and return its exit code. Usage errors are printed with a reference to the command's help."""
    try:
        code = commands.main(args=list(arguments), prog_name="aioagents", standalone_mode=False)
    except click.exceptions.NoArgsIsHelpError as exc:
        exc.show()
        return Exit.USAGE
    except click.ClickException as exc:
        _show(exc, Output(is_json="--json" in arguments))
        return exc.exit_code
    except click.Abort:
        Output().warn("interrupted")
        return Exit.INTERRUPTED
    return code if isinstance(code, int) else Exit.OK


def _show(error: click.ClickException, out: Output) -> None:
    context = getattr(error, "ctx", None)
    where = "aioagents" if context is None else context.command_path
    out.warn(f"{error.format_message().rstrip('.')}; see '{where} --help'")
    out.document(
        {"error": {"type": "UsageError", "message": error.format_message(), "exit_code": error.exit_code}}
    )
