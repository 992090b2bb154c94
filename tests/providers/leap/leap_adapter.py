"""How the common tests use Leap."""

from typing import Any, Final

from aioagents import RunHandle, RunState
from aioagents.contract import BatchRow
from aioagents.providers.leap.fake import FakeLeap
from tests.conformance.adapter import PRIVATE, Adapter


async def _start(client: Any, target: str) -> RunHandle:
    handle: RunHandle = await client.run(target, {"mail": PRIVATE})
    return handle


ADAPTER: Final = Adapter(
    name="leap",
    fake=FakeLeap,
    start=_start,
    row=lambda key: BatchRow(key, "target", "", {"key": key, "mail": PRIVATE}),
    follow=lambda client, run_id: client.get(run_id),
    words={
        RunState.RUNNING: "running",
        RunState.COMPLETED: "completed",
        RunState.FAILED: "failed",
        RunState.ABORTED: "cancelled",
    },
    start_call="workflows.run",
    poll_call="runs.get",
    secrets=("demo-key",),
    unknown_id="no-such-run",
    refusals=(
        (b'{"message": "unknown run"}', "unknown run", ""),
        (
            b'{"statusCode": 400, "message": ["a is empty", "b too"], "error": "Bad Request"}',
            "a is empty; b too",
            "",
        ),
    ),
)
