"""AGH Runtime: triggers, which run when an event happens."""

from collections.abc import Mapping
from typing import TypeAlias, Unpack

from ...calls import Start
from ...codec import encode_json
from ...model import Secret
from .calls import Calls
from .checks import check_filled, check_number
from .definitions import TriggerChanges, listing, trigger_body, trigger_changes
from .history import PAGE_SIZE, RunHistory, history
from .records import Trigger
from .times import Moment
from .values import FireLimitLike, RetryLike
from .wire import (
    create_request,
    get_request,
    list_request,
    trigger_in,
    triggers_in,
    update_request,
)

_ADVICE = (
    "List the triggers and look for one of this name. Names may repeat, so compare the other members as well."
)
_SECRET = "webhook_secret_value"  # noqa: S105 - the name of the member that holds one
_Triggers: TypeAlias = list[Trigger]  # in the class, `list` is its method


class Triggers:
    """The triggers of a runtime. Made by `Agh.triggers`; raises and retries as `Jobs` does."""

    def __init__(self, calls: Calls) -> None:
        self._calls = calls
        self._url = calls.url("triggers")

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
        query = listing(scope, workspace_id, source)
        if event is not None:
            query["event"] = check_filled(event, "event")
        if limit is not None:
            query["limit"] = str(check_number(limit, "limit", least=0))
        return await self._calls.call(list_request(self._url, "triggers.list", query), triggers_in)

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
        body = trigger_body(
            {
                "scope": scope,
                "name": name,
                "agent_name": agent_name,
                "prompt": prompt,
                "event": event,
                "workspace_id": workspace_id,
                "filter": filter,
                "enabled": enabled,
                "retry": retry,
                "fire_limit": fire_limit,
                "endpoint_slug": endpoint_slug,
                "webhook_id": webhook_id,
                "webhook_secret_value": webhook_secret_value,
            }
        )
        request = create_request(self._url, "triggers.create", body)
        return await self._calls.start(
            Start(
                vendor=self._calls.account.vendor,
                request=request,
                read=lambda reply: trigger_in(reply, request.call),
                target=name,
                advice=_ADVICE,
                action="created a trigger",
                is_run=False,
                redacted_body=encode_json({key: value for key, value in body.items() if key != _SECRET}),
            )
        )

    async def get(self, trigger_id: str) -> Trigger:
        """Return a trigger."""
        return await self._calls.call(get_request(self._item(trigger_id), "triggers.get"), trigger_in)

    async def update(self, trigger_id: str, /, **changes: Unpack[TriggerChanges]) -> Trigger:
        """Change the given members only; `filter={}` clears the filter.

        A new `webhook_secret_value` replaces the old one at once. A change from the event `webhook` to another drops
        id, slug and secret; a change to it needs slug and secret. Of a trigger from the configuration only `enabled`
        can be changed (else `BadRequest`), of one from a package nothing (`Conflict`). `ServerError` may mean that
        the change contradicts other members.
        """
        body = trigger_changes(changes)
        request = update_request(self._item(trigger_id), "triggers.update", body)
        return await self._calls.call(request, trigger_in)

    async def delete(self, trigger_id: str) -> None:
        """Delete a trigger and its secret; the history of its runs stays."""
        await self._calls.delete("triggers", trigger_id)

    def runs(
        self,
        trigger_id: str,
        *,
        status: str | None = None,
        since: Moment | None = None,
        until: Moment | None = None,
        limit: int | None = None,
        page_size: int = PAGE_SIZE,
    ) -> RunHistory:
        """Iterate over a trigger's runs, newest first. As `Jobs.runs`."""
        return history(
            self._calls,
            f"{self._item(trigger_id)}/runs",
            "triggers.runs",
            status=status,
            since=since,
            until=until,
            limit=limit,
            page_size=page_size,
        )

    def _item(self, trigger_id: str) -> str:
        return self._calls.item("triggers", trigger_id)
