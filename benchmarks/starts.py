"""CPU of one start whose lost reply could be looked up (`find_start`), over one that has no such function.

All sides make the same starts through the same caller, one after the other, and the answer comes at once; only the
task, the limiter and the outcome of a start are measured, without any request. A third side also looks for the run
while the reply is outstanding (`find_early`), which needs tasks of its own.
"""

import argparse
import asyncio
import gc
import time
from collections.abc import Callable, Mapping
from typing import Any, Final

from aioagents import AgentsError, SessionPool
from aioagents.calls import PendingStart, Start
from aioagents.model import Purpose, Reply, Request

from .figures import Series, say, whole

_REQUEST: Final = Request(method="POST", url="https://x.test/runs", call="runs.start", purpose=Purpose.START)
_REPLY: Final = Reply(200, {}, b"run-1")


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    parser.add_argument("--starts", type=whole, default=2000, help="starts in each round, on each side")
    parser.add_argument("--rounds", type=whole, default=15)


def run(options: argparse.Namespace) -> None:
    """Measure round by round, all sides in each."""
    micros: dict[str, list[float]] = {side: [] for side in _SIDES}
    for _ in range(options.rounds):
        for side, functions in _SIDES.items():
            gc.collect()
            micros[side].append(asyncio.run(_measure(functions, options.starts)))
    say(f"{options.starts} starts a round, {options.rounds} rounds")
    for side, values in micros.items():
        say(f"{side}: {Series(values).show('us of CPU a start')}")
    lone = micros["alone"]
    after, early = (Series.ratio(micros[side], lone) for side in ("with find_start", "with find_early"))
    say(f"ratio round by round: {after.show(digits=3)}")
    say(f"starts: {after.middle:.2f} times with find_start (aim 1), {early.middle:.2f} with find_early")


class _Send:
    """Answers at once."""

    async def send(
        self,
        request: Request,  # noqa: ARG002 - all are answered alike
        *,
        headers: Mapping[str, str],  # noqa: ARG002
        on_sent: Callable[[], None] | None = None,
    ) -> Reply:
        """Send a request and receive its reply."""
        if on_sent is not None:
            on_sent()
        await asyncio.sleep(0)
        return _REPLY


async def _find_start(_: PendingStart[str], __: AgentsError) -> str | None:
    return None


async def _find_early(_: PendingStart[str]) -> str:
    await asyncio.sleep(3600)
    return ""


def _read(reply: Reply) -> str:
    return reply.body.decode()


async def _measure(functions: Mapping[str, Any], starts: int) -> float:
    async with SessionPool(send=_Send()) as pool:
        account = pool.account("memory", name="memory", vendor="memory", headers={})

        async def start() -> None:
            await pool.caller.start(
                account,
                Start(vendor="memory", request=_REQUEST, read=_read, target="t", advice="", **functions),
            )

        for _ in range(starts // 10):
            await start()
        began_at = time.process_time()
        for _ in range(starts):
            await start()
        return (time.process_time() - began_at) / starts * 1e6


_SIDES: Final[Mapping[str, Mapping[str, Any]]] = {
    "alone": {},
    "with find_start": {"find_start": _find_start},
    "with find_early": {"find_start": _find_start, "find_early": _find_early},
}
