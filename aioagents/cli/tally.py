"""How many of the runs that are followed stand where. Pure."""

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Final

from ..model import Run, RunRef, RunState

#: Before anything was seen of a run.
UNSEEN: Final = "not seen"
#: The order in which states are shown.
STATES: Final = (UNSEEN, *(state.value for state in RunState))
#: What a display colours each state with.
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
    """The runs of one display: `total` of them, some perhaps not begun yet."""

    def __init__(self, total: int, refs: Iterable[RunRef] = ()) -> None:
        self.total = total
        #: What was last seen of each run that is not over.
        self.open: dict[RunRef, Run | None] = dict.fromkeys(refs)
        self._over: Counter[str] = Counter()

    @property
    def over(self) -> int:
        """Return how many runs are over, or no longer followed."""
        return self._over.total()

    def begin(self, run: Run) -> None:
        """Take note of a run that was begun."""
        self.open[run.ref] = run

    def seen(self, run: Run) -> None:
        """Take in what a poll saw; of a run that is not followed any more, nothing."""
        if run.state.is_terminal:
            self.close(run.ref, run.state.value)
        elif run.ref in self.open:
            self.open[run.ref] = run

    def close(self, ref: RunRef, how: str) -> None:
        """Take note that a run is over, or that it is no longer followed (`how` is "error", say)."""
        if ref in self.open:
            del self.open[ref]
            self._over[how] += 1

    def lose(self, how: str) -> None:
        """Take note of a run that never had a reference."""
        self._over[how] += 1

    def counts(self) -> Mapping[str, int]:
        """Return how many runs stand where, in the order to show them, without those states that none has."""
        found = Counter(UNSEEN if run is None else run.state.value for run in self.open.values()) + self._over
        order = [*STATES, *sorted(found.keys() - set(STATES))]
        return {state: found[state] for state in order if found[state]}

    def __str__(self) -> str:
        parts = [f"{count} {state}" for state, count in self.counts().items()]
        return ", ".join([f"{self.over}/{self.total} ended", *parts])
