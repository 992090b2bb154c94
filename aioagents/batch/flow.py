"""One run of a batch: what its parts share, and when it is over."""

import asyncio
import math
from collections import Counter, deque
from collections.abc import Coroutine
from typing import TYPE_CHECKING, Any

import anyio

from ..contract import RunClient
from ..errors import AgentsError, PoolClosed
from ..tasks import Supervisor
from .follower import Follower
from .intake import Intake, Rows
from .outcome import BatchStatistics, Outcome
from .record import BatchJournal, RowState
from .recorder import Recorder
from .settings import BatchSettings
from .starter import Starter

if TYPE_CHECKING:
    from ..clock import Clock, Timer


class Flow:
    """Carries rows from the input to their outcomes.

    Its tasks live in a crew, so that whoever iterates may leave at any moment, from any task. Each thing that
    happens calls `moved`, which lets the parts go on as far as they may; nothing waits for a condition.
    """

    def __init__(self, client: RunClient, journal: BatchJournal, settings: BatchSettings) -> None:
        self.clock: Clock = client.pool.clock
        self._pool = client.pool
        self._inline_tasks: set[asyncio.Task[Any]] = set()
        self.journal = journal
        self.settings = settings
        #: Rows whose start may be out, or whose run is followed.
        self.in_flight = 0
        #: Keys from the moment their row is claimed until its outcome is told.
        self.active: set[str] = set()
        self.is_stopping = False
        self.is_over = False
        self._is_moving = False
        self.error: Exception | None = None
        self._supervisor = Supervisor()
        self._outcomes: deque[Outcome] = deque()
        self._reader: asyncio.Future[None] | None = None
        self._end: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._timer: Timer | None = None
        self._ends_at = math.inf
        self._states: Counter[RowState] = Counter()
        self._faulty = self._replayed = 0
        self._begun_at = self.clock.utcnow()
        recorder = self._recorder = Recorder(self, journal)
        #: Have changes recorded, and hear whether they were; if not, the batch ends.
        self.post, self.record = recorder.post, recorder.record
        self._follower = Follower(self, client)
        self._intake = Intake(self, self._follower)
        self._starter = Starter(self, client, self._intake, self._follower)

    # For whoever iterates

    async def open(self, rows: Rows) -> None:
        """Begin: with what an earlier run left open, then with the input."""
        await self._supervisor.open()
        self.spawn(self._intake.read(rows))

    async def next(self) -> Outcome | None:
        """Return the next outcome, None when there will be no more. Raises the error that ended it all."""
        while not self._outcomes:
            if self.is_over:
                if self.error is not None:
                    raise self.error
                return None
            self._reader = asyncio.get_running_loop().create_future()
            await self._reader
        outcome = self._outcomes.popleft()
        if len(self._outcomes) == self.settings.in_flight - 1:
            self.moved()  # it was the reader who held up the starts
        return outcome

    def stop(self, grace: float) -> None:
        """Start nothing more; it is over once all starts are recorded, or after `grace` seconds."""
        self.is_stopping = True
        self._starter.stop()
        self._pool.caller.cancel_unsent(self._inline_tasks)  # what waits for another try is not sent
        ends_at = self.clock.now() + grace
        if ends_at < self._ends_at and not self.is_over:
            self._ends_at = ends_at
            if self._timer is not None:
                self._timer.cancel()
            self._timer = self.clock.call_at(ends_at, self._end_now)
        self.moved()

    async def aclose(self) -> None:
        """Start nothing more, give starts that are out time to be recorded, and end all tasks."""
        self.stop(math.inf)
        try:
            if not self.is_over:
                with anyio.move_on_after(self.settings.grace, shield=True):
                    await self._end
        finally:
            self._end_now()
            await self._supervisor.aclose()
            self._recorder.give_up()

    def statistics(self) -> BatchStatistics:
        """Return the present numbers."""
        return BatchStatistics(
            begun_at=self._begun_at,
            read=self._intake.rows_read,
            faulty=self._faulty,
            ready=len(self._intake.ready),
            sending=self._starter.sending,
            in_flight=self.in_flight,
            resumed=self._follower.resumed,
            starts=self._starter.starts,
            replayed=self._replayed,
            unread=len(self._outcomes),
            states=dict(self._states),
            is_stopping=self.is_stopping,
        )

    # For the parts

    @property
    def may_start(self) -> bool:
        """Return whether one more row may be put in flight; not while outcomes pile up unread."""
        return not self.is_stopping and self.in_flight < self.settings.in_flight and self.is_read

    @property
    def is_closed(self) -> bool:
        """Return whether nothing is recorded any more."""
        return not self._supervisor.is_open

    @property
    def is_read(self) -> bool:
        """Return whether whoever iterates keeps up."""
        return len(self._outcomes) < self.settings.in_flight

    def spawn(self, work: Coroutine[Any, Any, None]) -> None:
        """Have `work` done; whatever it raises ends the batch."""
        if self._supervisor.is_open:
            self._supervisor.spawn(work, on_end=self._ended)
        else:
            work.close()

    def run_inline(self, work: Coroutine[Any, Any, None]) -> None:
        """Have a start made, in a task of the pool's: it goes on when the batch is over. Raises `PoolClosed`."""
        self._inline_tasks.add(self._pool.caller.run_inline(work, self._put_down))

    def _put_down(self, task: "asyncio.Task[Any]") -> None:
        self._inline_tasks.discard(task)
        self._ended(task)

    def moved(self) -> None:
        """Note that something changed: let each part go on, and see whether it is all over."""
        if self.is_over or self._is_moving:
            return
        if not self.is_stopping:
            self._is_moving = True  # what this sets off may come here again
            try:
                self._follower.attach_nowait()
                self._starter.start_nowait()
                self._intake.make_room()
            finally:
                self._is_moving = False
        is_quiet = not (self._recorder.asked or self._starter.sending)
        if is_quiet and (self.is_stopping or (self._intake.is_done and not self._follower.is_busy)):
            self._end_now()

    def fail(self, error: Exception) -> None:
        """End the batch with `error`, once what is out was recorded as far as that goes."""
        if self.error is None:
            self.error = error
            self.stop(self.settings.grace)

    def tell(self, outcome: Outcome) -> None:
        """Return the outcome of a row that was in flight; its place is free."""
        self.in_flight -= 1
        self._states[outcome.state] += 1
        self._give(outcome)

    def replay(self, outcome: Outcome) -> None:
        """Return the outcome of a row that was not in flight in this run."""
        self._replayed += outcome.is_replayed
        self._states[outcome.state] += 1
        self._give(outcome)

    def refuse(self, key: str, error: Exception) -> None:
        """Return an outcome for what is no row to be started."""
        self._faulty += 1
        self._outcomes.append(Outcome(key=key, state=RowState.REFUSED, error=error))
        self._wake()

    def _give(self, outcome: Outcome) -> None:
        self.active.discard(outcome.key)
        self._outcomes.append(outcome)
        self._wake()

    def _wake(self) -> None:
        if self._reader is not None and not self._reader.done():
            self._reader.set_result(None)

    def _end_now(self) -> None:
        if not self.is_over:
            self.is_over = self.is_stopping = True
            self._starter.close()
            self._follower.close()
            if not self._end.done():
                self._end.set_result(None)
            self._wake()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _ended(self, task: "asyncio.Task[Any]") -> None:
        """Note that a task is over."""
        if task.cancelled():
            if not self.is_over:  # what the task had in hand would be waited for in vain
                self.fail(self.interruption())
        elif (fault := task.exception()) is not None:
            self.fail(fault if isinstance(fault, Exception) else AgentsError(f"ended by {fault!r}"))
        self.moved()

    def interruption(self) -> Exception:
        """Say why a task was cancelled: the pool is closing, or somebody cancels what is not theirs."""
        try:
            self._pool.ensure_open()
        except PoolClosed as error:
            return error
        return AgentsError("a task of the batch was cancelled from outside")
