"""Kore Agent Platform: tools and guardrails, imported, exported, deployed and undeployed."""

from enum import StrEnum
from typing import Any, Final
from urllib.parse import quote

from ...contract import check_text, path_segment
from .calls import Calls
from .dock import Dock, DockHandle
from .dock_wire import start_request

TIMEOUT: Final = 600.0


class Tools:
    """The tools of an account. Made by `AgentPlatform.tools`.

    Each method starts a background job of the platform, once, and gives a handle on it, which may be over already:
    `await handle.result()`. Raises `StartUnknown` when the reply was lost and a job may have begun; the refusal,
    `NotSent` and cancellation are as `Leena.execute` tells; ValueError for what cannot be sent. Files are uploaded
    before, by `AgentPlatform.files`.
    """

    def __init__(self, calls: Calls, dock: Dock) -> None:
        self._dock = dock
        self._url = f"{calls.url}/tools"

    async def import_new(
        self,
        tool_name: str,
        *,
        tool_data_file_id: str,
        flow_data_file_id: str,
        env_variables_file_id: str | None = None,
    ) -> DockHandle:
        """Import a new tool; `result().tool_id` names it.

        The files are an export's `app_definition.json`, `flow_definition.json` and, if any, `env_variables.json`.
        Agent Platform API, section 9.0.1.
        """
        body = _files(tool_data_file_id, flow_data_file_id)
        if env_variables_file_id is not None:
            body["envVariablesFileId"] = check_text(env_variables_file_id, "env_variables_file_id")
        body["toolName"] = check_text(tool_name, "tool_name")
        request = start_request(f"{self._url}/import", "tools.import_new", body)
        return await self._dock.start(request, target=tool_name, action="began to import a tool")

    async def import_into(
        self, tool_id: str, *, tool_data_file_id: str, flow_data_file_id: str, env_variables_file_id: str
    ) -> DockHandle:
        """Import into a tool that is there. All three files are needed here (Agent Platform API, section 9.0.2)."""
        body = _files(tool_data_file_id, flow_data_file_id)
        body["envVariablesFileId"] = check_text(env_variables_file_id, "env_variables_file_id")
        request = start_request(self._of(tool_id, "import"), "tools.import_into", body)
        return await self._dock.start(request, target=tool_id, action="began to import a tool")

    async def export(self, tool_id: str, *, flow_id: str | None = None) -> DockHandle:
        """Export a tool; `result()` is a `Download` of a zip file.

        The vendor's table asks for the flow's id, its sample leaves it out. Agent Platform API, section 9.0.3.
        """
        query = "" if flow_id is None else f"?flowId={quote(check_text(flow_id, 'flow_id'), safe='')}"
        request = start_request(self._of(tool_id, "export") + query, "tools.export")
        return await self._dock.start(request, target=tool_id, action="began to export a tool", exports=True)

    async def deploy(
        self, tool_id: str, *, is_async: bool = True, timeout: float | None = TIMEOUT
    ) -> DockHandle:
        """Deploy a tool. Without `is_async` the platform answers when it is done, for at most `timeout` seconds.

        Agent Platform API, section 9.0.4.
        """
        if not isinstance(is_async, bool):
            raise TypeError(f"is_async has to be True or False, not {is_async!r}")
        if timeout is not None and not timeout > 0:
            raise ValueError(f"timeout has to be above 0 seconds, or None, not {timeout!r}")
        request = start_request(
            self._of(tool_id, "deploy"),
            "tools.deploy",
            {"isAsync": is_async},
            is_long=not is_async,
            timeout=None if is_async else timeout,
        )
        return await self._dock.start(request, target=tool_id, action="began to deploy a tool")

    async def undeploy(self, tool_id: str) -> DockHandle:
        """Take a tool out of service. Agent Platform API, section 9.0.5."""
        request = start_request(self._of(tool_id, "undeploy"), "tools.undeploy")
        return await self._dock.start(request, target=tool_id, action="began to undeploy a tool")

    def _of(self, tool_id: str, verb: str) -> str:
        segment = path_segment(tool_id, "tool_id")
        if segment == "import":
            raise ValueError(f"tool_id: {tool_id!r} is the path of imports")
        return f"{self._url}/{segment}/{verb}"


def _files(tool_data_file_id: str, flow_data_file_id: str) -> dict[str, Any]:
    return {
        "toolDataFileId": check_text(tool_data_file_id, "tool_data_file_id"),
        "flowDataFileId": check_text(flow_data_file_id, "flow_data_file_id"),
    }


class Guardrail(StrEnum):
    """What watches over inputs and outputs of models."""

    ANONYMIZE = "Anonymize"
    BAN_TOPICS = "Ban topics"
    PROMPT_INJECTION = "Prompt injection"
    TOXICITY = "Toxicity"
    BIAS_DETECTION = "Bias detection"
    RELEVANCE = "Relevance"


class Guardrails:
    """The guardrails of an account. Made by `AgentPlatform.guardrails`; as `Tools`.

    The vendor's newest list of calls has left them out, and its scopes have not (Agent Platform API, section 10).
    """

    def __init__(self, calls: Calls, dock: Dock) -> None:
        self._dock = dock
        self._url = f"{calls.url}/guardrails"

    async def deploy(self, name: str) -> DockHandle:
        """Put a `Guardrail` into service."""
        return await self._start(name, "deploy")

    async def undeploy(self, name: str) -> DockHandle:
        """Take a `Guardrail` out of service."""
        return await self._start(name, "undeploy")

    async def _start(self, name: str, verb: str) -> DockHandle:
        try:
            known = Guardrail(name)
        except ValueError:
            raise ValueError(f"name has to be one of {', '.join(Guardrail)}, not {name!r}") from None
        request = start_request(f"{self._url}/{verb}", f"guardrails.{verb}", {"name": known.value})
        return await self._dock.start(request, target=known.value, action=f"began to {verb} a guardrail")
