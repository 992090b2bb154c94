"""What befalls a process from outside, each at a step that is drawn."""

import asyncio
import gc
from functools import partial
from typing import TYPE_CHECKING

from .loop import Killed, step

if TYPE_CHECKING:
    from .life import Life


def plan_actions(life: "Life") -> None:
    """Draw what befalls a process, and at which step."""
    for reader in life.readers:
        reader.plan()
    for name, action in (
        ("pool.closed", _close_pool),
        ("task.cancelled", partial(_cancel_some, is_poller=False)),
        ("poller.cancelled", partial(_cancel_some, is_poller=True)),
        ("clock.jumps", _jump),
        ("gc", _collect),
        ("process.killed", _kill),
    ):
        if life.faults.hit(name):
            life.loop.at_step(step(life.stream(name)), partial(action, life))


def _kill(_: "Life") -> None:
    raise Killed


def _collect(_: "Life") -> None:
    gc.collect()


def _jump(life: "Life") -> None:
    life.clock.ahead += life.stream("jump").choice((-86400.0, -3600.0, -1.0, 1.0, 3600.0, 86400.0))
    life.checks.note(f"wall clock {life.clock.ahead:+}")


def _close_pool(life: "Life") -> None:
    if hasattr(life, "pool"):
        life.was_closed = True
        life.checks.note("pool closes")
        life.spawn(life.pool.aclose(), "closer")


def _cancel_some(life: "Life", *, is_poller: bool) -> None:
    """Cancel a task of the library, as only somebody can who does not know whose it is."""
    ours = {life.main, *life.users}
    theirs = {
        task: getattr(task.get_coro(), "__qualname__", "")
        for task in sorted(asyncio.all_tasks(life.loop), key=hash)
        if task not in ours and task.get_name() not in {"aioagents-pool", "journal"}
    }
    chosen = [task for task, name in theirs.items() if name.startswith("Scheduler.") == is_poller]
    if chosen:
        task = life.stream("cancelled task").choice(chosen)
        life.was_cancelled = True
        life.checks.note(f"task {theirs[task]} cancelled")
        task.cancel()
