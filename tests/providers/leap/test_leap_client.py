"""The Leap client against its fake: starts in both dialects, bulk runs, refusals, settings."""

import asyncio
import json
import logging
import pickle
from typing import Any

import pytest

from aioagents import (
    AuthenticationError,
    BadReference,
    BadRequest,
    Leap,
    NotFound,
    NotSent,
    PermissionDenied,
    PoolClosed,
    ReplyLost,
    RunAborted,
    RunFailed,
    RunRef,
    RunState,
    ServerError,
    SessionPool,
    StartUnknown,
    Throttled,
)
from aioagents.contract.fake import RunPlan
from aioagents.model import Reply, Secret
from aioagents.observe import RunStarted, StartAbandoned, StatusUnknown
from aioagents.providers.leap import PROVIDER, BulkOutput
from aioagents.providers.leap.fake import FakeLeap, LeapRules
from tests.fakes import FakeClock, FakeSend, settle
from tests.polling.rig import begin, reply, until_end
from tests.providers.leap.leap_rig import KEY, TEA, URL, fake_leap, leap_rig

_DIALECTS = ["workflows", "runs"]
_STARTS = {"workflows": "workflows.run", "runs": "runs.run"}


@pytest.fixture(params=_DIALECTS)
def dialect(request: pytest.FixtureRequest) -> str:
    """Return each dialect in turn."""
    name: str = request.param
    return name


# Start and follow


async def test_run_from_start_to_end(dialect: str) -> None:
    """In either dialect a start returns a handle at once, and awaiting it returns the ended run."""
    async with leap_rig(("running", 25.0), "completed", dialect=dialect) as r:
        run = await r.leap.run(TEA, {"topic": "tea"})
        assert run.accepted is not None
        assert run.accepted.state is RunState.RUNNING
        waiter = await begin(until_end(run))
        await r.clock.advance(40)
        done = await waiter
        assert (done.ref, done.state) == (run.ref, RunState.COMPLETED)
        assert done.started_at is not None
        assert done.ended_at is not None
        assert (done.ended_at - done.started_at).total_seconds() == 25
        (started,) = r.events_of(RunStarted)
        assert (started.target, started.run) == (TEA, run.accepted)
        assert r.fake.statistics()["ignored_members"] == 0
        assert [each.call for each in r.send.sent] == [_STARTS[dialect], *["runs.get"] * 3]


@pytest.mark.parametrize("status", [200, 201, 202, 299])
async def test_any_success_is_one(dialect: str, status: int) -> None:
    """Every 2xx answer to a start is an accepted start, of runs and of bulk runs."""
    async with leap_rig(fake=fake_leap("running", success_status=status), dialect=dialect) as r:
        assert (await r.leap.run(TEA)).accepted is not None
        assert (await r.leap.run_bulk(TEA, "https://f.example.com/in.csv")).accepted is not None


async def test_output_under_its_later_name() -> None:
    """The output is found also under the name `result`."""
    async with leap_rig(fake=fake_leap("completed", rules=LeapRules(payload="result", outputs=["tea"]))) as r:
        assert await (await r.leap.run(TEA)).result() == "tea"


@pytest.mark.parametrize("output", [None, 7, "tea", ["tea"], {}, {"a": {"b": None}}, False])
async def test_result_is_any_json_value(output: Any) -> None:
    """`result()` returns the output unchanged, null included."""
    fake = fake_leap(("running", 5.0), "completed", rules=LeapRules(outputs=[output]))
    async with leap_rig(fake=fake) as r:
        run = await r.leap.run(TEA)
        waiter = await begin(run.result())
        await r.clock.advance(15)
        assert await waiter == output


@pytest.mark.parametrize(("word", "kind"), [("failed", RunFailed), ("cancelled", RunAborted)])
async def test_result_of_a_run_that_did_not_complete(word: str, kind: type[Exception]) -> None:
    """A run that failed or was cancelled ends the wait, and `result()` raises it, without the vendor's text."""
    async with leap_rig(("running", 5.0), word) as r:
        run = await r.leap.run(TEA, {"mail": "a@example.com"})
        waiter = await begin(run.result())
        await r.clock.advance(15)
        with pytest.raises(kind, match=f"ended as {word}") as caught:
            await waiter
        error: Any = caught.value
        assert error.run.status == word
        assert "example" not in repr(error)
        assert "Step 2" not in str(error)
        assert pickle.loads(pickle.dumps(error)).run.status == word  # noqa: S301


async def test_failed_run_whose_end_has_no_moment() -> None:
    """A failed run that has no `ended_at` is over all the same."""
    async with leap_rig(
        fake=fake_leap(("running", 5.0), "failed", rules=LeapRules(without_ended_at=1.0))
    ) as r:
        waiter = await begin(until_end(await r.leap.run(TEA)))
        await r.clock.advance(15)
        done = await waiter
        assert (done.state, done.ended_at) == (RunState.FAILED, None)


async def test_unknown_status_words_are_polled_on() -> None:
    """An unknown status ends no wait and is reported once."""
    async with leap_rig(("running", 5.0), ("waiting_for_approval", 60.0), "completed") as r:
        runs = [await begin(until_end(await r.leap.run(TEA))) for _ in range(3)]
        await r.clock.advance(45)
        assert not any(run.done() for run in runs)
        await r.clock.advance(40)
        assert {run.result().state for run in runs} == {RunState.COMPLETED}
        (event,) = r.events_of(StatusUnknown)
        assert event.run.status == "waiting_for_approval"


async def test_start_whose_answer_has_no_status() -> None:
    """A run that is known by its id alone is followed to its end."""
    async with leap_rig(("running", 5.0), "completed") as r:
        first = await r.leap.run(TEA)
        r.answer("workflows.run", reply(200, json.dumps({"id": first.id}).encode()))
        run = await r.leap.run(TEA)
        assert run.last is not None
        assert run.last.state is RunState.UNKNOWN
        waiter = await begin(until_end(run))
        await r.clock.advance(15)
        assert (await waiter).state is RunState.COMPLETED


async def test_run_that_is_not_found_at_first() -> None:
    """A run that its vendor does not find at once is waited for, while one that nobody started is not."""
    async with leap_rig(fake=fake_leap(("running", 5.0), "completed", rules=LeapRules(hidden_for=12.0))) as r:
        waiter = await begin(until_end(await r.leap.run(TEA)))
        await r.clock.advance(30)
        assert (await waiter).state is RunState.COMPLETED
        foreign = await begin(until_end(r.leap.get("rnp_none")))
        await r.clock.advance(30)
        with pytest.raises(NotFound):
            await foreign


async def test_run_started_elsewhere() -> None:
    """A run that another client started in another dialect is followed by its id alone."""
    fake = fake_leap(("running", 5.0), "failed")
    async with leap_rig(fake=fake, dialect="runs") as one, leap_rig(fake=fake) as two:
        run = await one.leap.run(TEA)
        waiter = await begin(until_end(two.leap.get(run.id)))
        await two.clock.advance(15)
        assert (await waiter).state is RunState.FAILED


# Bulk runs


async def test_bulk_run(dialect: str) -> None:
    """A bulk run ends like any other; its result is the URL of the output, and the row count."""
    async with leap_rig(("queued", 5.0), ("running", 20.0), "completed", dialect=dialect) as r:
        run = await r.leap.run_bulk(TEA, "https://files.example.com/in.csv")
        assert str(run.ref) == f"leap:127.0.0.1;bulk/{run.id}"
        waiter = await begin(run.result())
        await r.clock.advance(35)
        output = await waiter
        assert isinstance(output, BulkOutput)
        assert output.csv_url == f"https://files.example.com/{run.id}.csv"
        assert output.row_count is not None
        assert 1 <= output.row_count <= 20
        assert (run.last, r.leap.get_bulk(run.id).ref) == (await run, run.ref)
        assert r.fake.statistics()["bulk_polls"] == 3


async def test_bulk_run_that_failed() -> None:
    """A bulk run that fails raises like any other."""
    async with leap_rig("failed") as r:
        with pytest.raises(RunFailed):
            await (await r.leap.run_bulk(TEA, "https://files.example.com/in.csv")).result()


async def test_bulk_runs_and_runs_are_not_mistaken() -> None:
    """An id is searched for among runs, or among bulk runs, as the handle says."""
    async with leap_rig(("running", 5.0), "completed") as r:
        run, bulk = await r.leap.run(TEA), await r.leap.run_bulk(TEA, "https://f.example.com/in.csv")
        with pytest.raises(NotFound):
            await r.leap.get_bulk(run.id).poll()
        with pytest.raises(NotFound):
            await r.leap.get(bulk.id).poll()


# References


async def test_refs_lead_back_to_runs() -> None:
    """The text of a reference is enough to follow a run or a bulk run."""
    async with leap_rig(("running", 5.0), "completed") as r:
        for handle in (await r.leap.run(TEA), await r.leap.run_bulk(TEA, "https://f.example.com/in.csv")):
            again = r.leap.attach(str(handle.ref))
            assert again.ref == RunRef.parse(str(handle.ref)) == handle.ref
            assert r.leap.attach(handle.ref).id == handle.id
            assert (await again.poll()).state is RunState.RUNNING


@pytest.mark.parametrize(
    "ref",
    [
        *(
            "leena:/abc",
            "leap:other/abc",
            "leap:127.0.0.1;Bulk/abc",
            "leap:other;bulk/abc",
            "abc",
            "",
            "leap:/",
        ),
        *("leap:127.0.0.1;bulk/", "leap:/abc", "leap:bulk/abc", "leap:127.0.0.1;bulk=1/abc"),
        "leap:a@127.0.0.1/abc",
    ],
)
async def test_refs_of_others_are_refused(ref: str) -> None:
    """A reference of another vendor or endpoint, or an invalid one, is refused."""
    async with leap_rig() as r:
        with pytest.raises(BadReference, match=r"not a run|reference"):
            r.leap.attach(ref)


@pytest.mark.parametrize("run_id", ["", " ", ".", "..", None, 5])
async def test_ids_that_cannot_be_are_refused_at_the_call(run_id: Any) -> None:
    """No handle is made from an id that cannot be in a path, nor from a run id `bulk`."""
    async with leap_rig() as r:
        with pytest.raises(ValueError, match="run_id"):
            r.leap.get(run_id)
        with pytest.raises(ValueError, match="bulk_run_id"):
            r.leap.get_bulk(run_id)
        with pytest.raises(ValueError, match="bulk"):
            r.leap.get("bulk")
        with pytest.raises(ValueError, match="bulk"):
            r.leap.attach("leap:127.0.0.1/bulk")
        assert r.leap.get_bulk("bulk").id == "bulk"
        assert r.send.sent == []


# What is sent


async def test_every_call_has_the_key_and_no_other_signature(dialect: str) -> None:
    """Each call carries the key as `X-Api-Key`, and no bearer token."""
    async with leap_rig(dialect=dialect) as r:
        await (await r.leap.run(TEA)).poll()
        await (await r.leap.run_bulk(TEA, "https://f.example.com/in.csv")).poll()
        await r.leap.check()
        assert len(r.send.sent) == 5
        for request in r.send.sent:
            assert request.headers["x-api-key"] == KEY
            assert "authorization" not in request.headers
            assert KEY not in request.url


@pytest.mark.parametrize(
    ("arguments", "kind", "word"),
    [
        ({"workflow_id": ""}, ValueError, "workflow_id"),
        ({"workflow_id": None}, ValueError, "workflow_id"),
        ({"workflow_id": "w", "inputs": []}, TypeError, "inputs"),
        ({"workflow_id": "w", "inputs": {"x": object()}}, TypeError, "inputs"),
        ({"workflow_id": "w", "webhook_url": ""}, ValueError, "webhook_url"),
        ({"workflow_id": "w", "webhook_url": "hooks.example.com"}, ValueError, "webhook_url"),
        ({"workflow_id": "w", "webhook_url": 5}, ValueError, "webhook_url"),
    ],
)
async def test_bad_arguments_are_refused_at_the_call(
    arguments: dict[str, Any], kind: type[Exception], word: str
) -> None:
    """An invalid start is refused before anything is sent, and the error names what is wrong."""
    async with leap_rig() as r:
        with pytest.raises(kind, match=word):
            await r.leap.run(**arguments)
        assert r.send.sent == []


async def test_nothing_is_shown(caplog: pytest.LogCaptureFixture) -> None:
    """Key, inputs, outputs and webhook URLs are in no repr, no event, no log record and no error."""
    fake = fake_leap(("running", 5.0), "completed", rules=LeapRules(outputs=[{"mail": "b@example.com"}]))
    with caplog.at_level(logging.DEBUG, "aioagents"):
        async with leap_rig(fake=fake) as r:
            run = await r.leap.run(TEA, {"mail": "a@example.com"}, webhook_url="https://h.example.com/s3cr3t")
            waiter = await begin(until_end(run))
            await r.clock.advance(15)
            shown = [repr(await waiter), repr(run), repr(r.leap), repr(r.pool), repr(r.pool.statistics())]
            r.answer("workflows.run", ReplyLost("reset", call="workflows.run"))
            with pytest.raises(StartUnknown) as caught:
                await r.leap.run(TEA, {"mail": "a@example.com"}, webhook_url=r.receiver)
            shown += [repr(caught.value), str(caught.value), *map(repr, r.events), *map(repr, r.send.sent)]
    text = "".join([*shown, caplog.text])
    assert "leap" in text
    for secret in (KEY, "@example.com", "s3cr3t", "hooks.example.com"):
        assert secret not in text


# What the vendor refuses, and what cannot be known


async def test_refused_starts(dialect: str) -> None:
    """A definite refusal of a start is that refusal, sent once."""
    async with leap_rig(dialect=dialect) as r:
        with pytest.raises(NotFound) as caught:
            await r.leap.run("unknown_workflow")
        error: Any = caught.value
        assert (error.status, error.vendor, error.call) == (404, "leap", _STARTS[dialect])
        with pytest.raises(BadRequest):
            await r.leap.run_bulk(TEA, "no URL")
        assert len(r.send.sent) == 2
        assert r.fake.statistics()["starts"] == 0


async def test_wrong_key() -> None:
    """A refused key raises `AuthenticationError` at once, without another attempt."""
    async with leap_rig() as r:
        leap = Leap(r.pool, api_key="wr0ng", base_url=URL)
        for call in (leap.run(TEA), leap.get("rnp_1").poll(), leap.check(), until_end(leap.get("rnp_1"))):
            task = await begin(call)
            await r.clock.advance(20)
            with pytest.raises(AuthenticationError) as caught:
                await task
            assert "wr0ng" not in repr(caught.value)
        assert len(r.send.sent) == 4


_NO_ANSWER = [
    ReplyLost("reset"),
    reply(500),
    reply(502, b"<html>"),
    reply(503),
    reply(504),
    reply(200, b"<html>"),
    reply(200, b'{"status": "queued"}'),
    reply(201, b'{"id": "'),
    reply(200, b""),
    reply(303),
]


@pytest.mark.parametrize("fault", _NO_ANSWER)
async def test_start_of_unknown_outcome(dialect: str, fault: Reply | Exception) -> None:
    """A reply that does not say whether a run began is `StartUnknown`, sent once: there is no idempotency key."""
    async with leap_rig(dialect=dialect) as r:
        r.answer(_STARTS[dialect], fault)
        with pytest.raises(StartUnknown, match="cannot be known") as caught:
            await r.leap.run(TEA, {"mail": "a@example.com"})
        error = caught.value
        assert len(r.send.sent) == 1
        assert (error.vendor, error.call, error.target) == ("leap", _STARTS[dialect], TEA)
        assert error.body == r.send.sent[0].body
        assert "dashboard" in error.advice


async def test_bulk_start_of_unknown_outcome() -> None:
    """The same holds for bulk runs."""
    async with leap_rig() as r:
        r.answer("bulk.run", ReplyLost("reset"))
        with pytest.raises(StartUnknown):
            await r.leap.run_bulk(TEA, "https://f.example.com/in.csv")
        assert len(r.send.sent) == 1


@pytest.mark.parametrize(
    "fault", [NotSent("refused", call="workflows.run"), reply(429), reply(429, retry_after="2")]
)
async def test_start_that_surely_did_not_begin_is_tried_again(fault: Reply | Exception) -> None:
    """What was not sent, or was throttled, is sent again until it is accepted: once."""
    async with leap_rig() as r:
        r.answer("workflows.run", fault, fault)
        starting = await begin(r.leap.run(TEA))
        await r.clock.advance(60)
        assert (await starting).accepted is not None
        assert r.fake.statistics()["starts"] == 1


async def test_closed_pool() -> None:
    """Nothing is started from a pool that is closed, or was never entered, and no URL is kept for it."""
    async with leap_rig() as r:
        pass
    for call in (r.leap.run(TEA, webhook_url=r.receiver), r.leap.check(), r.leap.get("rnp_1").poll()):
        with pytest.raises(PoolClosed):
            await call
    with pytest.raises(PoolClosed):
        await Leap(SessionPool(), api_key=KEY).run(TEA)
    assert r.receiver.statistics().tickets == 0


# Settings


async def test_client_from_the_environment() -> None:
    """The key has to be set; base URL and dialect may be, and are the vendor's own and `workflows` otherwise."""
    async with SessionPool() as pool:
        plain = Leap.from_env(pool, {"LEAP_API_KEY": "k3y", "LEAP_BASE_URL": "", "LEAP_DIALECT": ""})
        assert repr(plain) == "<Leap at https://api.workflows.tryleap.ai, dialect workflows>"
        other = Leap.from_env(
            pool,
            {"LEAP_API_KEY": "k3y", "LEAP_BASE_URL": "http://127.0.0.1:9/x/", "LEAP_DIALECT": "runs"},
        )
        assert repr(other) == "<Leap at http://127.0.0.1:9/x, dialect runs>"
        for environ in ({}, {"LEAP_API_KEY": ""}, None):
            with pytest.raises(ValueError, match="LEAP_API_KEY"):
                Leap.from_env(pool, environ)
        with pytest.raises(ValueError, match="workflows, runs"):
            Leap.from_env(pool, {"LEAP_API_KEY": "k3y", "LEAP_DIALECT": "v2"})
    assert set(PROVIDER.variables) == {"LEAP_API_KEY", "LEAP_BASE_URL", "LEAP_DIALECT"}
    assert all(PROVIDER.variables.values())


async def test_connect_for_scripts(monkeypatch: pytest.MonkeyPatch) -> None:
    """`Leap.connect()` has a pool of its own and reads the environment."""
    monkeypatch.setenv("LEAP_API_KEY", "k3y")
    async with Leap.connect() as leap:
        assert "dialect workflows" in repr(leap)
    async with Leap.connect(api_key="k", dialect="runs") as leap:
        assert "dialect runs" in repr(leap)


@pytest.mark.parametrize("key", ["", "s3cr3t\n", " s3cr3t", "s3cr3t\r\nX-Evil: 1", "s3crét", "s3cr3t\x00"])
async def test_keys_that_cannot_be(key: str) -> None:
    """A key that is empty, or is invalid in a header, is refused at once and not quoted."""
    async with SessionPool() as pool:
        for given in (key, Secret(key)):
            with pytest.raises(ValueError, match="api_key") as caught:
                Leap(pool, api_key=given)
            assert "s3c" not in str(caught.value)


@pytest.mark.parametrize(
    ("settings", "word"),
    [
        ({"base_url": "http://leap.example.com"}, "clear text"),
        ({"base_url": "leap.example.com"}, "base_url"),
        ({"base_url": "https://u:p@leap.example.com"}, "base_url"),
        ({"base_url": "https://leap.example.com/?a=b"}, "base_url"),
        ({"dialect": "v2"}, "dialect has to be one of workflows, runs"),
        ({"dialect": ""}, "dialect"),
        ({"dialect": "Runs"}, "dialect"),
    ],
)
async def test_settings_that_cannot_be(settings: dict[str, Any], word: str) -> None:
    """A base URL in clear text, an invalid one, and an unknown dialect are refused."""
    async with SessionPool() as pool:
        with pytest.raises(ValueError, match=word):
            Leap(pool, api_key=KEY, **settings)
        Leap(pool, api_key=KEY, base_url="http://leap.example.com", allow_insecure=True)


async def test_requests_go_under_the_base_url() -> None:
    """A base URL may have a path, as proxies do; a slash at its end is ignored."""
    clock = FakeClock()
    send = FakeSend(fake_leap("running"), clock=clock)
    send.before = lambda _: reply(200, b'{"id": "rnp_1", "status": "running"}')
    async with SessionPool(clock=clock, send=send) as pool:
        leap = Leap(pool, api_key=KEY, base_url="https://proxy.example.com/leap/")
        await (await leap.run(TEA)).poll()
    assert [each.url for each in send.sent] == [
        "https://proxy.example.com/leap/v1/workflows",
        "https://proxy.example.com/leap/v1/runs/rnp_1",
    ]


async def test_check_starts_nothing() -> None:
    """A good key is known by any answer but a refusal of it; faults are raised as they are."""
    async with leap_rig() as r:
        await r.leap.check()
        for status in (400, 422, 204, 200):
            r.answer("runs.get", reply(status))
            await r.leap.check()
        refusals: list[tuple[int, type[Exception]]] = [(401, AuthenticationError), (403, PermissionDenied)]
        for status, refusal in refusals:
            r.answer("runs.get", reply(status))
            with pytest.raises(refusal):
                await r.leap.check()
        for fault, kind in ((reply(500), ServerError), (reply(429), Throttled), (NotSent("x"), NotSent)):
            r.answer("runs.get", *[fault] * 50)
            task = await begin(r.leap.check())
            await r.clock.advance(300)
            with pytest.raises(kind):
                await task
        assert r.fake.statistics()["starts"] == 0


async def test_clients_of_one_key_share_an_account() -> None:
    """Two clients of one key are one account; another key is another one, and no name shows a key."""
    async with leap_rig() as r:
        again = Leap(r.pool, api_key=KEY, base_url=URL + "/", dialect="runs")
        run = await r.leap.run(TEA)
        await begin(until_end(run))
        await begin(until_end(again.get(run.id)))
        assert len(r.pool.statistics().accounts) == 1
        assert (r.pool.statistics().polling.runs, r.pool.statistics().polling.waiting) == (1, 2)
        Leap(r.pool, api_key="other", base_url=URL)
        assert len(r.pool.statistics().accounts) == 2
        assert not any("key" in name or "other" in name for name in r.pool.statistics().accounts)
        await r.clock.advance(40)


async def test_cancelled_start_is_not_forgotten() -> None:
    """A start whose caller is cancelled after it was sent goes on and emits an event; its URL is not kept."""
    fake = FakeLeap(RunPlan())
    held = asyncio.Event()

    class Slow(FakeSend):
        async def send(self, request: Any, **options: Any) -> Reply:
            answer = await super().send(request, **options)
            await held.wait()
            return answer

    clock = FakeClock()
    async with leap_rig(fake=fake, send=Slow(fake, clock=clock), clock=clock) as r:
        starting = await begin(r.leap.run(TEA, webhook_url=r.receiver))
        assert r.receiver.statistics().tickets == 1
        starting.cancel()
        await settle()
        assert starting.cancelled()
        assert r.receiver.statistics().tickets == 0
        held.set()
        await settle()
        (event,) = r.events_of(StartAbandoned)
        assert event.run is not None
        assert fake.ended_at(event.run.id) is not None
        assert r.receiver.statistics().tickets == 0
