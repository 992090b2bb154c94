"""Prints lists and single values: tables and name-value lines for people, JSON lines for programs."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import datetime
from shutil import get_terminal_size
from typing import Any, Final, TypeVar

from .. import codec
from ..contract import RunClient
from .exits import Exit
from .options import client_of
from .output import Output, moment
from .work import Work, perform

C = TypeVar("C", bound=RunClient)

_BETWEEN: Final = 3  # blanks from one column of a table to the next


def ask(
    kind: type[C],
    call: Callable[[C, Output], Awaitable[Exit]],
    *,
    is_json: bool,
    hidden: Sequence[str] = (),
    if_interrupted: str = "",
) -> Exit:
    """Run `call` with a client made from the environment, and return its exit code.

    Texts in `hidden` are replaced in all errors. `if_interrupted` is printed if an interruption leaves an outcome
    unknown.
    """
    work = Work(Output(is_json=is_json, hidden=hidden), if_interrupted=if_interrupted)

    async def job() -> Exit:
        async with work.pool() as pool:
            return await call(client_of(kind, pool), work.out)

    return perform(work, job)


def show_table(
    out: Output, heads: Sequence[str], rows: Sequence[Sequence[object]], *, spare: Sequence[str] = ()
) -> None:
    """Print a table. If the terminal is too narrow, `spare` columns are left out, in that order.

    If it is still too narrow, cells are folded, except in the first column, whose ids people copy.
    """
    if out.is_json:
        return
    from . import live  # noqa: PLC0415 - rich is imported only if something is drawn

    cells = [[cell(value) for value in row] for row in rows]
    columns = list(range(len(heads)))
    if out.is_live:
        columns = _fitting([heads, *cells], [heads.index(name) for name in spare])
    table = live.table("", [heads[n] for n in columns], [[row[n] for n in columns] for row in cells])
    table.columns[0].no_wrap = True
    if out.is_live:
        live.show(table)
    else:
        out.block(live.plain(table).strip("\n"))


def _fitting(lines: Sequence[Sequence[str]], spare: Sequence[int]) -> list[int]:
    """Return the columns that fit into the terminal's width."""
    widths = [max(map(len, column)) + _BETWEEN for column in zip(*lines, strict=True)]
    kept = list(range(len(widths)))
    for column in spare:
        if sum(widths[n] for n in kept) <= get_terminal_size().columns + 1:  # no gap after the last one
            break
        kept.remove(column)
    return kept


def show_members(out: Output, members: Mapping[str, object]) -> None:
    """Print names and values, one on each line; empty values are left out."""
    shown = {name: value for name, value in members.items() if value not in ("", None, {}, [])}
    width = max(map(len, shown), default=0)
    for name, value in shown.items():
        out.line(f"{name:<{width}}  {cell(value)}")


def cell(value: Any) -> str:
    """Return a value as text for people."""
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, datetime):
        return moment(value).replace("+00:00", "Z")
    if isinstance(value, Mapping | list):
        return codec.encode_json(value).decode()
    return str(value)
