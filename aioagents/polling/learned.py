"""The cadence that learns how long runs last. Pure, but for `save` and `load`."""

import math
import os
from array import array
from collections import OrderedDict
from pathlib import Path
from typing import Final

from .. import codec
from .cadence import Cadence, Growing
from .durations import Durations
from .schedule import Schedule

_FEWEST: Final = 5  # ends that have to be seen before anything is made of them
# Ends since the last reckoning, as a share of those remembered, after which to reckon anew; a poll of a run that goes
# on counts as a part of one.
_NEWS: Final = 0.15
_SURVIVAL: Final = 0.05
_NEGLIGIBLE: Final = 2.0  # ends: what so few did says nothing of what polls cost
_KEYS: Final = 500
_JITTER: Final = 0.05  # of the spacing; of the longest gap twice as much, downwards
_VERSION: Final = 1

# Where new durations fall among the known ones: evenly over these parts as long as nothing has changed.
_PARTS: Final = 8
_RECENT: Final = 24.0  # ends
_CHANGED: Final = 30.0  # chi square with seven degrees of freedom: by chance once in ten thousand
_OUTDATED: Final = 10.0  # how many times less old durations count after a change


class Learned:
    """Learns how long runs last, and polls when they are likely to end.

    For each key (vendor, target and state) it learns the durations that `observe` reports, and times polls so that
    their number, or the delay, is as asked for and the other one as small as it can be: `polls_per_run`, or `delay`,
    the mean seconds between a run's end and the poll that sees it. Without either, it spends as many polls a run as
    `fallback` would, at better times. Gaps are between `floor` and `cap` seconds, some jitter included; until five
    ends are known, `fallback` decides. What was learned fades: after 400 further
    runs it counts for a third, and much less once new durations differ clearly from it. At most 500 keys are
    remembered, some 10 KB each; the one that was not observed for the longest time is forgotten first.

    Raises ValueError where both are given, for a number out of range, and for a `floor` above `cap`.
    """

    def __init__(
        self,
        *,
        polls_per_run: float | None = None,
        delay: float | None = None,
        cap: float = 30.0,
        floor: float = 0.5,
        fallback: Cadence | None = None,
    ) -> None:
        if polls_per_run is not None and delay is not None:
            raise ValueError("give polls_per_run or delay, not both")
        for name, value in (
            ("polls_per_run", polls_per_run),
            ("delay", delay),
            ("cap", cap),
            ("floor", floor),
        ):
            if value is not None and not (math.isfinite(value) and value > 0):
                raise ValueError(f"{name} has to be a positive number, not {value!r}")
        if floor > cap:
            raise ValueError(f"floor ({floor}) is above cap ({cap})")
        self._polls_per_run = polls_per_run
        self._delay = delay
        self._cap = float(cap)
        self._floor = float(floor)
        #: Decides until enough is known, and for runs that a push wakes at their end.
        self.fallback: Cadence = Growing() if fallback is None else fallback
        self._known: OrderedDict[str, _Known] = OrderedDict()

    def gap(self, elapsed: float, *, key: str = "", chance: float = 0.5) -> float:
        """Return the seconds until the next poll, between `floor` and `cap`."""
        known = self._known.get(key)
        if known is None or known.schedule is None:
            return self._bounded(self.fallback.gap(elapsed, key=key, chance=chance))
        gap = known.schedule.gap(max(elapsed, 0.0), stretch=1.0 + 2.0 * _JITTER * (chance - 0.5))
        # Runs that were started together are not to be polled together for ever.
        return gap if gap < self._cap else max(self._cap * (1.0 - 2.0 * _JITTER * chance), self._floor)

    def observe(self, duration: float, *, key: str = "", ended: bool = True, since: float = 0.0) -> None:
        """Record that a run's state had lasted for `duration` seconds when it ended.

        With `ended` false, that it had not ended after so long: it goes on, or nobody follows it any more. It was
        followed from `since` seconds on; what was recorded of it before is not to be recorded again.
        """
        known = self._known.get(key)
        if known is None:
            known = self._known[key] = _Known()
            if len(self._known) > _KEYS:
                self._known.popitem(last=False)
        if ended:
            self._known.move_to_end(key)
            known.end(since, duration)
        else:
            known.survive(since, duration)
        if known.is_due:
            known.reckon(self._schedule(known.durations, key))

    def learned_from(self, key: str) -> int:
        """Return how many ends of a key were seen; 0 until its polls are timed by them."""
        known = self._known.get(key)
        return 0 if known is None or known.schedule is None else known.durations.seen

    def remembered(self, key: str) -> float:
        """Return how many ends of a key count, old ones counted less."""
        known = self._known.get(key)
        return 0.0 if known is None else known.durations.ended

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write what was learned to a file, as JSON, replacing it at once. Raises OSError."""
        content = {
            "version": _VERSION,
            "durations": {key: known.durations.to_json() for key, known in self._known.items()},
        }
        target = Path(path)
        draft = target.with_name(f"{target.name}.{os.getpid()}.new")
        try:
            draft.write_bytes(codec.encode_json(content))
            draft.replace(target)
        finally:
            draft.unlink(missing_ok=True)

    def load(self, path: str | os.PathLike[str]) -> None:
        """Add what `save` wrote, in place of what is known of the same keys.

        Raises OSError where the file cannot be read, and ValueError for any other content, or another version.
        """
        body = Path(path).read_bytes()
        try:
            content = codec.decode_json(body)
            version, saved = content["version"], content["durations"]
            found = {str(key): Durations.from_json(value) for key, value in saved.items()}
        except (LookupError, TypeError, ValueError, AttributeError) as exc:
            raise ValueError(f"{path}: this is not what was learned of durations") from exc
        if version != _VERSION:
            raise ValueError(f"{path}: version {version!r} is not known here")
        for key, durations in list(found.items())[-_KEYS:]:
            known = self._known[key] = _Known(durations)
            self._known.move_to_end(key)
            if durations.seen >= _FEWEST:
                known.reckon(self._schedule(durations, key))
        while len(self._known) > _KEYS:
            self._known.popitem(last=False)

    def _schedule(self, durations: Durations, key: str) -> Schedule:
        schedule = Schedule(
            durations.hazard(), floor=self._floor, cap=self._cap, negligible=_NEGLIGIBLE / durations.ended
        )
        delay = self._delay
        if delay is not None:
            schedule.set_spacing(lambda cost: cost.delay < delay)
        else:
            polls = (
                self._polls_per_run or schedule.cost(lambda elapsed: self._fallback_gap(elapsed, key)).polls
            )
            schedule.set_spacing(lambda cost: cost.polls > polls)
        return schedule

    def _fallback_gap(self, elapsed: float, key: str) -> float:
        return self._bounded(self.fallback.gap(elapsed, key=key))

    def _bounded(self, gap: float) -> float:
        return min(max(gap, self._floor), self._cap)

    def __repr__(self) -> str:
        aim = (
            f"delay={self._delay}, "
            if self._delay is not None
            else f"polls_per_run={self._polls_per_run}, "
            if self._polls_per_run is not None
            else ""
        )
        return f"<Learned {aim}floor={self._floor}, cap={self._cap}, {len(self._known)} keys>"


class _Known:
    """What is known of one key: its durations, and the schedule made of them."""

    __slots__ = ("_news", "_parts", "durations", "schedule")

    def __init__(self, durations: Durations | None = None) -> None:
        self.durations = durations or Durations()
        self.schedule: Schedule | None = None
        self._news = 0.0  # ends since the schedule was made, and survivals, which count less
        self._parts = array("f", bytes(4 * _PARTS))

    def end(self, since: float, duration: float) -> None:
        """Record an end, and forget much of what is older where durations have changed."""
        if self.schedule is not None and self._has_changed(self.schedule, since, duration):
            self._parts = array("f", bytes(4 * _PARTS))
            self.durations.forget(_OUTDATED)
            self._news = math.inf
        self.durations.end(since, duration)
        self._news += 1.0

    def survive(self, since: float, until: float) -> None:
        """Record that a run has not ended."""
        self.durations.survive(since, until)
        self._news += _SURVIVAL

    @property
    def is_due(self) -> bool:
        """Return whether enough is new for a new schedule."""
        return self.durations.seen >= _FEWEST and self._news > self.durations.ended * _NEWS

    def reckon(self, schedule: Schedule) -> None:
        """Time polls by this schedule from now on."""
        self.schedule = schedule
        self._news = 0.0

    def _has_changed(self, schedule: Schedule, since: float, duration: float) -> bool:
        """Return whether recent ends lie elsewhere than the known ones.

        When exactly a run ended between two polls is not known: it counts for all parts in between, `since` to as
        long after `duration`.
        """
        parts = self._parts
        low, high = (_PARTS * (1.0 - schedule.alive(at)) for at in (since, 2 * duration - since))
        for number in range(_PARTS):
            inside = min(high, number + 1) - max(low, number)
            parts[number] *= 1.0 - 1.0 / _RECENT
            if inside > 0.0:
                parts[number] += inside / (high - low)
        if low == high:
            parts[min(int(low), _PARTS - 1)] += 1.0
        even = sum(parts) / _PARTS
        # Of counts that fade, the variance is half of what it is without.
        return (
            even * _PARTS > _RECENT / 2 and 2.0 * sum((part - even) ** 2 for part in parts) / even > _CHANGED
        )
