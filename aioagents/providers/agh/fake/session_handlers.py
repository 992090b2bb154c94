"""Handlers of the endpoints of the sessions that automation runs opened: list them, stop one. Pure."""

from collections.abc import Iterator
from http import HTTPStatus
from typing import Final

from ....contract.fake import Call, Endpoint, Refused
from ....model import Purpose, Reply
from .catalogue import Jobs, Triggers
from .dispatch import Dispatcher
from .runs import History, Query, Record
from .state import ServerState
from .times import omit_empty

#: Where the sessions of jobs and triggers with scope `global` are opened.
_GLOBAL: Final = "ws-global"


class SessionHandlers:
    """Answers requests for sessions. Each automation run has one of its own; stopping it completes the run."""

    def __init__(
        self, *, state: ServerState, jobs: Jobs, triggers: Triggers, history: History, dispatcher: Dispatcher
    ) -> None:
        self._state = state
        self._jobs = jobs
        self._triggers = triggers
        self._history = history
        self._dispatcher = dispatcher

    def endpoints(self) -> Iterator[Endpoint]:
        """Return the endpoints."""
        session = "/api/workspaces/{workspace_id}/sessions/{session_id}"
        yield "GET", "/api/sessions", "sessions.list", Purpose.CALL, self._list
        yield "POST", f"{session}/stop", "sessions.stop", Purpose.CALL, self._stop
        yield "POST", f"{session}/prompt/cancel", "sessions.cancel-prompt", Purpose.CALL, self._cancel_prompt

    def _list(self, _call: Call) -> Reply:
        return self._state.reply({"sessions": [self._body(record) for record in self._records()]})

    def _stop(self, call: Call) -> Reply:
        if not self._end(call):
            raise Refused(404, "no such session")  # those that are over are not among the active ones
        return self._state.empty()

    def _cancel_prompt(self, call: Call) -> Reply:
        self._end(call)  # a session that has no prompt is no error
        return self._state.text(HTTPStatus.OK)

    def _end(self, call: Call) -> bool:
        """Stop the agent of a session; return whether it was at work. Raises `Refused`."""
        wanted = call.path["session_id"].strip()
        record = next((each for each in self._records() if each.session_id == wanted), None)
        if record is None or self._workspace(record) != call.path["workspace_id"].strip():
            raise Refused(404, "no such session")
        return self._dispatcher.stop_session(wanted)

    def _records(self) -> Iterator[Record]:
        return (record for record in self._history.list(Query()) if record.session_id)

    def _workspace(self, record: Record) -> str:
        catalogue = self._jobs.by_id if record.job_id else self._triggers.by_id
        owner = catalogue.get(record.owner)
        return (owner.workspace_id if owner is not None else "") or _GLOBAL

    def _body(self, record: Record) -> dict[str, object]:
        is_active = self._dispatcher.has_session(record.session_id)
        body = {
            "id": record.session_id,
            "workspace_id": self._workspace(record),
            "type": "system",
            "state": "active" if is_active else "stopped",
            "stop_reason": "" if is_active else "completed",
        }
        return omit_empty(body)
