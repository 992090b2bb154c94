"""Handlers of the endpoints of tasks and their runs. Pure."""

from collections.abc import Callable, Iterator, Mapping
from http import HTTPStatus
from typing import Any

from ....contract.fake import Call, Endpoint, Refused, read_object
from ....model import Purpose, Reply
from .definition_handlers import item_id
from .queries import read_count
from .state import ServerState
from .tasks import STATUSES, TaskRun, Tasks


class TaskHandlers:
    """Answers requests for tasks, and changes their runs as a person at the runtime's host could."""

    def __init__(self, state: ServerState, tasks: Tasks) -> None:
        self._state = state
        self._tasks = tasks

    def endpoints(self) -> Iterator[Endpoint]:
        """Return the endpoints."""
        call, poll = Purpose.CALL, Purpose.POLL
        yield "GET", "/api/task-runs/{id}", "task-runs.get", poll, self._get
        yield "GET", "/api/tasks/{id}", "tasks.get", poll, self._get_task
        yield "GET", "/api/tasks/{id}/runs", "tasks.runs", poll, self._list_runs
        for name, act in (
            ("claim", self._claim),
            ("start", self._start),
            ("complete", self._complete),
            ("fail", self._fail),
            ("cancel", self._cancel),
        ):
            yield "POST", f"/api/task-runs/{{id}}/{name}", f"task-runs.{name}", call, self._action(act)
        yield "POST", "/api/tasks/{id}/approve", "tasks.approve", call, self._approve
        yield "POST", "/api/tasks/{id}/reject", "tasks.reject", call, self._reject
        yield "POST", "/api/tasks/{id}/resume", "tasks.resume", call, self._resume
        yield "POST", "/api/runs/{id}/fail", "task-runs.force-fail", call, self._action(self._force_fail)
        yield "POST", "/api/runs/{id}/retry", "task-runs.retry", call, self._action(self._retry)

    def _get(self, call: Call) -> Reply:
        run = self._tasks.find(item_id(call))
        self._state.counts["polls"] += 1
        body: dict[str, Any] = {"run": run.body(), "task": run.task.reference()}
        if run.session_id:
            body["session"] = {"id": run.session_id}
        body["summary"] = {"status": run.status}
        return self._state.reply({"run": body})

    def _get_task(self, call: Call) -> Reply:
        task = self._tasks.find_task(item_id(call))
        reference = task.reference()
        full = reference | {"description": task.description}
        runs = [run.body() for run in task.runs]
        return self._state.reply({"task": {"summary": reference, "task": full, "runs": runs}})

    def _list_runs(self, call: Call) -> Reply:
        task = self._tasks.find_task(item_id(call))
        status, session = (call.query.get(name, "").strip() for name in ("status", "session_id"))
        limit = read_count(call.query.get("limit", ""))
        if status and status not in STATUSES:
            raise Refused(400, "status has no such value")
        runs = [
            run.body()
            for run in task.runs
            if (not status or run.status == status) and (not session or run.session_id == session)
        ]
        return self._state.reply({"runs": runs[:limit] if limit > 0 else runs})

    def _approve(self, call: Call) -> Reply:
        task = self._tasks.find_task(item_id(call))
        run = self._tasks.decide(task, is_approved=True)
        body = {"task": task.reference(), "run": None if run is None else run.body()}
        return self._state.reply(body, HTTPStatus.CREATED)

    def _reject(self, call: Call) -> Reply:
        task = self._tasks.find_task(item_id(call))
        self._tasks.decide(task, is_approved=False)
        return self._state.reply({"task": task.reference()})

    def _resume(self, call: Call) -> Reply:
        task = self._tasks.find_task(item_id(call))
        self._tasks.resume(task)
        return self._state.reply({"task": task.reference()})

    def _action(self, act: Callable[[TaskRun, Mapping[str, Any]], TaskRun]) -> Callable[[Call], Reply]:
        def handle(call: Call) -> Reply:
            run = self._tasks.find(item_id(call))
            body = read_object(call, content_type="").values if call.request.body else {}
            return self._state.reply({"run": act(run, body).body()})

        return handle

    def _claim(self, run: TaskRun, _body: Mapping[str, Any]) -> TaskRun:
        return self._tasks.claim(run)

    def _start(self, run: TaskRun, _body: Mapping[str, Any]) -> TaskRun:
        return self._tasks.start(run)

    def _complete(self, run: TaskRun, body: Mapping[str, Any]) -> TaskRun:
        return self._tasks.complete(run, body.get("result"))

    def _fail(self, run: TaskRun, body: Mapping[str, Any]) -> TaskRun:
        return self._tasks.fail(run, _text(body, "error", 400))

    def _cancel(self, run: TaskRun, _body: Mapping[str, Any]) -> TaskRun:
        return self._tasks.cancel(run)

    def _force_fail(self, run: TaskRun, body: Mapping[str, Any]) -> TaskRun:
        return self._tasks.force_fail(run, _text(body, "reason", 422))

    def _retry(self, run: TaskRun, _body: Mapping[str, Any]) -> TaskRun:
        return self._tasks.retry(run)


def _text(body: Mapping[str, Any], name: str, status: int) -> str:
    text = body.get(name)
    if not isinstance(text, str) or not text.strip():
        raise Refused(status, f"{name} is required")
    return text.strip()
