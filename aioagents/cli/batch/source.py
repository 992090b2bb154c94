"""Where a batch's rows come from: a file, which can be looked through first, or a pipe, which cannot."""

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
_AHEAD: Final = 256  # rows of a pipe that are read before anybody asks
_SLICE: Final = 500  # rows polled in one go


@contextmanager
def opened(job: BatchJob) -> "Iterator[Iterable[Row] | AsyncIterator[Row]]":
    """Return the rows, lazily. What is no ordinary file is read in a thread: it may keep its reader waiting."""
    if is_ordinary(job.file):
        yield _rows(job, job.file)
        return
    with _Piped(job) as rows:
        yield rows


def is_ordinary(file: str) -> bool:
    """Return whether a file can be read twice."""
    return file != "-" and Path(file).is_file()


def _rows(job: BatchJob, source: Source) -> Iterator[Row]:
    read = read_csv if job.form == "csv" else read_jsonl
    return read(source, target=job.target, is_strict=job.is_strict)


def _distinct(job: BatchJob, rows: Iterator[Row]) -> Iterator[Row]:
    """Raise RowFault, with `--strict`, at a row whose key stood in the input before."""
    if not job.is_strict:
        yield from rows
        return
    with closing(Keys()) as keys:
        for row in rows:
            if isinstance(row, BatchRow) and (before := keys.add(row.key, row.line)) is not None:
                raise RowFault(row.line or 0, f"the key {row.key!r} stands in line {before} already", row.key)
            yield row


async def look_through(job: BatchJob) -> None:
    """See that the file can be read, and with `--strict` that each line is a row. Raises ValueError and OSError."""
    if not is_ordinary(job.file):
        return
    for number, _ in enumerate(_distinct(job, _rows(job, job.file))):
        if not job.is_strict:
            return
        if number % _SLICE == 0:
            await asyncio.sleep(0)


async def count(job: BatchJob) -> int | None:
    """Return about how many rows the file has: its lines, of which some may be blank, or parts of one cell."""
    if not is_ordinary(job.file):
        return None
    lines, last = 0, b"\n"
    with Path(job.file).open("rb") as file:  # noqa: ASYNC230 - a block is read in no time
        while block := file.read(_BLOCK):
            lines, last = lines + block.count(b"\n"), block
            await asyncio.sleep(0)
    return max(0, lines + (not last.endswith(b"\n")) - (job.form == "csv"))


class _Piped:
    """Rows that a thread reads as they come. It is a daemon: nothing can end a read that waits for its pipe."""

    def __init__(self, job: BatchJob) -> None:
        self._job = job
        self._loop = asyncio.get_running_loop()
        self._queue: asyncio.Queue[Row | None] = asyncio.Queue()
        self._room = Semaphore(_AHEAD)
        self._is_left = False
        self._failure: Exception | None = None

    def __enter__(self) -> Self:
        Thread(target=self._read, name="aioagents-rows", daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._is_left = True
        self._room.release()

    def __aiter__(self) -> AsyncIterator[Row]:
        return self

    async def __anext__(self) -> Row:
        row = await self._queue.get()
        if row is None:
            raise self._failure or StopAsyncIteration
        self._room.release()
        return row

    def _read(self) -> None:
        try:
            with _open(self._job.file) as file:
                for row in _distinct(self._job, _rows(self._job, file)):
                    self._tell(row)
                    self._room.acquire()
                    if self._is_left:
                        return
        except Exception as exc:  # noqa: BLE001 - raised at whoever asks for rows
            self._failure = exc
        self._tell(None)

    def _tell(self, row: Row | None) -> None:
        with suppress(RuntimeError):  # the loop is closed: nobody asks any more
            self._loop.call_soon_threadsafe(self._queue.put_nowait, row)


def _open(file: str) -> io.BufferedReader:
    # Not the buffer that Python has for stdin: as it ends, it would wait for a read that may be under way.
    place = sys.stdin.fileno() if file == "-" else file
    return open(place, "rb", closefd=file != "-")
