"""When the runs of a fake server change their status: as scripted, or drawn from the seed. Pure."""

import math
import random
from collections.abc import Sequence

from attrs import define, frozen

from .plan import RunPlan, timed_steps

# Shares of a drawn run's time at which it leaves the queue, pauses, and goes on.
_QUEUED, _PAUSED, _RESUMED = 0.02, 0.3, 0.6


@frozen(kw_only=True)
class StatusWords:
    """A vendor's words for the statuses of its runs. Scripts may write them, and words of their own, in any case.

    `queued` is empty where a run is `running` from its start on, `paused` where runs never pause. The last three are
    final: `completed`, `failed` and `aborted` in the plan's outcomes.
    """

    queued: str = ""
    running: str
    paused: str = ""
    completed: str = "completed"
    failed: str = "failed"
    aborted: str = "aborted"

    def is_end(self, word: str) -> bool:
        """Return whether a word is final."""
        return word.lower() in {self.completed.lower(), self.failed.lower(), self.aborted.lower()}

    def end(self, outcome: str) -> str:
        """Return the word for an outcome of the plan."""
        word: str = getattr(self, outcome)
        return word


@frozen
class Timeline:
    """The statuses of a run, each with the seconds after the start from which it holds; the last one stays.

    `has_end` is true if the last one is final.
    """

    steps: Sequence[tuple[float, str]]
    has_end: bool

    @classmethod
    def of(cls, steps: Sequence[tuple[float, str]], words: StatusWords) -> "Timeline":
        """Return the timeline with these steps; nothing follows an end."""
        for index, (_, word) in enumerate(steps):
            if words.is_end(word):
                return cls(steps[: index + 1], has_end=True)
        return cls(steps, has_end=False)


class Timelines:
    """Makes the timelines of runs: that of the first of a run's names with a script in the plan, else a drawn one."""

    def __init__(self, plan: RunPlan, words: StatusWords) -> None:
        self._plan = plan
        self._words = words
        self._scripts = {
            name: Timeline.of(timed_steps(steps, plan.delay), words) for name, steps in plan.scripts.items()
        }

    def make(self, names: Sequence[str], chance: random.Random) -> Timeline:
        """Return the timeline of a run; `chance` is used only if it has no script."""
        return self.scripted(names) or self.drawn(chance)

    def scripted(self, names: Sequence[str]) -> Timeline | None:
        """Return the scripted timeline of the first name that has one, else None."""
        return next((self._scripts[name] for name in names if name in self._scripts), None)

    def drawn(self, chance: random.Random) -> Timeline:
        """Draw a timeline: the plan's delay, then a time of which the first 2 % are spent in the queue."""
        words, delay = self._words, self._plan.delay
        seconds, outcome = self._plan.draw(chance)
        steps = [(0.0, words.queued or words.running)]
        if words.queued:
            steps.append((delay + seconds * _QUEUED, words.running))
        if words.paused and chance.random() < self._plan.pausing:
            steps.append((delay + seconds * _PAUSED, words.paused))
            steps.append((delay + seconds * _RESUMED, words.running))
        return Timeline((*steps, (delay + seconds, words.end(outcome))), has_end=True)


@define(eq=False, kw_only=True)
class FakeRun:
    """A run, whose status follows its timeline from `created_at` on. Moments are the server's seconds."""

    id: str
    created_at: float
    timeline: Timeline

    @property
    def end(self) -> tuple[float, str] | None:
        """Return when and with which status it ends, also before then; None if it never does."""
        since, status = self.timeline.steps[-1]
        return (self.created_at + since, status) if self.timeline.has_end else None

    @property
    def ended_at(self) -> float | None:
        """Return when it ends, also before then; None if it never does."""
        return None if self.end is None else self.end[0]

    @property
    def until(self) -> float:
        """Return the second until which it goes on, infinite if it never ends: the `until` of a `DelayedReply`."""
        return math.inf if self.end is None else self.end[0]

    def status_at(self, now: float) -> tuple[float, str]:
        """Return the status at `now`, and since when it holds: `(since, status)`."""
        since, status = self.timeline.steps[0]
        for later, word in self.timeline.steps[1:]:
            if self.created_at + later > now:
                break
            since, status = later, word
        return self.created_at + since, status

    def is_over(self, now: float) -> bool:
        """Return whether it has ended by `now`."""
        return self.end is not None and self.end[0] <= now

    def end_at_start(self) -> None:
        """Move the end, which it has to have, to the moment of the start; the final status is unchanged."""
        self.timeline = Timeline([(0.0, self.timeline.steps[-1][1])], has_end=True)
