"""Kore Agent Platform: models, imported, exported, deployed and undeployed."""

from typing import Any

from ...contract import check_text, path_segment
from .calls import Calls
from .checks import check_flag, check_word
from .deployments import DEVICES, HyperParameters, ModelType, Optimization, Scaling
from .dock import Dock, DockHandle
from .files import CHUNK, Chunks, Progress, ProgressReporter, check_chunk
from .sources import Uploadable, opened
from .wire import KORE

_CONTEXT = "model"


class Models:
    """The models of an account, available as `AgentPlatform.models`. Methods raise and retry as in `Tools`."""

    def __init__(self, calls: Calls, dock: Dock) -> None:
        self._calls = calls
        self._chunks = Chunks(calls)
        self._dock = dock

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
        more = {} if is_adapter is None else {"isAdapter": check_flag(is_adapter, "is_adapter")}
        async with opened(file, file_name, is_spooled=True) as source:
            reporter = ProgressReporter(progress, source.size or 0)
            session = await self._chunks.begin(source, _CONTEXT, chunk_bytes, **more)
            await self._chunks.send(session, source, chunk_bytes, reporter)
            reporter.report(source.size or 0)
        return await self._dock.start(
            self._chunks.completion(session),
            "files.complete",
            target=session.model_id or source.name,
            action="began to import a model",
        )

    async def export(self, model_id: str) -> DockHandle:
        """Export a model; `result()` is a `Download`. Agent Platform API, section 9.2."""
        return await self._start(model_id, "export", exports=True)

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
        body: dict[str, Any] = {
            "name": check_text(name, "name"),
            "hyperParameters": KORE.write(hyper_parameters),
        }
        if is_deployed_previously is not None:
            body["isDeployedPreviously"] = check_flag(is_deployed_previously, "is_deployed_previously")
        if scaling is not None:
            body["scalingParameters"] = KORE.write(scaling)
        body["deviceType"] = check_word(device_type, DEVICES, "deviceType:")
        if optimization is not None:
            body["optimizationInfo"] = KORE.write(optimization)
        query = {"modelType": check_word(model_type, ModelType, "modelType:")}
        return await self._start(model_id, "deploy", body, query=query)

    async def undeploy(self, model_id: str) -> DockHandle:
        """Undeploy a model. Agent Platform API, section 9.4."""
        return await self._start(model_id, "undeploy")

    async def _start(
        self, model_id: str, verb: str, body: dict[str, Any] | None = None, **options: Any
    ) -> DockHandle:
        return await self._dock.start(
            f"/models/{path_segment(model_id, 'model_id')}/{verb}",
            f"models.{verb}",
            body,
            target=model_id,
            action=f"began to {verb} a model",
            **options,
        )
