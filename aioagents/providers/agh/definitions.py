"""AGH Runtime: the bodies that create and change jobs and triggers, checked as the server checks them. Pure.

The checks are those of the AGH automation API, sections 5, 6.2, 6.4, 10.2 and 10.4. A change that is invalid in
itself is refused; whether it is valid together with the present definition, only the server knows.
"""

from collections.abc import Collection, Mapping
from functools import partial
from typing import Any, Final, TypedDict

from ...model import Secret
from .checks import (
    Check,
    check_blank,
    check_filled,
    check_flag,
    check_number,
    check_rule,
    check_string,
    check_word,
)
from .templates import check_template
from .values import (
    FireLimitLike,
    JobTaskLike,
    RetryLike,
    ScheduleLike,
    check_fire_limit,
    check_retry,
    check_schedule,
    check_task,
)

SCOPES: Final = ("global", "workspace")
SOURCES: Final = ("config", "dynamic", "package")
WEBHOOK: Final = "webhook"
WEBHOOK_PREFIX: Final = "wbh_"
_FILTER_KEYS: Final = frozenset({"kind", "scope", "workspace_id", "source"})
_DATA: Final = "data."
_SCOPE: Final = frozenset({"scope", "workspace_id"})


class _Changes(TypedDict, total=False):
    name: str
    agent_name: str
    workspace_id: str
    prompt: str
    enabled: bool
    retry: RetryLike
    fire_limit: FireLimitLike


class JobChanges(_Changes, total=False):
    """The members of a job that can be changed. Omitted ones stay unchanged; objects are replaced as a whole."""

    schedule: ScheduleLike
    task: JobTaskLike


class TriggerChanges(_Changes, total=False):
    """The members of a trigger that can be changed. Omitted ones stay unchanged; objects are replaced as a whole."""

    event: str
    filter: Mapping[str, str]
    webhook_id: str
    endpoint_slug: str
    webhook_secret_value: str | Secret


def job_body(given: Mapping[str, Any]) -> dict[str, object]:
    """Return the body that creates a job; members that are None are left out. Raises ValueError or TypeError."""
    if given.get("task") is None:
        return _new(given, _JOB_CHECKS, required=("name", "agent_name", "prompt", "schedule"))
    body = _new(given, _TASK_JOB_CHECKS, required=("name", "schedule"))
    _check_task_retry(body)
    return body


def job_changes(changes: Mapping[str, Any]) -> dict[str, object]:
    """Return the body that changes a job. Raises ValueError or TypeError, also where there is no change."""
    body = _changed(changes, _TASK_JOB_CHECKS)  # whether this job has a task, only the server knows
    _check_task_retry(body)
    return body


def trigger_body(given: Mapping[str, Any]) -> dict[str, object]:
    """Return the body that creates a trigger; members that are None are left out. Raises ValueError or TypeError."""
    event = given.get("event")
    is_webhook = isinstance(event, str) and event.strip() == WEBHOOK
    if not is_webhook:
        _check_no_webhook(given)
    body = _new(given, _TRIGGER_CHECKS, required=("name", "agent_name", "prompt", "event"))
    if is_webhook and not ("endpoint_slug" in body or "webhook_id" in body):
        raise ValueError(f"endpoint_slug: is required where the event is {WEBHOOK}")
    if is_webhook and "webhook_secret_value" not in body:
        raise ValueError(f"webhook_secret_value: is required where the event is {WEBHOOK}")
    return body


def trigger_changes(changes: Mapping[str, Any]) -> dict[str, object]:
    """Return the body that changes a trigger. Raises ValueError or TypeError, also where there is no change."""
    body = _changed(changes, _TRIGGER_CHECKS)
    if body.get("event", WEBHOOK) != WEBHOOK:
        _check_no_webhook(changes)
    return body


def listing(
    scope: str | None,
    workspace_id: str | None,
    source: str | None,
    *,
    event: str | None = None,
    limit: int | None = None,
) -> dict[str, str]:
    """Return the query of a list of jobs or triggers. Raises ValueError or TypeError."""
    given = {"scope": scope, "workspace_id": workspace_id, "source": source, "event": event, "limit": limit}
    return {name: str(_LIST_CHECKS[name](value, name)) for name, value in given.items() if value is not None}


def _new(
    given: Mapping[str, Any], checks: Mapping[str, Check], *, required: Collection[str]
) -> dict[str, object]:
    """Return the body of a new definition. Texts that may be blank, and are, are left out."""
    body = _scope(given)
    for name, check in checks.items():
        value = given.get(name)
        if value is None and name in required:
            raise ValueError(f"{name}: is required")
        if value is not None and name not in _SCOPE and (checked := check(value, name)) != "":
            body[name] = checked
    return body


def _changed(changes: Mapping[str, Any], checks: Mapping[str, Check]) -> dict[str, object]:
    """Return the body of a change. Raises where it is empty, or a member has no value or an unknown name."""
    if not changes:
        raise ValueError(f"there is nothing to change; pass at least one of {', '.join(checks)}")
    for name, value in changes.items():
        if name == "scope":
            raise ValueError("scope: cannot be changed; create a new one")
        if name not in checks:
            raise TypeError(f"{name}: cannot be changed; these can: {', '.join(checks)}")
        if value is None:
            raise ValueError(f"{name}: the server ignores null; leave it out")
    return {name: checks[name](value, name) for name, value in changes.items()}


def _scope(given: Mapping[str, Any]) -> dict[str, object]:
    scope = check_word(given.get("scope"), "scope", words=SCOPES)
    workspace = given.get("workspace_id")
    if scope == "global":
        check_blank(workspace, "workspace_id", "where the scope is global")
        return {"scope": scope}
    if workspace is None:
        raise ValueError("workspace_id: is required where the scope is workspace")
    return {"scope": scope, "workspace_id": check_filled(workspace, "workspace_id")}


def _check_task_retry(body: Mapping[str, object]) -> None:
    """Raise ValueError for a job with a task and a retry strategy: the server refuses it."""
    retry = body.get("retry")
    if "task" in body and isinstance(retry, dict) and retry["strategy"] != "none":
        raise ValueError("retry.strategy: has to be none where there is a task")


def _check_no_webhook(given: Mapping[str, Any]) -> None:
    why = f"where the event is not {WEBHOOK}"
    for name in ("endpoint_slug", "webhook_id"):
        check_blank(given.get(name), name, why)
    if given.get("webhook_secret_value") is not None:
        raise ValueError(f"webhook_secret_value: has to be left out {why}")


def _prompt(value: object, path: str) -> str:
    return check_rule(check_template, check_filled(value, path), path)


def _filter(value: object, path: str) -> dict[str, str]:
    if not isinstance(value, Mapping):
        raise TypeError(f"{path}: expected a mapping of strings, not {type(value).__name__}")
    written: dict[str, str] = {}
    for key, text in value.items():
        name = check_filled(key, f"{path} key")
        segments = name.removeprefix(_DATA).split(".")
        is_data = name.startswith(_DATA) and all(each.strip() for each in segments)
        if name not in _FILTER_KEYS and not is_data:
            allowed = ", ".join(sorted(_FILTER_KEYS))
            raise ValueError(f"{path}[{name}]: expected {allowed} or data.<segment>[.<segment>...]")
        check_filled(text, f"{path}[{name}]")
        written[name] = text  # compared unchanged, white space included
    return written


def _webhook_id(value: object, path: str) -> str:
    text = check_string(value, path)
    if text and not text.startswith(WEBHOOK_PREFIX):
        raise ValueError(f"{path}: has to begin with {WEBHOOK_PREFIX}")
    return text


def _secret(value: object, path: str) -> str:
    """Return the secret as text, which is put into the body and nowhere else."""
    if not isinstance(value, str | Secret):
        raise TypeError(f"{path}: expected a string or a Secret, not {type(value).__name__}")
    text = Secret.of(value).reveal()
    if not text.strip():
        raise ValueError(f"{path}: is required, and must not be blank")
    return text


_COMMON: Final[Mapping[str, Check]] = {
    "name": check_filled,
    "agent_name": check_filled,
    "workspace_id": check_filled,
    "prompt": check_filled,
    "enabled": check_flag,
    "retry": check_retry,
    "fire_limit": check_fire_limit,
}
_JOB_CHECKS: Final[Mapping[str, Check]] = {**_COMMON, "schedule": check_schedule, "task": check_task}
#: Of a job with a task, whose agent and prompt may be left out.
_TASK_JOB_CHECKS: Final[Mapping[str, Check]] = {
    **_JOB_CHECKS,
    "agent_name": check_string,
    "prompt": check_string,
}
_TRIGGER_CHECKS: Final[Mapping[str, Check]] = {
    **_COMMON,
    "prompt": _prompt,
    "event": check_filled,
    "filter": _filter,
    "webhook_id": _webhook_id,
    "endpoint_slug": check_string,
    "webhook_secret_value": _secret,
}
_LIST_CHECKS: Final[Mapping[str, Check]] = {
    "scope": partial(check_word, words=SCOPES),
    "workspace_id": check_filled,
    "source": partial(check_word, words=SOURCES),
    "event": check_filled,
    "limit": partial(check_number, least=0),
}
