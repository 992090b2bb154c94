"""How runs and dock jobs go: as scripted, or as drawn. Pure."""

import math
from collections.abc import Callable, Sequence
from random import Random
from typing import Final, TypeAlias

from attrs import define

from ....contract.fake import RunPlan

#: The ends of runs, and of dock jobs in lower case.
ENDS: Final = frozenset({"success", "failed"})
#: The vendor's words, each with the seconds after the start from which it holds.
Course: TypeAlias = tuple[tuple[float, str], ...]
_QUEUED_SHARE: Final = 0.02


@define(eq=False, kw_only=True)
class Progress:
    """What takes its course from `created_at` on. Moments are the world's seconds."""

    id: str
    created_at: float
    course: Course

    @property
    def end(self) -> tuple[float, str] | None:
        """Return when and how it ends, also before that has come; None when it never does."""
        since, word = self.at(math.inf)
        return (since, word) if is_end(word) else None

    @property
    def ended_at(self) -> float:
        """Return when it ends; infinity when it never does."""
        return math.inf if self.end is None else self.end[0]

    def at(self, now: float) -> tuple[float, str]:
        """Return since when, and as what, it stands at `now`."""
        begin, word = self.course[0]
        for later, following in self.course[1:]:
            if is_end(word) or self.created_at + later > now:
                break
            begin, word = later, following
        return self.created_at + begin, word

    def hasten(self) -> float:
        """Let it be over from its very start on, with the end it would have had; gives that moment."""
        self.course = ((0.0, self.at(math.inf)[1]),)
        return self.created_at


class Courses:
    """Gives each run and job its course: scripted for the first of its names that a script has, else drawn."""

    def __init__(self, plan: RunPlan, chance: Callable[[str], Random], *, at_once: float) -> None:
        self._plan = plan
        self._chance = chance
        self._at_once = at_once
        self._runs = self._jobs = 0
        self._scripts = {name: _scripted(name, plan) for name in plan.scripts}

    def run(self, names: Sequence[str]) -> Course:
        """Return the course of the next run."""
        chance = self._chance(f"run {self._runs}")
        self._runs += 1
        return self._script(names) or self._drawn(chance, ("pending", "running", "success", "failed"))

    def job(self, name: str) -> Course:
        """Return the course of the next dock job; some are over at once."""
        chance = self._chance(f"job {self._jobs}")
        self._jobs += 1
        script = self._script([name])
        if script is not None:
            return script
        waiting, *_, end = self._drawn(chance, ("IN_PROGRESS", "IN_PROGRESS", "SUCCESS", "FAILED"))
        return ((0.0, end[1]),) if chance.random() < self._at_once else (waiting, end)

    def _script(self, names: Sequence[str]) -> Course | None:
        return next((self._scripts[name] for name in names if name in self._scripts), None)

    def _drawn(self, chance: Random, words: tuple[str, str, str, str]) -> Course:
        waiting, running, good, bad = words
        seconds, end = self._plan.draw(chance)
        delay = self._plan.delay
        return (
            (0.0, waiting),
            (delay + seconds * _QUEUED_SHARE, running),
            (delay + seconds, good if end == "completed" else bad),
        )


def is_end(word: str) -> bool:
    """Return whether a word, in whatever case, is an end."""
    return word.lower() in ENDS


def is_good(word: str) -> bool:
    """Return whether a word, in whatever case, is the good end."""
    return word.lower() == "success"


def _scripted(name: str, plan: RunPlan) -> Course:
    steps = plan.scripts[name]
    if not steps:
        raise ValueError(f"the script of {name!r} has no steps")
    course, begin = [], plan.delay
    for index, step in enumerate(steps):
        course.append((begin if index else 0.0, step.status))
        begin += step.seconds
    return tuple(course)
