"""The jobs and triggers of the fake server: created, listed, changed and deleted as a server allows it. Pure."""

import random
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from typing import Any, ClassVar, Generic, TypeVar

from attrs import evolve

from ....contract.fake import Refused, hex_id, refusing
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


class Catalogue(ABC, Generic[D]):
    """All definitions of one kind. `now` returns the time in nanoseconds.

    With `is_unique`, a name that another definition of the same kind has in the same scope is refused. Methods raise
    `Refused`.
    """

    kind: ClassVar[str]
    #: What ids begin with.
    prefix: ClassVar[str]
    shape: ClassVar[Mapping[str, Shape]]
    changes: ClassVar[Mapping[str, Shape]]
    #: The status of a change that leads to an invalid definition.
    invalid_change: ClassVar[int] = 400

    def __init__(self, *, now: Callable[[], int], ids: random.Random, is_unique: bool) -> None:
        self._now = now
        self._ids = ids
        self._is_unique = is_unique
        self.by_id: dict[str, D] = {}

    def get(self, definition_id: str) -> D:
        """Return a definition."""
        found = self.by_id.get(definition_id)
        if found is None:
            raise Refused(404, f"no such {self.kind}")
        return found

    def listed(self, query: Mapping[str, str]) -> list[D]:
        """Return the definitions that match a query, by name, then by id."""
        wanted = {name: query.get(name, "").strip() for name in ("scope", "workspace_id", "source", "event")}
        limit = read_count(query.get("limit", ""))
        for name, known in (("scope", SCOPES), ("source", SOURCES)):
            if wanted[name] and wanted[name] not in known:
                raise Refused(400, f"{name} has no such value")
        found = [
            each
            for each in self.by_id.values()
            if all(getattr(each, name, value) == value for name, value in wanted.items() if value)
        ]
        found.sort(key=lambda each: (each.name, each.id))
        return found[:limit] if limit > 0 else found

    def create(self, body: Any, *, definition_id: str = "", source: str = "dynamic") -> D:
        """Create a definition."""
        with refusing(400):
            members = read_members(body, self.shape)
        definition_id = definition_id or f"{self.prefix}-{hex_id(self._ids, 16)}"
        with refusing(400):
            definition = self._made(definition_id, source, self._now(), members)
            definition.check()
        return self._keep(definition)

    def change(self, definition_id: str, body: Any) -> D:
        """Replace members of a definition."""
        with refusing(400):
            members = read_members(body, self.changes)
        if not members:
            raise Refused(400, "nothing is to be changed")
        definition = self.get(definition_id)
        if definition.source == "package":
            raise Refused(409, "a package's definition is read-only")
        if definition.source == "config" and members.keys() != {"enabled"}:
            raise Refused(400, "a config-backed definition can be enabled and disabled, and nothing else")
        with refusing(400):
            definition = self._changed(evolve(definition, updated_at=self._now()), members)
        with refusing(self.invalid_change):
            definition.check()
        return self._keep(definition)

    def delete(self, definition_id: str) -> None:
        """Delete a definition, and a trigger's secret."""
        definition = self.get(definition_id)
        if definition.source == "config":
            raise Refused(400, "a config-backed definition cannot be deleted")
        if definition.source == "package":
            raise Refused(409, "a package's definition is read-only")
        del self.by_id[definition.id]

    @abstractmethod
    def _made(self, definition_id: str, source: str, now: int, members: Mapping[str, Any]) -> D:
        """Return a new definition, unchecked. Raises ValueError."""

    def _changed(self, definition: D, members: Mapping[str, Any]) -> D:
        """Return a definition with other members, unchecked. Raises ValueError."""
        return changed(definition, members)

    def _keep(self, definition: D) -> D:
        key = (definition.scope, definition.workspace_id, definition.name)
        if self._is_unique and any(
            (each.scope, each.workspace_id, each.name) == key and each.id != definition.id
            for each in self.by_id.values()
        ):
            raise Refused(409, "a definition with this name already exists in this scope")
        self.by_id[definition.id] = definition
        return definition


class Jobs(Catalogue[Job]):
    """All jobs. `rebuild` is called after each change to any of them."""

    kind, prefix, shape, changes = "job", "job", JOB, JOB_CHANGES

    def __init__(self, *, rebuild: Callable[[Mapping[str, Job]], None], **options: Any) -> None:
        super().__init__(**options)
        self._rebuild = rebuild

    def delete(self, definition_id: str) -> None:
        """Delete a job."""
        super().delete(definition_id)
        self._rebuild(self.by_id)

    def _made(self, definition_id: str, source: str, now: int, members: Mapping[str, Any]) -> Job:
        return changed(Job(id=definition_id, source=source, created_at=now, updated_at=now), members)

    def _keep(self, definition: Job) -> Job:
        job = super()._keep(definition)
        self._rebuild(self.by_id)
        return job


class Triggers(Catalogue[Trigger]):
    """All triggers."""

    kind, prefix, shape, changes, invalid_change = "trigger", "trg", TRIGGER, TRIGGER_CHANGES, 500

    def _made(self, definition_id: str, source: str, now: int, members: Mapping[str, Any]) -> Trigger:
        trigger = Trigger(id=definition_id, source=source, created_at=now, updated_at=now)
        trigger = changed(trigger, members)
        return with_secret(trigger, members) if members.get("webhook_secret_value") else trigger

    def _changed(self, definition: Trigger, members: Mapping[str, Any]) -> Trigger:
        trigger = changed(definition, members)
        if not trigger.is_webhook:
            # The members for deliveries are removed with the event, unless they were sent again.
            trigger = evolve(
                trigger,
                endpoint_slug=members.get("endpoint_slug", "").strip(),
                webhook_id=members.get("webhook_id", "").strip(),
                secret="",
                is_secret_known=False,
            )
        trigger = with_secret(trigger, members)
        if trigger.is_webhook and not trigger.is_secret_known:
            raise ValueError("a webhook trigger needs a secret")
        return trigger

    def _keep(self, definition: Trigger) -> Trigger:
        trigger = definition.named()
        others = [each for each in self.by_id.values() if each.id != trigger.id and each.enabled]
        if (
            trigger.enabled
            and trigger.webhook_id
            and trigger.webhook_id in {each.webhook_id for each in others}
        ):
            raise Refused(409, "a trigger with this webhook id already exists")
        return super()._keep(trigger)
