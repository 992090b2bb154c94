"""How the common tests use AGH Runtime."""

from collections.abc import Sequence
from typing import Any, Final

from aioagents import RunHandle, RunState
from aioagents.contract import BatchRow
from aioagents.contract.fake import RunPlan
from aioagents.providers.agh.fake import AghRules, FakeAgh
from tests.conformance.adapter import CONTENT, WEBHOOK_SECRET, Adapter, Hunt, waited


async def _start(client: Any, target: str) -> RunHandle:
    handle: RunHandle = await client.jobs.trigger(target)
    return handle


def _make_fake(plan: RunPlan) -> FakeAgh:
    """Make a fake server whose job delegates: only then is a trigger answered before its run has ended."""
    fake = FakeAgh(plan, rules=AghRules(concurrency=1000))
    schedule = {"mode": "cron", "expr": "0 0 1 1 *"}
    fake.install_job({"scope": "global", "name": "target", "schedule": schedule, "task": {}}, job_id="target")
    return fake


_TRIGGER: Final = {
    "scope": "global",
    "name": "t",
    "agent_name": "a",
    "prompt": CONTENT,
    "event": "webhook",
    "endpoint_slug": "slug",
    "webhook_secret_value": WEBHOOK_SECRET,
}

_HUNT: Final = Hunt(
    settings=lambda url: {**dict.fromkeys(("AGH_BASE_URL",), url)},
    secrets=(),
    calls={
        "long start": lambda c: c.jobs.trigger("j1"),
        "create": lambda c: c.triggers.create(**_TRIGGER),
        "update": lambda c: c.triggers.update("t1", prompt=CONTENT, webhook_secret_value=WEBHOOK_SECRET),
        "deliver": lambda c: c.webhooks.deliver(
            "slug--wbh_1", {"password": CONTENT}, secret=WEBHOOK_SECRET, timeout=0.3
        ),
        "poll": lambda c: c.runs.follow("r1").poll(),
        "wait": lambda c: waited(c.runs.follow("r1")),
        "call": lambda c: c.jobs.list(),
    },
)


def _ask(fake: Any, run_id: str) -> Sequence[str]:
    fake.pause_task(run_id)
    return ("resume",)


ADAPTER: Final = Adapter(
    name="agh",
    fake=_make_fake,
    start=_start,
    row=lambda key: BatchRow(key, "target"),
    follow=lambda client, run_id: client.runs.follow(run_id),
    words={
        RunState.RUNNING: "running",
        RunState.COMPLETED: "completed",
        RunState.FAILED: "failed",
        RunState.ABORTED: "canceled",
    },
    start_call="jobs.trigger",
    poll_call="task-runs.get",
    secrets=(),
    hunt=_HUNT,
    unknown_id="run-none",
    refusals=(
        (b'{"error": "validation failed"}', "validation failed", ""),
        (
            b'{"error": "validation failed", "diagnostic": {"code": "bad", "id": "d-1"}}',
            "validation failed",
            "bad",
        ),
    ),
    finds_lost=True,
    has_input=False,
    needs_settings=False,
    cancel_call="task-runs.cancel",
    ask=_ask,
)
