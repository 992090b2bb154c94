"""AGH Runtime in memory: what it is set up with, who may call it, and what was counted."""

import random
from collections.abc import Mapping, Sequence
from datetime import UTC, tzinfo
from types import MappingProxyType
from typing import Any, Final

from attrs import evolve, field, frozen

from ....contract.fake import Call, Endpoint, Refused, Route, RunPlan
from ....model import Purpose, Reply
from .calls import AutomationCalls
from .catalogue import Catalogue
from .courses import Courses
from .definitions import Definition
from .dispatch import Dispatcher
from .replies import Desk
from .runs import History, Record
from .schedule import Scheduler
from .task_calls import TaskCalls
from .tasks import Tasks
from .times import write_moment

_MOST_BYTES: Final = 4_194_304
_OWN: Final = frozenset({"automation", "webhooks", "task-runs", "tasks", "runs", "status"})  # below `/api/`
_RESULTS: Final[Sequence[Any]] = ({"answer": "tea", "score": 0.5}, "tea", ["tea", 1], 7, True)
_VERSION: Final = "0.0.0-simulated"
_PORT: Final = 2123


@frozen(kw_only=True)
class AghRules:
    """How the daemon is set up. The defaults are its own.

    `concurrency` runs go at once, over all jobs and triggers. `zone` is what cron expressions are read in, and what
    the scheduler tells its moments in. `is_enabled` and `has_engine` say whether automation, and what takes
    deliveries, is on; `is_exposed` that the daemon listens on more than loopback, and so lets nobody in but
    deliveries. `unique_names` refuses a name that is taken in its scope. Completed task runs take their results
    from `results` in turn.
    """

    concurrency: int = 5
    zone: tzinfo = UTC
    is_enabled: bool = True
    has_engine: bool = True
    is_exposed: bool = False
    unique_names: bool = False
    results: Sequence[Any] = field(default=_RESULTS)


class FakeAgh:
    """An AGH Runtime daemon as its facts describe it: jobs, triggers, runs, deliveries, tasks. Deterministic by seed.

    Scripts go by the name or id of a job or trigger; their words are the vendor's own, a task run's for a job with a
    task. Behind an end, a script goes on with the next attempt; the last attempt's part serves all later ones. Calls
    that block are answered with `DelayedReply`. Moments are `plan.epoch` and later, to the nanosecond; a delivery may
    be dated by the caller's own clock as well (`Call.client_time`). The plan's `pausing` has no meaning here.
    """

    def __init__(self, plan: RunPlan | None = None, *, rules: AghRules | None = None) -> None:
        plan = RunPlan() if plan is None else plan
        self._rules = rules = AghRules() if rules is None else rules
        self._desk = desk = Desk(plan.epoch)
        self._history = history = History()
        ids = random.Random(f"agh {plan.seed}")  # noqa: S311 - seeded on purpose
        timeline, counts = desk.timeline, desk.counts
        self._tasks = Tasks(timeline, ids, results=rules.results)
        self._dispatcher = Dispatcher(
            timeline=timeline,
            history=history,
            courses=Courses(plan),
            tasks=self._tasks,
            ids=ids,
            limit=rules.concurrency,
            counts=counts,
        )
        self._scheduler = Scheduler(
            timeline=timeline, history=history, dispatcher=self._dispatcher, zone=rules.zone, counts=counts
        )
        self._catalogue = Catalogue(
            now=lambda: timeline.now, ids=ids, rebuild=self._scheduler.rebuild, is_unique=rules.unique_names
        )
        self._routes = self._make_routes()

    @property
    def vendor(self) -> str:
        """Return `agh`."""
        return "agh"

    @property
    def routes(self) -> Sequence[Route]:
        """Return the automation endpoints, those of tasks, and the status."""
        return self._routes

    @property
    def starts_by_target(self) -> Mapping[str, int]:
        """Return how many runs each job, by its id, was triggered to, and each trigger by deliveries."""
        return MappingProxyType(self._dispatcher.starts_by_target)

    def statistics(self) -> Mapping[str, int]:
        """Return what was counted.

        `starts` are the runs begun by a trigger call or a delivery, `retries` their further attempts and those of
        `fires`, the scheduler's. `polls` are single reads of runs and task runs, `lists` reads of histories,
        `deliveries` those that were authenticated and new, `refused_<status>` the refusals. `token_requests` is 0.
        """
        named = ("token_requests", "starts", "polls", "lists", "deliveries", "fires", "retries")
        return dict.fromkeys(named, 0) | dict(self._desk.counts)

    def environment(self, url: str) -> Mapping[str, str]:
        """Return `AGH_BASE_URL`."""
        return {"AGH_BASE_URL": url}

    def revoke(self, authorization: str) -> bool:  # noqa: ARG002 - the signature is every world's
        """Return False: there are no tokens."""
        return False

    def ended_at(self, run_id: str) -> float | None:
        """Return the world's second at which a run ends for good, also before it has come; None for never.

        A delegated run ends with its task run, which may be asked for by its own id. What is not known before,
        that a further attempt is refused, is told once it has happened.
        """
        record = self._history.find(run_id)
        ended_at = self._tasks.ended_at(run_id) if record is None else self._dispatcher.ended_at(record)
        return None if ended_at is None else self._desk.seconds(ended_at)

    def install_job(self, body: Mapping[str, Any], *, job_id: str = "", source: str = "dynamic") -> str:
        """Put a job in, as a creation would take it; gives its id. Raises `Refused`."""
        return self._catalogue.create_job(dict(body), job_id=job_id, source=source).id

    def install_trigger(
        self, body: Mapping[str, Any], *, trigger_id: str = "", source: str = "dynamic"
    ) -> str:
        """Put a trigger in, as a creation would take it; gives its id. Raises `Refused`."""
        return self._catalogue.create_trigger(dict(body), trigger_id=trigger_id, source=source).id

    def install_record(self, record: Record) -> None:
        """Put a run of earlier times into the history."""
        self._history.add(record)

    def lose_secret(self, trigger_id: str) -> None:
        """Let the secret of a trigger be gone, though it is still referred to. Raises `Refused`."""
        trigger = self._catalogue.trigger(trigger_id)
        self._catalogue.triggers[trigger_id] = evolve(trigger, secret="")

    def restart(self, now: float, *, down_since: float | None = None) -> None:
        """Let the daemon stop and start again: what was scheduled or running stays so for ever.

        What should have fired while it was down is missed. Task runs go on.
        """
        self._desk.advance(now if down_since is None else down_since)
        self._dispatcher.forget_all()
        self._scheduler.stop()
        self._desk.advance(now)
        self._scheduler.rebuild(self._catalogue.jobs)

    def answer_unknown(self, method: str, raw_path: str, now: float) -> Reply | None:
        """Answer an unknown path below one of ours with text; one with a slash too many is sent to the right one."""
        parts = raw_path.split("/")
        if parts[1:2] != ["api"] or not _OWN.intersection(parts[2:3]):
            return None
        self._desk.advance(now)
        if raw_path.endswith("/") and not raw_path.endswith("//"):
            return self._desk.text(301 if method == "GET" else 307, location=raw_path[:-1])
        return self._desk.text(404, b"404 page not found")

    def _make_routes(self) -> tuple[Route, ...]:
        desk = self._desk
        calls = AutomationCalls(
            desk=desk,
            catalogue=self._catalogue,
            history=self._history,
            dispatcher=self._dispatcher,
            scheduler=self._scheduler,
            has_engine=self._rules.has_engine,
        )
        status: Endpoint = ("GET", "/api/status", "status", Purpose.CALL, self._status)
        others = [*TaskCalls(desk, self._tasks).endpoints(), status]
        return (
            *desk.routes(list(calls.endpoints()), self._permit_automation),
            *desk.routes(list(calls.webhook_endpoints()), self._permit_delivery),
            *desk.routes(others, self._permit),
        )

    def _permit_automation(self, call: Call) -> None:
        self._permit(call)
        self._need_automation()

    def _permit_delivery(self, call: Call) -> None:
        self._check_origin(call)
        self._need_automation()

    def _permit(self, call: Call) -> None:
        self._check_origin(call)
        if self._rules.is_exposed:
            raise Refused(403, "nobody is let in while the daemon listens on more than loopback")
        if len(call.request.body or b"") > _MOST_BYTES:
            raise Refused(413, "the request's body is too large")

    def _check_origin(self, call: Call) -> None:
        self._desk.advance(call.now)
        origin = (call.header("origin") or "").strip().lower()
        if origin and origin != f"http://{call.header('host')}".lower():
            raise Refused(403, "this origin is not let in")

    def _need_automation(self) -> None:
        if not self._rules.is_enabled:
            raise Refused(503)

    def _status(self, call: Call) -> Reply:
        scheduler, catalogue = self._scheduler, self._catalogue
        is_running = self._rules.is_enabled
        automation: dict[str, Any] = {
            "enabled": is_running,
            "jobs": _totals(catalogue.jobs),
            "triggers": _totals(catalogue.triggers),
            "scheduler_running": is_running,
        }
        next_fire = scheduler.next_fire()
        if is_running and next_fire is not None:
            automation["next_fire"] = write_moment(next_fire)
            states = (scheduler.state(job_id) for job_id in sorted(catalogue.jobs))
            automation["scheduled_jobs"] = [state["scheduler"] for state in states if state is not None]
        port = (call.header("host") or "").rpartition(":")[2]
        daemon = {"version": _VERSION, "http_port": int(port) if port.isdecimal() else _PORT}
        return self._desk.reply({"daemon": daemon, "automation": automation})


def _totals(definitions: Mapping[str, Definition]) -> dict[str, int]:
    enabled = [definition for definition in definitions.values() if definition.enabled]
    return {"total": len(definitions), "enabled": len(enabled)}
