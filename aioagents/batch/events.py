"""The events of a batch: what its core is informed of. Pure.

Each event is a method that updates the rows and asks for changes to be recorded; what to do next is decided in
`core.py`. Decisions use `now`, the monotonic time; `utc` is only copied into changes.

Read `states.py` first: the phases of a row and their table. `intake` has the rows that come in, `slots` limits how
many are being sent, `backlog` has the changes to be recorded, and `outbox` the commands and outcomes that go out.
"""

import math
from collections import OrderedDict, deque
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from datetime import datetime

from ..errors import AgentsError, NotSent, PoolClosed
from ..model import Run
from ..polling import RunHandle
from . import states
from .backlog import Backlog
from .cancelling import Cancelling
from .intake import Intake
from .outbox import Outbox
from .outcome import Outcome
from .plan import check_delay, classify, ended, no_delay, unstarted
from .record import Change, Record, RowState
from .settings import BatchSettings
from .slots import Slots
from .states import IN_FLIGHT_PHASES, Emit, Phase, Row

_NOBODY: Mapping[str, Exception] = {}


class BatchEvents:
    """Keeps the rows of a running batch up to date with what happened to them.

    `retry_delay` returns how long a start that was refused has to wait for a slot of the vendor's, None if it was
    refused for another reason (`RunClient.retry_delay`). With `reports_found`, rows of the input that need no start
    are reported by `Found`. The same core serves an endless input, and rows that others may take over (`released`).
    """

    def __init__(
        self,
        settings: BatchSettings,
        *,
        vendor: str = "",
        retry_delay: Callable[[AgentsError, int], float | None] = no_delay,
        reports_found: bool = False,
    ) -> None:
        self._settings = settings
        self._vendor = vendor
        self._retry_delay = retry_delay
        self._outbox = Outbox()
        self._backlog = Backlog()
        #: Takes the events of rows that come in.
        self.intake = Intake(settings, self._outbox, self._backlog, reports_found=reports_found)
        self._slots = Slots(most=settings.sending, outage=settings.outage, rate=settings.starts_per_second)
        self._cancelling = Cancelling(settings.sending)
        self._in_flight = 0
        self._starts = 0
        self._recorded: deque[Row] = deque()  # on disk as SENDING, and to be sent
        self._deadlines: OrderedDict[Row, float] = OrderedDict()  # in order, since all have the same time
        self._ends_at = math.inf  # once it is stopping
        self._wake_at = math.inf
        self._cancels_unsent = False
        self._is_closed = False
        self.is_stopping = False
        self.is_over = False
        self.error: Exception | None = None

    # The journal

    def claimed(self, records: Sequence[Record], utc: datetime) -> None:
        """Take the journal's answer to `Claim`: a record for each row, in order."""
        if not self.is_over:
            self.intake.claimed(records, utc)

    def claim_failed(self, error: Exception, now: float) -> None:
        """Note that rows could not be claimed; TypeError and ValueError are one row's own fault."""
        if isinstance(error, TypeError | ValueError):
            self.intake.claim_failed(error)
        else:
            self.fail(error, now)

    def recorded(self, now: float, *, refused: Mapping[str, Exception] = _NOBODY) -> None:
        """Take the journal's answer to `Save`: all is recorded but for rows `refused`, which another owner has."""
        for row in self._backlog.answered():
            error = refused.get(row.key) if refused else None
            if error is None:
                self._answered(row, now)
            else:
                self._lose(row, error)

    def record_failed(self, error: Exception, now: float) -> None:
        """Note that the journal failed: the changes of `Save` are not recorded, and nothing more is started."""
        self.fail(error, now)
        for row in self._backlog.failed():
            self._not_recorded(row)

    def record_lost(self, error: Exception) -> None:
        """Note that `Save` was cancelled and has no answer: its changes count as not recorded."""
        for row in self._backlog.answered():
            row.error = row.error or error
            self._not_recorded(row)

    def _answered(self, row: Row, now: float) -> None:
        """Move on a row whose change is recorded; its phase says which change that was."""
        phase = row.phase
        if phase is Phase.RECORDING:
            row.move(Phase.RECORDED)
            self._recorded.append(row)
        elif phase is Phase.CONFIRMING:
            self._starts += 1
            self._follow(row, now)
        elif phase in {Phase.ENDING, Phase.ENDING_AT_ONCE}:
            assert row.run is not None  # noqa: S101 - the phase says so
            self._starts += phase is Phase.ENDING_AT_ONCE
            self._report(row, Outcome.of_run(row.key, row.target, row.run, is_cancelled=row.is_cancelled))
        elif phase is Phase.FAILING:
            self._report(row, Outcome(key=row.key, state=row.state, target=row.target, error=row.error))
        elif phase is Phase.RETURNING:
            self._in_flight -= 1
            row.move(Phase.READY)
            self.intake.ready.append(row)  # behind others, which may have other targets
        else:
            self.intake.settled(row, is_recorded=True)

    def _not_recorded(self, row: Row) -> None:
        """Move on a row whose change is not recorded."""
        phase = row.phase
        if phase is Phase.RECORDING:  # it is PLANNED still, and is not sent
            self._slots.free()
            self._forget(row)
        elif phase is Phase.ENDING:  # it is STARTED still: its end is seen again when the batch is run again
            self._forget(row)
        elif phase in {Phase.LOST, Phase.REPLANNING}:
            self.intake.settled(row, is_recorded=False)
        else:
            row.error = row.error or self.error
            self._report_sending(row)

    def _lose(self, row: Row, error: Exception) -> None:
        """Forget a row that another owner has now, which reports its outcome; report a run that began here."""
        if row.phase is Phase.RECORDING:
            self._slots.free()
        if row.phase in {Phase.CONFIRMING, Phase.ENDING_AT_ONCE, Phase.FAILING}:
            row.error = row.error or error
            self._outbox.abandon(row)
        if row.phase in {Phase.LOST, Phase.REPLANNING}:
            self.intake.settled(row, is_recorded=False)
        else:
            self._forget(row)

    # Starts

    def start_ended(self, row: Row, result: RunHandle | Run | Exception, now: float, utc: datetime) -> None:
        """Note that the client's start returned a handle or a run, or raised an error.

        A run that has not ended, which no client should return, is attached to by its reference.
        """
        if isinstance(result, Exception):
            row.error = result
            if isinstance(result, NotSent | PoolClosed):
                row.sent_at = None
        elif isinstance(result, Run):
            row.run, row.ref = result, result.ref
        else:
            row.handle, row.ref = result, result.ref
        if self._is_closed:
            self._outbox.abandon(row)
            return
        self._slots.free()
        if isinstance(result, Exception):
            self._start_failed(row, result, now, utc)
            return
        self._slots.started()
        end = row.last
        if end is not None and end.state.is_terminal:
            row.run = end
            row.move(Phase.ENDING_AT_ONCE)
            self._backlog.add(row, ended(row.key, end, ref=row.ref))
            return
        row.move(Phase.CONFIRMING)
        self._backlog.add(row, Change(key=row.key, state=RowState.STARTED, ref=row.ref, at=utc))

    def _start_failed(self, row: Row, error: Exception, now: float, utc: datetime) -> None:
        if self.is_stopping and isinstance(error, NotSent):  # cancelled before it was sent, most likely
            self._return(row, utc)
            return
        delay = self._delay_after(error, now)
        if delay is not None:
            self._slots.refused(delay, now)
            self._return(row, utc)
            return
        kind = classify(error)
        if kind.is_trouble:
            self._slots.failed(row, error, now)
        if kind.stops:
            self.fail(error, now)
        row.state = kind.state
        row.move(Phase.FAILING)
        self._backlog.add(row, unstarted(row.key, kind.state, error, at=utc))

    def _delay_after(self, error: Exception, now: float) -> float | None:
        if not isinstance(error, AgentsError):
            return None
        try:
            return check_delay(self._retry_delay(error, self._slots.refusals))
        except Exception as fault:  # noqa: BLE001 - of a client's code: the row has its outcome all the same
            self.fail(fault, now)
            return None

    def start_lost(self, row: Row, error: Exception) -> None:
        """Note that the client's own code was cancelled, or broke, during a start: it may have been sent."""
        row.error = error
        if self._is_closed:
            self._outbox.abandon(row)
        else:
            self._slots.free()
            self._report_sending(row)

    def start_unsent(self, row: Row, error: Exception, now: float, utc: datetime) -> None:
        """Note that the client's start was never called, which ends the batch."""
        self.fail(error, now)
        if not self._is_closed:
            self._slots.free()
            self._return(row, utc)

    def _return(self, row: Row, utc: datetime) -> None:
        """Ask to record a row as PLANNED again: it was certainly not started. Its slot is free already."""
        row.sent_at = row.error = None
        row.move(Phase.RETURNING)
        self._backlog.add(row, Change(key=row.key, state=RowState.PLANNED, at=utc))

    # Runs

    def run_ended(self, row: Row, end: Run | Exception, now: float, *, is_cancelled: bool = False) -> None:
        """Note that the run of a row has ended, or that it cannot be followed any more.

        `is_cancelled` says that the vendor was asked to cancel it.
        """
        if row.phase is not Phase.FOLLOWED or self.is_over:
            return
        self._deadlines.pop(row, None)
        row.unfollow = None
        if isinstance(end, Run):
            row.run, row.is_cancelled = end, is_cancelled
            self._cancelling.forget(row)
            row.move(Phase.ENDING)
            self._backlog.add(row, ended(row.key, end, is_cancelled=is_cancelled))
            return
        self._report_started(row, end)
        if isinstance(end, PoolClosed):
            self.fail(end, now)

    def cancel_ended(self, row: Row, error: Exception | None, now: float) -> None:
        """Note that the vendor was asked to cancel the run of a row; with an `error` the row stays STARTED."""
        is_reported = self._cancelling.ended(row, error, now)
        if error is not None and is_reported and not self.is_over:
            self._deadlines.pop(row, None)
            self._outbox.add(states.Unfollow(row))
            self._report_started(row, error)

    def released(self, keys: Collection[str]) -> None:
        """Note that rows belong to another owner from now on: those that are not SENDING yet are forgotten."""
        self.intake.release(keys)

    # The reader

    def taken(self) -> bool:
        """Note that the reader took an outcome; return whether reading and starting may continue because of it."""
        self._outbox.unread -= 1
        return self._outbox.unread == self._settings.in_flight - 1

    def left(self, unread: Iterable[Emit]) -> None:
        """Note that the reader has left without taking the outcomes in `unread`."""
        self._outbox.leave(unread)

    def stop(self, grace: float, now: float, *, cancel: bool = False) -> None:
        """Start nothing more; end once all starts are recorded, or after `grace` seconds, which may be shortened.

        With `cancel` all runs that are followed, or come to be, are cancelled first.
        """
        if cancel:
            self._cancelling.begin((*self.intake.active.values(), *self.intake.resumed.values()))
        self._cancels_unsent |= not self.is_stopping
        self.is_stopping = True
        self._ends_at = min(self._ends_at, now + grace)

    def fail(self, error: Exception, now: float) -> None:
        """End with `error`, once the starts in progress are recorded or the grace is over. The first error wins."""
        if self.error is None:
            self.error = error
            self.stop(self._settings.grace, now)

    def woken(self) -> None:
        """Note that the time of the last `WakeAt` has come."""
        self._wake_at = math.inf

    def close(self) -> None:
        """End without waiting for the journal: changes that it has not answered count as not recorded."""
        self.end()
        self._outbox.is_left = self._is_closed = True
        for row in self._backlog.give_up():
            self._not_recorded(row)

    # Steps of a row

    def _follow(self, row: Row, now: float) -> None:
        row.move(Phase.FOLLOWED)
        if self.is_over:
            return  # its run goes on
        if self._settings.timeout is not None:
            self._deadlines[row] = now + self._settings.timeout
        self._outbox.add(states.Follow(row))
        self._cancelling.add(row)

    def _report(self, row: Row, outcome: Outcome) -> None:
        self._forget(row)
        self._outbox.emit(outcome)

    def _report_started(self, row: Row, error: Exception) -> None:
        """Report a row whose run is not followed any more."""
        self._report(row, _left(row, RowState.STARTED, error))

    def _report_sending(self, row: Row) -> None:
        """Report a row that the journal still has as SENDING."""
        self._forget(row)
        self._outbox.emit(_left(row, RowState.SENDING, row.error), row)

    def _forget(self, row: Row) -> None:
        self._in_flight -= row.phase in IN_FLIGHT_PHASES
        self._cancelling.forget(row)
        self.intake.forget(row)

    def end(self) -> None:
        """End the iteration. Changes asked for so far are still recorded; runs go on."""
        if self.is_over:
            return
        self.is_over = self.is_stopping = True
        self._deadlines.clear()
        for row in (*self.intake.active.values(), *self.intake.resumed.values()):
            if row.phase is Phase.FOLLOWED:
                self._outbox.add(states.Unfollow(row))
        self._outbox.add(states.End(self.error))


def _left(row: Row, state: RowState, error: Exception | None) -> Outcome:
    """Return the outcome of a row that is not settled."""
    return Outcome(key=row.key, state=state, target=row.target, ref=row.ref, run=row.last, error=error)
