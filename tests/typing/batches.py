"""Batches as the documentation prints them. Only type-checked, never run."""

from collections.abc import AsyncIterator, Iterator
from typing import assert_type

from aioagents import AgentPlatform, Batch, BatchRow, Journal, Leena, Run, RunHandle, RunRef, SessionPool
from aioagents.batch import BatchStatistics, Outcome, RowFault, RowState, read_csv, read_jsonl
from aioagents.providers.agent_platform import (
    DockHandle,
    Invoke,
    RunReply,
    Session,
    StreamEvent,
    StreamResult,
    UploadedFile,
)


def rows() -> Iterator[BatchRow]:
    """Return rows lazily."""
    yield BatchRow("a", "it_ticket_triage", "Triage this", {"ticket": 1})
    yield BatchRow(key="b", target="it_ticket_triage", line=2)


async def later() -> AsyncIterator[BatchRow]:
    """Return rows that have to be waited for."""
    for row in rows():
        yield row


async def batches(pool: SessionPool, leena: Leena) -> None:
    """Run batches of all kinds."""
    batch = Batch(
        leena, journal="batch.db", in_flight=500, starts_per_second=20, on_unknown="report", timeout=60
    )
    async for outcome in batch.run(rows()):
        assert_type(outcome, Outcome)
        assert_type(outcome.state, RowState)
        assert_type(outcome.run, Run | None)
        assert_type(outcome.ref, RunRef | None)
        assert_type(outcome.error, Exception | None)
        assert_type((outcome.is_settled, outcome.is_replayed), tuple[bool, bool])
    async with Journal("other.db") as journal:
        async for _ in Batch(AgentPlatform.from_env(pool), journal=journal).run(later()):
            batch.stop()
            batch.stop(grace=5.0, cancel=True)
    assert_type(batch.statistics(), BatchStatistics)
    for row in (*read_jsonl([b"{}"]), *read_csv(["key,target"])):
        assert_type(row, BatchRow | RowFault)


async def platform(pool: SessionPool) -> None:
    """Talk to an app, and keep what its account has."""
    app = AgentPlatform(
        pool, base_url="https://x.example", app_id="aa", environment="draft", app_key="k", tools_key="t"
    )
    assert_type(await app.sessions.create(session_reference="s"), Session)
    assert_type(await app.runs.execute("hello", session_reference="s"), RunReply)
    assert_type(await app.runs.start("hello", session_reference="s", invoke=Invoke.agent("a")), RunHandle)
    stream = app.runs.stream("hello", session_reference="s")
    async for event in stream:
        assert_type(event, StreamEvent)
    assert_type(stream.result, StreamResult)
    assert_type(await app.files.upload("a.json"), UploadedFile)
    assert_type(await app.tools.deploy("a-1"), DockHandle)
    assert_type(await app.tools.export("a-1"), DockHandle)
    assert_type(app.dock_status("ds-1"), DockHandle)
    assert_type(app.attach("agent-platform:agents.example.com;dock/ds-1"), RunHandle)
