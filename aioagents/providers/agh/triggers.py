"""AGH Runtime: triggers, which run when an event happens."""

from collections.abc import Mapping
from typing import TypeAlias, Unpack

from ...model import Secret
from ...tracebacks import hides_locals
from .calls import Calls, Resource
from .definitions import TriggerChanges, listing, trigger_body, trigger_changes
from .history import RunFilters, RunHistory
from .records import Trigger
from .values import FireLimitLike, RetryLike
from .wire import trigger_in, triggers_in

_Triggers: TypeAlias = list[Trigger]  # in the class, `list` is its method


class Triggers:
    """The triggers of a runtime. Made by `Agh.triggers`; raises and retries as `Jobs` does."""

    def __init__(self, calls: Calls) -> None:
        self._triggers = Resource(calls, "triggers", trigger_in, triggers_in)

    async def list(
        self,
        *,
        scope: str | None = None,
        workspace_id: str | None = None,
        source: str | None = None,
        event: str | None = None,
        limit: int | None = None,
    ) -> _Triggers:
        """Return the triggers, by name then id; `event` has to match exactly, no `limit` or 0 means all."""
        return await self._triggers.get_all(listing(scope, workspace_id, source, event=event, limit=limit))

    @hides_locals
    async def create(  # noqa: PLR0913 - the members of the JSON body
        self,
        *,
        scope: str,
        name: str,
        agent_name: str,
        prompt: str,
        event: str,
        workspace_id: str | None = None,
        filter: Mapping[str, str] | None = None,  # noqa: A002 - the name in the JSON body
        enabled: bool | None = None,
        retry: RetryLike | None = None,
        fire_limit: FireLimitLike | None = None,
        endpoint_slug: str | None = None,
        webhook_id: str | None = None,
        webhook_secret_value: str | Secret | None = None,
    ) -> Trigger:
        """Create a trigger, once. The event `webhook` needs a slug and a secret, other events must have neither.

        `prompt` may be a Go template over `.Kind`, `.Scope`, `.WorkspaceID`, `.Source` and `.Data`; all entries of
        `filter` have to match. The secret can be replaced later, and never read. Raises `StartUnknown` when the reply
        was lost and the trigger may exist; its `body` lacks the secret.
        """
        return await self._triggers.create(
            trigger_body(locals()), name
        )  # which reads the arguments, by their names

    async def get(self, trigger_id: str) -> Trigger:
        """Return a trigger."""
        return await self._triggers.get(trigger_id)

    @hides_locals
    async def update(self, trigger_id: str, /, **changes: Unpack[TriggerChanges]) -> Trigger:
        """Change the given members only; `filter={}` clears the filter.

        A new `webhook_secret_value` replaces the old one at once. A change from the event `webhook` to another drops
        id, slug and secret; a change to it needs slug and secret. Of a trigger from the configuration only `enabled`
        can be changed (else `BadRequest`), of one from a package nothing (`Conflict`). `ServerError` may mean that
        the change contradicts other members.
        """
        return await self._triggers.update(trigger_id, trigger_changes(changes))

    async def delete(self, trigger_id: str) -> None:
        """Delete a trigger and its secret; the history of its runs stays."""
        await self._triggers.delete(trigger_id)

    def runs(self, trigger_id: str, **filters: Unpack[RunFilters]) -> RunHistory:
        """Iterate over a trigger's runs, newest first. As `Jobs.runs`."""
        return self._triggers.runs(trigger_id, **filters)
