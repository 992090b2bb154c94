"""How the common tests use each vendor. A new vendor adds one adapter here, and nothing elsewhere."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Final

from attrs import frozen

from aioagents import RunHandle, RunState
from aioagents.contract import BatchRow, RunClient
from aioagents.contract.fake import FakeServer, RunPlan
from aioagents.providers.agent_platform.fake import FakeAgentPlatform
from aioagents.providers.agh.fake import AghRules, FakeAgh
from aioagents.providers.leap.fake import FakeLeap
from aioagents.providers.leena.fake import FakeLeena

#: A marker that goes out with each start and must show nowhere.
PRIVATE: Final = "someone@example.com"
URL: Final = "http://127.0.0.1"


@frozen(kw_only=True)
class Adapter:
    """One vendor, as the common tests need it.

    `start` starts a run of a target, with `PRIVATE` somewhere in the request. `row` makes a row with a key, whose run
    has the script `target`. `follow` makes a handle of an id. `words` are the vendor's status words of the states in
    scripts. `start_call` and `poll_call` are the names of its requests, `secrets` texts that must be shown nowhere,
    `unreadable` bodies of a successful start that name no run. `finds_lost` says that a run is found if the answer to
    its start was lost; `has_input` that a start takes input.
    """

    name: str
    fake: Callable[[RunPlan], FakeServer]
    start: Callable[[Any, str], Awaitable[RunHandle]]
    row: Callable[[str], BatchRow]
    follow: Callable[[Any, str], RunHandle]
    words: Mapping[RunState, str]
    start_call: str
    poll_call: str
    secrets: Sequence[str]
    unknown_id: str
    unreadable: Sequence[bytes] = (b"", b"<html>", b"{}", b"[]", b"null")
    has_tokens: bool = False
    finds_lost: bool = False
    has_input: bool = True

    def client(self, kind: type[RunClient], pool: Any, fake: FakeServer) -> RunClient:
        """Make a client with the fake server's credentials."""
        return kind.from_env(pool, fake.environment(URL))


async def _start_leena(client: Any, target: str) -> RunHandle:
    handle: RunHandle = await client.execute(target, message=PRIVATE, context={"mail": PRIVATE})
    return handle


async def _start_leap(client: Any, target: str) -> RunHandle:
    handle: RunHandle = await client.run(target, {"mail": PRIVATE})
    return handle


async def _start_agh(client: Any, target: str) -> RunHandle:
    handle: RunHandle = await client.jobs.trigger(target)
    return handle


async def _start_platform(client: Any, target: str) -> RunHandle:
    handle: RunHandle = await client.runs.start(PRIVATE, metadata={"key": target}, session_reference=target)
    return handle


def _agh_fake(plan: RunPlan) -> FakeAgh:
    """Make a fake server whose job delegates: only then is a trigger answered before its run has ended."""
    fake = FakeAgh(plan, rules=AghRules(concurrency=1000))
    schedule = {"mode": "cron", "expr": "0 0 1 1 *"}
    fake.install_job({"scope": "global", "name": "target", "schedule": schedule, "task": {}}, job_id="target")
    return fake


LEENA: Final = Adapter(
    name="leena",
    fake=FakeLeena,
    start=_start_leena,
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
    has_tokens=True,
)

LEAP: Final = Adapter(
    name="leap",
    fake=FakeLeap,
    start=_start_leap,
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
)

AGH: Final = Adapter(
    name="agh",
    fake=_agh_fake,
    start=_start_agh,
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
    unknown_id="run-none",
    finds_lost=True,
    has_input=False,
)

PLATFORM: Final = Adapter(
    name="agent-platform",
    fake=FakeAgentPlatform,
    start=_start_platform,
    row=lambda key: BatchRow(key, f"session of {key}", "target", {"key": key, "mail": PRIVATE}),
    follow=lambda client, run_id: client.runs.get(run_id, session_reference="target"),
    words={RunState.RUNNING: "running", RunState.COMPLETED: "success", RunState.FAILED: "failed"},
    start_call="runs.start",
    poll_call="runs.status",
    secrets=("demo-app-key", "demo-tools-key"),
    unknown_id="r-none",
)

ADAPTERS: Final[Mapping[str, Adapter]] = {each.name: each for each in (AGH, LEAP, LEENA, PLATFORM)}
