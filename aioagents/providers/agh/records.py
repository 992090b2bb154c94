"""AGH Runtime: jobs, triggers and runs as the server sends them. Pure.

Read tolerantly: `raw` keeps the object as received, new members and words included; a member that is missing, null or
of another type than documented is empty, None or 0. Only an id, and a run's status, are required. Times are truncated
to microseconds. AGH automation API, sections 5.1 to 5.8.
"""

from collections.abc import Mapping
from datetime import datetime
from types import MappingProxyType
from typing import Any, Final

from attrs import field, frozen

from ...codec import parse_moment
from ...errors import DecodeError
from .settings import VENDOR
from .values import FireLimit, JobTask, Retry, Schedule, TaskOwner

_NOTHING: Final[Mapping[str, Any]] = MappingProxyType({})
_NO_RETRY: Final = Retry.none()
#: The server's default.
_USUAL_LIMIT: Final = FireLimit(12, "1h")


@frozen(kw_only=True)
class SchedulerState:
    """The scheduler's state of a job. Fires that were missed while the daemon was down count as misfires."""

    job_id: str
    registered: bool = False
    next_run_at: datetime | None = None
    last_run_at: datetime | None = None
    last_scheduled_at: datetime | None = None
    last_misfire_at: datetime | None = None
    updated_at: datetime | None = None
    last_fire_id: str = ""
    catch_up_policy: str = ""
    misfire_grace_seconds: int = 0
    consecutive_resume_failures: int = 0
    misfire_count: int = 0
    raw: Mapping[str, Any] = field(default=_NOTHING, repr=False, eq=False)


@frozen(kw_only=True)
class Job:
    """A job. `source` says where it is defined: `dynamic` (the API), `config` (a file), `package` (an extension).

    `next_run` and `scheduler` are None unless the job is enabled and has a run ahead. A name does not identify a job.
    """

    id: str
    scope: str
    name: str
    agent_name: str = ""
    prompt: str = field(default="", repr=False)
    workspace_id: str = ""
    schedule: Schedule | None = None
    task: JobTask | None = None
    enabled: bool = False
    retry: Retry = _NO_RETRY
    fire_limit: FireLimit = _USUAL_LIMIT
    source: str = ""
    next_run: datetime | None = None
    scheduler: SchedulerState | None = None
    created_at: datetime | None = None
    updated_at: datetime | None = None
    raw: Mapping[str, Any] = field(default=_NOTHING, repr=False, eq=False)


@frozen(kw_only=True)
class Trigger:
    """A trigger: it runs when `event` happens and every entry of `filter` matches.

    `webhook_id` and `endpoint_slug` belong to the event `webhook`. `webhook_secret_hash` is the hash of the secret's
    name in the server, not of the secret: it stays the same when the secret changes, and can verify nothing.
    """

    id: str
    scope: str
    name: str
    event: str
    agent_name: str = ""
    prompt: str = field(default="", repr=False)
    workspace_id: str = ""
    filter: Mapping[str, str] = _NOTHING
    enabled: bool = False
    retry: Retry = _NO_RETRY
    fire_limit: FireLimit = _USUAL_LIMIT
    source: str = ""
    webhook_id: str = ""
    endpoint_slug: str = ""
    webhook_secret_present: bool = False
    webhook_secret_hash: str = ""
    created_at: datetime | None = None
    updated_at: datetime | None = None
    raw: Mapping[str, Any] = field(default=_NOTHING, repr=False, eq=False)

    @property
    def endpoint(self) -> str:
        """Return the endpoint of its webhook, `slug--wbh_id`; empty where it has none."""
        return f"{self.endpoint_slug}--{self.webhook_id}" if self.endpoint_slug and self.webhook_id else ""


@frozen(kw_only=True)
class AutomationRun:
    """One run of a job or trigger, whose id stays when the job or trigger is gone.

    `status` is `scheduled`, `running`, `delegated`, `completed`, `failed`, `canceled`, or a newer word; `attempt`
    counts from 1. `fire_id` is set for scheduled fires and webhooks alone, `task_id` and `task_run_id` where the
    work was delegated. `started_at` is when the run was reserved, and `started_at_text` the same as written, to the
    nanosecond. `delivery_error` is why a scheduled fire could not be dispatched.
    """

    id: str
    status: str
    attempt: int = 0
    job_id: str = ""
    trigger_id: str = ""
    session_id: str = ""
    task_id: str = ""
    task_run_id: str = ""
    fire_id: str = ""
    scheduled_at: datetime | None = None
    started_at: datetime | None = None
    started_at_text: str = ""
    ended_at: datetime | None = None
    error: str = field(default="", repr=False)
    delivery_error: str = field(default="", repr=False)
    delivery_error_at: datetime | None = None
    raw: Mapping[str, Any] = field(default=_NOTHING, repr=False, eq=False)


def read_job(raw: Any, *, call: str, path: str = "$.job") -> Job:
    """Read a job. Raises DecodeError where it has no id."""
    return Job(
        id=_id(raw, call, path),
        schedule=_schedule(raw.get("schedule")),
        task=_task(raw.get("task")),
        next_run=_moment(raw, "next_run"),
        scheduler=_scheduler(raw.get("scheduler")),
        **_definition(raw),
    )


def read_trigger(raw: Any, *, call: str, path: str = "$.trigger") -> Trigger:
    """Read a trigger. Raises DecodeError where it has no id."""
    found = _object(raw, "filter")
    return Trigger(
        id=_id(raw, call, path),
        event=_text(raw, "event"),
        filter={key: value for key, value in found.items() if isinstance(value, str)},
        webhook_id=_text(raw, "webhook_id"),
        endpoint_slug=_text(raw, "endpoint_slug"),
        webhook_secret_present=raw.get("webhook_secret_present") is True,
        webhook_secret_hash=_text(raw, "webhook_secret_hash"),
        **_definition(raw),
    )


def read_run(raw: Any, *, call: str, path: str = "$.run") -> AutomationRun:
    """Read a run. Raises DecodeError where it has no id or no status."""
    return AutomationRun(
        id=_id(raw, call, path),
        status=_needed(raw, "status", call, path),
        attempt=_count(raw, "attempt"),
        job_id=_text(raw, "job_id"),
        trigger_id=_text(raw, "trigger_id"),
        session_id=_text(raw, "session_id"),
        task_id=_text(raw, "task_id"),
        task_run_id=_text(raw, "task_run_id"),
        fire_id=_text(raw, "fire_id"),
        scheduled_at=_moment(raw, "scheduled_at"),
        started_at=_moment(raw, "started_at"),
        started_at_text=_text(raw, "started_at"),
        ended_at=_moment(raw, "ended_at"),
        error=_text(raw, "error"),
        delivery_error=_text(raw, "delivery_error"),
        delivery_error_at=_moment(raw, "delivery_error_at"),
        raw=raw,
    )


def _definition(raw: Mapping[str, Any]) -> dict[str, Any]:
    """Read what jobs and triggers have in common."""
    retry, limit = _object(raw, "retry"), raw.get("fire_limit")
    return {
        "scope": _text(raw, "scope"),
        "name": _text(raw, "name"),
        "agent_name": _text(raw, "agent_name"),
        "prompt": _text(raw, "prompt"),
        "workspace_id": _text(raw, "workspace_id"),
        "enabled": raw.get("enabled") is True,
        "retry": Retry(
            strategy=_text(retry, "strategy") or "none",
            max_retries=_count(retry, "max_retries"),
            base_delay=_text(retry, "base_delay"),
        ),
        "fire_limit": FireLimit(_count(limit, "max"), _text(limit, "window"))
        if isinstance(limit, dict)
        else _USUAL_LIMIT,
        "source": _text(raw, "source"),
        "created_at": _moment(raw, "created_at"),
        "updated_at": _moment(raw, "updated_at"),
        "raw": raw,
    }


def _schedule(raw: Any) -> Schedule | None:
    if not isinstance(raw, dict):
        return None
    return Schedule(
        mode=_text(raw, "mode"),
        expr=_text(raw, "expr"),
        interval=_text(raw, "interval"),
        time=_text(raw, "time"),
    )


def _task(raw: Any) -> JobTask | None:
    if not isinstance(raw, dict):
        return None
    owner = raw.get("owner")
    return JobTask(
        title=_text(raw, "title"),
        description=_text(raw, "description"),
        network_channel=_text(raw, "network_channel"),
        owner=TaskOwner(_text(owner, "kind"), _text(owner, "ref")) if isinstance(owner, dict) else None,
    )


def _scheduler(raw: Any) -> SchedulerState | None:
    if not isinstance(raw, dict):
        return None
    return SchedulerState(
        job_id=_text(raw, "job_id"),
        registered=raw.get("registered") is True,
        next_run_at=_moment(raw, "next_run_at"),
        last_run_at=_moment(raw, "last_run_at"),
        last_scheduled_at=_moment(raw, "last_scheduled_at"),
        last_misfire_at=_moment(raw, "last_misfire_at"),
        updated_at=_moment(raw, "updated_at"),
        last_fire_id=_text(raw, "last_fire_id"),
        catch_up_policy=_text(raw, "catch_up_policy"),
        misfire_grace_seconds=_count(raw, "misfire_grace_seconds"),
        consecutive_resume_failures=_count(raw, "consecutive_resume_failures"),
        misfire_count=_count(raw, "misfire_count"),
        raw=raw,
    )


def _id(raw: Any, call: str, path: str) -> str:
    text = _needed(raw, "id", call, path)
    if not text:
        raise _wrong(call, f"{path}.id")
    return text


def _needed(raw: Any, name: str, call: str, path: str) -> str:
    text = raw.get(name) if isinstance(raw, dict) else None
    if isinstance(text, str):
        return text
    raise _wrong(call, f"{path}.{name}" if isinstance(raw, dict) else path)


def _wrong(call: str, path: str) -> DecodeError:
    message = f"{VENDOR}: the answer to {call} has the wrong shape at {path}"
    return DecodeError(message, vendor=VENDOR, call=call, path=path)


def _text(raw: Mapping[str, Any], name: str) -> str:
    value = raw.get(name)
    return value if isinstance(value, str) else ""


def _count(raw: Mapping[str, Any], name: str) -> int:
    value = raw.get(name)
    return value if isinstance(value, int) and not isinstance(value, bool) else 0


def _object(raw: Any, name: str) -> Mapping[str, Any]:
    value = raw.get(name) if isinstance(raw, dict) else None
    return value if isinstance(value, dict) else _NOTHING


def _moment(raw: Mapping[str, Any], name: str) -> datetime | None:
    return parse_moment(raw.get(name))
