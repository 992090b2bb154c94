"""Where rows come in: read lazily, claimed in the journal, and sorted by what is known of them."""

import asyncio
from collections import deque
from collections.abc import AsyncIterable, AsyncIterator, Iterable, Sequence
from typing import TYPE_CHECKING, Final, TypeAlias

from ..contract import BatchRow
from .outcome import Outcome
from .plan import lost_start, unstarted
from .record import Change, Record, RowState
from .rows import RowFault
from .settings import AHEAD

if TYPE_CHECKING:
    from .flow import Flow
    from .follower import Follower

Rows: TypeAlias = Iterable[BatchRow | RowFault] | AsyncIterable[BatchRow | RowFault]

_CHUNK: Final = AHEAD // 2
_SLICE: Final = 0.02  # seconds for which an iterator that never waits may hold up the loop


class Intake:
    """Reads the input, never more than `AHEAD` rows ahead of what is started, and claims rows chunk by chunk.

    A row is claimed as soon as it is read: an input that takes its time holds up none that it has given.
    """

    def __init__(self, flow: "Flow", follower: "Follower") -> None:
        self._flow = flow
        self._follower = follower
        self._is_resending = flow.settings.is_resending
        self._unclaimed: deque[BatchRow] = deque()
        self._is_claiming = False
        self._is_exhausted = False
        self._room: asyncio.Future[None] | None = None
        self._is_resuming = False
        self._need: asyncio.Future[None] | None = None
        #: Rows that are claimed and may be started.
        self.ready: deque[BatchRow] = deque()
        self.rows_read = 0

    @property
    def is_done(self) -> bool:
        """Return whether no row will be ready any more."""
        is_at_it = self._unclaimed or self._is_claiming or self.ready or self._is_resuming
        return self._is_exhausted and not is_at_it

    async def read(self, rows: Rows) -> None:
        """Read all there is. Raises what the input raises, and TypeError for what is no row."""
        await self._resume()
        if isinstance(rows, AsyncIterable):
            async for row in rows:
                self._take(row)
                if self._is_full:
                    await self._wait_for_room()
        else:
            await self._read_slices(rows)
        self._is_exhausted = True

    async def _read_slices(self, rows: "Iterable[BatchRow | RowFault]") -> None:
        clock = self._flow.clock
        ends_at = clock.now() + _SLICE
        for row in rows:
            self._take(row)
            if self._is_full:
                await self._wait_for_room()
            elif clock.now() < ends_at:
                continue
            await asyncio.sleep(0)
            ends_at = clock.now() + _SLICE

    async def _resume(self) -> None:
        """Take up what an earlier run left: starts whose fate nobody knows, and runs that go on."""
        journal = self._flow.journal
        await journal.begin()
        lost: list[Record] = []
        async for record in journal.unfinished():
            if record.state is RowState.SENDING and not record.is_changed:
                lost.append(record)
            if len(lost) >= AHEAD:
                await self._settle(lost)
                lost = []
        await self._settle(lost)
        running = journal.unfinished()
        self._is_resuming = True
        if await self._feed(running):
            self._flow.spawn(self._feed_on(running))
        self._flow.moved()

    async def _feed(self, running: AsyncIterator[Record]) -> bool:
        """Have runs followed that go on, as many as may wait for that, and say whether there may be more."""
        async for record in running:
            if record.state is RowState.STARTED and not record.is_changed:
                self._follower.resume(record)
                if self._follower.waiting >= AHEAD:
                    return True
        self._is_resuming = False
        return False

    async def _feed_on(self, running: AsyncIterator[Record]) -> None:
        while True:
            if self._follower.waiting > AHEAD - _CHUNK:
                self._need = asyncio.get_running_loop().create_future()
                await self._need
            if not await self._feed(running):
                return
            self._flow.moved()

    async def _settle(self, lost: Sequence[Record]) -> None:
        if lost:
            await (self._plan_anew(lost) if self._is_resending else self._give_up(lost))

    async def _plan_anew(self, lost: Sequence[Record]) -> None:
        """Have rows sent once more when the input comes to them."""
        now = self._flow.clock.utcnow()
        await self._flow.record([Change(key=each.key, state=RowState.PLANNED, at=now) for each in lost])

    async def _give_up(self, lost: Sequence[Record]) -> None:
        """Tell of rows that nobody can know to have been started."""
        now = self._flow.clock.utcnow()
        errors = [lost_start(each) for each in lost]
        pairs = list(zip(lost, errors, strict=True))
        changes = [unstarted(each.key, RowState.UNKNOWN, error, at=now) for each, error in pairs]
        if not await self._flow.record(changes):
            return
        for each, error in pairs:
            self._flow.replay(Outcome(key=each.key, state=RowState.UNKNOWN, target=each.target, error=error))

    # Reading

    def _take(self, row: object) -> None:
        self.rows_read += 1
        if isinstance(row, RowFault):
            self._flow.refuse(row.key, row)
            return
        if not isinstance(row, BatchRow):
            raise TypeError(f"rows have to be BatchRow values, not {type(row).__name__}")
        self._unclaimed.append(row)
        if not self._is_claiming:
            self._is_claiming = True
            self._flow.spawn(self._claim())

    @property
    def _is_full(self) -> bool:
        return len(self._unclaimed) + len(self.ready) >= AHEAD or not self._flow.is_read

    async def _wait_for_room(self) -> None:
        self._room = asyncio.get_running_loop().create_future()
        await self._room

    def make_room(self) -> None:
        """Have more rows read once half of those ahead are started, so that claims stay large; runs likewise."""
        need = self._need
        if need is not None and self._follower.waiting <= AHEAD - _CHUNK:
            self._need = None
            need.set_result(None)
        room = self._room
        if room is None or len(self._unclaimed) + len(self.ready) > AHEAD - _CHUNK or not self._flow.is_read:
            return
        self._room = None
        if not room.done():
            room.set_result(None)

    # Claiming

    async def _claim(self) -> None:
        try:
            while self._unclaimed and not self._flow.is_stopping:
                count = min(len(self._unclaimed), _CHUNK)
                rows = [self._unclaimed.popleft() for _ in range(count)]
                records = await self._records_of(rows)
                await self._sort(rows, records)
                self._flow.moved()
        finally:
            self._is_claiming = False

    async def _records_of(self, rows: Sequence[BatchRow]) -> Sequence[Record | Exception]:
        """Claim rows; where one cannot be written down at all, its error stands in the place of its record."""
        journal = self._flow.journal
        try:
            return await journal.claim(rows)
        except (TypeError, ValueError) as error:
            if len(rows) == 1:
                return [error]
        return [record for row in rows for record in await self._records_of([row])]

    async def _sort(self, rows: Sequence[BatchRow], records: Sequence[Record | Exception]) -> None:
        """Hand each row to where it belongs, in order."""
        flow = self._flow
        again: list[Change] = []
        ready: list[BatchRow] = []
        for row, record in zip(rows, records, strict=True):
            if isinstance(record, Exception):
                flow.refuse(row.key, record)
            elif record.is_held:
                continue  # its outcome is told by who has it
            elif record.is_repeated or row.key in flow.active:
                flow.refuse(row.key, _repeated(row))
            elif record.state is RowState.PLANNED or (
                self._is_resending and record.state is RowState.UNKNOWN
            ):
                if record.state is RowState.UNKNOWN:
                    again.append(Change(key=row.key, state=RowState.PLANNED, at=flow.clock.utcnow()))
                flow.active.add(row.key)
                ready.append(row)
            elif record.state.is_settled and not record.is_changed:
                flow.replay(Outcome.of_record(record))
        if not again or await flow.record(again):
            self.ready.extend(ready)


def _repeated(row: BatchRow) -> ValueError:
    words = f"the key {row.key!r} stands twice in the input"
    return ValueError(words) if row.line is None else RowFault(row.line, words, row.key)
