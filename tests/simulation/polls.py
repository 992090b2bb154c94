"""When runs are polled, and whether that is not before their time."""

import asyncio
import math
from collections import Counter
from collections.abc import Callable, Coroutine, Sequence
from typing import Any, Final, TypeVar

from aioagents.errors import AgentsError
from aioagents.model import Run
from aioagents.polling import Cadence
from aioagents.pool import PoolStatistics

from .checks import Checks
from .loop import SimLoop

T = TypeVar("T")

#: Between a poll that failed and the next one, at least.
_SHORTEST: Final = 0.05
_LITTLE: Final = 1e-6


class Polls:
    """Sees the gaps that the cadence gives and the polls that are made. Used as the pool's cadence.

    A handle's target is its run's id, so that the cadence's key tells which run a gap is for.
    """

    def __init__(self, cadence: Cadence, loop: SimLoop, checks: Checks, *, is_sole: bool) -> None:
        self._cadence = cadence
        self._loop = loop
        self._checks = checks
        # Where a run has several handles, or somebody announces ends, times are planned that are not seen here.
        self._is_sole = is_sole
        self._due_at: dict[str, float] = {}
        self._failed_at: dict[str, float] = {}
        #: Runs that were woken and not polled since, each with whether somebody still waits for it.
        self._woken: dict[str, Callable[[], bool]] = {}
        self._under_way: Counter[str] = Counter()
        #: Polls made, and those under way.
        self.count = self.inside = 0

    def gap(self, elapsed: float, *, key: str = "", chance: float = 0.5) -> float:
        """Return the gap that the cadence gives."""
        gap = self._cadence.gap(elapsed, key=key, chance=chance)
        now, run = self._loop.time(), key.split(":")[1]
        if self._failed_at.pop(run, None) != now:  # after a failure it may be sooner
            self._due_at[run] = now + gap
        return gap

    def woken(self, run: str, is_awaited: Callable[[], bool]) -> None:
        """Take in that somebody who waits has hinted at news."""
        self._woken[run] = is_awaited

    def recount(self, pool: PoolStatistics, *, most: int, awaited: int) -> None:
        """See that nobody is polled for nothing, and that who was woken is polled at once if there is room."""
        if pool.polling.waiting > awaited:
            self._checks.fail("recount", f"{pool.polling.waiting} wait for runs, {awaited} at most do")
        if 2 * self.inside >= most:
            return
        for run, is_awaited in self._woken.items():
            if is_awaited() and not self._under_way[run]:
                self._checks.fail("wake lost", f"{run} was woken and is not polled")

    async def one(self, run: str, work: Coroutine[Any, Any, T]) -> T:
        """See the scheduler read a run."""
        self._check(run)
        return await self._see([run], work, is_list=False)

    async def many(self, runs: Sequence[Run], work: Coroutine[Any, Any, T]) -> T:
        """See the scheduler read a list: the first run is due, and others come along."""
        self._check(runs[0].id)
        return await self._see([run.id for run in runs], work, is_list=True)

    def _check(self, run: str) -> None:
        if not self._is_sole:
            return
        now, due_at = self._loop.time(), self._due_at.get(run, math.inf)
        if now < due_at - _LITTLE:
            self._checks.fail("poll before its time", f"{run} is polled at {now}, due at {due_at}")

    async def _see(self, runs: Sequence[str], work: Coroutine[Any, Any, T], *, is_list: bool) -> T:
        self.count += 1
        self.inside += 1
        for run in runs:
            self._woken.pop(run, None)
        self._under_way.update(runs)
        try:
            return await work
        except (
            AgentsError,
            asyncio.CancelledError,
        ) as error:  # cancelled with its poll worker, it counts as failed
            now, asked = self._loop.time(), getattr(error, "retry_after", None)
            for run in runs:
                self._woken.pop(run, None)  # the next one comes when it is worth it
                self._failed_at[run] = now
                # Of a list, those that came along keep their time, and those that were due may be read at once.
                if not is_list:
                    self._due_at[run] = now + max(_SHORTEST, asked or 0.0)
            raise
        finally:
            self.inside -= 1
            self._under_way.subtract(runs)
