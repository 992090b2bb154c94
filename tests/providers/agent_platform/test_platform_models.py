"""Requests that import, export, deploy and undeploy models, and invalid arguments."""

from typing import Any

import pytest

from aioagents import Conflict, ReplyLost, RunState, StartUnknown
from aioagents.codec import decode_json
from aioagents.model import Purpose, Reply
from aioagents.providers.agent_platform import (
    DEVICES,
    HyperParameters,
    ModelType,
    Optimization,
    Scaling,
)
from aioagents.providers.agent_platform import fake as fakes
from aioagents.providers.agent_platform.wire import KORE
from tests.polling.rig import begin
from tests.providers.agent_platform.platform_rig import HELLO, TOOLS_URL, PlatformRig, platform_rig

_HYPER = HyperParameters(temperature=0, max_tokens=512, top_p=0.5, top_k=1)


async def _deploy(r: PlatformRig, **changes: Any) -> Any:
    options: dict[str, Any] = {
        "model_type": ModelType.FINE_TUNE,
        "name": "My model",
        "device_type": "g5.xlarge",
        "hyper_parameters": _HYPER,
    }
    return await r.platform.models.deploy(HELLO, **{**options, **changes})


async def test_deployment_with_everything() -> None:
    """All options of a deployment are sent nested as in the vendor's samples."""
    async with platform_rig("SUCCESS") as r:
        job = await _deploy(
            r,
            model_type="openSource",
            hyper_parameters=HyperParameters(
                temperature=2, max_tokens=0, top_p=1.0, top_k=100, stop_sequence=["END"]
            ),
            scaling=Scaling(
                max_batch_size=256, min_replicas=1, max_replicas=50, scale_up_delay=1, scale_down_delay=2000
            ),
            optimization=Optimization(type="vllm", quantization="int8_float16"),
            is_deployed_previously=True,
        )
        assert r.last.url == f"{TOOLS_URL}/models/hello/deploy?modelType=openSource"
        assert r.body == {
            "name": "My model",
            "isDeployedPreviously": True,
            "hyperParameters": {
                "temperature": 2,
                "maxTokens": 0,
                "topP": 1.0,
                "topK": 100,
                "stopSequence": ["END"],
            },
            "scalingParameters": {
                "maxBatchSize": 256,
                "minReplicas": 1,
                "maxReplicas": 50,
                "scaleUpDelay": 1,
                "scaleDownDelay": 2000,
            },
            "deviceType": "g5.xlarge",
            "optimizationInfo": {"optimizationType": "vllm", "quantizationType": "int8_float16"},
        }
        assert (await job).state is RunState.COMPLETED


async def test_deployment_with_the_least() -> None:
    """Options that are not given are left to the platform."""
    async with platform_rig("SUCCESS") as r:
        await _deploy(r, scaling=Scaling(), optimization=Optimization())
        assert r.last.url.endswith("?modelType=fineTune")
        assert r.body == {
            "name": "My model",
            "hyperParameters": {"temperature": 0, "maxTokens": 512, "topP": 0.5, "topK": 1},
            "scalingParameters": {},
            "deviceType": "g5.xlarge",
            "optimizationInfo": {"optimizationType": "", "quantizationType": ""},
        }
        await _deploy(r)
        assert set(r.body) == {"name", "hyperParameters", "deviceType"}
        assert DEVICES == fakes.DEVICES


async def test_other_verbs() -> None:
    """An export and an undeployment have no body."""
    async with platform_rig("SUCCESS") as r:
        await r.platform.models.export("c/1")
        assert (r.last.url, r.last.body) == (f"{TOOLS_URL}/models/c%2F1/export", None)
        await r.platform.models.undeploy(HELLO)
        assert (r.last.url, r.last.body) == (f"{TOOLS_URL}/models/hello/undeploy", None)


_GOOD: dict[str, Any] = {"temperature": 1, "max_tokens": 1, "top_p": 1, "top_k": 1}


@pytest.mark.parametrize(
    ("member", "name", "low", "high", "is_whole"),
    [
        ("hyperParameters.temperature", "temperature", 0, 2, False),
        ("hyperParameters.maxTokens", "max_tokens", 0, 512, True),
        ("hyperParameters.topP", "top_p", 0, 1, False),
        ("hyperParameters.topK", "top_k", 1, 100, True),
    ],
)
def test_ranges_of_hyper_parameters(member: str, name: str, low: int, high: int, is_whole: bool) -> None:
    """Each is required and has an inclusive range; errors have its name in the request."""
    for fine in (low, high):
        assert getattr(HyperParameters(**{**_GOOD, name: fine}), name) == fine
    for bad in (low - 1, high + 1, low - 0.001, high + 0.001, float("nan"), None, "1", True):
        with pytest.raises((ValueError, TypeError), match=member):
            HyperParameters(**{**_GOOD, name: bad})
    middle = (low + high) / 2 + 0.25
    if is_whole:
        with pytest.raises(TypeError, match=f"{member}: expected a whole number"):
            HyperParameters(**{**_GOOD, name: middle})
    else:
        assert getattr(HyperParameters(**{**_GOOD, name: middle / 2}), name) == middle / 2


@pytest.mark.parametrize(
    ("member", "name", "low", "high"),
    [
        ("maxBatchSize", "max_batch_size", 1, 256),
        ("minReplicas", "min_replicas", 1, 10),
        ("maxReplicas", "max_replicas", 1, 50),
        ("scaleUpDelay", "scale_up_delay", 1, 1000),
        ("scaleDownDelay", "scale_down_delay", 50, 2000),
    ],
)
def test_ranges_of_scaling(member: str, name: str, low: int, high: int) -> None:
    """Each is optional and has a range; errors have its name in the request."""
    for fine in (low, high):
        assert KORE.write(Scaling(**{name: fine})) == {member: fine}
    bad: Any
    for bad in (low - 1, high + 1, 1.5, "1", True):
        with pytest.raises((ValueError, TypeError), match=f"scalingParameters.{member}"):
            Scaling(**{name: bad})


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"model_type": "open"}, ValueError, "modelType: .*openSource, fineTune"),
        ({"name": ""}, ValueError, "name"),
        ({"device_type": "p4d.24xlarge"}, ValueError, "deviceType: .*g4dn.xlarge"),
        ({"is_deployed_previously": 1}, TypeError, "is_deployed_previously"),
    ],
)
async def test_deployments_that_cannot_be_sent(
    changes: dict[str, Any], error: type[Exception], message: str
) -> None:
    """Invalid arguments are refused by name before anything is sent."""
    async with platform_rig() as r:
        with pytest.raises(error, match=message):
            await _deploy(r, **changes)
        assert r.send.sent == []


def test_words_of_optimization() -> None:
    """Other words than the vendor's are refused; errors have the name in the request."""
    with pytest.raises(ValueError, match=r"optimizationInfo\.optimizationType: .*ctranslate2, vllm"):
        Optimization(type="tensorrt")
    with pytest.raises(ValueError, match=r"optimizationInfo\.quantizationType"):
        Optimization(quantization="int4")
    with pytest.raises(TypeError, match="stopSequence"):
        HyperParameters(**_GOOD, stop_sequence="END")


# Imports


async def test_import() -> None:
    """A model of any size is uploaded in chunks, and the last step starts its import."""
    async with platform_rig(("IN_PROGRESS", 5.0), "SUCCESS") as r:
        sent: list[tuple[int, int]] = []
        job = await r.platform.models.import_(
            bytes(range(250)),
            file_name=HELLO + ".tar",
            is_adapter=True,
            chunk_bytes=100,
            progress=lambda done, whole: sent.append((done, whole)),
        )
        start, *chunks, complete = r.send.sent
        assert decode_json(start.body or b"") == {
            "fileContext": "model",
            "totalChunks": 3,
            "fileExtension": "tar",
            "fileName": "hello.tar",
            "fileSize": 250,
            "isAdapter": True,
        }
        assert [each.call for each in chunks] == ["files.chunk"] * 3
        assert (complete.call, complete.purpose) == ("files.complete", Purpose.START)
        assert sent == [(0, 250), (100, 250), (200, 250), (250, 250)]
        (file,) = r.fake.files
        assert (file.size, file.context, file.chunks) == (250, "model", 3)
        waiter = await begin(job.result())
        await r.clock.advance(60)
        if (end := await job).state is RunState.COMPLETED:
            # An import with the action EXPORT is no export.
            assert (await waiter).action == "EXPORT"
        assert end.output.job_id == job.id


async def test_import_whose_last_step_is_lost() -> None:
    """The step that starts the import is sent once, while chunks are retried."""
    async with platform_rig() as r:
        r.answer("files.chunk", ReplyLost("lost"))
        r.answer("files.complete", ReplyLost("lost"))
        waiter = await begin(r.platform.models.import_(b"x" * 20, file_name="m.tar", chunk_bytes=10))
        await r.clock.advance(10)
        with pytest.raises(StartUnknown, match="began to import a model") as caught:
            await waiter
        assert r.calls == ["files.start", *["files.chunk"] * 3, "files.complete"]
        assert caught.value.target.startswith("cm-")


async def test_chunk_that_was_sent_before() -> None:
    """A conflict on a chunk is ignored after a retry, since an earlier attempt may have sent it; else raised."""
    async with platform_rig() as r:
        r.answer("files.chunk", ReplyLost("lost"), Reply(409, {}, b'{"message": "no"}'))
        waiter = await begin(r.platform.models.import_(b"x", file_name="m.tar"))
        await r.clock.advance(10)
        with pytest.raises(Exception, match=r"files\.complete"):
            await waiter  # the fake lacks the chunk, which the completion reveals
        r.answer("files.chunk", Reply(409, {}, b'{"message": "no"}'))
        with pytest.raises(Conflict):
            await r.platform.models.import_(b"x", file_name="m.tar")


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"file_name": "model"}, ValueError, "extension"),
        ({"file_name": None}, ValueError, "file_name"),
        ({"chunk_bytes": 0}, ValueError, "chunk_bytes"),
        ({"chunk_bytes": 25_000_001}, ValueError, "chunk_bytes"),
        ({"is_adapter": "yes"}, TypeError, "is_adapter"),
        ({"file": b""}, ValueError, "is empty"),
    ],
)
async def test_imports_that_cannot_be_sent(
    options: dict[str, Any], error: type[Exception], message: str
) -> None:
    """Invalid arguments are refused before anything is sent."""
    async with platform_rig() as r:
        given = {"file": b"x", "file_name": "m.tar", **options}
        with pytest.raises(error, match=message):
            await r.platform.models.import_(**given)
        assert r.send.sent == []
