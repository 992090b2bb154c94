"""Automation runs in progress: the limits on them, their attempts, and how they end. Pure.

A dispatch is one activation with all its attempts. Manual ones have a record for each attempt; scheduled fires and
deliveries have one record, which was reserved for them.
"""

import random
from collections import Counter
from collections.abc import Callable
from enum import Enum
from functools import partial
from typing import Final

from attrs import define, field

from ....contract.fake import Refused, hex_id
from .definitions import Definition, Job
from .event_queue import EventQueue
from .runs import ENDS, History, Record
from .tasks import Tasks
from .timelines import Timeline, Timelines, end_of
from .times import write_duration, write_moment

FAILED: Final = "the agent's session ended with an error"
CUT_OFF: Final = "context canceled"
_ATTEMPTS_AHEAD: Final = 100


class ActivationKind(Enum):
    """What caused an activation."""

    MANUAL = "manual"
    FIRE = "fire"
    DELIVERY = "delivery"


@define(eq=False, kw_only=True)
class Dispatch:
    """One activation. `fault` fails each attempt before it begins; `record` is the last attempt's.

    `running` is the same while it occupies a slot. `refusal` is why there was no further attempt; `on_end` is called
    once nothing more is going to happen, unless the daemon was stopped (`is_lost`).
    """

    owner: Definition
    kind: ActivationKind
    chance: random.Random
    reserved: Record | None = None
    fault: str = ""
    on_end: Callable[["Dispatch"], None] | None = None
    record: Record | None = None
    attempt: int = 1
    attempt_at: int = 0
    timelines: list[Timeline] = field(factory=list)
    refusal: Refused | None = None
    retry_at: int | None = None
    running: Record | None = None
    is_over: bool = False
    is_lost: bool = False

    @property
    def is_waiting(self) -> bool:
        """Return whether it waits for the next attempt."""
        return not self.is_over and self.running is None

    @property
    def has_failed(self) -> bool:
        """Return whether the last attempt failed; one that a hook vetoed did not."""
        record = self.record
        return record is not None and (record.status == "failed" or bool(record.error))


class Dispatcher:
    """Starts the runs of activations. `limit` is how many run at once, over all jobs and triggers."""

    def __init__(
        self,
        *,
        events: EventQueue,
        history: History,
        timelines: Timelines,
        tasks: Tasks,
        ids: random.Random,
        limit: int,
        counts: Counter[str],
    ) -> None:
        self._events = events
        self._history = history
        self._timelines = timelines
        self._tasks = tasks
        self._ids = ids
        self._limit = limit
        self._counts = counts
        self._active: set[Dispatch] = set()
        self._by_record: dict[str, Dispatch] = {}
        self._index = 0
        self.starts_by_target: Counter[str] = Counter()

    def begin(
        self,
        owner: Definition,
        kind: ActivationKind,
        *,
        reserved: Record | None = None,
        fault: str = "",
        on_end: Callable[[Dispatch], None] | None = None,
    ) -> Dispatch:
        """Begin the first attempt, and return the dispatch, which may have ended already."""
        chance = self._timelines.random_for(self._index)
        self._index += 1
        dispatch = Dispatch(
            owner=owner, kind=kind, chance=chance, reserved=reserved, fault=fault, on_end=on_end
        )
        self._try(dispatch)
        return dispatch

    def next_at(self, dispatch: Dispatch) -> int | None:
        """Return when a dispatch that has not ended is going to change; None for never."""
        if dispatch.is_waiting:
            return dispatch.attempt_at
        end = end_of(self._timeline_of(dispatch, dispatch.attempt))
        return None if end is None else dispatch.attempt_at + end[0]

    def ended_at(self, record: Record) -> int | None:
        """Return when a record reaches its final status, as far as is planned; None if it never does."""
        dispatch = self._by_record.get(record.id)
        if record.status == "delegated":
            return self._tasks.ended_at(record.task_run_id)
        if dispatch is None or (dispatch.reserved is None and record.ended_at is not None):
            return record.ended_at
        at = dispatch.attempt_at
        for attempt in range(dispatch.attempt, dispatch.attempt + _ATTEMPTS_AHEAD):
            end = end_of(self._timeline_of(dispatch, attempt))
            if end is None:
                return None
            at += end[0]
            if dispatch.reserved is None or end[1] != "failed" or attempt > dispatch.owner.retries:
                return at
            at += dispatch.owner.delay(attempt)
        return None

    def cancel(self, dispatch: Dispatch) -> None:
        """End a dispatch: its running attempt is canceled; one that waits for an attempt stays as it is."""
        if dispatch.is_over:
            return
        if dispatch.running is not None:
            self._close(dispatch, dispatch.running, "canceled", CUT_OFF)
        else:
            self._finish(dispatch)

    def has_session(self, session_id: str) -> bool:
        """Return whether a session is active."""
        return self._of_session(session_id) is not None

    def stop_session(self, session_id: str) -> bool:
        """Stop an active session: its run is then `completed`. Return whether it was active."""
        dispatch = self._of_session(session_id)
        if dispatch is None or dispatch.running is None:
            return False
        self._close(dispatch, dispatch.running, "completed", "")
        return True

    def _of_session(self, session_id: str) -> Dispatch | None:
        for each in self._active:
            if each.running is not None and each.running.session_id == session_id:
                return each
        return None

    def forget_all(self) -> None:
        """Leave everything in progress as it is for ever: the daemon was stopped."""
        for dispatch in (*self._by_record.values(), *self._active):
            dispatch.is_over = dispatch.is_lost = True
            dispatch.running = None
        self._by_record.clear()
        self._active.clear()

    def _timeline_of(self, dispatch: Dispatch, attempt: int) -> Timeline:
        names = (dispatch.owner.id, dispatch.owner.name)
        while len(dispatch.timelines) < attempt:
            number = len(dispatch.timelines) + 1
            dispatch.timelines.append(self._timelines.for_attempt(names, number, dispatch.chance))
        return dispatch.timelines[attempt - 1]

    def _try(self, dispatch: Dispatch) -> None:
        dispatch.attempt_at = self._events.now
        if len(self._active) >= self._limit:
            text = f"all slots are busy (concurrency limit): active={len(self._active)} limit={self._limit}"
            dispatch.refusal = Refused(409, text)
            self._finish(dispatch)
            return
        dispatch.refusal = self._fire_limit(dispatch)
        if dispatch.refusal is not None:
            self._refuse_by_fire_limit(dispatch, str(dispatch.refusal))
            return
        record = self._admit(dispatch)
        owner = dispatch.owner
        if isinstance(owner, Job) and owner.task is not None:
            self._delegate(dispatch, owner, record)
        elif dispatch.fault:
            self._close(dispatch, record, "failed", dispatch.fault)
        else:
            self._active.add(dispatch)
            dispatch.running = record
            attempt = dispatch.attempt
            timeline = self._timeline_of(dispatch, attempt)
            self._events.follow(timeline, partial(self._set_status, dispatch, attempt))
        if not dispatch.is_over and dispatch.record is record:
            self._by_record[record.id] = dispatch

    def _admit(self, dispatch: Dispatch) -> Record:
        """Return the record of an attempt that begins."""
        if dispatch.attempt > 1:
            self._counts["retries"] += 1
        elif dispatch.kind is not ActivationKind.FIRE:
            self._counts["starts"] += 1
            self.starts_by_target[dispatch.owner.id] += 1
        if dispatch.record is not None:
            self._by_record.pop(dispatch.record.id, None)
        record = dispatch.reserved
        if record is None:
            record_id = f"run-{hex_id(self._ids, 16)}"
            record = Record(id=record_id, job_id=dispatch.owner.id, started_at=self._events.now)
            self._history.add(record)
        record.reset(dispatch.attempt)
        dispatch.record = record
        return record

    def _fire_limit(self, dispatch: Dispatch) -> Refused | None:
        owner, now = dispatch.owner, self._events.now
        most, since = owner.fire_limit["max"], now - owner.window
        if self._history.count_since(owner.id, since) < most:
            return None
        recent = self._history.started_since(owner.id, since)
        counted = [each for each in recent if each.status != "canceled" and each is not dispatch.reserved]
        if len(counted) < most:
            return None
        dispatch.retry_at = max(counted[0].started_at + owner.window, now)
        tokens = {
            "fires": len(counted),
            "limit": most,
            "window": write_duration(owner.window),
            "retry_at": write_moment(dispatch.retry_at),
        }
        text = " ".join(f"{name}={value}" for name, value in tokens.items())
        return Refused(409, f"no more fires for now (fire limit): {text}")

    def _refuse_by_fire_limit(self, dispatch: Dispatch, error: str) -> None:
        """Refuse an attempt because of the fire limit; only a reserved record shows it."""
        record = dispatch.reserved
        if record is None:
            self._finish(dispatch)
            return
        record.reset(dispatch.attempt)
        dispatch.record = record
        self._close(dispatch, record, "canceled" if dispatch.kind is ActivationKind.FIRE else "failed", error)

    def _delegate(self, dispatch: Dispatch, job: Job, record: Record) -> None:
        timeline = self._timelines.for_task((job.id, job.name), dispatch.chance)
        run = self._tasks.begin(job, record.id, timeline)
        record.status, record.task_id, record.task_run_id = "delegated", run.task.id, run.id
        record.ended_at = self._events.now
        self._finish(dispatch)

    def _set_status(self, dispatch: Dispatch, attempt: int, word: str) -> bool:
        """Set the status of the running attempt; False when it has ended, or another attempt is running."""
        record = dispatch.running
        if record is None or dispatch.attempt != attempt:
            return False
        if word in ENDS:
            self._close(dispatch, record, word, FAILED if word == "failed" else "")
            return False
        record.status = word
        if word != "scheduled" and not record.session_id:
            record.session_id = f"sess-{hex_id(self._ids, 16)}"
        return True

    def _close(self, dispatch: Dispatch, record: Record, word: str, error: str) -> None:
        """End an attempt, and plan the next one if there is one."""
        self._active.discard(dispatch)
        dispatch.running = None
        owner, now = dispatch.owner, self._events.now
        record.status, record.error, record.ended_at = word, error, now
        if word != "failed" or dispatch.attempt > owner.retries:
            self._finish(dispatch)
            return
        dispatch.attempt_at = now + owner.delay(dispatch.attempt)
        dispatch.attempt += 1
        self._events.at(dispatch.attempt_at, partial(self._retry, dispatch))

    def _retry(self, dispatch: Dispatch) -> None:
        if not dispatch.is_over:
            self._try(dispatch)

    def _finish(self, dispatch: Dispatch) -> None:
        dispatch.is_over = True
        if dispatch.record is not None:
            self._by_record.pop(dispatch.record.id, None)
        if dispatch.on_end is not None:
            dispatch.on_end(dispatch)
