"""Agent Platform as a program uses it. Never run: mypy alone reads this, and fails where a type is not as stated."""

from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any, assert_type

from aioagents import (
    AgentPlatform,
    AuthorizationRequired,
    Run,
    RunHandle,
    RunRef,
    Secret,
    SessionPool,
    StreamCut,
    WebhookReceiver,
)
from aioagents.providers.agent_platform import (
    App,
    AppIcon,
    Attachment,
    AuthorizationProfile,
    Connection,
    Debug,
    DockHandle,
    DockJob,
    Generation,
    Guardrail,
    HyperParameters,
    Invoke,
    ModelProvider,
    ModelType,
    Optimization,
    RunFiles,
    RunReply,
    RunStream,
    Scaling,
    Session,
    StreamEvent,
    StreamMode,
    StreamResult,
    Thought,
    Trace,
    UploadedAttachment,
    UploadedFile,
    text_of,
)


async def clients(pool: SessionPool) -> AgentPlatform:
    """Make clients, with one key and with two."""
    AgentPlatform(pool, base_url="https://x", app_id="aa-1", environment="draft", app_key="k")
    platform = AgentPlatform(
        pool,
        base_url="https://x/api/v2",
        app_id="aa-1",
        environment="draft",
        app_key=Secret("k"),
        tools_url="https://y/api/public",
        tools_key=Secret("t"),
        key_header="Authorization",
        key_prefix="Bearer",
        allow_insecure=False,
    )
    assert_type(AgentPlatform.from_env(pool), AgentPlatform)
    assert_type(platform.attach("agent-platform:agents.example.com;dock/ds-1"), RunHandle)
    assert_type(platform.dock_status("ds-1"), DockHandle)
    await platform.check()
    return platform


async def sessions(platform: AgentPlatform) -> None:
    """Make, read, list and end sessions."""
    try:
        made = await platform.sessions.create(
            session_reference="chat-7", user_reference="cust-42", source="AP", require_authorization=True
        )
    except AuthorizationRequired as error:
        _ = (error.pending_authorizations, error.reply)
        return
    assert_type(made, Session)
    assert_type(made.pending_authorizations, tuple[AuthorizationProfile, ...])
    assert_type(made.attachments, tuple[Attachment, ...])
    found = await platform.sessions.get(session_id=made.session_id, include=["traces", "observations"])
    assert_type(found.traces, tuple[Trace, ...])
    await platform.sessions.get(session_reference="chat-7", generation=Generation.OLDER)
    listed = platform.sessions.list(user_reference="cust-42", start="2026-01-01", page_size=50)
    assert_type(listed, AsyncIterator[Session])
    assert_type(await platform.sessions.terminate(session_reference="chat-7"), Session)


async def runs(platform: AgentPlatform, receiver: WebhookReceiver) -> None:
    """Run and wait, follow, listen."""
    reply = await platform.runs.execute(
        "Where is order 12?",
        session_reference="chat-7",
        attachments=RunFiles(include=["f-1"], exclude=["f-2"]),
        metadata={"order": 12},
        debug=Debug.THOUGHTS,
        invoke=Invoke.agent("Orders"),
        timeout=60.0,
    )
    assert_type(reply, RunReply)
    assert_type(reply.text, str)
    assert_type(reply.is_error, bool)
    assert_type(reply.thoughts, tuple[Thought, ...])
    tool = Invoke.tool("get_order", "code", "Orders", {"number": 12})
    await platform.runs.execute(session_id="s-1", user_reference=None, invoke=tool)
    await platform.runs.execute("x", sesion_id="s-1")  # type: ignore[call-arg]  # the name is misspelt
    handle = await platform.runs.start("x", session_reference="chat-7", callback_url=receiver)
    assert_type(handle, RunHandle)
    assert_type(text_of((await handle).output), str)
    assert_type(platform.runs.get("r-1", session_reference="chat-7"), RunHandle)
    stream = platform.runs.stream("x", mode=StreamMode.MESSAGES, silence=30.0, session_id="s-1")
    assert_type(stream, RunStream)
    try:
        async with stream:
            async for event in stream:
                assert_type(event.text, str)
                assert_type(event.index, int | None)
            assert_type(await anext(stream), StreamEvent)
    except StreamCut as error:
        assert_type(error.received, bytes)
        assert_type(error.events, int)
        assert_type(error.run, Run | None)
    assert_type(stream.result, StreamResult)
    assert_type(stream.ref, RunRef | None)
    assert_type(await platform.runs.stream("x", session_id="s-1").read(), StreamResult)


async def files(platform: AgentPlatform, path: Path, pieces: AsyncIterator[bytes]) -> None:
    """Upload from wherever it comes."""
    for what in (path, str(path), b"x", pieces):
        assert_type(
            await platform.attachments.upload(what, user_reference="cust-42", file_name="a.pdf"),
            UploadedAttachment,
        )
    with path.open("rb") as file:
        assert_type(await platform.files.upload(file, file_name="a.json"), UploadedFile)
    await platform.files.upload(path, context="bulkImport", progress=lambda sent, whole: sent / whole)
    await platform.attachments.delete("f-1", session_reference="chat-7")


async def account(platform: AgentPlatform, path: Path) -> None:
    """Keep tools, models, guardrails, connections and apps."""
    job = await platform.tools.import_new("t", tool_data_file_id="a", flow_data_file_id="b")
    assert_type(job, DockHandle)
    assert_type(job.job, DockJob | None)
    assert_type(job.progress, float | None)
    await platform.tools.import_into(
        "a-1", tool_data_file_id="a", flow_data_file_id="b", env_variables_file_id="c"
    )
    await (await (await platform.tools.export("a-1", flow_id="f-1")).result()).save(path)
    await platform.tools.deploy("a-1", is_async=False, timeout=300.0)
    await platform.tools.undeploy("a-1")
    await platform.models.import_(path, is_adapter=False, chunk_bytes=5_000_000)
    await platform.models.deploy(
        "cm-1",
        model_type=ModelType.FINE_TUNE,
        name="mine",
        device_type="g5.xlarge",
        hyper_parameters=HyperParameters(temperature=0.7, max_tokens=256, top_p=1.0, top_k=40),
        scaling=Scaling(min_replicas=1, max_replicas=2),
        optimization=Optimization(type="vllm"),
        is_deployed_previously=True,
    )
    await platform.guardrails.deploy(Guardrail.TOXICITY)
    made = await platform.connections.create(
        provider=ModelProvider.OPEN_AI, name="GPT", model="gpt-4o", fields={"API_KEY": Secret("sk")}
    )
    assert_type(made, Connection)
    assert_type(made.fields, Mapping[str, Any])
    assert_type(await platform.connections.list(provider="API"), list[Connection])
    app = await platform.apps.create("n", "d", AppIcon("logo1", "#B2CCFF"), account_id="acc", user_id="u")
    assert_type(app, App)
