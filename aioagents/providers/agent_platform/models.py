"""Kore Agent Platform: models, imported, exported, deployed and undeployed."""

from typing import Any

import attrs

from ...contract import check_text, path_segment
from ...model import Purpose
from .calls import Calls
from .deployments import HyperParameters, Optimization, Scaling, check_device, check_model_type
from .dock import Dock, DockHandle
from .dock_wire import start_request
from .files import CHUNK, Chunks, Progress, ProgressReporter, check_chunk
from .sources import Uploadable, opened

_CONTEXT = "model"


class Models:
    """The models of an account, available as `AgentPlatform.models`. Methods raise and retry as in `Tools`."""

    def __init__(self, calls: Calls, dock: Dock) -> None:
        self._calls = calls
        self._chunks = Chunks(calls)
        self._dock = dock
        self._url = f"{calls.url}/models"

    async def import_(
        self,
        file: Uploadable,
        *,
        file_name: str | None = None,
        is_adapter: bool | None = None,
        progress: Progress | None = None,
        chunk_bytes: int = CHUNK,
    ) -> DockHandle:
        """Upload a model (a `tar` file) and start its import; `result().model_id` names the model.

        The file is uploaded as by `Files.upload`, but in chunks whatever its size; the last step starts the import,
        and is never sent twice. Also raises what `Files.upload` raises. Agent Platform API, section 9.1.
        """
        check_chunk(chunk_bytes)
        self._calls.ensure_usable()
        more = {} if is_adapter is None else {"isAdapter": _flag(is_adapter, "is_adapter")}
        async with opened(file, file_name, is_spooled=True) as source:
            reporter = ProgressReporter(progress, source.size or 0)
            session = await self._chunks.begin(source, _CONTEXT, chunk_bytes, **more)
            await self._chunks.send(session, source, chunk_bytes, reporter)
            reporter.report(source.size or 0)
        request = attrs.evolve(self._chunks.completion(session), purpose=Purpose.START)
        return await self._dock.start(
            request, target=session.model_id or source.name, action="began to import a model"
        )

    async def export(self, model_id: str) -> DockHandle:
        """Export a model; `result()` is a `Download`. Agent Platform API, section 9.2."""
        request = start_request(self._of(model_id, "export"), "models.export")
        return await self._dock.start(
            request, target=model_id, action="began to export a model", exports=True
        )

    async def deploy(
        self,
        model_id: str,
        *,
        model_type: str,
        name: str,
        device_type: str,
        hyper_parameters: HyperParameters,
        scaling: Scaling | None = None,
        optimization: Optimization | None = None,
        is_deployed_previously: bool | None = None,
    ) -> DockHandle:
        """Deploy a model, of a `ModelType`, under a name and on a machine type of `DEVICES`.

        The model has to be ready to deploy. Its first deployment has to be made by hand in the platform. Agent
        Platform API, section 9.3.
        """
        body: dict[str, Any] = {"name": check_text(name, "name"), "hyperParameters": hyper_parameters.wire()}
        if is_deployed_previously is not None:
            body["isDeployedPreviously"] = _flag(is_deployed_previously, "is_deployed_previously")
        if scaling is not None:
            body["scalingParameters"] = scaling.wire()
        body["deviceType"] = check_device(device_type)
        if optimization is not None:
            body["optimizationInfo"] = optimization.wire()
        url = f"{self._of(model_id, 'deploy')}?modelType={check_model_type(model_type)}"
        request = start_request(url, "models.deploy", body)
        return await self._dock.start(request, target=model_id, action="began to deploy a model")

    async def undeploy(self, model_id: str) -> DockHandle:
        """Undeploy a model. Agent Platform API, section 9.4."""
        request = start_request(self._of(model_id, "undeploy"), "models.undeploy")
        return await self._dock.start(request, target=model_id, action="began to undeploy a model")

    def _of(self, model_id: str, verb: str) -> str:
        return f"{self._url}/{path_segment(model_id, 'model_id')}/{verb}"


def _flag(value: bool, name: str) -> bool:  # noqa: FBT001 - the flag is what is checked
    if not isinstance(value, bool):
        raise TypeError(f"{name} has to be True or False, not {value!r}")
    return value
