"""CPU of one poll by the polling engine alone, over a task for each run that sleeps between its polls.

Both sides poll the same runs through the same reader, which answers at once, until each has ended; the gaps are so
short that neither side is ever idle. What is measured is the due queue, the timer, the poll workers and what follows
from an answer, without any request.
"""

import argparse
import asyncio
import gc
import time
from collections import Counter
from collections.abc import Callable, Coroutine
from datetime import UTC, datetime
from typing import Any, Final

from aioagents import Run, RunHandle, RunRef, RunState, SessionPool, Steady

from .figures import Series, say, whole

_GAP: Final = 0.001
_SEEN_AT: Final = datetime(2026, 1, 1, tzinfo=UTC)


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    parser.add_argument("--runs", type=whole, default=5000)
    parser.add_argument("--polls", type=whole, default=8, help="after which each run has ended")
    parser.add_argument("--rounds", type=whole, default=9)


def run(options: argparse.Namespace) -> None:
    """Measure round by round, all sides in each."""
    micros: dict[str, list[float]] = {side: [] for side in _SIDES}
    for _ in range(options.rounds):
        for side, measure in _SIDES.items():
            gc.collect()
            micros[side].append(asyncio.run(measure(options.runs, options.polls)))
    say(f"{options.runs} runs, {options.polls} polls each, {options.rounds} rounds")
    for side, values in micros.items():
        say(f"{side}: {Series(values).show('us of CPU a poll')}")
    bare = micros["a task for each run"]
    waits, callbacks = (Series.ratio(micros[side], bare) for side in ("waits", "done callbacks"))
    say(
        f"polling: {waits.middle:.2f} times a task for each run, {callbacks.middle:.2f} times with done callbacks"
    )


class _Reader:
    """Sees each run end after so many polls."""

    def __init__(self, polls: int) -> None:
        self._polls = polls
        self._made: Counter[str] = Counter()

    async def poll(self, ref: RunRef, *, age: float | None, last: Run | None) -> Run:  # noqa: ARG002
        """Answer at once."""
        self._made[ref.id] += 1
        state = RunState.COMPLETED if self._made[ref.id] >= self._polls else RunState.RUNNING
        return Run(ref=ref, state=state, status=state.value, seen_at=_SEEN_AT)

    read = poll

    def may_retry(self) -> bool:
        """Allow no retry, since nothing fails."""
        return False


def _refs(count: int) -> list[RunRef]:
    return [RunRef("memory", "", str(number)) for number in range(count)]


async def _tasks(runs: int, polls: int) -> float:
    reader = _Reader(polls)

    async def follow(ref: RunRef) -> Run:
        last: Run | None = None
        while last is None or not last.state.is_terminal:
            await asyncio.sleep(_GAP)
            last = await reader.poll(ref, age=None, last=last)
        return last

    began_at = time.process_time()
    async with asyncio.TaskGroup() as group:
        for ref in _refs(runs):
            group.create_task(follow(ref))
    return (time.process_time() - began_at) / runs / polls * 1e6


async def _waits(runs: int, polls: int) -> float:
    async with SessionPool(cadence=Steady(_GAP)) as pool:
        source = pool.source("memory", _Reader(polls), "memory")
        began_at = time.process_time()
        await asyncio.gather(*(RunHandle(source, ref) for ref in _refs(runs)))
        return (time.process_time() - began_at) / runs / polls * 1e6


async def _callbacks(runs: int, polls: int) -> float:
    async with SessionPool(cadence=Steady(_GAP)) as pool:
        source = pool.source("memory", _Reader(polls), "memory")
        over, left = asyncio.Event(), runs

        def count(_: object) -> None:
            nonlocal left
            left -= 1
            if left == 0:
                over.set()

        began_at = time.process_time()
        for ref in _refs(runs):
            RunHandle(source, ref).add_done_callback(count)
        await over.wait()
        return (time.process_time() - began_at) / runs / polls * 1e6


_SIDES: Final[dict[str, Callable[[int, int], Coroutine[Any, Any, float]]]] = {
    "a task for each run": _tasks,
    "waits": _waits,
    "done callbacks": _callbacks,
}
