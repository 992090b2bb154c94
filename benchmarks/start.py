"""CPU of one start through all layers, over a bare aiohttp POST and orjson.loads of the same reply.

Both sides send the same body to the same server, which is another process, with the same number of requests at once
over warm connections. Ours returns a handle for each, which nobody waits for.
"""

import argparse
import asyncio
import gc
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Final, TypeAlias

import aiohttp
import orjson

from aioagents import PoolLimits, SessionPool

from .clients import HEADERS, make_leena, run_loop
from .figures import Series, say, whole
from .server import serving

_AIM: Final = 0.9
_AOP: Final = "0123456789abcdef01234567"
_CONTEXT: Final = {"ticket": "INC1", "priority": 2}

Start: TypeAlias = Callable[[], Awaitable[object]]


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    parser.add_argument("--starts", type=whole, default=2000, help="starts in each round, on each side")
    parser.add_argument("--rounds", type=whole, default=15)
    parser.add_argument("--at-once", type=whole, default=32, help="requests at once")
    parser.add_argument("--uvloop", action="store_true", help="run both sides on uvloop")


def run(options: argparse.Namespace) -> None:
    """Measure round by round, both sides in each."""
    ours: list[float] = []
    bare: list[float] = []

    async def measure() -> None:
        for _ in range(options.rounds):
            async with _bare(url, options.at_once) as start:
                bare.append(await _measure(start, options))
            async with _ours(url, options.at_once) as start:
                ours.append(await _measure(start, options))

    with serving() as url:
        run_loop(measure, is_uvloop=options.uvloop)
    loop = "uvloop" if options.uvloop else "asyncio"
    say(f"{options.starts} starts a round, {options.rounds} rounds, {options.at_once} at once, {loop}")
    say(f"bare: {Series(bare).show('us of CPU a start')}")
    say(f"ours: {Series(ours).show('us of CPU a start')}")
    ratio = Series.ratio(ours, bare)
    say(f"ratio round by round: {ratio.show(digits=3)}")
    say(f"start: {ratio.middle:.2f} times bare (aim {_AIM})")


async def _measure(start: Start, options: argparse.Namespace) -> float:
    """Return the microseconds of CPU that a start costs over warm connections."""
    await _repeat(start, options.at_once * 4, options.at_once)
    gc.collect()
    began_at = time.process_time()
    await _repeat(start, options.starts, options.at_once)
    micros: float = (time.process_time() - began_at) / options.starts * 1e6
    return micros


async def _repeat(start: Start, times: int, at_once: int) -> None:
    left = iter(range(times))

    async def work() -> None:
        for _ in left:
            await start()

    async with asyncio.TaskGroup() as group:
        for _ in range(at_once):
            group.create_task(work())


@asynccontextmanager
async def _ours(url: str, at_once: int) -> AsyncIterator[Start]:
    limits = PoolLimits(requests_at_once=2 * at_once, per_host=2 * at_once)
    async with SessionPool(limits=limits) as pool:
        leena = make_leena(pool, url)

        async def start() -> None:
            await leena.execute(_AOP, message="Triage this", context=_CONTEXT)

        yield start


@asynccontextmanager
async def _bare(url: str, at_once: int) -> AsyncIterator[Start]:
    target = f"{url}/api/v1/external/aop/execute"
    headers = {**HEADERS, "Content-Type": "application/json"}
    connector = aiohttp.TCPConnector(limit=at_once)

    async def start() -> None:
        body = orjson.dumps({"aop_id": _AOP, "message": "Triage this", "context": _CONTEXT})
        async with session.post(target, data=body) as response:
            orjson.loads(await response.read())

    async with aiohttp.ClientSession(connector=connector, headers=headers) as session:
        yield start
