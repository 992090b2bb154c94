"""How the common tests use Kore Agent Platform."""

from typing import Any, Final

from aioagents import RunHandle, RunState
from aioagents.contract import BatchRow
from aioagents.providers.agent_platform.fake import FakeAgentPlatform
from tests.conformance.adapter import PRIVATE, Adapter


async def _start(client: Any, target: str) -> RunHandle:
    handle: RunHandle = await client.runs.start(PRIVATE, metadata={"key": target}, session_reference=target)
    return handle


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
