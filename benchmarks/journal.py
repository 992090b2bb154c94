"""Rows a second through a journal, from their claim to their end, over one commit for each change.

Ours has 64 rows in SENDING at a time and 1,000 in flight, as a batch has; the naive side does the same four steps for
each row, one after the other, each in a commit of its own, with the same durability (WAL, synchronous=FULL). How much
group commit saves depends on the time that the disk takes for a sync: see `--folder`.
"""

import argparse
import asyncio
import os
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from typing import Final

import orjson
from attrs import asdict, frozen

from aioagents.batch import BatchRow, Change, Journal, RowState
from aioagents.model import RunRef

from .figures import Series, say, whole

_PAGE: Final = os.sysconf("SC_PAGE_SIZE")
_SENDING: Final = 64
_IN_FLIGHT: Final = 1000
_CHUNK: Final = 250
_OUTPUT: Final = {"answer": "The ticket was closed.", "steps": 4}
_STEPS: Final = ("sending", "started", "completed")


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    parser.add_argument("--rows", type=whole, default=100_000)
    parser.add_argument("--rounds", type=whole, default=3)
    parser.add_argument("--folder", type=Path, help="the folder, and so the disk, of the journals")
    parser.add_argument("--side", choices=_SIDES, help="measure this side in this process")


@frozen
class _Figures:
    rows: int
    seconds: float
    cpu: float
    commits: int
    size: int
    growth: int


def run(options: argparse.Namespace) -> None:
    """Measure round by round, both sides in each."""
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        if options.side is not None:
            say(orjson.dumps(asdict(_SIDES[options.side](Path(folder) / "batch.db", options.rows))).decode())
            return
        found: dict[str, list[_Figures]] = {side: [] for side in _SIDES}
        for _ in range(options.rounds):
            for side in _SIDES:
                found[side].append(_run_process(side, options, folder))
    ours, naive = found["ours"], found["naive"]
    say(
        f"{options.rows} rows, {_SENDING} in SENDING at a time, {_IN_FLIGHT} in flight, {options.rounds} rounds"
    )
    for name, figures in (("journal", ours), ("a commit for each change", naive)):
        rates = Series([each.rows / each.seconds for each in figures])
        cpu = Series([each.cpu / each.rows * 1e6 for each in figures])
        share = Series([each.rows * 4 / each.commits for each in figures])
        say(
            f"{name}: {rates.show('rows a second', digits=0)}, {cpu.show('us CPU a row')}, "
            f"{share.show('changes a commit')}"
        )
    sizes = Series([each.size / each.rows for each in ours])
    growth = Series([each.growth / 1e6 for each in ours])
    say(f"on disk: {sizes.show('bytes a row', digits=0)}")
    say(f"memory: {growth.show('MB')} more after {options.rows} rows than after {options.rows // 10}")
    ratio = Series.ratio(
        [each.rows / each.seconds for each in ours], [each.rows / each.seconds for each in naive]
    )
    say(
        f"journal: {ratio.show(digits=2)} times the rows a second of a commit for each change, "
        f"{sizes.middle:.0f} bytes a row, {growth.middle:.1f} MB"
    )


def _run_process(side: str, options: argparse.Namespace, folder: str) -> _Figures:
    # The naive side is slow, at a constant rate: it gets fewer rows.
    rows = options.rows if side == "ours" else max(options.rows // 50, 1)
    command = [
        sys.executable,
        "-m",
        "benchmarks",
        "journal",
        f"--side={side}",
        f"--rows={rows}",
        f"--folder={folder}",
    ]
    root = Path(__file__).parent.parent
    done = subprocess.run(command, cwd=root, capture_output=True, check=True, text=True, timeout=1800)
    return _Figures(**orjson.loads(done.stdout))


def _resident() -> int:
    return int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1]) * _PAGE


def _size(path: Path) -> int:
    return path.stat().st_size


def _key(number: int) -> str:
    return f"row-{number:07}"


def _ref(key: str) -> RunRef:
    return RunRef("leena", "us-east-1", f"0123456789abcdef-{key}")


# Ours


def _ours(path: Path, rows: int) -> _Figures:
    return asyncio.run(_live(path, rows))


async def _live(path: Path, rows: int) -> _Figures:
    began_at, spent = time.perf_counter(), time.process_time()
    async with Journal(path) as journal:
        batch = _Batch(
            journal, (BatchRow(_key(number), "it_ticket_triage", "Triage this") for number in range(rows))
        )
        await batch.run(rows)
        commits = journal.statistics().commits
    seconds, cpu = time.perf_counter() - began_at, time.process_time() - spent
    return _Figures(rows, seconds, cpu, commits, _size(path), _resident() - batch.resident)


class _Batch:
    """Takes rows through a journal as a batch does, with starts and runs that take no time."""

    def __init__(self, journal: Journal, rows: Iterator[BatchRow]) -> None:
        self._journal = journal
        self._rows = rows
        self._claimed: asyncio.Queue[str | None] = asyncio.Queue(_CHUNK * 2)
        self._sending = asyncio.Semaphore(_SENDING)
        self._done = 0
        #: Memory when a tenth of the rows had ended.
        self.resident = 0

    async def run(self, total: int) -> None:
        """Process all rows."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._claim())
            for _ in range(_IN_FLIGHT):
                group.create_task(self._work(total // 10))

    async def _claim(self) -> None:
        while chunk := list(islice(self._rows, _CHUNK)):
            for record in await self._journal.claim(chunk):
                await self._claimed.put(record.key)
        for _ in range(_IN_FLIGHT):
            await self._claimed.put(None)

    async def _work(self, tenth: int) -> None:
        while (key := await self._claimed.get()) is not None:
            async with self._sending:
                await self._record(key, RowState.SENDING)
                await self._record(key, RowState.STARTED)
            await self._record(key, RowState.COMPLETED)
            self._done += 1
            if self._done == max(tenth, 1):
                self.resident = _resident()

    async def _record(self, key: str, state: RowState) -> None:
        change = Change(
            key=key,
            state=state,
            at=datetime.now(UTC),
            ref=_ref(key) if state is RowState.STARTED else None,
            status="completed" if state is RowState.COMPLETED else "",
            output=_OUTPUT if state is RowState.COMPLETED else None,
        )
        await self._journal.record([change])


# The naive side


def _naive(path: Path, rows: int) -> _Figures:
    began_at, spent = time.perf_counter(), time.process_time()
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute(
            "CREATE TABLE row (key TEXT PRIMARY KEY, state TEXT, ref TEXT, at TEXT, output TEXT)"
        )
        for number in range(rows):
            key = _key(number)
            connection.execute("INSERT INTO row (key, state) VALUES (?, 'planned')", (key,))
            for state in _STEPS:
                output = orjson.dumps(_OUTPUT).decode() if state == "completed" else None
                connection.execute(
                    "UPDATE row SET state = ?, ref = ?, at = ?, output = ? WHERE key = ?",
                    (state, str(_ref(key)), datetime.now(UTC).isoformat(), output, key),
                )
    seconds, cpu = time.perf_counter() - began_at, time.process_time() - spent
    return _Figures(rows, seconds, cpu, rows * 4, _size(path), 0)


_SIDES: Final = {"ours": _ours, "naive": _naive}
