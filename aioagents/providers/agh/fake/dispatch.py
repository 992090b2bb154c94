"""Automation runs on their way: the gate they pass, how often they are tried, and how they end. Pure.

A dispatch is one activation with all its attempts. Manual ones get a record for each attempt; scheduled fires and
deliveries keep the one that was reserved for them.
"""

import random
from collections import Counter
from collections.abc import Callable
from enum import Enum
from functools import partial
from typing import Final

from attrs import define, field

from ....contract.fake import Refused
from .courses import Course, Courses, Timeline, length
from .definitions import Definition, Job
from .runs import ENDS, History, Record
from .tasks import Tasks
from .times import write_duration, write_moment

FAILED: Final = "the agent's session ended with an error"
CUT_OFF: Final = "context canceled"
_LOOKED_AHEAD: Final = 100


class Kind(Enum):
    """What set a dispatch off."""

    MANUAL = "manual"
    FIRE = "fire"
    DELIVERY = "delivery"


@define(eq=False, kw_only=True)
class Dispatch:
    """One activation. `fault` fails each attempt before it begins; `record` is the last attempt's.

    `running` is that too, while it has a slot. `refusal` says why there was no further attempt; `over` is called
    once nothing more is going to happen, unless the daemon went away (`is_lost`).
    """

    owner: Definition
    kind: Kind
    chance: random.Random
    reserved: Record | None = None
    fault: str = ""
    over: Callable[["Dispatch"], None] | None = None
    record: Record | None = None
    attempt: int = 1
    attempt_at: int = 0
    courses: list[Course] = field(factory=list)
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
        """Return whether the last attempt ended badly; one that a hook vetoed did not."""
        record = self.record
        return record is not None and (record.status == "failed" or bool(record.error))


class Dispatcher:
    """Lets activations become runs. `limit` is how many run at once, over all jobs and triggers."""

    def __init__(
        self,
        *,
        timeline: Timeline,
        history: History,
        courses: Courses,
        tasks: Tasks,
        ids: random.Random,
        limit: int,
        counts: Counter[str],
    ) -> None:
        self._timeline = timeline
        self._history = history
        self._courses = courses
        self._tasks = tasks
        self._ids = ids
        self._limit = limit
        self._counts = counts
        self._active: set[Dispatch] = set()
        self._under_way: dict[str, Dispatch] = {}
        self._index = 0
        self.starts_by_target: Counter[str] = Counter()

    def begin(
        self,
        owner: Definition,
        kind: Kind,
        *,
        reserved: Record | None = None,
        fault: str = "",
        over: Callable[[Dispatch], None] | None = None,
    ) -> Dispatch:
        """Begin with the first attempt; what ends at once is over when this returns."""
        chance = self._courses.chance(self._index)
        self._index += 1
        dispatch = Dispatch(owner=owner, kind=kind, chance=chance, reserved=reserved, fault=fault, over=over)
        self._try(dispatch)
        return dispatch

    def next_at(self, dispatch: Dispatch) -> int | None:
        """Return when something is going to happen to a dispatch that is not over; None for never."""
        if dispatch.is_waiting:
            return dispatch.attempt_at
        end = length(self._course(dispatch, dispatch.attempt))
        return None if end is None else dispatch.attempt_at + end[0]

    def ended_at(self, record: Record) -> int | None:
        """Return when a record ends for good, as far as is planned; None when it never does."""
        dispatch = self._under_way.get(record.id)
        if record.status == "delegated":
            return self._tasks.ended_at(record.task_run_id)
        if dispatch is None or (dispatch.reserved is None and record.ended_at is not None):
            return record.ended_at
        at = dispatch.attempt_at
        for attempt in range(dispatch.attempt, dispatch.attempt + _LOOKED_AHEAD):
            end = length(self._course(dispatch, attempt))
            if end is None:
                return None
            at += end[0]
            if dispatch.reserved is None or end[1] != "failed" or attempt > dispatch.owner.retries:
                return at
            at += dispatch.owner.delay(attempt)
        return None

    def cancel(self, dispatch: Dispatch) -> None:
        """Break a dispatch off: what runs is canceled, what waits for its next attempt stays as it is."""
        if dispatch.is_over:
            return
        if dispatch.running is not None:
            self._close(dispatch, dispatch.running, "canceled", CUT_OFF)
        else:
            self._finish(dispatch)

    def forget_all(self) -> None:
        """Let all that is under way stay as it is for ever: the daemon is gone."""
        for dispatch in (*self._under_way.values(), *self._active):
            dispatch.is_over = dispatch.is_lost = True
            dispatch.running = None
        self._under_way.clear()
        self._active.clear()

    def _course(self, dispatch: Dispatch, attempt: int) -> Course:
        names = (dispatch.owner.id, dispatch.owner.name)
        while len(dispatch.courses) < attempt:
            number = len(dispatch.courses) + 1
            dispatch.courses.append(self._courses.attempt(names, number, dispatch.chance))
        return dispatch.courses[attempt - 1]

    def _try(self, dispatch: Dispatch) -> None:
        dispatch.attempt_at = self._timeline.now
        if len(self._active) >= self._limit:
            text = f"all slots are busy (concurrency limit): active={len(self._active)} limit={self._limit}"
            dispatch.refusal = Refused(409, text)
            self._finish(dispatch)
            return
        dispatch.refusal = self._fire_limit(dispatch)
        if dispatch.refusal is not None:
            self._limited(dispatch, str(dispatch.refusal))
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
            course = self._course(dispatch, attempt)
            self._timeline.follow(course, partial(self._enter, dispatch, attempt))
        if not dispatch.is_over and dispatch.record is record:
            self._under_way[record.id] = dispatch

    def _admit(self, dispatch: Dispatch) -> Record:
        """Return the record of an attempt that may begin."""
        if dispatch.attempt > 1:
            self._counts["retries"] += 1
        elif dispatch.kind is not Kind.FIRE:
            self._counts["starts"] += 1
            self.starts_by_target[dispatch.owner.id] += 1
        if dispatch.record is not None:
            self._under_way.pop(dispatch.record.id, None)
        record = dispatch.reserved
        if record is None:
            record_id = f"run-{self._ids.getrandbits(64):016x}"
            record = Record(id=record_id, job_id=dispatch.owner.id, started_at=self._timeline.now)
            self._history.add(record)
        record.begin_again(dispatch.attempt)
        dispatch.record = record
        return record

    def _fire_limit(self, dispatch: Dispatch) -> Refused | None:
        owner, now = dispatch.owner, self._timeline.now
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

    def _limited(self, dispatch: Dispatch, error: str) -> None:
        """Refuse an attempt for the fire limit; only what was reserved shows it."""
        record = dispatch.reserved
        if record is None:
            self._finish(dispatch)
            return
        record.begin_again(dispatch.attempt)
        dispatch.record = record
        self._close(dispatch, record, "canceled" if dispatch.kind is Kind.FIRE else "failed", error)

    def _delegate(self, dispatch: Dispatch, job: Job, record: Record) -> None:
        course = self._courses.task((job.id, job.name), dispatch.chance)
        run = self._tasks.begin(job, record.id, course)
        record.status, record.task_id, record.task_run_id = "delegated", run.task.id, run.id
        record.ended_at = self._timeline.now
        self._finish(dispatch)

    def _enter(self, dispatch: Dispatch, attempt: int, word: str) -> bool:
        """Let the running attempt stand as `word` says; False when it is over, or another one's turn."""
        record = dispatch.running
        if record is None or dispatch.attempt != attempt:
            return False
        if word in ENDS:
            self._close(dispatch, record, word, FAILED if word == "failed" else "")
            return False
        record.status = word
        if word != "scheduled" and not record.session_id:
            record.session_id = f"sess-{self._ids.getrandbits(64):016x}"
        return True

    def _close(self, dispatch: Dispatch, record: Record, word: str, error: str) -> None:
        """End an attempt, and plan the next one where there is to be one."""
        self._active.discard(dispatch)
        dispatch.running = None
        owner, now = dispatch.owner, self._timeline.now
        record.status, record.error, record.ended_at = word, error, now
        if word != "failed" or dispatch.attempt > owner.retries:
            self._finish(dispatch)
            return
        dispatch.attempt_at = now + owner.delay(dispatch.attempt)
        dispatch.attempt += 1
        self._timeline.at(dispatch.attempt_at, partial(self._retry, dispatch))

    def _retry(self, dispatch: Dispatch) -> None:
        if not dispatch.is_over:
            self._try(dispatch)

    def _finish(self, dispatch: Dispatch) -> None:
        dispatch.is_over = True
        if dispatch.record is not None:
            self._under_way.pop(dispatch.record.id, None)
        if dispatch.over is not None:
            dispatch.over(dispatch)
