"""A pool, a client that does what a test sets, and a journal in memory that keeps its contract and a log."""

import asyncio
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from contextlib import aclosing, asynccontextmanager
from typing import TYPE_CHECKING, Any, ClassVar, Self

import attrs

from aioagents import JournalError, NotFound, Run, RunHandle, RunRef, RunState, SessionPool, Steady
from aioagents.batch import MOVES, Batch, BatchRow, Change, Outcome, Record, RowFault, RowState
from aioagents.contract import RunClient
from aioagents.polling import Cadence
from tests.fakes import FakeClock, settle

if TYPE_CHECKING:
    from aioagents.observe import Event

VENDOR = "standin"
Fault = Exception | None


def ref_of(key: str, scope: str = "") -> RunRef:
    """Name the run that a row starts."""
    return RunRef(VENDOR, scope, f"run-{key}")


def rows(count: int, *, first: int = 0) -> list[BatchRow]:
    """Return so many rows, whose keys are their numbers."""
    return [BatchRow(str(number), "tea") for number in range(first, first + count)]


class StandIn(RunClient):
    """A vendor in memory: runs last `lasts` seconds from their start, and end as `ends` says, completed if not."""

    vendor: ClassVar[str] = VENDOR

    def __init__(self, pool: SessionPool, *, lasts: float = 25.0) -> None:
        super().__init__(pool)
        self.lasts = lasts
        #: Keys in the order of their starts, and when each was made.
        self.started: list[str] = []
        self.started_at: list[float] = []
        self.ends: dict[str, RunState] = {}
        #: What a start raises, and what it waits for first.
        self.faults: dict[str, Exception] = {}
        self.releases: dict[str, asyncio.Event] = {}
        self.release: asyncio.Event | None = None
        #: What polls of a run raise.
        self.poll_faults: dict[str, Exception] = {}
        self.polls: Counter[str] = Counter()
        self.out = self.most_out = 0
        self.cancelled: list[str] = []
        self._begun: dict[str, float] = {}
        self._source = pool.source(VENDOR, self, VENDOR)

    @classmethod
    def from_env(cls, pool: SessionPool, environ: Mapping[str, str] | None = None, *, name: str = "") -> Self:
        """Make one; there is nothing to set."""
        return cls(pool)

    async def check(self) -> None:
        """Find all well."""

    async def start_row(self, row: BatchRow) -> RunHandle:
        """Do as the test says."""
        self.started.append(row.key)
        self.started_at.append(self.pool.clock.now())
        self.out += 1
        self.most_out = max(self.most_out, self.out)
        try:
            await asyncio.sleep(0)
            for release in (self.release, self.releases.get(row.key)):
                if release is not None:
                    await release.wait()
        except asyncio.CancelledError:
            self.cancelled.append(row.key)
            raise
        finally:
            self.out -= 1
        if row.key in self.faults:
            raise self.faults[row.key]
        self.begin(row.key)
        now = self.pool.clock.now()
        return RunHandle(self._source, ref_of(row.key), accepted=self._run(ref_of(row.key)), begun_at=now)

    def begin(self, key: str) -> None:
        """Begin a run now."""
        self._begun[ref_of(key).id] = self.pool.clock.now()

    def attach(self, ref: RunRef | str) -> RunHandle:
        """Follow a run of this scope."""
        parsed = RunRef.parse(ref) if isinstance(ref, str) else ref
        if parsed.scope:
            raise ValueError(f"{parsed} is of another scope")
        return RunHandle(self._source, parsed)

    def _run(self, ref: RunRef) -> Run:
        clock = self.pool.clock
        if ref.id not in self._begun:
            raise NotFound("no such run", status=404)
        is_over = clock.now() >= self._begun[ref.id] + self.lasts
        end = self.ends.get(ref.id.removeprefix("run-"), RunState.COMPLETED)
        state = end if is_over else RunState.RUNNING
        return Run(
            ref=ref,
            state=state,
            status=f"is {state}",
            output={"key": ref.id} if state is RunState.COMPLETED else None,
            error="no tea" if state is RunState.FAILED else None,
            seen_at=clock.utcnow(),
        )

    # As a source of runs

    async def poll(self, ref: RunRef, *, age: float | None, last: Run | None) -> Run:
        """Count the poll, and return the run."""
        self.polls[ref.id.removeprefix("run-")] += 1
        fault = self.poll_faults.get(ref.id.removeprefix("run-"))
        if fault is not None:
            raise fault
        return self._run(ref)

    read = poll

    def may_retry(self) -> bool:
        """Allow it."""
        return True


class Notebook:
    """A journal in memory. `log` has every state of each key; records wait for `release`; `fault` may raise."""

    def __init__(self, records: Iterable[Record] = ()) -> None:
        self.records = {record.key: record for record in records}
        self.log: dict[str, list[RowState]] = defaultdict(list)
        self.claims: list[int] = []
        self.groups: list[int] = []
        self.release: asyncio.Event | None = None
        #: Asked before each change or row; what it gives is raised, and nothing is changed.
        self.fault: Callable[[Change | BatchRow], Fault] = lambda _: None
        self.most_sending = self.most_open = 0
        #: How many records of what is open were read.
        self.read = 0
        self._claimed: set[str] = set()
        self._changed: set[str] = set()

    def reopened(self) -> "Notebook":
        """Return what another process finds."""
        return Notebook(self.records.values())

    @property
    def states(self) -> dict[str, RowState]:
        """Return the state of each key."""
        return {key: record.state for key, record in self.records.items()}

    async def begin(self) -> None:
        """Count from now on."""
        self._claimed.clear()
        self._changed.clear()

    async def claim(self, claimed: Sequence[BatchRow]) -> Sequence[Record]:
        """Take rows on."""
        await asyncio.sleep(0)
        self._check(claimed)
        self.claims.append(len(claimed))
        given = []
        for row in claimed:
            record = self.records.get(row.key)
            if record is None:
                record = Record(
                    key=row.key, target=row.target, digest=b"", state=RowState.PLANNED, owner="me"
                )
                self.records[row.key] = record
            is_repeated, is_changed = row.key in self._claimed, row.key in self._changed
            given.append(attrs.evolve(record, is_repeated=is_repeated, is_changed=is_changed))
            self._claimed.add(row.key)
        return given

    async def record(self, changes: Sequence[Change]) -> None:
        """Make changes, all or none."""
        await asyncio.sleep(0)
        if self.release is not None:
            await self.release.wait()
        self._check(changes)
        for change in changes:
            if change.state not in MOVES[self.records[change.key].state]:
                raise JournalError(f"{change.key}: {self.records[change.key].state} to {change.state}")
        self.groups.append(len(changes))
        for change in changes:
            self._change(change)

    def _check(self, wanted: Sequence[Change | BatchRow]) -> None:
        for each in wanted:
            fault = self.fault(each)
            if fault is not None:
                raise fault

    def _change(self, change: Change) -> None:
        known = self.records[change.key]
        news: dict[str, Any] = {"state": change.state}
        for name in ("ref", "status", "kind", "error", "output"):
            if getattr(change, name):
                news[name] = getattr(change, name)
        if change.state is RowState.SENDING:
            news = {"kind": "", "error": "", **news, "sent_at": change.at}
        elif change.state.is_settled:
            news["ended_at"] = change.at
        self.records[change.key] = attrs.evolve(known, **news)
        self._changed.add(change.key)
        self.log[change.key].append(change.state)
        states = Counter(self.states.values())
        sending, started = states[RowState.SENDING], states[RowState.STARTED]
        self.most_sending = max(self.most_sending, sending)
        self.most_open = max(self.most_open, sending + started)

    async def unfinished(self) -> AsyncIterator[Record]:
        """Return what is open, as it is when it is read."""
        for key in list(self.records):
            record = self.records[key]
            if record.state in (RowState.SENDING, RowState.STARTED):
                self.read += 1
                yield attrs.evolve(record, is_changed=key in self._changed)


class Rig:
    """All that a test asks questions of."""

    def __init__(
        self,
        notebook: Notebook | None = None,
        *,
        lasts: float = 25.0,
        cadence: Cadence | None = None,
        vendor: type[StandIn] = StandIn,
        **options: Any,
    ) -> None:
        self.clock = FakeClock()
        self.events: list[Event] = []
        hooks = [self.events.append]
        self.pool = SessionPool(
            clock=self.clock, cadence=cadence or Steady(10), chance=lambda: 0.5, hooks=hooks
        )
        self.client = vendor(self.pool, lasts=lasts)
        self.notebook = notebook or Notebook()
        self.batch = Batch(self.client, **{"journal": self.notebook, **options})
        self.outcomes: list[Outcome] = []
        self.error: BaseException | None = None
        self._iteration: asyncio.Task[None] | None = None

    async def read(self, given: Any) -> None:
        """Read all outcomes, here and now."""
        async with aclosing(self.batch.run(given)) as outcomes:
            async for outcome in outcomes:
                self.outcomes.append(outcome)

    async def begin(self, given: Any) -> "asyncio.Task[None]":
        """Read outcomes in a task, as far as that goes without time."""

        async def read() -> None:
            try:
                await self.read(given)
            except Exception as error:  # noqa: BLE001 - asserted by tests
                self.error = error

        self._iteration = asyncio.create_task(read(), name="reader")
        await settle()
        return self._iteration

    @property
    def is_over(self) -> bool:
        """Return whether the iteration has ended."""
        return self._iteration is not None and self._iteration.done()

    async def finish(self, given: Any, *, seconds: float = 1000.0) -> list[Outcome]:
        """Run a batch to its end, and return the outcomes."""
        await self.begin(given)
        return await self.finish_begun(seconds=seconds)

    async def finish_begun(self, *, seconds: float = 1000.0) -> list[Outcome]:
        """Advance the clock until a batch that was begun ends, and return the outcomes."""
        for _ in range(int(seconds)):
            if self.is_over:
                break
            await self.clock.advance(1.0)
        assert self.is_over
        if self.error is not None:
            raise self.error
        return self.outcomes

    @property
    def states(self) -> dict[str, RowState]:
        """Return the states in the outcomes."""
        return {outcome.key: outcome.state for outcome in self.outcomes}


@asynccontextmanager
async def rig(notebook: Notebook | None = None, **options: Any) -> AsyncIterator[Rig]:
    """Yield a rig whose pool is open; a reader that still reads is cancelled at the end."""
    made = Rig(notebook, **options)
    async with made.pool:
        try:
            yield made
        finally:
            if made._iteration is not None:  # noqa: SLF001 - the rig's own
                made._iteration.cancel()  # noqa: SLF001
                await asyncio.wait([made._iteration])  # noqa: SLF001


def fault(line: int = 1) -> RowFault:
    """Return what stands for a line that is no row."""
    return RowFault(line, "no row")
