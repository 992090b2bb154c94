"""Handlers of the automation endpoints: jobs, triggers, runs and deliveries. Pure.

Triggers of jobs and deliveries block: they return a `DelayedReply` until their run has ended.
"""

import math
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from http import HTTPStatus
from typing import Any

from ....contract.fake import Call, DelayedReply, Endpoint, Refused
from ....model import Purpose, Reply
from .catalogue import Catalogue, listed
from .definitions import Job
from .deliveries import WINDOW, Delivery, matches
from .dispatch import ActivationKind, Dispatch, Dispatcher
from .queries import read_run_query
from .runs import History, Query, Record
from .schedule import Scheduler
from .state import ServerState
from .templates import missing_field

_CREATED = HTTPStatus.CREATED


class AutomationHandlers:
    """Answers requests for jobs, triggers and runs, and accepts deliveries unless the engine is off."""

    def __init__(
        self,
        *,
        state: ServerState,
        catalogue: Catalogue,
        history: History,
        dispatcher: Dispatcher,
        scheduler: Scheduler,
        has_engine: bool,
    ) -> None:
        self._state = state
        self._catalogue = catalogue
        self._history = history
        self._dispatcher = dispatcher
        self._scheduler = scheduler
        self._has_engine = has_engine

    def endpoints(self) -> Iterator[Endpoint]:
        """Return the endpoints of jobs, triggers and runs."""
        call, poll, start = Purpose.CALL, Purpose.POLL, Purpose.START
        jobs, triggers, runs = (f"/api/automation/{name}" for name in ("jobs", "triggers", "runs"))
        yield "GET", jobs, "jobs.list", call, self._list_jobs
        yield "POST", jobs, "jobs.create", start, self._create_job
        yield "GET", f"{jobs}/{{id}}", "jobs.get", call, self._get_job
        yield "PATCH", f"{jobs}/{{id}}", "jobs.update", call, self._change_job
        yield "DELETE", f"{jobs}/{{id}}", "jobs.delete", call, self._delete_job
        yield "GET", f"{jobs}/{{id}}/runs", "jobs.runs", poll, self._list_job_runs
        yield "POST", f"{jobs}/{{id}}/trigger", "jobs.trigger", start, self._trigger_job
        yield "GET", runs, "runs.list", poll, self._list_runs
        yield "GET", f"{runs}/{{id}}", "runs.get", poll, self._get_run
        yield "GET", triggers, "triggers.list", call, self._list_triggers
        yield "POST", triggers, "triggers.create", start, self._create_trigger
        yield "GET", f"{triggers}/{{id}}", "triggers.get", call, self._get_trigger
        yield "PATCH", f"{triggers}/{{id}}", "triggers.update", call, self._change_trigger
        yield "DELETE", f"{triggers}/{{id}}", "triggers.delete", call, self._delete_trigger
        yield "GET", f"{triggers}/{{id}}/runs", "triggers.runs", poll, self._list_trigger_runs

    def webhook_endpoints(self) -> Iterator[Endpoint]:
        """Return the endpoints of deliveries."""
        start, name = Purpose.START, "webhooks.deliver"
        yield "POST", "/api/webhooks/global/{endpoint}", name, start, self._deliver_globally
        yield "POST", "/api/webhooks/workspaces/{workspace_id}/{endpoint}", name, start, self._deliver_within

    def _list_jobs(self, call: Call) -> Reply:
        found = listed(self._catalogue.jobs, call.query)
        return self._state.reply({"jobs": [self._job(job) for job in found]})

    def _create_job(self, call: Call) -> Reply:
        return self._state.reply({"job": self._job(self._catalogue.create_job(read_json(call)))}, _CREATED)

    def _get_job(self, call: Call) -> Reply:
        return self._state.reply({"job": self._job(self._catalogue.job(item_id(call)))})

    def _change_job(self, call: Call) -> Reply:
        return self._state.reply(
            {"job": self._job(self._catalogue.change_job(item_id(call), read_json(call)))}
        )

    def _delete_job(self, call: Call) -> Reply:
        self._catalogue.delete_job(item_id(call))
        return self._state.empty()

    def _list_job_runs(self, call: Call) -> Reply:
        job = self._catalogue.job(item_id(call))
        return self._runs(read_run_query(call.query, job_id=job.id))

    def _list_triggers(self, call: Call) -> Reply:
        found = listed(self._catalogue.triggers, call.query)
        return self._state.reply({"triggers": [trigger.body() for trigger in found]})

    def _create_trigger(self, call: Call) -> Reply:
        trigger = self._catalogue.create_trigger(read_json(call))
        return self._state.reply({"trigger": trigger.body()}, _CREATED)

    def _get_trigger(self, call: Call) -> Reply:
        return self._state.reply({"trigger": self._catalogue.trigger(item_id(call)).body()})

    def _change_trigger(self, call: Call) -> Reply:
        trigger = self._catalogue.change_trigger(item_id(call), read_json(call))
        return self._state.reply({"trigger": trigger.body()})

    def _delete_trigger(self, call: Call) -> Reply:
        self._catalogue.delete_trigger(item_id(call))
        return self._state.empty()

    def _list_trigger_runs(self, call: Call) -> Reply:
        trigger = self._catalogue.trigger(item_id(call))
        return self._runs(read_run_query(call.query, trigger_id=trigger.id))

    def _list_runs(self, call: Call) -> Reply:
        return self._runs(read_run_query(call.query))

    def _get_run(self, call: Call) -> Reply:
        record = self._history.find(item_id(call))
        if record is None:
            raise Refused(404, "no such run")
        self._state.counts["polls"] += 1
        return self._state.reply({"run": record.body()})

    def _trigger_job(self, call: Call) -> Reply | DelayedReply:
        job = self._catalogue.job(item_id(call))
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
        triggers = self._catalogue.triggers.values()
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

    def _runs(self, query: Query) -> Reply:
        self._state.counts["lists"] += 1
        return self._state.reply({"runs": [record.body() for record in self._history.list(query)]})

    def _job(self, job: Job) -> dict[str, Any]:
        return job.body(self._scheduler.state(job.id))


def read_json(call: Call) -> Any:
    """Return a request's body read as JSON. Raises `Refused`."""
    try:
        return call.json()
    except ValueError as exc:
        raise Refused(400, str(exc)) from None


def item_id(call: Call) -> str:
    """Return the id in the path."""
    return call.path["id"].strip()


def _delivered(record: Record) -> Mapping[str, Any]:
    return {"result": {"matched": 1, "runs": [record.body()]}}
