"""A journal in memory that outlives processes: all or nothing, its calls slow, failing, or cut off by a kill.

`test_model_journal.py` keeps it equal to the real one.
"""

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import suppress
from functools import partial
from random import Random
from typing import TYPE_CHECKING, Any

import attrs

from aioagents.batch import BatchRow, Change, Record, RowState
from aioagents.batch.journal import digest_of
from aioagents.errors import JournalError

from .checks import Checks
from .disk import Disk
from .faults import Faults
from .loop import SimLoop, turns

if TYPE_CHECKING:
    import asyncio


def _check_writable(text: str) -> None:
    """Raise ValueError for what no file can hold."""
    try:
        text.encode()
    except UnicodeEncodeError:
        raise ValueError("half a character") from None


@attrs.define(eq=False)
class _Job:
    kind: str
    do: Callable[[], Any]
    answer: "asyncio.Future[Any]"


class ModelJournal:
    """One owner's journal in one life. Calls are done in the order of asking, as by the real one's thread."""

    def __init__(
        self,
        disk: Disk,
        owner: str,
        loop: SimLoop,
        *,
        chance: Random,
        faults: Faults,
        checks: Checks,
        delay: float,
    ) -> None:
        self._disk = disk
        self._owner = owner
        self._loop = loop
        self._chance = chance
        self._faults = faults
        self._checks = checks
        self._delay = delay
        self._opening = disk.open(owner)
        self._is_fresh = True
        self._free_at = 0.0
        self._jobs: list[_Job] = []
        #: Rows that cannot be recorded, with the state that is refused.
        self._bad: dict[tuple[str, RowState], bool] = {}
        disk.alive.add(owner)

    @property
    def is_idle(self) -> bool:
        """Return whether nothing is asked for."""
        return not self._jobs

    def end_life(self, *, is_killed: bool) -> None:
        """Do what was asked, as closing does; of a process that was killed some of it, in order."""
        jobs, self._jobs = self._jobs, []
        for job in jobs[: self._chance.randint(0, len(jobs)) if is_killed else len(jobs)]:
            with suppress(JournalError):
                job.do()
        self._disk.alive.discard(self._owner)

    async def _ask(self, kind: str, do: Callable[[], Any]) -> Any:
        loop, chance = self._loop, self._chance
        job = _Job(kind, do, loop.create_future())
        self._jobs.append(job)
        delay = self._delay * 4 ** chance.gauss(0.0, 0.7) if self._delay else 0.0
        if self._faults.hit("journal.slow"):
            delay += chance.uniform(0.0, 8.0)
        self._free_at = max(self._free_at, loop.time()) + delay
        loop.call_outside(self._free_at - loop.time(), self._work)
        result = await job.answer
        await turns(chance.randint(0, 3))
        return result

    def _work(self) -> None:
        if not self._jobs:
            return
        job = self._jobs.pop(0)
        try:
            self._fail(job.kind)
            result = job.do()
        except JournalError as error:
            self._checks.note(f"journal refused: {error}")
            if not job.answer.done():
                job.answer.set_exception(error)
        else:
            if not job.answer.done():
                job.answer.set_result(result)

    def _fail(self, kind: str) -> None:
        """Raise where the disk does so."""
        if self._faults.hit(f"journal.{kind}"):
            raise JournalError("the disk is full")

    async def begin(self) -> None:
        """Begin a run."""

        def do() -> None:
            if not self._is_fresh:
                self._opening, self._is_fresh = self._disk.open(self._owner), True
            self._disk.holders = {
                key: owner for key, owner in self._disk.holders.items() if owner != self._owner
            }

        await self._ask("open", do)

    async def claim(self, rows: Sequence[BatchRow]) -> Sequence[Record]:
        """Take rows on."""
        for row in rows:
            _check_writable(row.key)
        entries = [(row, digest_of(row)) for row in rows]

        def do() -> list[Record]:
            self._is_fresh = False
            found = self._disk.claim(entries, self._opening, self._owner)
            for row in rows:
                self._checks.claimed(row.key)
            return found

        found: Sequence[Record] = await self._ask("claim", do) if entries else []
        return found

    async def record(self, changes: Sequence[Change]) -> None:
        """Make changes."""

        def do() -> None:
            for change in changes:
                if self._is_bad(change):
                    raise JournalError(f"{change.key} cannot be recorded")
            self._is_fresh = False
            for change, record in self._disk.record(changes, self._opening, self._owner):
                self._checks.moved(change.key, change.state, record.ref, is_by_hand=change.is_by_hand)

        if not changes:
            return
        try:
            await self._ask("record", do)
        except JournalError:
            if len(changes) == 1:
                self._checks.refused.add(changes[0].key)
            raise

    def _is_bad(self, change: Change) -> bool:
        if "journal.row" not in self._faults:
            return False
        place = (change.key, change.state)
        if place not in self._bad:
            self._bad[place] = self._faults.hit("journal.row")
        return self._bad[place]

    async def unfinished(self) -> AsyncIterator[Record]:
        """Return open rows, page by page."""
        after = 0
        while True:
            read = partial(self._disk.unfinished, after, self._opening, self._owner)
            after, page = await self._ask("open", read)
            for record in page:
                yield record
            if not page:
                return

    # What is written of results

    async def unemitted(self, limit: int) -> Sequence[Record]:
        """Return settled rows whose results were not given out."""
        found: Sequence[Record] = await self._ask("read", lambda: self._disk.unemitted(limit))
        return found

    async def record_emitted(self, keys: Sequence[str], size: int) -> None:
        """Note that results were given out."""
        await self._ask("record", lambda: self._disk.record_emitted(keys, size))

    async def emitted_size(self) -> int:
        """Return the output's size."""
        return int(await self._ask("read", lambda: self._disk.size))

    async def is_output_stale(self) -> bool:
        """Return whether the output has to be written anew."""
        return bool(await self._ask("read", lambda: self._disk.is_stale))

    async def reset_emission(self) -> None:
        """Emit all results again."""
        await self._ask("record", self._disk.reset_emission)
