"""How the common tests use Kore Agent Platform."""

from typing import Any, Final

from aioagents import RunHandle, RunState
from aioagents.contract import BatchRow
from aioagents.providers.agent_platform.fake import FakeAgentPlatform
from tests.conformance.adapter import (
    CALLBACK_TOKEN,
    CONTENT,
    PRIVATE,
    WEBHOOK_SECRET,
    Adapter,
    Hunt,
    read_all,
    waited,
)


async def _start(client: Any, target: str) -> RunHandle:
    handle: RunHandle = await client.runs.start(PRIVATE, metadata={"key": target}, session_reference=target)
    return handle


_HUNT: Final = Hunt(
    settings=lambda url: {
        "AGENT_PLATFORM_APP_ID": "aa-1",
        "AGENT_PLATFORM_ENVIRONMENT": "draft",
        "AGENT_PLATFORM_APP_KEY": "app-key-5",
        "AGENT_PLATFORM_TOOLS_KEY": "tools-key-6",
        **dict.fromkeys(("AGENT_PLATFORM_BASE_URL", "AGENT_PLATFORM_TOOLS_URL"), url),
    },
    secrets=("app-key-5", "tools-key-6"),
    calls={
        "start": lambda c: c.runs.start(
            CONTENT,
            session_reference="s",
            metadata={"password": CONTENT},
            callback_url="https://example.com/c",
            callback_token=CALLBACK_TOKEN,
        ),
        "long start": lambda c: c.runs.execute(CONTENT, session_reference="s", timeout=0.3),
        "stream": lambda c: read_all(c.runs.stream(CONTENT, session_reference="s")),
        "poll": lambda c: c.runs.get("r1", session_reference="s").poll(),
        "wait": lambda c: waited(c.runs.get("r1", session_reference="s")),
        "call": lambda c: c.sessions.create(session_reference="s"),
        "upload": lambda c: c.attachments.upload(CONTENT.encode(), user_reference="u", file_name="a.txt"),
        "create": lambda c: c.connections.create(
            provider="Open AI", name="n", model="m", fields={"API_KEY": WEBHOOK_SECRET}
        ),
        "update": lambda c: c.connections.update("c1", fields={"API_KEY": WEBHOOK_SECRET}),
    },
)

ADAPTER: Final = Adapter(
    name="agent-platform",
    fake=FakeAgentPlatform,
    start=_start,
    row=lambda key: BatchRow(key, f"session of {key}", "target", {"key": key, "mail": PRIVATE}),
    follow=lambda client, run_id: client.runs.get(run_id, session_reference="target"),
    words={RunState.RUNNING: "running", RunState.COMPLETED: "success", RunState.FAILED: "failed"},
    start_call="runs.start",
    poll_call="runs.status",
    secrets=("demo-app-key", "demo-tools-key"),
    hunt=_HUNT,
    unknown_id="r-none",
    refusals=(
        (
            (
                b'{"success": false, "error": {"code": "INVALID_NAME_FORMAT", "message": "no", "details": {}}, '
                b'"meta": {"requestId": "q-1"}}'
            ),
            *("no", "INVALID_NAME_FORMAT"),
        ),
        (b'{"errors": [{"msg": "not found", "code": 404}]}', "not found", ""),
        (b'{"error": {"code": "BUSY"}, "message": "the session is busy"}', "the session is busy", "BUSY"),
        (b'{"message": "no such session", "statusCode": 404}', "no such session", ""),
    ),
)
