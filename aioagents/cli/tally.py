"""Counts the runs of a display by state. Pure."""

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Final

from ..model import Run, RunRef, RunState

#: The name for runs that were not polled yet.
UNSEEN: Final = "not seen"
#: The order in which states are shown.
STATES: Final = (UNSEEN, *(state.value for state in RunState))
#: The colour of each state in a display.
COLOURS: Final[Mapping[str, str]] = {
    UNSEEN: "dim",
    "queued": "blue",
    "running": "cyan",
    "paused": "yellow",
    "completed": "green",
    "failed": "red",
    "aborted": "magenta",
    "unknown": "bright_yellow",
    "error": "red",
}


class Tally:
    """The runs of one display: `total` of them, of which some may not be started yet."""

    def __init__(self, total: int, refs: Iterable[RunRef] = ()) -> None:
        self.total = total
        #: The last state seen of each run that has not ended.
        self.open: dict[RunRef, Run | None] = dict.fromkeys(refs)
        self._over: Counter[str] = Counter()

    @property
    def over(self) -> int:
        """Return the number of runs that have ended or are no longer followed."""
        return self._over.total()

    def begin(self, run: Run) -> None:
        """Add a run that was started."""
        self.open[run.ref] = run

    def seen(self, run: Run) -> None:
        """Record what a poll returned. Does nothing for a run that is no longer followed."""
        if run.state.is_terminal:
            self.close(run.ref, run.state.value)
        elif run.ref in self.open:
            self.open[run.ref] = run

    def close(self, ref: RunRef, how: str) -> None:
        """Record that a run has ended, or is no longer followed; `how` is its end state, or "error" for example."""
        if ref in self.open:
            del self.open[ref]
            self._over[how] += 1

    def lose(self, how: str) -> None:
        """Record that a start failed, so that there is no run to follow."""
        self._over[how] += 1

    def counts(self) -> Mapping[str, int]:
        """Return the number of runs in each state that has any, in the order in which they are shown."""
        found = Counter(UNSEEN if run is None else run.state.value for run in self.open.values()) + self._over
        order = [*STATES, *sorted(found.keys() - set(STATES))]
        return {state: found[state] for state in order if found[state]}

    def __str__(self) -> str:
        parts = [f"{count} {state}" for state, count in self.counts().items()]
        return ", ".join([f"{self.over}/{self.total} ended", *parts])
