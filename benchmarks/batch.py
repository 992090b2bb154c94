"""CPU of one run of a batch, started, polled and journaled, over a bare aiohttp loop with the same requests.

Both sides send the same requests to the same server, which is another process: a start for each row, and one poll,
by which the run has ended. The bare side is one task for each request at once, which keeps nothing and waits for
nothing; ours is a `Batch` with a `Journal` on disk, whose rows pass through all their states. The CPU is that of the
whole process, including the journal's thread.

With `--memory`, it measures the memory of a batch with ten thousand rows and with the given number, both journaled,
each in a process of its own; the vendor is then in memory too.
"""

import argparse
import asyncio
import gc
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import aclosing
from itertools import count
from pathlib import Path
from typing import Any, ClassVar, Final, Self

import aiohttp
import orjson

from aioagents import PoolLimits, Run, RunHandle, RunRef, RunState, SessionPool, Steady
from aioagents.batch import Batch, BatchRow, Journal
from aioagents.contract import RunClient

from .clients import HEADERS, make_leena, run_loop, status_url
from .figures import Series, say, whole
from .server import serving

_AIM: Final = 1.5
_FEW: Final = 10_000
_INPUT: Final = {"ticket": "INC0012345", "priority": 2, "text": "The tea kettle on the third floor is cold."}


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    parser.add_argument("--rows", type=whole, default=5000, help="rows of one batch, on each side")
    parser.add_argument("--rounds", type=whole, default=5)
    parser.add_argument("--at-once", type=whole, default=64, help="requests at once")
    parser.add_argument("--in-flight", type=whole, default=1000)
    parser.add_argument("--gap", type=float, default=0.2, help="seconds from a start to the poll")
    parser.add_argument("--delay", type=float, default=0.0, help="seconds that an answer takes on average")
    parser.add_argument("--without-journal", action="store_true", help="run ours without one")
    parser.add_argument("--uvloop", action="store_true", help="run both sides on uvloop")
    parser.add_argument("--memory", type=whole, help="measure memory instead, with this number of rows")
    parser.add_argument("--alone", action="store_true", help="measure memory in this process")


def run(options: argparse.Namespace) -> None:
    """Measure round by round, both sides in each."""
    if options.memory is not None:
        _run_memory(options)
        return
    ours: list[float] = []
    bare: list[float] = []
    seconds: list[float] = []

    async def measure() -> None:
        for _ in range(options.rounds):
            bare.append(await _bare(url, options))
            began_at = time.perf_counter()
            ours.append(await _ours(url, options))
            seconds.append(time.perf_counter() - began_at)

    with serving(status="completed", delay=options.delay) as url:
        run_loop(measure, is_uvloop=options.uvloop)
    loop = "uvloop" if options.uvloop else "asyncio"
    say(f"{options.rows} rows, {options.rounds} rounds, {options.at_once} requests at once, {loop}")
    say(f"bare: {Series(bare).show('us of CPU a run')}")
    say(f"ours: {Series(ours).show('us of CPU a run')}")
    say(f"ours: {options.rows / Series(seconds).middle:,.0f} rows a second")
    ratio = Series.ratio(ours, bare)
    say(f"ratio round by round: {ratio.show(digits=3)}")
    say(f"batch: {ratio.middle:.2f} times bare (aim {_AIM})")


def _rows(number: int) -> Iterator[BatchRow]:
    return (BatchRow(f"row-{each}", "tea", "Check this", _INPUT) for each in range(number))


async def _ours(url: str, options: argparse.Namespace) -> float:
    limits = PoolLimits(
        pollers=2 * options.at_once, requests_at_once=2 * options.at_once, per_host=2 * options.at_once
    )
    with tempfile.TemporaryDirectory() as folder:
        async with SessionPool(limits=limits, cadence=Steady(options.gap)) as pool:
            leena = make_leena(pool, url)
            await leena.check()
            batch = Batch(
                leena,
                journal=None if options.without_journal else Path(folder, "batch.db"),
                in_flight=options.in_flight,
                sending=options.at_once,
            )
            gc.collect()
            began_at = time.process_time()
            async with aclosing(batch.run(_rows(options.rows))) as outcomes:
                number = sum([1 async for outcome in outcomes if outcome.is_settled])
            spent = time.process_time() - began_at
    if number != options.rows:
        raise RuntimeError(f"{number} of {options.rows} rows were settled")
    micros: float = spent / options.rows * 1e6
    return micros


async def _bare(url: str, options: argparse.Namespace) -> float:
    numbers = iter(range(options.rows))
    headers = {**HEADERS, "Content-Type": "application/json"}

    async def work() -> None:
        for number in numbers:
            body = {"aop_id": "tea", "message_to_start": f"Check this {number}", "context": _INPUT}
            async with session.post(
                f"{url}/api/v1/external/aop/execute", data=orjson.dumps(body), headers=headers
            ) as response:
                started = orjson.loads(await response.read())
            async with session.get(status_url(url, started["aop_item_id"])) as response:
                orjson.loads(await response.read())

    connector = aiohttp.TCPConnector(limit=options.at_once)
    async with aiohttp.ClientSession(connector=connector, headers=HEADERS) as session:
        gc.collect()
        began_at = time.process_time()
        async with asyncio.TaskGroup() as group:
            for _ in range(options.at_once):
                group.create_task(work())
        spent = time.process_time() - began_at
    micros: float = spent / options.rows * 1e6
    return micros


# Memory


class _Vendor(RunClient):
    """Starts runs in memory, which have ended by the first poll."""

    vendor: ClassVar[str] = "memory"

    def __init__(self, pool: SessionPool) -> None:
        super().__init__(pool)
        self._numbers = count()
        self._source = pool.source("memory", self, "memory")

    @classmethod
    def from_env(
        cls,
        pool: SessionPool,
        environ: Mapping[str, str] | None = None,  # noqa: ARG003
        *,
        name: str = "",  # noqa: ARG003
    ) -> Self:
        """Return a client."""
        return cls(pool)

    async def check(self) -> None:
        """Do nothing."""

    async def start_row(self, row: BatchRow) -> RunHandle:  # noqa: ARG002 - all rows are alike
        """Return the handle of a new run."""
        ref = RunRef("memory", "", str(next(self._numbers)))
        return RunHandle(self._source, ref, begun_at=self.pool.clock.now())

    def attach(self, ref: RunRef | str) -> RunHandle:
        """Return the handle of a run."""
        return RunHandle(self._source, RunRef.parse(str(ref)))

    async def poll(self, ref: RunRef, *, age: float | None, last: Run | None) -> Run:  # noqa: ARG002
        """Return the run as completed."""
        now = self.pool.clock.utcnow()
        return Run(ref=ref, state=RunState.COMPLETED, status="completed", output=dict(_INPUT), seen_at=now)

    read = poll

    def may_retry(self) -> bool:
        """Return true."""
        return True


def _run_memory(options: argparse.Namespace) -> None:
    if options.alone:
        say(orjson.dumps(asyncio.run(_memory(options))).decode())
        return
    few, _ = _run_process(_FEW)
    many, seconds = _run_process(options.memory)
    say(f"{_FEW:,} rows: at most {few / 1e6:.1f} MB")
    say(f"{options.memory:,} rows: at most {many / 1e6:.1f} MB, in {seconds:.0f} s")
    say(f"batch: {many / few:.2f} times the memory for {options.memory / _FEW:.0f} times the rows (aim 1)")


def _run_process(rows: int) -> tuple[float, float]:
    command = [sys.executable, "-m", "benchmarks", "batch", f"--memory={rows}", "--alone"]
    root = Path(__file__).parent.parent
    done = subprocess.run(command, cwd=root, capture_output=True, check=True, text=True)
    size, seconds = orjson.loads(done.stdout)
    return size, seconds


async def _memory(options: argparse.Namespace) -> tuple[float, float]:
    """Return the peak memory of the process in bytes, and the seconds that the batch took."""
    settled: Any = 0
    began_at = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        async with (
            SessionPool(cadence=Steady(options.gap)) as pool,
            Journal(Path(folder, "batch.db")) as journal,
        ):
            batch = Batch(_Vendor(pool), journal=journal, in_flight=options.in_flight)
            async with aclosing(batch.run(_rows(options.memory))) as outcomes:
                async for outcome in outcomes:
                    settled += outcome.is_settled
    if settled != options.memory:
        raise RuntimeError(f"{settled} of {options.memory} rows were settled")
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024, time.perf_counter() - began_at
