"""Carries out the commands of a batch's core: tasks, journal calls, starts, followed runs, and one timer."""

import asyncio
import math
from collections import deque
from collections.abc import Callable, Coroutine, Mapping, Sequence
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any, cast

import anyio

from ..contract import BatchRow, RunClient
from ..errors import AgentsError, NotSent, PoolClosed
from ..model import Run
from ..observe import StartAbandoned
from ..tasks import Supervisor
from . import states
from .core import BatchCore
from .outcome import BatchStatistics, Outcome
from .plan import as_exception, cut_off_start
from .reader import RowReader, Rows
from .record import BatchJournal, Change
from .settings import LAST_RECORD, BatchSettings
from .states import Emit, Phase, Row

if TYPE_CHECKING:
    from datetime import datetime

    from ..clock import Timer


class BatchDriver:
    """Runs one batch over a client and a journal.

    Its tasks live in a supervisor of their own, so that the reader may leave at any moment, from any task. Starts run
    in tasks of the pool's, since they may outlive the batch. Events of one iteration of the loop are decided upon
    together, at its end.
    """

    def __init__(self, client: RunClient, journal: BatchJournal, settings: BatchSettings) -> None:
        self._client = client
        self._pool = client.pool
        self._clock = client.pool.clock
        self._journal = journal
        self._settings = settings
        self._core = BatchCore(settings, vendor=client.vendor, retry_delay=client.retry_delay)
        self._supervisor = Supervisor()
        self._loop = asyncio.get_running_loop()
        self._begun_at: datetime = self._clock.utcnow()
        # Whether decisions are scheduled for the end of this iteration of the loop, being made, and to be made again.
        self._is_scheduled = self._is_deciding = self._is_due = False
        self._timer: Timer | None = None
        self._changes: Sequence[Change] = ()  # to be recorded next
        self._saver: asyncio.Task[Any] | None = None
        self._starts: dict[asyncio.Task[Any], Row] = {}
        self._unread: deque[Emit] = deque()
        self._reader: asyncio.Future[None] | None = None
        self._ended: asyncio.Future[None] = self._loop.create_future()
        self._rows = RowReader(
            self._core.intake, journal, self._clock, happened=self._happened, spawn=self._spawn
        )
        self._actions: Mapping[type, Callable[[Any], object]] = {
            states.ReadOpen: lambda _: self._rows.read_open(),
            states.ReadInput: lambda _: self._rows.read_input(),
            states.Claim: lambda command: self._spawn(self._claim(command.rows)),
            states.Save: self._save,
            states.Start: lambda command: self._start(command.row),
            states.CancelUnsent: self._cancel_unsent,
            states.Follow: lambda command: self._follow(command.row),
            states.Unfollow: lambda command: self._unfollow(command.row),
            states.Cancel: lambda command: self._spawn(self._cancel(command.row)),
            states.Emit: self._emit,
            states.Abandon: lambda command: self._abandon(command.row, command.error),
            states.WakeAt: lambda command: self._wake_at(command.at),
            states.End: self._end,
        }

    # For the reader

    async def open(self, rows: Rows) -> None:
        """Begin to read the rows that an earlier run left open, then the input."""
        await self._supervisor.open()
        self._spawn(self._rows.read(rows))
        with suppress(PoolClosed):  # the first start will raise it
            # The pool cancels it on closing. Nothing else might report that while there is no row to start.
            self._pool.caller.run_inline(self._wait_for_end(), self._task_ended)

    async def _wait_for_end(self) -> None:
        await asyncio.wait([self._ended])

    async def next(self) -> Outcome | None:
        """Return the next outcome, None when there will be no more. Raise the error that ended the batch."""
        while not self._unread:
            if self._ended.done():
                if self._core.error is not None:
                    raise self._core.error
                return None
            self._reader = self._loop.create_future()
            await self._reader
        outcome = self._unread.popleft().outcome
        if self._core.taken():
            self._happened()  # it was the reader who held up the starts
        return outcome

    def stop(self, grace: float, *, cancel: bool = False) -> None:
        """Start nothing more; the batch is over once all starts are recorded, or after `grace` seconds."""
        self._core.stop(grace, self._clock.now(), cancel=cancel)
        self._decide()  # now: what is not sent yet must not be sent

    async def aclose(self) -> None:
        """Start nothing more, wait at most the grace for starts in progress to be recorded, and end all tasks."""
        self._core.left(self._unread)
        self._unread.clear()
        self.stop(math.inf)
        try:
            if not self._core.is_over:
                with anyio.move_on_after(self._settings.grace, shield=True):
                    await asyncio.wait([self._ended])
        finally:
            self._core.end()
            try:
                if self._saver is not None:  # what the journal has by then need not be reported besides
                    await asyncio.wait([self._saver], timeout=LAST_RECORD)
            finally:
                await self._end_tasks()

    async def _end_tasks(self) -> None:
        try:
            await self._supervisor.aclose()
        finally:  # also where this is cancelled for the third time: what began has to be reported
            self._core.close()
            self._decide()

    def statistics(self) -> BatchStatistics:
        """Return the present numbers."""
        return self._core.statistics(self._begun_at)

    # Deciding

    def _happened(self) -> None:
        """Schedule a decision on what happened, one for all that happens in this iteration of the loop."""
        if not self._is_scheduled:
            self._is_scheduled = True
            self._loop.call_soon(self._decide_now)

    def _decide_now(self) -> None:
        self._is_scheduled = False
        self._decide()

    def _decide(self) -> None:
        """Carry out what the core decides. What happens meanwhile is decided on afterwards, in order."""
        self._is_due = True
        if self._is_deciding:  # a hook, a cadence or an eager task called this
            return
        self._is_deciding = True
        actions = self._actions
        try:
            while self._is_due:
                self._is_due = False
                for command in self._core.commands(self._clock.now(), self._clock.utcnow()):
                    actions[type(command)](command)
        finally:
            self._is_deciding = False

    def _fail(self, error: Exception) -> None:
        self._core.fail(error, self._clock.now())
        self._happened()

    def _spawn(
        self,
        work: Coroutine[Any, Any, None],
        on_end: Callable[["asyncio.Task[Any]"], None] | None = None,
    ) -> "asyncio.Task[Any] | None":
        """Do `work` in a task; whatever it raises ends the batch."""
        try:
            return self._supervisor.spawn(work, on_end=on_end or self._task_ended)
        except PoolClosed:
            if not self._core.is_over:  # somebody cancelled the supervisor itself
                self._fail(self._interruption())
            return None

    def _task_ended(self, task: "asyncio.Task[Any]") -> None:
        if task.cancelled():
            if not self._core.is_over:  # nobody else finishes what the task was doing
                self._fail(self._interruption())
        elif (fault := task.exception()) is not None:
            self._fail(as_exception(fault))

    def _interruption(self) -> Exception:
        """Return why a task was cancelled: by the closing pool, or by somebody else."""
        try:
            self._pool.ensure_open()
        except PoolClosed as error:
            return error
        return AgentsError("a task of the batch was cancelled from outside")

    # The journal

    async def _claim(self, rows: Sequence[BatchRow]) -> None:
        try:
            records = await self._journal.claim(rows)
        except Exception as error:  # noqa: BLE001 - any error of a journal ends the batch
            self._core.claim_failed(error, self._clock.now())
        else:
            self._core.claimed(records, self._clock.utcnow())
        self._happened()

    def _save(self, command: states.Save) -> None:
        self._changes = command.changes
        if self._saver is None or self._saver.done():
            self._saver = self._spawn(self._save_all(), self._save_ended)

    async def _save_all(self) -> None:
        """Record changes, then those that the core asks for on the answer, until there are none."""
        while self._changes:
            changes, self._changes = self._changes, ()
            try:
                await self._journal.record(changes)
            except Exception as error:  # noqa: BLE001 - any error of a journal ends the batch
                self._core.record_failed(error, self._clock.now())
            else:
                self._core.recorded(self._clock.now())
            self._decide()

    def _save_ended(self, task: "asyncio.Task[Any]") -> None:
        if task.cancelled() or task.exception() is not None:
            fault = self._interruption() if task.cancelled() else as_exception(task.exception())
            self._changes = ()
            self._core.record_lost(fault)
        self._task_ended(task)

    # Starts

    def _start(self, row: Row) -> None:
        try:
            task = self._pool.caller.run_inline(self._make_start(row), self._start_ended)
        except PoolClosed as error:
            self._core.start_unsent(row, error, self._clock.now(), self._clock.utcnow())
            self._happened()
        else:
            self._starts[task] = row

    async def _make_start(self, row: Row) -> None:
        core, clock = self._core, self._clock
        result: Any
        try:
            if core.is_stopping:
                result = NotSent("the batch was stopped before this was sent")
            else:
                result = await self._client.start_row(cast("BatchRow", row.input))
        except asyncio.CancelledError:  # outside of the pool's own code: it may have been sent
            core.start_lost(row, self._interruption())
            raise
        except Exception as error:  # noqa: BLE001 - each is reported as this row's outcome
            result = error
        core.start_ended(row, result, clock.now(), clock.utcnow())

    def _start_ended(self, task: "asyncio.Task[Any]") -> None:
        row = self._starts.pop(task)
        if row.phase is Phase.SENT:  # the core has not heard of its end, unless it is closed
            if task.cancelled():  # before its first step
                now, utc = self._clock.now(), self._clock.utcnow()
                self._core.start_unsent(row, self._interruption(), now, utc)
            elif (fault := task.exception()) is not None:
                self._core.start_lost(row, as_exception(fault))
        self._task_ended(task)
        self._happened()

    def _cancel_unsent(self, _: states.CancelUnsent) -> None:
        self._pool.caller.cancel_unsent(self._starts)

    def _abandon(self, row: Row, error: Exception | None) -> None:
        handle, is_known = row.handle, row.ref is not None or error is None
        fault = None if is_known else cut_off_start(row.key, row.target, row.sent_at, error)
        self._pool.caller.emit_abandoned(
            StartAbandoned(
                vendor=self._client.vendor,
                target=row.target,
                sent_at=row.sent_at or self._clock.utcnow(),
                ref=row.ref,
                run=row.run if handle is None else handle.accepted or handle.last,
                error=fault,
            )
        )

    # Runs

    def _follow(self, row: Row) -> None:
        try:
            if row.handle is None:
                row.handle = self._attach(row)
            row.unfollow = row.handle.add_done_callback(partial(self._run_ended, row))
        except Exception as error:  # noqa: BLE001 - a run that cannot be followed affects no other
            self._run_ended(row, error)

    def _attach(self, row: Row) -> Any:
        if row.ref is None:
            raise ValueError(f"the journal has no reference of the run that {row.key!r} started")
        return self._client.attach(row.ref)

    def _run_ended(self, row: Row, end: Run | Exception) -> None:
        is_cancelled = row.handle is not None and row.handle.is_cancel_requested
        self._core.run_ended(row, end, self._clock.now(), is_cancelled=is_cancelled)
        self._happened()

    async def _cancel(self, row: Row) -> None:
        """Ask the vendor to cancel the run of a row. Cancelled, the request goes on in the pool."""
        error: Exception | None = None
        try:
            if row.handle is not None:
                await row.handle.cancel()
        except Exception as caught:  # noqa: BLE001 - a run that cannot be cancelled affects no other
            error = caught
        self._core.cancel_ended(row, error, self._clock.now())
        self._happened()

    def _unfollow(self, row: Row) -> None:
        if row.unfollow is not None:
            row.unfollow()
            row.unfollow = None

    # The reader

    def _emit(self, emitted: Emit) -> None:
        self._unread.append(emitted)
        _resolve(self._reader)

    def _end(self, _: states.End) -> None:
        if not self._ended.done():
            self._ended.set_result(None)
        _resolve(self._reader)

    # Time

    def _wake_at(self, at: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = None if at == math.inf else self._clock.call_at(at, self._on_time)

    def _on_time(self) -> None:
        self._timer = None
        self._core.woken()
        self._decide()


def _resolve(future: "asyncio.Future[None] | None") -> None:
    if future is not None and not future.done():
        future.set_result(None)
