"""Kills a program again and again, at random instants, and then lets it finish.

Its processes are forked from one that has imported everything and runs nothing, so that they begin at once.
"""

import asyncio
import os
import random
import signal
import sys
import time
from collections.abc import Callable, Coroutine
from typing import Any

#: Works on a number of rows, and calls the function once the work has begun.
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
    """Run processes and kill them, then let one finish; return the final number of rows.

    Whenever a process finished before it was killed, there are `step` more rows. Three of four are killed at most
    `latest` seconds after their work began, the others after they were forked.
    """
    chance = random.Random(7)
    reading, ready = os.pipe()
    count, killed = step, 0
    while killed < kills:
        child = _spawn(work, count, ready)
        if killed % 4:
            os.read(reading, 1)
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
