"""Carries one batch through: its journal, its results, its signals, and what is told of it."""

import asyncio
import math
import signal
import time
from collections.abc import AsyncIterable, Iterable, Iterator
from contextlib import AsyncExitStack, aclosing, asynccontextmanager, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Final

import anyio

from ...batch import Batch, Journal, ResultFile, RowFault
from ...connect import Clients
from ...contract import RunClient
from ...errors import AgentsError, JournalError
from ...observe import Event, RateLowered, RetryScheduled, StartAbandoned
from ...pool import SessionPool
from ..exits import Exit, code_of
from ..output import Output, moment, one_line
from ..work import Work, perform
from . import source
from .display import Display
from .ending import Ending, tell_ending
from .figures import Progress, RateLimiter
from .job import BatchJob

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

_TICK: Final = 0.1
#: Results go to disk so often: each time costs two flushes.
_WRITE_EVERY: Final = 1.0
_GREETING: Final = 5.0
#: What may end a batch; anything else is a fault of ours, and has to show where it lies.
_ENDS: Final = (AgentsError, ValueError, TypeError, OSError)


def conduct(job: BatchJob) -> Exit:
    """Run the batch and give the exit code."""
    # A journal knows all runs; those that are left at the timeout would be as many as the input has rows.
    work = Work(Output(is_json=job.is_json), reports_faults=False, keeps_runs=False)
    return perform(work, _Conductor(job, work).conduct)


class _Conductor:
    """One batch from the first poll at its journal to the last word about it."""

    def __init__(self, job: BatchJob, work: Work) -> None:
        self._job = job
        self._out = work.out
        self._work = work
        self._pace = RateLimiter(now=time.monotonic())
        self._began_at = time.monotonic()
        self._display = Display(job, work.out, self._poll)
        self._retries = 0
        self._abandoned: list[StartAbandoned] = []
        self._signals: list[signal.Signals] = []
        self._task: asyncio.Task[object] | None = None
        self._pool: SessionPool | None = None
        self._batch: Batch | None = None
        self._is_running = False
        self._is_read = False
        self._error: Exception | None = None
        work.listeners += [self._hear, self._display.hear]

    async def conduct(self) -> Exit:
        """Do it all. Errors that come before anything was begun are raised, later ones told."""
        if not self._job.is_resumed and _has_rows(self._job.journal):
            return self._refuse()
        self._task = asyncio.current_task()
        with self._signals_heard():
            try:
                await self._open()
            except asyncio.CancelledError:
                if not self._signals:
                    raise
        return self._finish()

    def _refuse(self) -> Exit:
        words = f"the journal {self._job.journal} has rows already; this goes on with them"
        self._out.warn(f"{words}:")
        self._out.note(f"  {self._job.resuming}")
        facts = {"type": "UsageError", "message": words, "exit_code": int(Exit.USAGE)}
        self._out.document({"error": {**facts, "resume": self._job.resuming}})
        return Exit.USAGE

    # At work

    async def _open(self) -> None:
        job = self._job
        async with self._work.pool() as pool:
            self._pool = pool
            client = Clients(pool).named(job.vendor)
            await self._look_through()
            await _greet(client)
            async with Journal(job.journal) as journal, self._results(journal) as results:
                self._batch = Batch(
                    client,
                    journal=journal,
                    in_flight=job.in_flight,
                    starts_per_second=job.per_second,
                    on_unknown=job.on_unknown,
                    timeout=job.timeout,
                )
                await self._run(self._batch, results)

    async def _look_through(self) -> None:
        try:
            await source.look_through(self._job)
        except RowFault as exc:
            raise ValueError(f"{self._job.file}, {exc}; nothing was started") from None

    @asynccontextmanager
    async def _results(self, journal: Journal) -> "AsyncIterator[ResultFile | None]":
        if self._job.output is None:
            yield None
            return
        async with ResultFile(journal, self._job.output, is_rebuilt=self._job.is_rewritten) as results:
            yield results

    async def _run(self, batch: Batch, results: ResultFile | None) -> None:
        self._display.begin()
        async with AsyncExitStack() as stack:
            rows = stack.enter_context(source.opened(self._job))
            stack.enter_context(self._display.board())
            async with asyncio.TaskGroup() as group:
                aside = [group.create_task(self._count()), group.create_task(self._show())]
                if results is not None:
                    aside.append(group.create_task(self._write(batch, results)))
                try:
                    await self._iterate(batch, rows)
                finally:
                    for task in aside:
                        task.cancel()
        if results is not None and len(self._signals) < 2:  # noqa: PLR2004 - the second signal waits for nothing
            await self._complete(results)

    async def _iterate(
        self,
        batch: Batch,
        rows: "Iterable[source.Row] | AsyncIterable[source.Row]",
    ) -> None:
        self._is_running = True
        try:
            async with aclosing(batch.run(rows)) as outcomes:
                async for outcome in outcomes:
                    self._display.tell(outcome)
            self._is_read = not self._signals and self._error is None
        except BrokenPipeError:
            raise
        except RowFault as error:
            self._fail(ValueError(f"{self._job.file}, {error}"))
        except _ENDS as error:
            self._fail(error)
        finally:
            self._is_running = False

    def _fail(self, error: Exception) -> None:
        """Keep what went wrong first: the rest follows from it."""
        if self._error is None:
            self._error = error

    async def _count(self) -> None:
        with suppress(OSError):
            self._pace.total = await source.count(self._job)

    async def _show(self) -> None:
        while True:
            await asyncio.sleep(_TICK)
            self._display.draw()

    async def _write(self, batch: Batch, results: ResultFile) -> None:
        try:
            while True:
                await results.write()
                await asyncio.sleep(_WRITE_EVERY)
        except (JournalError, OSError) as error:
            self._fail(error)
            batch.stop()

    async def _complete(self, results: ResultFile) -> None:
        try:
            await results.finish()
        except (JournalError, OSError) as error:
            self._fail(error)

    # What happens

    def _hear(self, event: Event) -> None:
        if isinstance(event, RateLowered):
            self._pace.throttles += 1
        elif isinstance(event, RetryScheduled):
            self._retries += 1
        elif isinstance(event, StartAbandoned):
            self._abandoned.append(event)

    @contextmanager
    def _signals_heard(self) -> Iterator[None]:
        loop = asyncio.get_running_loop()
        numbers = (signal.SIGINT, signal.SIGTERM)
        # Where signals cannot be had (Windows, a thread), Ctrl-C cancels, which leaves the journal exact as well.
        with suppress(NotImplementedError, RuntimeError, ValueError):
            for number in numbers:
                loop.add_signal_handler(number, self._on_signal, number)
        try:
            yield
        finally:
            with suppress(NotImplementedError, RuntimeError, ValueError):
                for number in numbers:
                    loop.remove_signal_handler(number)

    def _on_signal(self, number: signal.Signals) -> None:
        self._signals.append(number)
        if self._batch is None or not self._is_running:
            if self._task is not None:
                self._task.cancel()
        elif len(self._signals) == 1:
            self._batch.stop()
            self._display.tell_stopping(self._batch.statistics().sending)
        else:
            self._batch.stop(grace=0)
            signal.signal(number, signal.SIG_DFL)  # the journal bears a third one as it bears any death

    def _poll(self) -> Progress:
        batch, pool = self._parts()
        seen = pool.statistics()
        return self._pace.progress(
            batch.statistics(),
            polls=seen.polling.polls,
            retries=self._retries,
            limit=min((gate.per_second for gate in seen.accounts.values()), default=math.inf),
            now=time.monotonic(),
        )

    def _parts(self) -> tuple[Batch, SessionPool]:
        if self._batch is None or self._pool is None:
            raise RuntimeError("the batch was not begun")
        return self._batch, self._pool

    # The end

    def _finish(self) -> Exit:
        """Tell what it came to, and give the exit code."""
        code = None
        if self._signals:
            code = Exit.TERMINATED if self._signals[0] is signal.SIGTERM else Exit.INTERRUPTED
        if self._batch is None:
            self._out.warn("interrupted before anything was begun")
            return code or Exit.INTERRUPTED
        if self._error is not None:
            self._out.error(self._error)
            code = code or code_of(self._error)
        self._tell_abandoned()
        ending = self._ending()
        code = ending.code if code is None else code
        tell_ending(self._out, self._job, ending, code)
        return code

    def _ending(self) -> Ending:
        batch, pool = self._parts()
        with Journal.read_only(self._job.journal) as view:
            summary = view.summary()
        seen = batch.statistics()
        unread: int | None = 0
        if not self._is_read:
            total = self._pace.total
            unread = None if total is None else max(0, total - seen.faulty - summary.rows)
        return Ending(
            summary=summary,
            faulty=seen.faulty,
            unread=unread,
            unwritten=summary.unemitted if self._job.output is not None else 0,
            lost=self._display.lost,
            is_broken_off=self._error is not None,
            seconds=time.monotonic() - self._began_at,
            starts=seen.starts,
            polls=pool.statistics().polling.polls,
            throttles=self._pace.throttles,
        )

    def _tell_abandoned(self) -> None:
        """Tell of runs that began after nobody waited any more: their rows are unknown to the journal."""
        begun = [event for event in self._abandoned if event.run is not None]
        if begun:
            self._out.warn("these began after all; their rows are unknown, and can be settled with KEY=REF")
        for event in begun:
            ref = "" if event.run is None else str(event.run.ref)
            self._out.note(f"  {ref}  {one_line(event.target)}, sent at {moment(event.sent_at)}")
            facts = {"ref": ref, "target": event.target, "sent_at": event.sent_at}
            self._out.document({"event": "abandoned", **facts})


async def _greet(client: RunClient) -> None:
    """Have a token and a connection: rows whose start waits for these would be unknown after a kill."""
    with anyio.move_on_after(_GREETING), suppress(AgentsError):  # what is wrong, the first start will tell
        await client.check()


def _has_rows(journal: str) -> bool:
    path = Path(journal)
    if not path.exists() or not path.stat().st_size:
        return False
    with Journal.read_only(journal) as view:
        return next(view.records(), None) is not None
