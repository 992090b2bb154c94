"""Starts rows, each once: no start leaves before the journal has it on disk that it may have left."""

import asyncio
from datetime import timedelta
from typing import TYPE_CHECKING, Final

from ..clock import Timer
from ..contract import BatchRow, RunClient
from ..errors import AgentsError, NotSent, PoolClosed
from ..observe import StartAbandoned
from ..polling import RunHandle
from ..retry import RetryPolicy
from ..transport import RateLimiter
from .outcome import Outcome
from .plan import judge, unstarted
from .record import Change, RowState

if TYPE_CHECKING:
    from .flow import Flow
    from .follower import Follower
    from .intake import Intake

#: So many failures in a row look like an outage: rows are then tried one at a time, until one is started.
_OUTAGE: Final = 8


class Starter:
    """Has rows recorded as SENDING, at most `sending` of them, and starts each in a task of its own.

    A row that was started frees its place in the very record that says so. One whose start failed for a reason that
    may pass keeps its place for a while: an outage must not be answered by running through the whole input.
    """

    def __init__(self, flow: "Flow", client: RunClient, intake: "Intake", follower: "Follower") -> None:
        self._flow = flow
        self._client = client
        self._intake = intake
        self._follower = follower
        self._backoff = RetryPolicy()
        rate = flow.settings.starts_per_second
        # Rows take their turn before they are SENDING, so that few are at any time; and once more when that is on
        # disk, which takes now longer, now shorter, since it is the starts that are to be evenly spaced.
        self._turns = None if rate is None else (RateLimiter(rate), RateLimiter(rate))
        self._timer: Timer | None = None
        self._failures = 0  # since a row was started last
        self._refusals = 0  # for want of a slot, since then
        self._probe: BatchRow | None = None  # the one row that is tried during an outage
        self._probes = 0  # that failed
        self._waiting: set[asyncio.Future[None]] = set()  # for their second turn
        self._resting = 0
        self._rests: set[Timer] = set()
        #: Rows that are SENDING, or about to be.
        self.sending = 0
        self.starts = 0

    def start_nowait(self) -> None:
        """Have rows started, as far as there are rows, places and time."""
        ready = self._intake.ready
        while ready and self._has_place and self._flow.may_start and self._is_due():
            self.sending += 1
            self._flow.in_flight += 1
            row = ready.popleft()
            self._probe = row if self._is_outage else None
            change = Change(key=row.key, state=RowState.SENDING, at=self._flow.clock.utcnow())
            self._flow.post((change,), self._cleared, row)

    def close(self) -> None:
        """Set no timer any more. May be called twice."""
        for timer in (self._timer, *self._rests):
            if timer is not None:
                timer.cancel()
        self._timer = None
        self._rests.clear()

    @property
    def _has_place(self) -> bool:
        most = 1 if self._is_outage else self._flow.settings.sending
        return self.sending + self._resting < most

    @property
    def _is_outage(self) -> bool:
        return self._failures >= _OUTAGE

    def _is_due(self) -> bool:
        """Take a turn if the moment for one more start has come; else be back when it does."""
        if self._turns is None:
            return True
        now = self._flow.clock.now()
        rate_limiter = self._turns[0]
        if rate_limiter.ready_at > now:
            if self._timer is None:
                self._timer = self._flow.clock.call_at(rate_limiter.ready_at, self._on_time)
            return False
        rate_limiter.take(now)
        return True

    def _on_time(self) -> None:
        self._timer = None
        self._flow.moved()

    # One row

    def _cleared(self, is_recorded: bool, row: BatchRow) -> None:  # noqa: FBT001 - as the recorder calls it
        """Begin the start of a row, now that the journal has it that it may have left."""
        if not is_recorded:
            self.sending -= 1
            self._flow.in_flight -= 1
        elif self._flow.is_stopping:
            self._put_back(row)
        else:
            try:
                self._flow.run_inline(self._start(row))
            except PoolClosed as error:
                self._put_back(row)
                self._flow.fail(error)

    async def _start(self, row: BatchRow) -> None:
        if self._turns is not None:
            try:
                await self._wait_for_turn(self._turns[1])
            except asyncio.CancelledError:  # by the pool that is closing, most likely
                self._put_back(row)
                raise
        if self._flow.is_stopping:
            self._put_back(row)
            return
        began_at = self._flow.clock.now()
        try:
            handle = await self._client.start(row)
        except asyncio.CancelledError:  # amid what the pool does not know: it may have been sent
            self.sending -= 1
            self._told(False, row, RowState.SENDING, self._flow.interruption())  # noqa: FBT003 - as the recorder does
            raise
        except Exception as error:  # noqa: BLE001 - each is told as this row's outcome
            if self._flow.is_closed:
                self._abandon(row, began_at, None, error)
            else:
                self._failed(row, error)
            return
        if self._flow.is_closed:
            self._abandon(row, began_at, handle, None)
            return
        self.sending -= 1  # it is recorded together with whoever takes the place
        self._failures = self._refusals = self._probes = 0
        change = Change(key=row.key, state=RowState.STARTED, ref=handle.ref, at=self._flow.clock.utcnow())
        self._flow.post((change,), self._started, row, handle, began_at)
        if not self._flow.is_stopping:
            self.start_nowait()

    def _abandon(
        self, row: BatchRow, began_at: float, handle: RunHandle | None, error: Exception | None
    ) -> None:
        """Tell what became of a start that took longer than the batch waited for it; the journal has it SENDING."""
        if isinstance(error, NotSent | PoolClosed):
            return  # nothing did
        clock = self._flow.clock
        self._client.pool.caller.abandon(
            StartAbandoned(
                vendor=self._client.vendor,
                target=row.target,
                sent_at=clock.utcnow() - timedelta(seconds=clock.now() - began_at),
                run=None if handle is None else handle.accepted or handle.last,
                error=error if error is None or isinstance(error, AgentsError) else _foreign(error),
            )
        )

    def _put_back(self, row: BatchRow) -> None:
        """Have a row that surely was not started take its turn once more, now or when the batch is run again."""
        self.sending -= 1
        change = Change(key=row.key, state=RowState.PLANNED, at=self._flow.clock.utcnow())
        self._flow.post((change,), self._was_put_back, row)

    def _was_put_back(self, is_recorded: bool, row: BatchRow) -> None:  # noqa: FBT001 - as the recorder calls it
        if is_recorded:
            self._flow.in_flight -= 1
            self._intake.ready.append(row)  # behind others, which may have other targets
        elif self._flow.error is not None:
            self._told(is_recorded, row, RowState.SENDING, self._flow.error)

    async def _wait_for_turn(self, rate_limiter: RateLimiter) -> None:
        now = self._flow.clock.now()
        turn_at = max(now, rate_limiter.ready_at)
        rate_limiter.take(turn_at)
        if turn_at > now:
            turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._waiting.add(turn)
            timer = self._flow.clock.call_at(turn_at, lambda: _wake(turn))
            try:
                await turn
            finally:
                timer.cancel()
                self._waiting.discard(turn)

    def stop(self) -> None:
        """Have rows that wait for their turn put back."""
        for turn in self._waiting:
            _wake(turn)

    def _started(
        self,
        is_recorded: bool,  # noqa: FBT001 - as above
        row: BatchRow,
        handle: RunHandle,
        began_at: float,
    ) -> None:
        flow = self._flow
        if is_recorded:
            self.starts += 1
            self._follower.follow(row.key, row.target, handle)
            return
        # The journal will call the row unknown: this is where its run can still be found.
        if flow.is_closed:
            self._abandon(row, began_at, handle, None)
            return
        flow.tell(
            Outcome(
                key=row.key,
                state=RowState.SENDING,
                target=row.target,
                ref=handle.ref,
                run=handle.last,
                error=flow.error,
            )
        )

    def _failed(self, row: BatchRow, error: Exception) -> None:
        if self._flow.is_stopping and isinstance(error, NotSent):  # called off, most likely
            self._put_back(row)
            return
        delay = self._delay(error)
        if delay is not None:
            self._rest(delay)
            self._put_back(row)
            return
        verdict = judge(error)
        if verdict.is_trouble:
            self._failures += 1
            self._probes += row is self._probe
            asked = error.retry_after if isinstance(error, AgentsError) else None
            rest = self._backoff.backoff(1 + self._probes, chance=1.0)
            self._rest(max(rest, min(asked or 0.0, self._backoff.patience)))
        if verdict.stops:
            self._flow.fail(error)
        self.sending -= 1
        change = unstarted(row.key, verdict.state, error, at=self._flow.clock.utcnow())
        self._flow.post((change,), self._told, row, verdict.state, error)

    def _told(self, is_recorded: bool, row: BatchRow, state: RowState, error: Exception) -> None:  # noqa: FBT001
        state = state if is_recorded else RowState.SENDING
        if self._flow.is_closed:
            self._abandon(row, self._flow.clock.now(), None, error)
            return
        self._flow.tell(Outcome(key=row.key, state=state, target=row.target, error=error))

    def _delay(self, error: Exception) -> float | None:
        """Say for how long a place is to rest before a start that found no slot is made again; None if it is not."""
        if not isinstance(error, AgentsError):
            return None
        delay = self._client.retry_delay(error, 1 + self._refusals // self._flow.settings.sending)
        self._refusals += delay is not None
        return delay

    def _rest(self, seconds: float) -> None:
        """Leave the place of a row that was not started empty for a while."""
        if self._flow.is_over:
            return
        clock = self._flow.clock
        self._resting += 1
        timer = clock.call_at(clock.now() + seconds, lambda: self._rested(timer))
        self._rests.add(timer)

    def _rested(self, timer: Timer) -> None:
        self._rests.discard(timer)
        self._resting -= 1
        self._flow.moved()


def _wake(turn: "asyncio.Future[None]") -> None:
    if not turn.done():
        turn.set_result(None)


def _foreign(error: Exception) -> AgentsError:
    """Return the error that tells of one that no client raises on purpose."""
    ours = AgentsError(f"the start failed: {type(error).__name__}")
    ours.__cause__ = error
    return ours
