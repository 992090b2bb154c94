"""Programs that the journal's tests run in processes of their own: killed, on a full disk, and as rivals."""
# ruff: noqa: ASYNC240 - the files are the subject

import asyncio
import os
import random
import resource
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AsyncExitStack
from pathlib import Path

from aioagents.batch import BatchRow, Journal, RowState
from aioagents.errors import JournalError
from tests.batch.journal_rig import change

_AT_ONCE = 24


def say(text: str) -> None:
    """Print a line in one write."""
    os.write(1, f"{text}\n".encode())


# A batch that is killed again and again


async def _work(path: Path, keys: list[str]) -> None:
    """Bring all rows to their end, as a batch would. Prints each change before and after it is made."""
    async with Journal(path) as journal:
        output = path.with_suffix(".out")
        output.touch()
        os.truncate(output, await journal.emitted_size())
        async for record in journal.unfinished():
            lost = record.state is RowState.SENDING
            await _record(journal, record.key, RowState.UNKNOWN if lost else RowState.COMPLETED)
        rows = iter([BatchRow(key, "target") for key in keys])
        async with asyncio.TaskGroup() as group:
            for _ in range(_AT_ONCE):
                group.create_task(_take(journal, rows))
            group.create_task(_emit(journal, output, len(keys)))
    say("done")


async def _take(journal: Journal, rows: Iterator[BatchRow]) -> None:
    for row in rows:
        (record,) = await journal.claim([row])
        if record.state is RowState.PLANNED:
            for state in (RowState.SENDING, RowState.STARTED, RowState.COMPLETED):
                await _record(journal, row.key, state)


async def _record(journal: Journal, key: str, state: RowState) -> None:
    say(f"asked {key} {state}")
    await journal.record([change(key, state)])
    say(f"made {key} {state}")


async def _emit(journal: Journal, output: Path, total: int) -> None:
    """Write one line for each settled row, and record it."""
    with output.open("ab") as file:
        while output.read_bytes().count(b"\n") < total:
            records = await journal.unemitted(40)
            for record in records:
                file.write(f"{record.key} {record.state}\n".encode())
            file.flush()
            os.fsync(file.fileno())
            if records:
                await journal.record_emitted([record.key for record in records], file.tell())


def killed(path: str, rows: str, kills: str, seed: str) -> None:
    """Work on a journal in process after process; each but the last one is killed at a random time."""
    keys = [f"row-{number}" for number in range(int(rows))]
    chance = random.Random(int(seed))
    for number in range(int(kills)):
        say(f"process {number}")
        # Mostly in the middle of the work; every fourth about the time that the journal is created or opened.
        lines = 0 if number % 4 == 0 else chance.randrange(1, 120)
        pause = chance.uniform(0.0, 0.03 if number % 4 == 0 else 0.003)
        _run_until(lines, pause, lambda: asyncio.run(_work(Path(path), keys)))
    say("last process")
    _run_until(None, 0.0, lambda: asyncio.run(_work(Path(path), keys)))


def _run_until(lines: int | None, pause: float, work: Callable[[], None]) -> None:
    """Run `work` in a fork that is killed shortly after it printed `lines` lines; pass its output on."""
    ours, theirs = os.pipe()
    child = os.fork()
    if child == 0:
        os.dup2(theirs, 1)
        os.close(theirs)
        os.close(ours)
        code = 1
        try:
            work()
            code = 0
        finally:
            os._exit(code)
    os.close(theirs)
    said = None
    while said != b"":
        if lines is not None and lines <= 0:
            time.sleep(pause)
            os.kill(child, signal.SIGKILL)
            lines = None
        said = os.read(ours, 65536)
        os.write(1, said)
        if lines is not None:
            lines -= said.count(b"\n")
    os.close(ours)
    status = os.waitpid(child, 0)[1]
    say(f"\nended {os.waitstatus_to_exitcode(status)}")  # the last line may be incomplete


# A disk that is full


def _limit(size: int) -> None:
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))


async def _claim_until_refused(journal: Journal, prefix: str) -> None:
    for number in range(100_000):
        try:
            await journal.claim([BatchRow(f"{prefix}-{number}", "target")])
        except JournalError as error:
            say(f"refused {error.is_passing} {error}")
            return
        say(f"made {prefix}-{number} planned")


async def _starved(path: Path) -> None:
    async with AsyncExitStack() as stack:
        journal = await stack.enter_async_context(Journal(path))
        await journal.claim([BatchRow("before", "target")])
        _limit(400_000)
        await _claim_until_refused(journal, "first")
        await _claim_until_refused(journal, "none")
        _limit(1000)  # a change takes less room than a claim
        try:
            await journal.record([change("before", RowState.SENDING)])
        except JournalError:
            say("not sent")
        _limit(resource.RLIM_INFINITY)
        await journal.claim([BatchRow("after", "target")])
        _limit(800_000)
        await _claim_until_refused(journal, "again")
        stack.callback(_limit, resource.RLIM_INFINITY)  # once it is closed; measuring coverage needs room


def starved(path: str) -> None:
    """Claim rows until files cannot grow, go on once they can, and close while they cannot."""
    asyncio.run(_starved(Path(path)))


def starved_from_the_start(path: str) -> None:
    """Open a journal while files cannot be larger than a kilobyte."""
    _limit(1000)

    async def attempt() -> None:
        try:
            async with Journal(path):
                say("opened")
        except JournalError as error:
            say(f"refused {error.is_passing} {error}")

    asyncio.run(attempt())
    _limit(resource.RLIM_INFINITY)


# Processes that want the same journal


def rival(name: str) -> None:
    """Open each journal that is named on the input, keep it open until the next line, and print the result."""
    say("ready")
    lines = (line.strip() for line in iter(sys.stdin.readline, ""))

    async def attempt(path: str) -> None:
        try:
            async with Journal(path, owner=name) as journal:
                await journal.claim([BatchRow(name, "target")])
                say("in")
                next(lines)
        except JournalError as error:
            say(f"refused {error}")
            next(lines)

    for path in lines:
        asyncio.run(attempt(path))
        say("out")


if __name__ == "__main__":
    programs: dict[str, Callable[..., None]] = {
        each.__name__: each for each in (killed, starved, starved_from_the_start, rival)
    }
    programs[sys.argv[1]](*sys.argv[2:])
