"""Runs of AGH Runtime: single records and histories, against the fake."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from aioagents import BadRequest, NotFound, PermissionDenied, ReplyLost, RetryPolicy, ServerError
from aioagents.model import Reply
from aioagents.providers.agh import AutomationRun, RunHistory
from aioagents.providers.agh.fake import AghRules, Record
from tests.fakes import EPOCH
from tests.providers.agh.agh_rig import AghRig, agh_rig

_START = int(EPOCH.timestamp()) * 10**9


def _fill(r: AghRig, count: int, *, job_id: str = "", every: float = 1.0, **facts: Any) -> list[str]:
    """Add runs to the history, nanoseconds or seconds apart, and return their ids, newest first."""
    ids = []
    for number in range(count):
        run_id = f"run-{number:016x}"
        started = _START - 3600 * 10**9 + int(number * every * 10**9)
        r.fake.install_record(
            Record(
                **{
                    "id": run_id,
                    "job_id": job_id or "job-1",
                    "started_at": started,
                    "status": "completed",
                    "ended_at": started + 10**9,
                    **facts,
                }
            )
        )
        ids.append(run_id)
    return ids[::-1]


async def _ids(history: RunHistory) -> list[str]:
    return [run.id async for run in history]


async def test_one_record() -> None:
    """A record is read by its id; one that is not there is NotFound."""
    async with agh_rig() as r:
        (run_id,) = _fill(r, 1, session_id="sess-1")
        run = await r.agh.runs.get(run_id)
        assert isinstance(run, AutomationRun)
        assert (run.id, run.job_id, run.status, run.session_id) == (run_id, "job-1", "completed", "sess-1")
        assert run.started_at == datetime(2026, 1, 5, 8, tzinfo=UTC)
        with pytest.raises(NotFound):
            await r.agh.runs.get("run-none")
        assert [each.url for each in r.send.sent] == [
            f"http://127.0.0.1:2123/api/automation/runs/{each}" for each in (run_id, "run-none")
        ]


@pytest.mark.parametrize("every", [1.0, 1e-9, 0.0, 0.25])
@pytest.mark.parametrize("page_size", [1, 7, 50, 200])
async def test_whole_history(every: float, page_size: int) -> None:
    """Whatever lies between runs, and however large pages are, each comes once, newest first."""
    async with agh_rig() as r:
        ids = _fill(r, 50, every=every)
        assert await _ids(r.agh.runs.list(page_size=page_size)) == ids


async def test_pages_are_asked_for_with_the_servers_own_text() -> None:
    """The bound of the next page is the oldest start as the server wrote it, percent-encoded."""
    async with agh_rig() as r:
        _fill(r, 5, every=1e-9)
        assert len(await _ids(r.agh.runs.list(page_size=3))) == 5
        assert [each.url.partition("?")[2] for each in r.send.sent] == [
            "limit=3",
            "limit=3&until=2026-01-05T08%3A00%3A00.000000002Z",
            "limit=3&until=2026-01-05T08%3A00%3A00Z",
        ]


@pytest.mark.parametrize(("limit", "count"), [(1, 1), (7, 7), (8, 8), (50, 20), (0, 20), (None, 20)])
async def test_limit_bounds_the_whole(limit: int | None, count: int) -> None:
    """A limit says how many runs come, over all pages; 0 and None say all. No page is asked for in vain."""
    async with agh_rig() as r:
        ids = _fill(r, 20)
        assert await _ids(r.agh.runs.list(limit=limit, page_size=7)) == ids[:count]
        assert r.send.sent[0].url.endswith(f"?limit={min(limit or 7, 7)}")
        if limit == 7:
            assert len(r.send.sent) == 1


async def test_pages_are_read_as_they_are_needed() -> None:
    """Nothing is asked for before somebody iterates, and no page before it is needed."""
    async with agh_rig() as r:
        ids = _fill(r, 20)
        history = r.agh.runs.list(page_size=5)
        assert r.send.sent == []
        assert [(await anext(history)).id for _ in range(5)] == ids[:5]
        assert len(r.send.sent) == 1
        assert await _ids(history) == ids[5:]
        assert await _ids(history) == []


async def test_runs_that_begin_meanwhile() -> None:
    """Runs that begin while a history is read do not come, and leave nothing out."""
    async with agh_rig() as r:
        ids = _fill(r, 9)
        history = r.agh.runs.list(page_size=3)
        first = [(await anext(history)).id for _ in range(3)]
        for number in range(4):
            r.fake.install_record(Record(id=f"run-new{number}", job_id="job-1", started_at=_START + number))
        assert first + await _ids(history) == ids


async def test_filters() -> None:
    """A history can be asked for by job, trigger, status and bounds, which include their moments."""
    async with agh_rig() as r:
        job_id = r.job("digest")
        ids = _fill(r, 6, job_id=job_id)
        r.fake.install_record(
            Record(id="run-other", trigger_id="trg-1", started_at=_START, status="failed", ended_at=_START)
        )
        runs = r.agh.runs
        at = datetime(2026, 1, 5, 8, tzinfo=UTC)
        assert await _ids(runs.list(job_id=job_id)) == ids
        assert await _ids(runs.list(trigger_id="trg-1")) == ["run-other"]
        assert await _ids(runs.list(status="failed")) == ["run-other"]
        assert await _ids(runs.list(status="running")) == []
        since, until = at + timedelta(seconds=2), at + timedelta(seconds=4)
        bounded = ids[1:4]
        for each in (
            runs.list(since=since, until=until, job_id=job_id),
            runs.list(since="2026-01-05T09:00:02+01:00", until="2026-01-05T08:00:04.000000000Z"),
            r.agh.jobs.runs(job_id, since=since, until=until, page_size=2),
        ):
            assert await _ids(each) == bounded
        assert await _ids(runs.list(since=until, until=until)) == [ids[1]]


async def test_histories_of_one_job_and_trigger() -> None:
    """A job's and a trigger's own histories hold their runs alone, page by page; unknown ones are NotFound."""
    async with agh_rig() as r:
        job_id, trigger_id = r.job("digest"), r.trigger("deploy")
        ids = _fill(r, 7, job_id=job_id)
        r.fake.install_record(Record(id="run-other", trigger_id=trigger_id, started_at=_START))
        assert await _ids(r.agh.jobs.runs(job_id, page_size=3)) == ids
        assert await _ids(r.agh.jobs.runs(job_id, status="completed", limit=2)) == ids[:2]
        assert await _ids(r.agh.triggers.runs(trigger_id)) == ["run-other"]
        for history in (r.agh.jobs.runs("job-none"), r.agh.triggers.runs("trg-none")):
            with pytest.raises(NotFound):
                await anext(history)


@pytest.mark.parametrize(
    ("asked", "words", "kind"),
    [
        ({"since": datetime(2026, 1, 5)}, "since: .*zone", ValueError),  # noqa: DTZ001 - which is the point
        ({"until": "yesterday"}, "until: expected RFC 3339", ValueError),
        ({"until": 5}, "until: expected an aware datetime", TypeError),
        (
            {"since": "2026-01-05T10:00:00Z", "until": "2026-01-05T09:59:59Z"},
            "until: .*before since",
            ValueError,
        ),
        (
            {"since": "2026-01-05T10:00:00.000000001Z", "until": "2026-01-05T11:00:00+01:00"},
            "until: .*before since",
            ValueError,
        ),
        ({"limit": -1}, "limit: has to be 0 or more", ValueError),
        ({"limit": 1.5}, "limit: expected a whole number", TypeError),
        ({"page_size": 0}, "page_size: has to be 1 or more", ValueError),
        ({"status": "cancelled"}, "status: expected scheduled or", ValueError),
        ({"state": "failed"}, ".*unexpected keyword argument .state.", TypeError),
    ],
)
async def test_histories_that_are_not_asked_for(asked: Any, words: str, kind: type[Exception]) -> None:
    """What the server would refuse, or answer with a masked 500, is refused at once, by all three verbs."""
    async with agh_rig() as r:
        with pytest.raises(kind, match=f"^{words}"):
            r.agh.runs.list(**asked)
        with pytest.raises(kind, match=f"^{words}"):
            r.agh.jobs.runs("job-1", **asked)
        with pytest.raises(kind, match=f"^{words}"):
            r.agh.triggers.runs("trg-1", **asked)
        assert r.send.sent == []


async def test_owners_that_are_not_asked_for() -> None:
    """Runs of a job and of a trigger at once are none; a blank id is no owner."""
    async with agh_rig() as r:
        with pytest.raises(ValueError, match="job_id and trigger_id"):
            r.agh.runs.list(job_id="job-1", trigger_id="trg-1")
        with pytest.raises(ValueError, match=r"^job_id: is required"):
            r.agh.runs.list(job_id="")
        with pytest.raises(ValueError, match=r"^trigger_id: is required"):
            r.agh.runs.list(trigger_id=" ")
        with pytest.raises(ValueError, match=r"^run_id"):
            await r.agh.runs.get("..")
        assert r.send.sent == []


async def test_bounds_that_meet() -> None:
    """Bounds that are the same moment, written in two ways, are in order."""
    async with agh_rig() as r:
        history = r.agh.runs.list(since="2026-01-05T10:00:00Z", until="2026-01-05T11:00:00.0+01:00")
        assert await _ids(history) == []


async def test_page_that_cannot_be_read() -> None:
    """Passing errors of a page are retried; when that fails, further iteration requests the same page."""
    async with agh_rig(retry=RetryPolicy(attempts=2)) as r:
        ids = _fill(r, 9)
        history = r.agh.runs.list(page_size=3)
        first = [(await anext(history)).id for _ in range(3)]
        r.answer("runs.list", ReplyLost("cut"), Reply(502))
        with pytest.raises(ServerError):
            await r.done(anext(history))
        assert first + await _ids(history) == ids


@pytest.mark.parametrize(
    ("status", "kind"),
    [(400, BadRequest), (403, PermissionDenied), (404, NotFound), (500, ServerError), (503, ServerError)],
)
async def test_every_status_is_its_error(status: int, kind: type[Exception]) -> None:
    """Each status of the vendor's tables raises the error of that name, from histories and single reads."""
    async with agh_rig(retry=RetryPolicy(attempts=1)) as r:
        for call in ("runs.list", "runs.get", "jobs.runs", "triggers.runs"):
            r.answer(call, Reply(status, {}, b'{"error": "no"}'))
            work: Any = {
                "runs.list": lambda: anext(r.agh.runs.list()),
                "runs.get": lambda: r.agh.runs.get("run-1"),
                "jobs.runs": lambda: anext(r.agh.jobs.runs("job-1")),
                "triggers.runs": lambda: anext(r.agh.triggers.runs("trg-1")),
            }[call]
            with pytest.raises(kind):
                await work()


async def test_automation_that_is_switched_off() -> None:
    """Where automation is off, runs cannot be read: 503 after all tries."""
    async with agh_rig(rules=AghRules(is_enabled=False), retry=RetryPolicy(attempts=2)) as r:
        with pytest.raises(ServerError) as caught:
            await r.done(r.agh.runs.get("run-1"))
        assert (caught.value.status, caught.value.tries) == (503, 2)
