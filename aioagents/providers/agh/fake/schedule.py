"""The scheduler: when jobs are due, and their fires. Pure.

Fires of one job do not overlap: one that is due while the last run goes on happens when that has ended.
"""

from collections import Counter
from collections.abc import Mapping
from datetime import tzinfo
from functools import partial
from hashlib import sha256
from typing import Any

from attrs import define

from .cron import Cron
from .definitions import Job
from .dispatch import ActivationKind, Dispatch, Dispatcher
from .event_queue import EventQueue
from .runs import History, Record
from .times import omit_empty, read_duration, read_moment, write_moment, write_optional


@define(eq=False, kw_only=True)
class Registration:
    """The scheduler's state of one job. Times are nanoseconds."""

    job: Job
    updated_at: int
    next_at: int | None = None
    last_run_at: int | None = None
    last_scheduled_at: int | None = None
    last_fire_id: str = ""
    last_misfire_at: int | None = None
    misfires: int = 0
    generation: int = 0
    dispatch: Dispatch | None = None

    def skip_missed(self, now: int, zone: tzinfo) -> None:
        """Continue with the next future fire, and count all that were missed as one misfire."""
        if self.next_at is not None and self.next_at <= now:
            self.last_scheduled_at, self.last_misfire_at = self.next_at, now
            self.misfires += 1
            self.next_at = _after_missed(self.job, self.next_at, now, zone)
            self.updated_at = now

    def body(self, zone: tzinfo) -> dict[str, Any]:
        """Return its JSON object, without empty members."""
        optional = {
            "next_run_at": write_optional(self.next_at, zone),
            "last_run_at": write_optional(self.last_run_at, zone),
            "last_scheduled_at": write_optional(self.last_scheduled_at, zone),
            "last_fire_id": self.last_fire_id,
            "catch_up_policy": "skip_missed",
            "last_misfire_at": write_optional(self.last_misfire_at, zone),
            "misfire_count": self.misfires,
            "updated_at": write_optional(self.updated_at, zone),
        }
        return {"job_id": self.job.id, "registered": True} | omit_empty(optional)


class Scheduler:
    """Fires jobs when they are due. Any change to any job rebuilds it, which cancels scheduled runs in progress."""

    def __init__(
        self,
        *,
        events: EventQueue,
        history: History,
        dispatcher: Dispatcher,
        zone: tzinfo,
        counts: Counter[str],
    ) -> None:
        self._events = events
        self._history = history
        self._dispatcher = dispatcher
        self._zone = zone
        self._counts = counts
        self._registered: dict[str, Registration] = {}

    def state(self, job_id: str) -> dict[str, Any] | None:
        """Return the scheduler's members in a job's JSON; None where the job is not registered."""
        found = self._registered.get(job_id)
        if found is None or found.next_at is None:
            return None
        return {"next_run": write_moment(found.next_at), "scheduler": found.body(self._zone)}

    def next_fire(self) -> int | None:
        """Return the time of the next fire of any job."""
        return min(
            (each.next_at for each in self._registered.values() if each.next_at is not None), default=None
        )

    def stop(self) -> None:
        """Fire nothing more until it is rebuilt."""
        for each in self._registered.values():
            each.generation += 1

    def rebuild(self, jobs: Mapping[str, Job]) -> None:
        """Register all jobs anew. Unchanged schedules go on; a fire that was due and did not happen is missed."""
        now, old = self._events.now, self._registered
        self._registered = {}
        for each in old.values():
            each.generation += 1
            if each.dispatch is not None:
                self._dispatcher.cancel(each.dispatch)
                each.dispatch = None
        for job in jobs.values():
            if job.enabled:
                self._registered[job.id] = self._registration(job, old.get(job.id), now)
                self._plan(self._registered[job.id])

    def _registration(self, job: Job, old: Registration | None, now: int) -> Registration:
        if old is None:
            return Registration(job=job, updated_at=now, next_at=_first(job, now, self._zone))
        if old.job.schedule != job.schedule:
            old.next_at = _first(job, now, self._zone)
        old.job, old.updated_at = job, now
        old.skip_missed(now, self._zone)
        return old

    def _plan(self, each: Registration) -> None:
        if each.next_at is not None:
            when = max(each.next_at, self._events.now)
            self._events.at(when, partial(self._fire, each, each.generation))

    def _fire(self, each: Registration, generation: int) -> None:
        planned = each.next_at
        if generation != each.generation or planned is None:
            return
        now = self._events.now
        if self._events.budget <= 0:
            # A daemon that runs misses nothing; here too many fires would have to be made up for at once.
            each.skip_missed(self._events.target, self._zone)
            self._plan(each)
            return
        self._events.budget -= 1
        self._counts["fires"] += 1
        each.next_at = _after(each.job, planned, self._zone)
        digest = sha256(f"{each.job.id} {planned}".encode()).hexdigest()[:24]
        record = Record(
            id=f"run_{digest}",
            job_id=each.job.id,
            fire_id=f"fire_{digest}",
            scheduled_at=planned,
            started_at=now,
        )
        self._history.add(record)
        each.last_run_at, each.last_scheduled_at, each.last_fire_id = now, planned, record.fire_id
        each.updated_at = now
        on_end = partial(self._on_end, each, generation, record)
        dispatch = self._dispatcher.begin(each.job, ActivationKind.FIRE, reserved=record, on_end=on_end)
        each.dispatch = None if dispatch.is_over else dispatch

    def _on_end(self, each: Registration, generation: int, record: Record, dispatch: Dispatch) -> None:
        """Record how a fire ended, and plan the next one."""
        each.dispatch = None
        now = self._events.now
        if dispatch.retry_at is not None and dispatch.refusal is not None:
            if each.next_at is not None:
                each.next_at = max(each.next_at, dispatch.retry_at)
        elif dispatch.refusal is not None or dispatch.has_failed:
            record.delivery_error, record.delivery_error_at = str(dispatch.refusal or record.error), now
        if generation == each.generation:
            self._plan(each)


def _every(job: Job) -> int:
    return read_duration(job.schedule["interval"].strip()) or 1


def _first(job: Job, now: int, zone: tzinfo) -> int | None:
    if job.schedule["mode"] == "at":
        moment = read_moment(job.schedule["time"].strip())
        return moment if moment is not None and moment > now else None
    return _after(job, now, zone)


def _after(job: Job, moment: int, zone: tzinfo) -> int | None:
    match job.schedule["mode"]:
        case "cron":
            return Cron.read(job.schedule["expr"].strip()).after(moment, zone)
        case "every":
            return moment + _every(job)
    return None


def _after_missed(job: Job, missed: int, now: int, zone: tzinfo) -> int | None:
    if job.schedule["mode"] != "every":
        return _after(job, now, zone)
    every = _every(job)
    return missed + ((now - missed) // every + 1) * every
