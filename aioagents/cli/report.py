"""The commands `report VENDOR`: write a vendor's report as a table, JSON lines or CSV while it is read."""

import csv
import os
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from types import SimpleNamespace, TracebackType
from typing import TYPE_CHECKING, Any, Final, Protocol, Self, TypeVar

import click
from attrs import frozen

from .. import codec
from ..batch.lines import guarded
from ..pool import SessionPool
from .exits import Exit
from .options import json_option
from .output import Output, is_terminal
from .work import Work, perform

if TYPE_CHECKING:
    from . import live

_LINE_EVERY: Final = 2.0  # seconds between two lines of progress
_DRAW_EVERY: Final = 0.1

Cell = str | int | None


class Row(Protocol):
    """A row of a report."""

    @property
    def raw(self) -> Mapping[str, Any]:
        """Return the row as the vendor sent it."""
        ...


R = TypeVar("R", bound=Row)
R_co = TypeVar("R_co", bound=Row, covariant=True)


class Rows(Protocol[R_co]):
    """A report that is read row by row."""

    @property
    def total(self) -> int | None:
        """Return the number of rows by the vendor's account."""
        ...

    @property
    def pages(self) -> int:
        """Return the number of pages that were read."""
        ...

    @property
    def is_complete(self) -> bool:
        """Return whether no row can have been missed."""
        ...

    def __aiter__(self) -> AsyncIterator[R_co]:
        """Return the rows."""
        ...


@frozen(kw_only=True)
class ReportJob:
    """The options of a report, as given on the command line."""

    start: str
    end: str
    updated_after: str | None
    form: str
    output: str
    is_guarded: bool
    is_json: bool


def report_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options that all reports have to a command, which is called with them as a `ReportJob`, `job`."""

    def collect(
        *,
        start: datetime,
        end: datetime,
        updated_after: str | None,
        form: str | None,
        output: str,
        is_guarded: bool,
        is_json: bool,
    ) -> Any:
        if is_json and form not in {None, "jsonl"}:
            raise click.UsageError(f"--json means --format jsonl, not {form}")
        job = ReportJob(
            start=start.date().isoformat(),
            end=end.date().isoformat(),
            updated_after=updated_after,
            form=form or ("jsonl" if is_json else "table"),
            output=output,
            is_guarded=is_guarded,
            is_json=is_json,
        )
        return function(job=job)

    collect.__doc__ = function.__doc__
    day = click.DateTime(["%Y-%m-%d"])
    for option in (
        json_option,
        click.option(
            "--guard-formulas",
            "is_guarded",
            is_flag=True,
            help="In CSV, put ' before a cell that begins like a formula (= + - @). Without it cells are written "
            "unchanged.",
        ),
        click.option(
            "--output",
            default="-",
            metavar="FILE",
            help="Write to FILE, which is created once all rows are read. Default: stdout.",
        ),
        click.option(
            "--format",
            "form",
            type=click.Choice(["table", "jsonl", "csv"]),
            help="jsonl has rows as received, csv has a column for every typed field.  [default: table]",
        ),
        click.option(
            "--updated-after", metavar="T", help="Only runs updated after T, in ISO 8601 with a zone."
        ),
        click.option("--to", "end", type=day, required=True, metavar="D", help="Last day, YYYY-MM-DD."),
        click.option("--from", "start", type=day, required=True, metavar="D", help="First day, YYYY-MM-DD."),
    ):
        collect = option(collect)
    return collect


@frozen(kw_only=True)
class Layout:
    """How a vendor's rows become cells: `columns` are all columns of the CSV, `shown` those of a table."""

    columns: Mapping[str, Callable[[Any], Cell]]
    shown: Sequence[str]

    def cells(self, row: Row, *, is_guarded: bool) -> list[Cell]:
        """Return a row's cells for CSV; missing values are empty."""
        found = [read(row) for read in self.columns.values()]
        return [_guarded(cell) for cell in found] if is_guarded else found

    def texts(self, row: Row) -> list[str]:
        """Return a row's cells for a table."""
        found = (self.columns[name](row) for name in self.shown)
        return ["-" if cell in (None, "") else str(cell) for cell in found]


def _guarded(cell: Cell) -> Cell:
    return guarded(cell) if isinstance(cell, str) else cell


def write_report(job: ReportJob, ask: Callable[[SessionPool], Rows[R]], layout: Layout) -> Exit:
    """Read the report that `ask` returns and write it as `job` says. After an error no file is left."""
    out = Output(is_json=job.is_json)
    work = Work(out)

    async def read() -> Exit:
        async with work.pool() as pool:
            rows = ask(pool)
            with _target(job, out) as write, _Progress(rows) as progress:
                take, finish = _writer(job, layout, write)
                async for row in rows:
                    take(row)
                    progress.step(out)
                finish()
        out.note(f"{progress.done} rows in {rows.pages} pages")
        if not rows.is_complete:
            out.warn("the report changed while it was read, three times; rows may be missing")
        return Exit.OK

    return perform(work, read)


Write = Callable[[bytes], object]


def _writer(
    job: ReportJob, layout: Layout, write: Write
) -> tuple[Callable[[Row], object], Callable[[], object]]:
    """Return a function that takes a row, and one to call after the last. Only a table keeps rows in memory."""
    if job.form == "jsonl":
        return lambda row: write(codec.encode_json(row.raw) + b"\n"), lambda: None
    if job.form == "csv":
        target = SimpleNamespace(write=lambda text: write(text.encode("utf-8", "backslashreplace")))
        lines = csv.writer(target, lineterminator="\n")
        lines.writerow(layout.columns)
        return lambda row: lines.writerow(layout.cells(row, is_guarded=job.is_guarded)), lambda: None
    kept: list[list[str]] = []

    def lay_out() -> None:
        from . import live  # noqa: PLC0415 - rich is imported only if something is drawn

        laid = live.table("", layout.shown, kept)
        if job.output == "-" and Output().is_live:
            live.show(laid)
        else:
            write(f"{live.plain(laid)}\n".encode())

    return lambda row: kept.append(layout.texts(row)), lay_out


@contextmanager
def _target(job: ReportJob, out: Output) -> Iterator[Write]:
    """Open the target: stdout, or a temporary file that is renamed when the block succeeds."""
    if job.output == "-":
        yield out.raw
        out.flush()
        return
    path = Path(job.output).resolve()
    if path.exists() and not path.is_file():  # a device or a pipe must not be replaced
        with path.open("wb") as device:
            yield device.write
        return
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with part.open("xb") as file:
            yield file.write
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


class _Progress:
    """Shows on stderr how far a report was read: redrawn on a terminal, else a line now and then."""

    def __init__(self, rows: Rows[Any]) -> None:
        self._rows = rows
        self.done = 0
        self._is_drawn = is_terminal(sys.stderr)
        self._every = _DRAW_EVERY if self._is_drawn else _LINE_EVERY
        self._next_at = time.monotonic() + self._every
        self._board = self._open_board()

    def _open_board(self) -> "live.Board | None":
        if not self._is_drawn:
            return None
        from . import live  # noqa: PLC0415 - rich is imported only if something is drawn

        return live.Board(
            lambda: live.rows_read(self.done, self._rows.total, self._rows.pages), on_stderr=True
        )

    def __enter__(self) -> Self:
        if self._board is not None:
            self._board.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._board is not None:
            self._board.__exit__(kind, value, trace)

    def step(self, out: Output) -> None:
        """Count a row, and show the progress if it is due."""
        self.done += 1
        now = time.monotonic()
        if now < self._next_at:
            return
        self._next_at = now + self._every
        if self._board is not None:
            self._board.refresh()
        else:
            out.note(f"{self.done} of {self._rows.total or 'unknown'} rows")
