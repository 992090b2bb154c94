"""`agh triggers`: runs on events."""

from typing import Final

import click

from .. import Trigger
from ..definitions import TriggerChanges, trigger_body, trigger_changes
from .resource_commands import Resource, resource_group

_GUIDE: Final = """FILE holds 'scope' (global or workspace), 'name', 'agent_name', 'prompt' and 'event'; with the
event 'webhook' also 'endpoint_slug' and 'webhook_secret_value'; optionally 'workspace_id', 'filter', 'enabled',
'retry', 'fire_limit' and 'webhook_id':

\b
{"scope": "global", "name": "deploy-review", "agent_name": "reviewer",
 "prompt": "Check branch {{ index .Data \\"branch\\" }}.",
 "event": "webhook", "filter": {"data.action": "deploy"},
 "endpoint_slug": "deploy", "webhook_secret_value": "..."}

The secret is never shown again; keep it in a file of its own for 'aioagents agh deliver'."""


def _row(trigger: Trigger) -> tuple[object, ...]:
    found = (trigger.id, trigger.name, trigger.scope, trigger.event, trigger.endpoint)
    return (*found, trigger.enabled, trigger.source)


triggers: Final = resource_group(
    Resource(
        name="trigger",
        about="List, create, change and delete triggers. 'aioagents agh deliver' fires one by its webhook.",
        about_list="List triggers, by name. The endpoint is the argument of 'aioagents agh deliver'.",
        of=lambda client: client.triggers,
        check_new=trigger_body,
        check_changes=trigger_changes,
        members=frozenset({"scope", *TriggerChanges.__annotations__}),
        guide=_GUIDE,
        heads=("id", "name", "scope", "event", "endpoint", "enabled", "source"),
        row=_row,
        spare=("source", "scope", "event", "enabled"),
        filters=[click.option("--event", metavar="NAME", help="Only triggers of exactly this event.")],
        shown=lambda trigger: {"endpoint": trigger.endpoint},
    )
)
