"""How runs go: what happens when, in what order, as scripted or as drawn. Pure."""

import random
from collections.abc import Callable, Sequence
from functools import partial
from heapq import heappop, heappush
from itertools import count
from typing import Final, TypeAlias

from ....contract.fake import RunPlan, Step
from .runs import ENDS
from .times import SECOND

#: The vendor's words, each with the nanoseconds after the beginning from which it holds.
Course: TypeAlias = Sequence[tuple[int, str]]
_MOST: Final = 10_000
_WORDS: Final = {"aborted": "canceled"}  # the plan's plain names that are not the vendor's
#: What a task run goes through before it runs: the words, and the share of its whole time at which each begins.
_QUEUE: Final = (("queued", 0.0), ("claimed", 0.02), ("starting", 0.04), ("running", 0.06))


class Timeline:
    """What is going to happen. Told the time, it lets all that is due happen, in its order. Times are nanoseconds.

    `budget` is how many of the things that come up by themselves may be made up for until it is told again.
    """

    def __init__(self, now: int) -> None:
        self.now = self.target = now
        self.budget = _MOST
        self._due: list[tuple[int, int, Callable[[], None]]] = []
        self._order = count()

    def at(self, moment: int, act: Callable[[], None]) -> None:
        """Let something happen at a moment."""
        heappush(self._due, (moment, next(self._order), act))

    def advance(self, moment: int) -> None:
        """Move on, to `target`; time never goes back."""
        self.budget = _MOST
        self.target = max(self.now, moment)
        while self._due and self._due[0][0] <= moment:
            when, _, act = heappop(self._due)
            self.now = max(self.now, when)
            act()
        self.now = self.target

    def follow(self, course: Course, enter: Callable[[str], bool]) -> None:
        """Call `enter` with each word of a course in its time, from now on, until it gives False."""
        self._step(course, self.now, enter, 0)

    def _step(self, course: Course, began_at: int, enter: Callable[[str], bool], index: int) -> None:
        for place in range(index, len(course)):
            offset, word = course[place]
            if began_at + offset > self.now:
                self.at(began_at + offset, partial(self._step, course, began_at, enter, place))
                return
            if not enter(word):
                return


class Courses:
    """Gives each run its course: scripted for the names in the plan's `scripts`, else drawn."""

    def __init__(self, plan: RunPlan) -> None:
        self._plan = plan
        self._scripts = {name: _split(name, steps) for name, steps in plan.scripts.items()}

    def chance(self, index: int) -> random.Random:
        """Return what the courses of one run are drawn from, so that no other run has a say in them."""
        return random.Random(f"agh {self._plan.seed} {index}")  # noqa: S311 - seeded on purpose

    def attempt(self, names: Sequence[str], number: int, chance: random.Random) -> Course:
        """Return the course of an attempt, counted from 1. The last part of a script serves all later ones."""
        script = self._script(names)
        if script is not None:
            return self._scripted(script[min(number, len(script)) - 1])
        seconds, end = self._plan.draw(chance)
        delay = round(self._plan.delay * SECOND)
        waiting = [(0, "scheduled")] if delay else []
        return [*waiting, (delay, "running"), (delay + round(seconds * SECOND), _WORDS.get(end, end))]

    def task(self, names: Sequence[str], chance: random.Random) -> Course:
        """Return the course of a task run. A script is taken whole."""
        script = self._script(names)
        if script is not None:
            return self._scripted([step for part in script for step in part])
        seconds, end = self._plan.draw(chance)
        delay = round(self._plan.delay * SECOND)
        words = [(delay * bool(share) + round(seconds * share * SECOND), word) for word, share in _QUEUE]
        return [*words, (delay + round(seconds * SECOND), _WORDS.get(end, end))]

    def _script(self, names: Sequence[str]) -> Sequence[Sequence[Step]] | None:
        return next((self._scripts[name] for name in names if name in self._scripts), None)

    def _scripted(self, steps: Sequence[Step]) -> Course:
        course, begin = [], self._plan.delay
        for index, step in enumerate(steps):
            course.append((round(begin * SECOND) if index else 0, step.status))
            begin += step.seconds
        return course


def length(course: Course) -> tuple[int, str] | None:
    """Return after how many nanoseconds, and how, a course ends; None when it never does."""
    return next(((offset, word) for offset, word in course if word in ENDS), None)


def _split(name: str, steps: Sequence[Step]) -> Sequence[Sequence[Step]]:
    """Part a script behind each end: what follows is the next attempt's."""
    if not steps:
        raise ValueError(f"the script of {name!r} has no steps")
    parts: list[list[Step]] = [[]]
    for index, step in enumerate(steps):
        parts[-1].append(step)
        if step.status in ENDS and index < len(steps) - 1:
            parts.append([])
    return parts
