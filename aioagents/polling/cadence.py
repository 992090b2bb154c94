"""How long to wait until the next poll of a run. Pure: no clock, no chance of its own, no I/O."""

import math
from typing import Any, Final, Protocol, runtime_checkable

from attrs import Attribute, field, frozen

_JITTER: Final = 0.1


def _positive(_: object, attribute: "Attribute[Any]", value: float) -> None:
    if not (isinstance(value, int | float) and math.isfinite(value) and value > 0):
        raise ValueError(f"{attribute.name} has to be a positive number of seconds, not {value!r}")


def _factor(_: object, attribute: "Attribute[Any]", value: float) -> None:
    if not (isinstance(value, int | float) and math.isfinite(value) and value >= 1):
        raise ValueError(f"{attribute.name} has to be 1 or more, not {value!r}")


def _jittered(gap: float, chance: float) -> float:
    """Return `gap`, spread evenly over a tenth to either side; a `chance` of 0.5 leaves it as it is."""
    return gap * (1.0 + _JITTER * (2.0 * chance - 1.0))


class Cadence(Protocol):
    """Decides how long to wait until the next poll."""

    def gap(self, elapsed: float, *, key: str = "", chance: float = 0.5) -> float:
        """Return the seconds until the next poll, more than 0.

        `elapsed` is the number of seconds since the run's present state began, as far as was seen; `key` names
        what may be learned apart (vendor, target, state); `chance` in [0, 1) is the jitter, drawn by the caller.
        """
        ...


@runtime_checkable
class LearningCadence(Cadence, Protocol):
    """A cadence that is informed of how long runs last."""

    #: Decides in its place how rarely a run is polled that a push wakes at its end.
    fallback: Cadence

    def observe(self, duration: float, *, key: str = "", ended: bool = True, since: float = 0.0) -> None:
        """Record that a state had lasted for `duration` seconds when it ended, or that it had not ended by then.

        The run was followed from `since` seconds on.
        """
        ...


@frozen
class Steady:
    """Polls every `seconds`, a tenth more or less."""

    seconds: float = field(validator=_positive)

    def gap(self, elapsed: float, *, key: str = "", chance: float = 0.5) -> float:  # noqa: ARG002
        """Return the same gap whatever has elapsed."""
        return _jittered(self.seconds, chance)


@frozen
class Growing:
    """Polls ever more rarely: the gap grows with the time waited already, from `first` up to `cap` seconds.

    gap = min(`cap`, `first` + (`factor` - 1) * elapsed), a tenth more or less but never above `cap`. So the n-th
    gap is about `first` * `factor`**n; the end of a run of any length is seen late by about `factor` - 1 times its
    length; and a poll that came late does not change the plan.
    """

    first: float = field(default=1.0, validator=_positive)
    factor: float = field(default=1.25, validator=_factor)
    cap: float = field(default=60.0, validator=_positive)

    def gap(self, elapsed: float, *, key: str = "", chance: float = 0.5) -> float:  # noqa: ARG002
        """Return a share of `elapsed`, within the bounds."""
        gap = self.first + (self.factor - 1.0) * max(elapsed, 0.0)
        return min(self.cap, _jittered(min(self.cap, gap), chance))
