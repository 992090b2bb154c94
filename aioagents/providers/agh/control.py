"""AGH Runtime: cancel runs, and answer what their tasks wait for.

There is no call that cancels an automation run. What it was delegated to is cancelled instead: its task run
(`POST /api/task-runs/{id}/cancel`), or the agent's session that it opened is stopped (`POST
/api/workspaces/{workspace}/sessions/{session}/stop`), after which the server calls the run `completed` (seen on the
server of 2026-05-31). Approving, rejecting and resuming concern the task (`POST /api/tasks/{id}/...`; AGH source,
`internal/api/core/tasks.go` and `scheduler.go`).
"""

from collections.abc import Callable, Sequence
from typing import Any, Final

from ...clock import sleep
from ...contract import path_segment
from ...errors import Conflict, NotFound, Unsupported
from ...model import Reply, Run, RunRef
from .finality import RESUME, is_delegated, run_from_record
from .reader import AghReader
from .records import AutomationRun
from .settings import VENDOR
from .wire import act_request, changed_task_run_in, get_request, item_url, session_workspace_in

#: Seconds between two reads of a record that names nothing yet that could be stopped.
_DELAYS: Final = (0.5, 1.0, 2.0, 4.0, 8.0)
#: Statuses in which an attempt has no session: it has not begun, or is over and another one may follow.
_WITHOUT_SESSION: Final = frozenset({"scheduled", "failed"})


class ControllingReader(AghReader):
    """Reads the runs of one runtime, cancels them, and answers their tasks."""

    #: Of these, a poll shows only that a task is paused: it does not say whether an approval is pending.
    answers: Final[Sequence[str]] = ("approve", "reject", RESUME)

    async def cancel(
        self,
        ref: RunRef,
        *,
        reason: str | None,
        age: float | None,  # noqa: ARG002 - other vendors need it
        last: Run | None,
        on_sent: Callable[[], None],
    ) -> Run | None:
        """Cancel the task run, or stop the session. A run that has neither yet is waited for, for 16 seconds at most.

        Raises `Conflict` for one that has none by then, and for a task run that needs attention.
        """
        for delay in (*_DELAYS, None):
            record, run = await self._record_of(ref, last)
            if run is not None and run.state.is_terminal:
                return run
            if is_delegated(record):
                return await self._cancel_task_run(ref, record, reason, on_sent)
            if record.session_id and record.status not in _WITHOUT_SESSION:
                await self._stop_session(record.session_id, on_sent)
                return None  # the reply says nothing of the run
            if delay is not None:
                await sleep(self._pool.clock, delay)
        words = f"run {ref} has no session yet that could be stopped"
        raise Conflict(words, vendor=VENDOR, call="sessions.stop", ref=ref, reason="no-session")

    async def answer(self, ref: RunRef, answer: str, *, age: float | None, last: Run | None) -> None:  # noqa: ARG002
        """Approve, reject or resume the task of a run; the reply says nothing of the run.

        Approving queues another run of the task, which this handle does not follow. Raises `Unsupported` for a run
        that was not delegated.
        """
        record, _ = await self._record_of(ref, last)
        if not record.task_id:
            words = f"run {ref} takes no answer: it was not delegated to a task"
            raise Unsupported(words, vendor=VENDOR, ref=ref)
        url = f"{item_url(f'{self._calls.base_url}/api/tasks', record.task_id, 'task_id')}/{answer}"
        try:
            await self._ask(act_request(url, f"tasks.{answer}"), _nothing)
        except Conflict as error:
            if error.tries == 1:  # else an earlier try may have been the one that decided
                raise

    async def _record_of(self, ref: RunRef, last: Run | None) -> tuple[AutomationRun, Run | None]:
        """Return the record of a run, and the run as it says; None for a delegated one, which has no end."""
        known = self._delegated_in(last)
        if known is not None:
            return known, None
        record, reply = await self._read_record(ref, self._ask)
        if is_delegated(record):
            return record, None
        return record, await self._to_run(ref, record, self._server_now(reply), self._ask)

    async def _cancel_task_run(
        self, ref: RunRef, record: AutomationRun, reason: str | None, on_sent: Callable[[], None]
    ) -> Run:
        url = item_url(f"{self._calls.base_url}/api/task-runs", record.task_run_id, "task_run_id")
        body = {} if reason is None else {"reason": reason}
        request = act_request(f"{url}/cancel", "task-runs.cancel", body)
        on_sent()
        task_run = await self._ask(request, lambda reply: changed_task_run_in(reply, request.call))
        return run_from_record(record, ref, self._pool.clock.utcnow(), task_run=task_run)

    async def _stop_session(self, session_id: str, on_sent: Callable[[], None]) -> None:
        """Stop a session. Its URL names its workspace, which only the list of all sessions says.

        Raises `NotFound` for a session that is over.
        """
        base = self._calls.base_url
        listing = get_request(f"{base}/api/sessions", "sessions.list")
        workspace = await self._ask(
            listing, lambda reply: session_workspace_in(reply, listing.call, session_id)
        )
        if not workspace:
            raise NotFound(f"the runtime lists no session {session_id}", vendor=VENDOR, call=listing.call)
        sessions = f"{base}/api/workspaces/{path_segment(workspace, 'workspace_id')}/sessions"
        on_sent()
        url = f"{item_url(sessions, session_id, 'session_id')}/stop"
        await self._ask(act_request(url, "sessions.stop"), _nothing)


def _nothing(_reply: Reply) -> Any:
    """Read an answer of which nothing is needed."""
