"""Handlers that start dock jobs: import, export, deploy and undeploy tools, models and guardrails."""

from collections.abc import Callable, Iterator
from typing import Final

from ....contract.fake import Answer, Call, Endpoint, JsonObject, Refused, read_object
from ....model import Purpose
from .dock_jobs import (
    DEPLOY_GUARDRAIL,
    DEPLOY_MODEL,
    DEPLOY_TOOL,
    EXPORT_MODEL,
    EXPORT_TOOL,
    IMPORT_TOOL,
    UNDEPLOY_GUARDRAIL,
    UNDEPLOY_MODEL,
    UNDEPLOY_TOOL,
    DockJobs,
    Trigger,
)
from .files import Files
from .state import ServerState

GUARDRAILS: Final = (
    "Anonymize",
    "Ban topics",
    "Prompt injection",
    "Toxicity",
    "Bias detection",
    "Relevance",
)
DEVICES: Final = (
    "g4dn.xlarge",
    "g5.xlarge",
    "g5.2xlarge",
    "g6e.xlarge",
    "g4dn.12xlarge",
    "g5.12xlarge",
    "g5.48xlarge",
    "g4dn.metal",
)
_TOOLS: Final = "/api/public/tools"
_MODELS: Final = "/api/public/models/{model_id}"
_MODEL_TYPES: Final = ("openSource", "fineTune")
_HYPER: Final = (
    ("temperature", 0, 2, False),
    ("maxTokens", 0, 512, True),
    ("topP", 0, 1, False),
    ("topK", 1, 100, True),
)
_SCALING: Final = (
    ("maxBatchSize", 1, 256),
    ("minReplicas", 1, 10),
    ("maxReplicas", 1, 50),
    ("scaleUpDelay", 1, 1000),
    ("scaleDownDelay", 50, 2000),
)
_OPTIMIZATIONS: Final = ("", "ctranslate2", "vllm")
_QUANTIZATIONS: Final = ("", "no_quantization", "int8_float16")


class DockHandlers:
    """Starts all dock jobs but the import of a model, which the last call of an upload starts."""

    def __init__(self, server: ServerState, dock_jobs: DockJobs, files: Files) -> None:
        self._server = server
        self._dock_jobs = dock_jobs
        self._files = files
        self._guardrails: dict[str, str] = {}

    def endpoints(self) -> Iterator[Endpoint]:
        """Return the endpoints."""
        start, tool = Purpose.START, f"{_TOOLS}/{{tool_id}}"
        yield "POST", f"{_TOOLS}/import", "tools.import_new", start, self._import_new
        yield "POST", f"{tool}/import", "tools.import_into", start, self._import_into
        yield "POST", f"{tool}/export", "tools.export", start, self._export_tool
        yield "POST", f"{tool}/deploy", "tools.deploy", start, self._deploy_tool
        yield "POST", f"{tool}/undeploy", "tools.undeploy", start, self._by_id(UNDEPLOY_TOOL, "tool_id")
        yield "POST", f"{_MODELS}/export", "models.export", start, self._by_id(EXPORT_MODEL, "model_id")
        yield "POST", f"{_MODELS}/deploy", "models.deploy", start, self._deploy_model
        yield "POST", f"{_MODELS}/undeploy", "models.undeploy", start, self._by_id(UNDEPLOY_MODEL, "model_id")
        guardrails = "/api/public/guardrails"
        yield "POST", f"{guardrails}/deploy", "guardrails.deploy", start, self._guardrail(DEPLOY_GUARDRAIL)
        yield (
            "POST",
            f"{guardrails}/undeploy",
            "guardrails.undeploy",
            start,
            self._guardrail(UNDEPLOY_GUARDRAIL),
        )

    def _import_new(self, call: Call) -> Answer:
        body = read_object(call)
        name = body.require("toolName", str)
        self._check_files(body, "toolDataFileId", "flowDataFileId")
        if body.get("envVariablesFileId", str) is not None:
            self._check_files(body, "envVariablesFileId")
        return self._dock_jobs.start(call, IMPORT_TOOL, self._server.new_id("a-"), name=name)

    def _import_into(self, call: Call) -> Answer:
        self._server.check_known(call.path["tool_id"])
        self._check_files(read_object(call), "toolDataFileId", "flowDataFileId", "envVariablesFileId")
        return self._dock_jobs.start(call, IMPORT_TOOL, call.path["tool_id"])

    def _check_files(self, body: JsonObject, *names: str) -> None:
        for name in names:
            if self._files.get(body.require(name, str)) is None:
                raise body.invalid(name, "be the id of an uploaded file")

    def _export_tool(self, call: Call) -> Answer:
        flow = call.query.get("flowId", "")
        if self._server.rules.flow_id_needed and not flow:
            raise Refused(400, "flowId has to be there")
        self._server.check_known(call.path["tool_id"], flow)
        return self._dock_jobs.start(call, EXPORT_TOOL, call.path["tool_id"])

    def _deploy_tool(self, call: Call) -> Answer:
        self._server.check_known(call.path["tool_id"])
        is_async = read_object(call).require("isAsync", bool)
        return self._dock_jobs.start(call, DEPLOY_TOOL, call.path["tool_id"], is_held=not is_async)

    def _deploy_model(self, call: Call) -> Answer:
        model = call.path["model_id"]
        self._server.check_known(model)
        if call.query.get("modelType") not in _MODEL_TYPES:
            raise Refused(400, f"modelType has to be one of {', '.join(_MODEL_TYPES)}")
        _check_deployment(read_object(call))
        if model in self._server.rules.never_deployed:
            raise Refused(400, "a model's first deployment is made by hand")
        return self._dock_jobs.start(call, DEPLOY_MODEL, model)

    def _by_id(self, trigger: Trigger, parameter: str) -> Callable[[Call], Answer]:
        def start(call: Call) -> Answer:
            self._server.check_known(call.path[parameter])
            return self._dock_jobs.start(call, trigger, call.path[parameter])

        return start

    def _guardrail(self, trigger: Trigger) -> Callable[[Call], Answer]:
        def start(call: Call) -> Answer:
            name = read_object(call).choice("name", GUARDRAILS, is_needed=True) or ""
            model = self._guardrails.get(name) or self._guardrails.setdefault(
                name, self._server.new_id("cm-")
            )
            return self._dock_jobs.start(call, trigger, model, name=name)

        return start


def _check_deployment(body: JsonObject) -> None:
    """Check each member of the body of a model's deployment. Raises `Refused`."""
    body.require("name", str)
    body.get("isDeployedPreviously", bool)
    body.choice("deviceType", DEVICES, is_needed=True)
    hyper, scaling = body.object("hyperParameters"), body.object("scalingParameters")
    for name, low, high, is_whole in _HYPER:
        hyper.check_range(name, low, high, is_whole=is_whole, is_needed=True)
    hyper.get("stopSequence", list)
    for name, low, high in _SCALING:
        scaling.check_range(name, low, high, is_whole=True, is_needed=False)
    optimization = body.object("optimizationInfo")
    optimization.choice("optimizationType", _OPTIMIZATIONS)
    optimization.choice("quantizationType", _QUANTIZATIONS)
