"""`agh triggers`: runs on events."""

from typing import Any, Final

import click

from ....cli.exits import Exit
from ....cli.listing import ask, show_table
from ....cli.options import documented
from ....cli.output import Output
from .. import Agh
from ..definitions import TriggerChanges, trigger_body, trigger_changes
from .resource_commands import Resource, add_commands, list_options
from .runs import OF_ONE, history_options, show_history

_GUIDE: Final = """FILE holds 'scope' (global or workspace), 'name', 'agent_name', 'prompt' and 'event'; with the
event 'webhook' also 'endpoint_slug' and 'webhook_secret_value'; optionally 'workspace_id', 'filter', 'enabled',
'retry', 'fire_limit' and 'webhook_id':

\b
{"scope": "global", "name": "deploy-review", "agent_name": "reviewer",
 "prompt": "Check branch {{ index .Data \\"branch\\" }}.",
 "event": "webhook", "filter": {"data.action": "deploy"},
 "endpoint_slug": "deploy", "webhook_secret_value": "..."}

The secret is never shown again; keep it in a file of its own for 'aioagents agh deliver'."""
_HEADS: Final = ("id", "name", "scope", "event", "endpoint", "enabled", "source")


@click.group("triggers", no_args_is_help=True)
def _triggers() -> None:
    """List, create, change and delete triggers. 'aioagents agh deliver' fires one by its webhook."""


@_triggers.command("list")
@click.option("--event", metavar="NAME", help="Only triggers of exactly this event.")
@list_options
def _list(*, is_json: bool, **filters: Any) -> Exit:
    """List triggers, by name. The endpoint is the argument of 'aioagents agh deliver'."""

    async def call(client: Agh, out: Output) -> Exit:
        found = await client.triggers.list(**filters)
        for each in found:
            out.document(each.raw)
        rows = [
            (each.id, each.name, each.scope, each.event, each.endpoint, each.enabled, each.source)
            for each in found
        ]
        show_table(out, _HEADS, rows, spare=("source", "scope", "event", "enabled"))
        return Exit.OK

    return ask(Agh, call, is_json=is_json)


@_triggers.command("runs")
@click.argument("trigger_id")
@history_options
def _list_runs(*, trigger_id: str, is_json: bool, **filters: Any) -> Exit:
    """List the runs of the trigger called TRIGGER_ID, the newest first."""
    return show_history(
        lambda client: client.triggers.runs(trigger_id, **filters), is_json=is_json, spare=OF_ONE
    )


add_commands(
    _triggers,
    Resource(
        name="trigger",
        of=lambda client: client.triggers,
        check_new=trigger_body,
        check_changes=trigger_changes,
        members=frozenset({"scope", *TriggerChanges.__annotations__}),
        shown=lambda trigger: {"endpoint": trigger.endpoint},
        guide=_GUIDE,
    ),
)
for _each in (_list, _list_runs):
    documented(_each)

triggers: Final = documented(_triggers)
