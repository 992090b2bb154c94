"""`agent-platform tools|models|guardrails`: start dock jobs and follow them."""

from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from typing import Any

import click

from ....cli.exits import Exit
from ....cli.options import Command, client_of
from ....cli.output import Output
from ....cli.runs import follow_options, start
from ....polling import RunHandle
from ....pool import SessionPool
from .. import (
    DEVICES,
    AgentPlatform,
    DockHandle,
    Download,
    Guardrail,
    HyperParameters,
    ModelType,
    Scaling,
)
from .transfer_bar import TransferBar

_Begin = Callable[[AgentPlatform], Awaitable[DockHandle]]


def _save_option(command: Command) -> Command:
    return click.option("--save", metavar="FILE", help="Download the export to this file.")(command)


def _follow(begin: _Begin, *, wait: bool, save: str | None = None, **options: Any) -> Exit:
    """Start a dock job and follow it; print the URL of an export, or download it to `save`."""
    if save is not None and not wait:
        raise click.UsageError("--save has to wait for the end of the job: leave out --no-wait")

    async def start_job(pool: SessionPool, _: AsyncExitStack) -> RunHandle:
        return await begin(client_of(AgentPlatform, pool))

    async def finish(handle: RunHandle, out: Output) -> None:
        result = await handle.result()
        if isinstance(result, Download):
            await _fetch(result, out, save)

    return start(start_job, wait=wait, then=finish, **options)


async def _fetch(download: Download, out: Output, save: str | None) -> None:
    if save is None:
        out.line(f"download {download.url}")
        out.document({"event": "exported", "url": download.url})
        return
    with TransferBar(out, "saved") as bar:
        await download.save(save, progress=bar.update)
    out.line(f"saved {save}")
    out.document({"event": "saved", "file": save})


@click.group("tools", no_args_is_help=True)
def tools() -> None:
    """Deploy, undeploy, import and export tools."""


@tools.command("deploy")
@click.argument("tool_id")
@follow_options
def _deploy_tool(*, tool_id: str, **options: Any) -> Exit:
    """Deploy the tool called TOOL_ID."""
    return _follow(lambda client: client.tools.deploy(tool_id), **options)


@tools.command("undeploy")
@click.argument("tool_id")
@follow_options
def _undeploy_tool(*, tool_id: str, **options: Any) -> Exit:
    """Undeploy the tool called TOOL_ID."""
    return _follow(lambda client: client.tools.undeploy(tool_id), **options)


@tools.command("export")
@click.argument("tool_id")
@click.option("--flow", "flow_id", metavar="ID", help="The flow to export.")
@_save_option
@follow_options
def _export_tool(*, tool_id: str, flow_id: str | None, **options: Any) -> Exit:
    """Export the tool called TOOL_ID as a zip file."""
    return _follow(lambda client: client.tools.export(tool_id, flow_id=flow_id), **options)


@tools.command("import")
@click.argument("name")
@click.option(
    "--into", "tool_id", metavar="TOOL_ID", help="Import into this tool, in place of a new one called NAME."
)
@click.option("--tool-file", required=True, metavar="FILE", help="The export's app_definition.json.")
@click.option("--flow-file", required=True, metavar="FILE", help="The export's flow_definition.json.")
@click.option("--env-file", metavar="FILE", help="The export's env_variables.json; needed with --into.")
@follow_options
def _import_tool(
    *, name: str, tool_id: str | None, tool_file: str, flow_file: str, env_file: str | None, **options: Any
) -> Exit:
    """Upload an export's files and import them, as a new tool called NAME."""
    if tool_id is not None and env_file is None:
        raise click.UsageError("--into needs an --env-file as well")

    async def begin(client: AgentPlatform) -> DockHandle:
        files = {
            member: (await client.files.upload(file)).file_id
            for member, file in (
                ("tool_data_file_id", tool_file),
                ("flow_data_file_id", flow_file),
                ("env_variables_file_id", env_file),
            )
            if file is not None
        }
        if tool_id is not None:
            return await client.tools.import_into(tool_id, **files)
        return await client.tools.import_new(name, **files)

    return _follow(begin, **options)


@click.group("models", no_args_is_help=True)
def models() -> None:
    """Deploy, undeploy, import and export models."""


@models.command("import")
@click.argument("file", type=click.Path(exists=True, dir_okay=False))
@click.option("--adapter", "is_adapter", is_flag=True, default=None, help="The file is an adapter.")
@follow_options
def _import_model(*, file: str, is_adapter: bool | None, is_json: bool, **options: Any) -> Exit:
    """Upload FILE, a tar file, in chunks, and import it as a model."""

    async def begin(client: AgentPlatform) -> DockHandle:
        with TransferBar(Output(is_json=is_json), "uploaded") as bar:
            return await client.models.import_(file, is_adapter=is_adapter, progress=bar.update)

    return _follow(begin, is_json=is_json, **options)


@models.command("export")
@click.argument("model_id")
@_save_option
@follow_options
def _export_model(*, model_id: str, **options: Any) -> Exit:
    """Export the model called MODEL_ID."""
    return _follow(lambda client: client.models.export(model_id), **options)


@models.command("deploy")
@click.argument("model_id")
@click.option(
    "--type",
    "model_type",
    required=True,
    type=click.Choice([each.value for each in ModelType]),
    help="The type of the model.",
)
@click.option("--name", required=True, metavar="TEXT", help="The name of the deployment.")
@click.option(
    "--device",
    "device_type",
    required=True,
    type=click.Choice(list(DEVICES)),
    metavar="NAME",
    help=f"The machine type: {', '.join(DEVICES)}.",
)
@click.option("--temperature", type=click.FloatRange(0, 2), required=True, help="The temperature of answers.")
@click.option("--max-tokens", type=click.IntRange(0, 512), required=True, help="Longest answer, in tokens.")
@click.option("--top-p", type=click.FloatRange(0, 1), required=True, help="Share of the likeliest tokens.")
@click.option("--top-k", type=click.IntRange(1, 100), required=True, help="How many of the likeliest tokens.")
@click.option("--min-replicas", type=click.IntRange(1, 10), help="Smallest number of replicas.")
@click.option("--max-replicas", type=click.IntRange(1, 50), help="Largest number of replicas.")
@follow_options
def _deploy_model(
    *,
    model_id: str,
    model_type: str,
    name: str,
    device_type: str,
    temperature: float,
    max_tokens: int,
    top_p: float,
    top_k: int,
    min_replicas: int | None,
    max_replicas: int | None,
    **options: Any,
) -> Exit:
    """Deploy the model called MODEL_ID. Its first deployment has to be made in the platform."""

    async def begin(client: AgentPlatform) -> DockHandle:
        given = {"min_replicas": min_replicas, "max_replicas": max_replicas}
        scaling = {member: count for member, count in given.items() if count is not None}
        return await client.models.deploy(
            model_id,
            model_type=model_type,
            name=name,
            device_type=device_type,
            hyper_parameters=HyperParameters(
                temperature=temperature, max_tokens=max_tokens, top_p=top_p, top_k=top_k
            ),
            scaling=Scaling(**scaling) if scaling else None,
        )

    return _follow(begin, **options)


@models.command("undeploy")
@click.argument("model_id")
@follow_options
def _undeploy_model(*, model_id: str, **options: Any) -> Exit:
    """Undeploy the model called MODEL_ID."""
    return _follow(lambda client: client.models.undeploy(model_id), **options)


@click.group("guardrails", no_args_is_help=True)
def guardrails() -> None:
    """Deploy and undeploy guardrails, the filters of inputs and outputs."""


_GUARDRAIL = click.Choice([each.value for each in Guardrail], case_sensitive=False)


@guardrails.command("deploy")
@click.argument("name", type=_GUARDRAIL)
@follow_options
def _deploy_guardrail(*, name: str, **options: Any) -> Exit:
    """Deploy the guardrail called NAME."""
    return _follow(lambda client: client.guardrails.deploy(name), **options)


@guardrails.command("undeploy")
@click.argument("name", type=_GUARDRAIL)
@follow_options
def _undeploy_guardrail(*, name: str, **options: Any) -> Exit:
    """Undeploy the guardrail called NAME."""
    return _follow(lambda client: client.guardrails.undeploy(name), **options)
