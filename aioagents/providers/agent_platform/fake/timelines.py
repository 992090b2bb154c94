"""When runs and dock jobs change their status: as scripted, or drawn from the seed. Pure."""

import math
from collections.abc import Callable, Sequence
from random import Random
from typing import Final, TypeAlias

from attrs import define

from ....contract.fake import RunPlan

#: Statuses that are final, of runs and (in upper case there) of dock jobs.
ENDS: Final = frozenset({"success", "failed"})
#: The vendor's status words, each with the seconds after the start from which it holds.
Timeline: TypeAlias = tuple[tuple[float, str], ...]
_QUEUED_SHARE: Final = 0.02


@define(eq=False, kw_only=True)
class FakeRun:
    """A run or dock job, whose status follows its timeline from `created_at` on. Moments are the server's seconds."""

    id: str
    created_at: float
    timeline: Timeline

    @property
    def end(self) -> tuple[float, str] | None:
        """Return when and with which status it ends, also before then; None if it never does."""
        since, word = self.status_at(math.inf)
        return (since, word) if is_end(word) else None

    @property
    def ended_at(self) -> float:
        """Return when it ends; infinity if it never does."""
        return math.inf if self.end is None else self.end[0]

    def status_at(self, now: float) -> tuple[float, str]:
        """Return the status at `now`, and since when it holds: `(since, status)`."""
        begin, word = self.timeline[0]
        for later, following in self.timeline[1:]:
            if is_end(word) or self.created_at + later > now:
                break
            begin, word = later, following
        return self.created_at + begin, word

    def end_at_start(self) -> float:
        """Move the end to the moment of the start, with the final status unchanged, and return that moment."""
        self.timeline = ((0.0, self.status_at(math.inf)[1]),)
        return self.created_at


class Timelines:
    """Makes the timeline of each run and job: that of the first of its names with a script, else a drawn one."""

    def __init__(self, plan: RunPlan, random_for: Callable[[str], Random], *, ended_at_start: float) -> None:
        self._plan = plan
        self._random_for = random_for
        self._ended_at_start = ended_at_start
        self._runs = self._jobs = 0
        self._scripts = {name: _scripted(name, plan) for name in plan.scripts}

    def for_run(self, names: Sequence[str]) -> Timeline:
        """Return the timeline of the next run."""
        rng = self._random_for(f"run {self._runs}")
        self._runs += 1
        return self._script(names) or self._drawn(rng, ("pending", "running", "success", "failed"))

    def for_job(self, name: str) -> Timeline:
        """Return the timeline of the next dock job; a share of the jobs without a script are over at their start."""
        rng = self._random_for(f"job {self._jobs}")
        self._jobs += 1
        script = self._script([name])
        if script is not None:
            return script
        waiting, *_, end = self._drawn(rng, ("IN_PROGRESS", "IN_PROGRESS", "SUCCESS", "FAILED"))
        return ((0.0, end[1]),) if rng.random() < self._ended_at_start else (waiting, end)

    def _script(self, names: Sequence[str]) -> Timeline | None:
        return next((self._scripts[name] for name in names if name in self._scripts), None)

    def _drawn(self, rng: Random, words: tuple[str, str, str, str]) -> Timeline:
        waiting, running, good, bad = words
        seconds, end = self._plan.draw(rng)
        delay = self._plan.delay
        return (
            (0.0, waiting),
            (delay + seconds * _QUEUED_SHARE, running),
            (delay + seconds, good if end == "completed" else bad),
        )


def is_end(word: str) -> bool:
    """Return whether a status, in any case, is final."""
    return word.lower() in ENDS


def is_good(word: str) -> bool:
    """Return whether a status, in any case, is success."""
    return word.lower() == "success"


def _scripted(name: str, plan: RunPlan) -> Timeline:
    steps = plan.scripts[name]
    if not steps:
        raise ValueError(f"the script of {name!r} has no steps")
    timeline, begin = [], plan.delay
    for index, step in enumerate(steps):
        timeline.append((begin if index else 0.0, step.status))
        begin += step.seconds
    return tuple(timeline)
