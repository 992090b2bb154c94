"""When a run is polled next: the cadence's gap, a wake, a push that makes polls rare, a failure's backoff, a hint.

Pure: the time comes in with each question, chance as a function.
"""

import math
from collections.abc import Callable
from typing import Final

from ..errors import AgentsError, AuthenticationError, Throttled
from ..model import Run
from ..retry import RetryPolicy, is_page
from .cadence import Cadence, LearningCadence
from .runs import PolledRun

_EVER: Final = 1e12  # seconds
_WIDEST: Final = 120.0  # seconds between two polls, between which it is not known well when a state ended
_SHORTEST: Final = 0.05  # seconds between a failed poll and the next


class Timing:
    """Moments and delays of polls. Raise what a cadence raises, and ValueError for a gap that is not above 0."""

    __slots__ = ("_cadence", "_chance", "_learner", "_rare", "_retry")

    def __init__(self, cadence: Cadence, retry: RetryPolicy, chance: Callable[[], float]) -> None:
        self._cadence = cadence
        self._learner = cadence if isinstance(cadence, LearningCadence) else None
        self._rare = cadence if self._learner is None else self._learner.fallback
        self._retry = retry
        self._chance = chance

    def gap(self, run: PolledRun, elapsed: float) -> float:
        """Return the cadence's gap for a run whose state has lasted for `elapsed` seconds, as far as was seen."""
        key, chance = _key_of(run), self._chance()
        if run.push is None:
            gap = self._cadence.gap(elapsed, key=key, chance=chance)
        else:  # a push will wake the run at its end: as rarely as the cadence goes
            gap = self._rare.gap(_EVER, key=key, chance=chance)
        if not gap > 0:  # NaN too, at which a poll would never be due
            raise ValueError(f"{self._cadence!r} gave a gap of {gap!r} seconds; it has to be above 0")
        return gap

    def first_at(self, run: PolledRun, now: float) -> float:
        """Return when to poll a run for which somebody waits again, or for the first time."""
        if run.is_woken:
            return now
        if run.due_at == math.inf:
            return self.as_wanted(run, now + self.gap(run, 0.0))
        # As planned before, at once if that is past: with a gap of its own each, short waits would see no poll.
        return max(run.due_at, now)

    def as_wanted(self, run: PolledRun, at: float) -> float:
        """Return the time `at` which the cadence plans, or a later one before which the server wants no poll."""
        at = max(at, run.backoff.until)
        return at if run.group is None else max(at, run.group.until)

    def hinted(self, seconds: float, now: float) -> float:
        """Return the moment before which a server wants no poll: at most the policy's patience from now."""
        return now + min(max(0.0, seconds), self._retry.patience)

    def after_failure(self, run: PolledRun, error: AgentsError, now: float) -> float:
        """Return when to poll a run after a poll that failed for a passing reason, which `run.backoff` has."""
        delay = self.gap(run, now - run.since)
        # What is no fault of the connection is not over at once: sooner would only be more of the same.
        is_slow = isinstance(error, Throttled | AuthenticationError) or (is_page(error) and error.is_passing)
        if not is_slow and run.source.reader.may_retry():
            delay = min(delay, self._retry.backoff(run.backoff.failures, chance=self._chance()))
        return max(now + max(delay, _SHORTEST), run.backoff.until)

    def learn(self, run: PolledRun, seen: Run, *, is_changed: bool, asked_at: float, now: float) -> None:
        """Teach the cadence how long the state of a run has lasted, or had lasted when it ended.

        Where others started the run, it is not known when its state began, and nothing is learned. A state that ended
        since the run was cancelled would have lasted longer.
        """
        if self._learner is None or run.begun_at is None or run.since == -math.inf:
            return
        before, elapsed = max(run.asked_at - run.since, 0.0), asked_at - run.since
        if elapsed <= before:
            return
        is_ended = is_changed and not run.is_cancel_requested
        duration = _duration(run, seen, before, now - run.since) if is_ended else elapsed
        if duration is not None:
            self._learner.observe(duration, key=_key_of(run), ended=is_ended, since=before)


def _key_of(run: PolledRun) -> str:
    state = "" if run.last is None else run.last.state._value_  # `.value` costs ten times as much
    return f"{run.source.vendor}:{run.target}:{state}"


def _duration(run: PolledRun, seen: Run, before: float, elapsed: float) -> float | None:
    """Return after how many seconds a state ended, between `before` and `elapsed`; None if that is too uncertain."""
    if run.was_woken:
        return elapsed
    if seen.state.is_terminal and seen.ended_at is not None:
        duration = elapsed - (seen.seen_at - seen.ended_at).total_seconds()
        if before <= duration <= elapsed:  # else one of the clocks is wrong
            return duration
    if elapsed - before > max(_WIDEST, elapsed / 2):
        return None
    return (before + elapsed) / 2
