"""Progress bar of an upload or download: drawn on a terminal only."""

import time
from contextlib import ExitStack
from typing import TYPE_CHECKING, Final, Self

from ....cli.output import Output

if TYPE_CHECKING:
    from ....cli import live

_TICK: Final = 0.1  # seconds between two drawings
_MEGA: Final = 1e6


class TransferBar:
    """Draws the bytes transferred and the total; with `--json`, or in a pipe, nothing."""

    def __init__(self, out: Output, word: str) -> None:
        self._word = word
        self._done, self._total = 0, 0
        self._draw_at = 0.0
        self._stack = ExitStack()
        self._board = self._open_board(out)

    def _open_board(self, out: Output) -> "live.Board | None":
        if not out.is_live:
            return None
        from ....cli import live  # noqa: PLC0415 - rich is imported where something is drawn

        return live.Board(lambda: live.bytes_transferred(self._done, self._total or None, self._word))

    def __enter__(self) -> Self:
        if self._board is not None:
            self._stack.enter_context(self._board)
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def update(self, done: int, total: int | None) -> None:
        """Record the bytes transferred and the total, and redraw the bar if it is time."""
        self._done, self._total = done, total or 0
        if self._board is not None and (done == total or time.monotonic() >= self._draw_at):
            self._board.refresh()
            self._draw_at = time.monotonic() + _TICK
