"""Displays that are drawn anew on a terminal, and tables. The one place that uses rich."""

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
    from .batch.figures import Progress

_LEAST_BAR: Final = 10
_WIDEST_BAR: Final = 60
_GAP: Final = 3
_PLAIN_WIDTH: Final = 400  # tables that nobody sees on a terminal are not folded

#: Of rows, besides those that runs have.
_ROW_COLOURS: Final = {**COLOURS, "waiting": "dim", "sending": "blue", "refused": "red", "faulty": "red"}

Cells = Sequence[str]


class Board:
    """What `draw` gives, drawn anew at each `refresh` below the lines that were printed. Leaves nothing behind."""

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
        """Print a line above what is drawn, with colour where there is any."""
        self._live.console.print(Text(one_line(text), style=style))

    def refresh(self) -> None:
        """Draw anew."""
        self._live.update(self._draw(), refresh=True)


def bar(tally: Tally, aside: str) -> RenderableType:
    """Draw how many runs are over, and `aside`."""
    return _bar(tally.over, tally.total, f"{tally.over}/{tally.total}", aside)


def _bar(done: float, total: float | None, figure: str, aside: str) -> RenderableType:
    grid = Table.grid(padding=(0, 2), expand=False)
    room = Console(file=sys.stdout).width - len(figure) - len(aside) - 6
    grid.add_column(width=max(_LEAST_BAR, min(_WIDEST_BAR, room)))
    grid.add_column(no_wrap=True)
    grid.add_column(no_wrap=True, style="dim")
    grid.add_row(ProgressBar(total=total, completed=done, width=None), figure, aside)
    return grid


def states(tally: Tally) -> Text:
    """Write how many runs stand where."""
    text = Text(no_wrap=True, overflow="ellipsis")
    for state, count in tally.counts().items():
        text.append(f"{count} {state}", style=COLOURS.get(state, ""))
        text.append("   ")
    return text


def progress(tally: Tally, aside: str) -> RenderableType:
    """Draw how many runs are over, and how many stand where."""
    return Group(bar(tally, aside), states(tally))


def watched(tally: Tally, aside: str, *, most: int) -> RenderableType:
    """Draw the runs that are followed: those still open, at most so many, and all of them in a bar."""
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
        lines.append(Text(aside, style="dim"))
        return Group(*lines)
    return Group(*lines, progress(tally, aside))


def rows_read(done: int, total: int | None, pages: int) -> RenderableType:
    """Draw how far a report was read."""
    figure = f"{done} rows" if total is None else f"{done}/{total} rows"
    return _bar(done, total, figure, f"{pages} pages")


def batch(progress: "Progress") -> RenderableType:
    """Draw how far a batch is, how many of its rows stand where, and how fast it goes."""
    counts = [
        Text(f"{count:,} {name}", style=_ROW_COLOURS.get(name, "")) for name, count in progress.counts.items()
    ]
    pace = [Text(part, style="dim") for part in progress.pace]
    bar = _bar(progress.done, progress.total, progress.figure, progress.left)
    return Group(bar, *_packed(counts), *_packed(pace))


def _packed(parts: Iterable[Text]) -> Iterable[Text]:
    """Lay parts side by side, in as many lines as it takes; none is torn apart."""
    width = Console(file=sys.stdout).width
    lines: list[Text] = []
    for part in parts:
        if lines and lines[-1].cell_len + _GAP + part.cell_len <= width:
            lines[-1].append(" " * _GAP).append_text(part)
        else:
            lines.append(Text(no_wrap=True, overflow="ellipsis").append_text(part))
    return lines


def bytes_moved(done: int, total: int | None, word: str) -> RenderableType:
    """Draw how many bytes of how many were moved."""
    size = "" if total is None else f"/{total / 1e6:,.1f}"
    return _bar(done, total, f"{done / 1e6:,.1f}{size} MB", word)


def height() -> int:
    """Return how many lines the terminal has."""
    return Console(file=sys.stdout).size.height


def say(text: str, style: str = "") -> None:
    """Print a line on the terminal, with colour where there is any."""
    Console(file=sys.stdout, highlight=False).print(Text(one_line(text), style=style))


def table(
    title: str, heads: Cells, rows: Iterable[Cells], *, right: Iterable[int] = (), coloured: int | None = None
) -> Table:
    """Lay out a table. Columns in `right` hold figures; the column `coloured` holds states.

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
    """Print something laid out on the terminal."""
    Console(file=sys.stdout, highlight=False).print(renderable)


def plain(renderable: RenderableType) -> str:
    """Return something laid out as plain lines, without control characters and without folding."""
    console = Console(
        width=_PLAIN_WIDTH, color_system=None, force_terminal=False, highlight=False, legacy_windows=False
    )
    with console.capture() as captured:
        console.print(renderable)
    return "\n".join(line.rstrip() for line in captured.get().splitlines())
