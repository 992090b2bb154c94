"""Delivering webhooks to AGH Runtime: signed, never twice, and followed to the end of the run they begin.

The server answers when the run has ended, and cancels the run when the connection is closed before. It takes a
delivery id once within 300 seconds, so that a lost delivery is sent again under the same id with a new signature
(AGH automation API, section 9).
"""

from collections.abc import Callable
from typing import Final

from attrs import field, frozen

from ...calls import PendingStart
from ...clock import Clock, sleep
from ...errors import AgentsError, Conflict, NotSent, ReplyLost
from ...model import Purpose, Reply, Request, Secret
from ...polling import RunHandle
from .records import AutomationRun, read_run
from .refusals import REPLAY, tell_conflict
from .signing import signature
from .wire import REFUSED, member_in

CALL: Final = "webhooks.deliver"
MOST: Final = 1_048_576  # bytes of a body that the server takes
_REMEMBERED: Final = 300.0  # seconds for which the server knows a delivery id
_SLACK: Final = 15.0
_FIRST_GAP: Final = 1.0
_FACTOR: Final = 1.5
_LONGEST_GAP: Final = 30.0
_REPLY_GRACE: Final = 5.0  # seconds that the answer may take once the run was seen to have ended
_GAPS_AFTER: Final = (0.0, 0.5, 1.0, 2.0)


@frozen(kw_only=True)
class Delivery:
    """What became of a delivery.

    `matched` counts the triggers that it set off, 0 or 1: 0 says that the trigger's filter did not let it through,
    None that the server did not tell. `runs` are the records as last told, `run` follows the run where its id is
    known. `is_replay` says that a delivery of this id had arrived before, which then was the one that counted.
    """

    delivery_id: str
    matched: int | None
    runs: tuple[AutomationRun, ...] = ()
    run: RunHandle | None = field(default=None, repr=False)
    is_replay: bool = False


@frozen(kw_only=True)
class Parcel:
    """A delivery that can be signed and sent, more than once."""

    url: str
    body: bytes = field(repr=False)
    secret: Secret
    delivery_id: str

    def request(self, clock: Clock) -> Request:
        """Sign it at the present moment."""
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


class Postman:
    """Sends one parcel until it arrived, and finds its run where the answer does not tell.

    `run` is the handle on the run that the delivery makes, known beforehand where the trigger's id is. After
    `timeout` seconds the connection is closed.
    """

    def __init__(
        self,
        parcel: Parcel,
        clock: Clock,
        *,
        handle: Callable[[AutomationRun], RunHandle],
        run: RunHandle | None,
        timeout: float | None,
    ) -> None:
        self._parcel = parcel
        self._clock = clock
        self._handle = handle
        self._run = run
        self._timeout = timeout
        self._first_sent_at: float | None = None

    def request(self) -> Request:
        """Return the first request."""
        return self._parcel.request(self._clock)

    def sign(self, _: Request) -> Request:
        """Sign it anew once its turn has come: a signature holds for five minutes, and a turn may take longer."""
        if self._first_sent_at is None:
            self._first_sent_at = self._clock.now()
        return self._parcel.request(self._clock)

    def renew(self) -> Request | None:
        """Return the same delivery once more; None when the server may have forgotten its id by now."""
        is_late = (
            self._first_sent_at is not None and self._clock.now() - self._first_sent_at > _REMEMBERED - _SLACK
        )
        return None if is_late else self._parcel.request(self._clock)

    def read(self, reply: Reply) -> Delivery:
        """Read the answer. Raises DecodeError."""
        found = member_in(reply, "result", CALL)
        found = found if isinstance(found, dict) else {}
        raw = found.get("runs")
        runs = tuple(
            read_run(each, call=CALL, path=f"$.result.runs[{index}]")
            for index, each in enumerate(raw if isinstance(raw, list) else ())
        )
        matched = found.get("matched")
        return Delivery(
            delivery_id=self._parcel.delivery_id,
            matched=matched if isinstance(matched, int) else len(runs),
            runs=runs,
            run=self._handle(runs[0]) if runs else None,
        )

    def advice(self) -> str:
        """Say how to find out later."""
        if self._run is not None:
            return f"Its run is {self._run.id} if there is one: agh.runs.get tells."
        return (
            f"Deliver it again with delivery_id={self._parcel.delivery_id!r} within 300 seconds: a second one is"
            " refused. With trigger_id the run can be found."
        )

    async def find(self, pending: PendingStart[Delivery]) -> Delivery:
        """Return the delivery when its run was seen to have ended, and the answer did not come all the same.

        Raises `ReplyLost` once the time is up that the connection was to be kept, `NotSent` where it never was sent.
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

    async def confirm(self, result: Delivery) -> Delivery:
        """Return the result as it is."""
        return result

    async def recover(self, error: AgentsError, pending: PendingStart[Delivery]) -> Delivery | None:
        """Find the run after an answer that hides it, or none; a replay says that it has arrived."""
        if isinstance(error, Conflict):
            tell_conflict(error)
        is_replay = isinstance(error, Conflict) and error.reason == REPLAY
        if not (pending.is_sent or is_replay):
            return None
        for gap in _GAPS_AFTER if self._run is not None else ():
            await sleep(self._clock, gap)
            if self._run is not None and await self._is_there():
                return self._found(self._run, is_replay=is_replay)
        if is_replay:
            return Delivery(delivery_id=self._parcel.delivery_id, matched=None, run=self._run, is_replay=True)
        return None

    def _found(self, run: RunHandle, *, is_replay: bool = False) -> Delivery:
        record = run.last.raw["run"] if run.last is not None else None
        runs = () if record is None else (read_run(record, call=CALL),)
        return Delivery(
            delivery_id=self._parcel.delivery_id, matched=1, runs=runs, run=run, is_replay=is_replay
        )

    async def _is_there(self) -> bool:
        """Return whether the run can be read. What keeps it from being read leaves it open."""
        try:
            if self._run is not None:
                await self._run.poll()
        except AgentsError:
            return False
        return self._run is not None

    async def _has_ended(self) -> bool:
        last = self._run.last if self._run is not None and await self._is_there() else None
        return last is not None and last.state.is_terminal
