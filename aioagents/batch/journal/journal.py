"""A batch's journal in one SQLite file."""

import os
import socket
import warnings
from collections.abc import AsyncIterator, Callable, Sequence
from functools import partial
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, TypeVar, cast

from ...clock import Clock, LoopClock
from ...contract import BatchRow
from ...errors import JournalError
from ..record import Change, Record
from .ledger import entry_of, step_of, written
from .reader import JournalReader
from .store import Store
from .writer import JournalStatistics, Kind, Writer

if TYPE_CHECKING:
    import asyncio

T = TypeVar("T")


class Journal:
    """Keeps a batch's rows in the file `path`, through any crash: `async with Journal("batch.db") as journal`.

    What `claim` and `record` acknowledge is on disk, also when the power goes. All that is asked for while a commit
    runs shares the next one. Cancelling a call does not take it back: its change is made, or not, as a whole. One
    process at a time may have a journal open; `owner`, by default host and process, is what others are told. Leaving
    the block waits for what was asked, at most `grace` seconds.

    Rows' contents are not kept, only a digest of each; runs' outputs and errors are. The file is readable by its
    owner alone. Beside it stand `-lock`, empty, which stays, and `-wal` and `-shm` while it is open: do not remove
    them. Memory does not grow with the number of rows. Entering raises `JournalError` for a file that is damaged,
    foreign, newer or in use, and leaves it as it is, and where Python has a SQLite older than 3.33. All methods raise
    `JournalError`, and have then changed nothing.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        owner: str | None = None,
        clock: Clock | None = None,
        grace: float = 30.0,
    ) -> None:
        self._path = os.fspath(path)
        self._owner = written(owner or f"{socket.gethostname()}:{os.getpid()}")
        self._clock = clock or LoopClock()
        self._grace = grace
        self._writer: Writer | None = None
        self._is_entered = False

    @staticmethod
    def read_only(path: str | os.PathLike[str]) -> JournalReader:
        """Open a journal to look into it, also while it is in use: `with Journal.read_only("batch.db") as view`."""
        return JournalReader(path)

    @property
    def path(self) -> str:
        """Return the file's path, as it was given."""
        return self._path

    @property
    def owner(self) -> str:
        """Return the name by which records tell who changed them."""
        return self._owner

    # Opening and closing

    async def __aenter__(self) -> Self:
        if self._is_entered:
            raise JournalError(f"the journal {self._path} is open already")
        self._is_entered = True
        writer = Writer(self._path, owner=self._owner, clock=self._clock, grace=self._grace)
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
        """Finish what was asked and close the file. May be called twice. Raises JournalError if the disk hangs."""
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
        """Begin a run of a batch: what is claimed and changed from now on counts as of this run.

        To have just opened the journal is enough; else this counts as one more opening.
        """
        now = self._clock.utcnow()
        await self._submit(Kind.WRITE, lambda store: store.begin(now))

    async def claim(self, rows: Sequence[BatchRow]) -> Sequence[Record]:
        """Take rows on: those not known yet become PLANNED. Returns each one's record, in order.

        A key that was claimed before in this run is repeated, whatever its content; else a row whose key is known
        with another content is refused. Raises TypeError and ValueError for a row that cannot
        be written down at all. In either case none of the rows is taken on.
        """
        entries = [entry_of(row) for row in rows]
        if not entries:
            return []
        return cast("list[Record]", await self._submit(Kind.CLAIM, entries, rows=len(entries)))

    async def record(self, changes: Sequence[Change]) -> None:
        """Make changes, all or none; they are on disk when this returns.

        Refuses a move that `TRANSITIONS` does not have, so also one to the state that the row is in, and STARTED without a
        reference; a change by hand may make the moves of `BY_HAND` too. What a change does not give stays; what went
        wrong before is forgotten as a row becomes SENDING, or is settled by hand. Of an output that JSON cannot hold,
        that is kept in its place.
        """
        steps = [step_of(change) for change in changes]
        if steps:
            await self._submit(Kind.CHANGE, steps, rows=len(steps))

    async def unfinished(self) -> AsyncIterator[Record]:
        """Return the rows that are SENDING or STARTED, each as it is when its page is read.

        Rows that become so meanwhile may be among them, as `is_changed`.
        """
        after = 0
        while True:
            after, page = await self._read(partial(Store.open_rows, after=after))
            if not page:
                return
            for record in page:
                yield record

    # What is written of results

    async def unemitted(self, limit: int) -> Sequence[Record]:
        """Return settled rows whose results were not given out yet, at most `limit`, in the order of settling."""
        return await self._read(lambda store: store.unemitted(limit))

    async def record_emitted(self, keys: Sequence[str], size: int) -> None:
        """Note that the results of these rows were given out, and that the output has `size` bytes with them.

        Refuses a row that is not settled, or whose result was given out already.
        """
        named = [written(key) for key in keys]
        if size < 0:
            raise ValueError(f"size has to be 0 or more, not {size}")
        await self._submit(Kind.WRITE, lambda store: store.record_emitted(named, size))

    async def emitted_size(self) -> int:
        """Return how many bytes the output had when results were given out last."""
        return await self._read(Store.emitted_size)

    async def is_output_stale(self) -> bool:
        """Return whether a row whose result was given out has changed since: the output has to be written anew."""
        return await self._read(Store.is_output_stale)

    async def reset_emission(self) -> None:
        """Forget that results were given out: all count as not given out, and the output as empty."""
        await self._submit(Kind.WRITE, Store.reset_emission)

    # Seeing

    def statistics(self) -> JournalStatistics:
        """Return figures of this moment, counted since the journal was opened."""
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
