"""Runs one batch for the command line: its journal, its results file, signals, and what is printed."""

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
from . import input_rows
from .copies import list_losses
from .display import Display
from .job import BatchJob
from .progress import Progress, ProgressMeter
from .summary import BatchSummary, print_summary

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

_TICK: Final = 0.1  # seconds between two updates of the display
#: Seconds between two writes of results: each costs two flushes to disk.
_WRITE_EVERY: Final = 1.0
_CHECK_TIMEOUT: Final = 5.0
#: Errors that may end a batch; anything else is a bug, and its traceback has to be seen.
_EXPECTED: Final = (AgentsError, ValueError, TypeError, OSError)


def run_batch(job: BatchJob) -> Exit:
    """Run the batch and return the exit code."""
    # The journal has all runs. Keeping those that outlast the timeout here too would take memory for every row.
    work = Work(Output(is_json=job.is_json), reports_faults=False, keeps_runs=False)
    return perform(work, _Runner(job, work).run)


class _Runner:
    """One batch, from the check of its journal to the summary that is printed at the end."""

    def __init__(self, job: BatchJob, work: Work) -> None:
        self._job = job
        self._out = work.out
        self._work = work
        self._meter = ProgressMeter(now=time.monotonic())
        self._began_at = time.monotonic()
        self._display = Display(job, work.out, self._progress)
        self._retries = 0
        self._abandoned: list[StartAbandoned] = []
        self._signals: list[signal.Signals] = []
        self._task: asyncio.Task[object] | None = None
        self._pool: SessionPool | None = None
        self._batch: Batch | None = None
        self._is_running = False
        self._is_input_read = False
        self._error: Exception | None = None
        work.listeners += [self._on_event, self._display.on_event]

    async def run(self) -> Exit:
        """Run the batch. Errors before anything was started are raised, later ones are printed."""
        refusal = self._refusal()
        if refusal is not None:
            return refusal
        self._task = asyncio.current_task()
        with self._handle_signals():
            try:
                await self._open()
            except asyncio.CancelledError:
                if not self._signals:
                    raise
        return self._finish()

    def _refusal(self) -> Exit | None:
        """Refuse to begin with a journal that has rows, and to continue with one that is not there."""
        job = self._job
        if job.resume == "no" and _has_rows(job.journal):
            return self._refuse(
                f"the journal {job.journal} has rows already; to continue with them", job.resume_command
            )
        if job.resume == "yes" and not _is_there(job.journal):
            if_any = f"{job.resume_command}=if-any"
            return self._refuse(f"there is no journal {job.journal} to continue with; to begin", if_any)
        if job.accepts_loss and _is_there(job.journal):
            list_losses(self._out, job.journal)
        return None

    def _refuse(self, message: str, command: str) -> Exit:
        self._out.warn(f"{message}:")
        self._out.note(f"  {command}")
        facts = {"type": "UsageError", "message": message, "exit_code": int(Exit.USAGE)}
        self._out.document({"error": {**facts, "resume": command}})
        return Exit.USAGE

    # The batch at work

    async def _open(self) -> None:
        job = self._job
        async with self._work.pool() as pool:
            self._pool = pool
            client = Clients(pool).named(job.vendor, job.endpoint)
            await self._check_rows()
            await _check_client(client)
            opened = Journal(job.journal, accepts_loss=job.accepts_loss)
            async with opened as journal, self._results(journal) as results:
                self._batch = Batch(
                    client,
                    journal=journal,
                    in_flight=job.in_flight,
                    starts_per_second=job.per_second,
                    on_unknown=job.on_unknown,
                    timeout=job.timeout,
                )
                await self._run_batch(self._batch, results)

    async def _check_rows(self) -> None:
        try:
            await input_rows.check_rows(self._job)
        except RowFault as exc:
            raise ValueError(f"{self._job.file}, {exc}; nothing was started") from None

    @asynccontextmanager
    async def _results(self, journal: Journal) -> "AsyncIterator[ResultFile | None]":
        if self._job.output is None:
            yield None
            return
        async with ResultFile(
            journal,
            self._job.output,
            is_rebuilt=self._job.is_rewritten,
            guards_formulas=self._job.guards_formulas,
            hide=self._out.hide,
        ) as results:
            yield results

    async def _run_batch(self, batch: Batch, results: ResultFile | None) -> None:
        self._display.begin()
        async with AsyncExitStack() as stack:
            rows = stack.enter_context(input_rows.open_rows(self._job))
            stack.enter_context(self._display.board())
            async with asyncio.TaskGroup() as group:
                side_tasks = [group.create_task(self._count()), group.create_task(self._show())]
                if results is not None:
                    side_tasks.append(group.create_task(self._write(batch, results)))
                try:
                    await self._iterate(batch, rows)
                finally:
                    for task in side_tasks:
                        task.cancel()
        if results is not None and len(self._signals) < 2:  # noqa: PLR2004 - after the second signal nothing is waited for
            await self._complete(results)

    async def _iterate(
        self,
        batch: Batch,
        rows: "Iterable[input_rows.Row] | AsyncIterable[input_rows.Row]",
    ) -> None:
        self._is_running = True
        try:
            async with aclosing(batch.run(rows)) as outcomes:
                async for outcome in outcomes:
                    self._display.print_outcome(outcome)
            self._is_input_read = not self._signals and self._error is None
        except BrokenPipeError:
            raise
        except RowFault as error:
            self._fail(ValueError(f"{self._job.file}, {error}"))
        except _EXPECTED as error:
            self._fail(error)
        finally:
            self._is_running = False

    def _fail(self, error: Exception) -> None:
        """Keep the first error: later ones follow from it."""
        if self._error is None:
            self._error = error

    async def _count(self) -> None:
        with suppress(OSError):
            self._meter.total = await input_rows.count_rows(self._job)

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

    # Events and signals

    def _on_event(self, event: Event) -> None:
        if isinstance(event, RateLowered):
            self._meter.throttles += 1
        elif isinstance(event, RetryScheduled):
            self._retries += 1
        elif isinstance(event, StartAbandoned):
            self._abandoned.append(event)

    @contextmanager
    def _handle_signals(self) -> Iterator[None]:
        loop = asyncio.get_running_loop()
        numbers = (signal.SIGINT, signal.SIGTERM)
        # Without signal handlers (Windows, a thread), Ctrl-C cancels, which leaves the journal exact as well.
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
            self._display.print_stopping(self._batch.statistics().sending)
        else:
            self._batch.stop(grace=0)
            signal.signal(number, signal.SIG_DFL)  # a third one kills the process, which the journal survives

    def _progress(self) -> Progress:
        batch, pool = self._parts()
        seen = pool.statistics()
        return self._meter.progress(
            batch.statistics(),
            polls=seen.polling.polls,
            retries=self._retries,
            limit=min((each.per_second for each in seen.accounts.values()), default=math.inf),
            now=time.monotonic(),
        )

    def _parts(self) -> tuple[Batch, SessionPool]:
        if self._batch is None or self._pool is None:
            raise RuntimeError("the batch was not started")
        return self._batch, self._pool

    # The end

    def _finish(self) -> Exit:
        """Print the summary and return the exit code."""
        code = None
        if self._signals:
            code = Exit.TERMINATED if self._signals[0] is signal.SIGTERM else Exit.INTERRUPTED
        if self._batch is None:
            self._out.warn("interrupted before anything was started")
            return code or Exit.INTERRUPTED
        if self._error is not None:
            self._out.error(self._error)
            code = code or code_of(self._error)
        self._print_abandoned()
        summary = self._summary()
        code = summary.code if code is None else code
        print_summary(self._out, self._job, summary, code)
        return code

    def _summary(self) -> BatchSummary:
        batch, pool = self._parts()
        with Journal.read_only(self._job.journal) as reader:
            journal = reader.summary()
        seen = batch.statistics()
        unread: int | None = 0
        if not self._is_input_read:
            total = self._meter.total
            unread = None if total is None else max(0, total - seen.faulty - journal.rows)
        return BatchSummary(
            journal=journal,
            faulty=seen.faulty,
            unread=unread,
            unwritten=journal.unemitted if self._job.output is not None else 0,
            lost=self._display.lost,
            is_failed=self._error is not None,
            seconds=time.monotonic() - self._began_at,
            starts=seen.starts,
            polls=pool.statistics().polling.polls,
            throttles=self._meter.throttles,
        )

    def _print_abandoned(self) -> None:
        """Print the runs that began after the batch had ended: their rows are unknown in the journal."""
        begun = [event for event in self._abandoned if event.run is not None]
        if begun:
            self._out.warn(
                "these runs began after all; their rows are unknown, and can be settled with KEY=REF"
            )
        for event in begun:
            ref = "" if event.run is None else str(event.run.ref)
            self._out.note(f"  {ref}  {one_line(event.target)}, sent at {moment(event.sent_at)}")
            facts = {"ref": ref, "target": event.target, "sent_at": event.sent_at}
            self._out.document({"event": "abandoned", **facts})


async def _check_client(client: RunClient) -> None:
    """Obtain a token and a connection first: a kill while starts wait for these would leave their rows unknown."""
    with anyio.move_on_after(_CHECK_TIMEOUT), suppress(AgentsError):  # the first start raises the error again
        await client.check()


def _is_there(journal: str) -> bool:
    path = Path(journal)
    return path.exists() and path.stat().st_size > 0


def _has_rows(journal: str) -> bool:
    if not _is_there(journal):
        return False
    with Journal.read_only(journal) as reader:
        return next(reader.records(), None) is not None
