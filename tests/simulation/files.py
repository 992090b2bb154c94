"""What is kept in real files: a journal that is worked on in the loop in place of a thread, and its results."""

import asyncio
import shutil
import tempfile
from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from random import Random
from typing import Any, Final, TypeVar

import orjson

from aioagents.batch import BatchRow, Change, Journal, Record, ResultFile, RowState
from aioagents.errors import JournalError
from tests.batch.journal_rig import freeze, thaw

from .checks import Checks
from .faults import Faults
from .loop import SimClock, SimLoop, turns

T = TypeVar("T")

_MEMORY: Final = Path("/dev/shm")  # noqa: S108 - in a folder of our own


class LoopExecutor:
    """Runs the calls of a journal one at a time, each in one step, some time after it was submitted."""

    def __init__(self, loop: SimLoop, chance: Random, *, delay: float) -> None:
        self._loop = loop
        self._chance = chance
        self._delay = delay
        self._calls: list[Callable[[], object]] = []
        self._free_at = 0.0

    def submit(self, call: Callable[[], object]) -> None:
        """Run `call` later."""
        self._calls.append(call)
        delay = self._delay * 4 ** self._chance.gauss(0.0, 0.7) if self._delay else 0.0
        self._free_at = max(self._free_at, self._loop.time()) + delay
        self._loop.call_outside(self._free_at - self._loop.time(), self._work)

    def close(self) -> None:
        """Take no more."""

    def join(self) -> None:
        """Run all that was submitted, however long it takes."""
        self.run_all()

    def run_all(self) -> None:
        """Run what was submitted at once."""
        while self._calls:
            self._work()

    def _work(self) -> None:
        if self._calls:
            self._calls.pop(0)()


class Folder:
    """The files of one world; they outlive processes."""

    def __init__(self) -> None:
        parent = _MEMORY if _MEMORY.is_dir() else None
        self._path = Path(tempfile.mkdtemp(prefix="aioagents-world-", dir=parent))

    @property
    def journal(self) -> Path:
        """Return where the journal is."""
        return self._path / "journal.db"

    @property
    def results(self) -> Path:
        """Return where the results are."""
        return self._path / "results.jsonl"

    def remove(self) -> None:
        """Remove it all."""
        shutil.rmtree(self._path, ignore_errors=True)

    def records(self) -> dict[str, Record]:
        """Read the journal."""
        if not self.journal.exists():
            return {}
        with Journal.read_only(self.journal) as view:
            return {record.key: record for record in view.records()}

    def emitted_size(self) -> int:
        """Return how long the journal says the results are."""
        if not self.journal.exists():
            return 0
        with Journal.read_only(self.journal) as view:
            return view.summary().emitted_bytes

    def check_results(self, checks: Checks, *, size: int, states: dict[str, RowState], is_over: bool) -> None:
        """See that each settled row has one line at most, and one at the end."""
        part = self.results.with_name(f"{self.results.name}.aioagents-part")
        path = part if part.exists() and part.stat().st_size >= size > 0 else self.results
        content = path.read_bytes()[:size] if path.exists() else b""
        if len(content) < size:
            checks.fail("results", f"{path.name} has {len(content)} bytes, {size} were counted")
            return
        lines = [orjson.loads(line) for line in content.splitlines()]
        counts = Counter(line["key"] for line in lines)
        if not is_over:
            # A row that is sent once more keeps its old line until the end.
            counts = Counter(line["key"] for line in lines if line["state"] != "unknown")
        for key, count in counts.items():
            if count > 1:
                checks.fail("results", f"{count} lines of {key}")
        if is_over:
            settled = {key: state.value for key, state in states.items() if state.is_settled}
            told = {line["key"]: line["state"] for line in lines}
            if told != settled:
                checks.fail("results", f"the file has {told}, the journal has {settled}")


class FileJournal:
    """A real journal whose answers the checks are told."""

    def __init__(
        self,
        folder: Folder,
        loop: SimLoop,
        clock: SimClock,
        *,
        chance: Random,
        faults: Faults,
        checks: Checks,
        delay: float,
    ) -> None:
        self._folder = folder
        self._loop = loop
        self._chance = chance
        self._faults = faults
        self._checks = checks
        self._executor = LoopExecutor(loop, chance, delay=delay)
        self._under_way: set[asyncio.Task[Any]] = set()
        self.real = Journal(folder.journal, owner="owner", clock=clock, executor=lambda: self._executor)

    @property
    def is_idle(self) -> bool:
        """Return whether nothing is asked for."""
        return not self._under_way

    def end_life(self, *, is_killed: bool) -> None:
        """Leave the files as they are."""
        left = freeze(self._folder.journal) if is_killed else None
        writer = self.real._writer  # noqa: SLF001 - a process that ends lets go of its files by itself
        if writer is not None:
            self.real._writer = None  # noqa: SLF001
            writer.stop()
        self._executor.run_all()
        if left is not None:  # undo what letting go has written
            thaw(self._folder.journal, left)

    async def _ask(
        self, kind: str, work: Callable[[], Any], then: Callable[[Any], object] = lambda _: None
    ) -> Any:
        if self._faults.hit(f"journal.{kind}"):
            await turns(self._chance.randint(0, 3))
            raise JournalError("the disk is full")

        async def do() -> Any:
            result = await work()
            then(result)
            return result

        # What is asked is done also where nobody waits for it any more.
        task = self._loop.create_task(do(), name="journal")
        self._under_way.add(task)
        task.add_done_callback(self._done)
        return await asyncio.shield(task)

    def _done(self, task: "asyncio.Task[Any]") -> None:
        self._under_way.discard(task)
        if not task.cancelled():
            task.exception()

    async def begin(self) -> None:
        """Begin a run."""
        await self._ask("open", self.real.begin)

    async def claim(self, rows: Sequence[BatchRow]) -> Sequence[Record]:
        """Take rows on."""

        def then(records: Sequence[Record]) -> None:
            for record in records:
                self._checks.claimed(record.key)

        found: Sequence[Record] = await self._ask("claim", partial(self.real.claim, rows), then)
        return found

    async def record(self, changes: Sequence[Change]) -> None:
        """Make changes."""

        def then(_: object) -> None:
            for change in changes:
                self._checks.moved(change.key, change.state, change.ref)

        try:
            await self._ask("record", partial(self.real.record, changes), then)
        except JournalError:
            if len(changes) == 1:
                self._checks.refused.add(changes[0].key)
            raise

    async def unfinished(self) -> AsyncIterator[Record]:
        """Return open rows."""
        if self._faults.hit("journal.open"):
            raise JournalError("the disk is broken")
        async for record in self.real.unfinished():
            yield record

    async def unemitted(self, limit: int) -> Sequence[Record]:
        """Return settled rows whose results were not given out."""
        return await self.real.unemitted(limit)

    async def record_emitted(self, keys: Sequence[str], size: int) -> None:
        """Note that results were given out."""
        await self._ask("record", partial(self.real.record_emitted, keys, size))

    async def emitted_size(self) -> int:
        """Return the output's size."""
        return await self.real.emitted_size()

    async def is_output_stale(self) -> bool:
        """Return whether the output has to be written anew."""
        return await self.real.is_output_stale()

    async def reset_emission(self) -> None:
        """Emit all results again."""
        await self._ask("record", self.real.reset_emission)


class Results:
    """Somebody who writes what was settled into a file, now and then."""

    def __init__(self, journal: Any, path: Path, chance: Random) -> None:
        self._journal = journal
        self._path = path
        self._chance = chance
        self._file: ResultFile | None = None

    async def write(self, is_over: Callable[[], bool]) -> None:
        """Write until the batch is over, and then what is left."""
        self._file = ResultFile(self._journal, self._path, run_sync=self._run)
        async with self._file as results:
            while not is_over():
                await asyncio.sleep(self._chance.choice((0.0, 0.1, 2.0, 10.0)))
                await results.write()
            await results.finish()

    async def _run(self, call: Callable[[], T]) -> T:
        await turns(self._chance.randint(0, 2))
        if self._chance.random() < 0.3:
            await asyncio.sleep(0.01)
        result = call()
        await turns(self._chance.randint(0, 2))
        return result

    def end_life(self) -> None:
        """Let go of the file, as a process does that ends in whatever way."""
        if self._file is not None:
            with suppress(StopIteration):
                self._file.__aexit__(None, None, None).send(None)  # which awaits nothing
