"""Dock jobs against the fake: followed to their end, over at the start, with progress, and exports."""

import asyncio
import pickle
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

import pytest

from aioagents import (
    BadRequest,
    DecodeError,
    NotFound,
    NotSent,
    ReplyLost,
    RunFailed,
    RunState,
    StartUnknown,
)
from aioagents.codec import encode_json
from aioagents.model import Purpose, Reply
from aioagents.observe import RunStarted, StartAbandoned
from aioagents.providers.agent_platform import DockHandle, DockJob, Download, Guardrail, HyperParameters
from tests.fakes import settle
from tests.polling.rig import begin, reply, until_end
from tests.providers.agent_platform.platform_rig import (
    HELLO,
    TOOLS_URL,
    PlatformRig,
    platform_rig,
    sample,
)

_HYPER = HyperParameters(temperature=0.7, max_tokens=256, top_p=1, top_k=40)
_GUARDRAIL = Guardrail.BAN_TOPICS
_FILES = {"tool_data_file_id": "f-1", "flow_data_file_id": "f-2"}

#: The calls that start jobs, each with the name of its script.
_VERBS: dict[str, Callable[[Any], Awaitable[DockHandle]]] = {
    "tools.export": lambda p: p.tools.export(HELLO),
    "tools.deploy": lambda p: p.tools.deploy(HELLO),
    "tools.undeploy": lambda p: p.tools.undeploy(HELLO),
    "models.export": lambda p: p.models.export(HELLO),
    "models.deploy": lambda p: p.models.deploy(
        HELLO, model_type="openSource", name="m", device_type="g5.xlarge", hyper_parameters=_HYPER
    ),
    "models.undeploy": lambda p: p.models.undeploy(HELLO),
}
#: All calls that start jobs; those below follow drawn timelines, since no script can have their name.
_ALL: dict[str, Callable[[Any], Awaitable[DockHandle]]] = {
    **_VERBS,
    "tools.import_new": lambda p: p.tools.import_new(HELLO, **_FILES),
    "tools.import_into": lambda p: p.tools.import_into(HELLO, **_FILES, env_variables_file_id="f-3"),
    "guardrails.deploy": lambda p: p.guardrails.deploy(_GUARDRAIL),
    "guardrails.undeploy": lambda p: p.guardrails.undeploy("Ban topics"),
}
_IN_PROGRESS: tuple[Any, ...] = (("IN_PROGRESS", 25.0), "SUCCESS")


@pytest.mark.parametrize("verb", _VERBS)
async def test_job_from_start_to_end(verb: str) -> None:
    """Each start returns a handle at once; awaiting it returns the end."""
    async with platform_rig(*_IN_PROGRESS) as r:
        job = await _VERBS[verb](r.platform)
        assert (r.last.call, r.last.purpose, r.last.headers["x-api-key"]) == (
            verb,
            Purpose.START,
            "demo-tools-key",
        )
        assert isinstance(job, DockHandle)
        assert job.accepted is not None
        assert job.accepted.state is RunState.RUNNING
        assert str(job.ref) == f"agent-platform:127.0.0.1;dock/{job.id}"
        waiter = await begin(until_end(job))
        await r.clock.advance(30)
        done = await waiter
        assert (done.ref, done.state, done.status) == (job.ref, RunState.COMPLETED, "SUCCESS")
        assert r.calls == [verb, *["dock.status"] * 3]
        assert (r.last.method, r.last.url) == ("GET", f"{TOOLS_URL}/dock-status/{job.id}")
        (started,) = r.events_of(RunStarted)
        assert (started.target, started.run) == (HELLO, job.accepted)
        result = await job.result()
        if verb.endswith("export"):
            assert isinstance(result, Download)
        else:
            assert isinstance(result, DockJob)
            assert result == done.output == job.job


@pytest.mark.parametrize("verb", _ALL)
async def test_job_that_is_over_at_once(verb: str) -> None:
    """A job that is over when its start is answered has a terminal handle, and is not polled."""
    async with platform_rig() as r:
        target = "toolId" if verb.startswith("tools") else "modelId"
        started = {"dock-statusId": "ds-1", target: HELLO, "status": "SUCCESS"}
        url = {"response": {"downloadUrl": " https://host.example/x"}}
        r.answer(verb, Reply(200, {}, encode_json({**started, **(url if verb.endswith("export") else {})})))
        job = await _ALL[verb](r.platform)
        assert (await job).state is RunState.COMPLETED
        result = await job.result()
        assert (job.id, r.calls) == ("ds-1", [verb])
        if verb.endswith("export"):
            assert result.url == "https://host.example/x"
        else:
            assert (result.tool_id or result.model_id) == HELLO


@pytest.mark.parametrize("verb", _ALL)
@pytest.mark.parametrize(
    "fault", [ReplyLost("lost"), Reply(500), Reply(503), reply(200, b"{}"), reply(200, b"[")], ids=str
)
async def test_start_whose_answer_is_lost(verb: str, fault: Any) -> None:
    """After a lost answer of any kind, no second job is started."""
    async with platform_rig() as r:
        r.answer(verb, fault)
        with pytest.raises(StartUnknown, match="began to") as caught:
            await _ALL[verb](r.platform)
        assert r.calls == [verb]
        assert (caught.value.call, "console" in caught.value.advice) == (verb, True)
        assert caught.value.target in {HELLO, "Ban topics"}


@pytest.mark.parametrize("verb", _ALL)
async def test_start_that_was_refused_or_not_sent(verb: str) -> None:
    """A start that certainly had no effect is retried where that may help."""
    async with platform_rig() as r:
        r.answer(verb, NotSent("no"), Reply(400, {}, b'{"message": "no"}'))
        waiter = await begin(_as_coroutine(_ALL[verb](r.platform)))
        await r.clock.advance(5)
        with pytest.raises(BadRequest):
            await waiter
        assert r.calls == [verb] * 2


async def _as_coroutine(work: Awaitable[DockHandle]) -> DockHandle:
    return await work


@pytest.mark.parametrize("verb", _VERBS)
async def test_job_that_fails(verb: str) -> None:
    """A failed job ends the wait, and `result()` raises."""
    async with platform_rig(("IN_PROGRESS", 5.0), "FAILED") as r:
        job = await _VERBS[verb](r.platform)
        waiter = await begin(job.result())
        await r.clock.advance(10)
        with pytest.raises(RunFailed, match="ended as FAILED") as caught:
            await waiter
        assert pickle.loads(pickle.dumps(caught.value)).run.output.job_id == job.id  # noqa: S301


async def test_job_from_another_process() -> None:
    """A job can be followed by its id or reference alone."""
    async with platform_rig(*_IN_PROGRESS) as r:
        job = await r.platform.tools.deploy(HELLO)
        async with platform_rig(fake=r.fake) as other:
            again = other.platform.attach(str(job.ref))
            assert isinstance(again, DockHandle)
            assert (again.job, again.progress) == (None, None)
            assert (await again.poll()).state is RunState.RUNNING
            assert again.job is not None
            assert again.job.tool_id == HELLO
        assert r.platform.dock_status(job.id).ref == job.ref
        with pytest.raises(NotFound):
            await r.platform.dock_status("ds-none").poll()
        for bad in ("", "..", " "):
            with pytest.raises(ValueError, match="job_id"):
                r.platform.dock_status(bad)


async def test_progress() -> None:
    """The handle has the progress that the platform reports, and each step is an update."""
    async with platform_rig(*_IN_PROGRESS) as r:
        job = await r.platform.models.export(HELLO)
        assert job.progress == 0.0
        seen: list[float | None] = []

        async def follow() -> None:
            seen.extend([run.output.progress async for run in job.updates()])

        waiter = await begin(follow())
        await r.clock.advance(40)
        assert waiter.done()
        assert seen == [40.0, 80.0, 100.0]
        assert job.progress == 100.0


# Exports


async def _exported(r: PlatformRig, job: DockHandle) -> Any:
    waiter = await begin(job.result())
    await r.clock.advance(40)
    return await waiter


@pytest.mark.parametrize("is_repeated", [True, False])
async def test_url_only_in_the_answer_to_the_start(is_repeated: bool) -> None:
    """If the status does not repeat the URL of a tool's export, that of the start is used, trimmed."""
    async with platform_rig(*_IN_PROGRESS, rules={"downloads_in_status": is_repeated}) as r:
        job = await r.platform.tools.export(HELLO)
        assert job.job is not None
        url = job.job.download_url
        assert url == url.strip()
        assert url.startswith(f"{TOOLS_URL.removesuffix('/api/public')}/api/v1/account/")
        found = await _exported(r, job)
        assert found.url == url
        assert "exports" not in f"{found!r} {job!r} {await job!r}"


async def test_export_without_a_url() -> None:
    """An export that never had a URL cannot be fetched, and the error says so."""
    async with platform_rig(*_IN_PROGRESS, rules={"downloads_in_status": False}) as r:
        job = await r.platform.models.export(HELLO)
        with pytest.raises(DecodeError, match="without a download URL") as caught:
            await _exported(r, job)
        assert (caught.value.ref, caught.value.path) == (job.ref, "$.response.downloadUrl")
        # Whether a job that was started elsewhere is an export is unknown.
        assert isinstance(await _exported(r, r.platform.dock_status(job.id)), DockJob)


async def test_export_that_was_started_elsewhere() -> None:
    """A job with a download URL counts as an export, also from elsewhere; an import called EXPORT does not."""
    async with platform_rig() as r:
        r.answer("dock.status", sample("dock_status/200-export"))
        waiter = await begin(r.platform.dock_status("ds-demo").result())
        await r.clock.advance(10)
        assert (await waiter).url == "https://host.example/api/v1/account/x"
        r.answer("dock.status", sample("dock_status/200-success"))
        waiter = await begin(r.platform.dock_status("ds-demo").result())
        await r.clock.advance(10)
        assert (await waiter).action == "IMPORT"
        r.answer("tools.deploy", sample("models_export/200-success"))
        assert isinstance(await (await r.platform.tools.deploy(HELLO)).result(), DockJob)


# Cancellation


async def test_cancelled_start() -> None:
    """A start that is cancelled after it was sent is reported with its job by an event."""
    async with platform_rig(*_IN_PROGRESS) as r:
        waiter = asyncio.ensure_future(r.platform.tools.deploy(HELLO))
        while not r.send.sent:  # noqa: ASYNC110 - the very moment when it was sent
            await asyncio.sleep(0)
        waiter.cancel()
        await settle()
        assert waiter.cancelled()
        (event,) = r.events_of(StartAbandoned)
        assert event.run is not None
        assert (await r.platform.attach(event.run.ref).poll()).state is RunState.RUNNING


# The key


async def test_calls_without_the_tools_key() -> None:
    """Without the account's key each of its calls raises an error that names the setting, and sends nothing."""
    async with platform_rig(settings={"tools_key": None}) as r:
        p = r.platform
        works: list[Callable[[], Any]] = [
            *(partial(_ALL[verb], p) for verb in _ALL),
            p.connections.list,
            lambda: p.apps.create("a", "b", account_id="c", user_id="d"),
            partial(p.files.upload, b"x", file_name="a.json"),
            lambda: p.models.import_(b"x", file_name="a.tar"),
        ]
        for work in works:
            with pytest.raises(ValueError, match=r"needs tools_key .*AGENT_PLATFORM_TOOLS_KEY"):
                await work()
        with pytest.raises(ValueError, match="tools_key"):
            p.dock_status("ds-1")
        with pytest.raises(ValueError, match="tools_key"):
            p.attach("agent-platform:127.0.0.1;dock/ds-1")
        assert r.send.sent == []
