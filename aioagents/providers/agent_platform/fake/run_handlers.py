"""Handlers of the runs' endpoints: execute (synchronous, asynchronous, with a callback, streamed) and status."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

from ....contract.fake import (
    Answer,
    Call,
    DelayedReply,
    Endpoint,
    JsonObject,
    Refused,
    StreamedReply,
    read_object,
)
from ....model import Purpose, Reply
from .attachments import Attachments
from .callbacks import Callbacks
from .execute_request import ExecuteRequest, read_execute_request
from .runs import AppRun, Runs, RunSerializer
from .sessions import Identity, Session, Sessions, read_identity, session_info
from .signins import SignIns
from .state import ServerState
from .streams import CONTENT_TYPES, Streams

_RUNS: Final = "/api/v2/apps/{app_id}/environments/{environment}/runs"


class RunHandlers:
    """Starts runs and reports their status."""

    def __init__(
        self,
        server: ServerState,
        *,
        sessions: Sessions,
        signins: SignIns,
        attachments: Attachments,
        runs: Runs,
        serializer: RunSerializer,
        callbacks: Callbacks,
        count_start: Callable[[str | None], None],
    ) -> None:
        self._count_start = count_start
        self._server = server
        self._sessions = sessions
        self._signins = signins
        self._attachments = attachments
        self._runs = runs
        self._serializer = serializer
        self._streams = Streams(server, serializer)
        self._callbacks = callbacks

    def endpoints(self) -> Iterator[Endpoint]:
        """Return the endpoints."""
        yield "POST", f"{_RUNS}/execute", "runs.execute", Purpose.START, self._execute
        yield "POST", f"{_RUNS}/{{run_id}}/status", "runs.status", Purpose.POLL, self._poll

    def _execute(self, call: Call) -> Answer:
        request = read_execute_request(read_object(call))
        if request.task is not None:
            self._server.check_known(request.task.name, request.task.agent or "")
        session = self._sessions.resolve(request.identity, source=request.source, now=call.now)
        busy_status = self._server.rules.busy_status
        if busy_status is not None and session.is_busy(call.now):
            raise Refused(busy_status, "a run of the session is in progress")
        self._attachments.use(request, session)
        event = self._signins.event(session.user)
        if event is not None:
            form = self._server.vary("sign-in", *self._server.rules.signin_forms)
            if form != "proceeds":
                return self._stop(request, session, event, is_bare=form == "bare", now=call.now)
        run = self._runs.start(request, session, event, call.now)
        self._count_start(request.key)
        if request.is_async:
            return self._acknowledge(run, call)
        if request.mode is not None and not self._server.rules.has_response_processor:
            framing = self._streams.framing()
            return self._stream(framing, self._streams.pieces(run, framing))
        if run.is_over(call.now):
            return self._reply(run, call.now)
        return DelayedReply(
            until=run.until, reply=lambda now: self._reply(run, now), on_disconnect=self._drop
        )

    def _reply(self, run: AppRun, now: float) -> Reply:
        return self._server.reply(self._serializer.reply(run, now))

    def _stream(self, framing: str, pieces: list[tuple[float, bytes]]) -> StreamedReply:
        self._server.counts["streams"] += 1
        return StreamedReply(
            pieces=pieces, headers={"content-type": CONTENT_TYPES[framing]}, on_disconnect=self._drop
        )

    def _drop(self, _: float) -> None:
        # The run goes on: nothing in the documentation says that a client that disconnects ends it.
        self._server.counts["dropped"] += 1

    def _stop(
        self,
        request: ExecuteRequest,
        session: Session,
        event: Mapping[str, Any],
        *,
        is_bare: bool,
        now: float,
    ) -> Answer:
        """Return the answer to a run that does not start before its user has signed in."""
        body: dict[str, Any] = {"events": [event]}
        if not is_bare:
            info = session_info(session, self._server, status="idle", run_id=None)
            body = {"messageId": self._server.new_id("msg-"), **body, "sessionInfo": info}
        if request.mode is None or self._server.rules.has_response_processor:
            return self._server.reply(body)
        if request.mode == "messages":
            body = {"eventIndex": 0, **body, "isLastEvent": True}
        framing = self._streams.framing()
        return self._stream(framing, self._streams.single(body, framing, now))

    def _acknowledge(self, run: AppRun, call: Call) -> Reply:
        request = run.request
        if request.callback_url is not None:
            self._callbacks.plan(call, run)
        body: dict[str, Any] = {"status": "processing"}
        if request.callback_url is None or not self._server.rules.hides_run_id:
            body["runId"] = run.id
        body["message"] = "accepted"
        return self._server.accepted(body if run.event is None else {**body, "events": [run.event]})

    def _poll(self, call: Call) -> Reply:
        body = read_object(call) if call.request.body else JsonObject({})
        rules = self._server.rules
        identity = read_identity(body, is_needed=rules.status_needs_identity)
        run = self._server.found(self._runs.get(call.path["run_id"]), "run")
        self._sessions.check(identity, run.session)
        self._server.counts["polls"] += 1
        self._server.counts["polls_without_identity"] += identity == Identity()
        return self._server.reply({"run": self._serializer.record(run, call.now)})
