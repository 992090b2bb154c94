"""The public names as the documentation prints them. Only type-checked, never run."""

from collections.abc import Mapping, Sequence
from contextlib import aclosing
from contextvars import copy_context
from datetime import UTC, date, datetime, timedelta
from ssl import create_default_context
from typing import Any, assert_type

import aiohttp

import aioagents
from aioagents import (
    AgentsError,
    Agh,
    AuthenticationError,
    AuthorizationRequired,
    BadReference,
    BadRequest,
    Conflict,
    DecodeError,
    FileTokenStore,
    ForeignReply,
    Growing,
    Journal,
    JournalError,
    Leap,
    Learned,
    Leena,
    LeenaCredentials,
    LeenaEndpoints,
    MemoryTokenStore,
    NotFound,
    NotSent,
    PermissionDenied,
    PoolClosed,
    PoolLimits,
    PoolStatistics,
    RateLimit,
    ReplyError,
    ReplyLost,
    RetryPolicy,
    Run,
    RunAborted,
    RunFailed,
    RunHandle,
    RunRef,
    RunState,
    Secret,
    ServerError,
    SessionPool,
    StartUnknown,
    Steady,
    StreamCut,
    Throttled,
    Timeouts,
    TokenCache,
    TransportError,
    WaitTimeout,
    WebhookReceiver,
    WebhookRejected,
)
from aioagents.batch import BatchJournal, BatchRow, Change, Record, RowState
from aioagents.batch.journal import Durations, JournalStatistics, Summary
from aioagents.contract import RunClient
from aioagents.observe import AnswerSent, CancelSent, Event, PollsFailing, RunChanged, StartAbandoned
from aioagents.polling import Explanation
from aioagents.providers.agh import AutomationRun, Delivery
from aioagents.providers.leena import Person, ReportRow
from aioagents.simulator import FaultPlan, Simulator


async def pools(session: aiohttp.ClientSession) -> None:
    """Make pools with all their settings."""
    limits = PoolLimits(
        requests_at_once=100,
        per_host=50,
        long_at_once=500,
        requests_per_second=RateLimit(60, 60.0),
        polls_per_second=5.0,
        pollers=32,
        reply_bytes=1024,
        poll_bytes=1024,
        header_bytes=1024,
        header_lines=100,
    )
    timeouts = Timeouts(connect=10, read=30, start=None, token=30, close=5, keep_alive=75)
    retry = RetryPolicy(attempts=5, first=0.5, cap=30, patience=300, reserve=30, share=0.2)

    def hook(event: Event) -> None:
        if isinstance(event, RunChanged):
            assert_type(event.run, Run)
        elif isinstance(event, StartAbandoned):
            assert_type(event.run, Run | None)
            assert_type(event.sent_at, datetime)
        elif isinstance(event, CancelSent | AnswerSent):
            assert_type((event.ref, event.run, event.error), tuple[RunRef, Run | None, AgentsError | None])
        elif isinstance(event, PollsFailing):
            assert_type(
                (event.ref, event.failures, event.runs, event.error), tuple[RunRef, int, int, AgentsError]
            )

    async with SessionPool() as pool:
        assert_type(pool, SessionPool)
    pool = SessionPool(
        limits=limits,
        timeouts=timeouts,
        retry=retry,
        cadence=Growing(first=1, factor=1.25, cap=60),
        tokens=FileTokenStore("tokens.json"),
        hooks=[hook, print],
        session=session,
    )
    SessionPool(proxy="http://proxy.example:3128", ssl=create_default_context())
    await pool.__aenter__()
    statistics = pool.statistics()
    assert_type(statistics, PoolStatistics)
    assert_type(statistics.token_requests, int)
    assert_type(statistics.polling.runs, int)
    assert_type(statistics.polling.waiting, int)
    await pool.aclose()
    SessionPool(cadence=Steady(10), tokens=MemoryTokenStore())
    SessionPool(tokens=TokenCache(MemoryTokenStore()))


async def leena_runs(pool: SessionPool) -> None:
    """Start and follow a run, in all the ways there are."""
    credentials = LeenaCredentials(
        client_id="a", client_secret=Secret("b"), username="c", password=Secret("d")
    )
    leena = Leena(pool, region="us-east-1", credentials=LeenaCredentials.from_env())
    Leena(
        pool,
        credentials=credentials,
        region=None,
        endpoints=LeenaEndpoints(token="https://a", aop="https://b", report="https://c"),
        report_credentials=credentials,
    )
    assert_type(Leena.from_env(pool), Leena)
    assert_type(LeenaEndpoints.for_region(None), LeenaEndpoints)

    run = await leena.execute("it_ticket_triage", message="Triage this", context={"ticket": "INC1"})
    assert_type(run, RunHandle)
    assert_type(await run, Run)
    assert_type(await run.wait(timeout=30), Run)
    assert_type(await run.wait(until={RunState.PAUSED}), Run)
    assert_type(await run.poll(), Run)
    output: Any = await run.result()
    async for seen in run.updates():
        assert_type(seen, Run)
        _ = (seen.state.is_terminal, output)
    run.wake()
    assert_type(await run.cancel(), None)
    assert_type(await run.cancel(reason="not needed"), None)
    assert_type(await run.wait(on_cancel="cancel"), Run)
    assert_type(run.is_cancel_requested, bool)
    assert_type((await run.poll()).asks, tuple[str, ...])
    assert_type(await run.answer("resume"), None)
    run.report(await run.poll(), asked_at=1000.0)
    explained = run.explain()
    assert_type(explained, Explanation)
    assert_type(explained.next_poll_in, float | None)
    assert_type(explained.error, AgentsError | None)
    assert_type((str(explained), explained.waiting, explained.is_pushed), tuple[str, int, bool])
    assert_type(pool.statistics().polling.failing, int)
    take_back = run.add_done_callback(lambda end: assert_type(end, Run | AgentsError), context=copy_context())
    assert_type(take_back(), None)
    assert_type(run.ref, RunRef)
    assert_type(run.id, str)
    assert_type(run.last, Run | None)
    assert_type(leena.item(run.id), RunHandle)
    assert_type(leena.attach(str(run.ref)), RunHandle)
    assert_type(leena.attach(RunRef.parse("leena:us-east-1/0123")), RunHandle)
    await leena.check()


async def leena_report(leena: Leena, checkpoint: Mapping[str, Any] | None) -> dict[str, Any]:
    """Read the report, at once and page by page."""
    async for row in leena.report(
        date(2026, 1, 1), "2026-01-31", updated_after=datetime.now(UTC), page_size=100
    ):
        assert_type(row, ReportRow)
        assert_type(row.run_id, str)
        assert_type(row.handled_by, tuple[str, ...])
        assert_type(row.initiated_by, Person | None)
        assert_type(row.completed_at, datetime | None)
        assert_type(row.input_tokens, int | None)
    sync = leena.sync(checkpoint, start="2026-01-01", overlap=timedelta(hours=3))
    async for row in sync:
        assert_type(row, ReportRow)
    assert_type(await anext(sync), ReportRow)
    async with aclosing(leena.report("2026-01-01", "2026-01-31")) as rows:
        assert_type(await anext(rows), ReportRow)
    assert_type(sync.checkpoint, dict[str, Any])
    return sync.checkpoint


async def scripts() -> None:
    """Use clients without a pool of one's own."""
    async with Leena.connect(region="us-east-1", credentials=LeenaCredentials.from_env()) as leena:
        assert_type(leena, Leena)
    async with Leap.connect() as leap:
        assert_type(leap, Leap)
    async with Leap.connect(name="billing") as billing:
        assert_type(billing, Leap)


async def leap_runs(pool: SessionPool, receiver: WebhookReceiver) -> None:
    """Start and follow workflow runs and bulk runs."""
    leap = Leap(pool, api_key="key", base_url="https://api.workflows.tryleap.ai", dialect="workflows")
    assert_type(Leap.from_env(pool), Leap)
    assert_type(Leap.from_env(pool, name="billing"), Leap)
    Leap(pool, api_key="key", name="billing")
    try:
        assert_type(leap.attach("leap:billing@api.workflows.tryleap.ai/rnp_1"), RunHandle)
    except BadReference as error:
        assert_type(error.ref, RunRef | None)
    assert_type(await leap.run("w", {"a": 1}, webhook_url="https://x"), RunHandle)
    assert_type(await leap.run("w", webhook_url=receiver), RunHandle)
    assert_type(leap.get("r"), RunHandle)
    assert_type(await leap.run_bulk("w", "https://x/a.csv"), RunHandle)
    assert_type(leap.get_bulk("b"), RunHandle)


async def agh_runs(pool: SessionPool, secret: Secret) -> None:
    """Trigger jobs, follow runs, deliver webhooks; read the facts of a limit."""
    agh = Agh.from_env(pool)
    Agh(pool, base_url="https://agents.example.com:2123")
    try:
        run = await agh.jobs.trigger("job-1", wait_for_slot=True)
    except Conflict as error:
        assert_type(error.reason, str)
        assert_type(error.retry_at, datetime | None)
        assert_type(error.active, int | None)
        assert_type(error.limit, int | None)
        assert_type(error.tries, int)
        return
    assert_type(run, RunHandle)
    assert_type(await run, Run)
    assert_type(agh.runs.follow("run-1"), RunHandle)
    assert_type(agh.attach("agh:localhost:2123/run-1"), RunHandle)
    delivery = await agh.webhooks.deliver(
        "deploy--wbh_1",
        {"branch": "main"},
        secret=secret,
        workspace_id="ws-1",
        delivery_id="build-42",
        trigger_id="trg-1",
        timeout=600.0,
    )
    await agh.webhooks.deliver("deploy--wbh_1", b"{}", secret="s3cr3t")
    await agh.webhooks.deliver("deploy--wbh_1", "{}")  # type: ignore[call-arg]  # unsigned is refused
    assert_type(delivery, Delivery)
    assert_type(delivery.delivery_id, str)
    assert_type(delivery.matched, int | None)
    assert_type(delivery.runs, tuple[AutomationRun, ...])
    assert_type(delivery.run, RunHandle | None)
    assert_type(delivery.is_replay, bool)
    async with Agh.connect(base_url="http://localhost:2123") as own:
        assert_type(own, Agh)
        await own.check()


async def journals(rows: Sequence[BatchRow]) -> None:
    """Keep a journal of one's own, read it, and settle what is unknown."""
    async with Journal("batch.db", owner="host:1", grace=30.0) as journal:
        as_any: BatchJournal = journal
        await as_any.begin()
        assert_type(await as_any.claim(rows), Sequence[Record])
        async for record in journal.unfinished():
            assert_type(record.state, RowState)
            await journal.record(
                [Change(key=record.key, state=RowState.STARTED, ref=record.ref, at=datetime.now(UTC))]
            )
        await journal.record_emitted([record.key for record in await journal.unemitted(100)], 4096)
        assert_type(await journal.emitted_size(), int)
        if await journal.is_output_stale():
            await journal.reset_emission()
        assert_type(journal.statistics(), JournalStatistics)
    with Journal.read_only("batch.db") as view:
        assert_type(view.summary(), Summary)
        assert_type(view.summary().states[RowState.UNKNOWN], int)
        assert_type(view.durations(), Mapping[RowState, Durations])
        for record in view.records(state=RowState.FAILED, kind="RunFailed"):
            assert_type(record, Record)


def values(run: Run) -> None:
    """Read a run."""
    assert_type(run.ref, RunRef)
    assert_type(run.id, str)
    assert_type(run.state, RunState)
    assert_type(run.status, str)
    assert_type(run.created_at, datetime | None)
    assert_type(run.started_at, datetime | None)
    assert_type(run.ended_at, datetime | None)
    assert_type(run.error, str | None)
    assert_type(run.seen_at, datetime)
    _ = (run.output, run.raw)
    assert_type(Steady(10).gap(0), float)
    assert_type(Growing(first=1, factor=2, cap=60).gap(10, key="x", chance=0.5), float)
    learned = Learned(polls_per_run=12, cap=30.0, floor=0.5, fallback=Growing())
    assert_type(learned.gap(10, key="x", chance=0.5), float)
    learned.observe(12.5, key="x", ended=True)
    SessionPool(cadence=Learned(delay=2.0))


def foreign(error: ForeignReply) -> None:
    """Read who answered in the vendor's place."""
    assert_type(error.host, str)
    assert_type(error.is_foreign, bool)


async def errors(run: RunHandle) -> None:
    """Distinguish errors, and read their facts."""
    try:
        await run.result()
    except (RunFailed, RunAborted) as error:
        assert_type(error.run, Run | None)
    except WaitTimeout as error:
        as_timeout: TimeoutError = error
        assert_type((error.last_error, error.failures), tuple[AgentsError | None, int])
        assert_type(error.run, Run | None)
        _ = as_timeout
    except StartUnknown as error:
        assert_type(error.target, str)
        assert_type(error.sent_at, datetime | None)
        assert_type(error.body, bytes | None)
        assert_type(error.advice, str)
        assert_type(error.action, str)
    except (NotSent, ReplyLost, TransportError) as error:
        assert_type(error.is_passing, bool)
    except (BadRequest, AuthenticationError, PermissionDenied, NotFound, Conflict) as error:
        assert_type(error.status, int | None)
    except (Throttled, ServerError, ReplyError) as error:
        assert_type(error.retry_after, float | None)
    except DecodeError as error:
        assert_type(error.path, str)
    except (PoolClosed, AuthorizationRequired, WebhookRejected, JournalError) as error:
        assert_type(error.vendor, str)
    except AgentsError as error:
        assert_type(error.ref, RunRef | None)
        assert_type(error.request_id, str | None)


async def rows(client: RunClient, leap: Leap, row: BatchRow) -> None:
    """Start rows, which may be over with the answer."""
    assert_type(await client.start_row(row), RunHandle | Run)
    assert_type(await leap.start_row(row), RunHandle)


async def streams(run: RunHandle) -> None:
    """See what arrived of a stream that was cut."""
    try:
        await run.result()
    except StreamCut as error:
        assert_type(error.received, bytes)
        assert_type(error.events, int)


async def simulated() -> None:
    """Serve the vendors' fakes."""
    async with Simulator(speed=60, seed=1, faults=FaultPlan(reset=0.05)) as simulator:
        assert_type(simulator.environment(), dict[str, str])
        assert_type(simulator.statistics().token_requests, int)
    with Simulator().in_thread() as simulator:
        assert_type(simulator.url, str)


PUBLIC: list[str] = aioagents.__all__
