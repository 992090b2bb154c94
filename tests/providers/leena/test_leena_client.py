"""The Leena AI client against its fake: starts, refusals, accounts."""

import asyncio
import json
import logging
from typing import Any

import pytest

from aioagents import (
    AuthenticationError,
    BadRequest,
    Leena,
    LeenaCredentials,
    NotFound,
    NotSent,
    PermissionDenied,
    PoolLimits,
    ReplyLost,
    RunRef,
    RunState,
    StartUnknown,
    Throttled,
)
from aioagents.contract.fake import RunPlan
from aioagents.model import Reply, Request
from aioagents.observe import RunStarted, StartAbandoned
from aioagents.providers.leena.fake import AOP_SCOPE, REPORT_SCOPE, FakeLeena, LeenaAccount
from tests.fakes import settle
from tests.polling.rig import CREDENTIALS, ENDPOINTS, Rig, begin, reply, rig, script, until_end


def _answer(r: Rig, call: str, *answers: Reply | Exception) -> None:
    """Answer the first requests of one call with `answers`, and all others as before."""
    left = list(answers)
    before = r.send.before

    def answer(request: Request) -> Reply | None:
        if request.call == call and left:
            first = left.pop(0)
            if isinstance(first, Exception):
                raise first
            return first
        return before(request) if before is not None else None

    r.send.before = answer


# Start and follow


async def test_run_from_start_to_end() -> None:
    """A start returns a handle at once; awaiting it returns the ended run."""
    async with rig(("in_progress", 25.0), "completed") as r:
        run = await r.leena.execute("triage", message="Hello", context={"ticket": "INC1"})
        assert run.accepted is not None
        assert run.accepted.state is RunState.QUEUED
        assert run.accepted.raw["aop_item_id"] == run.id
        waiter = await begin(until_end(run))
        await r.clock.advance(40)
        done = await waiter
        assert (done.ref, done.state) == (run.ref, RunState.COMPLETED)
        assert done.ended_at is not None
        assert done.started_at is not None
        assert (done.ended_at - done.started_at).total_seconds() == 25
        (sent,) = r.send.calls("aop.execute")
        assert json.loads(sent.body or b"") == {
            "aop_id": "triage",
            "message_to_start": "Hello",
            "context": {"ticket": "INC1"},
        }
        (started,) = r.events_of(RunStarted)
        assert (started.target, started.run) == ("triage", run.accepted)


async def test_every_call_is_signed_with_the_token() -> None:
    """Each call but the token's carries the bearer token, and the token is asked for once."""
    async with rig() as r:
        run = await r.start()
        await run.poll()
        async for _ in r.leena.report("2026-01-01", "2026-01-06"):
            pass
        (token,) = r.send.calls("token")
        assert token.headers["authorization"].startswith("Basic ")
        signed = {request.headers["authorization"] for request in r.send.sent if request is not token}
        assert len(signed) == 1
        assert signed.pop().startswith("Bearer hdr.")


async def test_default_message_and_context_are_sent() -> None:
    """Arguments that are not given are sent as the vendor's own default."""
    async with rig() as r:
        await r.leena.execute("triage")
        body = json.loads(r.send.calls("aop.execute")[0].body or b"")
        assert body == {"aop_id": "triage", "message_to_start": "", "context": {}}


@pytest.mark.parametrize(
    ("arguments", "kind", "word"),
    [
        ({"aop_id": ""}, ValueError, "aop_id"),
        ({"aop_id": "  "}, ValueError, "aop_id"),
        ({"aop_id": None}, ValueError, "aop_id"),
        ({"aop_id": "a", "message": None}, TypeError, "message"),
        ({"aop_id": "a", "message": 5}, TypeError, "message"),
        ({"aop_id": "a", "context": {"x": object()}}, TypeError, "context"),
        ({"aop_id": "a", "context": {5: "x"}}, TypeError, "context"),
        ({"aop_id": "a", "context": []}, TypeError, "context"),
        ({"aop_id": "a", "context": ""}, TypeError, "context"),
        ({"aop_id": "a", "context": "x"}, TypeError, "context"),
    ],
)
async def test_bad_arguments_are_refused_at_the_call(
    arguments: dict[str, Any], kind: type[Exception], word: str
) -> None:
    """An invalid start is refused before anything is sent, and the error names what is wrong."""
    async with rig() as r:
        aop_id = arguments.pop("aop_id")
        with pytest.raises(kind, match=word):
            await r.leena.execute(aop_id, **arguments)
        assert r.send.sent == []


@pytest.mark.parametrize("item", ["", " ", ".", "..", None, 5])
async def test_ids_that_cannot_be_are_refused_at_the_call(item: Any) -> None:
    """An id that cannot be in a path is refused when the handle is made."""
    async with rig() as r:
        with pytest.raises(ValueError, match="aop_item_id"):
            r.leena.item(item)
        if isinstance(item, str):
            with pytest.raises(ValueError, match="aop_item_id"):
                r.leena.attach(RunRef("leena", "127.0.0.1", item))


@pytest.mark.parametrize(
    "ref", ["leena:us-east-1/abc", "leap:/abc", "leena:abc", "abc", "", "leena:/", RunRef("leap", "", "abc")]
)
async def test_refs_of_others_are_refused(ref: Any) -> None:
    """A reference of another vendor or region, or an invalid one, is refused."""
    async with rig() as r:
        with pytest.raises(ValueError, match=r"not a run|reference"):
            r.leena.attach(ref)


async def test_ref_leads_another_process_to_the_run() -> None:
    """The text of a reference is enough for another client of the region to follow the run."""
    fake = FakeLeena(RunPlan(scripts={"triage": script(("in_progress", 25.0), "failed")}))
    async with rig(fake=fake) as one, rig(fake=fake) as two:
        text = str((await one.start()).ref)
        waiter = await begin(until_end(two.leena.attach(text)))
        await two.clock.advance(40)
        assert (await waiter).state is RunState.FAILED


# What the vendor refuses


@pytest.mark.parametrize(
    ("aop", "kind", "status"), [("barred_aop", BadRequest, 400), ("unknown_aop", NotFound, 404)]
)
async def test_refused_start(aop: str, kind: type[Exception], status: int) -> None:
    """A definite refusal of a start is that refusal, sent once; the vendor's words are kept apart."""
    async with rig() as r:
        with pytest.raises(kind, match=f"aop.execute was answered with {status}") as caught:
            await r.leena.execute(aop)
        error: Any = caught.value
        assert (error.status, error.vendor, error.call) == (status, "leena", "aop.execute")
        assert error.detail
        assert error.detail not in str(error)
        assert len(r.send.calls("aop.execute")) == 1


async def test_missing_scope_for_starts() -> None:
    """A token without the right to execute is a `PermissionDenied`, and no new token is asked for."""
    fake = FakeLeena(accounts=[LeenaAccount(scopes=frozenset({REPORT_SCOPE}))])
    async with rig(fake=fake) as r:
        with pytest.raises(PermissionDenied):
            await r.leena.execute("any")
        assert len(r.send.calls("token")) == 1


async def test_missing_scope_for_the_report() -> None:
    """A 401 that a new token does not cure is final after one renewal: it may mean a missing scope."""
    fake = FakeLeena(accounts=[LeenaAccount(scopes=frozenset({AOP_SCOPE}))])
    async with rig(fake=fake) as r:
        with pytest.raises(AuthenticationError):
            async for _ in r.leena.report("2026-01-01", "2026-01-02"):
                pass
        assert len(r.send.calls("report")) == 2
        assert len(r.send.calls("token")) == 2


async def test_wrong_credentials() -> None:
    """Refused credentials are an `AuthenticationError` for all, and do not hammer the token endpoint."""
    async with rig() as r:
        wrong = LeenaCredentials(client_id="x", client_secret="nope-s", username="u", password="nope-p")
        leena = Leena(r.pool, credentials=wrong, endpoints=ENDPOINTS)
        calls = [leena.execute("any") for _ in range(50)]
        ends = await asyncio.gather(*calls, leena.check(), return_exceptions=True)
        assert {type(end) for end in ends} == {AuthenticationError}
        assert len(r.send.calls("token")) == 1
        assert len(r.send.calls("aop.execute")) == 0
        assert not any("nope" in repr(end) + str(end) for end in ends)


# What cannot be known


@pytest.mark.parametrize(
    "fault",
    [
        ReplyLost("reset"),
        reply(500),
        reply(502, b"<html>"),
        reply(503),
        reply(504),
        reply(200, b"<html>"),
        reply(200, b'{"status": "accepted"}'),
        reply(200, b'{"aop_item_id": "'),
        reply(200, b""),
        reply(303),
    ],
)
async def test_start_of_unknown_outcome(fault: Reply | Exception) -> None:
    """A reply that does not say whether a run began is `StartUnknown`, sent once, with what one needs to find out."""
    async with rig() as r:
        _answer(r, "aop.execute", fault)
        with pytest.raises(StartUnknown, match="cannot be known") as caught:
            await r.leena.execute("triage", message="private words", context={"mail": "a@example.com"})
        error = caught.value
        assert len(r.send.calls("aop.execute")) == 1
        assert (error.vendor, error.call, error.target) == ("leena", "aop.execute", "triage")
        assert error.sent_at == r.clock.utcnow()
        assert error.body == r.send.calls("aop.execute")[0].body
        assert "report" in error.advice
        assert error.__cause__ is not None
        for shown in (str(error), repr(error)):
            assert "private words" not in shown
            assert "a@example.com" not in shown


@pytest.mark.parametrize(
    "fault", [NotSent("refused", call="aop.execute"), reply(429), reply(429, retry_after="2")]
)
async def test_start_that_surely_did_not_begin_is_tried_again(fault: Reply | Exception) -> None:
    """What was not sent, or was throttled, is sent again until it is accepted: once."""
    async with rig() as r:
        _answer(r, "aop.execute", fault, fault)
        starting = await begin(r.start())
        await r.clock.advance(60)
        assert (await starting).accepted is not None
        assert r.fake.statistics()["starts"] == 1


async def test_start_throttled_for_too_long() -> None:
    """Where the vendor keeps throttling, the start ends as refused, and nothing began."""
    async with rig() as r:
        _answer(r, "aop.execute", *[reply(429)] * 50)
        starting = await begin(r.start())
        await r.clock.advance(600)
        with pytest.raises(Throttled):
            await starting
        assert r.fake.statistics()["starts"] == 0


async def test_refused_token_of_a_start_is_renewed_once() -> None:
    """A 401 says that nothing began: the start goes out once more, with a new token; a second 401 is final."""
    async with rig() as r:
        await r.start()
        r.fake.revoke_all()
        await r.start()
        assert len(r.send.calls("token")) == 2
        assert r.fake.statistics()["starts"] == 2
        _answer(r, "aop.execute", reply(401), reply(401))
        with pytest.raises(AuthenticationError):
            await r.start()
        assert r.fake.statistics()["starts"] == 2


async def test_reports_without_their_right_fail_alone() -> None:
    """Reports that are refused for their scope cost starts and waits of the account nothing, and no token each."""
    fake = FakeLeena(
        RunPlan(scripts={"triage": script(("in_progress", 25.0), "completed")}),
        accounts=[LeenaAccount(scopes=frozenset({AOP_SCOPE}))],
    )
    async with rig(fake=fake) as r:
        waiting = await begin(until_end(await r.start()))
        for _ in range(3):
            for _ in range(6):
                with pytest.raises(AuthenticationError):
                    await anext(aiter(r.leena.report("2026-01-01", "2026-01-02")))
            await r.start()
            await r.clock.advance(4)
        await r.clock.advance(30)
        assert (await waiting).state is RunState.COMPLETED
        assert len(r.send.calls("token")) == 2


async def test_start_with_an_old_token_goes_first() -> None:
    """A start that was refused for its token is not queued again behind all others."""
    async with rig(limits=PoolLimits(requests_at_once=1)) as r:
        await r.leena.check()
        r.fake.revoke_all()
        starts = [r.leena.execute("any", context={"key": n}) for n in range(40)]
        await asyncio.gather(*starts)
        sent = [json.loads(each.body or b"")["context"]["key"] for each in r.send.calls("aop.execute")]
        assert sorted(sent) == [0, *range(40)]
        assert 0 in sent[1:10]


async def test_cancelled_start_is_not_forgotten() -> None:
    """A start whose caller is cancelled after it was sent goes on, and its run is reported to hooks."""
    async with rig() as r:
        held = asyncio.Event()
        send = r.send.send

        class Slow:
            async def send(self, request: Request, **options: Any) -> Reply:
                answer = await send(request, **options)
                if request.call == "aop.execute":
                    await held.wait()
                return answer

        async with Rig(fake=r.fake, send=Slow()) as slow:
            starting = await begin(slow.start())
            starting.cancel()
            await settle()
            assert starting.cancelled()
            held.set()
            await settle()
            (event,) = slow.events_of(StartAbandoned)
            assert event.run is not None
            assert r.fake.ended_at(event.run.id) is not None


# Accounts


async def test_report_may_have_credentials_of_its_own() -> None:
    """Where one OAuth app has the right to execute and another the report's, each call has its own token."""
    accounts = [
        LeenaAccount(scopes=frozenset({AOP_SCOPE})),
        LeenaAccount(client_id="reporter", client_secret="other", scopes=frozenset({REPORT_SCOPE})),
    ]
    reporter = LeenaCredentials(
        client_id="reporter", client_secret="other", username="demo-user", password="demo-password"
    )
    async with rig(fake=FakeLeena(accounts=accounts)) as r:
        leena = Leena(r.pool, credentials=CREDENTIALS, endpoints=ENDPOINTS, report_credentials=reporter)
        await leena.check()
        await leena.execute("any")
        assert [row async for row in leena.report("2026-01-01", "2026-01-09")]
        assert len(r.send.calls("token")) == 2
        assert len(r.pool.statistics().accounts) == 2
        tokens = {request.call: request.headers["authorization"] for request in r.send.sent}
        assert tokens["aop.execute"] != tokens["report"]
        await leena.execute("any")
        assert len(r.send.calls("token")) == 2


async def test_report_credentials_that_are_the_same_share_the_token() -> None:
    """Equal credentials for both are one account."""
    async with rig() as r:
        leena = Leena(r.pool, credentials=CREDENTIALS, endpoints=ENDPOINTS, report_credentials=CREDENTIALS)
        await leena.check()
        assert len(r.send.calls("token")) == len(r.pool.statistics().accounts) == 1


async def test_check_obtains_a_token_and_starts_nothing() -> None:
    """Settings can be inspected without a run."""
    async with rig() as r:
        await r.leena.check()
        await r.leena.check()
        assert [request.call for request in r.send.sent] == ["token"]


async def test_nothing_personal_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    """What is sent to a run, and who is named in reports, is in no log record and no event's repr."""
    with caplog.at_level(logging.DEBUG, "aioagents"):
        async with rig() as r:
            run = await r.leena.execute("triage", message="my words", context={"mail": "a@example.com"})
            await run.poll()
            rows = [row async for row in r.leena.report("2026-01-01", "2026-01-09")]
            assert rows
            shown = [*map(repr, rows), *map(repr, r.events), caplog.text, repr(run.last)]
    assert "@example.com" not in "".join(shown)
    assert "my words" not in "".join(shown)
    assert "Person " not in "".join(shown)
