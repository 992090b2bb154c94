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
    """The tools of an account, available as `AgentPlatform.tools`.

    Each method starts a background job of the platform by a request that is sent once, and returns a handle on it;
    the job may be over already: `await handle.result()`. Raises `StartUnknown` if the reply was lost and a job may
    have started; refusals, `NotSent` and cancellation are as documented at `Leena.execute`; ValueError for arguments
    that cannot be sent. Files for imports are uploaded first, by `AgentPlatform.files`.
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
        """Import a new tool; `result().tool_id` is its id.

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
        """Import into an existing tool, which needs all three files. Agent Platform API, section 9.0.2."""
        body = _files(tool_data_file_id, flow_data_file_id)
        body["envVariablesFileId"] = check_text(env_variables_file_id, "env_variables_file_id")
        request = start_request(self._of(tool_id, "import"), "tools.import_into", body)
        return await self._dock.start(request, target=tool_id, action="began to import a tool")

    async def export(self, tool_id: str, *, flow_id: str | None = None) -> DockHandle:
        """Export a tool; `result()` is a `Download` of a zip file.

        The vendor's table has the flow's id as required; its sample has none. Agent Platform API, section 9.0.3.
        """
        query = "" if flow_id is None else f"?flowId={quote(check_text(flow_id, 'flow_id'), safe='')}"
        request = start_request(self._of(tool_id, "export") + query, "tools.export")
        return await self._dock.start(request, target=tool_id, action="began to export a tool", exports=True)

    async def deploy(
        self, tool_id: str, *, is_async: bool = True, timeout: float | None = TIMEOUT
    ) -> DockHandle:
        """Deploy a tool. Unless `is_async`, wait for the answer, which comes at the end, at most `timeout` seconds.

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
        """Undeploy a tool. Agent Platform API, section 9.0.5."""
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
    """A filter of the inputs and outputs of models."""

    ANONYMIZE = "Anonymize"
    BAN_TOPICS = "Ban topics"
    PROMPT_INJECTION = "Prompt injection"
    TOXICITY = "Toxicity"
    BIAS_DETECTION = "Bias detection"
    RELEVANCE = "Relevance"


class Guardrails:
    """The guardrails of an account, available as `AgentPlatform.guardrails`. Methods raise and retry as in `Tools`.

    The vendor's newest list of calls does not have them, but its scopes do (Agent Platform API, section 10).
    """

    def __init__(self, calls: Calls, dock: Dock) -> None:
        self._dock = dock
        self._url = f"{calls.url}/guardrails"

    async def deploy(self, name: str) -> DockHandle:
        """Deploy a `Guardrail`."""
        return await self._start(name, "deploy")

    async def undeploy(self, name: str) -> DockHandle:
        """Undeploy a `Guardrail`."""
        return await self._start(name, "undeploy")

    async def _start(self, name: str, verb: str) -> DockHandle:
        try:
            known = Guardrail(name)
        except ValueError:
            raise ValueError(f"name has to be one of {', '.join(Guardrail)}, not {name!r}") from None
        request = start_request(f"{self._url}/{verb}", f"guardrails.{verb}", {"name": known.value})
        return await self._dock.start(request, target=known.value, action=f"began to {verb} a guardrail")
