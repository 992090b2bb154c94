"""The command `batch FILE`: its options."""

from math import isfinite
from pathlib import Path
from typing import Any, Final, Literal

import click
from click.core import ParameterSource

from ...providers import all_providers
from ..exits import Exit
from ..options import json_option, timeout_option
from .job import BatchJob, Form, form_of
from .runner import run_batch
from .summary import HELP

_IF_ANY: Final = "--resume-if-any"
#: Options that do not belong to the command that continues the batch: it has `--resume`.
_OF_THIS_RUN: Final = frozenset({"is_rewritten", "is_resumed", "is_resumed_if_any", "accepts_loss"})

_file = click.argument(
    "file", type=click.Path(exists=True, dir_okay=False, readable=True, allow_dash=True), metavar="FILE"
)
_options = (
    click.option(
        "--vendor",
        type=click.Choice(list(all_providers())),
        required=True,
        help="The vendor that runs the rows.",
    ),
    click.option(
        "--endpoint",
        default="",
        metavar="NAME",
        help="Use the vendor's settings of this endpoint, in variables that end in two underscores and NAME.",
    ),
    click.option("--journal", metavar="PATH", help="The file of the journal.  [default: FILE.db]"),
    click.option(
        "--resume",
        "is_resumed",
        is_flag=True,
        help="Continue with the journal, which has to be there; --resume=if-any also begins a new one.",
    ),
    click.option(_IF_ANY, "is_resumed_if_any", is_flag=True, hidden=True),
    click.option(
        "--accept-loss",
        "accepts_loss",
        is_flag=True,
        help="Continue with a journal that is not whole; rows that may be started twice are listed first.",
    ),
    click.option(
        "--output",
        metavar="PATH",
        help="Write results to PATH, one line for each settled row: CSV if the name ends in .csv, else JSON lines.",
    ),
    click.option(
        "--rewrite-output", "is_rewritten", is_flag=True, help="Rewrite --output from the first row."
    ),
    click.option(
        "--guard-formulas",
        "guards_formulas",
        is_flag=True,
        help="In a CSV of results, put ' before a cell that begins like a formula (= + - @).",
    ),
    click.option(
        "--format",
        "form",
        type=click.Choice(["jsonl", "csv"]),
        help="The format of FILE.  [default: by its name]",
    ),
    click.option("--target", default="", metavar="T", help="The target of rows that have none."),
    click.option(
        "--in-flight",
        type=click.IntRange(min=1),
        default=1000,
        metavar="N",
        show_default=True,
        help="The number of rows in flight at a time.",
    ),
    click.option(
        "--rate",
        "per_second",
        type=click.FloatRange(min=0, min_open=True),
        metavar="PER_SECOND",
        help="Start at most this many rows a second, evenly spaced.",
    ),
    timeout_option,
    click.option(
        "--strict",
        "is_strict",
        is_flag=True,
        help="Stop at the first line that is not a row, or repeats a key.",
    ),
    click.option(
        "--on-unknown",
        type=click.Choice(["report", "resend"]),
        default="report",
        show_default=True,
        help="What to do with rows whose start may or may not have arrived; resend may start them twice.",
    ),
    json_option,
)


def _with_options(function: Any) -> Any:
    for option in reversed((_file, *_options)):
        function = option(function)
    return function


class _RunCommand(click.Command):
    """A command with `--resume=if-any`: an option that may have a value would take the next argument for it."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Replace the option by one that has no value."""
        end = args.index("--") if "--" in args else len(args)
        names = [_IF_ANY if each == "--resume=if-any" else each for each in args[:end]]
        return super().parse_args(ctx, names + args[end:])


@click.command("run", cls=_RunCommand, epilog=HELP)
@_with_options
@click.pass_context
def run(  # noqa: PLR0913 - one for each option
    context: click.Context,
    *,
    file: str,
    vendor: str,
    endpoint: str,
    journal: str | None,
    is_resumed: bool,
    is_resumed_if_any: bool,
    accepts_loss: bool,
    output: str | None,
    is_rewritten: bool,
    guards_formulas: bool,
    form: Form | None,
    target: str,
    in_flight: int,
    per_second: float | None,
    timeout: float | None,
    is_strict: bool,
    on_unknown: Literal["report", "resend"],
    is_json: bool,
) -> Exit:
    """Start each row of FILE once, and follow all runs to their end.

    FILE has JSON lines, {"key": ..., "target": ..., "message": ..., "input": {...}}, or CSV with the columns key,
    target, message and input.NAME; '-' is stdin. A key identifies a row and occurs once. Lines that are not rows, or
    repeat a key, are reported with their number and skipped; with --strict a FILE with such a line is refused before
    anything is started (rows from a pipe: as soon as one is read).

    The journal records each row before its start is sent. However this process ends, the same command with --resume
    and the same FILE continues the batch: no row is started twice, and --output has one line for each. Rows whose
    start was pending at that moment are unknown: 'aioagents batch unknown JOURNAL' lists and settles them. A journal
    that does not have all that was recorded, because a file beside it is gone, damaged or older, is refused.

    Ctrl-C, or SIGTERM, once: nothing more is started, pending starts are recorded, runs go on, and the command that
    continues the batch is printed. Twice: it ends at once, and rows with pending starts are unknown.
    """
    job = BatchJob(
        file=file,
        form=_form(context, file, form),
        vendor=vendor,
        endpoint=endpoint,
        journal=_journal(context, file, journal),
        output=_output(context, output, is_rewritten=is_rewritten),
        in_flight=in_flight,
        per_second=per_second,
        on_unknown=on_unknown,
        timeout=timeout,
        target=target,
        resume="if-any" if is_resumed_if_any else "yes" if is_resumed else "no",
        accepts_loss=accepts_loss,
        is_strict=is_strict,
        is_rewritten=is_rewritten,
        guards_formulas=guards_formulas,
        is_json=is_json,
        options=_given(context),
    )
    _check(context, job)
    return run_batch(job)


def _form(context: click.Context, file: str, form: Form | None) -> Form:
    found = form or form_of(file)
    if found is None:
        reason = "stdin has no name" if file == "-" else f"{file} does not end in .jsonl or .csv"
        raise click.UsageError(f"{reason}: give its format with --format", context)
    return found


def _journal(context: click.Context, file: str, journal: str | None) -> str:
    if journal is None and file == "-":
        raise click.UsageError("rows from stdin need a --journal", context)
    return journal or f"{file}.db"


def _output(context: click.Context, output: str | None, *, is_rewritten: bool) -> str | None:
    if output == "-":
        raise click.UsageError("--output has to be a file: output on stdout cannot be continued", context)
    if output is None and is_rewritten:
        raise click.UsageError("--rewrite-output needs an --output", context)
    return output


def _check(context: click.Context, job: BatchJob) -> None:
    if job.accepts_loss and job.resume == "no":
        raise click.UsageError("--accept-loss needs --resume", context)
    if job.per_second is not None and not isfinite(job.per_second):
        raise click.UsageError(f"--rate has to be a number, not {job.per_second}", context)
    names = [name for name in (job.file, job.journal, job.output) if name not in (None, "-")]
    paths = {Path(str(name)).resolve() for name in names}
    if len(paths) < len(names):
        raise click.UsageError("FILE, --journal and --output have to be different files", context)


def _given(context: click.Context) -> list[str]:
    """Return the options as they were given, for the command that continues the batch, which has `--resume` too."""
    options: list[str] = []
    for parameter in context.command.params:
        name = parameter.name or ""
        if not isinstance(parameter, click.Option) or name in _OF_THIS_RUN:
            continue
        if context.get_parameter_source(name) is ParameterSource.COMMANDLINE:
            value = context.params[name]
            options += [parameter.opts[0]] if parameter.is_flag else [parameter.opts[0], str(value)]
    return options
