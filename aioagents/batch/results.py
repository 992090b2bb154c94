"""Results of a batch in a file, exactly one line for each settled row, whenever the process is killed.

The journal knows how long the file is, and whose lines stand in it; both change in one step, once the lines are on
disk. What stands behind that length was never counted, and is cut off. A file that is begun, or written anew, has
another name (`.aioagents-part`) until it is whole, and the journal's length is its length from the first line on:
so there is always one file that a length above 0 is of, and a file that has the name already is somebody else's.
"""

import csv
import io
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from threading import Lock
from types import MappingProxyType, TracebackType
from typing import BinaryIO, Final, Literal, Protocol, Self, TypeVar, TypeVarTuple, Unpack

import anyio
import anyio.to_thread
from attrs import frozen

from .. import codec
from ..errors import JournalError
from .hold import Hold
from .record import Record

T = TypeVar("T")
Ts = TypeVarTuple("Ts")

COLUMNS: Final = (
    "key",
    "target",
    "state",
    "ref",
    "status",
    "error_kind",
    "error",
    "sent_at",
    "ended_at",
    "output",
)
_PART: Final = ".aioagents-part"
_PAGE: Final = 512  # rows between two flushes to disk
_PATIENCE: Final = 3


class Emission(Protocol):
    """The part of a journal that knows which results were given out. Methods raise `JournalError`."""

    async def unemitted(self, limit: int) -> Sequence[Record]:
        """Return settled rows whose result was not given out, in the order of settling."""
        ...

    async def record_emitted(self, keys: Sequence[str], size: int) -> None:
        """Note that these were given out, after which the output has `size` bytes. All of it, or nothing."""
        ...

    async def emitted_size(self) -> int:
        """Return how long the output was when results were last given out."""
        ...


class Renewal(Protocol):
    """The part of a journal that knows whether results changed after they were given out."""

    async def is_output_stale(self) -> bool:
        """Return whether a row changed whose result was given out."""
        ...

    async def reset_emission(self) -> None:
        """Have all results given out anew, from length 0."""
        ...


class ResultJournal(Emission, Renewal, Protocol):
    """What results are written from."""


class ResultFile:
    """Writes what a batch settled: `async with ResultFile(journal, "results.jsonl") as results`.

    Call `write` now and then, and `finish` at the end. JSON lines, or CSV (chosen by the name's end, or by `form`)
    whose `output` is JSON text; moments are UTC. Opening it takes the file up where it was left. Raises ValueError
    that says what to do, and changes nothing, for a file that is not the journal's, or that is being written. With
    `is_rebuilt` it is written anew from the first row. Disk faults are raised as OSError, and cost no line.
    """

    def __init__(
        self,
        journal: ResultJournal,
        path: str | os.PathLike[str],
        *,
        form: Literal["jsonl", "csv"] | None = None,
        is_rebuilt: bool = False,
    ) -> None:
        self._journal = journal
        self._path = Path(path).resolve()  # a link stays one, and what it leads to is replaced
        self._part = self._path.with_name(f"{self._path.name}{_PART}")
        name = form or ("csv" if self._path.suffix.lower() == ".csv" else "jsonl")
        if name not in _FORMS:
            raise ValueError(f"form has to be 'jsonl' or 'csv', not {form!r}")
        self._form = _FORMS[name]
        self._is_rebuilt = is_rebuilt
        self._is_part = False
        self._file: BinaryIO | None = None
        self._hold = Hold(self._path)
        self._lock = anyio.Lock()
        self._hand = Lock()  # a thread goes on where its caller is cancelled

    async def __aenter__(self) -> Self:
        try:
            await self._in_thread(self._see_that_it_is_ordinary)
            await self._in_thread(self._hold.take)
            if self._is_rebuilt or await self._journal.is_output_stale():
                await self._rebuild()
            else:
                await self._in_thread(self._take_up, await self._journal.emitted_size())
        except BaseException:
            self._leave()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._leave()

    async def write(self) -> int:
        """Write all rows that were settled since the last time; gives how many. They are on disk when it returns.

        A row that was unknown, was written so, and was sent once more, stands in the file twice until `finish`.
        """
        async with self._lock:
            return await self._append()

    async def finish(self) -> None:
        """Write what is left; where lines changed since they were written, write the whole file anew."""
        async with self._lock:
            if await self._journal.is_output_stale():
                await self._rebuild()
            else:
                await self._append()
            if self._is_part:
                await self._in_thread(self._publish)

    # Journal and file, step by step

    async def _append(self) -> int:
        size = await self._journal.emitted_size()
        if size == 0:
            await self._in_thread(self._begin_part)
        if size == 0 and self._form.head:
            size = await self._put((), 0)
        count = failures = 0
        while records := await self._journal.unemitted(_PAGE):
            try:
                size = await self._put(records, size)
            except JournalError:
                failures += 1
                if failures == _PATIENCE:
                    raise
                continue  # a row of these is sent once more at this very moment: it is settled no longer
            count += len(records)
            failures = 0
        # Not before there is a length that is of it: else a kill amid its first lines would make it a stranger's.
        if self._is_part and size > 0:
            await self._in_thread(self._publish)
        return count

    async def _put(self, records: Sequence[Record], size: int) -> int:
        size = await self._in_thread(self._put_lines, records, size)
        await self._journal.record_emitted([record.key for record in records], size)
        return size

    async def _rebuild(self) -> None:
        # Made before the journal begins anew: that it is there tells that the file beside it is to be replaced.
        await self._in_thread(self._open_part)
        await self._journal.reset_emission()
        await self._append()

    async def _in_thread(self, act: Callable[[Unpack[Ts]], T], *arguments: *Ts) -> T:
        def take_turn() -> T:
            with self._hand:
                return act(*arguments)

        return await anyio.to_thread.run_sync(take_turn)

    # The file, in a thread

    def _see_that_it_is_ordinary(self) -> None:
        """Raise ValueError for a device or a pipe: it must not be replaced, and nothing in it can be cut off."""
        if self._path.exists() and not self._path.is_file():
            raise ValueError(f"{self._path} is no ordinary file: name one for the results")

    def _take_up(self, size: int) -> None:
        """Open the file that `size` is of, or begin one. Raises ValueError."""
        part, whole = _size_of(self._part), _size_of(self._path)
        if part is not None and (size == 0 or part >= size):
            self._open(self._part)
        elif size > 0:
            self._part.unlink(missing_ok=True)  # made for writing anew, which did not begin
            if whole is None or whole < size:
                raise ValueError(
                    f"{self._path} {'is not there' if whole is None else 'is shorter than it was'}, and the journal "
                    "has results in it: put that file back, name the file it is, or have it written anew"
                )
            self._open(self._path)
            if not self._is_ours(size):
                raise ValueError(
                    f"{self._path} does not hold this journal's results: name the file that does, or another one and "
                    "have it written anew"
                )
        elif whole:
            raise ValueError(
                f"{self._path} is not empty, and nothing in it is of this journal: name another file, or move it away"
            )
        else:
            self._open_part()

    def _begin_part(self) -> None:
        """Have first lines written where they may be torn, also after the file was finished without a row."""
        if self._opened and not self._is_part:
            self._open_part()

    def _open_part(self) -> None:
        self._close()
        self._part.open("wb").close()
        _sync_folder(self._part)
        self._open(self._part)

    def _open(self, path: Path) -> None:
        self._file = path.open("r+b")
        self._is_part = path == self._part

    def _is_ours(self, size: int) -> bool:
        """See whether the file begins as ours do, and whether a line ends where one should."""
        file = self._opened
        head = file.read(len(self._form.mark))
        file.seek(size - 1)
        return head == self._form.mark and file.read(1) == b"\n"

    def _put_lines(self, records: Sequence[Record], size: int) -> int:
        file = self._opened
        lines = [self._form.line(record) for record in records]
        file.seek(size)
        file.truncate()
        file.write(b"".join([self._form.head, *lines] if size == 0 else lines))
        file.flush()
        os.fsync(file.fileno())
        return file.tell()

    def _publish(self) -> None:
        """Return the file its name. It stays open where that fails, and may be tried again."""
        if os.name == "nt":
            self._close()  # Windows renames no file that is open
        self._part.replace(self._path)
        _sync_folder(self._path)
        self._is_part = False
        if self._file is None:
            self._open(self._path)

    @property
    def _opened(self) -> BinaryIO:
        if self._file is None:
            raise RuntimeError("the file is not open; use it inside 'async with ResultFile(...)'")
        return self._file

    def _leave(self) -> None:
        with self._hand:
            self._close()
            self._hold.leave()

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
    """Have a file's name on disk, where folders can be opened."""
    if os.name == "nt":
        return
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


# Lines


def _values(record: Record) -> Mapping[str, object]:
    values = (
        record.key,
        record.target,
        record.state.value,
        None if record.ref is None else str(record.ref),
        record.status or None,
        record.kind or None,
        record.error or None,
        record.sent_at,
        record.ended_at,
        record.output,
    )
    return dict(zip(COLUMNS, values, strict=True))


def _json_line(record: Record) -> bytes:
    return codec.encode_deep(_values(record)) + b"\n"


def _csv_line(record: Record) -> bytes:
    values = {**_values(record)}
    for name in ("sent_at", "ended_at"):
        moment = getattr(record, name)
        values[name] = None if moment is None else moment.isoformat()
    values["output"] = None if record.output is None else codec.encode_deep(record.output).decode()
    return _csv_bytes(list(values.values()))


def _csv_bytes(cells: Sequence[object]) -> bytes:
    text = io.StringIO()
    csv.writer(text).writerow(cells)
    return text.getvalue().encode()


@frozen
class _Form:
    """How a file looks: what it begins with, what proves it ours, and a row's line."""

    head: bytes
    mark: bytes
    line: Callable[[Record], bytes]


_HEAD: Final = _csv_bytes(COLUMNS)
_FORMS: Final[Mapping[str, _Form]] = MappingProxyType(
    {"jsonl": _Form(b"", b'{"key":', _json_line), "csv": _Form(_HEAD, _HEAD, _csv_line)}
)
