"""Things that are listed or shown: tables and name-value lines for people, JSON lines for programs."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import datetime
from shutil import get_terminal_size
from typing import Any, Final, TypeVar

from .. import codec
from ..contract import RunClient
from .exits import Exit
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
    parting: str = "",
) -> Exit:
    """Make a client from the environment, and have `call` ask it and print what it says.

    What is `hidden` is blotted out of all errors; `parting` is told when an interruption leaves something unknown.
    """
    work = Work(Output(is_json=is_json, hidden=hidden), parting=parting)

    async def job() -> Exit:
        async with work.pool() as pool:
            return await call(kind.from_env(pool), work.out)

    return perform(work, job)


def show_table(
    out: Output, heads: Sequence[str], rows: Sequence[Sequence[object]], *, spare: Sequence[str] = ()
) -> None:
    """Print a table. On a terminal that is too narrow for it, `spare` columns are left out, the first one first.

    If it is too narrow still, cells are folded, but for the first column, whose ids people copy.
    """
    if out.is_json:
        return
    from . import live  # noqa: PLC0415 - rich is imported where something is drawn

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
    """Return the columns that are shown within the terminal's width."""
    widths = [max(map(len, column)) + _BETWEEN for column in zip(*lines, strict=True)]
    kept = list(range(len(widths)))
    for column in spare:
        if sum(widths[n] for n in kept) <= get_terminal_size().columns + 1:  # behind the last one is nothing
            break
        kept.remove(column)
    return kept


def show_members(out: Output, members: Mapping[str, object]) -> None:
    """Print one thing, a member a line; what is empty is left out."""
    shown = {name: value for name, value in members.items() if value not in ("", None, {}, [])}
    width = max(map(len, shown), default=0)
    for name, value in shown.items():
        out.line(f"{name:<{width}}  {cell(value)}")


def cell(value: Any) -> str:
    """Write a value for people."""
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, datetime):
        return moment(value).replace("+00:00", "Z")
    if isinstance(value, Mapping | list):
        return codec.encode_json(value).decode()
    return str(value)
