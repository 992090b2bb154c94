"""Kore Agent Platform: tools and guardrails, imported, exported, deployed and undeployed."""

from enum import StrEnum
from typing import Final

from attrs import Attribute, field, frozen
from attrs.validators import optional

from ...contract import check_text
from .dock import DockHandle, DockResource
from .wire import check_flag, check_seconds, check_word

TIMEOUT: Final = 600.0


def _check(_: object, attribute: "Attribute[str]", value: str) -> None:
    check_text(value, attribute.name)


@frozen(kw_only=True)
class _Import:
    """The body of an import."""

    tool_data_file_id: str = field(validator=_check)
    flow_data_file_id: str = field(validator=_check)
    env_variables_file_id: str | None = field(default=None, validator=optional(_check))
    tool_name: str | None = field(default=None, validator=optional(_check))


class Tools(DockResource):
    """The tools of an account, available as `AgentPlatform.tools`.

    Each method starts a background job of the platform by a request that is sent once, and returns a handle on it;
    the job may be over already: `await handle.result()`. Raises `StartUnknown` if the reply was lost and a job may
    have started; refusals, `NotSent` and cancellation are as documented at `Leena.execute`; ValueError for arguments
    that cannot be sent. Files for imports are uploaded first, by `AgentPlatform.files`.
    """

    _noun = "tool"

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
        body = _Import(
            tool_data_file_id=tool_data_file_id,
            flow_data_file_id=flow_data_file_id,
            env_variables_file_id=env_variables_file_id,
            tool_name=check_text(tool_name, "tool_name"),
        )
        return await self._dock.start(
            "/tools/import",
            "tools.import_new",
            body,
            target=tool_name,
            action="began to import a tool",
        )

    async def import_into(
        self, tool_id: str, *, tool_data_file_id: str, flow_data_file_id: str, env_variables_file_id: str
    ) -> DockHandle:
        """Import into an existing tool, which needs all three files. Agent Platform API, section 9.0.2."""
        body = _Import(
            tool_data_file_id=tool_data_file_id,
            flow_data_file_id=flow_data_file_id,
            env_variables_file_id=check_text(env_variables_file_id, "env_variables_file_id"),
        )
        return await self._begin(tool_id, "import", body, call="tools.import_into")

    async def export(self, tool_id: str, *, flow_id: str | None = None) -> DockHandle:
        """Export a tool; `result()` is a `Download` of a zip file.

        The vendor's table has the flow's id as required; its sample has none. Agent Platform API, section 9.0.3.
        """
        query = {"flowId": None if flow_id is None else check_text(flow_id, "flow_id")}
        return await self._begin(tool_id, "export", exports=True, query=query)

    async def deploy(
        self, tool_id: str, *, is_async: bool = True, timeout: float | None = TIMEOUT
    ) -> DockHandle:
        """Deploy a tool. Unless `is_async`, wait for the answer, which comes at the end, at most `timeout` seconds.

        Agent Platform API, section 9.0.4.
        """
        body = {"isAsync": check_flag(is_async, "is_async")}
        seconds = check_seconds(timeout)
        return await self._begin(
            tool_id, "deploy", body, is_long=not is_async, timeout=None if is_async else seconds
        )

    async def undeploy(self, tool_id: str) -> DockHandle:
        """Undeploy a tool. Agent Platform API, section 9.0.5."""
        return await self._begin(tool_id, "undeploy")

    def _path(self, item_id: str, verb: str) -> str:
        if item_id == "import":
            raise ValueError(f"tool_id: {item_id!r} is the path of imports")
        return super()._path(item_id, verb)


class Guardrail(StrEnum):
    """A filter of the inputs and outputs of models."""

    ANONYMIZE = "Anonymize"
    BAN_TOPICS = "Ban topics"
    PROMPT_INJECTION = "Prompt injection"
    TOXICITY = "Toxicity"
    BIAS_DETECTION = "Bias detection"
    RELEVANCE = "Relevance"


class Guardrails(DockResource):
    """The guardrails of an account, available as `AgentPlatform.guardrails`. Methods raise and retry as in `Tools`.

    The vendor's newest list of calls does not have them, but its scopes do (Agent Platform API, section 10).
    """

    _noun = "guardrail"

    async def deploy(self, name: str) -> DockHandle:
        """Deploy a `Guardrail`."""
        return await self._start(name, "deploy")

    async def undeploy(self, name: str) -> DockHandle:
        """Undeploy a `Guardrail`."""
        return await self._start(name, "undeploy")

    async def _start(self, name: str, verb: str) -> DockHandle:
        known = check_word(name, Guardrail, "name")
        return await self._begin(known, verb, {"name": known})

    def _path(self, item_id: str, verb: str) -> str:  # noqa: ARG002 - the body has the name
        return f"/guardrails/{verb}"
