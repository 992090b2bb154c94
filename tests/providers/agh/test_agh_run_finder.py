"""Triggering a job: its run is known at once, started once, and found with or without an answer."""

import asyncio
from collections.abc import Callable

import pytest

from aioagents import (
    Conflict,
    DecodeError,
    NotFound,
    NotSent,
    PoolClosed,
    ReplyLost,
    RunHandle,
    RunState,
    ServerError,
    StartUnknown,
    Throttled,
)
from aioagents.batch import Batch, BatchRow, Outcome, RowState
from aioagents.model import Reply
from aioagents.observe import RunChanged, RunStarted, StartAbandoned
from aioagents.providers.agh.fake import AghRules
from tests.batch.batch_rig import Notebook
from tests.fakes import settle
from tests.providers.agh.agh_rig import AghRig, agh_rig, script

SLOW = {"slow": script(("running", 3600.0), "completed")}
BROKEN = {"bad": script(("running", 30.0), "failed")}


async def _handles(rig: AghRig, job: str, count: int) -> list[RunHandle]:
    return list(await rig.done(asyncio.wait_for(_all(rig, job, count), None), within=600.0))


async def _all(rig: AghRig, job: str, count: int) -> list[RunHandle]:
    return await asyncio.gather(*(rig.agh.jobs.trigger(job) for _ in range(count)))


async def test_known_while_the_call_is_in_flight() -> None:
    """The handle is returned within a second though the server answers after an hour; the call is sent once."""
    async with agh_rig(scripts=SLOW) as rig:
        job = rig.job("slow")
        handle = await rig.done(rig.agh.jobs.trigger(job), within=1.0)
        assert rig.fake.ended_at(handle.id) == pytest.approx(3600.0, abs=1.0)
        assert handle.accepted is not None
        assert handle.accepted.state is RunState.RUNNING
        assert len(rig.calls("jobs.trigger")) == 1
        assert [event.target for event in rig.events_of(RunStarted)] == [job]
        assert rig.pool.statistics().starts == 1
        assert all(limiter.under_way == 0 for limiter in rig.pool.statistics().accounts.values())


async def test_the_end_is_the_runs_own() -> None:
    """Awaiting the handle returns the end of the triggered run, without its answer."""
    async with agh_rig(scripts=BROKEN) as rig:
        handle = await rig.done(rig.agh.jobs.trigger(rig.job("bad")), within=1.0)
        run = await rig.done(handle.wait())
        assert (run.state, run.id) == (RunState.FAILED, handle.id)


async def test_an_answer_at_once_needs_no_history() -> None:
    """A delegated run is known from the answer: no list is read but those before the call."""
    async with agh_rig(scripts={"task": script(("queued", 5.0), "completed")}) as rig:
        handle = await rig.done(rig.agh.jobs.trigger(rig.job("task", task={})), within=0.2)
        assert handle.accepted is not None
        assert handle.accepted.status == "delegated"
        assert len(rig.calls("jobs.runs")) == 2


async def test_no_such_job() -> None:
    """An unknown job raises NotFound before anything is triggered."""
    async with agh_rig() as rig:
        with pytest.raises(NotFound):
            await rig.done(rig.agh.jobs.trigger("job-none"))
        assert rig.calls("jobs.trigger") == []


async def test_many_at_once_get_a_run_each() -> None:
    """500 calls of one job get 500 runs with few lists, and occupy no request slot meanwhile."""
    async with agh_rig(scripts=SLOW) as rig:
        job = rig.job("slow")
        began_at = rig.clock.now()
        handles = await _handles(rig, job, 500)
        assert len({handle.id for handle in handles}) == 500
        assert rig.fake.starts_by_target[job] == 500
        assert rig.clock.now() - began_at < 5.0
        assert len(rig.calls("jobs.runs")) < 20


async def test_overlapping_calls_get_a_run_each() -> None:
    """Calls that overlap in time, some answered at once and some not, all get runs of their own."""
    scripts = {"mixed": script(("running", 0.1), "failed", ("running", 700.0), "completed")}
    async with agh_rig(scripts=scripts) as rig:
        job = rig.job("mixed")
        tasks = []
        for _ in range(60):
            tasks.append(await rig.begin(rig.agh.jobs.trigger(job)))
            await rig.clock.advance(0.07)
        await rig.clock.advance(30.0)
        assert len({task.result().id for task in tasks}) == 60
        assert rig.fake.starts_by_target[job] == 60


async def test_older_runs_are_never_taken() -> None:
    """Runs that were there before the call, and those that the schedule begins meanwhile, are assigned to no call."""
    async with agh_rig(scripts={"every": script(("running", 500.0), "completed")}) as rig:
        job = rig.job("every", schedule={"mode": "every", "interval": "1s"})
        await rig.clock.advance(30.0)
        first = await rig.done(rig.agh.jobs.trigger(job))
        second = await rig.done(rig.agh.jobs.trigger(job))
        assert first.id.startswith("run-")
        assert second.id.startswith("run-")
        assert first.id != second.id


@pytest.mark.parametrize(
    "error",
    [
        lambda: ReplyLost("cut"),
        lambda: ServerError("hidden", status=500),
        lambda: ServerError("gateway", status=502),
        lambda: ServerError("gateway", status=504),
    ],
)
async def test_found_after_a_lost_answer(error: Callable[[], Exception]) -> None:
    """When the answer is lost or hides the run, the history has it, and the call is not made again."""
    async with agh_rig(scripts={"bad": script(("running", 0.05), "failed")}) as rig:
        job = rig.job("bad")
        rig.lose("jobs.trigger", error)
        handle = await rig.done(rig.agh.jobs.trigger(job))
        assert rig.fake.starts_by_target[job] == 1
        assert (await rig.done(handle.wait())).state is RunState.FAILED


async def test_the_masked_failure_is_found() -> None:
    """A run that failed before the first poll is answered by a bare 500; the handle is on that run."""
    async with agh_rig(scripts={"bad": script(("running", 0.05), "failed")}) as rig:
        handle = await rig.done(rig.agh.jobs.trigger(rig.job("bad")))
        assert handle.last is not None
        assert handle.last.state is RunState.FAILED


@pytest.mark.parametrize(
    "answer",
    [Reply(500, {}, b"{}"), Reply(502, {}, b""), Reply(200, {}, b"<html>"), Reply(200, {}, b'{"run":{}}')],
)
async def test_unknown_where_nothing_is_found(answer: Reply) -> None:
    """When no new run is listed, `StartUnknown` is raised with advice, and the call is never sent again."""
    async with agh_rig() as rig:
        job = rig.job("ghost")
        rig.answer("jobs.trigger", answer)
        with pytest.raises(StartUnknown) as caught:
            await rig.done(rig.agh.jobs.trigger(job))
        assert "No new one was listed" in caught.value.advice
        assert (caught.value.target, len(rig.calls("jobs.trigger"))) == (job, 1)
        assert caught.value.sent_at is not None


async def test_lost_before_it_arrived() -> None:
    """A call that was cut off before it reached the server gets no other call's run."""
    async with agh_rig(scripts=SLOW) as rig:
        job = rig.job("slow")
        rig.answer("jobs.trigger", ReplyLost("cut"))
        lost = await rig.begin(rig.agh.jobs.trigger(job))
        await rig.clock.advance(0.1)
        others = [await rig.begin(rig.agh.jobs.trigger(job)) for _ in range(3)]
        await rig.clock.advance(20.0)
        assert isinstance(lost.exception(), StartUnknown)
        assert len({task.result().id for task in others}) == 3


async def test_more_lost_calls_than_runs() -> None:
    """If it is unknown which of many lost calls arrived, all raise `StartUnknown`, with some of the runs."""
    async with agh_rig(scripts={"quick": script("completed")}) as rig:
        job = rig.job("quick")
        rig.answer("jobs.trigger", ReplyLost("cut"))
        rig.lose("jobs.trigger", lambda: ReplyLost("cut"))
        lost = [await rig.begin(rig.agh.jobs.trigger(job)) for _ in range(12)]
        await rig.clock.advance(20.0)
        advice = [error.advice for task in lost if isinstance(error := task.exception(), StartUnknown)]
        assert len(advice) == 12
        assert all(text.count("run-") == 10 and text.endswith(" and 1 more.") for text in advice)
        assert rig.fake.starts_by_target[job] == 11


@pytest.mark.parametrize(
    ("error", "status"),
    [(NotSent("no way"), None), (None, 429), (None, 503)],
)
async def test_tried_again_where_nothing_was_executed(error: Exception | None, status: int | None) -> None:
    """A call that was not sent, throttled, or refused by 503 is made again, once: one run begins."""
    async with agh_rig(scripts=SLOW) as rig:
        job = rig.job("slow")
        rig.answer(
            "jobs.trigger", error if error is not None else Reply(status or 0, {}, b'{"error": "off"}')
        )
        await rig.done(rig.agh.jobs.trigger(job))
        assert rig.fake.starts_by_target[job] == 1
        assert len(rig.calls("jobs.trigger")) == 2


async def test_refusals_take_no_run() -> None:
    """At the concurrency limit, refused calls raise `Conflict`, and each run has one handle."""
    async with agh_rig(rules=AghRules(concurrency=5), scripts=SLOW) as rig:
        job = rig.job("slow")
        outcomes = await rig.done(
            asyncio.wait_for(
                asyncio.gather(*(rig.agh.jobs.trigger(job) for _ in range(12)), return_exceptions=True), None
            )
        )
        handles = [each for each in outcomes if isinstance(each, RunHandle)]
        refusals = [each for each in outcomes if isinstance(each, Conflict)]
        assert len({handle.id for handle in handles}) == 5
        assert [(each.reason, each.active, each.limit) for each in refusals] == [("concurrency", 5, 5)] * 7


async def test_fire_limit_has_its_time() -> None:
    """The fire limit is a conflict with its reason, its figures and the earliest useful moment."""
    async with agh_rig(scripts=SLOW) as rig:
        job = rig.job("slow", fire_limit={"max": 1, "window": "1h"})
        await rig.done(rig.agh.jobs.trigger(job))
        with pytest.raises(Conflict) as caught:
            await rig.done(rig.agh.jobs.trigger(job))
        assert (caught.value.reason, caught.value.active, caught.value.limit) == ("fire", 1, 1)
        assert caught.value.retry_at is not None
        assert (caught.value.retry_at - rig.clock.utcnow()).total_seconds() == pytest.approx(3600.0, abs=2.0)


@pytest.mark.parametrize("is_fire", [False, True])
async def test_waiting_for_a_slot(is_fire: bool) -> None:
    """With `wait_for_slot` the call is made until there is room, and begins one run."""
    scripts = {"short": script(("running", 40.0), "completed")}
    async with agh_rig(rules=AghRules(concurrency=1000 if is_fire else 1), scripts=scripts) as rig:
        limit = {"max": 1 if is_fire else 100, "window": "40s"}
        job = rig.job("short", fire_limit=limit)
        await rig.done(rig.agh.jobs.trigger(job))
        handle = await rig.done(rig.agh.jobs.trigger(job, wait_for_slot=True), within=120.0)
        assert rig.fake.starts_by_target[job] == 2
        assert handle.accepted is not None
        assert handle.accepted.started_at is not None
        waited = (handle.accepted.started_at - rig.clock.utcnow()).total_seconds()
        assert waited < 1.0
        assert rig.clock.now() - 1000.0 >= 40.0


async def test_waiting_for_a_slot_is_cancelled_cleanly() -> None:
    """A wait for a slot that is cancelled begins nothing later."""
    async with agh_rig(rules=AghRules(concurrency=1), scripts=SLOW) as rig:
        job = rig.job("slow")
        await rig.done(rig.agh.jobs.trigger(job))
        waiting = await rig.begin(rig.agh.jobs.trigger(job, wait_for_slot=True))
        await rig.clock.advance(30.0)
        waiting.cancel()
        await settle()
        made = len(rig.calls("jobs.trigger"))
        await rig.clock.advance(7200.0)
        assert len(rig.calls("jobs.trigger")) == made
        assert rig.fake.starts_by_target[job] == 1


async def test_other_conflicts_are_not_waited_out() -> None:
    """A conflict that no waiting cures is raised at once, also with `wait_for_slot`."""
    async with agh_rig() as rig:
        job = rig.job("odd")
        rig.answer("jobs.trigger", Reply(409, {}, b'{"error":"something new"}'))
        with pytest.raises(Conflict) as caught:
            await rig.done(rig.agh.jobs.trigger(job, wait_for_slot=True))
        assert caught.value.reason == ""


async def test_refused_after_attempts() -> None:
    """With backoff, a refusal may follow attempts that ran: the call then has begun a run, and it is found."""
    scripts = {"bad": script(("running", 0.01), "failed")}
    async with agh_rig(scripts=scripts) as rig:
        retry = {"strategy": "backoff", "max_retries": 3, "base_delay": "10ms"}
        job = rig.job("bad", retry=retry, fire_limit={"max": 2, "window": "1h"})
        handle = await rig.done(rig.agh.jobs.trigger(job, wait_for_slot=True))
        assert rig.fake.starts_by_target[job] == 1
        assert (await rig.done(handle.wait())).state is RunState.FAILED


async def test_attempts_are_not_taken_for_other_calls() -> None:
    """Further attempts of one call's run are no other call's: each call gets a first attempt."""
    scripts = {"flaky": script(("running", 0.3), "failed", ("running", 500.0), "completed")}
    async with agh_rig(scripts=scripts) as rig:
        retry = {"strategy": "backoff", "max_retries": 2, "base_delay": "100ms"}
        job = rig.job("flaky", retry=retry)
        tasks = []
        for _ in range(10):
            tasks.append(await rig.begin(rig.agh.jobs.trigger(job)))
            await rig.clock.advance(0.2)
        await rig.clock.advance(30.0)
        firsts = [task.result().accepted for task in tasks]
        assert len({run.id for run in firsts if run is not None}) == 10
        assert {run.raw["run"]["attempt"] for run in firsts if run is not None} == {1}


async def test_cancelled_before_it_is_sent() -> None:
    """A call that is cancelled while the history is read triggers nothing."""
    async with agh_rig(scripts=SLOW) as rig:
        job = rig.job("slow")
        task = asyncio.create_task(rig.agh.jobs.trigger(job))
        await asyncio.sleep(0)
        task.cancel()
        await rig.clock.advance(5.0)
        assert task.cancelled()
        assert rig.calls("jobs.trigger") == []


async def test_cancelled_while_it_is_out() -> None:
    """A call that is cancelled while it is in flight goes on until its run is known, and then emits an event."""
    async with agh_rig(scripts=SLOW) as rig:
        task = await rig.begin(rig.agh.jobs.trigger(rig.job("slow")))
        assert len(rig.calls("jobs.trigger")) == 1
        task.cancel()
        await rig.clock.advance(2.0)
        [abandoned] = rig.events_of(StartAbandoned)
        assert abandoned.run is not None
        assert rig.fake.ended_at(abandoned.run.id) is not None


async def test_closing_the_pool_while_it_is_out() -> None:
    """A pool that closes waits for calls in flight to learn their runs."""
    async with agh_rig(scripts=SLOW) as rig:
        task = await rig.begin(rig.agh.jobs.trigger(rig.job("slow")))
        closing = await rig.begin(rig.pool.aclose())
        await rig.clock.advance(1.0)
        await closing
        assert isinstance(task.result(), RunHandle)


async def test_closed_pool() -> None:
    """With a closed pool nothing is triggered."""
    async with agh_rig() as rig:
        job = rig.job("slow")
        await rig.pool.aclose()
        with pytest.raises(PoolClosed):
            await rig.agh.jobs.trigger(job)


async def test_history_that_fails_meanwhile() -> None:
    """While the history cannot be read, the call waits for it; nothing is triggered twice."""
    async with agh_rig(scripts=SLOW) as rig:
        job = rig.job("slow")
        task = await rig.begin(rig.agh.jobs.trigger(job))
        rig.answer("jobs.runs", *[Reply(500, {}, b"{}")] * 4)
        await rig.clock.advance(40.0)
        assert isinstance(task.result(), RunHandle)
        assert len(rig.calls("jobs.trigger")) == 1


async def test_history_that_fails_before() -> None:
    """A history that cannot be read before the call raises its own error, and nothing is triggered."""
    async with agh_rig() as rig:
        job = rig.job("slow")
        rig.answer("jobs.runs", Reply(200, {}, b"[]"))
        with pytest.raises(DecodeError):
            await rig.done(rig.agh.jobs.trigger(job))
        assert rig.calls("jobs.trigger") == []


async def test_throttled_for_good() -> None:
    """A call that is throttled at every attempt raises `Throttled`, and nothing began."""
    async with agh_rig() as rig:
        job = rig.job("slow")
        rig.answer("jobs.trigger", *[Reply(429, {}, b"{}")] * 9)
        with pytest.raises(Throttled):
            await rig.done(rig.agh.jobs.trigger(job), within=600.0)
        assert rig.fake.starts_by_target.get(job, 0) == 0


async def test_row_of_a_batch() -> None:
    """A row triggers its job; what a job cannot take is refused before anything is sent."""
    async with agh_rig(scripts=SLOW) as rig:
        job = rig.job("slow")
        assert isinstance(await rig.done(rig.agh.start_row(BatchRow("a", job))), RunHandle)
        for row in (BatchRow("b", job, "hello"), BatchRow("c", job, input={"x": 1})):
            with pytest.raises(ValueError, match="without message and input"):
                await rig.agh.start_row(row)


async def test_row_without_a_slot() -> None:
    """A row whose job has no free slot is refused at once, and may be tried again after some seconds."""
    async with agh_rig(rules=AghRules(concurrency=1), scripts=SLOW) as rig:
        job = rig.job("slow")
        await rig.done(rig.agh.start_row(BatchRow("a", job)))
        with pytest.raises(Conflict) as caught:
            await rig.done(rig.agh.start_row(BatchRow("b", job)))
        delay = rig.agh.retry_delay(caught.value, 1)
        assert delay is not None
        assert 1.0 <= delay < 2.0
        assert rig.agh.retry_delay(Throttled("x", status=429), 1) is None
        assert rig.agh.retry_delay(Conflict("x", status=409), 1) is None


async def test_rows_whose_runs_end_with_the_answer() -> None:
    """A run that is over when its trigger is answered is recorded in one change, and never polled."""
    async with agh_rig(scripts={"quick": script(("running", 0.1), "completed")}) as rig:
        job, notebook = rig.job("quick"), Notebook()
        batch = Batch(rig.agh, journal=notebook)

        async def read() -> list[Outcome]:
            return [outcome async for outcome in batch.run(BatchRow(f"row-{n}", job) for n in range(3))]

        outcomes = await rig.done(read())
        assert {(each.state, each.error) for each in outcomes} == {(RowState.COMPLETED, None)}
        assert len({each.ref for each in outcomes} - {None}) == rig.fake.starts_by_target[job] == 3
        assert list(notebook.log.values()) == [[RowState.SENDING, RowState.COMPLETED]] * 3
        assert rig.calls("runs.get") == []
        assert batch.statistics().starts == 3
        ends = [event.run for event in rig.events_of(RunChanged)]
        assert {(run.ref, run.state) for run in ends} == {(each.ref, RunState.COMPLETED) for each in outcomes}
