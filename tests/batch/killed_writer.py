"""A program that settles rows and writes their results, and is killed again and again. Prints the number of rows.

Arguments: the folder to work in, the name of the results file, the number of kills.
"""

import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

from aioagents import RunRef
from aioagents.batch import BatchRow, Change, Journal, ResultFile, RowState
from tests.batch.killing import kill_again
from tests.fakes import EPOCH

_CHUNK = 70
_GROUP = 7


async def work(folder: Path, name: str, count: int, on_begun: Callable[[], object]) -> None:
    """Settle the rows that are not settled yet, a few at a time, and write results in between."""
    async with Journal(folder / "batch.db") as journal:
        left = [record async for record in journal.unfinished()]
        lost = [each.key for each in left if each.state is RowState.SENDING]
        await journal.record([Change(key=key, state=RowState.UNKNOWN, at=EPOCH) for key in lost])
        async with ResultFile(journal, folder / name) as results:
            await settle(journal, results, [each.key for each in left if each.state is RowState.STARTED])
            on_begun()
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
    """Complete rows, some at a time, and write their results."""
    output = {"text": "x" * 300}
    for first in range(0, len(keys), _GROUP):
        some = keys[first : first + _GROUP]
        state = RowState.COMPLETED
        await journal.record([Change(key=key, state=state, at=EPOCH, output=output) for key in some])
        await results.write()


if __name__ == "__main__":
    _work = partial(work, Path(sys.argv[1]), sys.argv[2])
    sys.stdout.write(f"{kill_again(_work, kills=int(sys.argv[3]), step=300)}\n")
