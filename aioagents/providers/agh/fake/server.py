"""The fake server of AGH Runtime: its settings, who may call it, and its counters."""

from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, tzinfo
from types import MappingProxyType
from typing import Any, Final

from attrs import evolve, field, frozen

from ....contract.fake import Call, Endpoint, FakeVendor, Refused, Route, RunPlan, seeded
from ....model import Purpose, Reply
from .automation_handlers import AutomationHandlers
from .catalogue import Jobs, Triggers
from .definition_handlers import DefinitionHandlers
from .definitions import Definition, Job, Trigger
from .dispatch import Dispatcher
from .runs import History, Record
from .schedule import Scheduler
from .session_handlers import SessionHandlers
from .state import ServerState
from .task_handlers import TaskHandlers
from .tasks import Tasks
from .timelines import Timelines
from .times import write_moment

_MOST_BYTES: Final = 4_194_304
#: What there is below `/api/`.
_OWN: Final = frozenset(
    {"automation", "webhooks", "task-runs", "tasks", "runs", "sessions", "workspaces", "status"}
)
_RESULTS: Final[Sequence[Any]] = ({"answer": "tea", "score": 0.5}, "tea", ["tea", 1], 7, True)
_VERSION: Final = "0.0.0-simulated"
_PORT: Final = 2123


@frozen(kw_only=True)
class AghRules:
    """The settings of the daemon. The defaults are its own.

    At most `concurrency` runs go on at once, over all jobs and triggers. `zone` is the time zone of cron expressions
    and of the scheduler's dates. `is_enabled` and `has_engine` say whether automation, and the engine for deliveries,
    are on; `is_exposed` that the daemon listens on more than loopback, and so refuses all calls but deliveries.
    `unique_names` refuses a name that is taken in its scope. Completed task runs get their results from `results` in
    turn.
    """

    concurrency: int = 5
    zone: tzinfo = UTC
    is_enabled: bool = True
    has_engine: bool = True
    is_exposed: bool = False
    unique_names: bool = False
    results: Sequence[Any] = field(default=_RESULTS)


class FakeAgh(FakeVendor):
    """An AGH Runtime daemon as its facts describe it: jobs, triggers, runs, deliveries, tasks. Deterministic by seed.

    Scripts are found by the name or id of a job or trigger; their words are the vendor's own, those of task runs for
    a job with a task. After an end, a script continues with the next attempt; its last part is that of all later
    ones. Calls that block are answered with `DelayedReply`. Dates are `plan.epoch` and later, to the nanosecond; a
    delivery may be dated by the client's own clock as well (`Call.client_time`). The plan's `pausing` is ignored.
    `starts` are counted of runs that trigger calls and deliveries start, `fires` of those that the scheduler starts,
    `retries` of the further attempts of both, `polls` of single runs and task runs, `lists` of histories,
    `deliveries` of those that were authenticated and new.
    """

    vendor = "agh"
    counters = ("lists", "deliveries", "fires", "retries")

    def __init__(self, plan: RunPlan | None = None, *, rules: AghRules | None = None) -> None:
        super().__init__(plan)
        plan = self.plan
        self._rules = rules = AghRules() if rules is None else rules
        self._state = state = ServerState(plan.epoch, self.counts)
        self._history = history = History()
        ids = seeded("agh", plan.seed)
        events, counts = state.events, state.counts
        self._tasks = Tasks(events, ids, results=rules.results)
        self._dispatcher = Dispatcher(
            events=events,
            history=history,
            timelines=Timelines(plan),
            tasks=self._tasks,
            ids=ids,
            limit=rules.concurrency,
            counts=counts,
        )
        self._scheduler = Scheduler(
            events=events, history=history, dispatcher=self._dispatcher, zone=rules.zone, counts=counts
        )
        options: dict[str, Any] = {"now": lambda: events.now, "ids": ids, "is_unique": rules.unique_names}
        self._jobs = Jobs(rebuild=self._scheduler.rebuild, **options)
        self._triggers = Triggers(**options)
        self._routes = self._make_routes()

    @property
    def starts_by_target(self) -> Mapping[str, int]:
        """Return how many runs trigger calls started of each job, and deliveries of each trigger, by its id."""
        return MappingProxyType(self._dispatcher.starts_by_target)

    def environment(self, url: str) -> Mapping[str, str]:
        """Return `AGH_BASE_URL`."""
        return {"AGH_BASE_URL": url}

    def ended_at(self, run_id: str) -> float | None:
        """Return the server's second at which a run reaches its final status, also before then; None for never.

        A delegated run ends with its task run, which can also be looked up by its own id. That a further attempt is
        refused is not known before it happens.
        """
        record = self._history.find(run_id)
        ended_at = self._tasks.ended_at(run_id) if record is None else self._dispatcher.ended_at(record)
        return None if ended_at is None else self._state.seconds(ended_at)

    def install_job(self, body: Mapping[str, Any], *, job_id: str = "", source: str = "dynamic") -> str:
        """Create a job from a body as of the API, and return its id. Raises `Refused`."""
        return self._jobs.create(dict(body), definition_id=job_id, source=source).id

    def install_trigger(
        self, body: Mapping[str, Any], *, trigger_id: str = "", source: str = "dynamic"
    ) -> str:
        """Create a trigger from a body as of the API, and return its id. Raises `Refused`."""
        return self._triggers.create(dict(body), definition_id=trigger_id, source=source).id

    def install_record(self, record: Record) -> None:
        """Add an earlier run to the history."""
        self._history.add(record)

    def lose_secret(self, trigger_id: str) -> None:
        """Remove the secret of a trigger, which still refers to it. Raises `Refused`."""
        self._triggers.by_id[trigger_id] = evolve(self._triggers.get(trigger_id), secret="")

    def pause_task(self, run_id: str, *, needs_approval: bool = False) -> None:
        """Pause the task of a delegated run, as a person may. With `needs_approval` its approval is pending instead.

        Raises `Refused`.
        """
        record = self._history.find(run_id)
        task = self._tasks.find_task("" if record is None else record.task_id)
        task.is_paused, task.is_approval_pending = not needs_approval, needs_approval

    def restart(self, now: float, *, down_since: float | None = None) -> None:
        """Stop the daemon and start it again: runs that were scheduled or running stay so for ever.

        Fires that were due while it was down are missed. Task runs go on.
        """
        self._state.advance(now if down_since is None else down_since)
        self._dispatcher.forget_all()
        self._scheduler.stop()
        self._state.advance(now)
        self._scheduler.rebuild(self._jobs.by_id)

    def answer_unknown(self, method: str, raw_path: str, now: float) -> Reply | None:
        """Answer an unknown path below `/api/` with text; one with an extra slash at its end is redirected."""
        parts = raw_path.split("/")
        if parts[1:2] != ["api"] or not _OWN.intersection(parts[2:3]):
            return None
        self._state.advance(now)
        if raw_path.endswith("/") and not raw_path.endswith("//"):
            return self._state.text(301 if method == "GET" else 307, location=raw_path[:-1])
        return self._state.text(404, b"404 page not found")

    def _make_routes(self) -> tuple[Route, ...]:
        state = self._state
        calls = AutomationHandlers(
            state=state,
            jobs=self._jobs,
            triggers=self._triggers,
            history=self._history,
            dispatcher=self._dispatcher,
            has_engine=self._rules.has_engine,
        )
        status: Endpoint = ("GET", "/api/status", "status", Purpose.CALL, self._status)
        sessions = SessionHandlers(
            state=state,
            jobs=self._jobs,
            triggers=self._triggers,
            history=self._history,
            dispatcher=self._dispatcher,
        )
        others = [*TaskHandlers(state, self._tasks).endpoints(), *sessions.endpoints(), status]
        return (
            *state.routes(self._definition_endpoints(), self._permit_automation),
            *state.routes(calls.endpoints(), self._permit_automation),
            *state.routes(calls.webhook_endpoints(), self._permit_delivery),
            *state.routes(others, self._permit),
        )

    def _definition_endpoints(self) -> Iterator[Endpoint]:
        def job_body(job: Job) -> dict[str, Any]:
            return job.body(self._scheduler.state(job.id))

        yield from DefinitionHandlers(self._state, self._jobs, job_body).endpoints()
        yield from DefinitionHandlers(self._state, self._triggers, Trigger.body).endpoints()

    def _permit_automation(self, call: Call) -> None:
        self._permit(call)
        self._need_automation()

    def _permit_delivery(self, call: Call) -> None:
        self._check_origin(call)
        self._need_automation()

    def _permit(self, call: Call) -> None:
        self._check_origin(call)
        if self._rules.is_exposed:
            raise Refused(403, "calls are refused while the daemon listens on more than loopback")
        if len(call.request.body or b"") > _MOST_BYTES:
            raise Refused(413, "the request's body is too large")

    def _check_origin(self, call: Call) -> None:
        self._state.advance(call.now)
        origin = (call.header("origin") or "").strip().lower()
        if origin and origin != f"http://{call.header('host')}".lower():
            raise Refused(403, "this origin is refused")

    def _need_automation(self) -> None:
        if not self._rules.is_enabled:
            raise Refused(503)

    def _status(self, call: Call) -> Reply:
        scheduler, jobs = self._scheduler, self._jobs.by_id
        is_running = self._rules.is_enabled
        automation: dict[str, Any] = {
            "enabled": is_running,
            "jobs": _totals(jobs),
            "triggers": _totals(self._triggers.by_id),
            "scheduler_running": is_running,
        }
        next_fire = scheduler.next_fire()
        if is_running and next_fire is not None:
            automation["next_fire"] = write_moment(next_fire)
            states = (scheduler.state(job_id) for job_id in sorted(jobs))
            automation["scheduled_jobs"] = [state["scheduler"] for state in states if state is not None]
        port = (call.header("host") or "").rpartition(":")[2]
        daemon = {"version": _VERSION, "http_port": int(port) if port.isdecimal() else _PORT}
        return self._state.reply({"daemon": daemon, "automation": automation})


def _totals(definitions: Mapping[str, Definition]) -> dict[str, int]:
    enabled = [definition for definition in definitions.values() if definition.enabled]
    return {"total": len(definitions), "enabled": len(enabled)}
