"""Kills a program again and again, at random instants, until it has done what it was to do.

Its children are forked from a process that has imported everything and runs nothing: a round takes no longer than the
kill is put off.
"""

import asyncio
import os
import random
import signal
import sys
import time
from collections.abc import Callable, Coroutine
from typing import Any

#: Works on so many rows, and calls back once it is at it.
Work = Callable[[int, Callable[[], object]], Coroutine[Any, Any, None]]


def _spawn(work: Work, count: int, ready: int) -> int:
    child = os.fork()
    if child == 0:
        status = 1
        try:
            asyncio.run(work(count, lambda: os.write(ready, b".")))
            status = 0
        finally:
            os._exit(status)
    return child


def kill_again(work: Work, *, kills: int, step: int, latest: float = 0.08) -> int:
    """Let children work and kill them, then let one finish; gives how many rows there were in the end.

    There are `step` rows more whenever a child was through before it was killed. Three of four are killed at most
    `latest` seconds after they were at it, the others after they were begun.
    """
    chance = random.Random(7)
    heard, ready = os.pipe()
    count, killed = step, 0
    while killed < kills:
        child = _spawn(work, count, ready)
        if killed % 4:
            os.read(heard, 1)
        time.sleep(chance.uniform(0.0, latest))
        os.kill(child, signal.SIGKILL)
        _, status = os.waitpid(child, 0)
        if os.WIFSIGNALED(status):
            killed += 1
        elif os.WEXITSTATUS(status) == 0:
            count += step
        else:
            sys.exit(f"a child failed after {killed} kills")
    _, status = os.waitpid(_spawn(work, count, ready), 0)
    if status:
        sys.exit("the last child failed")
    return count
