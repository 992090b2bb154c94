"""How the common tests use Leena AI."""

from typing import Any, Final

from aioagents import RunHandle, RunState
from aioagents.contract import BatchRow
from aioagents.providers.leena.fake import FakeLeena
from tests.conformance.adapter import PRIVATE, Adapter


async def _start(client: Any, target: str) -> RunHandle:
    handle: RunHandle = await client.execute(target, message=PRIVATE, context={"mail": PRIVATE})
    return handle


ADAPTER: Final = Adapter(
    name="leena",
    fake=FakeLeena,
    start=_start,
    row=lambda key: BatchRow(key, "target", PRIVATE, {"key": key}),
    follow=lambda client, run_id: client.item(run_id),
    words={
        RunState.RUNNING: "in_progress",
        RunState.COMPLETED: "completed",
        RunState.FAILED: "failed",
        RunState.ABORTED: "aborted",
    },
    start_call="aop.execute",
    poll_call="aop.status",
    secrets=("demo-secret", "demo-password", "demo-user"),
    unknown_id="f" * 24,
    refusals=(
        (b'{"message": "no such AOP"}', "no such AOP", ""),
        (b'{"error": "invalid_client"}', "invalid_client", "invalid_client"),
        (b'{"error": "invalid_grant", "error_description": "locked"}', "locked", "invalid_grant"),
        (b'{"error": "locked", "error_description": "later"}', "locked", ""),
    ),
    has_tokens=True,
)
