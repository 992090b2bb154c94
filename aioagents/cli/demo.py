"""The command `demo`: a few hundred runs over real sockets, against a simulator that it starts."""

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from statistics import fmean
from typing import Any, Final

import click
from attrs import frozen

from ..contract.fake import RunPlan
from ..errors import AgentsError
from ..model import Run
from ..observe import Event, RunChanged, RunStarted
from ..polling import Growing
from ..pool import PoolStatistics, SessionPool
from ..providers.leena import Leena
from ..simulator import Simulator
from .exits import Exit, code_of, worst
from .options import json_option
from .output import Output
from .tally import Tally
from .work import Work, perform

_SPEED: Final = 10.0  # simulated seconds per real second: a demo then takes about ten seconds
_SPREAD: Final = 0.45  # few runs are much longer than others, so that the demo does not end with a long wait
_AOPS: Final = ("it_ticket_triage", "invoice_check", "new_hire_setup")
_DRAW_EVERY: Final = 0.1
_LINE_EVERY: Final = 2.0
_SLOWEST: Final = 5
_MOST_SHOWN: Final = 20


@frozen(kw_only=True)
class EndedRun:
    """A run that has ended. `delay` is the time until its end was detected, in simulated seconds."""

    run: Run
    delay: float

    @property
    def seconds(self) -> float:
        """Return how long the run took by the vendor's times, in simulated seconds."""
        began_at, ended_at = self.run.started_at, self.run.ended_at
        return 0.0 if began_at is None or ended_at is None else (ended_at - began_at).total_seconds()


@click.command("demo")
@click.option(
    "--runs",
    type=click.IntRange(1, 20_000),
    default=200,
    help="The number of runs to start.",
    show_default=True,
)
@click.option(
    "--seed", type=int, default=0, help="The seed of the runs' durations and outcomes.", show_default=True
)
@json_option
def demo(*, runs: int, seed: int, is_json: bool) -> Exit:
    """Start many runs at a simulated Leena AI and follow all of them, over real sockets on this machine.

    Needs no settings and no network. Simulated time runs 10 times as fast as real time, and the library polls 10
    times as often. Some simulated runs fail or are aborted, which is intended: the exit code is 0 nevertheless.
    """
    work = Work(Output(is_json=is_json))
    work.most_shown = _MOST_SHOWN if work.out.is_live else None
    return perform(work, lambda: _run_demo(work, runs, seed))


async def _run_demo(work: Work, count: int, seed: int) -> Exit:
    # The default cadence of a pool, scaled to simulated time.
    cadence = Growing(first=1.0 / _SPEED, factor=1.25, cap=60.0 / _SPEED)
    # In the same event loop: in a thread of its own it took more CPU and made delays half as long again.
    async with (
        Simulator(plan=RunPlan(seed=seed, spread=_SPREAD), seed=seed, speed=_SPEED) as simulator,
        work.pool(cadence=cadence) as pool,
    ):
        demo = Demo(work, simulator, pool, count)
        await demo.run()
        _print_results(work.out, demo, pool.statistics())
    return demo.code


class Demo:
    """One demo: its runs, and their display."""

    def __init__(self, work: Work, simulator: Simulator, pool: SessionPool, count: int) -> None:
        self._out = work.out
        self.simulator = simulator
        self._pool = pool
        self.count = count
        self._leena = Leena.from_env(pool, simulator.environment())
        self.tally = Tally(count)
        self.ended: list[EndedRun] = []
        self.errors: list[AgentsError] = []
        self.seconds = 0.0
        self._requests = 0
        self._rate = 0.0
        self._counted_at = time.monotonic()
        work.listeners.append(self._on_event)

    @property
    def code(self) -> Exit:
        """Return the exit code: it depends on errors of the library alone, not on how simulated runs end."""
        return worst(code_of(error) for error in self.errors)

    def _on_event(self, event: Event) -> None:
        if isinstance(event, RunStarted):
            self.tally.begin(event.run)
        elif isinstance(event, RunChanged):
            self.tally.seen(event.run)

    async def run(self) -> None:
        """Start all runs and follow them to their ends, showing their progress."""
        began_at = time.monotonic()
        board, refresh, every = self._open_board()
        with board:
            async with asyncio.TaskGroup() as group:
                runs = {group.create_task(self._run_one(index)) for index in range(self.count)}
                while runs:
                    _, runs = await asyncio.wait(runs, timeout=every)
                    self._count_rate(time.monotonic())
                    refresh()
        self.seconds = time.monotonic() - began_at

    async def _run_one(self, index: int) -> None:
        ref = None
        try:
            handle = await self._leena.execute(_AOPS[index % len(_AOPS)], message=f"demo {index}")
            ref = handle.ref
            run = await handle
        except AgentsError as error:
            self.errors.append(error)
            if ref is None:
                self.tally.lose("error")
            else:
                self.tally.close(ref, "error")
            return
        now = self.simulator.now()
        ended_at = self.simulator.fake("leena").ended_at(run.id)
        self.ended.append(EndedRun(run=run, delay=0.0 if ended_at is None else now - ended_at))

    def _count_rate(self, now: float) -> None:
        """Update the requests a second, averaged over about a second."""
        requests, seconds = self._pool.statistics().requests, now - self._counted_at
        if seconds > 0:
            share = min(1.0, seconds)
            self._rate += share * ((requests - self._requests) / seconds - self._rate)
            self._requests, self._counted_at = requests, now

    def _open_board(self) -> tuple[AbstractContextManager[object], Callable[[], None], float]:
        began_at = time.monotonic()

        def rates() -> str:
            return f"{time.monotonic() - began_at:.1f} s, {self._rate:.0f} requests/s"

        title = (
            f"{self.count} AOP runs at a simulated Leena AI, {self.simulator.url}, {_SPEED:g} times real time"
        )
        if not self._out.is_live:
            self._out.line(title)
            return nullcontext(), lambda: self._out.line(f"{self.tally} ({rates()})"), _LINE_EVERY
        from . import live  # noqa: PLC0415 - rich is imported only if something is drawn

        live.say(title, "bold")
        board = live.Board(lambda: live.progress(self.tally, rates()))
        return board, board.refresh, _DRAW_EVERY


def _print_results(out: Output, demo: Demo, statistics: PoolStatistics) -> None:
    for error in demo.errors:
        out.error(error)
    out.document(_describe(demo, statistics))
    if out.is_json:
        return
    from . import live  # noqa: PLC0415 - as above

    tables = [
        live.table(
            "How the runs ended (simulated seconds)",
            _STATE_HEADS,
            _state_rows(demo),
            right=(1, 2, 3),
            coloured=0,
        ),
        live.table(
            "The slowest runs (simulated seconds)", _SLOW_HEADS, _slow_rows(demo), right=(2, 3), coloured=1
        ),
        live.table("Cost", (), _figures(demo, statistics)),
    ]
    for each in tables:
        if out.is_live:
            live.show(each)
        else:
            out.block(live.plain(each))


_STATE_HEADS: Final = ("state", "runs", "share", "mean length")
_SLOW_HEADS: Final = ("run", "state", "length", "detected after")


def _state_rows(demo: Demo) -> Sequence[Sequence[str]]:
    rows = []
    for state, runs in demo.tally.counts().items():
        lengths = [each.seconds for each in demo.ended if each.run.state.value == state]
        rows.append(
            (state, str(runs), f"{runs / demo.count:.1%}", f"{fmean(lengths):.1f}" if lengths else "-")
        )
    return rows


def _slowest(demo: Demo) -> Sequence[EndedRun]:
    return sorted(demo.ended, key=lambda each: each.seconds, reverse=True)[:_SLOWEST]


def _slow_rows(demo: Demo) -> Sequence[Sequence[str]]:
    return [
        (str(each.run.ref), each.run.state.value, f"{each.seconds:.1f}", f"{each.delay:.1f}")
        for each in _slowest(demo)
    ]


def _delay(demo: Demo) -> float:
    return fmean(each.delay for each in demo.ended) if demo.ended else 0.0


def _figures(demo: Demo, statistics: PoolStatistics) -> Sequence[Sequence[str]]:
    seen = demo.simulator.statistics()
    delay = _delay(demo)
    return [
        ("time", f"{demo.seconds:.1f} s, which are {demo.seconds * _SPEED:.0f} simulated s"),
        ("polls per run", f"{statistics.polling.polls / demo.count:.1f}"),
        ("mean detection delay", f"{delay:.1f} simulated s, which are {delay / _SPEED * 1000:.0f} ms"),
        ("requests", f"{seen.requests}, {seen.requests / demo.seconds:.0f} a second"),
        ("token requests", f"{seen.token_requests}"),
        ("connections", f"{seen.connections}"),
    ]


def _describe(demo: Demo, statistics: PoolStatistics) -> Mapping[str, Any]:
    seen = demo.simulator.statistics()
    return {
        "runs": demo.count,
        "states": demo.tally.counts(),
        "seconds": demo.seconds,
        "speed": _SPEED,
        "polls_per_run": statistics.polling.polls / demo.count,
        "mean_detection_delay": {"simulated": _delay(demo), "real": _delay(demo) / _SPEED},
        "slowest": [
            {
                "ref": str(each.run.ref),
                "state": each.run.state.value,
                "simulated_seconds": each.seconds,
                "simulated_delay": each.delay,
            }
            for each in _slowest(demo)
        ],
        "requests": seen.requests,
        "starts": seen.starts,
        "token_requests": seen.token_requests,
        "connections": seen.connections,
        "errors": len(demo.errors),
    }
