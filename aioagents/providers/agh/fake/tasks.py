"""Tasks that automation runs are delegated to, and the runs of these tasks. Pure.

A task run follows its timeline until an operator changes it; from then on only operators do.
"""

import random
from collections.abc import Mapping, Sequence
from typing import Any, Final

from attrs import define, field

from ....contract.fake import Refused, hex_id
from .definitions import Job
from .event_queue import EventQueue
from .runs import ENDS
from .timelines import Timeline, end_of
from .times import SECOND, omit_empty, write_moment

STATUSES: Final = ENDS | {"queued", "claimed", "starting", "running", "needs_attention"}
ERROR: Final = "the worker gave up on the task"
_OPERATOR: Final = {"kind": "human", "ref": "local"}
_TASK_WORDS: Final = {"queued": "ready", "needs_attention": "blocked"}
_FORCED: Final = 10  # in a minute, for one task
_MINUTE: Final = 60 * SECOND


@define(eq=False, kw_only=True)
class TaskRun:
    """One run of a task. Times are nanoseconds."""

    id: str
    task: "Task"
    origin: str
    queued_at: int
    attempt: int = 1
    status: str = "queued"
    previous_run_id: str = ""
    failure_kind: str = ""
    claimed_by: Mapping[str, str] | None = None
    session_id: str = ""
    moments: dict[str, int] = field(factory=dict)
    error: str = ""
    result: Any = None
    ends_at: int | None = None
    is_operated: bool = False

    def body(self) -> dict[str, Any]:
        """Return its JSON object, without empty members."""
        always = {
            "id": self.id,
            "task_id": self.task.id,
            "status": self.status,
            "attempt": self.attempt,
            "origin": {"kind": "automation", "ref": f"run:{self.origin}"},
            "queued_at": write_moment(self.queued_at),
        }
        optional = {
            "previous_run_id": self.previous_run_id,
            "failure_kind": self.failure_kind,
            "claimed_by": self.claimed_by,
            "session_id": self.session_id,
            "idempotency_key": f"automation-run:{self.origin}" if not self.previous_run_id else "",
            "network_channel": self.task.channel,
            **{name: write_moment(moment) for name, moment in self.moments.items()},
            "error": self.error,
        }
        body = always | omit_empty(optional)
        return body if self.result is None else body | {"result": self.result}


@define(eq=False, kw_only=True)
class Task:
    """One task."""

    id: str
    title: str
    description: str
    scope: str
    workspace_id: str
    channel: str
    owner: Mapping[str, str] | None
    runs: list[TaskRun] = field(factory=list)
    events: int = 0
    forced: list[int] = field(factory=list)
    is_paused: bool = False
    is_approval_pending: bool = False

    @property
    def status(self) -> str:
        """Return the task's status, which depends on that of its last run."""
        status = self.runs[-1].status
        return status if status in ENDS else _TASK_WORDS.get(status, "in_progress")

    def reference(self) -> dict[str, Any]:
        """Return the JSON object of the task in a run's JSON."""
        body = {
            "id": self.id,
            "title": self.title,
            "status": self.status,
            "scope": self.scope,
            "latest_event_seq": self.events,
        }
        optional = {"owner": self.owner, "workspace_id": self.workspace_id, "paused": self.is_paused}
        return body | omit_empty(optional)


class Tasks:
    """All tasks and their runs. Runs that complete get their results from `results` in turn."""

    def __init__(self, events: EventQueue, ids: random.Random, *, results: Sequence[Any]) -> None:
        self._events = events
        self._ids = ids
        self._results = results
        self._completed = 0
        self._tasks: dict[str, Task] = {}
        self._runs: dict[str, TaskRun] = {}

    def begin(self, job: Job, origin: str, timeline: Timeline) -> TaskRun:
        """Create a task for an automation run, and queue a run of it."""
        given = job.task or {}
        task = Task(
            id=f"task-{hex_id(self._ids, 16)}",
            title=given.get("title", "").strip() or job.name,
            description=given.get("description", "").strip() or job.prompt,
            scope=job.scope,
            workspace_id=job.workspace_id,
            channel=given.get("network_channel", "").strip(),
            owner=given.get("owner"),
        )
        self._tasks[task.id] = task
        run = self._add_run(task, origin)
        end = end_of(timeline)
        run.ends_at = None if end is None else run.queued_at + end[0]
        self._events.follow(timeline, lambda word: not run.is_operated and self._set_status(run, word))
        return run

    def find(self, run_id: str) -> TaskRun:
        """Return a task run. Raises `Refused`."""
        run = self._runs.get(run_id)
        if run is None:
            raise Refused(404, "no such task run")
        return run

    def find_task(self, task_id: str) -> Task:
        """Return a task. Raises `Refused`."""
        task = self._tasks.get(task_id)
        if task is None:
            raise Refused(404, "no such task")
        return task

    def ended_at(self, run_id: str) -> int | None:
        """Return when a task run ends or ended; None when it is unknown, never ends, or waits for an operator."""
        run = self._runs.get(run_id)
        return None if run is None else run.moments.get("ended_at", run.ends_at)

    def claim(self, run: TaskRun) -> TaskRun:
        """Claim a queued run. This and the following methods return the changed run, and raise `Refused`."""
        return self._operate(run, {"queued"}, "claimed")

    def start(self, run: TaskRun) -> TaskRun:
        """Open a session for a claimed run."""
        self._own(run)
        return self._operate(run, {"claimed", "starting"}, "running")

    def complete(self, run: TaskRun, result: Any) -> TaskRun:
        """Complete a run."""
        self._own(run)
        self._operate(run, {"running"}, "completed")
        run.result = result
        return run

    def fail(self, run: TaskRun, error: str) -> TaskRun:
        """Fail a run."""
        self._own(run)
        self._operate(run, {"starting", "running"}, "failed")
        run.error = error
        return run

    def cancel(self, run: TaskRun) -> TaskRun:
        """Cancel a run that has not ended, no matter who claimed it."""
        return self._operate(run, {"queued", "claimed", "starting", "running"}, "canceled")

    def force_fail(self, run: TaskRun, reason: str) -> TaskRun:
        """Fail a run that has not started, as an operator may."""
        self._count_force(run.task)
        self._operate(run, {"queued", "claimed"}, "failed")
        run.error, run.failure_kind = reason, "operator_forced"
        return run

    def decide(self, task: Task, *, is_approved: bool) -> TaskRun | None:
        """Decide on the pending approval of a task; approving queues a run, which waits to be claimed."""
        if not task.is_approval_pending:
            raise Refused(409, "no approval is pending")
        task.is_approval_pending = False
        if not is_approved:
            return None
        run = self._add_run(task, task.runs[-1].origin)
        run.previous_run_id, run.is_operated = task.runs[-2].id, True
        return run

    def resume(self, task: Task) -> None:
        """Resume a paused task; one that is not paused stays as it is."""
        self._count_force(task)
        task.is_paused = False

    def retry(self, run: TaskRun) -> TaskRun:
        """Queue a successor, which waits to be claimed; a run that needs attention fails by this."""
        self._count_force(run.task)
        if run.status == "needs_attention":
            self._operate(run, {"needs_attention"}, "failed")
        elif run.status not in {"failed", "canceled"}:
            raise Refused(409, f"a {run.status} run has no successor")
        successor = self._add_run(run.task, run.origin)
        successor.previous_run_id, successor.attempt, successor.is_operated = run.id, run.attempt + 1, True
        return successor

    def _add_run(self, task: Task, origin: str) -> TaskRun:
        run_id = f"run-{hex_id(self._ids, 16)}"
        run = TaskRun(id=run_id, task=task, origin=origin, queued_at=self._events.now)
        task.runs.append(run)
        task.events += 1
        self._runs[run.id] = run
        return run

    def _own(self, run: TaskRun) -> None:
        if run.claimed_by not in (None, _OPERATOR):
            raise Refused(403, "another owner holds the task")

    def _count_force(self, task: Task) -> None:
        now = self._events.now
        task.forced = [moment for moment in task.forced if moment > now - _MINUTE]
        if len(task.forced) >= _FORCED:
            raise Refused(429, "too many forced changes of one task")
        task.forced.append(now)

    def _operate(self, run: TaskRun, allowed: set[str], word: str) -> TaskRun:
        if run.status not in allowed:
            raise Refused(409, f"a {run.status} run cannot become {word}")
        run.is_operated, run.ends_at = True, None
        if word == "claimed":
            run.claimed_by = _OPERATOR
        self._set_status(run, word)
        return run

    def _set_status(self, run: TaskRun, word: str) -> bool:
        """Set the status of a run; False when that is its end."""
        now = self._events.now
        run.status = word
        run.task.events += 1
        if word == "queued":  # again, after it was lost
            run.claimed_by, run.session_id = None, ""
            run.moments.clear()
        elif word in {"claimed", "starting", "running"}:
            run.claimed_by = run.claimed_by or {"kind": "agent_session", "ref": f"sess-{run.id[-16:]}"}
            run.moments.setdefault("claimed_at", now)
        if word in {"starting", "running"}:
            run.session_id = run.session_id or f"sess-{hex_id(self._ids, 16)}"
        if word == "running":
            run.moments.setdefault("started_at", now)
        if word not in ENDS:
            return True
        run.moments["ended_at"] = now
        if word == "failed":
            run.error = ERROR
        elif word == "completed":
            run.result = self._results[self._completed % len(self._results)]
            self._completed += 1
        return False
