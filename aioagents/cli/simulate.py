"""The command `simulate`: fake servers of all vendors on a loopback port, for other commands and for programs."""

import shlex
from collections.abc import Sequence
from datetime import UTC, datetime

import click

from ..contract.fake import RunPlan
from ..simulator import FaultPlan, Simulator
from .exits import Exit
from .options import json_option
from .output import Output
from .work import Work, interruption, perform


@click.command("simulate")
@click.option(
    "--port", type=click.IntRange(0, 65535), default=0, help="0 for a free port.", show_default=True
)
@click.option("--host", default="127.0.0.1", help="A loopback address.", show_default=True)
@click.option(
    "--speed", type=float, default=1.0, help="Simulated seconds per real second.", show_default=True
)
@click.option(
    "--start",
    "epoch",
    type=click.DateTime(["%Y-%m-%d", "%Y-%m-%dT%H:%M:%SZ"]),
    metavar="MOMENT",
    help="When simulated time begins, as 2026-01-05T10:00:00Z.  [default: now]",
)
@click.option("--seed", type=int, default=0, help="The seed of runs and faults.", show_default=True)
@click.option(
    "--median",
    type=click.FloatRange(min=0, min_open=True),
    default=20.0,
    help="The median duration of runs, in simulated seconds.",
    show_default=True,
)
@click.option(
    "--history",
    type=click.IntRange(0, 100_000),
    default=100,
    help="The number of old runs in the report.",
    show_default=True,
)
@click.option(
    "--fault",
    "faults",
    multiple=True,
    metavar="NAME=SHARE",
    help="Inject this fault into a share of requests; repeatable. Names: reset lost throttle error truncate garble "
    "gateway slow latency expire webhook_lost webhook_twice webhook_late webhook_early webhook_wrong all; "
    "only=CALL+PURPOSE limits faults to these calls and purposes (purposes: start poll call token).",
)
@json_option
def simulate(
    *,
    port: int,
    host: str,
    speed: float,
    epoch: datetime | None,
    seed: int,
    median: float,
    history: int,
    faults: Sequence[str],
    is_json: bool,
) -> Exit:
    """Serve simulated vendors on a loopback port until Ctrl-C, which exits with 0.

    Prints the environment variables that make other commands and programs use it; with --json as one object. The
    credentials in them are the simulator's own. Run 'aioagents simulate > simulator.env' in one terminal, and
    '. ./simulator.env' in another.
    """
    out = Output(is_json=is_json)

    def make() -> Simulator:
        start = None if epoch is None else epoch.replace(tzinfo=UTC)
        plan = RunPlan(seed=seed, median=median, history=history, epoch=start)
        return Simulator(
            plan=plan, host=host, port=port, speed=speed, seed=seed, faults=FaultPlan.parse(",".join(faults))
        )

    async def job() -> Exit:
        async with make() as simulator:
            environment = simulator.environment()
            out.document(environment)
            out.block("\n".join(f"export {name}={shlex.quote(value)}" for name, value in environment.items()))
            out.warn(f"simulating at {simulator.url}, {speed:g} times real time; Ctrl-C ends it")
            await interruption()
            served = simulator.statistics()
            out.warn(f"served {served.requests} requests, {served.starts} starts")
        return Exit.OK

    return perform(Work(out), job)
