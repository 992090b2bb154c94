"""Displays that are redrawn on a terminal, and tables. The only module that uses rich."""

import sys
from collections.abc import Callable, Iterable, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Final, Self

from rich import box
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from .output import is_terminal, one_line
from .tally import COLOURS, UNSEEN, Tally

if TYPE_CHECKING:
    from .batch.progress import Progress

_LEAST_BAR: Final = 10
_WIDEST_BAR: Final = 60
_GAP: Final = 3
_PLAIN_WIDTH: Final = 400  # tables that are not for a terminal are not folded

#: Colours of the states of rows, which include those of runs.
_ROW_COLOURS: Final = {**COLOURS, "waiting": "dim", "sending": "blue", "refused": "red", "faulty": "red"}

Cells = Sequence[str]


class Board:
    """A display below the printed lines. `refresh` redraws it by calling `draw`; leaving the block removes it."""

    def __init__(self, draw: Callable[[], RenderableType], *, on_stderr: bool = False) -> None:
        self._draw = draw
        stream = sys.stderr if on_stderr else sys.stdout
        self._live = Live(
            console=Console(file=stream, highlight=False),
            auto_refresh=False,
            transient=True,
            redirect_stdout=not on_stderr,
            redirect_stderr=is_terminal(sys.stderr),
        )

    def __enter__(self) -> Self:
        self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._live.stop()

    def say(self, text: str, style: str = "") -> None:
        """Print a line above the display, in colour if the terminal has colours."""
        self._live.console.print(Text(one_line(text), style=style))

    def refresh(self) -> None:
        """Redraw the display."""
        self._live.update(self._draw(), refresh=True)


def bar(tally: Tally, note: str) -> RenderableType:
    """Return a bar of the runs that are over, and `note`."""
    return _bar(tally.over, tally.total, f"{tally.over}/{tally.total}", note)


def _bar(done: float, total: float | None, figure: str, note: str) -> RenderableType:
    grid = Table.grid(padding=(0, 2), expand=False)
    room = Console(file=sys.stdout).width - len(figure) - len(note) - 6
    grid.add_column(width=max(_LEAST_BAR, min(_WIDEST_BAR, room)))
    grid.add_column(no_wrap=True)
    grid.add_column(no_wrap=True, style="dim")
    grid.add_row(ProgressBar(total=total, completed=done, width=None), figure, note)
    return grid


def states(tally: Tally) -> Text:
    """Return the number of runs in each state."""
    text = Text(no_wrap=True, overflow="ellipsis")
    for state, count in tally.counts().items():
        text.append(f"{count} {state}", style=COLOURS.get(state, ""))
        text.append("   ")
    return text


def progress(tally: Tally, note: str) -> RenderableType:
    """Return a bar of the runs that are over, and the number of runs in each state."""
    return Group(bar(tally, note), states(tally))


def followed(tally: Tally, note: str, *, most: int) -> RenderableType:
    """Return at most `most` runs that are still open, one on each line, and a bar of all runs."""
    lines: list[RenderableType] = []
    for ref, run in list(tally.open.items())[:most]:
        state = UNSEEN if run is None else run.state.value
        text = Text(no_wrap=True, overflow="ellipsis")
        text.append(f"{state:<10}", style=COLOURS.get(state, ""))
        text.append(one_line(str(ref)))
        text.append("" if run is None else f"  {one_line(run.status)}", style="dim")
        lines.append(text)
    if len(tally.open) > most:
        lines.append(Text(f"and {len(tally.open) - most} more", style="dim"))
    if tally.total == 1:
        lines.append(Text(note, style="dim"))
        return Group(*lines)
    return Group(*lines, progress(tally, note))


def rows_read(done: int, total: int | None, pages: int) -> RenderableType:
    """Return a bar of the rows of a report that were read."""
    figure = f"{done} rows" if total is None else f"{done}/{total} rows"
    return _bar(done, total, figure, f"{pages} pages")


def batch(progress: "Progress") -> RenderableType:
    """Return the progress of a batch: a bar, the number of rows in each state, and rates."""
    counts = [
        Text(f"{count:,} {name}", style=_ROW_COLOURS.get(name, "")) for name, count in progress.counts.items()
    ]
    rates = [Text(part, style="dim") for part in progress.rates]
    bar = _bar(progress.done, progress.total, progress.figure, progress.left)
    return Group(bar, *_packed(counts), *_packed(rates))


def _packed(parts: Iterable[Text]) -> Iterable[Text]:
    """Return lines that hold the parts side by side; no part is split."""
    width = Console(file=sys.stdout).width
    lines: list[Text] = []
    for part in parts:
        if lines and lines[-1].cell_len + _GAP + part.cell_len <= width:
            lines[-1].append(" " * _GAP).append_text(part)
        else:
            lines.append(Text(no_wrap=True, overflow="ellipsis").append_text(part))
    return lines


def bytes_transferred(done: int, total: int | None, word: str) -> RenderableType:
    """Return a bar of the bytes that were transferred."""
    size = "" if total is None else f"/{total / 1e6:,.1f}"
    return _bar(done, total, f"{done / 1e6:,.1f}{size} MB", word)


def height() -> int:
    """Return the number of lines of the terminal."""
    return Console(file=sys.stdout).size.height


def say(text: str, style: str = "") -> None:
    """Print a line on the terminal, in colour if it has colours."""
    Console(file=sys.stdout, highlight=False).print(Text(one_line(text), style=style))


def table(
    title: str, heads: Cells, rows: Iterable[Cells], *, right: Iterable[int] = (), coloured: int | None = None
) -> Table:
    """Return a table. Columns in `right` hold numbers; the column `coloured` holds states.

    Without `heads` there are as many columns as cells.
    """
    laid = Table(
        title=title or None,
        title_justify="left",
        title_style="bold",
        box=box.SIMPLE_HEAD,
        pad_edge=False,
        show_header=bool(heads),
    )
    figures = set(right)
    for index, head in enumerate(heads):
        laid.add_column(head, justify="right" if index in figures else "left", overflow="fold")
    for row in rows:
        cells = [Text(one_line(cell)) for cell in row]
        if coloured is not None:
            cells[coloured].stylize(COLOURS.get(row[coloured], ""))
        laid.add_row(*cells)
    return laid


def show(renderable: RenderableType) -> None:
    """Print a table or display on the terminal."""
    Console(file=sys.stdout, highlight=False).print(renderable)


def plain(renderable: RenderableType) -> str:
    """Return a table or display as plain lines, without control characters and without folding."""
    console = Console(
        width=_PLAIN_WIDTH, color_system=None, force_terminal=False, highlight=False, legacy_windows=False
    )
    with console.capture() as captured:
        console.print(renderable)
    return "\n".join(line.rstrip() for line in captured.get().splitlines())
