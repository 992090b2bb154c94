"""The jobs and triggers of the fake server: created, listed, changed and deleted as a server allows it. Pure."""

import random
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from attrs import evolve

from ....contract.fake import Refused
from .definitions import (
    JOB,
    JOB_CHANGES,
    SCOPES,
    SOURCES,
    TRIGGER,
    TRIGGER_CHANGES,
    Definition,
    Job,
    Shape,
    Trigger,
    changed,
    read_members,
    with_secret,
)
from .queries import read_count

D = TypeVar("D", bound=Definition)


class Catalogue:
    """All definitions. `now` returns the time in nanoseconds; `rebuild` is called after each change to any job.

    With `is_unique`, a name that another definition of the same kind has in the same scope is refused.
    """

    def __init__(
        self,
        *,
        now: Callable[[], int],
        ids: random.Random,
        rebuild: Callable[[Mapping[str, Job]], None],
        is_unique: bool,
    ) -> None:
        self._now = now
        self._ids = ids
        self._rebuild = rebuild
        self._is_unique = is_unique
        self.jobs: dict[str, Job] = {}
        self.triggers: dict[str, Trigger] = {}

    def job(self, job_id: str) -> Job:
        """Return a job. Raises `Refused`, as all of the following do."""
        return _find(self.jobs, job_id, "job")

    def trigger(self, trigger_id: str) -> Trigger:
        """Return a trigger."""
        return _find(self.triggers, trigger_id, "trigger")

    def create_job(self, body: Any, *, job_id: str = "", source: str = "dynamic") -> Job:
        """Create a job."""
        members = _read(body, JOB)
        now = self._now()
        job = Job(id=job_id or self._make_id("job"), source=source, created_at=now, updated_at=now)
        return self._keep_job(_checked(changed(job, members), 400))

    def create_trigger(self, body: Any, *, trigger_id: str = "", source: str = "dynamic") -> Trigger:
        """Create a trigger."""
        members = _read(body, TRIGGER)
        now = self._now()
        trigger = Trigger(
            id=trigger_id or self._make_id("trg"), source=source, created_at=now, updated_at=now
        )
        trigger = changed(trigger, members)
        if members.get("webhook_secret_value"):
            trigger = _with_secret(trigger, members)
        return self._keep_trigger(_checked(trigger, 400))

    def change_job(self, job_id: str, body: Any) -> Job:
        """Replace members of a job."""
        members = _read_changes(body, JOB_CHANGES)
        job = self.job(job_id)
        _check_source(job, members)
        return self._keep_job(_checked(evolve(changed(job, members), updated_at=self._now()), 400))

    def change_trigger(self, trigger_id: str, body: Any) -> Trigger:
        """Replace members of a trigger."""
        members = _read_changes(body, TRIGGER_CHANGES)
        trigger = self.trigger(trigger_id)
        _check_source(trigger, members)
        trigger = evolve(changed(trigger, members), updated_at=self._now())
        if not trigger.is_webhook:
            # The members for deliveries are removed with the event, unless they were sent again.
            trigger = evolve(
                trigger,
                endpoint_slug=members.get("endpoint_slug", "").strip(),
                webhook_id=members.get("webhook_id", "").strip(),
                secret="",
                is_secret_known=False,
            )
        trigger = _with_secret(trigger, members)
        if trigger.is_webhook and not trigger.is_secret_known:
            raise Refused(400, "a webhook trigger needs a secret")
        return self._keep_trigger(_checked(trigger, 500))

    def delete_job(self, job_id: str) -> None:
        """Delete a job."""
        job = self.job(job_id)
        _check_deletable(job)
        del self.jobs[job.id]
        self._rebuild(self.jobs)

    def delete_trigger(self, trigger_id: str) -> None:
        """Delete a trigger and its secret."""
        trigger = self.trigger(trigger_id)
        _check_deletable(trigger)
        del self.triggers[trigger.id]

    def _make_id(self, prefix: str) -> str:
        return f"{prefix}-{self._ids.getrandbits(64):016x}"

    def _keep_job(self, job: Job) -> Job:
        self._check_name(job, self.jobs)
        self.jobs[job.id] = job
        self._rebuild(self.jobs)
        return job

    def _keep_trigger(self, trigger: Trigger) -> Trigger:
        trigger = trigger.named()
        self._check_name(trigger, self.triggers)
        others = [each for each in self.triggers.values() if each.id != trigger.id and each.enabled]
        if (
            trigger.enabled
            and trigger.webhook_id
            and trigger.webhook_id in {each.webhook_id for each in others}
        ):
            raise Refused(409, "a trigger with this webhook id already exists")
        self.triggers[trigger.id] = trigger
        return trigger

    def _check_name(self, definition: D, others: Mapping[str, D]) -> None:
        key = (definition.scope, definition.workspace_id, definition.name)
        if self._is_unique and any(
            (each.scope, each.workspace_id, each.name) == key and each.id != definition.id
            for each in others.values()
        ):
            raise Refused(409, "a definition with this name already exists in this scope")


def listed(definitions: Mapping[str, D], query: Mapping[str, str]) -> list[D]:
    """Return the definitions that match a query, by name, then by id. Raises `Refused`."""
    wanted = {name: query.get(name, "").strip() for name in ("scope", "workspace_id", "source", "event")}
    limit = read_count(query.get("limit", ""))
    for name, known in (("scope", SCOPES), ("source", SOURCES)):
        if wanted[name] and wanted[name] not in known:
            raise Refused(400, f"{name} has no such value")
    found = [
        each
        for each in definitions.values()
        if all(getattr(each, name, value) == value for name, value in wanted.items() if value)
    ]
    found.sort(key=lambda each: (each.name, each.id))
    return found[:limit] if limit > 0 else found


def _find(definitions: Mapping[str, D], definition_id: str, kind: str) -> D:
    found = definitions.get(definition_id)
    if found is None:
        raise Refused(404, f"no such {kind}")
    return found


def _read(body: Any, shape: Shape) -> Mapping[str, Any]:
    try:
        members: Mapping[str, Any] = read_members(body, shape)
    except ValueError as exc:
        raise Refused(400, str(exc)) from None
    return members


def _read_changes(body: Any, shape: Shape) -> Mapping[str, Any]:
    members = _read(body, shape)
    if not members:
        raise Refused(400, "nothing is to be changed")
    return members


def _checked(definition: D, status: int) -> D:
    try:
        definition.check()
    except ValueError as exc:
        raise Refused(status, str(exc)) from None
    return definition


def _with_secret(trigger: Trigger, members: Mapping[str, Any]) -> Trigger:
    try:
        return with_secret(trigger, members)
    except ValueError as exc:
        raise Refused(400, str(exc)) from None


def _check_source(definition: Definition, members: Mapping[str, Any]) -> None:
    if definition.source == "package":
        raise Refused(409, "a package's definition is read-only")
    if definition.source == "config" and members.keys() != {"enabled"}:
        raise Refused(400, "a config-backed definition can be enabled and disabled, and nothing else")


def _check_deletable(definition: Definition) -> None:
    if definition.source == "config":
        raise Refused(400, "a config-backed definition cannot be deleted")
    if definition.source == "package":
        raise Refused(409, "a package's definition is read-only")
