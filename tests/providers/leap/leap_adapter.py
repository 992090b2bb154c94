"""How the common tests use Leap."""

from typing import Any, Final

from aioagents import RunHandle, RunState
from aioagents.contract import BatchRow
from aioagents.providers.leap.fake import FakeLeap
from tests.conformance.adapter import CONTENT, PRIVATE, Adapter, Hunt, waited


async def _start(client: Any, target: str) -> RunHandle:
    handle: RunHandle = await client.run(target, {"mail": PRIVATE})
    return handle


_HUNT: Final = Hunt(
    settings=lambda url: {"LEAP_API_KEY": "leap-key-4", **dict.fromkeys(("LEAP_BASE_URL",), url)},
    secrets=("leap-key-4",),
    calls={
        "start": lambda c: c.run("w", {"password": CONTENT}),
        "bulk": lambda c: c.run_bulk("w", f"https://example.com/{CONTENT}"),
        "poll": lambda c: c.get("r1").poll(),
        "wait": lambda c: waited(c.get("r1")),
    },
)

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
    hunt=_HUNT,
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
