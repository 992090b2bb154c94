"""A program that settles rows and writes their results in a child process, which it kills again and again.

Arguments: the folder to work in, the results' name, how many kills. It prints how many rows there were in the end.
The children are forked from a process that has imported everything and runs nothing, so that a round takes no longer
than the kill is put off.
"""

import asyncio
import os
import random
import signal
import sys
import time
from pathlib import Path

from aioagents import RunRef
from aioagents.batch import BatchRow, Change, Journal, ResultFile, RowState
from tests.fakes import EPOCH

_CHUNK = 70
_GROUP = 7


async def work(folder: Path, name: str, count: int, ready: int) -> None:
    """Settle what is not settled yet, a few rows at a time, and write results between. Tells when that begins."""
    async with Journal(folder / "batch.db") as journal:
        left = [record async for record in journal.unfinished()]
        lost = [each.key for each in left if each.state is RowState.SENDING]
        await journal.record([Change(key=key, state=RowState.UNKNOWN, at=EPOCH) for key in lost])
        async with ResultFile(journal, folder / name) as results:
            await settle(journal, results, [each.key for each in left if each.state is RowState.STARTED])
            os.write(ready, b".")
            for first in range(0, count, _CHUNK):
                rows = [BatchRow(str(n), "tea") for n in range(first, min(first + _CHUNK, count))]
                records = await journal.claim(rows)
                keys = [each.key for each in records if each.state is RowState.PLANNED]
                await journal.record([Change(key=key, state=RowState.SENDING, at=EPOCH) for key in keys])
                refs = {key: RunRef("leap", "", key) for key in keys}
                started = [Change(key=key, state=RowState.STARTED, ref=refs[key], at=EPOCH) for key in keys]
                await journal.record(started)
                await settle(journal, results, keys)
            await results.finish()


async def settle(journal: Journal, results: ResultFile, keys: list[str]) -> None:
    """Have rows end, some at a time, and their results written."""
    output = {"text": "x" * 300}
    for first in range(0, len(keys), _GROUP):
        some = keys[first : first + _GROUP]
        state = RowState.COMPLETED
        await journal.record([Change(key=key, state=state, at=EPOCH, output=output) for key in some])
        await results.write()


def spawn(folder: Path, name: str, count: int, ready: int) -> int:
    """Fork a child that works; gives its process id."""
    child = os.fork()
    if child == 0:
        status = 1
        try:
            asyncio.run(work(folder, name, count, ready))
            status = 0
        finally:
            os._exit(status)
    return child


def main() -> None:
    """Kill child after child, then let one finish."""
    folder, name, kills = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
    chance = random.Random(7)
    heard, ready = os.pipe()
    count, killed = 300, 0
    while killed < kills:
        child = spawn(folder, name, count, ready)
        if killed % 4:  # amid the work, mostly; else while it begins
            os.read(heard, 1)
        time.sleep(chance.uniform(0.0, 0.08))
        os.kill(child, signal.SIGKILL)
        _, status = os.waitpid(child, 0)
        if os.WIFSIGNALED(status):
            killed += 1
        elif os.WEXITSTATUS(status) == 0:
            count += 300  # it was through before
        else:
            sys.exit(f"a child failed after {killed} kills")
    _, status = os.waitpid(spawn(folder, name, count, ready), 0)
    sys.stdout.write(f"{count}\n")
    sys.exit(os.waitstatus_to_exitcode(status))


if __name__ == "__main__":
    main()
