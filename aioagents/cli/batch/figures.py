"""How far a batch is, how fast it goes, and how long it will take. Pure: told the time."""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Final

from attrs import frozen

from ...batch import BatchStatistics, RowState

_BRISK: Final = 2.0  # seconds over which rates are averaged that are shown
_CALM: Final = 30.0  # the same for the rate from which the time left is reckoned
_TIGHT: Final = 2.0  # a limit that is so many times what is sent holds nothing up
_MINUTE: Final = 60
_DAYS: Final = 99 * 24 * 3600  # what is further away than that nobody knows

#: Rows that no end is known of, as they are called while they are worked on.
_WAITING: Final = "waiting"
_RUNNING: Final = "running"
#: Rows that this run of the batch has done with, and that are left for the next one.
_LATER: Final[Mapping[RowState, str]] = {
    RowState.PLANNED: "put off",
    RowState.SENDING: "not recorded",
    RowState.STARTED: "not over",
}
_FAULTY: Final = "faulty"
_ORDER: Final = (
    _WAITING,
    RowState.SENDING.value,
    _RUNNING,
    *(state.value for state in RowState if state.is_settled),
    *_LATER.values(),
    _FAULTY,
)


class Rate:
    """How many a second, averaged over about `span` seconds, the latest counting most."""

    def __init__(self, span: float, *, now: float) -> None:
        self._span = span
        self._began_at = self._told_at = now
        self._count = 0
        self._weight = 0.0
        self._value = 0.0

    def tell(self, count: int, now: float) -> None:
        """Say how many there were until now."""
        seconds = now - self._told_at
        if seconds <= 0:
            return
        share = -math.expm1(-seconds / self._span)
        self._value += share * ((count - self._count) / seconds - self._value)
        self._weight += share * (1.0 - self._weight)
        self._count, self._told_at = count, now

    @property
    def per_second(self) -> float:
        """Return the rate; 0 before anything was told."""
        return self._value / self._weight if self._weight else 0.0


@frozen(kw_only=True)
class Progress:
    """A batch at one moment. `total` and `seconds_left` are None where they cannot be known."""

    done: int
    total: int | None
    counts: Mapping[str, int]
    starts_per_second: float
    polls_per_second: float
    seconds_left: float | None
    throttled_to: float | None
    throttles: int
    retries: int

    @property
    def figure(self) -> str:
        """Write how many rows are done."""
        return f"{self.done:,}" if self.total is None else f"{self.done:,}/{self.total:,}"

    @property
    def pace(self) -> Sequence[str]:
        """Write how fast it goes, and what holds it up."""
        parts = [f"{self.starts_per_second:.1f} starts/s", f"{self.polls_per_second:.1f} polls/s"]
        if self.throttled_to is not None:
            parts.append(f"throttled to {self.throttled_to:,.1f}/s")
        elif self.throttles:
            parts.append(f"throttled {times(self.throttles)}")
        if self.retries:
            parts.append(f"tried again {times(self.retries)}")
        return parts

    @property
    def left(self) -> str:
        """Write how long it will take from here; empty where nobody knows."""
        return "" if self.seconds_left is None else f"{span(self.seconds_left)} left"

    def __str__(self) -> str:
        counts = [f"{count:,} {name}" for name, count in self.counts.items()]
        parts = [f"{self.figure} rows", ", ".join(counts), ", ".join(self.pace), self.left]
        return "; ".join(filter(None, parts))


class RateLimiter:
    """Takes in how a batch stands, now and then, and tells how it goes."""

    def __init__(self, *, now: float) -> None:
        self.total: int | None = None
        self.throttles = 0
        self._starts, self._polls = Rate(_BRISK, now=now), Rate(_BRISK, now=now)
        self._ends = Rate(_CALM, now=now)

    def progress(
        self, batch: BatchStatistics, *, polls: int, retries: int, limit: float, now: float
    ) -> Progress:
        """Say how it goes; `limit` is how many requests a second the account may send."""
        done = sum(batch.states.values()) + batch.faulty
        self._starts.tell(batch.starts, now)
        self._polls.tell(polls, now)
        # What earlier runs of the batch did was not done in this one's time.
        self._ends.tell(done - batch.replayed, now)
        total = None if self.total is None else max(self.total, done)
        requests = self._starts.per_second + self._polls.per_second
        return Progress(
            done=done,
            total=total,
            counts=_counts(batch),
            starts_per_second=self._starts.per_second,
            polls_per_second=self._polls.per_second,
            seconds_left=_seconds_left(done, total, self._ends.per_second),
            throttled_to=limit if self.throttles and limit < _TIGHT * requests else None,
            throttles=self.throttles,
            retries=retries,
        )


def _counts(batch: BatchStatistics) -> Mapping[str, int]:
    """Return how many rows stand where, in the order to show them."""
    found = Counter({_WAITING: batch.ready, RowState.SENDING.value: batch.sending})
    found[_RUNNING] = batch.in_flight - batch.sending
    found[_FAULTY] = batch.faulty
    for state, count in batch.states.items():
        found[_LATER.get(state, state.value)] += count
    return {name: found[name] for name in _ORDER if found[name] > 0}


def _seconds_left(done: int, total: int | None, per_second: float) -> float | None:
    if total is None or per_second <= 0:
        return None
    seconds = (total - done) / per_second
    return seconds if seconds < _DAYS else None


def times(count: int) -> str:
    """Write how often."""
    return "once" if count == 1 else f"{count:,} times"


def span(seconds: float) -> str:
    """Write a length of time: `1:02:03`, `2:03` or `7 s`."""
    whole = round(seconds)
    minutes, rest = divmod(whole, _MINUTE)
    hours, minutes = divmod(minutes, _MINUTE)
    if hours:
        return f"{hours}:{minutes:02}:{rest:02}"
    return f"{minutes}:{rest:02}" if minutes else f"{rest} s"
