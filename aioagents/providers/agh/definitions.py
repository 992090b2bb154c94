"""AGH Runtime: the bodies that create and change jobs and triggers, checked as the server checks them. Pure.

The checks are those of the AGH automation API, sections 5, 6.2, 6.4, 10.2 and 10.4. A change that is invalid in
itself is refused; whether it is valid together with the present definition, only the server knows.
"""

from collections.abc import Callable, Mapping
from typing import Any, Final, TypedDict

from ...model import Secret
from .checks import (
    check_blank,
    check_filled,
    check_flag,
    check_given,
    check_number,
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


class JobChanges(TypedDict, total=False):
    """The members of a job that can be changed. Omitted ones stay unchanged; objects are replaced as a whole."""

    name: str
    agent_name: str
    workspace_id: str
    prompt: str
    schedule: ScheduleLike
    task: JobTaskLike
    enabled: bool
    retry: RetryLike
    fire_limit: FireLimitLike


class TriggerChanges(TypedDict, total=False):
    """The members of a trigger that can be changed. Omitted ones stay unchanged; objects are replaced as a whole."""

    name: str
    agent_name: str
    workspace_id: str
    prompt: str
    event: str
    filter: Mapping[str, str]
    enabled: bool
    retry: RetryLike
    fire_limit: FireLimitLike
    webhook_id: str
    endpoint_slug: str
    webhook_secret_value: str | Secret


def job_body(given: Mapping[str, Any]) -> dict[str, object]:
    """Return the body that creates a job; members that are None are left out. Raises ValueError or TypeError."""
    body = _scope(given)
    has_task = given.get("task") is not None
    for name in ("name", "agent_name", "prompt", "schedule"):
        if name in {"agent_name", "prompt"} and has_task:
            if text := check_string(given.get(name) or "", name):
                body[name] = text
        elif given.get(name) is None:
            raise ValueError(f"{name}: is required")
        else:
            body[name] = _JOB_CHECKS[name](given[name], name)
    for name in ("task", "enabled", "retry", "fire_limit"):
        if given.get(name) is not None:
            body[name] = _JOB_CHECKS[name](given[name], name)
    _check_task_retry(body)
    return body


def job_changes(changes: Mapping[str, Any]) -> dict[str, object]:
    """Return the body that changes a job. Raises ValueError or TypeError, also where there is no change."""
    # Optional for jobs with a task; whether this job has one, only the server knows.
    checks = {**_JOB_CHECKS, "agent_name": check_string, "prompt": check_string}
    body = {name: checks[name](value, name) for name, value in check_given(changes, checks)}
    _check_task_retry(body)
    return body


def trigger_body(given: Mapping[str, Any]) -> dict[str, object]:
    """Return the body that creates a trigger; members that are None are left out. Raises ValueError or TypeError."""
    body = _scope(given)
    for name in ("name", "agent_name", "prompt", "event"):
        if given.get(name) is None:
            raise ValueError(f"{name}: is required")
        body[name] = _TRIGGER_CHECKS[name](given[name], name)
    for name in ("filter", "enabled", "retry", "fire_limit"):
        if given.get(name) is not None:
            body[name] = _TRIGGER_CHECKS[name](given[name], name)
    if body["event"] != WEBHOOK:
        _check_no_webhook(given)
        return body
    for name in ("endpoint_slug", "webhook_id"):
        if given.get(name) is not None and (text := _TRIGGER_CHECKS[name](given[name], name)):
            body[name] = text
    if not ("endpoint_slug" in body or "webhook_id" in body):
        raise ValueError(f"endpoint_slug: is required where the event is {WEBHOOK}")
    if given.get("webhook_secret_value") is None:
        raise ValueError(f"webhook_secret_value: is required where the event is {WEBHOOK}")
    body["webhook_secret_value"] = _secret(given["webhook_secret_value"], "webhook_secret_value")
    return body


def trigger_changes(changes: Mapping[str, Any]) -> dict[str, object]:
    """Return the body that changes a trigger. Raises ValueError or TypeError, also where there is no change."""
    body = {name: _TRIGGER_CHECKS[name](value, name) for name, value in check_given(changes, _TRIGGER_CHECKS)}
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
    query: dict[str, str] = {}
    if scope is not None:
        query["scope"] = check_word(scope, SCOPES, "scope")
    if workspace_id is not None:
        query["workspace_id"] = check_filled(workspace_id, "workspace_id")
    if source is not None:
        query["source"] = check_word(source, SOURCES, "source")
    if event is not None:
        query["event"] = check_filled(event, "event")
    if limit is not None:
        query["limit"] = str(check_number(limit, "limit", least=0))
    return query


def _scope(given: Mapping[str, Any]) -> dict[str, object]:
    scope = check_word(given.get("scope"), SCOPES, "scope")
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
    text = check_filled(value, path)
    try:
        check_template(text)
    except ValueError as exc:
        raise ValueError(f"{path}: {exc}") from None
    return text


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


_Check = Callable[[Any, str], object]
_COMMON: Final[Mapping[str, _Check]] = {
    "name": check_filled,
    "agent_name": check_filled,
    "workspace_id": check_filled,
    "prompt": check_filled,
    "enabled": check_flag,
    "retry": check_retry,
    "fire_limit": check_fire_limit,
}
_JOB_CHECKS: Final[Mapping[str, _Check]] = {**_COMMON, "schedule": check_schedule, "task": check_task}
_TRIGGER_CHECKS: Final[Mapping[str, _Check]] = {
    **_COMMON,
    "prompt": _prompt,
    "event": check_filled,
    "filter": _filter,
    "webhook_id": _webhook_id,
    "endpoint_slug": check_string,
    "webhook_secret_value": _secret,
}
