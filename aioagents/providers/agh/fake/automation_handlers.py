"""Handlers of the endpoints that start runs and return them: triggers of jobs, deliveries, histories. Pure.

Triggers of jobs and deliveries block: they return a `DelayedReply` until their run has ended.
"""

import math
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any

from ....contract.fake import Call, DelayedReply, Endpoint, Refused
from ....model import Purpose, Reply
from .catalogue import Jobs, Triggers
from .definition_handlers import item_id
from .deliveries import WINDOW, Delivery, matches
from .dispatch import ActivationKind, Dispatch, Dispatcher
from .queries import read_run_query
from .runs import History, Query, Record
from .state import ServerState
from .templates import missing_field


class AutomationHandlers:
    """Answers requests for runs, triggers jobs, and accepts deliveries unless the engine is off."""

    def __init__(
        self,
        *,
        state: ServerState,
        jobs: Jobs,
        triggers: Triggers,
        history: History,
        dispatcher: Dispatcher,
        has_engine: bool,
    ) -> None:
        self._state = state
        self._jobs = jobs
        self._triggers = triggers
        self._history = history
        self._dispatcher = dispatcher
        self._has_engine = has_engine

    def endpoints(self) -> Iterator[Endpoint]:
        """Return the endpoints of runs, and the one that triggers a job."""
        jobs, triggers, runs = (f"/api/automation/{name}" for name in ("jobs", "triggers", "runs"))
        yield "GET", f"{jobs}/{{id}}/runs", "jobs.runs", Purpose.POLL, self._list_job_runs
        yield "POST", f"{jobs}/{{id}}/trigger", "jobs.trigger", Purpose.START, self._trigger_job
        yield "GET", f"{triggers}/{{id}}/runs", "triggers.runs", Purpose.POLL, self._list_trigger_runs
        yield "GET", runs, "runs.list", Purpose.POLL, self._list_runs
        yield "GET", f"{runs}/{{id}}", "runs.get", Purpose.POLL, self._get_run

    def webhook_endpoints(self) -> Iterator[Endpoint]:
        """Return the endpoints of deliveries."""
        start, name = Purpose.START, "webhooks.deliver"
        yield "POST", "/api/webhooks/global/{endpoint}", name, start, self._deliver_globally
        yield "POST", "/api/webhooks/workspaces/{workspace_id}/{endpoint}", name, start, self._deliver_within

    def _list_job_runs(self, call: Call) -> Reply:
        return self._list(read_run_query(call.query, job_id=self._jobs.get(item_id(call)).id))

    def _list_trigger_runs(self, call: Call) -> Reply:
        return self._list(read_run_query(call.query, trigger_id=self._triggers.get(item_id(call)).id))

    def _list_runs(self, call: Call) -> Reply:
        return self._list(read_run_query(call.query))

    def _get_run(self, call: Call) -> Reply:
        record = self._history.find(item_id(call))
        if record is None:
            raise Refused(404, "no such run")
        self._state.counts["polls"] += 1
        return self._state.reply({"run": record.body()})

    def _trigger_job(self, call: Call) -> Reply | DelayedReply:
        job = self._jobs.get(item_id(call))
        return self._answer_when_over(
            self._dispatcher.begin(job, ActivationKind.MANUAL), lambda record: {"run": record.body()}
        )

    def _deliver_globally(self, call: Call) -> Reply | DelayedReply:
        return self._deliver(call, "global", "")

    def _deliver_within(self, call: Call) -> Reply | DelayedReply:
        return self._deliver(call, "workspace", call.path["workspace_id"].strip())

    def _deliver(self, call: Call, scope: str, workspace_id: str) -> Reply | DelayedReply:
        delivery = Delivery.read(call)
        if not self._has_engine:
            raise Refused(503)
        triggers = self._triggers.by_id.values()
        trigger = next((each for each in triggers if delivery.answers_at(each, scope, workspace_id)), None)
        if trigger is None:
            raise Refused(404, "no enabled trigger has this webhook endpoint")
        now = self._state.events.now
        delivery.authenticate(trigger, call, now)
        record = self._reserve(delivery, trigger.id, now)
        self._state.counts["deliveries"] += 1
        data = delivery.data()
        if not matches(trigger, data):
            return self._state.reply({"result": {"matched": 0}})
        self._history.add(record)
        missing = missing_field(trigger.prompt, data)
        fault = "" if missing is None else f"the prompt asks for {missing}, which the event does not have"
        dispatch = self._dispatcher.begin(trigger, ActivationKind.DELIVERY, reserved=record, fault=fault)
        if dispatch.record is None:
            self._history.remove(record)  # no run began: the delivery id stays free
        return self._answer_when_over(dispatch, _delivered, on_disconnect=partial(self._cancel, dispatch))

    def _reserve(self, delivery: Delivery, trigger_id: str, now: int) -> Record:
        """Make the record of a delivery whose id is free; it replaces one that had the same id long ago."""
        digest = delivery.digest(trigger_id)
        run_id = f"run_wbh_{digest[:24]}"
        old = self._history.find(run_id)
        if old is not None and old.started_at + WINDOW > now:
            raise Refused(409, "this webhook delivery was already processed")
        if old is not None:
            self._history.remove(old)
        return Record(id=run_id, trigger_id=trigger_id, fire_id=f"webhook:{digest}", started_at=now)

    def _answer_when_over(
        self,
        dispatch: Dispatch,
        to_body: Callable[[Record], Mapping[str, Any]],
        on_disconnect: Callable[[float], None] | None = None,
    ) -> Reply | DelayedReply:
        """Return the reply of a dispatch, delayed until it has ended."""
        if dispatch.is_over and not dispatch.is_lost:
            if dispatch.refusal is not None:
                raise dispatch.refusal
            if dispatch.record is None or dispatch.has_failed:
                raise Refused(500)
            return self._state.reply(to_body(dispatch.record))

        def reply(now: float) -> Reply | DelayedReply:
            self._state.advance(now)
            return self._answer_when_over(dispatch, to_body, on_disconnect)

        next_at = None if dispatch.is_lost else self._dispatcher.next_at(dispatch)
        until = math.inf if next_at is None else self._state.due(next_at)
        return DelayedReply(until=until, reply=reply, on_disconnect=on_disconnect)

    def _cancel(self, dispatch: Dispatch, now: float) -> None:
        self._state.advance(now)
        self._dispatcher.cancel(dispatch)

    def _list(self, query: Query) -> Reply:
        self._state.counts["lists"] += 1
        return self._state.reply({"runs": [record.body() for record in self._history.list(query)]})


def _delivered(record: Record) -> Mapping[str, Any]:
    return {"result": {"matched": 1, "runs": [record.body()]}}
