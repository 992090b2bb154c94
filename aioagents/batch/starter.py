"""Starts rows, each once: no start leaves before the journal has it on disk that it may have left."""

from typing import TYPE_CHECKING

from ..clock import Timer, sleep
from ..contract import BatchRow, RunClient
from ..errors import AgentsError
from ..polling import RunHandle
from ..retry import RetryPolicy
from ..transport import Pace
from .outcome import Outcome
from .plan import judge, unstarted
from .record import Change, RowState

if TYPE_CHECKING:
    from .flow import Flow
    from .follower import Follower
    from .intake import Intake


class Starter:
    """At most `sending` tasks, each with one row in hand, made when there are rows and ended when there are none.

    A task whose start failed for a passing reason rests before its next row, the longer the more often: an
    outage must not be answered by running through the whole input.
    """

    def __init__(self, flow: "Flow", client: RunClient, intake: "Intake", follower: "Follower") -> None:
        self._flow = flow
        self._client = client
        self._intake = intake
        self._follower = follower
        self._tasks = 0
        self._backoff = RetryPolicy()
        rate = flow.settings.starts_per_second
        # Rows take their turn before they are SENDING, so that few are at any time; and once more when that is on
        # disk, which takes now longer, now shorter, since it is the starts that are to be evenly spaced.
        self._turns = None if rate is None else (Pace(rate), Pace(rate))
        self._timer: Timer | None = None
        #: Rows that are SENDING, or about to be.
        self.sending = 0
        self.starts = 0

    def start_nowait(self) -> None:
        """Have rows started, as far as there are rows, places and time."""
        while self._tasks < self._flow.settings.sending:
            row = self._next()
            if row is None:
                return
            self._tasks += 1
            self._flow.spawn(self._serve(row))

    def close(self) -> None:
        """Forget the row whose turn would have come. May be called twice."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _next(self) -> BatchRow | None:
        """Take the next row if it may be started now; it then holds a place."""
        if not (self._intake.ready and self._flow.may_start):
            return None
        if self._turns is not None:
            now = self._flow.clock.now()
            pace = self._turns[0]
            if pace.ready_at > now:
                if self._timer is None:
                    self._timer = self._flow.clock.call_at(pace.ready_at, self._on_time)
                return None
            pace.take(now)
        self.sending += 1
        self._flow.in_flight += 1
        return self._intake.ready.popleft()

    def _on_time(self) -> None:
        self._timer = None
        self._flow.moved()

    async def _serve(self, row: BatchRow | None) -> None:
        """Start one row after the other, for as long as there are any."""
        failures = 0
        try:
            while row is not None:
                error = await self._start(row)
                failures = 0 if error is None else failures + 1
                if error is not None:
                    self._flow.moved()
                    await sleep(self._flow.clock, self._rest(failures, error))
                row = self._next()
                self._flow.moved()
        finally:
            self._tasks -= 1

    def _rest(self, failures: int, error: Exception) -> float:
        asked = error.retry_after if isinstance(error, AgentsError) else None
        return max(self._backoff.backoff(failures, chance=1.0), min(asked or 0.0, self._backoff.patience))

    async def _start(self, row: BatchRow) -> Exception | None:
        """Start one row and have it recorded; gives the error where it failed for a passing reason."""
        flow = self._flow
        try:
            if not await flow.record([Change(key=row.key, state=RowState.SENDING, at=flow.clock.utcnow())]):
                flow.in_flight -= 1
                return None
            if self._turns is not None:
                await self._wait_for_turn(self._turns[1])
            if flow.is_stopping:
                await flow.record([Change(key=row.key, state=RowState.PLANNED, at=flow.clock.utcnow())])
                flow.in_flight -= 1
                return None
            try:
                handle = await self._client.start(row)
            except Exception as error:  # noqa: BLE001 - each is told as this row's outcome
                return await self._failed(row, error)
            await self._started(row, handle)
            return None
        finally:
            self.sending -= 1

    async def _wait_for_turn(self, pace: Pace) -> None:
        now = self._flow.clock.now()
        turn_at = max(now, pace.ready_at)
        pace.take(turn_at)
        if turn_at > now:
            await sleep(self._flow.clock, turn_at - now)

    async def _started(self, row: BatchRow, handle: RunHandle) -> None:
        flow = self._flow
        change = Change(key=row.key, state=RowState.STARTED, ref=handle.ref, at=flow.clock.utcnow())
        if await flow.record([change]):
            self.starts += 1
            self._follower.follow(row.key, row.target, handle)
            return
        # The journal will call the row unknown: this is where its run can still be found.
        flow.tell(
            [
                Outcome(
                    key=row.key,
                    state=RowState.SENDING,
                    target=row.target,
                    ref=handle.ref,
                    run=handle.last,
                    error=flow.error,
                )
            ]
        )

    async def _failed(self, row: BatchRow, error: Exception) -> Exception | None:
        flow = self._flow
        verdict = judge(error)
        change = unstarted(row.key, verdict.state, error, at=flow.clock.utcnow())
        state = verdict.state if await flow.record([change]) else RowState.SENDING
        flow.tell([Outcome(key=row.key, state=state, target=row.target, error=error)])
        if verdict.stops:
            flow.fail(error)
        return error if verdict.state is RowState.PLANNED else None
