"""A program that runs a batch and is killed again and again. Prints the number of rows.

Arguments: the folder to work in, the number of kills. Each start is recorded in the file `starts`, in one write, as a
vendor would that lives longer than its client. Some replies are lost, some starts refused, some not sent, depending
on the key.
"""

import asyncio
import os
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

from aioagents import (
    BadRequest,
    NotSent,
    Run,
    RunHandle,
    RunRef,
    RunState,
    SessionPool,
    StartUnknown,
    Steady,
)
from aioagents.batch import Batch, BatchRow, Journal, ResultFile
from tests.batch.batch_rig import StandIn
from tests.batch.killing import kill_again


class Vendor(StandIn):
    """Records starts in a file; runs have ended by their first poll."""

    def __init__(self, pool: SessionPool, path: Path) -> None:
        super().__init__(pool)
        self._file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT)

    async def start_row(self, row: BatchRow) -> RunHandle:
        """Start a run, or fail, depending on the key."""
        number = int(row.key)
        await asyncio.sleep(0.001 * (number % 5))
        if number % 31 == 1:
            raise BadRequest("no such tea", status=400)
        if number % 31 == 2:
            raise NotSent("no connection")
        os.write(self._file, f"{row.key}\n".encode())
        await asyncio.sleep(0.001 * (number % 3))
        if number % 31 == 3:
            raise StartUnknown("no whole reply came back")
        return await super().start_row(row)

    async def poll(self, ref: RunRef, *, age: float | None, last: Run | None) -> Run:
        """Return the run as completed."""
        now = self.pool.clock.utcnow()
        return Run(ref=ref, state=RunState.COMPLETED, status="done", output={"id": ref.id}, seen_at=now)

    read = poll


async def work(folder: Path, count: int, on_begun: Callable[[], object]) -> None:
    """Run the batch and write its results."""
    async with SessionPool(cadence=Steady(0.02)) as pool, Journal(folder / "batch.db") as journal:
        batch = Batch(Vendor(pool, folder / "starts"), journal=journal, in_flight=50, sending=16)
        async with ResultFile(journal, folder / "results.jsonl") as results:
            done = 0
            async for _ in batch.run(BatchRow(str(n), "tea") for n in range(count)):
                if not done:
                    on_begun()
                done += 1
                if done % 40 == 0:
                    await results.write()
            await results.finish()


if __name__ == "__main__":
    _work = partial(work, Path(sys.argv[1]))
    sys.stdout.write(f"{kill_again(_work, kills=int(sys.argv[2]), step=400, latest=0.3)}\n")
