"""When the runs of the fake server change their status: as scripted, or drawn from the seed. Pure."""

import random
from collections.abc import Sequence
from typing import Final, TypeAlias

from ....contract.fake import RunPlan, Step, seeded, timed_steps
from .runs import ENDS
from .times import SECOND

#: The vendor's status words, each with the nanoseconds after the start from which it holds.
Timeline: TypeAlias = Sequence[tuple[int, str]]
_WORDS: Final = {"aborted": "canceled"}  # the plan's plain names that are not the vendor's
#: The statuses of a task run until it runs, each with the share of its whole time at which it begins.
_QUEUE: Final = (("queued", 0.0), ("claimed", 0.02), ("starting", 0.04), ("running", 0.06))


class Timelines:
    """Makes the timeline of each run: scripted for the names in the plan's `scripts`, else drawn."""

    def __init__(self, plan: RunPlan) -> None:
        self._plan = plan
        self._scripts = {name: _split(steps) for name, steps in plan.scripts.items()}

    def random_for(self, index: int) -> random.Random:
        """Return the random generator of one run's timelines, on which no other run has an effect."""
        return seeded("agh", self._plan.seed, index)

    def for_attempt(self, names: Sequence[str], number: int, chance: random.Random) -> Timeline:
        """Return the timeline of an attempt, counted from 1. Attempts beyond a script's last part have that part."""
        script = self._script(names)
        if script is not None:
            return self._scripted(script[min(number, len(script)) - 1])
        seconds, end = self._plan.draw(chance)
        delay = round(self._plan.delay * SECOND)
        waiting = [(0, "scheduled")] if delay else []
        return [*waiting, (delay, "running"), (delay + round(seconds * SECOND), _WORDS.get(end, end))]

    def for_task(self, names: Sequence[str], chance: random.Random) -> Timeline:
        """Return the timeline of a task run. All parts of a script belong to it."""
        script = self._script(names)
        if script is not None:
            return self._scripted([step for part in script for step in part])
        seconds, end = self._plan.draw(chance)
        delay = round(self._plan.delay * SECOND)
        words = [(delay * bool(share) + round(seconds * share * SECOND), word) for word, share in _QUEUE]
        return [*words, (delay + round(seconds * SECOND), _WORDS.get(end, end))]

    def _script(self, names: Sequence[str]) -> Sequence[Sequence[Step]] | None:
        return next((self._scripts[name] for name in names if name in self._scripts), None)

    def _scripted(self, steps: Sequence[Step]) -> Timeline:
        return [(round(at * SECOND), word) for at, word in timed_steps(steps, self._plan.delay)]


def end_of(timeline: Timeline) -> tuple[int, str] | None:
    """Return after how many nanoseconds, and with which status, a timeline ends; None if it never does."""
    return next(((offset, word) for offset, word in timeline if word in ENDS), None)


def _split(steps: Sequence[Step]) -> Sequence[Sequence[Step]]:
    """Split a script after each end: what follows belongs to the next attempt."""
    parts: list[list[Step]] = [[]]
    for index, step in enumerate(steps):
        parts[-1].append(step)
        if step.status in ENDS and index < len(steps) - 1:
            parts.append([])
    return parts
