"""How long the runs of a fake server last and how they end: scripted, or drawn from a seed. Pure."""

import random
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Final, Self

from attrs import evolve, field, frozen

#: The same in each test of a fake server that is called directly.
_EPOCH: Final = datetime(2026, 1, 5, 9, 0, tzinfo=UTC)


@frozen
class Step:
    """One part of a scripted run: the vendor's status word, and how many seconds it lasts."""

    status: str
    seconds: float = 0.0


@frozen(kw_only=True)
class RunPlan:
    """How the runs of a fake server go: scripted for the targets named in `scripts`, else drawn from the seed.

    A drawn run lasts a log-normally distributed time around `median` seconds and ends in one of `outcomes`
    (weights by the plain name: completed, failed, aborted); a share `pausing` of them pauses once. A run begins
    `delay` seconds after it was started. `epoch` is the date at the server's second 0: without one, now at a
    simulator, and a fixed date for a fake server that is called directly. `history` runs had ended by then, one a
    minute. Raises ValueError for a script without steps.
    """

    seed: int = 0
    median: float = 20.0
    spread: float = 0.6
    delay: float = 0.0
    pausing: float = 0.05
    outcomes: Mapping[str, float] = field(factory=lambda: {"completed": 0.9, "failed": 0.07, "aborted": 0.03})
    scripts: Mapping[str, Sequence[Step]] = field(factory=dict)
    history: int = 0
    _epoch: datetime | None = None

    def __attrs_post_init__(self) -> None:
        for name, steps in self.scripts.items():
            if not steps:
                raise ValueError(f"the script of {name!r} has no steps")

    @property
    def epoch(self) -> datetime:
        """Return the date at the server's second 0."""
        return _EPOCH if self._epoch is None else self._epoch

    def begun(self, now: datetime) -> Self:
        """Return the plan with `now` as its epoch, unless it was given one."""
        return evolve(self, epoch=now) if self._epoch is None else self

    def date(self, seconds: float) -> datetime:
        """Return the date of a second of the server's clock, in UTC."""
        return self.epoch.astimezone(UTC) + timedelta(seconds=seconds)

    def draw(self, chance: random.Random) -> tuple[float, str]:
        """Draw how long a run lasts, in seconds, and how it ends."""
        seconds = self.median * chance.lognormvariate(0.0, self.spread)
        ends = list(self.outcomes)
        return seconds, chance.choices(ends, [self.outcomes[end] for end in ends])[0]


def timed_steps(steps: Sequence[Step], delay: float) -> list[tuple[float, str]]:
    """Return the statuses of a script, each with the second at which it begins; `delay` prolongs the first one."""
    timed: list[tuple[float, str]] = []
    begin = delay
    for step in steps:
        timed.append((begin if timed else 0.0, step.status))
        begin += step.seconds
    return timed


def seeded(*parts: object) -> random.Random:
    """Return a random generator that depends on these parts alone."""
    return random.Random(" ".join(str(part) for part in parts))  # noqa: S311 - seeded on purpose


def hex_id(chance: random.Random, digits: int) -> str:
    """Draw an id that consists of hexadecimal digits."""
    return f"{chance.getrandbits(4 * digits):0{digits}x}"
