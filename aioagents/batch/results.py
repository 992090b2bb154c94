"""Writes the results of a batch to a file: exactly one line for each settled row, whenever the process is killed.

The journal records the size of the file and which rows have a line in it; both change in one step, once the lines are
on disk. Anything beyond that size was never recorded, and is cut off. A file that is new or rewritten has another
name (`.aioagents-part`) until it is complete, and the recorded size is its size from the first line on. So a size
above 0 always belongs to one of the two files, and a file that has the final name before that is not ours.
"""

import os
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from threading import Lock
from typing import IO, Any, Final, Literal, Protocol, Self, TypeVar, TypeVarTuple, Unpack, cast

import anyio
import anyio.to_thread

from ..errors import JournalError
from .lines import line_format
from .lock_file import LockFile, open_private
from .record import Record

T = TypeVar("T")
Ts = TypeVarTuple("Ts")

_PART: Final = ".aioagents-part"
_PAGE: Final = 512  # rows between two flushes to disk
_ATTEMPTS: Final = 3  # to record a page of which a row may have changed


class Emission(Protocol):
    """The part of a journal that records which results are in the output. Methods raise `JournalError`."""

    async def unemitted(self, limit: int) -> Sequence[Record]:
        """Return settled rows whose result is not in the output yet, in the order of settling."""
        ...

    async def record_emitted(self, keys: Sequence[str], size: int) -> None:
        """Record that these are in the output, which then has `size` bytes; all of them, or none."""
        ...

    async def emitted_size(self) -> int:
        """Return the size of the output when results were last recorded."""
        ...


class StaleOutput(Protocol):
    """The part of a journal that knows whether the output has to be rewritten."""

    async def is_output_stale(self) -> bool:
        """Return whether a row has changed whose result is in the output."""
        ...

    async def reset_emission(self) -> None:
        """Record that no result is in the output, and that its size is 0."""
        ...


class ResultJournal(Emission, StaleOutput, Protocol):
    """What a `ResultFile` needs of a journal."""


class ResultFile:
    """Writes a line for each settled row: `async with ResultFile(journal, "results.jsonl") as results`.

    Call `write` now and then, and `finish` at the end. The format is CSV (`output` is JSON text) if the name ends in
    `.csv` or `form` says so, else JSON lines; times are UTC. A new file is readable by its owner alone. With
    `guards_formulas` a cell of a CSV that begins like a formula gets a quote before it. `hide` is applied to all
    texts of servers, also within outputs: it has to replace secrets that a server repeats.

    Entering continues the file; with `is_rebuilt` it is rewritten. For a file that is not this journal's, or that
    another process is writing, it raises ValueError that says what to do, and changes nothing. Errors of the disk are
    raised as OSError; no line is lost by them.
    `run_sync` runs what blocks, in a thread by default.
    """

    def __init__(
        self,
        journal: ResultJournal,
        path: str | os.PathLike[str],
        *,
        form: Literal["jsonl", "csv"] | None = None,
        is_rebuilt: bool = False,
        guards_formulas: bool = False,
        hide: Callable[[str], str] = str,
        run_sync: Callable[[Callable[[], Any]], Awaitable[Any]] = anyio.to_thread.run_sync,
    ) -> None:
        self._journal = journal
        self._path = Path(path).resolve()  # a symbolic link stays, and its target is replaced
        self._part = self._path.with_name(f"{self._path.name}{_PART}")
        name = form or ("csv" if self._path.suffix.lower() == ".csv" else "jsonl")
        self._form = line_format(name, guards_formulas=guards_formulas, hide=hide)
        self._is_rebuilt = is_rebuilt
        self._run_sync = run_sync
        self._is_part = False
        self._file: IO[bytes] | None = None
        self._lock_file = LockFile(self._path)
        self._lock = anyio.Lock()
        self._thread_lock = Lock()  # a thread goes on when its caller is cancelled

    async def __aenter__(self) -> Self:
        try:
            await self._in_thread(self._check_is_regular)
            await self._in_thread(self._lock_file.acquire)
            if self._is_rebuilt or await self._journal.is_output_stale():
                await self._rebuild()
            else:
                await self._in_thread(self._reopen, await self._journal.emitted_size())
        except BaseException:
            self._release()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        self._release()

    async def write(self) -> int:
        """Write all rows settled since the last call and return their number. They are on disk when this returns.

        A row that was written as unknown and then sent again has two lines in the file until `finish`.
        """
        async with self._lock:
            return await self._append()

    async def finish(self) -> None:
        """Write what is left. If rows changed after they were written, rewrite the whole file."""
        async with self._lock:
            if await self._journal.is_output_stale():
                await self._rebuild()
            else:
                await self._append()
            if self._is_part:
                await self._in_thread(self._publish)

    # Lines go to disk first, then into the journal

    async def _append(self) -> int:
        size = await self._journal.emitted_size()
        if size == 0:
            await self._in_thread(self._start_part)
            size = await self._write_page((), 0) if self._form.head else 0
        count = failures = 0
        while records := await self._journal.unemitted(_PAGE):
            try:
                size = await self._write_page(records, size)
            except JournalError:
                failures += 1
                if failures == _ATTEMPTS:
                    raise
                await self._in_thread(self._opened.truncate, size)  # a row of these is no longer settled
            else:
                count, failures = count + len(records), 0
        # Only once its size is recorded: after a kill during its first lines it would not be known as ours.
        if self._is_part and size > 0:
            await self._in_thread(self._publish)
        return count

    async def _write_page(self, records: Sequence[Record], size: int) -> int:
        size = await self._in_thread(self._write_lines, records, size)
        await self._journal.record_emitted([record.key for record in records], size)
        return size

    async def _rebuild(self) -> None:
        # Created before the journal is reset: its existence says that the other file is to be replaced.
        await self._in_thread(self._open_part)
        await self._journal.reset_emission()
        await self._append()

    async def _in_thread(self, function: Callable[[Unpack[Ts]], T], *arguments: *Ts) -> T:
        def call() -> T:
            with self._thread_lock:
                return function(*arguments)

        return cast("T", await self._run_sync(call))

    # What runs in a thread

    def _check_is_regular(self) -> None:
        """Raise ValueError for a device or a pipe: it must not be replaced, and cannot be truncated."""
        if self._path.exists() and not self._path.is_file():
            raise ValueError(f"{self._path} is not a regular file: name one for the results")

    def _reopen(self, size: int) -> None:
        """Open the file whose recorded size is `size`, or start one. Raise ValueError if there is none."""
        part, whole = _size_of(self._part), _size_of(self._path)
        if part is not None and (size == 0 or part >= size):
            self._open(self._part)
        elif size > 0:
            self._part.unlink(missing_ok=True)  # created for rewriting, which did not begin
            if whole is None or whole < size:
                raise ValueError(
                    f"{self._path} {'is not there' if whole is None else 'is shorter than it was'}, and the journal "
                    "has results in it: put that file back, name the file it is, or have it rewritten"
                )
            self._open(self._path)
            if not self._is_ours(size):
                raise ValueError(
                    f"{self._path} does not hold this journal's results: name the file that does, or another one and "
                    "have it rewritten"
                )
        elif whole:
            raise ValueError(
                f"{self._path} is not empty, and nothing in it is of this journal: name another file, or move it away"
            )
        else:
            self._open_part()

    def _start_part(self) -> None:
        """Write first lines to the part file, also if the file was finished before without any row."""
        if self._opened and not self._is_part:
            self._open_part()

    def _open_part(self) -> None:
        self._close()
        open_private(self._part, "wb").close()
        _sync_folder(self._part)
        self._open(self._part)

    def _open(self, path: Path) -> None:
        self._file = path.open("r+b")
        self._is_part = path == self._part

    def _is_ours(self, size: int) -> bool:
        """Return whether the file begins as ours do and has the end of a line at `size`."""
        file = self._opened
        head = file.read(len(self._form.prefix))
        file.seek(size - 1)
        return head == self._form.prefix and file.read(1) == b"\n"

    def _write_lines(self, records: Sequence[Record], size: int) -> int:
        file = self._opened
        lines = [self._form.line(record) for record in records]
        file.seek(size)
        file.truncate()
        file.write(b"".join([self._form.head, *lines] if size == 0 else lines))
        file.flush()
        os.fsync(file.fileno())
        return file.tell()

    def _publish(self) -> None:
        """Rename the part file to its final name. If that fails the file stays open, and this may be called again."""
        if os.name == "nt":
            self._close()  # Windows cannot rename an open file
        self._part.replace(self._path)
        _sync_folder(self._path)
        self._is_part = False
        if self._file is None:
            self._open(self._path)

    @property
    def _opened(self) -> IO[bytes]:
        if self._file is None:
            raise RuntimeError("the file is not open; use it inside 'async with ResultFile(...)'")
        return self._file

    def _release(self) -> None:
        with self._thread_lock:
            self._close()
            self._lock_file.release()

    def _close(self) -> None:
        file, self._file = self._file, None
        if file is not None:
            file.close()

    def __repr__(self) -> str:
        return f"<ResultFile {self._path}, {'closed' if self._file is None else 'open'}>"


def _size_of(path: Path) -> int | None:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return None


def _sync_folder(path: Path) -> None:
    """Flush the directory entry of a file to disk, on systems where folders can be opened."""
    if os.name == "nt":
        return
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
