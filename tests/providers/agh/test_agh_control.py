"""Cancelling runs of AGH Runtime, and answering their tasks."""

import json
from typing import Any

import pytest

from aioagents import Conflict, Learned, NotFound, ReplyLost, RunHandle, RunState, Unsupported
from aioagents.contract.fake import RunPlan
from aioagents.model import Reply, Request
from aioagents.observe import CancelSent
from aioagents.providers.agh.fake import FakeAgh
from tests.providers.agh.agh_fake_rig import Client
from tests.providers.agh.agh_rig import SECRET, agh_rig, script

_ENDLESS = {"endless": script("running")}


async def test_session_of_a_job_run_is_stopped() -> None:
    """A run of a job is cancelled by stopping its session; the server calls it completed, only the handle knows."""
    async with agh_rig(scripts=_ENDLESS) as r:
        run = await r.done(r.agh.jobs.trigger(r.job("endless")))
        waiter = await r.begin(run.wait())
        await r.done(run.cancel(reason="not needed"))
        await r.clock.advance(0)
        end = await waiter
        assert (end.state, end.status, run.is_cancel_requested) == (RunState.COMPLETED, "completed", True)
        (stop,) = r.calls("sessions.stop")
        session = end.raw["run"]["session_id"]
        assert stop.url.endswith(f"/api/workspaces/ws-global/sessions/{session}/stop")
        (event,) = r.events_of(CancelSent)
        assert (event.run, event.error) == (None, None)


async def test_session_is_stopped_in_the_workspace_of_its_job() -> None:
    """The list of sessions says in which workspace a run's session is."""
    async with agh_rig(scripts=_ENDLESS) as r:
        run = await r.done(r.agh.jobs.trigger(r.job("endless", scope="workspace", workspace_id="ws-1")))
        await r.done(run.cancel())
        assert "/api/workspaces/ws-1/sessions/" in r.calls("sessions.stop")[0].url
        assert (await run.poll()).status == "completed"


async def test_run_without_a_session_yet_is_waited_for() -> None:
    """A run that has not begun has no session to stop: its record is read again until it names one."""
    async with agh_rig(scripts={"slow": script(("scheduled", 3.0), "running")}) as r:
        run = await r.done(r.agh.jobs.trigger(r.job("slow")))
        await r.done(run.cancel())
        assert len(r.calls("sessions.stop")) == 1
        assert (await run.poll()).status == "completed"
        assert run.is_cancel_requested


async def test_run_that_never_gets_a_session() -> None:
    """A run that has none within sixteen seconds is not cancelled, and nothing says that it was."""
    async with agh_rig(scripts={"stuck": script("scheduled")}) as r:
        run = await r.done(r.agh.jobs.trigger(r.job("stuck")))
        with pytest.raises(Conflict) as caught:
            await r.done(run.cancel())
        assert caught.value.reason == "no-session"
        assert r.calls("sessions.stop") == []
        assert not run.is_cancel_requested


async def test_session_that_is_not_listed() -> None:
    """A session that the runtime does not know raises NotFound, unless its run has ended."""
    async with agh_rig(scripts=_ENDLESS) as r:
        run = await r.done(r.agh.jobs.trigger(r.job("endless")))
        for body in (b'{"sessions": []}', b'{"sessions": null}', b'{"sessions": [1, {"id": 2}]}'):
            r.answer("sessions.list", Reply(200, {}, body))
            with pytest.raises(NotFound):
                await r.done(run.cancel())
        assert not run.is_cancel_requested


async def test_session_that_is_over_when_it_is_stopped() -> None:
    """A run that ends between the list of sessions and the stop keeps its end."""
    async with agh_rig(scripts={"short": script(("running", 25.0), "completed")}) as r:
        run = await r.done(r.agh.jobs.trigger(r.job("short")))
        listed = Client(r.fake).json("GET", "/api/sessions", now=r.send.now)
        await r.clock.advance(30)
        await run.poll()
        other = r.agh.runs.follow(run.id)
        r.answer(
            "runs.get", Reply(200, {}, json.dumps({"run": {**_record(run), "status": "running"}}).encode())
        )
        assert listed["sessions"][0]["state"] == "active"
        await r.done(other.cancel())
        assert len(r.calls("sessions.stop")) == 1
        assert other.last is not None
        assert (other.last.status, other.is_cancel_requested) == ("completed", False)


async def test_run_between_two_attempts_has_no_session() -> None:
    """The session of an attempt that failed is over: the one of the next attempt is stopped."""
    steps = script(("running", 5.0), "failed", "running")
    backoff = {"strategy": "backoff", "max_retries": 2, "base_delay": "4s"}
    async with agh_rig(scripts={"hook": steps}) as r:
        trigger = r.trigger("hook", retry=backoff)
        delivery = await r.begin(
            r.agh.webhooks.deliver(await r.endpoint(trigger), {}, secret=SECRET, trigger_id=trigger)
        )
        await r.clock.advance(7)
        (record,) = [each async for each in r.agh.triggers.runs(trigger)]
        assert record.status == "failed"
        run = r.agh.runs.follow(record.id)
        await r.done(run.cancel())
        assert (await run.poll()).raw["run"]["attempt"] == 2
        assert (await run.poll()).status == "completed"
        delivery.cancel()


async def test_reason_of_a_task_run() -> None:
    """The reason goes to the server where its call takes one: for task runs."""
    async with agh_rig(scripts={"task": script("running")}) as r:
        run = await r.done(r.agh.jobs.trigger(r.job("task", task={})))
        await run.cancel("not needed")
        assert json.loads(r.calls("task-runs.cancel")[0].body or b"") == {"reason": "not needed"}
        assert run.last is not None
        assert (run.last.state, run.last.status) == (RunState.ABORTED, "canceled")


async def test_task_run_that_needs_attention_is_not_cancelled() -> None:
    """The server refuses that; the run goes on, and nothing says that it was cancelled."""
    async with agh_rig(scripts={"stuck": script("queued", "needs_attention")}) as r:
        run = await r.done(r.agh.jobs.trigger(r.job("stuck", task={})))
        await r.clock.advance(1)
        with pytest.raises(Conflict):
            await run.cancel()
        assert not run.is_cancel_requested
        assert run.last is not None


async def test_cancel_of_a_task_run_whose_reply_was_lost() -> None:
    """The second request is refused since the first was acted upon: the run was cancelled by this process."""
    async with agh_rig(scripts={"task": script("running")}) as r:
        run = await r.done(r.agh.jobs.trigger(r.job("task", task={})))
        lost = [True]

        def after(request: Request, reply: Reply) -> Reply:
            if request.call == "task-runs.cancel" and lost:
                lost.clear()
                raise ReplyLost("reset")
            return reply

        r.send.after = after
        await r.done(run.cancel())
        assert [request.call for request in r.send.sent].count("task-runs.cancel") == 2
        assert run.is_cancel_requested
        assert run.last is not None
        assert run.last.state is RunState.ABORTED


async def test_approving_and_rejecting() -> None:
    """A pending approval is decided once; a second decision is a conflict, unless the first one's reply was lost."""
    async with agh_rig(scripts={"task": script("queued")}) as r:
        for answer in ("approve", "reject"):
            run = await r.done(r.agh.jobs.trigger(r.job("task", task={})))
            with pytest.raises(Conflict):
                await run.answer(answer)
            r.fake.pause_task(run.id, needs_approval=True)
            await run.answer(answer)
            with pytest.raises(Conflict):
                await run.answer(answer)
            assert len(r.calls(f"tasks.{answer}")) == 3


async def test_run_that_was_not_delegated_takes_no_answer() -> None:
    """A run that has a session, and no task, asks nothing."""
    async with agh_rig(scripts=_ENDLESS) as r:
        run = await r.done(r.agh.jobs.trigger(r.job("endless")))
        with pytest.raises(Unsupported):
            await run.answer("resume")
        assert r.calls("tasks.resume") == []


def test_prompt_of_a_session_is_cancelled_in_the_fake_server() -> None:
    """An agent whose prompt is cancelled stops, and its run is completed; a second time changes nothing."""
    client = Client(FakeAgh(RunPlan(scripts=_ENDLESS)))
    job = client.fake.install_job(
        {
            "scope": "global",
            "name": "endless",
            "agent_name": "a",
            "prompt": "p",
            "schedule": {"mode": "every", "interval": "9000h"},
        }
    )
    client.send("POST", f"/api/automation/jobs/{job}/trigger")
    (session,) = client.json("GET", "/api/sessions")["sessions"]
    path = f"/api/workspaces/{session['workspace_id']}/sessions/{session['id']}"
    assert client.status("POST", f"/api/workspaces/ws-other/sessions/{session['id']}/stop") == 404
    assert client.status("POST", f"{path}/prompt/cancel") == 200
    assert client.status("POST", f"{path}/prompt/cancel") == 200
    assert client.status("POST", f"{path}/stop") == 404
    (run,) = client.json("GET", "/api/automation/runs")["runs"]
    assert run["status"] == "completed"


def _record(run: RunHandle) -> Any:
    assert run.last is not None
    return run.last.raw["run"]


async def test_cadence_learns_no_duration_of_a_run_that_was_cancelled() -> None:
    """A run that was cut short says nothing of how long such runs last; one that ended by itself does."""
    cadence = Learned()
    scripts = {"task": script(("running", 1000.0), "completed")}
    async with agh_rig(scripts=scripts, cadence=cadence) as r:
        job = r.job("task", task={})
        for is_cancelled in (True, False):
            run = await r.done(r.agh.jobs.trigger(job))
            waiter = await r.begin(run.wait())
            await r.clock.advance(500)
            key = f"agh:{job}:running"
            before = cadence.remembered(key)
            if is_cancelled:
                await run.cancel()
            await r.clock.advance(700)
            assert (await waiter).state.is_terminal
            assert (cadence.remembered(key) > before) is not is_cancelled
