"""Runs against the fake: synchronous or followed; sign-ins, failures, cancellation, batches."""

import asyncio
import pickle
from typing import Any

import pytest

from aioagents import (
    AuthorizationRequired,
    BadReference,
    BadRequest,
    NotFound,
    NotSent,
    PermissionDenied,
    PoolClosed,
    ReplyLost,
    RunFailed,
    RunRef,
    RunState,
    StartUnknown,
    Throttled,
)
from aioagents.codec import decode_json, encode_json
from aioagents.contract import BatchRow
from aioagents.model import Purpose, Reply
from aioagents.observe import RunStarted, StartAbandoned, StatusUnknown
from aioagents.providers.agent_platform import Debug, Invoke, RunFiles, text_of
from tests.fakes import settle
from tests.polling.rig import begin, reply, until_end
from tests.providers.agent_platform.platform_rig import APP_URL, HELLO, SCOPE, platform_rig, sample

_LOST = [ReplyLost("lost"), Reply(500), Reply(502), Reply(503), reply(200, b"<html>"), reply(200, b"{}")]
_SAID = "my order 12 of someone@example.com"


# Synchronous


async def test_execute() -> None:
    """A synchronous run is one long request, whose answer is returned."""
    async with platform_rig() as r:
        waiter = await begin(
            r.platform.runs.execute(HELLO, session_reference="chat-7", user_reference="cust-42")
        )
        request = r.last
        assert (request.method, request.url, request.call) == (
            "POST",
            f"{APP_URL}/runs/execute",
            "runs.execute",
        )
        assert (request.purpose, request.timeout, request.is_long) == (Purpose.START, 600.0, True)
        assert r.body == {
            "sessionIdentity": [
                {"type": "sessionReference", "value": "chat-7"},
                {"type": "userReference", "value": "cust-42"},
            ],
            "input": [{"type": "text", "content": "hello"}],
            "isAsync": False,
        }
        await r.clock.advance(24)
        assert not waiter.done()
        await r.clock.advance(2)
        found = await waiter
        assert (found.text, found.is_error, found.session.status) == ("It ships today.", False, "idle")
        assert found.run_id.startswith("r-")
        assert found.session.session_reference == "chat-7"
        assert (r.pool.statistics().starts, r.events_of(RunStarted)) == (1, [])


async def test_execute_a_run_that_fails() -> None:
    """A failure is an attribute of the answer, not an exception."""
    async with platform_rig("failed") as r:
        found = await r.platform.runs.execute(HELLO, session_reference="chat-7")
        assert found.is_error


async def test_all_options() -> None:
    """Options are sent under the names of the vendor's table, as real booleans and lists."""
    async with platform_rig("success") as r:
        files = [(await _uploaded(r, f"{n}.pdf")) for n in range(3)]
        await r.platform.runs.execute(HELLO, session_reference="cust-42", attachments=files)
        found = await r.platform.runs.execute(
            [{"type": "text", "content": HELLO}, {"type": "text", "content": "again"}],
            session_reference="cust-42",
            attachments=RunFiles(include=files[:1], exclude={files[2]}),
            metadata={"key": HELLO, "order": {"number": 12}},
            debug=Debug.THOUGHTS,
            invoke=Invoke.agent("OrderAgent"),
            source="AIW",
            timeout=30.0,
        )
        assert r.body == {
            "sessionIdentity": [{"type": "sessionReference", "value": "cust-42"}],
            "input": [{"type": "text", "content": "hello"}, {"type": "text", "content": "again"}],
            "isAsync": False,
            "attachments": {"enable": True, "includeFiles": files[:1], "excludeFiles": [files[2]]},
            "metadata": {"key": "hello", "order": {"number": 12}},
            "debug": {"enable": True, "debugMode": "thoughts"},
            "invoke": {"tasks": [{"type": "agent", "name": "OrderAgent"}]},
            "source": "AIW",
        }
        assert r.last.timeout == 30.0
        assert [each.source for each in found.thoughts] == ["Orchestrator", "OrderAgent", ""]
        assert {each.file_id: each.is_active for each in found.attachments} == {
            files[0]: True,
            files[1]: True,
            files[2]: False,
        }


async def _uploaded(r: Any, name: str) -> str:
    file = await r.platform.attachments.upload(b"%PDF", user_reference="cust-42", file_name=name)
    file_id: str = file.file_id
    return file_id


async def test_direct_tool() -> None:
    """A tool that is invoked directly has its arguments as input."""
    async with platform_rig("success") as r:
        tool = Invoke.tool("get_balance", "code", "Accounts", {"accountId": "123"})
        found = await r.platform.runs.execute(
            session_reference="chat-7", invoke=tool, metadata={"key": HELLO}
        )
        assert r.body["invoke"] == {
            "tasks": [{"type": "tool", "name": "get_balance", "toolType": "code", "agentName": "Accounts"}]
        }
        assert r.body["input"] == [{"type": "tool_input", "content": {"accountId": "123"}}]
        assert decode_json(found.text.encode())["given"] == {"accountId": "123"}
        assert (found.session.environment, "accountId" in repr(tool)) == ("draft", False)
        await r.platform.runs.execute(
            session_reference="chat-7", invoke=Invoke.tool("t", "mcp", "A"), metadata={"key": HELLO}
        )
        assert r.body["input"] == [{"type": "tool_input", "content": {}}]


@pytest.mark.parametrize(
    ("said", "options", "error", "message"),
    [
        (None, {}, ValueError, "no input"),
        ("", {}, ValueError, "text"),
        (" \n", {}, ValueError, "text"),
        ([], {}, ValueError, "no input"),
        (7, {}, ValueError, "no input"),
        (["hello"], {}, TypeError, r"text\[0\]"),
        ([{"type": "text", "content": float("nan")}], {}, TypeError, r"text\[0\]"),
        ("hi", {"session_reference": None}, ValueError, "session_id, session_reference, user_reference"),
        ("hi", {"metadata": ["x"]}, TypeError, "metadata"),
        ("hi", {"metadata": {"x": object()}}, TypeError, "metadata"),
        ("hi", {"attachments": "f-1"}, TypeError, "attachments"),
        ("hi", {"attachments": [""]}, ValueError, "attachments"),
        ("hi", {"attachments": 7}, TypeError, "attachments"),
        ("hi", {"debug": "thought"}, ValueError, "thoughts, function-call, all"),
        ("hi", {"source": " "}, ValueError, "source"),
        ("hi", {"timeout": 0}, ValueError, "timeout"),
        ("hi", {"timeout": float("nan")}, ValueError, "timeout"),
        ("hi", {"session": "s-1"}, TypeError, "no option session"),
        ("hi", {"invoke": Invoke.tool("t", "code", "A")}, ValueError, "not a text"),
    ],
)
async def test_invalid_arguments_of_runs(
    said: Any, options: dict[str, Any], error: type[Exception], message: str
) -> None:
    """Invalid arguments are refused by name before anything is sent."""
    async with platform_rig() as r:
        with pytest.raises(error, match=message):
            await r.platform.runs.execute(said, **{"session_reference": "chat-7", **options})
        assert r.send.sent == []


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: Invoke.agent(""), ValueError, "name"),
        (lambda: Invoke.tool("t", "web", "A"), ValueError, "workflow, code, mcp"),
        (lambda: Invoke.tool("", "code", "A"), ValueError, "name"),
        (lambda: Invoke.tool("t", "code", ""), ValueError, "agent_name"),
        (lambda: Invoke.tool("t", "code", "A", [1]), TypeError, "arguments"),  # type: ignore[arg-type]
    ],
)
def test_invalid_invocations(make: Any, error: type[Exception], message: str) -> None:
    """An invocation that the platform would refuse raises when it is constructed."""
    with pytest.raises(error, match=message):
        make()


@pytest.mark.parametrize("fault", _LOST, ids=str)
async def test_execute_whose_answer_is_lost(fault: Any) -> None:
    """After a lost answer of any kind, no second run is started; the error prints nothing of the request."""
    async with platform_rig() as r:
        r.answer("runs.execute", fault)
        with pytest.raises(StartUnknown, match="started a run") as caught:
            await r.platform.runs.execute(_SAID, session_reference="chat-7")
        assert len(r.send.sent) == 1
        assert (caught.value.target, caught.value.body) == ("chat-7", r.last.body)
        assert "traces" in caught.value.advice
        assert "example.com" not in f"{caught.value} {caught.value!r} {caught.value.__cause__!r}"


async def test_execute_that_was_refused_or_not_sent() -> None:
    """A request that certainly started no run is retried, or its error is raised."""
    async with platform_rig("success") as r:
        r.answer("runs.execute", NotSent("no"), Reply(429, {"retry-after": "3"}))
        waiter = await begin(r.platform.runs.execute(HELLO, session_reference="chat-7"))
        await r.clock.advance(30)
        assert (await waiter).run_id
        assert r.fake.statistics()["runs"] == 1
    async with platform_rig("success") as r:
        for status, kind in ((400, BadRequest), (403, PermissionDenied), (404, NotFound)):
            r.answer("runs.execute", Reply(status, {}, b'{"message": "no"}'))
            with pytest.raises(kind):
                await r.platform.runs.execute(HELLO, session_reference="chat-7")
        assert r.fake.statistics()["runs"] == 0


async def test_execute_that_is_cancelled() -> None:
    """A caller that is cancelled leaves a run behind, whose answer is reported by an event."""
    async with platform_rig() as r:
        waiter = await begin(r.platform.runs.execute(HELLO, session_reference="chat-7"))
        waiter.cancel()
        await settle()
        assert waiter.cancelled()
        assert r.events_of(StartAbandoned) == []
        await r.clock.advance(30)
        (event,) = r.events_of(StartAbandoned)
        assert (event.error, event.target) == (None, "chat-7")


# Sign-ins


_SIGN_IN: dict[str, Any] = {"signins": frozenset({"cust-42"})}


@pytest.mark.parametrize("form", ["proceeds", "stops", "bare"])
async def test_execute_with_a_sign_in(form: str) -> None:
    """A pending sign-in is an attribute of the answer, and an exception on request; a later repetition succeeds."""
    async with platform_rig("success", rules={**_SIGN_IN, "signin_forms": (form,), "answers": ("Hi",)}) as r:
        runs = r.platform.runs
        found = await runs.execute(HELLO, session_reference="cust-42")
        assert [each.name for each in found.pending_authorizations] == ["Google"]
        assert bool(found.text) == (form == "proceeds")
        with pytest.raises(AuthorizationRequired) as caught:
            await runs.execute(HELLO, session_reference="cust-42", require_authorization=True)
        assert caught.value.pending_authorizations[0].url.startswith("https://idp.example/r/")
        assert caught.value.reply.text == found.text
        assert (caught.value.vendor, caught.value.call) == ("agent-platform", "runs.execute")
        assert pickle.loads(pickle.dumps(caught.value)).reply.text == found.text  # noqa: S301
        r.fake.authorize("cust-42")
        done = await runs.execute(HELLO, session_reference="cust-42", require_authorization=True)
        assert done.text


@pytest.mark.parametrize("form", ["proceeds", "stops", "bare"])
@pytest.mark.parametrize("is_required", [True, False])
async def test_start_with_a_sign_in(form: str, is_required: bool) -> None:
    """A sign-in without a run is an exception; with a run that has started, only on request."""
    async with platform_rig("success", rules={**_SIGN_IN, "signin_forms": (form,)}) as r:
        work = r.platform.runs.start(HELLO, session_reference="cust-42", require_authorization=is_required)
        if form == "proceeds" and not is_required:
            assert (await work).accepted is not None
            return
        with pytest.raises(AuthorizationRequired) as caught:
            await work
        assert [each.name for each in caught.value.pending_authorizations] == ["Google"]
        begun = r.fake.statistics()["runs"]
        assert begun == (form == "proceeds")
        assert (caught.value.run is not None) == bool(begun)
        assert caught.value.ref == (caught.value.run.ref if caught.value.run is not None else None)
        assert len(r.send.sent) == 1


# Followed


async def test_run_from_start_to_end() -> None:
    """A start returns a handle at once, awaiting it returns the end; polls are POSTs with the session."""
    async with platform_rig() as r:
        run = await r.platform.runs.start(HELLO, session_reference="chat-7", user_reference="cust-42")
        assert r.body["isAsync"] is True
        assert not {"callbackUrl", "callbackToken", "stream"} & set(r.body)
        assert (r.last.timeout, r.last.is_long, r.last.purpose) == (None, False, Purpose.START)
        assert run.accepted is not None
        assert (run.accepted.state, run.accepted.status) == (RunState.QUEUED, "processing")
        assert str(run.ref) == f"agent-platform:{SCOPE};sessionReference=chat-7/{run.id}"
        waiter = await begin(until_end(run))
        await r.clock.advance(40)
        done = await waiter
        assert (done.ref, done.state, done.status) == (run.ref, RunState.COMPLETED, "success")
        assert text_of(done.output) == "It ships today."
        assert (done.ended_at - done.created_at).total_seconds() == 25  # type: ignore[operator]
        assert r.calls == ["runs.start", *["runs.status"] * 3]
        assert (r.last.purpose, r.body) == (
            Purpose.POLL,
            {"sessionIdentity": [{"type": "sessionReference", "value": "chat-7"}]},
        )
        (started,) = r.events_of(RunStarted)
        assert (started.target, started.run) == ("chat-7", run.accepted)
        assert r.fake.statistics()["polls_without_identity"] == 0
        assert await run.result() == done.output


@pytest.mark.parametrize(
    "identity", [{"session_id": None}, {"session_reference": "chat-7"}, {"user_reference": "cust-42"}]
)
async def test_run_from_another_process(identity: dict[str, Any]) -> None:
    """Whatever identifier a run was started by, its reference alone lets any client follow it."""
    async with platform_rig(("running", 5.0), "success", rules={"status_needs_identity": True}) as r:
        if "session_id" in identity:
            session = await r.platform.sessions.create(session_reference="chat-8")
            identity = {"session_id": session.session_id}
        run = await r.platform.runs.start(HELLO, **identity)
        async with platform_rig(fake=r.fake) as other:
            again = other.platform.attach(str(run.ref))
            assert (again.ref, again.accepted, again.last) == (run.ref, None, None)
            assert (await again.poll()).state is RunState.RUNNING
        got = r.platform.runs.get(run.id, **identity)
        assert got.ref == run.ref
        waiters = [await begin(until_end(each)) for each in (run, got, r.platform.attach(run.ref))]
        await r.clock.advance(10)
        assert {(await each).state for each in waiters} == {RunState.COMPLETED}
        assert r.polls == 2


async def test_run_that_fails() -> None:
    """A failed run ends the wait, and `result()` raises without printing its output."""
    async with platform_rig(("running", 5.0), "failed", rules={"quirks": False}) as r:
        run = await r.platform.runs.start(_SAID, session_reference="chat-7", metadata={"key": HELLO})
        waiter = await begin(run.result())
        await r.clock.advance(10)
        with pytest.raises(RunFailed, match="ended as failed") as caught:
            await waiter
        assert caught.value.run is not None
        assert caught.value.run.error == "The tool get_order did not answer."
        assert "get_order" not in f"{caught.value} {caught.value.run!r}"
        assert pickle.loads(pickle.dumps(caught.value)).run.status == "failed"  # noqa: S301


async def test_unknown_status_words_end_no_wait() -> None:
    """An unknown status word ends no wait and is reported once."""
    async with platform_rig(("queued_elsewhere", 25.0), "success") as r:
        waiter = await begin(until_end(await r.platform.runs.start(HELLO, session_reference="chat-7")))
        await r.clock.advance(25)
        assert not waiter.done()
        await r.clock.advance(10)
        assert (await waiter).state is RunState.COMPLETED
        (event,) = r.events_of(StatusUnknown)
        assert event.run.status == "queued_elsewhere"


async def test_polls_are_retried() -> None:
    """A poll is retried for passing reasons, though it is a POST; such failures end no wait."""
    async with platform_rig(("running", 5.0), "success") as r:
        run = await r.platform.runs.start(HELLO, session_reference="chat-7")
        r.answer(
            "runs.status", ReplyLost("lost"), Reply(503), Reply(429, {"retry-after": "5"}), NotSent("no")
        )
        waiter = await begin(until_end(run))
        await r.clock.advance(90)
        assert (await waiter).state is RunState.COMPLETED
        assert r.calls.count("runs.start") == 1


async def test_run_that_is_not_found_at_first() -> None:
    """A run that is not found right after its start is waited for; one that was not started here is not."""
    async with platform_rig(("running", 5.0), "success") as r:
        run = await r.platform.runs.start(HELLO, session_reference="chat-7")
        r.answer("runs.status", Reply(404, {}, b'{"message": "no"}'))
        waiter = await begin(until_end(run))
        foreign = await begin(until_end(r.platform.runs.get("r-none", session_reference="chat-7")))
        await r.clock.advance(30)
        assert (await waiter).state is RunState.COMPLETED
        with pytest.raises(NotFound):
            await foreign


async def test_run_of_another_session() -> None:
    """A poll with another user's session is refused, which ends the wait."""
    async with platform_rig() as r:
        run = await r.platform.runs.start(HELLO, session_reference="chat-7")
        await r.platform.sessions.create(session_reference="chat-8")
        with pytest.raises(PermissionDenied):
            await r.platform.runs.get(run.id, session_reference="chat-8").poll()


@pytest.mark.parametrize("fault", _LOST, ids=str)
async def test_start_whose_answer_is_lost(fault: Any) -> None:
    """After a lost answer of any kind, no second run is started; the error prints nothing of the request."""
    async with platform_rig() as r:
        r.answer("runs.start", fault)
        with pytest.raises(StartUnknown) as caught:
            await r.platform.runs.start(_SAID, session_reference="chat-7")
        assert len(r.send.sent) == 1
        assert decode_json(caught.value.body or b"") == r.body
        assert "example.com" not in f"{caught.value} {caught.value!r}"
        pickle.loads(pickle.dumps(caught.value))  # noqa: S301


async def test_start_that_is_throttled() -> None:
    """A throttled start is sent again when the vendor allows it, and the run starts once."""
    async with platform_rig("success") as r:
        r.answer("runs.start", Reply(429, {"retry-after": "20"}))
        waiter = await begin(r.platform.runs.start(HELLO, session_reference="chat-7"))
        await r.clock.advance(19)
        assert not waiter.done()
        await r.clock.advance(10)
        assert (await waiter).accepted is not None
        assert r.fake.statistics()["runs"] == 1
    async with platform_rig() as r:
        r.answer("runs.start", Reply(429, {"retry-after": "900"}))
        with pytest.raises(Throttled):
            await r.platform.runs.start(HELLO, session_reference="chat-7")


async def test_cancelled_start() -> None:
    """A start that is cancelled after it was sent is reported with its run by an event."""
    async with platform_rig() as r:
        waiter = asyncio.ensure_future(r.platform.runs.start(HELLO, session_reference="chat-7"))
        while not r.send.sent:  # noqa: ASYNC110 - the very moment when it was sent
            await asyncio.sleep(0)
        waiter.cancel()
        await settle()
        assert waiter.cancelled()
        (event,) = r.events_of(StartAbandoned)
        assert event.run is not None
        assert (await r.platform.attach(event.run.ref).poll()).state is RunState.QUEUED


async def test_cancelled_before_it_is_sent() -> None:
    """A start that is cancelled before it was sent is not sent."""
    async with platform_rig() as r:
        waiter = asyncio.ensure_future(r.platform.runs.start(HELLO, session_reference="chat-7"))
        waiter.cancel()
        await settle()
        assert (waiter.cancelled(), r.send.sent) == (True, [])


@pytest.mark.parametrize(
    "text",
    [
        "agent-platform:/r-1",
        "agent-platform:chat-7/r-1",
        "leap:/r-1",
        "agent-platform:127.0.0.1;app=aa-demo;environment=draft;sessionId=/r-1",
        "agent-platform:127.0.0.1;app=aa-demo;environment=draft/r-1",
        "agent-platform:127.0.0.1;app=aa-demo;environment=live;sessionId=s-1/r-1",
        "agent-platform:127.0.0.1;app=other;environment=draft;sessionId=s-1/r-1",
        "agent-platform:other;app=aa-demo;environment=draft;sessionId=s-1/r-1",
        "agent-platform:127.0.0.1;app=aa-demo;environment=draft;sessionId=s-1;more=1/r-1",
        "r-1",
    ],
)
async def test_invalid_references(text: str) -> None:
    """A reference of another vendor, or without a session, cannot be followed."""
    async with platform_rig() as r:
        with pytest.raises(BadReference, match=r"agent-platform|session|reference"):
            r.platform.attach(text)
        with pytest.raises(ValueError, match="run_id"):
            r.platform.attach(RunRef("agent-platform", f"{SCOPE};sessionId=s-1", ".."))
        with pytest.raises(ValueError, match="give at least one"):
            r.platform.runs.get("r-1")


# Batches


async def test_row_of_a_batch() -> None:
    """A row's target is the session's reference, its message the text, its input the metadata."""
    async with platform_rig("success") as r:
        run = await r.platform.start_row(BatchRow("row-1", "chat-7", HELLO, {"key": "k-1"}))
        assert run.ref.scope == f"{SCOPE};sessionReference=chat-7"
        assert r.body["input"] == [{"type": "text", "content": HELLO}]
        assert r.body["metadata"] == {"key": "k-1"}
        await r.platform.start_row(BatchRow("row-2", "chat-7", HELLO))
        assert "metadata" not in r.body
        assert r.fake.starts_by_key == {"k-1": 1}
        with pytest.raises(ValueError, match="message"):
            await r.platform.start_row(BatchRow("row-3", "chat-7"))
        assert len(r.send.sent) == 2


async def test_closed_pool() -> None:
    """A closed pool sends nothing."""
    async with platform_rig() as r:
        pass
    for work in (
        r.platform.runs.execute(HELLO, session_reference="chat-7"),
        r.platform.runs.start(HELLO, session_reference="chat-7"),
        r.platform.runs.get("r-1", session_reference="chat-7").poll(),
    ):
        with pytest.raises(PoolClosed):
            await work
    assert r.send.sent == []


async def test_odd_answers_are_kept() -> None:
    """Unknown members stay in `raw`, of answers and of runs."""
    async with platform_rig() as r:
        body = decode_json(sample("runs_execute/200-idle").body) | {"novel": {"a": [1]}}
        r.answer("runs.execute", Reply(200, {}, encode_json(body)))
        found = await r.platform.runs.execute(HELLO, session_reference="chat-7")
        assert found.raw == body
        assert found.session.raw == body["sessionInfo"]
