"""`agh jobs` and `agh triggers`: the commands `list`, `runs`, `show`, `create`, `update` and `delete` of each."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import click
from attrs import frozen

from ....cli.exits import Exit
from ....cli.listing import ask, show_members, show_table
from ....cli.options import Command, json_option, read_object
from ....cli.output import Output
from .. import Agh, Job, Trigger
from .runs import OF_ONE, history_options, show_history

_SECRET: Final = "webhook_secret_value"  # noqa: S105 - the name of the member that holds one
_HINT: Final = "FILE"


@frozen(kw_only=True)
class Resource:
    """Jobs or triggers: their `name`, the client's attribute (`of`), and the checks of their definitions.

    `check_new` and `check_changes` raise ValueError or TypeError, which names the member; `members` are those of a
    new definition, which `guide` documents. `shown` returns members to show in addition to those of the server. A
    list has the columns `heads`, of which a narrow terminal leaves out those in `spare`, and a `row` for each;
    `filters` are its options beyond those that all lists have.
    """

    name: str
    about: str
    about_list: str
    of: Callable[[Agh], Any]
    check_new: Callable[[Mapping[str, Any]], object]
    check_changes: Callable[[Mapping[str, Any]], object]
    members: frozenset[str]
    guide: str
    heads: Sequence[str]
    row: Callable[[Any], Sequence[object]]
    spare: Sequence[str]
    filters: Sequence[Callable[[Command], Command]] = ()
    shown: Callable[[Any], Mapping[str, object]] = lambda _: {}


_LIST_OPTIONS: Final = (
    click.option("--scope", metavar="WORD", help="Only those of this scope: global or workspace."),
    click.option("--workspace", "workspace_id", metavar="ID", help="Only those of this workspace."),
    click.option("--source", metavar="WORD", help="Only those of this source: dynamic, config or package."),
    click.option("--limit", type=click.IntRange(min=0), metavar="N", help="At most this many; 0 for all."),
    json_option,
)


def resource_group(resource: Resource) -> click.Group:
    """Return the group of all commands of a resource."""
    group = click.Group(f"{resource.name}s", help=resource.about, no_args_is_help=True)
    for make in (_list, _list_runs, _show, _create, _update, _delete):
        group.add_command(make(resource))
    return group


def _list(resource: Resource) -> click.Command:
    @click.command("list", help=resource.about_list)
    def show_list(*, is_json: bool, **filters: Any) -> Exit:
        async def call(client: Agh, out: Output) -> Exit:
            found = await resource.of(client).list(**filters)
            for each in found:
                out.document(each.raw)
            show_table(out, resource.heads, [resource.row(each) for each in found], spare=resource.spare)
            return Exit.OK

        return ask(Agh, call, is_json=is_json)

    for option in (*resource.filters, *_LIST_OPTIONS):
        option(show_list)
    return show_list


def _list_runs(resource: Resource) -> click.Command:
    variable = f"{resource.name.upper()}_ID"

    @click.command("runs", help=f"List the runs of the {resource.name} called {variable}, the newest first.")
    @click.argument("item_id", metavar=variable)
    @history_options
    def show_runs(*, item_id: str, is_json: bool, **filters: Any) -> Exit:
        return show_history(
            lambda client: resource.of(client).runs(item_id, **filters), is_json=is_json, spare=OF_ONE
        )

    return show_runs


def _show(resource: Resource) -> click.Command:
    @click.command("show", help=f"Show the {resource.name} called ID.")
    @click.argument("item_id", metavar="ID")
    @json_option
    def show(*, item_id: str, is_json: bool) -> Exit:
        async def call(client: Agh, out: Output) -> Exit:
            return _show_definition(out, resource, await resource.of(client).get(item_id))

        return ask(Agh, call, is_json=is_json)

    return show


def _create(resource: Resource) -> click.Command:
    about = f"Create a {resource.name} from the JSON object in FILE"
    more = f"{about}, '-' for stdin. It is sent once.\n\n{resource.guide}"

    @click.command("create", help=more, short_help=f"{about}.")
    @click.argument("file")
    @json_option
    def create(*, file: str, is_json: bool) -> Exit:
        members = _read(file, lambda given: _check_new(resource, given))

        async def call(client: Agh, out: Output) -> Exit:
            return _show_definition(out, resource, await resource.of(client).create(**members))

        return ask(Agh, call, is_json=is_json, hidden=_secrets(members))

    return create


def _update(resource: Resource) -> click.Command:
    about = f"Change the {resource.name} called ID by the JSON object in FILE"
    more = "Members that it does not have are not changed; objects in it replace existing ones."

    @click.command("update", help=f"{about}, '-' for stdin.\n\n{more}", short_help=f"{about}.")
    @click.argument("item_id", metavar="ID")
    @click.argument("file")
    @json_option
    def update(*, item_id: str, file: str, is_json: bool) -> Exit:
        members = _read(file, resource.check_changes)

        async def call(client: Agh, out: Output) -> Exit:
            return _show_definition(out, resource, await resource.of(client).update(item_id, **members))

        return ask(Agh, call, is_json=is_json, hidden=_secrets(members))

    return update


def _delete(resource: Resource) -> click.Command:
    @click.command("delete", help=f"Delete the {resource.name} called ID; the history of its runs is kept.")
    @click.argument("item_id", metavar="ID")
    @json_option
    def delete(*, item_id: str, is_json: bool) -> Exit:
        async def call(client: Agh, out: Output) -> Exit:
            await resource.of(client).delete(item_id)
            out.document({"deleted": item_id})
            out.line(f"deleted {item_id}")
            return Exit.OK

        return ask(Agh, call, is_json=is_json)

    return delete


def _show_definition(out: Output, resource: Resource, found: Job | Trigger) -> Exit:
    out.document(found.raw)
    show_members(out, {**found.raw, **resource.shown(found)})
    return Exit.OK


def _read(file: str, check: Callable[[Mapping[str, Any]], object]) -> dict[str, Any]:
    """Read the members from a file. Raises BadParameter, which names the member, for what the server would refuse."""
    members = read_object(file, _HINT)
    try:
        check(members)
    except (ValueError, TypeError) as exc:
        raise click.BadParameter(f"{file}: {exc}", param_hint=_HINT) from None
    return members


def _check_new(resource: Resource, given: Mapping[str, Any]) -> None:
    for name in given:
        if name not in resource.members:
            known = ", ".join(sorted(resource.members))
            raise ValueError(f"{name}: is no member of a new {resource.name}; there are {known}")
    resource.check_new(given)


def _secrets(members: Mapping[str, Any]) -> tuple[str, ...]:
    secret = members.get(_SECRET)
    return (secret.strip(),) if isinstance(secret, str) else ()
