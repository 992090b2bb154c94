"""The client as a whole: both keys, checks, secrets that are never shown, and the simulator over sockets."""

import asyncio
import logging
from pathlib import Path
from typing import Any

import pytest

from aioagents import (
    AgentPlatform,
    AuthenticationError,
    PermissionDenied,
    PoolClosed,
    ReplyLost,
    RunRef,
    RunState,
    ServerError,
    SessionPool,
    StartUnknown,
    Steady,
    Throttled,
    WebhookReceiver,
)
from aioagents.contract.fake import RunPlan
from aioagents.model import Reply
from aioagents.providers.agent_platform import PROVIDER, RunFiles, text_of
from aioagents.simulator import Simulator
from tests.polling.rig import begin
from tests.providers.agent_platform.platform_rig import (
    APP_KEY,
    HELLO,
    TOOLS_KEY,
    PlatformRig,
    platform_rig,
    script,
)

# Keys


@pytest.mark.parametrize(
    ("header", "prefix", "value"),
    [
        ("x-api-key", "", "demo-app-key"),
        ("Authorization", "Bearer", "Bearer demo-app-key"),
        ("apikey", "", "demo-app-key"),
    ],
)
async def test_headers_of_the_keys(header: str, prefix: str, value: str) -> None:
    """The app's key is sent in the configured header; the account's always in the header of the tools' pages."""
    settings = {"key_header": header, "key_prefix": prefix}
    async with platform_rig("SUCCESS", settings=settings, rules=settings) as r:
        await r.platform.sessions.create(session_reference="chat-7")
        assert r.last.headers[header.lower()] == value
        assert ("x-api-key" in r.last.headers) == (header == "x-api-key")
        await r.platform.tools.deploy(HELLO)
        assert r.last.headers["x-api-key"] == TOOLS_KEY
        assert "demo-app-key" not in str(dict(r.last.headers))


async def test_variables_of_the_simulator() -> None:
    """The variables of the fake make a client that it accepts."""
    settings: dict[str, Any] = {"key_header": "Authorization", "key_prefix": "Bearer"}
    async with platform_rig("success", rules=settings) as r:
        client = AgentPlatform.from_env(r.pool, r.fake.environment("http://127.0.0.1"))
        assert (await client.sessions.create(session_reference="chat-7")).session_reference == "chat-7"
        assert isinstance(client, PROVIDER.client)


# Checks


async def test_check() -> None:
    """A check polls a run and a job that do not exist, with either key, and starts nothing."""
    async with platform_rig() as r:
        await r.platform.check()
        assert r.calls == ["runs.status", "dock.status"]
        statistics = r.fake.statistics()
        assert (statistics["sessions"], statistics["starts"]) == (0, 0)
    async with platform_rig(settings={"tools_key": None}) as r:
        await r.platform.check()
        assert r.calls == ["runs.status"]


@pytest.mark.parametrize("status", [200, 400, 404, 422])
async def test_check_that_is_answered_otherwise(status: int) -> None:
    """Any answer about unknown ids shows that the keys are valid."""
    async with platform_rig() as r:
        r.answer("runs.status", Reply(status, {}, b'{"message": "no"}'))
        await r.platform.check()


@pytest.mark.parametrize("call", ["runs.status", "dock.status"])
@pytest.mark.parametrize(
    ("status", "kind"), [(401, AuthenticationError), (403, PermissionDenied), (429, Throttled)]
)
async def test_check_that_is_refused(call: str, status: int, kind: type[Exception]) -> None:
    """A refusal of either key is raised."""
    async with platform_rig() as r:
        r.answer(call, Reply(status, {"retry-after": "900"}, b'{"message": "no"}'))
        with pytest.raises(kind):
            await r.platform.check()


async def test_check_of_a_platform_that_fails() -> None:
    """A platform that keeps failing raises its error, and so does a closed pool."""
    async with platform_rig() as r:
        r.answer("runs.status", *[Reply(500)] * 5)
        waiter = await begin(r.platform.check())
        await r.clock.advance(100)
        with pytest.raises(ServerError):
            await waiter
    with pytest.raises(PoolClosed):
        await r.platform.check()


async def test_wrong_keys() -> None:
    """A wrong key of either kind raises an authentication error."""
    for name in ("app_key", "tools_key"):
        async with platform_rig(settings={name: "demo-wrong"}) as r:
            with pytest.raises(AuthenticationError):
                await r.platform.check()


async def test_limits_of_each_key() -> None:
    """Throttling of one key does not slow down the other."""
    async with platform_rig("SUCCESS") as r:
        r.answer("sessions.create", Reply(429, {"retry-after": "60"}))
        waiter = await begin(r.platform.sessions.create(session_reference="chat-7"))
        await r.platform.tools.deploy(HELLO)
        assert not waiter.done()
        assert len(r.pool.statistics().accounts) == 2
        await r.clock.advance(70)
        await waiter


# Secrets

_SECRETS = (APP_KEY, TOOLS_KEY, "sk-demo-secret", "demo-token")


async def _everything(r: PlatformRig) -> list[object]:
    """Do a bit of everything, and return what came of it."""
    p = r.platform
    seen: list[object] = [p, p.sessions, p.runs, p.tools, r.pool, r.receiver]
    seen.append(await p.sessions.create(session_reference="chat-7"))
    run = await p.runs.start(
        HELLO, session_reference="chat-7", callback_url="https://cb.example/x", callback_token="demo-token"
    )
    seen += [run, run.accepted, await run.poll(), run.last.raw if run.last else None]
    seen.append(
        await p.connections.create(
            provider="Open AI", name="GPT", model="gpt", fields={"API_KEY": "sk-demo-secret"}
        )
    )
    for call, work in (
        (
            "connections.create",
            p.connections.create(provider="API", name="x", settings={"headers": ["sk-demo-secret"]}),
        ),
        (
            "runs.start",
            p.runs.start(
                HELLO, session_reference="c", callback_url="https://cb.example", callback_token="demo-token"
            ),
        ),
    ):
        r.answer(call, ReplyLost("lost"))
        with pytest.raises(StartUnknown) as caught:
            await work
        seen += [caught.value, vars(caught.value), caught.value.__cause__]
    return [
        *seen,
        *r.send.sent,
        *r.events,
        *(vars(event) if hasattr(event, "__dict__") else event for event in r.events),
    ]


async def test_secrets_are_never_shown(caplog: pytest.LogCaptureFixture) -> None:
    """No key, token or field appears in a repr, an error, an event or a log line."""
    caplog.set_level(logging.DEBUG)
    async with platform_rig() as r:
        shown = " ".join(f"{each!r} {each!s}" for each in await _everything(r))
    assert not [secret for secret in _SECRETS if secret in shown + caplog.text]


# Over sockets


def _plan() -> RunPlan:
    jobs = {f"{job}:{HELLO}": script(("IN_PROGRESS", 1.0), "SUCCESS") for job in ("export", "deploy")}
    return RunPlan(scripts={HELLO: script(("running", 2.0), "success"), **jobs})


async def test_simulator(tmp_path: Path) -> None:
    """Against the simulator everything works over sockets: runs, streams, files, exports, callbacks."""
    delivered = asyncio.Event()
    async with (
        Simulator(plan=_plan(), speed=20.0) as simulator,
        SessionPool(cadence=Steady(0.05)) as pool,
        WebhookReceiver(on_delivery=lambda _: delivered.set()).serve() as receiver,
    ):
        platform = AgentPlatform.from_env(pool, simulator.environment())
        await platform.check()
        file = await platform.attachments.upload(b"%PDF", user_reference="cust-42", file_name="a.pdf")
        session = {"session_reference": "chat-7", "user_reference": "cust-42"}
        found = await platform.runs.execute(HELLO, attachments=RunFiles(include=[file.file_id]), **session)  # type: ignore[arg-type]
        assert found.text
        assert found.attachments[0].file_id == file.file_id
        run = await platform.runs.start(HELLO, callback_url=receiver, **session)  # type: ignore[arg-type]
        done = await run.wait(timeout=30)
        assert (done.state, bool(text_of(done.output))) == (RunState.COMPLETED, True)
        stream = platform.runs.stream(HELLO, mode="messages", **session)  # type: ignore[arg-type]
        assert (await stream.read()).is_complete
        export = await platform.tools.export(HELLO)
        saved = await (await export.result()).save(tmp_path / "tool.zip")
        assert saved.read_bytes()[:2] == b"PK"
        upload = await platform.files.upload(saved, file_name="tool.zip")
        job = await platform.tools.import_new(
            HELLO, tool_data_file_id=upload.file_id, flow_data_file_id=upload.file_id
        )
        assert (await job.wait(timeout=60)).state.is_terminal
        async with asyncio.timeout(30):
            await delivered.wait()
        assert receiver.statistics().refused == 0


async def test_attach_by_text() -> None:
    """The text of a reference is enough for any client to follow runs and jobs."""
    async with platform_rig("SUCCESS") as r:
        job = await r.platform.tools.deploy(HELLO)
        assert r.platform.attach(str(job.ref)).ref == job.ref
        with pytest.raises(ValueError, match="not a run of agent-platform"):
            r.platform.attach(RunRef("leena", "", "x"))
