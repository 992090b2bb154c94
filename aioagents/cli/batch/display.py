"""Shows a batch while it runs: redrawn on a terminal, a line now and then in a pipe, or JSON lines."""

import time
from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Any, Final

from ...batch import Outcome, RowFault, RowState
from ...errors import BadRequest, NotFound, WaitTimeout
from ...observe import Event, RateLowered
from ..output import Output, describe_error, message_of
from .job import BatchJob
from .progress import Progress

if TYPE_CHECKING:
    from .. import live

_DRAW_EVERY: Final = 0.1
_DOCUMENT_EVERY: Final = 1.0
_LINE_EVERY: Final = 30.0
#: How many failed starts of each kind are printed; the journal has all of them.
_MOST_PRINTED: Final = 3
#: Outcomes that people should see at once; STARTED only with an error other than a timeout.
_TROUBLES: Final = frozenset({RowState.PLANNED, RowState.STARTED, RowState.REFUSED, RowState.UNKNOWN})

#: Errors for a run whose reference is wrong, or that the vendor no longer has.
_LOST: Final = (BadRequest, NotFound, ValueError)


class Display:
    """Shows the progress and the errors of one batch. Results go to the results file, not through here."""

    def __init__(
        self,
        job: BatchJob,
        out: Output,
        progress: Callable[[], Progress],
        *,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self._job = job
        self._out = out
        self._progress = progress
        self._now = now
        self._printed: Counter[str] = Counter()
        #: The number of rows whose run cannot be followed: the vendor does not know it, or it is not the client's.
        self.lost = 0
        self._board = self._open_board()
        if self._board is not None:
            self._every = _DRAW_EVERY
        else:
            self._every = _DOCUMENT_EVERY if out.is_json else _LINE_EVERY
        self._next_at = now() + self._every

    def _open_board(self) -> "live.Board | None":
        if not self._out.is_live:
            return None
        from .. import live  # noqa: PLC0415 - rich is imported where something is drawn

        return live.Board(lambda: live.batch(self._progress()))

    def board(self) -> AbstractContextManager[object]:
        """Return the context manager inside which the display is drawn."""
        return nullcontext() if self._board is None else self._board

    def begin(self) -> None:
        """Print what the batch is about to do."""
        job = self._job
        self._out.line(f"{job.file} at {job.vendor}, journal {job.journal}")
        facts = {"file": job.file, "vendor": job.vendor, "journal": job.journal, "output": job.output}
        self._out.document({"event": "begun", **facts})

    def draw(self) -> None:
        """Show the progress, if it is due."""
        if self._now() < self._next_at:
            return
        self._next_at = self._now() + self._every
        if self._board is not None:
            self._board.refresh()
        elif self._out.is_json:
            self._out.document({"event": "progress", **_describe_progress(self._progress())})
        else:
            self._out.note(str(self._progress()))

    def print_outcome(self, outcome: Outcome) -> None:
        """Print the outcome of a row, if it was reached in this run of the batch."""
        error = outcome.error
        if outcome.is_replayed:
            return
        if not outcome.target:  # it is not a row that could have been started
            self._print_faulty(outcome.key, error)
            return
        self._out.document({"event": "row", **_describe_outcome(outcome, self._out.hide)})
        if outcome.state is RowState.SENDING and outcome.ref is not None:
            self._out.warn(f"row {outcome.key!r}: its run {outcome.ref} could not be recorded")
        elif outcome.state is RowState.SENDING:
            self._out.warn(f"row {outcome.key!r}: the outcome of its start could not be recorded: {error}")
        elif outcome.state in _TROUBLES and error is not None and not isinstance(error, WaitTimeout):
            self.lost += outcome.state is RowState.STARTED and isinstance(error, _LOST)
            self._print_trouble(outcome, error)

    def _print_faulty(self, key: str, error: Exception | None) -> None:
        if isinstance(error, RowFault):
            self._out.warn(f"{self._job.file}, {error}")
        else:
            self._out.warn(f"{self._job.file}: {error}")
        lines = {"line": getattr(error, "line_number", None), "last_line": getattr(error, "last_line", None)}
        message = getattr(error, "message", str(error))
        self._out.document({"event": "faulty", **lines, "key": key, "message": message})

    def _print_trouble(self, outcome: Outcome, error: Exception) -> None:
        kind = f"{outcome.state.value}: {type(error).__name__}"
        self._printed[kind] += 1
        if self._printed[kind] > _MOST_PRINTED:
            return
        self._out.warn(f"row {outcome.key!r} is {outcome.state.value}: {message_of(error)}")
        if self._printed[kind] == _MOST_PRINTED:
            self._out.note(f"  further rows that are {kind} are counted, but not printed")

    def on_event(self, event: Event) -> None:
        """Print that the vendor has throttled the account."""
        if isinstance(event, RateLowered):
            facts = {"per_second": event.per_second, "hold": event.hold}
            self._out.document({"event": "throttled", **facts})

    def print_stopping(self, sending: int) -> None:
        """Print that the first signal came, and how many starts are waited for."""
        pending = "no start is pending" if not sending else f"waiting for {sending} pending starts"
        self._out.warn(f"stopping: {pending}; Ctrl-C again ends at once")
        self._out.document({"event": "stopping", "sending": sending})


def _describe_outcome(outcome: Outcome, hide: Callable[[str], str]) -> Mapping[str, Any]:
    return {
        "key": outcome.key,
        "state": outcome.state.value,
        "target": outcome.target,
        "ref": None if outcome.ref is None else str(outcome.ref),
        "status": None if outcome.run is None else outcome.run.status,
        "error": None if outcome.error is None else describe_error(outcome.error, hide),
    }


def _describe_progress(progress: Progress) -> Mapping[str, Any]:
    return {
        "done": progress.done,
        "total": progress.total,
        "rows": dict(progress.counts),
        "starts_per_second": round(progress.starts_per_second, 1),
        "polls_per_second": round(progress.polls_per_second, 1),
        "throttled_to": progress.throttled_to,
        "throttles": progress.throttles,
        "retries": progress.retries,
        "seconds_left": None if progress.seconds_left is None else round(progress.seconds_left),
    }
