"""Deliver webhooks to AGH Runtime: signed, never twice, and followed to the end of the run they start.

The server answers when the run has ended, and cancels the run when the connection is closed before. It accepts a
delivery id once within 300 seconds, so a lost delivery is sent again with the same id and a new signature (AGH
automation API, section 9).
"""

from collections.abc import Callable
from typing import Final

from attrs import field, frozen

from ...calls import PendingStart
from ...clock import Clock, sleep
from ...errors import AgentsError, Conflict, NotSent, ReplyLost
from ...model import Purpose, Reply, Request, Secret
from ...polling import RunHandle
from .records import CODEC, AutomationRun, read_run
from .refusals import REPLAY
from .signing import signature
from .wire import REFUSED, member_in

CALL: Final = "webhooks.deliver"
MOST: Final = 1_048_576  # bytes of a body that the server accepts
_REMEMBERED: Final = 300.0  # seconds for which the server remembers a delivery id
_SLACK: Final = 15.0
_FIRST_GAP: Final = 1.0
_FACTOR: Final = 1.5
_LONGEST_GAP: Final = 30.0
_REPLY_GRACE: Final = 5.0  # seconds that the answer may take after a poll found the end of the run
_GAPS_AFTER: Final = (0.0, 0.5, 1.0, 2.0)


@frozen(kw_only=True)
class Delivery:
    """The result of a delivery.

    `matched` is the number of triggers that it fired, 0 or 1: 0 means that the trigger's filter did not match, None
    that it is unknown. `runs` are the runs' records as last read, `run` is the run's handle where its id is known.
    `is_replay` means that a delivery of this id had arrived before, and that this one had no effect.
    """

    delivery_id: str
    matched: int | None
    runs: tuple[AutomationRun, ...] = ()
    run: RunHandle | None = field(default=None, repr=False)
    is_replay: bool = False


@frozen(kw_only=True)
class OutgoingDelivery:
    """The parts of a delivery, which is signed anew each time it is sent."""

    url: str
    body: bytes = field(repr=False)
    secret: Secret
    delivery_id: str

    def request(self, clock: Clock) -> Request:
        """Return the request, signed with the present time."""
        timestamp = int(clock.utcnow().timestamp())
        return Request(
            method="POST",
            url=self.url,
            call=CALL,
            purpose=Purpose.START,
            headers={
                "Content-Type": "application/json",
                "X-AGH-Webhook-Timestamp": str(timestamp),
                "X-AGH-Webhook-Signature": signature(self.secret, timestamp, self.body),
                "X-AGH-Webhook-Delivery-ID": self.delivery_id,
            },
            body=self.body,
            refused_by=REFUSED,
            is_long=True,
        )


class DeliverySender:
    """Sends one delivery until it arrived, and finds its run where the answer does not name it.

    `run` is the handle of the run that the delivery starts, known beforehand where the trigger's id is. After
    `timeout` seconds the connection is closed.
    """

    def __init__(
        self,
        delivery: OutgoingDelivery,
        clock: Clock,
        *,
        make_handle: Callable[[AutomationRun], RunHandle],
        run: RunHandle | None,
        timeout: float | None,
    ) -> None:
        self._delivery = delivery
        self._clock = clock
        self._make_handle = make_handle
        self._run = run
        self._timeout = timeout
        self._first_sent_at: float | None = None

    def request(self) -> Request:
        """Return the request of the first attempt."""
        return self._delivery.request(self._clock)

    def sign(self, _: Request) -> Request:
        """Return the request signed anew just before it is sent: it may have waited longer than a signature holds."""
        if self._first_sent_at is None:
            self._first_sent_at = self._clock.now()
        return self._delivery.request(self._clock)

    def next_attempt(self) -> Request | None:
        """Return the request of another attempt; None when the server may have forgotten the delivery id by now."""
        is_late = (
            self._first_sent_at is not None and self._clock.now() - self._first_sent_at > _REMEMBERED - _SLACK
        )
        return None if is_late else self._delivery.request(self._clock)

    def read(self, reply: Reply) -> Delivery:
        """Read the answer. Raises DecodeError."""
        found = member_in(reply, "result", CALL)
        found = found if isinstance(found, dict) else {}
        raw = found.get("runs")
        listed = raw if isinstance(raw, list) else []
        runs = tuple(CODEC.read(listed, list[AutomationRun], call=CALL, path="$.result.runs"))
        matched = found.get("matched")
        return Delivery(
            delivery_id=self._delivery.delivery_id,
            matched=matched if isinstance(matched, int) else len(runs),
            runs=runs,
            run=self._make_handle(runs[0]) if runs else None,
        )

    def advice(self) -> str:
        """Return how to find out later whether a run began."""
        if self._run is not None:
            return f"If it began, its run is {self._run.id}: read it with agh.runs.get."
        return (
            f"Deliver it again with delivery_id={self._delivery.delivery_id!r} within 300 seconds: a repetition is"
            " refused. With trigger_id the run can be found."
        )

    async def find_early(self, pending: PendingStart[Delivery]) -> Delivery:
        """Return the delivery when polls found the end of its run and no answer has come.

        Raises `ReplyLost` after the timeout, `NotSent` if the request was not sent by then.
        """
        began_at = self._clock.now()
        gap = _FIRST_GAP
        while True:
            left = None if self._timeout is None else self._timeout - (self._clock.now() - began_at)
            await sleep(self._clock, gap if left is None else max(min(gap, left), 0.0))
            if left is not None and left <= gap:
                kind = ReplyLost if pending.is_sent else NotSent
                raise kind(f"{CALL} was given up after {self._timeout:g} s", call=CALL)
            if self._run is not None and pending.in_flight_since is not None and await self._has_ended():
                await sleep(self._clock, _REPLY_GRACE)
                return self._found(self._run)
            gap = min(gap * _FACTOR, _LONGEST_GAP)

    async def find_start(self, pending: PendingStart[Delivery], error: AgentsError) -> Delivery | None:
        """Return the delivery after an answer that hides the run, or none, if it has arrived; else None."""
        is_replay = isinstance(error, Conflict) and error.reason == REPLAY
        if not (pending.is_sent or is_replay):
            return None
        for gap in _GAPS_AFTER if self._run is not None else ():
            await sleep(self._clock, gap)
            if self._run is not None and await self._is_there():
                return self._found(self._run, is_replay=is_replay)
        if is_replay:
            return Delivery(
                delivery_id=self._delivery.delivery_id, matched=None, run=self._run, is_replay=True
            )
        return None

    def _found(self, run: RunHandle, *, is_replay: bool = False) -> Delivery:
        record = run.last.raw["run"] if run.last is not None else None
        runs = () if record is None else (read_run(record, call=CALL),)
        return Delivery(
            delivery_id=self._delivery.delivery_id, matched=1, runs=runs, run=run, is_replay=is_replay
        )

    async def _is_there(self) -> bool:
        """Return whether the run can be read; False also where reading fails."""
        try:
            if self._run is not None:
                await self._run.poll()
        except AgentsError:
            return False
        return self._run is not None

    async def _has_ended(self) -> bool:
        last = self._run.last if self._run is not None and await self._is_there() else None
        return last is not None and last.state.is_terminal
