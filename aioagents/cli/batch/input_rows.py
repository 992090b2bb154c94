"""Reads the rows of a batch from a file, which can be checked first, or from a pipe, which cannot."""

import asyncio
import io
import sys
from collections.abc import AsyncIterator, Iterable, Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from threading import Semaphore, Thread
from typing import Final, Self, TypeAlias

from ...batch import BatchRow, RowFault, read_csv, read_jsonl
from ...batch.journal import Keys
from ...batch.rows import Source
from .job import BatchJob

Row: TypeAlias = BatchRow | RowFault

_BLOCK: Final = 1024 * 1024
_AHEAD: Final = 256  # rows that are read ahead from a pipe
_SLICE: Final = 500  # rows that are checked between two pauses for the event loop


@contextmanager
def open_rows(job: BatchJob) -> "Iterator[Iterable[Row] | AsyncIterator[Row]]":
    """Return the rows, read lazily. A pipe is read in a thread, since reading from it may block."""
    if is_regular(job.file):
        yield _rows(job, job.file)
        return
    with _PipedRows(job) as rows:
        yield rows


def is_regular(file: str) -> bool:
    """Return whether this is a regular file, which can be read twice."""
    return file != "-" and Path(file).is_file()


def _rows(job: BatchJob, source: Source) -> Iterator[Row]:
    read = read_csv if job.form == "csv" else read_jsonl
    return read(source, target=job.target, is_strict=job.is_strict)


def _distinct(job: BatchJob, rows: Iterator[Row]) -> Iterator[Row]:
    """Return the rows; with `--strict`, raise RowFault for a row that repeats a key."""
    if not job.is_strict:
        yield from rows
        return
    with closing(Keys()) as keys:
        for row in rows:
            if isinstance(row, BatchRow) and (before := keys.add(row.key, row.line)) is not None:
                raise RowFault(row.line or 0, f"the key {row.key!r} is in line {before} already", row.key)
            yield row


async def check_rows(job: BatchJob) -> None:
    """Raise ValueError or OSError if the file cannot be read or, with `--strict`, a line of it is not a row."""
    if not is_regular(job.file):
        return
    for number, _ in enumerate(_distinct(job, _rows(job, job.file))):
        if not job.is_strict:
            return
        if number % _SLICE == 0:
            await asyncio.sleep(0)


async def count_rows(job: BatchJob) -> int | None:
    """Return the approximate number of rows: the lines, of which some may be blank or belong to one cell."""
    if not is_regular(job.file):
        return None
    lines, last = 0, b"\n"
    with Path(job.file).open("rb") as file:  # noqa: ASYNC230 - reading a block is fast
        while block := file.read(_BLOCK):
            lines, last = lines + block.count(b"\n"), block
            await asyncio.sleep(0)
    return max(0, lines + (not last.endswith(b"\n")) - (job.form == "csv"))


class _PipedRows:
    """Rows that a thread reads as they come. It is a daemon: a read that waits for its pipe cannot be ended."""

    def __init__(self, job: BatchJob) -> None:
        self._job = job
        self._loop = asyncio.get_running_loop()
        self._queue: asyncio.Queue[Row | None] = asyncio.Queue()
        self._permits = Semaphore(_AHEAD)
        self._is_closed = False
        self._failure: Exception | None = None

    def __enter__(self) -> Self:
        Thread(target=self._read, name="aioagents-rows", daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._is_closed = True
        self._permits.release()

    def __aiter__(self) -> AsyncIterator[Row]:
        return self

    async def __anext__(self) -> Row:
        row = await self._queue.get()
        if row is None:
            raise self._failure or StopAsyncIteration
        self._permits.release()
        return row

    def _read(self) -> None:
        try:
            with _open(self._job.file) as file:
                for row in _distinct(self._job, _rows(self._job, file)):
                    self._put(row)
                    self._permits.acquire()
                    if self._is_closed:
                        return
        except Exception as exc:  # noqa: BLE001 - raised by __anext__
            self._failure = exc
        self._put(None)

    def _put(self, row: Row | None) -> None:
        with suppress(RuntimeError):  # the loop is closed: nobody reads any more
            self._loop.call_soon_threadsafe(self._queue.put_nowait, row)


def _open(file: str) -> io.BufferedReader:
    # Not sys.stdin.buffer: at its end, Python would wait for a read that may still be in progress.
    source = sys.stdin.fileno() if file == "-" else file
    return open(source, "rb", closefd=file != "-")
