"""Jobs of AGH Runtime: the client against its fake, and the error of every refusal."""

import asyncio
import json
import pickle
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from aioagents import (
    AgentsError,
    Agh,
    BadRequest,
    Conflict,
    DecodeError,
    ForeignReply,
    NotFound,
    NotSent,
    PermissionDenied,
    PoolClosed,
    ReplyLost,
    RetryPolicy,
    ServerError,
    SessionPool,
    StartUnknown,
    TransportError,
)
from aioagents.model import Reply, Request
from aioagents.observe import RunStarted, StartAbandoned
from aioagents.providers.agh import PROVIDER, FireLimit, Job, JobTask, Retry, Schedule, TaskOwner
from aioagents.providers.agh.fake import AghRules
from tests.fakes import FakeClock, FakeSend, settle
from tests.providers.agh.agh_rig import GLOBAL, YEARLY, AghRig, agh_rig

_DIGEST: dict[str, Any] = {
    "scope": "global",
    "name": "nightly-digest",
    "agent_name": "writer",
    "prompt": "Summarise yesterday's changes.",
    "schedule": Schedule.cron("15 2 * * *"),
}
_ERROR = b'{"error": "no"}'


async def _digest(r: AghRig, **members: Any) -> Job:
    return await r.agh.jobs.create(**{**_DIGEST, **members})


# Round trips


async def test_job_from_creation_to_deletion() -> None:
    """A job is made, read, listed, changed and deleted; its history outlives it."""
    async with agh_rig() as r:
        made = await _digest(r, retry=Retry.backoff(2, "5s"), fire_limit=FireLimit(4, timedelta(hours=1)))
        assert made.id.startswith("job-")
        assert (made.name, made.source, made.enabled) == ("nightly-digest", "dynamic", True)
        assert (made.retry, made.fire_limit) == (Retry.backoff(2, "5s"), FireLimit(4, "1h"))
        assert made.next_run == datetime(2026, 1, 6, 2, 15, tzinfo=UTC)
        assert made.scheduler is not None
        assert made.scheduler.registered
        assert await r.agh.jobs.get(made.id) == made
        assert await r.agh.jobs.list() == [made]
        changed = await r.agh.jobs.update(made.id, enabled=False, prompt="Be brief.")
        assert (changed.enabled, changed.prompt, changed.next_run) == (False, "Be brief.", None)
        assert (changed.schedule, changed.retry) == (made.schedule, made.retry)
        await r.agh.jobs.delete(made.id)
        with pytest.raises(NotFound):
            await r.agh.jobs.get(made.id)
        assert await r.agh.jobs.list() == []


async def test_what_goes_over_the_wire() -> None:
    """Requests go to the paths of the vendor's page, as JSON, without a signature and without an Origin."""
    async with agh_rig() as r:
        job = await _digest(r, enabled=False)
        await r.agh.jobs.get(job.id)
        await r.agh.jobs.update(job.id, enabled=True)
        await r.agh.jobs.list(scope="global", source="dynamic", limit=3)
        [run async for run in r.agh.jobs.runs(job.id)]
        await r.agh.jobs.delete(job.id)
        base = "http://127.0.0.1:2123/api/automation/jobs"
        assert [(each.call, each.method, each.url) for each in r.send.sent] == [
            ("jobs.create", "POST", base),
            ("jobs.get", "GET", f"{base}/{job.id}"),
            ("jobs.update", "PATCH", f"{base}/{job.id}"),
            ("jobs.list", "GET", f"{base}?scope=global&source=dynamic&limit=3"),
            ("jobs.runs", "GET", f"{base}/{job.id}/runs?limit=200"),
            ("jobs.delete", "DELETE", f"{base}/{job.id}"),
        ]
        created, _, updated, *_ = r.send.sent
        assert json.loads(created.body or b"") == {
            **_DIGEST,
            "schedule": {"mode": "cron", "expr": "15 2 * * *"},
            "enabled": False,
        }
        assert updated.body == b'{"enabled":true}'
        for each in r.send.sent:
            assert not {"origin", "authorization", "cookie"} & {name.lower() for name in each.headers}


async def test_job_that_hands_over_a_task() -> None:
    """A job of a workspace with a task needs neither agent nor prompt, and keeps what was given."""
    async with agh_rig() as r:
        task = JobTask(title="Triage", network_channel="ops", owner=TaskOwner("pool", "triage"))
        job = await r.agh.jobs.create(
            scope="workspace", workspace_id="ws-1", name="triage", schedule=Schedule.every(60), task=task
        )
        assert (job.task, job.workspace_id, job.agent_name) == (task, "ws-1", "")
        assert job.schedule == Schedule.every("1m")
        replaced = await r.agh.jobs.update(job.id, task={"title": "Sort"})
        assert replaced.task == JobTask(title="Sort")


async def test_defaults_of_the_server() -> None:
    """The server sets what is left out: enabled, no retries, 12 runs within an hour."""
    async with agh_rig() as r:
        job = await _digest(r)
        assert (job.enabled, job.retry, job.fire_limit) == (True, Retry.none(), FireLimit(12, "1h"))


async def test_job_at_a_moment_that_is_over() -> None:
    """A job whose only moment lies in the past is made, and has no next run."""
    async with agh_rig() as r:
        job = await _digest(r, schedule=Schedule.at("2025-01-01T00:00:00Z"))
        assert (job.enabled, job.next_run, job.scheduler) == (True, None, None)


async def test_lists_are_filtered() -> None:
    """Lists are by name, and can be filtered by scope, workspace and source; limit 0 means all."""
    async with agh_rig() as r:
        names = ["charlie", "alpha", "bravo"]
        for name in names:
            await _digest(r, name=name)
        await _digest(r, name="delta", scope="workspace", workspace_id="ws-1")
        r.fake.install_job({**GLOBAL, "schedule": YEARLY, "name": "echo"}, source="package")
        jobs = r.agh.jobs
        assert [job.name for job in await jobs.list()] == [*sorted(names), "delta", "echo"]
        assert [job.name for job in await jobs.list(scope="workspace")] == ["delta"]
        assert [job.name for job in await jobs.list(workspace_id="ws-1")] == ["delta"]
        assert [job.name for job in await jobs.list(source="package")] == ["echo"]
        assert [job.name for job in await jobs.list(limit=2)] == ["alpha", "bravo"]
        assert len(await jobs.list(limit=0)) == 5


# Refused before anything is sent


@pytest.mark.parametrize(
    ("change", "words", "kind"),
    [
        ({"schedule": {"mode": "every", "interval": "0s"}}, r"schedule\.interval: ", ValueError),
        ({"scope": "workspace"}, "workspace_id: ", ValueError),
        ({"prompt": ""}, "prompt: ", ValueError),
        (
            {"task": {}, "retry": {"strategy": "backoff", "max_retries": 1, "base_delay": "1s"}},
            "retry",
            ValueError,
        ),
        ({"enabled": "yes"}, "enabled: ", TypeError),
    ],
)
async def test_creations_that_are_not_sent(change: Any, words: str, kind: type[Exception]) -> None:
    """What the server would refuse is refused without a request."""
    async with agh_rig() as r:
        with pytest.raises(kind, match=f"^{words}"):
            await _digest(r, **change)
        assert r.send.sent == []


@pytest.mark.parametrize(
    ("changes", "words", "kind"),
    [
        ({}, "there is nothing to change", ValueError),
        ({"name": None}, "name: the server ignores null", ValueError),
        ({"scope": "global"}, "scope: cannot be changed", ValueError),
        ({"nmae": "x"}, "nmae: cannot be changed", TypeError),
        ({"fire_limit": {"max": 0, "window": "1h"}}, r"fire_limit\.max: ", ValueError),
    ],
)
async def test_changes_that_are_not_sent(changes: Any, words: str, kind: type[Exception]) -> None:
    """A change that changes nothing or cannot be is refused without a request."""
    async with agh_rig() as r:
        with pytest.raises(kind, match=f"^{words}"):
            await r.agh.jobs.update("job-1", **changes)
        assert r.send.sent == []


@pytest.mark.parametrize("job_id", ["", " ", "..", None, 5])
async def test_ids_that_are_not_sent(job_id: Any) -> None:
    """What cannot be an id is refused by every verb that takes one."""
    async with agh_rig() as r:
        jobs = r.agh.jobs
        for verb in (jobs.get, jobs.delete, lambda job_id: jobs.update(job_id, enabled=True)):
            with pytest.raises((ValueError, TypeError), match=r"^job_id"):
                await verb(job_id)
        with pytest.raises((ValueError, TypeError), match=r"^job_id"):
            jobs.runs(job_id)
        assert r.send.sent == []


@pytest.mark.parametrize("asked", [{"scope": "all"}, {"source": "file"}, {"workspace_id": ""}, {"limit": -1}])
async def test_lists_that_are_not_sent(asked: Any) -> None:
    """A filter that the server does not know is refused without a request."""
    async with agh_rig() as r:
        with pytest.raises(ValueError, match=next(iter(asked))):
            await r.agh.jobs.list(**asked)
        assert r.send.sent == []


# Refused by the server


async def test_unknown_job() -> None:
    """A job that is not there is NotFound, also when it is to be changed, deleted or asked for its runs."""
    async with agh_rig() as r:
        jobs = r.agh.jobs
        for work in (jobs.get("job-0"), jobs.update("job-0", enabled=True), jobs.delete("job-0")):
            with pytest.raises(NotFound) as caught:
                await work
            assert (caught.value.status, caught.value.vendor) == (404, "agh")
        with pytest.raises(NotFound):
            await anext(jobs.runs("job-0"))


async def test_jobs_of_the_configuration() -> None:
    """A job from the configuration can be enabled and disabled; all else is a bad request."""
    async with agh_rig() as r:
        job_id = r.fake.install_job({**GLOBAL, "schedule": YEARLY, "name": "kept"}, source="config")
        assert not (await r.agh.jobs.update(job_id, enabled=False)).enabled
        for work in (r.agh.jobs.update(job_id, name="mine"), r.agh.jobs.delete(job_id)):
            with pytest.raises(BadRequest) as caught:
                await work
            assert caught.value.status == 400


async def test_jobs_of_a_package() -> None:
    """A job from a package can be neither changed nor deleted: a conflict whose reason says so."""
    async with agh_rig() as r:
        job_id = r.fake.install_job({**GLOBAL, "schedule": YEARLY, "name": "kept"}, source="package")
        for work in (r.agh.jobs.update(job_id, enabled=False), r.agh.jobs.delete(job_id)):
            with pytest.raises(Conflict) as caught:
                await work
            assert (caught.value.status, caught.value.reason) == (409, "read-only")


async def test_name_that_is_taken() -> None:
    """Where names are unique, a second one is a conflict, and nothing is unknown about it."""
    async with agh_rig(rules=AghRules(unique_names=True)) as r:
        await _digest(r)
        with pytest.raises(Conflict) as caught:
            await _digest(r)
        assert caught.value.reason == "name"


@pytest.mark.parametrize("verb", ["list", "create", "get", "update", "delete", "runs"])
@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, BadRequest),
        (403, PermissionDenied),
        (404, NotFound),
        (409, Conflict),
        (413, BadRequest),
        (422, BadRequest),
        (500, ServerError),
        (503, ServerError),
    ],
)
async def test_every_status_is_its_error(verb: str, status: int, kind: type[AgentsError]) -> None:
    """Each status of the vendor's tables, and those beyond them, raise the error of that name from every verb.

    Only a creation that is answered with 500 cannot be known to have failed.
    """
    async with agh_rig(retry=RetryPolicy(attempts=1)) as r:
        r.answer(f"jobs.{verb}", Reply(status, {}, _ERROR))
        if (verb, status) == ("create", 500):
            kind = StartUnknown
        with pytest.raises(kind) as caught:
            await _call(r.agh, verb)
        assert caught.value.status == status
        assert "no" not in str(caught.value).split()


async def _call(agh: Agh, verb: str) -> Any:
    match verb:
        case "list":
            return await agh.jobs.list()
        case "create":
            return await agh.jobs.create(**_DIGEST)
        case "update":
            return await agh.jobs.update("job-1", enabled=True)
        case "runs":
            return await anext(agh.jobs.runs("job-1"))
        case _:
            return await getattr(agh.jobs, verb)("job-1")


@pytest.mark.parametrize("body", [b"", b"<html>no</html>", b"[]", b"{}", b'{"error": null}', b"\xff\xfe"])
async def test_refusals_of_any_form(body: bytes) -> None:
    """An error body that is empty, no JSON or without words is not the runtime's, and is no conflict."""
    async with agh_rig() as r:
        r.answer("jobs.get", *[Reply(409, {"content-type": "text/plain"}, body)] * 5)
        with pytest.raises(ForeignReply) as caught:
            await r.done(r.agh.jobs.get("job-1"))
        assert (caught.value.status, caught.value.tries) == (409, 5)


async def test_automation_that_is_switched_off() -> None:
    """Where automation is off, every call ends as a ServerError of 503 after the tries it has."""
    async with agh_rig(rules=AghRules(is_enabled=False), retry=RetryPolicy(attempts=3)) as r:
        for verb in ("list", "create", "get", "update", "delete", "runs"):
            with pytest.raises(ServerError) as caught:
                await r.done(_call(r.agh, verb))
            assert caught.value.status == 503
            assert len(r.calls(f"jobs.{verb}")) == 3


async def test_daemon_that_lets_nobody_in() -> None:
    """A daemon that is bound to more than loopback refuses with 403, at once."""
    async with agh_rig(rules=AghRules(is_exposed=True)) as r:
        with pytest.raises(PermissionDenied):
            await r.agh.jobs.list()
        assert len(r.send.sent) == 1


async def test_answers_of_the_wrong_shape() -> None:
    """An answer without a job raises DecodeError with the path, for a creation StartUnknown."""
    async with agh_rig() as r:
        r.answer("jobs.get", Reply(200, {}, b'{"job": {}}'))
        with pytest.raises(DecodeError) as caught:
            await r.agh.jobs.get("job-1")
        assert caught.value.path == "$.job.id"
        r.answer("jobs.create", Reply(201, {}, b"{}"))
        with pytest.raises(StartUnknown):
            await _digest(r)


# Trying again


@pytest.mark.parametrize("fault", [ReplyLost("cut"), NotSent("refused"), Reply(500), Reply(503), Reply(502)])
async def test_calls_that_are_tried_again(fault: Any) -> None:
    """Reads, changes and deletions are retried after passing errors, and succeed."""
    async with agh_rig() as r:
        job = await _digest(r)
        for verb, work in (
            ("list", r.agh.jobs.list),
            ("get", lambda: r.agh.jobs.get(job.id)),
            ("update", lambda: r.agh.jobs.update(job.id, enabled=False)),
            ("delete", lambda: r.agh.jobs.delete(job.id)),
        ):
            r.answer(f"jobs.{verb}", fault)
            await r.done(work())
            first, second = r.calls(f"jobs.{verb}")
            assert (first.url, first.body) == (second.url, second.body)


@pytest.mark.parametrize("fault", [NotSent("refused"), Reply(503, {}, b'{"error": "off"}'), Reply(429)])
async def test_creations_that_are_tried_again(fault: Any) -> None:
    """A creation that surely made nothing is retried, and makes one job."""
    async with agh_rig() as r:
        r.answer("jobs.create", fault)
        job = await r.done(_digest(r))
        assert await r.done(r.agh.jobs.list()) == [job]
        assert len(r.calls("jobs.create")) == 2


async def test_creation_whose_answer_is_lost() -> None:
    """A creation whose answer is lost is not sent again: it may have made a job, and the error says so."""
    async with agh_rig() as r:
        r.lose("jobs.create", lambda: ReplyLost("cut", call="jobs.create"))
        with pytest.raises(
            StartUnknown, match=r"whether jobs\.create created a job cannot be known"
        ) as caught:
            await r.done(_digest(r))
        error = caught.value
        assert (error.vendor, error.call, error.target) == ("agh", "jobs.create", "nightly-digest")
        assert "List the jobs" in error.advice
        assert json.loads(error.body or b"")["name"] == "nightly-digest"
        assert isinstance(error.__cause__, ReplyLost)
        assert pickle.loads(pickle.dumps(error)).target == "nightly-digest"  # noqa: S301
        assert len(await r.agh.jobs.list()) == len(r.calls("jobs.create")) == 1
        assert r.pool.statistics().starts == 0
        assert r.events_of(RunStarted) == []


async def test_creations_are_no_starts() -> None:
    """Making a job starts no run: nothing is counted or reported as one."""
    async with agh_rig() as r:
        await _digest(r)
        assert r.pool.statistics().starts == 0
        assert r.events_of(RunStarted) == []


async def test_cancelled_creation_is_reported() -> None:
    """A creation whose caller is cancelled while it is in flight goes on, and is reported as abandoned."""
    async with agh_rig() as r:
        out = asyncio.Event()

        def let_go(_: Request) -> None:
            out.set()

        r.send.before = let_go
        task = asyncio.ensure_future(_digest(r))
        await out.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await settle()
        (body,) = r.events_of(StartAbandoned)
        assert (body.target, body.error) == ("nightly-digest", None)
        assert len(await r.agh.jobs.list()) == 1


async def test_deletion_that_was_done_by_an_earlier_try() -> None:
    """When the answer to a deletion is lost, the 404 of the next try means that it is done."""
    async with agh_rig() as r:
        job = await _digest(r)
        faults = [ReplyLost("cut", call="jobs.delete")]

        def after(request: Any, reply: Reply) -> Reply:
            if request.call == "jobs.delete" and faults:
                raise faults.pop()
            return reply

        r.send.after = after
        await r.done(r.agh.jobs.delete(job.id))
        assert len(r.calls("jobs.delete")) == 2
        assert await r.agh.jobs.list() == []


async def test_deletion_of_what_was_never_there() -> None:
    """The 404 of a first try is an error."""
    async with agh_rig() as r:
        with pytest.raises(NotFound) as caught:
            await r.agh.jobs.delete("job-0")
        assert caught.value.tries == 1


# The client itself


async def test_client_from_the_environment() -> None:
    """Nothing has to be set; a base URL that is no such thing is refused by its name."""
    async with agh_rig() as r:
        assert "http://localhost:2123" in repr(Agh.from_env(r.pool, {}))
        named = Agh.from_env(r.pool, {"AGH_BASE_URL": "http://127.0.0.1:2123/"})
        assert repr(named) == repr(r.agh) == "<Agh at http://127.0.0.1:2123>"
        assert set(PROVIDER.variables) == {"AGH_BASE_URL"}
        for url in ("ftp://x", "http://agh.example.com", "http://localhost?x=1"):
            with pytest.raises(ValueError, match="base_url: "):
                Agh.from_env(r.pool, {"AGH_BASE_URL": url})
        assert "agh.example.com" in repr(Agh(r.pool, base_url="http://agh.example.com", allow_insecure=True))


async def test_clients_of_one_runtime_share_its_limits() -> None:
    """Two clients of one runtime have one account; one of another runtime has its own."""
    async with agh_rig() as r:
        Agh(r.pool, base_url="http://127.0.0.1:2123/")
        assert len(r.pool.statistics().accounts) == 1
        Agh(r.pool, base_url="http://127.0.0.1:2124")
        assert len(r.pool.statistics().accounts) == 2


async def test_check_asks_for_the_status() -> None:
    """A check is one read of the status, whose failure is raised."""
    async with agh_rig(retry=RetryPolicy(attempts=1)) as r:
        await r.agh.check()
        (request,) = r.send.sent
        assert (request.method, request.url) == ("GET", "http://127.0.0.1:2123/api/status")
        for fault, kind in ((Reply(503), ServerError), (NotSent("refused"), TransportError)):
            r.answer("status", fault)
            with pytest.raises(kind):
                await r.agh.check()


async def test_calls_need_an_open_pool() -> None:
    """In a pool that is not open every verb raises PoolClosed, and sends nothing."""
    clock = FakeClock()
    send = FakeSend(clock=clock)
    agh = Agh(SessionPool(clock=clock, send=send))
    for verb in ("list", "create", "get", "update", "delete", "runs"):
        with pytest.raises(PoolClosed):
            await _call(agh, verb)
    with pytest.raises(PoolClosed):
        await agh.check()
    assert send.sent == []
