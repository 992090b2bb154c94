"""Kore Agent Platform: models, imported, exported, deployed and undeployed.

The ranges and words of a deployment are those of the table in Agent Platform API, section 9.3.
"""

from collections.abc import Sequence
from enum import StrEnum
from functools import partial
from typing import Any, Final

from attrs import Attribute, field, frozen

from ...codec import camel_case, member
from ...contract import Progress, ProgressReporter, Uploadable, check_text, open_upload
from .calls import Calls
from .dock import Dock, DockHandle, DockResource
from .files import CHUNK, Chunks, check_chunk
from .wire import check_flag, check_word

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
_OPTIMIZATIONS: Final = ("", "ctranslate2", "vllm")
_QUANTIZATIONS: Final = ("", "no_quantization", "int8_float16")


class ModelType(StrEnum):
    """The type of a model that is deployed."""

    OPEN_SOURCE = "openSource"
    FINE_TUNE = "fineTune"


def _number(group: str, low: float, high: float, kind: type[float] = int, **options: Any) -> Any:
    """Declare a number within bounds; errors have its name in the request."""
    kinds = (int, kind)

    def check(_: object, attribute: "Attribute[Any]", value: Any) -> None:
        path = f"{group}.{camel_case(attribute.name)}"
        if value is None and attribute.default is None:
            return
        if value is None:
            raise ValueError(f"{path}: has to be there")
        if isinstance(value, bool) or not isinstance(value, kinds):
            raise TypeError(f"{path}: expected a {'whole ' if kind is int else ''}number, not {value!r}")
        if not low <= value <= high:
            raise ValueError(f"{path}: has to be from {low} to {high}, not {value!r}")

    return field(validator=check, **options)


_parameter: Final = partial(_number, "hyperParameters")
_scaling: Final = partial(_number, "scalingParameters", default=None)


def _words(value: Sequence[str]) -> tuple[str, ...]:
    if isinstance(value, str):
        raise TypeError("hyperParameters.stopSequence: expected a list of texts, not one text")
    return tuple(value)


@frozen(kw_only=True)
class HyperParameters:
    """How a deployed model answers: `temperature` 0 to 2, `max_tokens` to 512, `top_p` 0 to 1, `top_k` 1 to 100."""

    temperature: float = _parameter(0, 2, float)
    max_tokens: int = _parameter(0, 512)
    top_p: float = _parameter(0, 1, float)
    top_k: int = _parameter(1, 100)
    stop_sequence: tuple[str, ...] = field(default=(), converter=_words)


@frozen(kw_only=True)
class Scaling:
    """How many replicas a model has, and how fast that number changes.

    `min_replicas` is 1 to 10, `max_replicas` 1 to 50, `scale_up_delay` 1 to 1000 and `scale_down_delay` 50 to 2000,
    both in milliseconds according to the vendor, `max_batch_size` 1 to 256.
    """

    max_batch_size: int | None = _scaling(1, 256)
    min_replicas: int | None = _scaling(1, 10)
    max_replicas: int | None = _scaling(1, 50)
    scale_up_delay: int | None = _scaling(1, 1000)
    scale_down_delay: int | None = _scaling(50, 2000)


def _word(name: str, words: Sequence[str]) -> Any:
    def check(_: object, __: "Attribute[str]", value: str) -> None:
        check_word(value, words, f"optimizationInfo.{name}:")

    return member(name, is_always_written=True, default="", validator=check)


@frozen(kw_only=True)
class Optimization:
    """How a model is optimized. What is not set is sent as an empty text, as in the vendor's samples.

    `type` is `ctranslate2` or `vllm`, `quantization` is `no_quantization` or `int8_float16`.
    """

    type: str = _word("optimizationType", _OPTIMIZATIONS)
    quantization: str = _word("quantizationType", _QUANTIZATIONS)


class Models(DockResource):
    """The models of an account, available as `AgentPlatform.models`. Methods raise and retry as in `Tools`."""

    _noun = "model"

    def __init__(self, calls: Calls, dock: Dock) -> None:
        super().__init__(dock)
        self._calls = calls
        self._chunks = Chunks(calls)

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
        more = {"isAdapter": None if is_adapter is None else check_flag(is_adapter, "is_adapter")}
        async with open_upload(file, file_name, is_spooled=True) as source:
            reporter = ProgressReporter(progress, source.size or 0)
            session = await self._chunks.send(source, "model", chunk_bytes, reporter, **more)
            reporter.report(source.size or 0)
        return await self._dock.start(
            self._chunks.completion(session),
            "files.complete",
            target=session.model_id or source.name,
            action="began to import a model",
        )

    async def export(self, model_id: str) -> DockHandle:
        """Export a model; `result()` is a `Download`. Agent Platform API, section 9.2."""
        return await self._begin(model_id, "export", exports=True)

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
        if is_deployed_previously is not None:
            check_flag(is_deployed_previously, "is_deployed_previously")
        body = {
            "name": check_text(name, "name"),
            "hyperParameters": hyper_parameters,
            "isDeployedPreviously": is_deployed_previously,
            "scalingParameters": scaling,
            "deviceType": check_word(device_type, DEVICES, "deviceType:"),
            "optimizationInfo": optimization,
        }
        query = {"modelType": check_word(model_type, ModelType, "modelType:")}
        return await self._begin(model_id, "deploy", body, query=query)

    async def undeploy(self, model_id: str) -> DockHandle:
        """Undeploy a model. Agent Platform API, section 9.4."""
        return await self._begin(model_id, "undeploy")
