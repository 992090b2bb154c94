"""The progress of a batch: rows by state, rates, and the time left. Pure: the time comes in by parameter."""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Final

from attrs import frozen

from ...batch import BatchStatistics, RowState

_SHOWN_SPAN: Final = 2.0  # seconds over which the rates that are shown are averaged
_LEFT_SPAN: Final = 30.0  # the same for the rate from which the time left is computed
_SLACK: Final = 2.0  # a limit this many times above the rate of requests delays nothing
_MINUTE: Final = 60
_MOST_LEFT: Final = 99 * 24 * 3600  # longer times are not shown

#: The names of rows that are being processed.
_WAITING: Final = "waiting"
_RUNNING: Final = "running"
#: The names of rows that this run of the batch leaves for the next one.
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
    """A number of events a second, averaged over about `span` seconds, the latest counting most."""

    def __init__(self, span: float, *, now: float) -> None:
        self._span = span
        self._updated_at = now
        self._count = 0
        self._weight = 0.0
        self._value = 0.0

    def update(self, count: int, now: float) -> None:
        """Take the total count until now."""
        seconds = now - self._updated_at
        if seconds <= 0:
            return
        share = -math.expm1(-seconds / self._span)
        self._value += share * ((count - self._count) / seconds - self._value)
        self._weight += share * (1.0 - self._weight)
        self._count, self._updated_at = count, now

    @property
    def per_second(self) -> float:
        """Return the rate; 0 before the first update."""
        return self._value / self._weight if self._weight else 0.0


@frozen(kw_only=True)
class Progress:
    """The progress at one moment. `total` and `seconds_left` are None if they are not known."""

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
        """Return the number of rows that are done, as text."""
        return f"{self.done:,}" if self.total is None else f"{self.done:,}/{self.total:,}"

    @property
    def rates(self) -> Sequence[str]:
        """Return the rates, throttling and retries, as texts."""
        parts = [f"{self.starts_per_second:.1f} starts/s", f"{self.polls_per_second:.1f} polls/s"]
        if self.throttled_to is not None:
            parts.append(f"throttled to {self.throttled_to:,.1f}/s")
        elif self.throttles:
            parts.append(f"throttled {times(self.throttles)}")
        if self.retries:
            parts.append(f"retried {times(self.retries)}")
        return parts

    @property
    def left(self) -> str:
        """Return the time left, as text; empty if it is not known."""
        return "" if self.seconds_left is None else f"{span(self.seconds_left)} left"

    def __str__(self) -> str:
        counts = [f"{count:,} {name}" for name, count in self.counts.items()]
        parts = [f"{self.figure} rows", ", ".join(counts), ", ".join(self.rates), self.left]
        return "; ".join(filter(None, parts))


class ProgressMeter:
    """Computes the progress of a batch from its statistics, which it is given now and then."""

    def __init__(self, *, now: float) -> None:
        self.total: int | None = None
        self.throttles = 0
        self._starts, self._polls = Rate(_SHOWN_SPAN, now=now), Rate(_SHOWN_SPAN, now=now)
        self._ends = Rate(_LEFT_SPAN, now=now)

    def progress(
        self, batch: BatchStatistics, *, polls: int, retries: int, limit: float, now: float
    ) -> Progress:
        """Return the progress. `limit` is the number of requests a second that the account may send."""
        done = sum(batch.states.values()) + batch.faulty
        self._starts.update(batch.starts, now)
        self._polls.update(polls, now)
        # Rows that earlier runs of the batch settled took no time of this one.
        self._ends.update(done - batch.replayed, now)
        total = None if self.total is None else max(self.total, done)
        requests = self._starts.per_second + self._polls.per_second
        return Progress(
            done=done,
            total=total,
            counts=_counts(batch),
            starts_per_second=self._starts.per_second,
            polls_per_second=self._polls.per_second,
            seconds_left=_seconds_left(done, total, self._ends.per_second),
            throttled_to=limit if self.throttles and limit < _SLACK * requests else None,
            throttles=self.throttles,
            retries=retries,
        )


def _counts(batch: BatchStatistics) -> Mapping[str, int]:
    """Return the number of rows in each state, in the order in which they are shown."""
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
    return seconds if seconds < _MOST_LEFT else None


def times(count: int) -> str:
    """Return how often, as text."""
    return "once" if count == 1 else f"{count:,} times"


def span(seconds: float) -> str:
    """Return a duration as text: `1:02:03`, `2:03` or `7 s`."""
    whole = round(seconds)
    minutes, rest = divmod(whole, _MINUTE)
    hours, minutes = divmod(minutes, _MINUTE)
    if hours:
        return f"{hours}:{minutes:02}:{rest:02}"
    return f"{minutes}:{rest:02}" if minutes else f"{rest} s"
