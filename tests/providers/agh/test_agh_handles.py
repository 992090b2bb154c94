"""Following runs of AGH Runtime to their real end, one by one and many at once."""

import asyncio
import itertools
import json
from collections.abc import Callable
from typing import Any

import pytest

from aioagents import BadReference, DecodeError, NotFound, RunHandle, RunRef, RunState, Steady, WaitTimeout
from aioagents.model import Reply, Request
from aioagents.observe import PollFailed
from aioagents.providers.agh.fake import AghRules
from aioagents.providers.agh.signing import webhook_run_id
from tests.providers.agh.agh_rig import SECRET, AghRig, agh_rig, script

BACKOFF = {"strategy": "backoff", "max_retries": 2, "base_delay": "30s"}


async def _states(rig: AghRig, handle: RunHandle, *, seconds: float) -> list[str]:
    """Return the updates of a handle while this time passes, as state:status."""
    seen: list[str] = []
    show = seen.append

    async def collect() -> None:
        async for run in handle.updates():
            show(f"{run.state.value}:{run.status}")

    task = await rig.begin(collect())
    left = seconds
    while left > 0 and not task.done():
        await rig.clock.advance(5.0)
        left -= 5.0
    return seen


async def test_delegated_to_the_end_of_the_task() -> None:
    """A delegated run ends when its task run does, with its output; both records are kept."""
    scripts = {
        "task": script(
            ("queued", 15.0), ("claimed", 15.0), ("starting", 10.0), ("running", 20.0), "completed"
        )
    }
    async with agh_rig(scripts=scripts) as rig:
        handle = await rig.done(rig.agh.jobs.trigger(rig.job("task", task={"title": "T"})))
        assert await _states(rig, handle, seconds=90.0) == [
            "queued:queued",
            "queued:claimed",
            "running:starting",
            "running:running",
            "completed:completed",
        ]
        last = handle.last
        assert last is not None
        assert last.raw["run"]["status"] == "delegated"
        assert last.raw["task_run"]["status"] == "completed"
        assert last.output == last.raw["task_run"]["result"]
        assert await rig.done(handle.result()) == last.output


async def test_a_delegated_record_is_read_once() -> None:
    """Once a run is known to be delegated, only its task run is read."""
    scripts = {"task": script(("running", 60.0), "completed")}
    async with agh_rig(scripts=scripts) as rig:
        handle = await rig.done(rig.agh.jobs.trigger(rig.job("task", task={})))
        await rig.done(handle.wait(), within=120.0)
        assert rig.calls("runs.get") == []
        assert len(rig.calls("task-runs.get")) == 6
        foreign = rig.agh.runs.follow(handle.id)
        await rig.done(foreign.wait())
        assert len(rig.calls("runs.get")) == 1


@pytest.mark.parametrize("end", ["failed", "canceled"])
async def test_a_task_that_ends_badly(end: str) -> None:
    """A task run that failed or was canceled ends the run so."""
    async with agh_rig(scripts={"task": script(("running", 5.0), end)}) as rig:
        handle = await rig.done(rig.agh.jobs.trigger(rig.job("task", task={})))
        run = await rig.done(handle.wait())
        assert run.state is (RunState.FAILED if end == "failed" else RunState.ABORTED)


async def test_needing_attention_is_a_pause() -> None:
    """A parked task run is paused: a wait for pauses ends there, others go on."""
    async with agh_rig(scripts={"task": script(("queued", 5.0), "needs_attention")}) as rig:
        handle = await rig.done(rig.agh.jobs.trigger(rig.job("task", task={})))
        paused = await rig.done(handle.wait(until={RunState.PAUSED}))
        assert (paused.state, paused.status) == (RunState.PAUSED, "needs_attention")
        with pytest.raises(WaitTimeout):
            await rig.done(handle.wait(timeout=50.0))


async def test_a_retried_record_is_not_over() -> None:
    """A webhook's failed record with attempts left waits for the next one, and ends with the last."""
    scripts = {"hook": script(("running", 15.0), "failed", ("running", 15.0), "completed")}
    async with agh_rig(scripts=scripts) as rig:
        trigger = rig.trigger("hook", retry=BACKOFF)
        await rig.begin(_deliver(rig, trigger))
        handle = rig.agh.runs.follow(webhook_run_id(trigger, "d-1"))
        assert await _states(rig, handle, seconds=90.0) == [
            "running:running",
            "queued:failed",
            "running:running",
            "completed:completed",
        ]


async def test_the_last_attempt_is_over_at_once() -> None:
    """A record whose attempts are used up is over when it fails, without a wait for more."""
    async with agh_rig(scripts={"hook": script(("running", 1.0), "failed")}) as rig:
        trigger = rig.trigger("hook", retry={**BACKOFF, "max_retries": 1, "base_delay": "1s"})
        await rig.begin(_deliver(rig, trigger))
        handle = rig.agh.runs.follow(webhook_run_id(trigger, "d-1"))
        run = await rig.done(handle.wait())
        assert run.state is RunState.FAILED
        assert run.raw["run"]["attempt"] == 2
        assert rig.clock.now() < 1025.0


async def test_a_record_that_stays_failed_is_over_after_its_delay() -> None:
    """When the next attempt never comes, the record is final once its delay and a margin are over."""
    scripts = {"hook": script(("running", 5.0), "failed")}
    async with agh_rig(scripts=scripts, cadence=Steady(1.0)) as rig:
        trigger = rig.trigger("hook", retry=BACKOFF)
        await rig.begin(_deliver(rig, trigger))
        await rig.clock.advance(6.0)
        rig.fake.restart(rig.clock.now() - 1000.0)
        handle = rig.agh.runs.follow(webhook_run_id(trigger, "d-1"))
        began_at = rig.clock.now()
        run = await rig.done(handle.wait())
        assert run.state is RunState.FAILED
        assert 32.0 < rig.clock.now() - began_at < 38.0


async def test_the_retry_policy_is_read_once_a_minute() -> None:
    """Whether a failed record is final costs one read of its owner for many polls."""
    scripts = {"hook": script(("running", 5.0), "failed")}
    async with agh_rig(scripts=scripts, cadence=Steady(2.0)) as rig:
        trigger = rig.trigger("hook", retry={**BACKOFF, "base_delay": "100s"})
        await rig.begin(_deliver(rig, trigger))
        handle = rig.agh.runs.follow(webhook_run_id(trigger, "d-1"))
        await _states(rig, handle, seconds=100.0)
        assert len(rig.calls("triggers.get")) == 1 + 2  # one by the rig
        assert len(rig.calls("runs.get")) > 40


async def test_an_owner_that_is_gone() -> None:
    """A failed record whose owner was deleted is the end: no policy says that it is retried."""
    scripts = {"hook": script(("running", 5.0), "failed")}
    async with agh_rig(scripts=scripts) as rig:
        trigger = rig.trigger("hook", retry=BACKOFF)
        await rig.begin(_deliver(rig, trigger))
        await rig.clock.advance(6.0)
        await rig.agh.triggers.delete(trigger)
        run = await rig.done(rig.agh.runs.follow(webhook_run_id(trigger, "d-1")).wait())
        assert run.state is RunState.FAILED


async def test_an_undelivered_fire_has_failed() -> None:
    """A scheduled fire that could not be dispatched never goes on: it is failed, with the reason."""
    rules, scripts = AghRules(concurrency=1), {"long": script(("running", 1000.0), "completed")}
    async with agh_rig(rules=rules, scripts=scripts) as rig:
        await rig.done(rig.agh.jobs.trigger(rig.job("long")))
        fired = rig.job("fired", schedule={"mode": "every", "interval": "20s"})
        await rig.clock.advance(25.0)
        [record] = [record async for record in rig.agh.jobs.runs(fired)]
        run = await rig.done(rig.agh.runs.follow(record.id).wait())
        assert (run.state, run.status) == (RunState.FAILED, "scheduled")
        assert run.error


async def test_an_orphan_ends_by_the_timeout_alone() -> None:
    """A run whose daemon was stopped in the middle never ends; the wait's own timeout does."""
    async with agh_rig(scripts={"long": script(("running", 30.0), "completed")}) as rig:
        handle = await rig.done(rig.agh.jobs.trigger(rig.job("long")))
        rig.fake.restart(5.0)
        with pytest.raises(WaitTimeout) as caught:
            await rig.done(handle.wait(timeout=500.0), within=600.0)
        assert caught.value.run is not None
        assert caught.value.run.state is RunState.RUNNING


async def test_a_thousand_runs_cost_few_lists() -> None:
    """A thousand waiting runs of one job cost at most three lists in each gap, and no single poll."""
    async with agh_rig(scripts={"long": script(("running", 95.0), "completed")}) as rig:
        job = rig.job("long")
        handles = [await rig.done(_one(rig, job)) for _ in range(1)]
        tasks = [asyncio.ensure_future(rig.agh.jobs.trigger(job)) for _ in range(999)]
        await rig.clock.advance(3.0)
        handles += [task.result() for task in tasks]
        before = len(rig.calls("jobs.runs"))
        waits = [asyncio.create_task(_end(handle)) for handle in handles]
        rig.tasks += waits
        await rig.clock.advance(120.0)
        assert {wait.result().state for wait in waits} == {RunState.COMPLETED}
        assert rig.calls("runs.get") == []
        assert len(rig.calls("runs.list")) <= 3 * 12
        assert len(rig.calls("jobs.runs")) == before


@pytest.mark.parametrize(("count", "seconds"), [(80, 80.0), (150, 120.0)])
async def test_runs_that_end_one_after_another_share_lists(count: int, seconds: float) -> None:
    """Lists have ended runs too: these cost neither a list nor a poll of their own."""
    scripts = {"long": script(("running", seconds + 5.0), "completed")}
    async with agh_rig(scripts=scripts, chance=_spread()) as rig:
        job, starts = rig.job("long"), []
        for _ in range(count):
            starts.append(await rig.begin(rig.agh.jobs.trigger(job)))
            await rig.clock.advance(seconds / count)
        waits = [await rig.begin(_end(start.result())) for start in starts]
        await rig.clock.advance(seconds + 15.0)
        assert {wait.result().state for wait in waits} == {RunState.COMPLETED}
        assert len(rig.calls("runs.list")) <= 15
        assert rig.calls("runs.get") == []


@pytest.mark.parametrize(("count", "seconds"), [(80, 80.0), (150, 120.0)])
async def test_runs_that_are_delegated_one_after_another_share_lists(count: int, seconds: float) -> None:
    """Lists lack the ends of delegated runs: each of these is read once by itself, and costs no list."""
    async with agh_rig(chance=_spread()) as rig:
        began_at, names = rig.clock.now(), [f"run-{number}" for number in range(count)]

        def record(name: str) -> dict[str, Any]:
            started = {"id": name, "job_id": "j", "attempt": 1, "started_at": "2026-01-05T09:00:00Z"}
            ends_at = began_at + 10.0 + seconds * names.index(name) / count
            if rig.clock.now() < ends_at:
                return {**started, "status": "running"}
            return {**started, "status": "delegated", "task_run_id": f"task-{name}"}

        def answer(request: Request) -> Reply | None:
            name = request.url.rpartition("/")[2]
            body: Any = {"runs": [record(each) for each in names]}
            if request.call == "runs.get":
                body = {"run": record(name)}
            elif request.call == "task-runs.get":
                body = {"run": {"run": {"id": name, "status": "completed"}}}
            return Reply(200, {}, json.dumps(body).encode())

        rig.send.before = answer
        waits = [await rig.begin(_end(rig.agh.runs.follow(name))) for name in names]
        await rig.clock.advance(seconds + 25.0)
        assert {wait.result().state for wait in waits} == {RunState.COMPLETED}
        assert len(rig.calls("runs.list")) <= 15
        assert (
            len(rig.calls("runs.get")) == 2 * count
        )  # the first poll of each, and the one left out by a list
        assert len(rig.calls("task-runs.get")) == count


async def test_running_runs_beyond_the_lists_limit_are_polled_once_in_a_gap() -> None:
    """When others start more runs meanwhile than a list may hold, ours that it lacks cost no list of their own."""
    scripts = {"long": script(("running", 1000.0), "completed")}
    async with agh_rig(scripts=scripts, chance=_spread()) as rig:
        job = rig.job("long")
        handles = [await rig.done(rig.agh.jobs.trigger(job)) for _ in range(180)]
        old, new = handles[:30], handles[-20:]
        for handle in (*old, *new):
            await rig.begin(_end(handle))
        await rig.clock.advance(50.0)
        read = [request.url.rpartition("/")[2] for request in rig.calls("runs.get")]
        assert set(read) == {handle.id for handle in old}
        assert len(rig.calls("runs.list")) <= 15
        assert max(map(read.count, read)) <= 5 / 0.9


async def test_runs_of_several_owners_are_listed_apart() -> None:
    """Each job's and each trigger's runs are read by a list of their own."""
    async with agh_rig(scripts={name: script(("running", 25.0), "completed") for name in "ab"}) as rig:
        jobs = [rig.job("a"), rig.job("b")]
        handles = [await rig.done(rig.agh.jobs.trigger(job)) for job in jobs for _ in range(3)]
        waits = [await rig.begin(_end(handle)) for handle in handles]
        await rig.clock.advance(60.0)
        assert all(wait.done() for wait in waits)
        owners = {request.url.partition("job_id=")[2].partition("&")[0] for request in rig.calls("runs.list")}
        assert owners == set(jobs)


@pytest.mark.parametrize("verb", ["jobs", "runs"])
async def test_a_history_informs_those_who_wait(verb: str) -> None:
    """What a history says of a run reaches who waits for it, without a poll; a run that may be retried is polled."""
    async with agh_rig(scripts={"j": script(("running", 20.0), "completed")}, cadence=Steady(1000)) as rig:
        job = rig.job("j")
        handle = await rig.done(rig.agh.jobs.trigger(job))
        wait = await rig.begin(handle.wait())
        await rig.clock.advance(25.0)
        assert not wait.done()
        history = rig.agh.jobs.runs(job) if verb == "jobs" else rig.agh.runs.list()
        [record] = [record async for record in history]
        await rig.clock.advance(0.0)
        assert wait.done()
        run = await wait
        assert (run.id, run.state, run.raw["run"]) == (record.id, RunState.COMPLETED, record.raw)


async def test_a_list_has_no_task_runs() -> None:
    """Runs that are found to be delegated are read by themselves, and reach the end of their tasks."""
    async with agh_rig(scripts={"task": script(("running", 25.0), "completed")}) as rig:
        job = rig.job("task", task={})
        ids = [(await rig.done(rig.agh.jobs.trigger(job))).id for _ in range(5)]
        waits = [await rig.begin(_end(rig.agh.runs.follow(each))) for each in ids]
        await rig.clock.advance(60.0)
        assert {wait.result().state for wait in waits} == {RunState.COMPLETED}


async def test_a_policy_that_cannot_be_read_holds_up_no_other_run() -> None:
    """Failed runs whose owner cannot be read are left out of their list, asked for once, and read by themselves."""
    records = {
        name: {
            "id": name,
            "job_id": "j",
            "status": "running",
            "attempt": 1,
            "fire_id": name,
            "started_at": "2026-01-05T10:00:00Z",
        }
        for name in ("run_a", "run_b", "run_c")
    }

    def answer(request: Request) -> Reply | None:
        if request.call == "jobs.get":
            return Reply(500, {}, b"{}")
        listed = {"runs": list(records.values())}
        name = request.url.rpartition("/")[2]
        return Reply(200, {}, json.dumps({"run": records[name]} if name in records else listed).encode())

    async with agh_rig() as rig:
        rig.send.before = answer
        waits = [await rig.begin(_end(rig.agh.runs.follow(name))) for name in records]
        await rig.clock.advance(11.0)
        for record, status in zip(records.values(), ("failed", "failed", "completed"), strict=True):
            record.update(status=status, ended_at="2026-01-05T10:05:00Z")
        await rig.clock.advance(10.0)
        assert [wait.done() for wait in waits] == [False, False, True]
        polls = (
            len(rig.calls("runs.list")) + len(rig.calls("runs.get")) - 3
        )  # of which three found them running
        assert len(rig.calls("jobs.get")) == polls
        assert {event.ref.id for event in rig.events_of(PollFailed)} == {"run_a", "run_b"}


async def test_old_runs_are_found_by_their_time() -> None:
    """Runs that lie far back are listed by when they began, not among the newest ones."""
    scripts = {"long": script(("running", 300.0), "completed"), "short": script("completed")}
    async with agh_rig(scripts=scripts) as rig:
        job = rig.job("long")
        handles = [await rig.done(rig.agh.jobs.trigger(job)) for _ in range(2)]
        waits = [await rig.begin(_end(handle)) for handle in handles]
        for _ in range(4):
            await rig.clock.advance(5.0)
            await rig.done(rig.agh.jobs.trigger(job))
        await rig.clock.advance(300.0)
        assert all(wait.done() for wait in waits)
        assert rig.calls("runs.get") == []


async def test_references() -> None:
    """A reference follows the run from anywhere; other vendors' references are refused."""
    async with agh_rig(scripts={"a": script(("running", 5.0), "completed")}) as rig:
        handle = await rig.done(rig.agh.jobs.trigger(rig.job("a")))
        again = rig.agh.attach(str(handle.ref))
        assert again.ref == handle.ref
        await rig.done(again.wait())
        for ref in ("leap:/x", RunRef("agh", "elsewhere", "x"), "agh:127.0.0.1;x/x"):
            with pytest.raises(BadReference, match="not a run of agh"):
                rig.agh.attach(ref)
        with pytest.raises(ValueError, match="run_id"):
            rig.agh.runs.follow(" ")


async def test_a_run_that_is_not_there() -> None:
    """A wait for an unknown run raises NotFound; one for a run just started goes on at first."""
    async with agh_rig(scripts={"a": script(("running", 500.0), "completed")}) as rig:
        with pytest.raises(NotFound):
            await rig.done(rig.agh.runs.follow("run-none").wait())
        handle = await rig.done(rig.agh.jobs.trigger(rig.job("a")))
        rig.answer("runs.get", *[Reply(404, {}, b'{"error": "no"}')] * 2)
        wait = await rig.begin(_end(handle))
        await rig.clock.advance(25.0)
        assert not wait.done()
        assert len(rig.events_of(PollFailed)) == 2


@pytest.mark.parametrize("body", [b"", b"{}", b'{"run":{}}', b'{"run":{"id":"x"}}', b'{"run":[]}'])
async def test_answers_that_cannot_be_read(body: bytes) -> None:
    """An answer without a run or its status raises DecodeError with the path."""
    async with agh_rig(scripts={"a": script(("running", 500.0), "completed")}) as rig:
        rig.answer("runs.get", *[Reply(200, {}, body)] * 9)
        with pytest.raises(DecodeError, match=r"runs\.get"):
            await rig.done(rig.agh.runs.follow("run-1").wait(), within=300.0)


async def test_a_server_without_a_date() -> None:
    """Without a date in the answer our own clock says whether a failed record is final."""
    scripts = {"hook": script(("running", 1.0), "failed", ("running", 1.0), "completed")}
    async with agh_rig(scripts=scripts, cadence=Steady(1.0)) as rig:
        rig.send.after = lambda _, reply: Reply(reply.status, {}, reply.body)
        trigger = rig.trigger("hook", retry=BACKOFF)
        await rig.begin(_deliver(rig, trigger))
        handle = rig.agh.runs.follow(webhook_run_id(trigger, "d-1"))
        assert (await rig.done(handle.wait())).state is RunState.COMPLETED


def _spread() -> Callable[[], float]:
    """Return a source of chances that are spread evenly."""
    numbers = itertools.count()
    return lambda: (next(numbers) * 0.618034) % 1.0


async def _deliver(rig: AghRig, trigger: str) -> Any:
    endpoint = await rig.endpoint(trigger)
    return await rig.agh.webhooks.deliver(endpoint, {}, secret=SECRET, delivery_id="d-1")


async def _one(rig: AghRig, job: str) -> RunHandle:
    return await rig.agh.jobs.trigger(job)


async def _end(handle: RunHandle) -> Any:
    return await handle
