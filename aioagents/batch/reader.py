"""Reads the rows of a batch: those that an earlier run left open, then the input, as fast as the core has room."""

import asyncio
from collections.abc import AsyncIterable, AsyncIterator, Callable, Coroutine, Iterable
from typing import Any, Final, TypeAlias

from ..clock import Clock
from ..contract import BatchRow
from .intake import Intake
from .record import BatchJournal, Record, RowState
from .rows import RowFault

Rows: TypeAlias = Iterable[BatchRow | RowFault] | AsyncIterable[BatchRow | RowFault]

_SLICE: Final = 0.02  # seconds for which an iterator that never waits may block the loop


class RowReader:
    """Passes each row that it reads to the core's `intake`, and calls `happened` each time."""

    def __init__(
        self,
        intake: Intake,
        journal: BatchJournal,
        clock: Clock,
        *,
        happened: Callable[[], None],
        spawn: Callable[[Coroutine[Any, Any, None]], object],
    ) -> None:
        self._intake = intake
        self._journal = journal
        self._clock = clock
        self._happened = happened
        self._spawn = spawn
        self._loop = asyncio.get_running_loop()
        # Resolved when reading may continue, possibly before anything waits for it.
        self._room_for_open: asyncio.Future[None] = self._loop.create_future()
        self._room_for_input: asyncio.Future[None] = self._loop.create_future()

    async def read(self, rows: Rows) -> None:
        """Read what an earlier run left open, then the input. Raises what the journal and the input raise."""
        intake = self._intake
        await self._journal.begin()
        records = self._journal.unfinished()
        try:
            async for record in records:
                if record.state is RowState.SENDING and not self._found(record):
                    await self._room_for_open
        finally:
            await _close(records)
        if not intake.sending_ended():
            self._room_for_open = self._loop.create_future()
            self._happened()
            await self._room_for_open
        started = self._journal.unfinished()
        if await self._find_started(started):
            self._spawn(self._find_more(started))  # the input is read meanwhile
        if isinstance(rows, AsyncIterable):
            async for row in rows:
                if not self._take(row):
                    await self._room_for_input
        else:
            await self._read_slices(rows)
        intake.input_ended()
        self._happened()

    def _found(self, record: Record) -> bool:
        has_room = self._intake.found_open(record, self._clock.utcnow())
        if not has_room:
            self._room_for_open = self._loop.create_future()
        self._happened()
        return has_room

    async def _find_started(self, records: AsyncIterator[Record]) -> bool:
        """Read runs that go on, as many as may wait to be followed; return whether there may be more."""
        async for record in records:
            if record.state is RowState.STARTED and not self._found(record):
                return True
        self._intake.open_ended()
        self._happened()
        return False

    async def _find_more(self, records: AsyncIterator[Record]) -> None:
        try:
            await self._room_for_open
            while await self._find_started(records):
                await self._room_for_open
        finally:
            await _close(records)

    async def _read_slices(self, rows: "Iterable[BatchRow | RowFault]") -> None:
        """Read an iterable, and yield to the event loop now and then."""
        ends_at = self._clock.now() + _SLICE
        for row in rows:
            if not self._take(row):
                await self._room_for_input
            elif self._clock.now() < ends_at:
                continue
            await asyncio.sleep(0)
            ends_at = self._clock.now() + _SLICE

    def _take(self, row: BatchRow | RowFault) -> bool:
        has_room = self._intake.read(row)
        if not has_room:
            self._room_for_input = self._loop.create_future()
        self._happened()
        return has_room

    def read_open(self) -> None:
        """Continue reading what an earlier run left open."""
        _resolve(self._room_for_open)

    def read_input(self) -> None:
        """Continue reading the input."""
        _resolve(self._room_for_input)


async def _close(records: AsyncIterator[Record]) -> None:
    """Close an iterator, if it can be closed: garbage collection would not close a cursor."""
    close = getattr(records, "aclose", None)
    if close is not None:
        await close()


def _resolve(future: "asyncio.Future[None]") -> None:
    if not future.done():
        future.set_result(None)
