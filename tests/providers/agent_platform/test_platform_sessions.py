"""Sessions against the fake: created, found, listed in three generations, terminated, and retries."""

import asyncio
import pickle
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from aioagents import (
    AuthorizationRequired,
    BadRequest,
    DecodeError,
    NotFound,
    NotSent,
    PermissionDenied,
    PoolClosed,
    ReplyLost,
    ServerError,
    StartUnknown,
)
from aioagents.codec import encode_json
from aioagents.model import Purpose, Reply
from aioagents.observe import RunStarted, StartAbandoned
from aioagents.providers.agent_platform import Generation, Session
from tests.fakes import EPOCH, settle
from tests.polling.rig import begin, reply
from tests.providers.agent_platform.platform_rig import (
    APP_URL,
    HELLO,
    TOOLS_URL,
    URL,
    PlatformRig,
    platform_rig,
    sample,
)

_GENERATIONS = list(Generation)


async def _made(r: PlatformRig, count: int) -> list[Session]:
    return [await r.platform.sessions.create(session_reference=f"chat-{n}") for n in range(count)]


# Created and found


async def test_session_by_reference() -> None:
    """A reference creates a session once, and then finds it."""
    async with platform_rig() as r:
        first = await r.platform.sessions.create(
            session_reference="chat-7", user_reference="cust-42", source="AIW"
        )
        assert r.body == {
            "sessionIdentity": [
                {"type": "sessionReference", "value": "chat-7"},
                {"type": "userReference", "value": "cust-42"},
            ],
            "source": "AIW",
        }
        assert (r.last.method, r.last.url, r.last.call) == ("POST", f"{APP_URL}/sessions", "sessions.create")
        again = await r.platform.sessions.create(session_reference="chat-7")
        assert again.session_id == first.session_id
        assert (first.session_reference, first.user_reference) == ("chat-7", "cust-42")
        assert first.created_at == EPOCH
        assert first.limits.max_files == 10
        assert first.limits.max_megabytes == 25
        assert "pdf" in first.limits.extensions
        assert r.fake.statistics()["sessions"] == 1


async def test_session_by_id() -> None:
    """An id finds a session and never creates one; a terminated session is not found."""
    async with platform_rig() as r:
        first = await r.platform.sessions.create(user_reference="cust-42")
        assert (await r.platform.sessions.create(session_id=first.session_id)).session_id == first.session_id
        with pytest.raises(NotFound):
            await r.platform.sessions.create(session_id="s-none")
        assert r.fake.statistics()["sessions"] == 1


async def test_session_by_user() -> None:
    """A user's reference creates a session each time; an unset session reference is the user's."""
    async with platform_rig() as r:
        made = [await r.platform.sessions.create(user_reference="cust-42") for _ in range(3)]
        assert len({each.session_id for each in made}) == 3
        assert {each.session_reference for each in made} == {"cust-42"}
        assert {request.purpose for request in r.send.sent} == {Purpose.START}
        assert (r.events_of(RunStarted), r.pool.statistics().starts) == ([], 0)


async def test_session_of_another_user() -> None:
    """Another user's session is refused."""
    async with platform_rig() as r:
        await r.platform.sessions.create(session_reference="chat-7", user_reference="cust-42")
        with pytest.raises(PermissionDenied):
            await r.platform.sessions.create(session_reference="chat-7", user_reference="cust-43")


@pytest.mark.parametrize("name", ["200-idle", "200-sign-in", "200-started-without-reference"])
async def test_either_envelope(name: str) -> None:
    """A session is read from either envelope, with the members beside it."""
    async with platform_rig() as r:
        r.answer("sessions.create", sample(f"sessions_create/{name}"))
        found = await r.platform.sessions.create(session_reference="chat-7")
        assert (found.session_id, found.user_id) == ("s-demo", "u-demo")
        assert found.session_reference == ("chat-7" if name == "200-idle" else "cust-42")
        assert found.text == ("Welcome." if name == "200-started-without-reference" else "")
        assert found.status == ("started" if name == "200-started-without-reference" else "idle")
        assert found.limits.is_enabled is (name != "200-started-without-reference")
        assert found.raw["fileUploadConfig"]
        assert [each.name for each in found.pending_authorizations] == (
            ["Google"] if name == "200-sign-in" else []
        )
        assert "cust-42" not in repr(found)
        assert "idp.example" not in repr(found)


async def test_sign_in_as_exception_on_request() -> None:
    """A pending sign-in is an attribute of the session, and an exception on request; a later repetition succeeds."""
    async with platform_rig(
        rules={"signins": frozenset({"cust-42"}), "sign_in_providers": ("Google", "Jira")}
    ) as r:
        sessions = r.platform.sessions
        found = await sessions.create(session_reference="chat-7", user_reference="cust-42")
        assert [each.name for each in found.pending_authorizations] == ["Google", "Jira"]
        r.fake.authorize("cust-42", "Google")
        with pytest.raises(AuthorizationRequired, match="1 sign-in") as caught:
            await sessions.create(session_reference="chat-7", require_authorization=True)
        (profile,) = caught.value.pending_authorizations
        assert (profile.name, profile.url[:26]) == ("Jira", "https://idp.example/r/" + profile.url[22:26])
        assert caught.value.reply.session_id == found.session_id
        assert "idp.example" not in str(caught.value)
        again = pickle.loads(pickle.dumps(caught.value))  # noqa: S301
        assert again.pending_authorizations == (profile,)
        r.fake.authorize("cust-42")
        done = await sessions.create(session_reference="chat-7", require_authorization=True)
        assert done.session_id == found.session_id


@pytest.mark.parametrize("identity", [{}, {"session_id": ""}, {"session_reference": " "}, {"source": "AP"}])
async def test_sessions_without_an_identifier(identity: dict[str, str]) -> None:
    """A call without an identifier is refused before anything is sent."""
    async with platform_rig() as r:
        with pytest.raises(ValueError, match="session_"):
            await r.platform.sessions.create(**identity)  # type: ignore[arg-type]
        with pytest.raises(ValueError, match="source"):
            await r.platform.sessions.create(session_reference="chat-7", source="")
        assert r.send.sent == []


# Retried, or not

_FAULTS = [ReplyLost("lost"), Reply(500), Reply(502), Reply(503)]


@pytest.mark.parametrize("fault", _FAULTS, ids=str)
@pytest.mark.parametrize(
    "identity",
    [{"session_reference": "chat-7"}, {"session_reference": "chat-7", "user_reference": "cust-42"}],
)
async def test_repeatable_creation(identity: dict[str, Any], fault: Any) -> None:
    """With a session's reference the request is retried for passing reasons, and creates one session."""
    async with platform_rig() as r:
        r.answer("sessions.create", fault)
        waiter = await begin(r.platform.sessions.create(**identity))
        await r.clock.advance(5)
        assert (await waiter).session_reference == "chat-7"
        assert (len(r.send.sent), r.fake.statistics()["sessions"]) == (2, 1)


@pytest.mark.parametrize("fault", [*_FAULTS, reply(200, b"<html>"), reply(200, b"{}")], ids=str)
@pytest.mark.parametrize(
    "identity", [{"user_reference": "cust-42"}, {"session_id": "s-none", "user_reference": "cust-42"}]
)
async def test_creation_that_is_never_repeated(identity: dict[str, Any], fault: Any) -> None:
    """Without a session's reference the request is sent once: another might create another session."""
    async with platform_rig() as r:
        r.answer("sessions.create", fault)
        with pytest.raises(StartUnknown, match="created a session") as caught:
            await r.platform.sessions.create(**identity)
        assert len(r.send.sent) == 1
        assert (caught.value.target, caught.value.call) == ("cust-42", "sessions.create")
        assert caught.value.body == r.last.body
        assert "cust-42" not in str(caught.value)
        assert "sessions.list" in caught.value.advice


async def test_creation_that_was_not_sent_or_refused() -> None:
    """A request that certainly created no session is retried, or its refusal is raised."""
    async with platform_rig() as r:
        r.answer("sessions.create", NotSent("no"), reply(429), reply(400, b'{"message": "no"}'))
        waiter = await begin(r.platform.sessions.create(user_reference="cust-42"))
        await r.clock.advance(30)
        with pytest.raises(BadRequest) as caught:
            await waiter
        assert (caught.value.detail, caught.value.tries) == ("no", 3)


async def test_cancelled_creation() -> None:
    """A creation that is cancelled after it was sent is reported by an event."""
    async with platform_rig() as r:
        r.answer("sessions.create", ReplyLost("lost"))
        waiter = asyncio.ensure_future(r.platform.sessions.create(user_reference="cust-42"))
        while not r.send.sent:  # noqa: ASYNC110 - the very moment when it was sent
            await asyncio.sleep(0)
        waiter.cancel()
        await settle()
        assert waiter.cancelled()
        (event,) = r.events_of(StartAbandoned)
        assert isinstance(event.error, StartUnknown)


# Read


async def test_session_of_the_newest_generation() -> None:
    """The newest generation reads a session by its id, and its traces on request."""
    async with platform_rig("success") as r:
        made = await r.platform.sessions.create(session_reference="chat-7")
        run = await r.platform.runs.execute(HELLO, session_id=made.session_id)
        found = await r.platform.sessions.get(session_id=made.session_id)
        assert (found.session_id, found.session_reference, found.environment) == (
            made.session_id,
            "chat-7",
            "draft",
        )
        assert (found.traces, found.created_at) == ((), EPOCH)
        assert r.last.url == f"{TOOLS_URL}/apps/aa-demo/sessions?session_id={made.session_id}"
        assert r.last.headers["x-api-key"] == "demo-app-key"
        found = await r.platform.sessions.get(session_id=made.session_id, include=["traces"])
        (trace,) = found.traces
        assert (trace.trace_id, trace.began_at, trace.latency) == (run.run_id, EPOCH, 0.0)
        assert trace.observations == ()
        found = await r.platform.sessions.get(session_id=made.session_id, include=("traces", "observations"))
        (step,) = found.traces[0].observations
        assert (step.type, step.name, step.model, step.tokens["total"]) == (
            "GENERATION",
            "Orchestrator",
            "gpt-4o",
            17,
        )
        assert r.last.url.endswith("&include=traces&include=observations")


async def test_session_with_traces_as_sampled() -> None:
    """All members of traces and observations are read; texts of conversations are in no repr."""
    async with platform_rig() as r:
        r.answer("sessions.get", sample("sessions_get/200-newest"))
        found = await r.platform.sessions.get(session_id="s-demo")
        (trace,) = found.traces
        assert (trace.input, trace.output, trace.latency) == ("Where is order 12?", "It ships today.", 1.25)
        (step,) = trace.observations
        assert (step.observation_id, step.provider, step.parent_id, step.ended_at) == (
            "o-1",
            "Open AI",
            "",
            None,
        )
        assert "order" not in repr(found)
        r.answer("sessions.get", sample("sessions_get/200-newest-none"))
        with pytest.raises(NotFound, match="holds no session") as caught:
            await r.platform.sessions.get(session_id="s-demo")
        assert caught.value.call == "sessions.get"


@pytest.mark.parametrize("generation", ["older", "later", Generation.OLDER])
async def test_session_of_older_generations(generation: str) -> None:
    """The older generations read a session by id or reference, with its files."""
    async with platform_rig() as r:
        made = await r.platform.sessions.create(session_reference="chat/7")
        found = await r.platform.sessions.get(session_reference="chat/7", generation=generation)
        assert r.last.url == f"{APP_URL}/sessions?sessionReference=chat%2F7"
        assert (found.session_id, found.app_id, found.status) == (made.session_id, "aa-demo", "idle")
        assert [each.type for each in found.events] == ["Welcome_Event"]
        again = await r.platform.sessions.get(session_id=made.session_id, generation=generation)
        assert again.session_id == made.session_id
        r.answer("sessions.get", sample("sessions_get/200-older"))
        found = await r.platform.sessions.get(session_id="s-demo", generation=generation)
        (file,) = found.attachments
        assert (file.file_id, file.file_name, file.is_active) == ("f-1", "a.pdf", True)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "session_id"),
        ({"session_reference": "chat-7"}, "generation='older'"),
        ({"session_id": "s-1", "session_reference": "chat-7"}, "generation='older'"),
        ({"session_id": "s-1", "include": ["spans"]}, "traces, observations"),
        ({"session_id": "s-1", "include": "traces"}, "include"),
        ({"session_id": "s-1", "include": ["traces"], "generation": "older"}, "include"),
        ({"session_id": "s-1", "generation": "oldest"}, "newest, later, older"),
    ],
)
async def test_reads_that_cannot_be_sent(options: dict[str, Any], message: str) -> None:
    """Arguments that a generation does not have are refused before anything is sent."""
    async with platform_rig() as r:
        with pytest.raises(ValueError, match=message):
            await r.platform.sessions.get(**options)
        assert r.send.sent == []


async def test_unknown_session() -> None:
    """An id that matches nothing raises `NotFound`, in each generation."""
    async with platform_rig() as r:
        for generation in _GENERATIONS:
            with pytest.raises(NotFound):
                await r.platform.sessions.get(session_id="s-none", generation=generation)


# Listed


async def _listed(r: PlatformRig, **options: Any) -> list[str]:
    return [each.session_id async for each in r.platform.sessions.list(**options)]


@pytest.mark.parametrize("generation", _GENERATIONS)
async def test_list_of_several_pages(generation: Generation) -> None:
    """All sessions are returned once, page by page."""
    async with platform_rig() as r:
        made = [each.session_id for each in await _made(r, 45)]
        await r.clock.advance(1)
        size = None if generation is Generation.OLDER else 20
        assert await _listed(r, generation=generation, page_size=size) == made
        assert r.calls.count("sessions.list") == 3


async def test_list_of_one_large_page() -> None:
    """By default, pages are as large as the platform allows."""
    async with platform_rig() as r:
        made = [each.session_id for each in await _made(r, 100)]
        for generation in (Generation.NEWEST, Generation.LATER):
            assert await _listed(r, generation=generation) == made
            assert "limit=100" in r.last.url
        assert r.calls.count("sessions.list") == 2


async def test_requests_of_each_generation() -> None:
    """Each generation has its own path, names and filters."""
    async with platform_rig() as r:
        start = datetime(2026, 1, 2, tzinfo=UTC)
        await _listed(
            r, user_reference="cust", session_reference="chat", start=start, end="2026-01-03T00:00:00Z"
        )
        assert r.last.url == f"{TOOLS_URL}/apps/aa-demo/sessions/list?offset=0&limit=100"
        assert (r.last.method, r.last.headers["x-api-key"]) == ("POST", "demo-app-key")
        assert r.body == {
            "env_name": "draft",
            "start_time": "2026-01-02T00:00:00+00:00",
            "end_time": "2026-01-03T00:00:00Z",
            "user_reference_id": "cust",
            "session_reference_id": "chat",
        }
        await _listed(r, start=start, page_size=7, generation="later")
        assert r.last.method == "GET"
        assert r.last.url == (
            f"{URL}/aaa/api/v1/apps/aa-demo/environments/draft/sessions/list"
            "?startDate=2026-01-02T00%3A00%3A00%2B00%3A00&offset=0&limit=7"
        )
        await _listed(r, session_id="s-1", user_reference="cust", end=start, generation="older")
        assert (r.last.method, r.last.url) == ("POST", f"{APP_URL}/sessions/list")
        assert r.body == {
            "sessionId": "s-1",
            "userReference": "cust",
            "date": {"end": "2026-01-02T00:00:00+00:00"},
            "offset": 0,
        }
        await _listed(r, generation="older")
        assert r.body == {"offset": 0}
        assert {each.purpose for each in r.send.sent} == {Purpose.CALL}


async def test_filters() -> None:
    """Sessions are found by their user, their reference and their time."""
    async with platform_rig() as r:
        one = await r.platform.sessions.create(session_reference="chat-1", user_reference="cust-1")
        await r.clock.advance(3600)
        two = await r.platform.sessions.create(session_reference="chat-2", user_reference="cust-2")
        await r.clock.advance(1)
        assert await _listed(r, user_reference="cust-1") == [one.session_id]
        assert await _listed(r, session_reference="chat-2") == [two.session_id]
        noon = EPOCH + timedelta(minutes=30)
        for generation in _GENERATIONS:
            assert await _listed(r, start=noon, generation=generation) == [two.session_id]
            assert await _listed(r, end=noon, start=EPOCH, generation=generation) == [one.session_id]


async def test_values_of_lists() -> None:
    """Each generation's names are read into the same values."""
    async with platform_rig() as r:
        r.answer("sessions.list", sample("sessions_list/200-newest"))
        (found,) = [each async for each in r.platform.sessions.list()]
        assert (found.session_id, found.session_reference, found.user_reference) == (
            "s-1",
            "cust-42",
            "cust-42",
        )
        assert (found.environment, found.source, found.ended_at) == ("draft", "AP", None)
        assert found.created_at == datetime(2026, 1, 2, 3, tzinfo=UTC)
        assert found.last_active_at == datetime(2026, 1, 2, 3, 4, tzinfo=UTC)
        r.answer("sessions.list", sample("sessions_list/200-older"), sample("sessions_list/200-older-last"))
        older = [each async for each in r.platform.sessions.list(generation="older")]
        assert [(each.session_id, each.status) for each in older] == [("s-1", "idle"), ("s-2", "terminated")]
        assert r.body["offset"] == 2


async def test_list_without_an_end() -> None:
    """A server that ignores the offset, or promises more and returns nothing, does not keep the list going."""
    async with platform_rig() as r:
        more = {"pagination": {"hasMore": True}}
        r.answer("sessions.list", *[sample("sessions_list/200-older")] * 9)
        assert await _listed(r, generation="older") == ["s-1", "s-2"]
        r.send.before = None
        r.answer("sessions.list", *[Reply(200, {}, encode_json({"sessions": [], **more}))] * 9)
        assert await _listed(r, generation="older") == []
        assert r.calls.count("sessions.list") == 3


async def test_lists_are_retried_page_by_page() -> None:
    """A page that fails for a passing reason is read again."""
    async with platform_rig() as r:
        made = [each.session_id for each in await _made(r, 3)]
        await r.clock.advance(1)
        r.answer("sessions.list", ReplyLost("lost"), Reply(503))
        waiter = await begin(_listed(r))
        await r.clock.advance(10)
        assert await waiter == made


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"page_size": 0}, ValueError, "page_size"),
        ({"page_size": 101}, ValueError, "page_size"),
        ({"page_size": True}, ValueError, "page_size"),
        ({"page_size": 5, "generation": "older"}, ValueError, "page_size: the older generation"),
        ({"session_id": "s-1"}, ValueError, "session_id: the newest generation"),
        ({"user_reference": "c", "generation": "later"}, ValueError, "user_reference: the later generation"),
        ({"session_reference": "c", "generation": "older"}, ValueError, "session_reference"),
        ({"start": "yesterday"}, ValueError, "start"),
        ({"end": datetime(2026, 1, 1)}, TypeError, "end"),  # noqa: DTZ001 - which is the fault
        ({"end": 7}, TypeError, "end"),
        ({"generation": "new"}, ValueError, "generation"),
    ],
)
async def test_filters_of_other_generations(
    options: dict[str, Any], error: type[Exception], message: str
) -> None:
    """A filter that a generation does not have is refused immediately, by its name."""
    async with platform_rig() as r:
        with pytest.raises(error, match=message):
            r.platform.sessions.list(**options)


@pytest.mark.parametrize(
    ("body", "path"),
    [
        ({}, "$.sessions"),
        ({"sessions": {}}, "$.sessions"),
        ({"sessions": [{}]}, "$.sessions[0].sessionId"),
        ({"sessions": [{"session_id": "s"}, 7]}, "$.sessions[1].sessionId"),
    ],
)
async def test_lists_that_cannot_be_read(body: Any, path: str) -> None:
    """The error for a list of the wrong shape has the path of the wrong member."""
    async with platform_rig() as r:
        r.answer("sessions.list", Reply(200, {}, encode_json(body)))
        with pytest.raises(DecodeError) as caught:
            await _listed(r)
        assert (caught.value.path, caught.value.call) == (path, "sessions.list")


@pytest.mark.parametrize(
    ("body", "path"),
    [
        ({}, "$.sessionId"),
        ({"session": {"a": 1}}, "$.session.sessionId"),
        ({"sessions": [7]}, "$.sessions[0].sessionId"),
    ],
)
async def test_sessions_that_cannot_be_read(body: Any, path: str) -> None:
    """A session without an id raises an error."""
    async with platform_rig() as r:
        r.answer("sessions.get", Reply(200, {}, encode_json(body)))
        with pytest.raises(DecodeError) as caught:
            await r.platform.sessions.get(session_id="s-1")
        assert caught.value.path == path


# Terminated


async def test_terminate() -> None:
    """A session is terminated by id or reference, and returned as it then is."""
    async with platform_rig() as r:
        made = await r.platform.sessions.create(session_reference="chat-7")
        done = await r.platform.sessions.terminate(session_reference="chat-7")
        assert (done.session_id, done.status) == (made.session_id, "terminated")
        assert r.last.url == f"{APP_URL}/sessions/terminate"
        assert r.body == {"sessionIdentity": [{"type": "sessionReference", "value": "chat-7"}]}
        with pytest.raises(NotFound):
            await r.platform.sessions.terminate(session_id=made.session_id)
        with pytest.raises(ValueError, match="session_id"):
            await r.platform.sessions.terminate()
        r.answer("sessions.terminate", sample("sessions_terminate/200-terminated"))
        done = await r.platform.sessions.terminate(session_id="s-demo")
        assert [each.type for each in done.events] == ["End_of_Conversation"]
        assert done.attachments[0].mime_type == "pdf"


async def test_terminate_whose_reply_was_lost() -> None:
    """A session that an earlier attempt terminated counts as terminated: NotFound is no error then."""
    async with platform_rig() as r:
        made = await r.platform.sessions.create(session_reference="chat-7")

        def lose(request: Any, answer: Reply) -> Reply:
            if r.calls.count("sessions.terminate") == 1 and request.call == "sessions.terminate":
                raise ReplyLost("lost")
            return answer

        r.send.after = lose
        waiter = await begin(r.platform.sessions.terminate(session_id=made.session_id))
        await r.clock.advance(5)
        done = await waiter
        assert (done.session_id, done.status, dict(done.raw)) == (made.session_id, "terminated", {})
        assert r.fake.statistics()["terminated"] == 1


# All methods


async def test_final_errors() -> None:
    """The number of attempts is limited, refusals are raised, and a closed pool sends nothing."""
    async with platform_rig() as r:
        r.answer("sessions.get", *[Reply(500)] * 5)
        waiter = await begin(r.platform.sessions.get(session_id="s-1"))
        await r.clock.advance(60)
        with pytest.raises(ServerError) as caught:
            await waiter
        assert caught.value.tries == 5
    with pytest.raises(PoolClosed):
        await r.platform.sessions.create(session_reference="chat-7")
    with pytest.raises(PoolClosed):
        await r.platform.sessions.create(user_reference="cust-42")
