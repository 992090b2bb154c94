"""How long the runs of a fake server last and how they end: scripted, or drawn from a seed. Pure."""

import random
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
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
    minute.
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

    @property
    def epoch(self) -> datetime:
        """Return the date at the server's second 0."""
        return _EPOCH if self._epoch is None else self._epoch

    def begun(self, now: datetime) -> Self:
        """Return the plan with `now` as its epoch, unless it was given one."""
        return evolve(self, epoch=now) if self._epoch is None else self

    def draw(self, chance: random.Random) -> tuple[float, str]:
        """Draw how long a run lasts, in seconds, and how it ends."""
        seconds = self.median * chance.lognormvariate(0.0, self.spread)
        ends = list(self.outcomes)
        return seconds, chance.choices(ends, [self.outcomes[end] for end in ends])[0]
