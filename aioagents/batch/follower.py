"""Follows runs to their end without a task for each, and has ends recorded many at a time."""

from collections import OrderedDict, deque
from collections.abc import Callable
from typing import TYPE_CHECKING

from attrs import define

from ..contract import RunClient
from ..errors import PoolClosed, WaitTimeout
from ..model import Run, RunRef
from ..polling import RunHandle
from .outcome import Outcome
from .plan import ended
from .record import Record, RowState

if TYPE_CHECKING:
    from ..clock import Timer
    from .flow import Flow


@define(eq=False)
class _Watched:
    """A row whose run is followed; `leave` ends that. The handle is kept: deliveries wake what is held."""

    follower: "Follower"
    key: str
    target: str
    ref: RunRef | None
    handle: RunHandle | None = None
    leave: Callable[[], None] | None = None

    def over(self, end: Run | Exception) -> None:
        """Note that the run is over, or not followed any more."""
        self.follower.over(self, end)

    @property
    def last(self) -> Run | None:
        return None if self.handle is None else self.handle.last


class Follower:
    """The rows that are STARTED. Who follows them no more leaves them so: their runs go on."""

    def __init__(self, flow: "Flow", client: RunClient) -> None:
        self._flow = flow
        self._client = client
        self._waiting: deque[Record] = deque()
        self._watched: dict[str, _Watched] = {}
        # Begun in the order of their ends, since all have the same time: one timer does for them.
        self._deadlines: OrderedDict[str, float] = OrderedDict()
        self._timer: Timer | None = None
        self.resumed = 0

    @property
    def is_busy(self) -> bool:
        """Return whether any run is followed, or is going to be."""
        return bool(self._watched or self._waiting)

    @property
    def waiting(self) -> int:
        """Count the runs that are to be followed, once there are places."""
        return len(self._waiting)

    def resume(self, record: Record) -> None:
        """Follow a run that an earlier run of the batch started, once there is a place."""
        self.resumed += 1
        self._waiting.append(record)

    def attach_nowait(self) -> None:
        """Follow runs that wait for that, as far as there are places."""
        while self._waiting and self._flow.may_start:
            record = self._waiting.popleft()
            self._flow.in_flight += 1
            watched = _Watched(self, record.key, record.target, record.ref)
            try:
                watched.handle = self._handle(record)
            except Exception as error:  # noqa: BLE001 - one run that cannot be followed holds up no other
                self._watched[watched.key] = watched
                self.over(watched, error)
            else:
                self._watch(watched, watched.handle)

    def _handle(self, record: Record) -> RunHandle:
        if record.ref is None:
            raise ValueError(f"the journal has no reference of the run that {record.key!r} started")
        return self._client.attach(record.ref)

    def follow(self, key: str, target: str, handle: RunHandle) -> None:
        """Follow a run whose start was recorded a moment ago."""
        if not self._flow.is_over:
            self._watch(_Watched(self, key, target, handle.ref, handle), handle)

    def close(self) -> None:
        """Follow nothing any more."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        watched, self._watched = self._watched, {}
        for each in watched.values():
            if each.leave is not None:
                each.leave()

    def _watch(self, watched: _Watched, handle: RunHandle) -> None:
        self._watched[watched.key] = watched
        timeout = self._flow.settings.timeout
        if timeout is not None:
            self._deadlines[watched.key] = self._flow.clock.now() + timeout
            self._set_timer()
        try:
            watched.leave = handle.add_done_callback(watched.over)
        except Exception as error:  # noqa: BLE001 - the pool is closing, or a cadence of the user's is broken
            self.over(watched, error)

    def over(self, watched: _Watched, end: Run | Exception) -> None:
        """Note that a run is over, or that it is not followed any more."""
        if self._watched.pop(watched.key, None) is None:
            return
        self._deadlines.pop(watched.key, None)
        if isinstance(end, Run):
            self._flow.post((ended(watched.key, end),), self._told, watched, end)
            return
        self._flow.tell(_outcome(watched, end))
        if isinstance(end, PoolClosed):
            self._flow.fail(end)
        self._flow.moved()

    def _told(self, is_recorded: bool, watched: _Watched, end: Run) -> None:  # noqa: FBT001 - as the recorder calls it
        if is_recorded:  # else it stays STARTED, and is seen to have ended when the batch is run again
            self._flow.tell(_outcome(watched, end))

    def _set_timer(self) -> None:
        if self._timer is None and self._deadlines:
            self._timer = self._flow.clock.call_at(next(iter(self._deadlines.values())), self._on_time)

    def _on_time(self) -> None:
        self._timer = None
        now = self._flow.clock.now()
        while self._deadlines:
            key, deadline = next(iter(self._deadlines.items()))
            if deadline > now:
                break
            watched = self._watched[key]
            if watched.leave is not None:
                watched.leave()
            self.over(watched, self._timed_out(watched))
        self._set_timer()

    def _timed_out(self, watched: _Watched) -> WaitTimeout:
        last = watched.last
        seen = "not seen yet" if last is None else f"last seen as {last.status}"
        return WaitTimeout(
            f"run {watched.ref} did not end within {self._flow.settings.timeout:g} s; {seen}; it goes on",
            vendor=self._client.vendor,
            ref=watched.ref,
            run=last,
        )


def _outcome(watched: _Watched, end: Run | Exception) -> Outcome:
    if isinstance(end, Run):
        return Outcome.of_run(watched.key, watched.target, end)
    return Outcome(
        key=watched.key,
        state=RowState.STARTED,
        target=watched.target,
        ref=watched.ref,
        run=watched.last,
        error=end,
    )
