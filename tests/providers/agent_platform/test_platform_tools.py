"""Requests that import, export, deploy and undeploy tools and guardrails, and invalid arguments."""

from typing import Any

import pytest

from aioagents import RunState
from aioagents.providers.agent_platform import Guardrail
from aioagents.providers.agent_platform.fake import GUARDRAILS
from tests.polling.rig import begin
from tests.providers.agent_platform.platform_rig import HELLO, TOOLS_URL, PlatformRig, platform_rig


async def _files(r: PlatformRig) -> list[str]:
    return [r.fake.install_file(f"{n}.json") for n in range(3)]


async def test_import_of_a_new_tool() -> None:
    """Files are named by their ids; the variables are optional, and the result has the tool's id."""
    async with platform_rig("SUCCESS") as r:
        data, flow, env = await _files(r)
        job = await r.platform.tools.import_new(HELLO, tool_data_file_id=data, flow_data_file_id=flow)
        assert r.last.url == f"{TOOLS_URL}/tools/import"
        assert r.body == {"toolDataFileId": data, "flowDataFileId": flow, "toolName": HELLO}
        assert (await job.result()).tool_id.startswith("a-")
        await r.platform.tools.import_new(
            HELLO, tool_data_file_id=data, flow_data_file_id=flow, env_variables_file_id=env
        )
        assert r.body["envVariablesFileId"] == env


async def test_import_into_a_tool() -> None:
    """All three files are sent to an existing tool."""
    async with platform_rig("SUCCESS") as r:
        data, flow, env = await _files(r)
        job = await r.platform.tools.import_into(
            HELLO, tool_data_file_id=data, flow_data_file_id=flow, env_variables_file_id=env
        )
        assert r.last.url == f"{TOOLS_URL}/tools/hello/import"
        assert r.body == {"toolDataFileId": data, "flowDataFileId": flow, "envVariablesFileId": env}
        assert (await job.result()).tool_id == HELLO


async def test_export_of_a_flow() -> None:
    """The flow is a query, if it is given, and there is no body."""
    async with platform_rig("SUCCESS", rules={"flow_id_needed": True}) as r:
        await r.platform.tools.export("a/b", flow_id="f 1&x")
        assert (r.last.url, r.last.body) == (f"{TOOLS_URL}/tools/a%2Fb/export?flowId=f%201%26x", None)
    async with platform_rig("SUCCESS") as r:
        await r.platform.tools.export(HELLO)
        assert r.last.url == f"{TOOLS_URL}/tools/hello/export"


async def test_deployment_that_is_waited_for() -> None:
    """Without `is_async` the answer comes when the job is done, and is its end."""
    async with platform_rig(("IN_PROGRESS", 300.0), "SUCCESS") as r:
        waiter = await begin(r.platform.tools.deploy(HELLO, is_async=False))
        assert (r.body, r.last.is_long, r.last.timeout) == ({"isAsync": False}, True, 600.0)
        await r.clock.advance(299)
        assert not waiter.done()
        await r.clock.advance(2)
        job = await waiter
        assert (await job).state is RunState.COMPLETED
        assert r.calls == ["tools.deploy"]
        await r.platform.tools.deploy(HELLO)
        assert (r.body, r.last.is_long, r.last.timeout) == ({"isAsync": True}, False, None)
        await r.platform.tools.undeploy(HELLO)
        assert (r.last.url, r.last.body) == (f"{TOOLS_URL}/tools/hello/undeploy", None)


@pytest.mark.parametrize("name", GUARDRAILS)
async def test_guardrails(name: str) -> None:
    """Each guardrail is deployed and undeployed by its name."""
    async with platform_rig() as r:
        for verb in ("deploy", "undeploy"):
            job = await getattr(r.platform.guardrails, verb)(name)
            assert (r.last.url, r.body) == (f"{TOOLS_URL}/guardrails/{verb}", {"name": name})
            assert job.id.startswith("ds-")
        assert Guardrail(name).value == name


@pytest.mark.parametrize(
    ("work", "error", "message"),
    [
        (
            lambda p: p.tools.import_new("", tool_data_file_id="f", flow_data_file_id="f"),
            ValueError,
            "tool_name",
        ),
        (
            lambda p: p.tools.import_new("t", tool_data_file_id="", flow_data_file_id="f"),
            ValueError,
            "tool_data",
        ),
        (
            lambda p: p.tools.import_new("t", tool_data_file_id="f", flow_data_file_id=""),
            ValueError,
            "flow_data",
        ),
        (
            lambda p: p.tools.import_new(
                "t", tool_data_file_id="f", flow_data_file_id="f", env_variables_file_id=" "
            ),
            ValueError,
            "env_variables",
        ),
        (
            lambda p: p.tools.import_into(
                "t", tool_data_file_id="f", flow_data_file_id="f", env_variables_file_id=""
            ),
            ValueError,
            "env_variables",
        ),
        (lambda p: p.tools.export("import"), ValueError, "path of imports"),
        (lambda p: p.tools.export("t", flow_id=""), ValueError, "flow_id"),
        (lambda p: p.tools.deploy(""), ValueError, "tool_id"),
        (lambda p: p.tools.deploy("t", is_async=1), TypeError, "is_async"),
        (lambda p: p.tools.deploy("t", is_async=False, timeout=0), ValueError, "timeout"),
        (lambda p: p.tools.undeploy(".."), ValueError, "tool_id"),
        (lambda p: p.guardrails.deploy("ban topics"), ValueError, "Anonymize, Ban topics"),
    ],
)
async def test_invalid_arguments(work: Any, error: type[Exception], message: str) -> None:
    """Invalid arguments are refused by name before anything is sent."""
    async with platform_rig() as r:
        with pytest.raises(error, match=message):
            await work(r.platform)
        assert r.send.sent == []
