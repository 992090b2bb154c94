"""Memory of one waiting run, and CPU of 100,000 of them with nothing due.

Each value comes from a process of its own. The share of asyncio itself is measured by the same number of tasks that
await bare futures; the library's share is the difference. Without a task for each run, the handles' awaitables are
kept suspended, as in a program that waits for many runs in one task.
"""

import argparse
import asyncio
import gc
import os
import subprocess
import sys
import time
from collections.abc import Callable, Generator, Iterable
from contextlib import AsyncExitStack
from functools import partial
from pathlib import Path
from typing import Any, Final

import orjson
from attrs import define

from aioagents import SessionPool, Steady

from .clients import make_ids, make_leena
from .figures import Series, say, whole

_PAGE: Final = os.sysconf("SC_PAGE_SIZE")
_NOWHERE: Final = "http://127.0.0.1:9"  # nothing is due, so nothing is requested
_AIM: Final = 700


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    parser.add_argument("--runs", type=whole, default=100_000)
    parser.add_argument("--rounds", type=whole, default=3)
    parser.add_argument("--seconds", type=float, default=3.0, help="seconds for which idle CPU is measured")
    parser.add_argument("--side", choices=_SIDES, help="measure this side in this process")


def run(options: argparse.Namespace) -> None:
    """Measure round by round, all sides in each."""
    if options.side is not None:
        say(orjson.dumps(asyncio.run(_measure(options))).decode())
        return
    bytes_a_run: dict[str, list[float]] = {side: [] for side in _SIDES}
    idle: dict[str, list[float]] = {side: [] for side in _SIDES}
    for _ in range(options.rounds):
        for side in _SIDES:
            size, cpu = _run_process(side, options)
            bytes_a_run[side].append(size)
            idle[side].append(cpu)
    say(f"{options.runs} waiting, {options.rounds} rounds; RSS growth, and idle CPU in percent of a core")
    for side, description in _SIDES.items():
        sizes, cpus = Series(bytes_a_run[side]), Series(idle[side])
        total = sizes.middle * options.runs / 1e6
        say(
            f"{description}: {total:.1f} MB, {sizes.show('bytes a run', digits=0)}; {cpus.show('%', digits=2)}"
        )
    with_tasks = _share(bytes_a_run, "tasks", "bare-tasks")
    without = _share(bytes_a_run, "futures", "bare-futures")
    say(f"the library's share: with a task for each run {with_tasks.show('bytes', digits=0)}")
    say(f"the library's share: without {without.show('bytes', digits=0)}")
    alone = Series(bytes_a_run["futures"]).middle
    say(
        f"waiting: {with_tasks.middle / _AIM:.2f} times {_AIM} bytes a run beyond asyncio's own, "
        f"{alone / _AIM:.2f} times in all without tasks (aim 1), idle {Series(idle['tasks']).middle:.2f} % (aim 1)"
    )


def _share(sizes: dict[str, list[float]], ours: str, bare: str) -> Series:
    return Series([one - other for one, other in zip(sizes[ours], sizes[bare], strict=True)])


def _run_process(side: str, options: argparse.Namespace) -> tuple[float, float]:
    command = [sys.executable, "-m", "benchmarks", "waiting", "--side", side]
    command += [f"--runs={options.runs}", f"--seconds={options.seconds}"]
    root = Path(__file__).parent.parent
    done = subprocess.run(command, cwd=root, capture_output=True, check=True, text=True, timeout=300)
    size, cpu = orjson.loads(done.stdout)
    return size, cpu


@define
class _Setup:
    """What every side needs, created before memory is measured."""

    ids: list[str]
    pool: SessionPool
    group: asyncio.TaskGroup


async def _measure(options: argparse.Namespace) -> tuple[float, float]:
    """Return the bytes that each waiting run added, and the percentage of a core that all of them use while idle."""
    async with AsyncExitStack() as stack:
        pool = await stack.enter_async_context(SessionPool(cadence=Steady(3600.0)))
        group = await stack.enter_async_context(asyncio.TaskGroup())
        sides: dict[str, Callable[[_Setup], Callable[[], object]]] = {
            "tasks": _tasks,
            "bare-tasks": _bare_tasks,
            "futures": _futures,
            "bare-futures": _bare_futures,
        }
        setup = _Setup(make_ids(options.runs), pool, group)
        await _settle()
        before = _resident()
        end = sides[options.side](setup)
        await _settle()
        size = (_resident() - before) / options.runs
        spent, began_at = time.process_time(), time.perf_counter()
        await asyncio.sleep(options.seconds)
        cpu = (time.process_time() - spent) / (time.perf_counter() - began_at) * 100
        end()
    return size, cpu


async def _settle() -> None:
    """Run the first step of every task, and collect garbage."""
    for _ in range(3):
        await asyncio.sleep(0)
    gc.collect()


def _resident() -> int:
    return int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1]) * _PAGE


def _cancel(waits: "Iterable[asyncio.Future[Any]]") -> None:
    for wait in waits:
        wait.cancel()


async def _follow(awaitable: Any) -> None:
    await awaitable


def _tasks(setup: _Setup) -> Callable[[], object]:
    leena = make_leena(setup.pool, _NOWHERE)
    tasks = [setup.group.create_task(_follow(leena.item(each))) for each in setup.ids]
    return partial(_cancel, tasks)


def _bare_tasks(setup: _Setup) -> Callable[[], object]:
    loop = asyncio.get_running_loop()
    # The task's frame holds the future; in a real program the code that resolves it does too, as this list does.
    futures = [loop.create_future() for _ in setup.ids]
    tasks = [setup.group.create_task(_follow(each)) for each in futures]
    return partial(_cancel, [*tasks, *futures])


def _futures(setup: _Setup) -> Callable[[], object]:
    leena = make_leena(setup.pool, _NOWHERE)
    return partial(_drop, [leena.item(each).__await__() for each in setup.ids])


def _bare_futures(setup: _Setup) -> Callable[[], object]:
    loop = asyncio.get_running_loop()
    return partial(_drop, [loop.create_future().__await__() for _ in setup.ids])


def _drop(waits: "list[Generator[Any, None, Any]]") -> None:
    _cancel(map(next, waits))


_SIDES: Final = {
    "tasks": "runs, a task for each",
    "bare-tasks": "bare futures, a task for each",
    "futures": "runs without tasks",
    "bare-futures": "bare futures without tasks",
}
