"""What commands share on the command line: `--json`, `--timeout`, `--endpoint`, values as NAME=VALUE."""

import math
import sys
from collections.abc import Callable, Iterable
from functools import wraps
from pathlib import Path
from typing import Any, Final, TypeVar

import click

from .. import codec
from ..auth import check_endpoint_name
from ..contract import RunClient
from ..pool import SessionPool

Command = Callable[..., Any]

json_option: Final = click.option(
    "--json", "is_json", is_flag=True, help="Print JSON on stdout, one value a line."
)


C = TypeVar("C", bound=RunClient)

_ENDPOINT: Final = f"{__name__}.endpoint"


def _keep_endpoint(context: click.Context, _: click.Parameter, name: str) -> None:
    try:
        context.meta[_ENDPOINT] = check_endpoint_name(name)
    except ValueError as exc:
        raise click.BadParameter(str(exc), ctx=context, param_hint="--endpoint") from None


def add_endpoint_option(command: click.Command) -> click.Command:
    """Add `--endpoint` to a vendor's command, or to all commands of a group, for `client_of`; return the command."""
    if isinstance(command, click.Group):
        for each in command.commands.values():
            add_endpoint_option(each)
        return command
    about = "Use the settings of this endpoint, in variables that end in two underscores and NAME."
    names = ["--endpoint", "endpoint_name"]  # `agh deliver` has an argument called endpoint
    option = click.Option(
        names, metavar="NAME", default="", expose_value=False, callback=_keep_endpoint, help=about
    )
    command.params.append(option)
    return command


def client_of(kind: type[C], pool: SessionPool) -> C:
    """Return a client of the endpoint that the running command was given. Raises ValueError for missing settings."""
    return kind.from_env(pool, name=click.get_current_context().meta.get(_ENDPOINT, ""))


def _finite(context: click.Context, parameter: click.Parameter, seconds: float | None) -> float | None:
    """Refuse infinity and NaN, which pass the check for a minimum."""
    if seconds is not None and not math.isfinite(seconds):
        raise click.BadParameter(f"{seconds} is not a number of seconds", ctx=context, param=parameter)
    return seconds


timeout_option: Final = click.option(
    "--timeout",
    type=click.FloatRange(min=0),
    callback=_finite,
    metavar="S",
    help="Wait at most S seconds for the end, then exit with 3.  [default: no limit]",
)


def members_option(option: str, name: str) -> Callable[[Command], Command]:
    """Add `--OPTION K=V` and `--OPTION-file FILE` to a command, which gets the members as `name`, or None."""

    def add(command: Command) -> Command:
        @wraps(command)
        def collect(*, pairs: tuple[str, ...], file: str | None, **others: Any) -> Any:
            members = _read_members(pairs, file, option=option) if pairs or file else None
            return command(**{name: members}, **others)

        about = f"The {name} as a JSON object, '-' for stdin; {option} overrides it."
        collect = click.option(f"{option}-file", "file", metavar="FILE", help=about)(collect)
        about = f"A member of the {name}; repeatable."
        return click.option(option, "pairs", multiple=True, metavar="K=V", help=about)(collect)

    return add


def _read_members(pairs: Iterable[str], file: str | None, *, option: str) -> dict[str, Any]:
    """Return the input of a run: the JSON object in a file, updated with NAME=VALUE pairs of strings."""
    context = {} if file is None else read_object(file, f"{option}-file")
    named: set[str] = set()
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not (name and equals):
            raise click.BadParameter(f"{pair!r} is not of the form NAME=VALUE", param_hint=option)
        if name in named:
            raise click.BadParameter(f"{name!r} is given twice", param_hint=option)
        named.add(name)
        context[name] = value
    return context


def read_object(file: str, hint: str) -> dict[str, Any]:
    """Return the JSON object in a file, '-' for stdin."""
    try:
        body = sys.stdin.buffer.read() if file == "-" else Path(file).read_bytes()
    except OSError as exc:
        raise click.BadParameter(f"{file}: {exc.strerror}", param_hint=hint) from None
    try:
        value = codec.decode_json(body)
    except ValueError as exc:
        raise click.BadParameter(f"{file}: {exc}", param_hint=hint) from None
    if not isinstance(value, dict):
        raise click.BadParameter(
            f"{file}: expected a JSON object, not {type(value).__name__}", param_hint=hint
        )
    return value
