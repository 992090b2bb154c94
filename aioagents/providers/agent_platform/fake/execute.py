"""Runs over HTTP: begun in four ways, and asked for."""

from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any, Final

from ....contract.fake import Answer, Call, DelayedReply, Endpoint, Refused, StreamedReply
from ....model import Purpose, Reply
from .attachments import Attachments
from .bodies import Members, read_object
from .callbacks import Callbacks
from .desk import Desk
from .orders import Order, read_order
from .runs import AppRun, Dispatcher, Runs
from .sessions import Identity, Session, Sessions, read_identity, session_info
from .signins import SignIns
from .streams import CONTENT_TYPES, Streams

_RUNS: Final = "/api/v2/apps/{app_id}/environments/{environment}/runs"


class RunCalls:
    """Answers what is asked of runs. `by_key` counts those begun by their metadata's `key`."""

    def __init__(
        self,
        desk: Desk,
        *,
        sessions: Sessions,
        signins: SignIns,
        attachments: Attachments,
        runs: Runs,
        teller: Dispatcher,
        callbacks: Callbacks,
    ) -> None:
        self.by_key: Counter[str] = Counter()
        self._desk = desk
        self._sessions = sessions
        self._signins = signins
        self._attachments = attachments
        self._runs = runs
        self._teller = teller
        self._streams = Streams(desk, teller)
        self._callbacks = callbacks

    def endpoints(self) -> Iterator[Endpoint]:
        """Return the endpoints."""
        yield "POST", f"{_RUNS}/execute", "runs.execute", Purpose.START, self._execute
        yield "POST", f"{_RUNS}/{{run_id}}/status", "runs.status", Purpose.POLL, self._poll

    def _execute(self, call: Call) -> Answer:
        order = read_order(read_object(call))
        if order.task is not None:
            self._desk.check_known(order.task.name, order.task.agent or "")
        session = self._sessions.resolve(order.identity, source=order.source, now=call.now)
        busy_status = self._desk.rules.busy_status
        if busy_status is not None and session.is_busy(call.now):
            raise Refused(busy_status, "a run of the session goes on")
        self._attachments.use(order, session)
        event = self._signins.event(session.user)
        if event is not None:
            form = self._desk.turn("sign-in", *self._desk.rules.signin_forms)
            if form != "proceeds":
                return self._stop(order, session, event, is_bare=form == "bare", now=call.now)
        run = self._runs.start(order, session, event, call.now)
        self._desk.counts["starts"] += 1
        if order.key is not None:
            self.by_key[order.key] += 1
        if order.is_async:
            return self._acknowledge(run, call)
        if order.mode is not None and not self._desk.rules.has_response_processor:
            framing = self._streams.framing()
            return self._stream(framing, self._streams.pieces(run, framing))
        if run.ended_at <= call.now:
            return self._reply(run, call.now)
        return DelayedReply(
            until=run.ended_at, reply=lambda now: self._reply(run, now), on_disconnect=self._drop
        )

    def _reply(self, run: AppRun, now: float) -> Reply:
        return self._desk.reply(self._teller.reply(run, now))

    def _stream(self, framing: str, pieces: list[tuple[float, bytes]]) -> StreamedReply:
        self._desk.counts["streams"] += 1
        return StreamedReply(
            pieces=pieces, headers={"content-type": CONTENT_TYPES[framing]}, on_disconnect=self._drop
        )

    def _drop(self, _: float) -> None:
        # The run goes on: that a client leaves ends nothing, as far as the vendor tells.
        self._desk.counts["dropped"] += 1

    def _stop(
        self, order: Order, session: Session, event: Mapping[str, Any], *, is_bare: bool, now: float
    ) -> Answer:
        """Answer what does not begin before its user has signed in."""
        body: dict[str, Any] = {"events": [event]}
        if not is_bare:
            info = session_info(session, self._desk, status="idle", run_id=None)
            body = {"messageId": self._desk.new_id("msg-"), **body, "sessionInfo": info}
        if order.mode is None or self._desk.rules.has_response_processor:
            return self._desk.reply(body)
        if order.mode == "messages":
            body = {"eventIndex": 0, **body, "isLastEvent": True}
        framing = self._streams.framing()
        return self._stream(framing, self._streams.single(body, framing, now))

    def _acknowledge(self, run: AppRun, call: Call) -> Reply:
        order = run.order
        if order.callback_url is not None and run.end is not None:
            if call.should_end_at_start is not None and call.should_end_at_start(run.id):
                run.hasten()
            self._callbacks.plan(run)
        told: dict[str, Any] = {"status": "processing"}
        if order.callback_url is None or not self._desk.rules.hides_run_id:
            told["runId"] = run.id
        told["message"] = "accepted"
        return self._desk.accepted(told if run.event is None else {**told, "events": [run.event]})

    def _poll(self, call: Call) -> Reply:
        body = read_object(call) if call.request.body else Members({})
        rules = self._desk.rules
        identity = read_identity(body, is_needed=rules.status_needs_identity)
        run = self._runs.get(call.path["run_id"])
        if run is None:
            raise self._desk.missing("run")
        self._sessions.check(identity, run.session)
        self._desk.counts["polls"] += 1
        self._desk.counts["polls_without_identity"] += identity == Identity()
        return self._desk.reply({"run": self._teller.record(run, call.now)})
