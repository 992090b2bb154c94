"""Jobs and triggers: how the server reads, checks and writes their JSON. Pure."""

import re
from collections.abc import Mapping
from hashlib import sha256
from typing import Any, Final, TypeAlias, TypeVar

from attrs import evolve, field, fields_dict, frozen

from .cron import Cron
from .templates import check_template
from .times import omit_empty, read_duration, read_moment, write_moment

SCOPES: Final = frozenset({"global", "workspace"})
SOURCES: Final = frozenset({"config", "dynamic", "package"})
WEBHOOK: Final = "webhook"
_OWNERS: Final = frozenset({"human", "agent_session", "automation", "extension", "network_peer", "pool"})
_CHANNEL: Final = re.compile(r"[a-z0-9][a-z0-9_-]{0,63}")
_FILTERED: Final = frozenset({"kind", "scope", "workspace_id", "source"})
_NO_RETRY: Final[Mapping[str, Any]] = {"strategy": "none", "max_retries": 0, "base_delay": ""}
_FIRE_LIMIT: Final[Mapping[str, Any]] = {"max": 12, "window": "1h"}
_MOST: Final = 2**63

#: The shape of JSON that is read: an object's members, a type, or `Mapping` for an object of strings.
Shape: TypeAlias = "type | Mapping[str, Shape]"

_COMMON: Final[Mapping[str, Shape]] = {
    "name": str,
    "agent_name": str,
    "workspace_id": str,
    "prompt": str,
    "enabled": bool,
    "retry": {"strategy": str, "max_retries": int, "base_delay": str},
    "fire_limit": {"max": int, "window": str},
}
JOB_CHANGES: Final[Mapping[str, Shape]] = {
    **_COMMON,
    "schedule": {"mode": str, "expr": str, "interval": str, "time": str},
    "task": {
        "title": str,
        "description": str,
        "network_channel": str,
        "owner": {"kind": str, "ref": str},
    },
}
TRIGGER_CHANGES: Final[Mapping[str, Shape]] = {
    **_COMMON,
    "event": str,
    "filter": Mapping,
    "endpoint_slug": str,
    "webhook_id": str,
    "webhook_secret_value": str,
}
JOB: Final[Mapping[str, Shape]] = {"scope": str, **JOB_CHANGES}
TRIGGER: Final[Mapping[str, Shape]] = {"scope": str, **TRIGGER_CHANGES}


def read_members(value: Any, shape: Shape, name: str = "the body") -> Any:
    """Return the members that the server knows, with checked types; null counts as absent. Raises ValueError."""
    if shape is Mapping:
        if not isinstance(value, dict) or not all(isinstance(text, str | None) for text in value.values()):
            raise ValueError(f"{name} has to be an object of strings")
        return {key: text or "" for key, text in value.items()}
    if isinstance(shape, Mapping):
        if not isinstance(value, dict | None):
            raise ValueError(f"{name} has to be an object")  # noqa: TRY004 - the callers handle ValueError
        given = {key: each for key, each in (value or {}).items() if each is not None}
        return {key: read_members(given[key], each, key) for key, each in shape.items() if key in given}
    if type(value) is not shape or (isinstance(value, int) and not -_MOST <= value < _MOST):
        raise ValueError(f"{name} has the wrong type")
    return value


@frozen(kw_only=True)
class Definition:
    """What jobs and triggers have in common. Times are nanoseconds."""

    id: str = ""
    scope: str = ""
    name: str = ""
    agent_name: str = ""
    workspace_id: str = ""
    prompt: str = ""
    enabled: bool = True
    retry: Mapping[str, Any] = _NO_RETRY
    fire_limit: Mapping[str, Any] = _FIRE_LIMIT
    source: str = "dynamic"
    created_at: int = 0
    updated_at: int = 0

    @property
    def retries(self) -> int:
        """Return how often a failed run is retried."""
        return int(self.retry["max_retries"])

    def delay(self, attempt: int) -> int:
        """Return the nanoseconds between the end of this attempt and the next one."""
        return (read_duration(self.retry["base_delay"].strip()) or 0) * (1 << (attempt - 1))

    @property
    def window(self) -> int:
        """Return the fire limit's window in nanoseconds."""
        return read_duration(self.fire_limit["window"].strip()) or 0

    def check(self) -> None:
        """Raise ValueError for members that are invalid, or inconsistent with each other."""
        if not self.name:
            raise ValueError("name is required")
        if self.scope not in SCOPES:
            raise ValueError("scope has to be global or workspace")
        if (self.scope == "workspace") is not bool(self.workspace_id):
            raise ValueError("workspace_id belongs to scope workspace, and to no other")
        _check_retry(self.retry)
        if self.fire_limit["max"] <= 0:
            raise ValueError("fire_limit.max has to be more than 0")
        _check_duration(self.fire_limit["window"], "fire_limit.window")


@frozen(kw_only=True)
class Job(Definition):
    """A job."""

    schedule: Mapping[str, str] = field(factory=dict)
    task: Mapping[str, Any] | None = None

    def check(self) -> None:
        """Raise ValueError for members that are invalid, or inconsistent with each other."""
        super().check()
        if self.task is None and not (self.agent_name and self.prompt):
            raise ValueError("agent_name and prompt are required of a job without a task")
        _check_schedule(self.schedule)
        if self.task is not None:
            _check_task(self.task)
            if self.retry["strategy"] != "none":
                raise ValueError("a job with a task is not retried: retry.strategy has to be none")

    def body(self, state: Mapping[str, Any] | None) -> dict[str, Any]:
        """Return its JSON object; `state` is that of the scheduler, None where the job is not registered."""
        body = _head(self)
        body["schedule"] = {"mode": self.schedule["mode"], **omit_empty(self.schedule)}
        if self.task is not None:
            body["task"] = omit_empty(self.task)
        body |= _settings(self) | _moments(self)
        if state is not None:
            body |= {"next_run": state["next_run"], "scheduler": state["scheduler"]}
        return body


@frozen(kw_only=True)
class Trigger(Definition):
    """A trigger. `is_secret_known` says whether it refers to a secret, which `secret` may lack all the same."""

    event: str = ""
    filter: Mapping[str, str] = field(factory=dict)
    endpoint_slug: str = ""
    webhook_id: str = ""
    is_secret_known: bool = False
    secret: str = field(default="", repr=False)

    @property
    def is_webhook(self) -> bool:
        """Return whether deliveries fire it."""
        return self.event == WEBHOOK

    def check(self) -> None:
        """Raise ValueError for members that are invalid, or inconsistent with each other."""
        super().check()
        if not (self.agent_name and self.prompt and self.event):
            raise ValueError("agent_name, prompt and event are required")
        for key, value in self.filter.items():
            _check_filter(key.strip(), value.strip())
        check_template(self.prompt)
        if not self.is_webhook:
            if self.endpoint_slug or self.webhook_id or self.is_secret_known:
                raise ValueError("endpoint_slug, webhook_id and secret belong to event webhook")
            return
        if not (self.endpoint_slug or self.webhook_id):
            raise ValueError("endpoint_slug or webhook_id is required of event webhook")
        if not self.is_secret_known:
            raise ValueError("webhook_secret_value is required of event webhook")
        if self.webhook_id and not self.webhook_id.startswith("wbh_"):
            raise ValueError("webhook_id has to begin with wbh_")

    def named(self) -> "Trigger":
        """Return it with a webhook id, which the server derives from its id where none was given."""
        if not self.is_webhook or self.webhook_id:
            return self
        return evolve(self, webhook_id=f"wbh_{sha256(self.id.encode()).hexdigest()[:16]}")

    def body(self) -> dict[str, Any]:
        """Return its JSON object."""
        body = _head(self) | {"event": self.event} | omit_empty({"filter": self.filter}) | _settings(self)
        body |= omit_empty({"webhook_id": self.webhook_id, "endpoint_slug": self.endpoint_slug})
        body["webhook_secret_present"] = bool(self.secret)
        if self.is_secret_known:
            # The hash of the secret's name, not of its value.
            name = f"vault:automation/triggers/{self.id}/webhook-secret"
            body["webhook_secret_hash"] = f"sha256:{sha256(name.encode()).hexdigest()}"
        return body | _moments(self)


D = TypeVar("D", bound=Definition)


def changed(definition: D, members: Mapping[str, Any]) -> D:
    """Return a definition with members from `read_members`: texts stripped, objects replaced as a whole."""
    known = fields_dict(type(definition))
    values: dict[str, Any] = {
        name: value.strip() if isinstance(value, str) else value
        for name, value in members.items()
        if name in known
    }
    if "retry" in values:
        values["retry"] = {"strategy": "", "max_retries": 0, "base_delay": "", **values["retry"]}
    if "fire_limit" in values:
        values["fire_limit"] = {"max": 0, "window": "", **values["fire_limit"]}
    return evolve(definition, **values)


def with_secret(trigger: Trigger, members: Mapping[str, Any]) -> Trigger:
    """Return a trigger with the secret that a request sets. Raises ValueError for a blank one."""
    secret = members.get("webhook_secret_value")
    if secret is None:
        return trigger
    if not secret.strip():
        raise ValueError("webhook_secret_value is blank")
    return evolve(trigger, secret=secret.strip(), is_secret_known=True)


def _head(definition: Definition) -> dict[str, Any]:
    return {
        "id": definition.id,
        "scope": definition.scope,
        "name": definition.name,
        "agent_name": definition.agent_name,
        **omit_empty({"workspace_id": definition.workspace_id}),
        "prompt": definition.prompt,
    }


def _settings(definition: Definition) -> dict[str, Any]:
    return {
        "enabled": definition.enabled,
        "retry": dict(definition.retry),
        "fire_limit": dict(definition.fire_limit),
        "source": definition.source,
    }


def _moments(definition: Definition) -> dict[str, str]:
    return {
        "created_at": write_moment(definition.created_at),
        "updated_at": write_moment(definition.updated_at),
    }


def _check_duration(text: str, name: str) -> None:
    if (read_duration(text.strip()) or 0) <= 0:
        raise ValueError(f"{name} has to be a positive duration")


def _check_retry(retry: Mapping[str, Any]) -> None:
    if retry["strategy"] == "none":
        if retry["max_retries"] or retry["base_delay"].strip():
            raise ValueError("retry.max_retries and retry.base_delay belong to strategy backoff")
        return
    if retry["strategy"] != "backoff":
        raise ValueError("retry.strategy has to be none or backoff")
    if retry["max_retries"] <= 0:
        raise ValueError("retry.max_retries has to be more than 0")
    _check_duration(retry["base_delay"], "retry.base_delay")


def _check_schedule(schedule: Mapping[str, str]) -> None:
    wanted = {"cron": "expr", "every": "interval", "at": "time"}.get(schedule.get("mode", ""))
    if wanted is None:
        raise ValueError("schedule.mode has to be cron, every or at")
    given = {name for name, value in schedule.items() if name != "mode" and value.strip()}
    if given != {wanted}:
        raise ValueError(f"schedule wants {wanted} with this mode, and nothing else")
    value = schedule[wanted].strip()
    if wanted == "expr":
        Cron.read(value)
    elif wanted == "interval":
        _check_duration(value, "schedule.interval")
    elif read_moment(value) is None:
        raise ValueError("schedule.time has to be an RFC 3339 moment")


def _check_task(task: Mapping[str, Any]) -> None:
    channel, owner = task.get("network_channel", "").strip(), task.get("owner")
    if channel and not _CHANNEL.fullmatch(channel):
        raise ValueError("task.network_channel is not a channel's name")
    if owner is not None and (owner.get("kind") not in _OWNERS or not owner.get("ref", "").strip()):
        raise ValueError("task.owner needs a known kind, and a ref")


def _check_filter(key: str, value: str) -> None:
    if not value:
        raise ValueError(f"filter: {key} has no value")
    first, _, rest = key.partition(".")
    is_data = first == "data" and all(segment.strip() for segment in rest.split("."))
    if key not in _FILTERED and not is_data:
        raise ValueError(f"filter: nothing is called {key!r}")
