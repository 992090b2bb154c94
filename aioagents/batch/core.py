"""Decides what a batch does next. Pure: events say what happened (`events.py`), commands what to do (`states.py`).

Decisions are made in `BatchCore.commands`, in a fixed order, once for all events since the previous call.
"""

import math
from datetime import datetime

from ..errors import WaitTimeout
from . import states
from .events import BatchEvents
from .outcome import BatchStatistics
from .record import Change, RowState
from .states import IN_FLIGHT_PHASES, SENDING_PHASES, Command, Phase


class BatchCore(BatchEvents):
    """Decides which rows are claimed, recorded, started and followed, and when the batch is over."""

    # Decisions

    def commands(self, now: float, utc: datetime) -> list[Command]:
        """Make all decisions that are possible now, and return the commands to carry out, in order.

        Slots are freed first, then taken, then the changes of both are recorded in one call, so the journal never has
        more rows SENDING than `sending`.
        """
        self._leave_late_runs(now)
        self._slots.end_rests(now)
        self._send_recorded(now, utc)
        if not self.is_stopping:
            self._follow_waiting(now)
            self._take_ready(now, utc)
            self._read_on()
        elif self._cancelling.is_on:
            self._cancel_runs(now)
        changes = None if self._is_closed else self._backlog.next_call()
        if changes is not None:
            self._outbox.add(states.Save(changes))
        if not self.is_over and self._is_finished(now):
            self.end()
        self._set_wake(now)
        return self._outbox.take()

    def _leave_late_runs(self, now: float) -> None:
        """Stop following the runs whose deadline has passed; their rows stay STARTED."""
        while self._deadlines:
            row, at = next(iter(self._deadlines.items()))
            if at > now:
                return
            del self._deadlines[row]
            self._outbox.add(states.Unfollow(row))
            last, timeout = row.last, self._settings.timeout
            seen = "not seen yet" if last is None else f"last seen as {last.status}"
            words = f"run {row.ref} did not end within {timeout:g} s; {seen}; it goes on"
            self._report_started(row, WaitTimeout(words, vendor=self._vendor, ref=row.ref, run=last))

    def _send_recorded(self, now: float, utc: datetime) -> None:
        """Send the rows recorded as SENDING, as fast as the rate allows. After a stop, return all to PLANNED."""
        recorded, slots = self._recorded, self._slots
        while recorded and (self.is_stopping or slots.send_at <= now):
            row = recorded.popleft()
            if self.is_stopping:
                slots.free()
                self._return(row, utc)
            else:
                slots.sent(now)
                row.sent_at = utc
                row.move(Phase.SENT)
                self._outbox.add(states.Start(row))
        if self._cancels_unsent:
            self._cancels_unsent = False
            self._outbox.add(states.CancelUnsent())

    def _follow_waiting(self, now: float) -> None:
        """Follow runs that an earlier run of the batch started, before new rows are started."""
        waiting = self.intake.waiting
        while waiting and self._has_room:
            row = waiting.popleft()
            self._in_flight += 1
            self._follow(row, now)

    def _take_ready(self, now: float, utc: datetime) -> None:
        """Ask to record rows as SENDING, as many as slots and the rate allow."""
        ready, slots = self.intake.ready, self._slots
        while self._is_row_ready and slots.has_free and slots.ready_at <= now:
            row = ready.popleft()
            slots.take(row, now)
            self._in_flight += 1
            row.move(Phase.RECORDING)
            self._backlog.add(row, Change(key=row.key, state=RowState.SENDING, at=utc))

    def _read_on(self) -> None:
        intake = self.intake
        claim = intake.next_claim()
        if claim:
            self._outbox.add(states.Claim(claim))
        if intake.has_room_for_open():
            self._outbox.add(states.ReadOpen())
        if intake.has_room_for_input():
            self._outbox.add(states.ReadInput())

    def _cancel_runs(self, now: float) -> None:
        """Cancel the runs that are followed, and come to those that an earlier run of the batch started."""
        self._follow_waiting(now)
        if self.intake.has_room_for_open():
            self._outbox.add(states.ReadOpen())
        for row in self._cancelling.take():
            self._outbox.add(states.Cancel(row))

    @property
    def _has_room(self) -> bool:
        """Return whether one more row may be in flight; False while too many outcomes are unread."""
        return self._in_flight < self._settings.in_flight and self.intake.is_outcome_wanted

    @property
    def _is_row_ready(self) -> bool:
        """Return whether the next row needs nothing more than a free slot and the consent of the rate limiter."""
        ready = self.intake.ready
        return bool(ready) and ready[0].phase is Phase.READY and self._has_room

    def _is_finished(self, now: float) -> bool:
        if now >= self._ends_at:
            return True
        if self._backlog or self._slots.sending:
            return False
        if self._cancelling.is_on:
            return self.intake.is_open_done and self._cancelling.is_done(now)
        return self.is_stopping or (self.intake.is_done and not self._in_flight)

    def _set_wake(self, now: float) -> None:
        """Ask for commands at the next time at which something is due without a further event."""
        at = math.inf if self.is_over else self._ends_at
        if self._deadlines:
            at = min(at, next(iter(self._deadlines.values())))
        if self._recorded:
            at = min(at, self._slots.send_at)
        if self._cancelling.wake_at > now and not self.is_over:
            at = min(at, self._cancelling.wake_at)
        if not self.is_stopping and self._is_row_ready:
            at = min(at, self._slots.ready_at if self._slots.has_free else self._slots.rested_at)
        if at != self._wake_at:
            self._wake_at = at
            self._outbox.add(states.WakeAt(at))

    # Figures

    def statistics(self, begun_at: datetime) -> BatchStatistics:
        """Return the present numbers."""
        outbox, intake = self._outbox, self.intake
        return BatchStatistics(
            begun_at=begun_at,
            read=intake.rows_read,
            faulty=outbox.faulty,
            ready=len(intake.ready),
            sending=self._slots.sending,
            in_flight=self._in_flight,
            resumed=intake.rows_resumed,
            starts=self._starts,
            replayed=outbox.replayed,
            unread=outbox.unread,
            states=dict(outbox.states),
            is_stopping=self.is_stopping,
        )

    def check(self) -> None:
        """Recount from the phases of all rows. Raises AssertionError if a counter differs; for tests."""
        rows = [*self.intake.active.values(), *self.intake.resumed.values()]
        sending = sum(row.phase in SENDING_PHASES for row in rows)
        in_flight = sum(row.phase in IN_FLIGHT_PHASES for row in rows)
        assert (sending, in_flight) == (self._slots.sending, self._in_flight), (rows, self._slots.sending)  # noqa: S101
