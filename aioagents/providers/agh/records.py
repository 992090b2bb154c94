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

from ...codec import Codec, member
from ...model.quick import quick
from .settings import VENDOR
from .values import FireLimit, JobTask, Retry, Schedule

#: How the server's JSON is read.
CODEC: Final = Codec(VENDOR)
_NOTHING: Final[Mapping[str, Any]] = MappingProxyType({})


@frozen(kw_only=True)
class SchedulerState:
    """The scheduler's state of a job. Fires that were missed while the daemon was down count as misfires."""

    job_id: str = ""
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
class _Definition:
    """What jobs and triggers have in common."""

    id: str
    scope: str = ""
    name: str = ""
    agent_name: str = ""
    prompt: str = field(default="", repr=False)
    workspace_id: str = ""
    enabled: bool = False
    retry: Retry = Retry.none()  # noqa: RUF009 - a frozen value
    fire_limit: FireLimit = FireLimit(12, "1h")  # noqa: RUF009 - a frozen value; the server's default
    source: str = ""
    created_at: datetime | None = None
    updated_at: datetime | None = None
    raw: Mapping[str, Any] = field(default=_NOTHING, repr=False, eq=False)


@frozen(kw_only=True)
class Job(_Definition):
    """A job. `source` says where it is defined: `dynamic` (the API), `config` (a file), `package` (an extension).

    `next_run` and `scheduler` are None unless the job is enabled and has a run ahead. A name does not identify a job.
    """

    schedule: Schedule | None = None
    task: JobTask | None = None
    next_run: datetime | None = None
    scheduler: SchedulerState | None = None


@frozen(kw_only=True)
class Trigger(_Definition):
    """A trigger: it runs when `event` happens and every entry of `filter` matches.

    `webhook_id` and `endpoint_slug` belong to the event `webhook`. `webhook_secret_hash` is the hash of the secret's
    name in the server, not of the secret: it stays the same when the secret changes, and can verify nothing.
    """

    event: str = ""
    filter: Mapping[str, str] = _NOTHING
    webhook_id: str = ""
    endpoint_slug: str = ""
    webhook_secret_present: bool = False
    webhook_secret_hash: str = ""

    @property
    def endpoint(self) -> str:
        """Return the endpoint of its webhook, `slug--wbh_id`; empty where it has none."""
        return f"{self.endpoint_slug}--{self.webhook_id}" if self.endpoint_slug and self.webhook_id else ""


@quick
@frozen(kw_only=True)
class AutomationRun:
    """One run of a job or trigger, whose id stays when the job or trigger is gone.

    `status` is `scheduled`, `running`, `delegated`, `completed`, `failed`, `canceled`, or a newer word; `attempt`
    counts from 1. `fire_id` is set for scheduled fires and webhooks alone, `task_id` and `task_run_id` where the
    work was delegated. `started_at` is when the run was reserved, and `started_at_text` the same as written, to the
    nanosecond. `delivery_error` is why a scheduled fire could not be dispatched.
    """

    id: str
    status: str = member(may_be_empty=True)
    attempt: int = 0
    job_id: str = ""
    trigger_id: str = ""
    session_id: str = ""
    task_id: str = ""
    task_run_id: str = ""
    fire_id: str = ""
    scheduled_at: datetime | None = None
    started_at: datetime | None = None
    started_at_text: str = member("started_at", default="")
    ended_at: datetime | None = None
    error: str = field(default="", repr=False)
    delivery_error: str = field(default="", repr=False)
    delivery_error_at: datetime | None = None
    raw: Mapping[str, Any] = field(default=_NOTHING, repr=False, eq=False)


def read_run(raw: Any, *, call: str, path: str = "$.run") -> AutomationRun:
    """Read a run. Raises DecodeError where it has no id or no status."""
    return CODEC.read(raw, AutomationRun, call=call, path=path)
