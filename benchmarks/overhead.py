"""CPU of one poll through all layers, over a bare aiohttp GET and orjson.loads of the same reply.

Both sides request the same URLs of the same server, which is another process, with the same number of requests at
once over warm connections, and are never idle. Ours are runs that stay `in_progress` and become due faster than they
can be polled, so each poll passes the due queue, timer, poll workers, limiters, token cache, retries and decoding.
"""

import argparse
import asyncio
import gc
import ssl
import time
from itertools import cycle
from typing import Final

import aiohttp
import orjson
from attrs import define

from aioagents import PoolLimits, SessionPool, Steady

from .clients import HEADERS, make_ids, make_leena, run_loop, status_url
from .figures import Series, say, whole
from .server import serving

_GAP: Final = 0.05
_AIM: Final = 0.6
_AIM_UVLOOP: Final = 0.7


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    parser.add_argument("--polls", type=whole, default=2000, help="polls in each round, on each side")
    parser.add_argument("--rounds", type=whole, default=25)
    parser.add_argument("--at-once", type=whole, default=32, help="requests at once")
    parser.add_argument("--runs", type=whole, default=1000, help="runs that are polled")
    parser.add_argument("--uvloop", action="store_true", help="run both sides on uvloop")


def run(options: argparse.Namespace) -> None:
    """Measure round by round, both sides in each."""
    with serving() as url:
        compare("overhead", url, options, aim=_AIM_UVLOOP if options.uvloop else _AIM)


def compare(
    name: str, url: str, options: argparse.Namespace, *, aim: float, tls: ssl.SSLContext | None = None
) -> None:
    """Measure round by round, both sides in each, and print what is found."""
    ours: list[float] = []
    bare: list[float] = []

    async def measure() -> None:
        for _ in range(options.rounds):
            bare.append(await _bare(url, options, tls))
            ours.append(await _ours(url, options, tls))

    run_loop(measure, is_uvloop=options.uvloop)
    loop = "uvloop" if options.uvloop else "asyncio"
    say(f"{options.polls} polls a round, {options.rounds} rounds, {options.at_once} at once, {loop}")
    say(f"bare: {Series(bare).show('us of CPU a poll')}")
    say(f"ours: {Series(ours).show('us of CPU a poll')}")
    ratio = Series.ratio(ours, bare)
    say(f"ratio round by round: {ratio.show(digits=3)}")
    say(f"{name}: {ratio.middle:.2f} times bare (aim {aim})")


@define
class _Meter:
    """Counts polls, and measures the CPU time from the end of the warm-up until all are done."""

    left: int
    warm: int
    done: asyncio.Event
    began_at: float = 0.0
    ended_at: float = 0.0

    def tick(self) -> None:
        if self.warm > 0:
            self.warm -= 1
            if self.warm == 0:
                gc.collect()
                self.began_at = time.process_time()
            return
        self.left -= 1
        if self.left == 0:
            self.ended_at = time.process_time()
            self.done.set()

    def micros(self, polls: int) -> float:
        return (self.ended_at - self.began_at) / polls * 1e6


def _meter(options: argparse.Namespace) -> _Meter:
    return _Meter(options.polls, max(options.polls // 4, options.at_once * 4), asyncio.Event())


@define
class _CountingCadence:
    """A steady cadence, far shorter than the machine can keep, that counts polls as the bare loop does."""

    steady: Steady
    meter: _Meter | None = None

    def gap(self, elapsed: float, *, key: str = "", chance: float = 0.5) -> float:
        if self.meter is not None:
            self.meter.tick()
        return self.steady.gap(elapsed, key=key, chance=chance)


async def _ours(url: str, options: argparse.Namespace, tls: ssl.SSLContext | None) -> float:
    cadence = _CountingCadence(Steady(_GAP))
    # No account gets more than half of the poll workers.
    limits = PoolLimits(
        pollers=2 * options.at_once, requests_at_once=2 * options.at_once, per_host=2 * options.at_once
    )
    async with SessionPool(limits=limits, cadence=cadence, ssl=tls) as pool, asyncio.TaskGroup() as group:
        leena = make_leena(pool, url)
        waits = [group.create_task(leena.item(each).wait()) for each in make_ids(options.runs)]
        await asyncio.sleep(0)
        cadence.meter = meter = _meter(options)
        await meter.done.wait()
        for wait in waits:
            wait.cancel()
    return meter.micros(options.polls)


async def _bare(url: str, options: argparse.Namespace, tls: ssl.SSLContext | None) -> float:
    meter = _meter(options)
    urls = cycle([status_url(url, each) for each in make_ids(options.runs)])

    async def poll() -> None:
        while not meter.done.is_set():
            async with session.get(next(urls)) as response:
                orjson.loads(await response.read())
            meter.tick()

    connector = aiohttp.TCPConnector(limit=options.at_once, ssl=tls or True)
    async with (
        aiohttp.ClientSession(connector=connector, headers=HEADERS) as session,
        asyncio.TaskGroup() as group,
    ):
        for _ in range(options.at_once):
            group.create_task(poll())
    return meter.micros(options.polls)
