"""How the common tests use Leena AI."""

from datetime import date
from typing import Any, Final

from aioagents import RunHandle, RunState
from aioagents.contract import BatchRow
from aioagents.providers.leena.fake import FakeLeena
from tests.conformance.adapter import CONTENT, PRIVATE, Adapter, Hunt, read_all, waited


async def _start(client: Any, target: str) -> RunHandle:
    handle: RunHandle = await client.execute(target, message=PRIVATE, context={"mail": PRIVATE})
    return handle


_HUNT: Final = Hunt(
    settings=lambda url: {
        "LEENA_CLIENT_ID": "client-1",
        "LEENA_CLIENT_SECRET": "client/secret+2",
        "LEENA_USERNAME": "somebody",
        "LEENA_PASSWORD": 'pass "word" & 3',
        **dict.fromkeys(("LEENA_TOKEN_URL", "LEENA_AOP_URL", "LEENA_REPORT_URL"), url),
    },
    secrets=("client/secret+2", 'pass "word" & 3'),
    calls={
        "token": lambda c: c.check(),
        "start": lambda c: c.execute("x", message=CONTENT, context={"password": CONTENT}),
        "poll": lambda c: c.item("f" * 24).poll(),
        "wait": lambda c: waited(c.item("f" * 24)),
        "call": lambda c: read_all(c.report(date(2026, 1, 1), date(2026, 1, 2))),
    },
)

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
    hunt=_HUNT,
    unknown_id="f" * 24,
    refusals=(
        (b'{"message": "no such AOP"}', "no such AOP", ""),
        (b'{"error": "invalid_client"}', "invalid_client", "invalid_client"),
        (b'{"error": "invalid_grant", "error_description": "locked"}', "locked", "invalid_grant"),
        (b'{"error": "locked", "error_description": "later"}', "locked", ""),
    ),
    has_tokens=True,
)
