"""The journal of a batch in one SQLite file: its interface for asyncio programs."""

import os
import socket
import warnings
from collections.abc import AsyncIterator, Callable, Sequence
from datetime import UTC, datetime
from functools import partial
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, TypeVar, cast

from ...clock import Clock, LoopClock
from ...contract import BatchRow
from ...errors import JournalError
from ..record import Change, Record
from .copying import JournalCheck, back_up, check_journal
from .encoding import encodable, encode_change, encode_row
from .executor import Executor, ThreadExecutor
from .opening import OpeningOptions
from .reader import JournalReader
from .store import Store
from .writer import JournalStatistics, Kind, Writer

if TYPE_CHECKING:
    import asyncio

T = TypeVar("T")


class Journal:
    """Keeps a batch's rows in the file `path`, through any crash: `async with Journal("batch.db") as journal`.

    When `claim` or `record` returns, the data is on disk and survives a loss of power. All calls made during a commit
    share the next commit. Cancelling a call does not withdraw it: its change is made as a whole or not at all. One
    process at a time can have a journal open; `owner`, by default host and process id, is the name that other
    processes see. Leaving the block waits for pending calls, at most `grace` seconds.

    The journal keeps a digest of each row's content, not the content; it keeps the outputs and errors of runs. The
    file is readable by its owner alone. Beside it are the file `-lock`, which stays and says how far the journal had
    come, and `-wal` and `-shm` while it is open: they belong to it. Memory does not grow with the number of rows.
    Entering raises `JournalError` for a file that is damaged, not whole, foreign, of another format or in use, which
    stays unchanged, and if Python's SQLite is older than 3.33. All methods may raise `JournalError`, and have then
    changed nothing; but the reference of a run whose start could not be recorded is kept beside the journal where
    possible, and its row is STARTED when the journal is opened again. A lock of another program on the file is waited
    for, for `lock_timeout` seconds. `executor` makes the executor of each opening, a thread by default.

    A journal is not whole if it has less than was acknowledged: a file was removed, damaged, or replaced by
    an older one, or it is a copy of one that was in use. With `accepts_loss` it is used as it is; rows that were
    started after its last write are then started again: some of those that it has as PLANNED, or does not have.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        owner: str | None = None,
        clock: Clock | None = None,
        grace: float = 30.0,
        accepts_loss: bool = False,
        lock_timeout: float = 60.0,
        executor: Callable[[], Executor] = ThreadExecutor,
    ) -> None:
        self._path = os.fspath(path)
        self._owner = encodable(owner or f"{socket.gethostname()}:{os.getpid()}")
        self._clock = clock or LoopClock()
        self._grace = grace
        self._options = OpeningOptions(accepts_loss=accepts_loss, lock_timeout=lock_timeout)
        self._make_executor = executor
        self._writer: Writer | None = None
        self._is_entered = False

    @staticmethod
    def read_only(path: str | os.PathLike[str], *, accepts_loss: bool = False) -> JournalReader:
        """Return a reader of a journal, which may be in use: `with Journal.read_only("batch.db") as reader`."""
        return JournalReader(path, accepts_loss=accepts_loss)

    @staticmethod
    def check(path: str | os.PathLike[str]) -> JournalCheck:
        """Read all of a journal, which may be in use, and return whether it is whole. Blocks.

        Raise JournalError for one that is damaged, or is none.
        """
        return check_journal(path)

    @staticmethod
    def back_up(path: str | os.PathLike[str], to: str | os.PathLike[str]) -> None:
        """Copy a journal, which may be in use, to the new file `to`, as it is at one moment. Blocks.

        The copy can be read. If a process had the journal open, rows may have been started since: to go on with the
        copy needs `accepts_loss`. Raise JournalError for a journal that is damaged or not whole, and if `to` exists.
        """
        back_up(path, to, now=datetime.now(UTC))

    @property
    def path(self) -> str:
        """Return the path as it was given."""
        return self._path

    @property
    def owner(self) -> str:
        """Return the owner's name, which is in the records that this journal changes."""
        return self._owner

    # Opening and closing

    async def __aenter__(self) -> Self:
        if self._is_entered:
            raise JournalError(f"the journal {self._path} is open already")
        self._is_entered = True
        writer = Writer(
            self._path,
            owner=self._owner,
            clock=self._clock,
            grace=self._grace,
            executor=self._make_executor(),
            options=self._options,
        )
        try:
            await writer.open()
        except BaseException:
            self._is_entered = False
            raise
        self._writer = writer
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Finish pending calls and close the file. May be called twice. Raise JournalError if the disk hangs."""
        writer, self._writer = self._writer, None
        if writer is not None:
            self._is_entered = False
            await writer.aclose()

    def __del__(self) -> None:
        writer = getattr(self, "_writer", None)
        if writer is not None:
            writer.stop()
            warnings.warn(f"unclosed journal {self._path}", ResourceWarning, source=self, stacklevel=2)

    # What a batch needs

    async def begin(self) -> None:
        """Begin a run of a batch, to which later claims and changes belong.

        Does nothing if the journal was only just opened; otherwise this counts as one more opening.
        """
        now = self._clock.utcnow()
        await self._submit(Kind.WRITE, lambda store: store.begin(now))

    async def claim(self, rows: Sequence[BatchRow]) -> Sequence[Record]:
        """Claim rows for this run, and return their records in the same order. New rows become PLANNED.

        If a key was claimed before in this run, the record is `is_repeated`, whatever the row's content. Raise
        JournalError for a key that an earlier run claimed with another content, and TypeError or ValueError for a row
        that cannot be stored; then none of the rows is claimed.
        """
        encoded = [encode_row(row) for row in rows]
        if not encoded:
            return []
        return cast("list[Record]", await self._submit(Kind.CLAIM, encoded, rows=len(encoded)))

    async def record(self, changes: Sequence[Change]) -> None:
        """Make changes, all or none; they are on disk when this returns.

        Raise JournalError for a transition that `MOVES` does not have, which includes one to the row's present
        state, and for STARTED without a reference. A change made by hand may use the transitions of `BY_HAND` too.
        Columns that a change does not give stay as they are; earlier errors are cleared when a row becomes SENDING
        or is settled by hand. An output that JSON cannot hold is replaced by a note that says so.
        """
        encoded = [encode_change(change) for change in changes]
        if encoded:
            await self._submit(Kind.CHANGE, encoded, rows=len(encoded))

    async def unfinished(self) -> AsyncIterator[Record]:
        """Return the rows that are SENDING or STARTED, each as it was when its page was read.

        Rows that enter these states meanwhile may be included, and are `is_changed`.
        """
        after = 0
        while True:
            after, page = await self._read(partial(Store.open_rows, after=after))
            if not page:
                return
            for record in page:
                yield record

    # Which results are in the output

    async def unemitted(self, limit: int) -> Sequence[Record]:
        """Return at most `limit` settled rows whose results are not in the output yet, in the order of settling."""
        return await self._read(lambda store: store.unemitted(limit))

    async def record_emitted(self, keys: Sequence[str], size: int) -> None:
        """Record that the results of these rows are in the output, which has `size` bytes with them.

        Raise JournalError for a row that is not settled, or whose result was in the output before.
        """
        names = [encodable(key) for key in keys]
        if size < 0:
            raise ValueError(f"size has to be 0 or more, not {size}")
        await self._submit(Kind.WRITE, lambda store: store.record_emitted(names, size))

    async def emitted_size(self) -> int:
        """Return the size in bytes of the output when results were last recorded as emitted."""
        return await self._read(Store.emitted_size)

    async def is_output_stale(self) -> bool:
        """Return whether a row has changed whose result is in the output, which then has to be rewritten."""
        return await self._read(Store.is_output_stale)

    async def reset_emission(self) -> None:
        """Record that no result is in the output, and that it is empty."""
        await self._submit(Kind.WRITE, Store.reset_emission)

    # Statistics

    def statistics(self) -> JournalStatistics:
        """Return what the journal has done since it was opened."""
        return self._opened().statistics()

    def __repr__(self) -> str:
        return f"<Journal {self._path!r} {'open' if self._writer else 'closed'}>"

    def _opened(self) -> Writer:
        if self._writer is None:
            raise JournalError(f"the journal {self._path} is not open: use it within `async with`")
        return self._writer

    def _submit(self, kind: Kind, work: Any, *, rows: int = 1) -> "asyncio.Future[Any]":
        writer = self._opened()
        if not writer.is_of_this_loop:
            raise JournalError(f"the journal {self._path} was opened in another event loop")
        return writer.submit(kind, work, rows=rows)

    async def _read(self, work: Callable[[Store], T]) -> T:
        return cast("T", await self._submit(Kind.READ, work))
