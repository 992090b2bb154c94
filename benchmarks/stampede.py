"""Token requests for 10,000 concurrent first calls, and their time over the same calls with a warm token."""

import argparse
import asyncio
import gc
import time

from aioagents import PoolLimits, SessionPool, Timeouts

from .clients import counts, make_ids, make_leena, run_loop
from .figures import Series, say, whole
from .server import serving


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    parser.add_argument("--calls", type=whole, default=10_000)
    parser.add_argument("--rounds", type=whole, default=3)
    parser.add_argument("--token-delay", type=float, default=0.05, help="seconds that a token request takes")


def run(options: argparse.Namespace) -> None:
    """Measure round by round, both sides in each, each with a pool of its own."""
    cold: list[float] = []
    warm: list[float] = []
    token_requests: list[float] = []

    async def measure() -> None:
        for _ in range(options.rounds):
            warm.append(await _calls(url, options.calls, is_warm=True))
            before = (await counts(url)).get("token_requests", 0)
            cold.append(await _calls(url, options.calls, is_warm=False))
            token_requests.append((await counts(url))["token_requests"] - before)

    with serving(token_delay=options.token_delay) as url:
        run_loop(measure, is_uvloop=False)
    say(f"{options.calls} calls at once, {options.rounds} rounds, token after {options.token_delay:g} s")
    say(f"warm token: {Series(warm).show('s', digits=2)}")
    say(
        f"no token: {Series(cold).show('s', digits=2)}; token requests {Series(token_requests).show(digits=0)}"
    )
    ratio = Series.ratio(cold, warm)
    say(f"ratio round by round: {ratio.show(digits=3)}")
    say(f"stampede: {max(token_requests):.0f} token request (aim 1), {ratio.middle:.2f} times warm")


async def _calls(url: str, calls: int, *, is_warm: bool) -> float:
    """Return the seconds that all calls take together. The limits let all of them request the token at once."""
    limits = PoolLimits(requests_at_once=2 * calls)
    async with SessionPool(limits=limits, timeouts=Timeouts(connect=60.0, read=60.0)) as pool:
        leena = make_leena(pool, url)
        handles = [leena.item(each) for each in make_ids(calls)]
        if is_warm:
            await leena.item("warm").poll()
        gc.collect()
        began_at = time.perf_counter()
        async with asyncio.TaskGroup() as group:
            for handle in handles:
                group.create_task(handle.poll())
        return time.perf_counter() - began_at
