"""Every row of the retry rules, and what holds for calls of every kind."""

import asyncio
import pickle
from datetime import timedelta
from email.utils import format_datetime
from itertools import pairwise

import anyio
import attrs
import pytest

from aioagents.errors import (
    AgentsError,
    AuthenticationError,
    BadRequest,
    DecodeError,
    ForeignReply,
    NotFound,
    NotSent,
    PermissionDenied,
    PoolClosed,
    ReplyError,
    ReplyLost,
    ServerError,
    StartUnknown,
    Throttled,
)
from aioagents.model import Reply, Request
from aioagents.observe import RateLowered, RequestDone, RetryScheduled
from aioagents.retry import RetryPolicy
from aioagents.transport import PoolLimits
from tests.calls.rig import (
    BODY,
    CALL,
    OK,
    REFUSED,
    SECRET,
    START,
    THROTTLED,
    TOKEN,
    Held,
    Rig,
    Step,
    read_text,
)
from tests.fakes import EPOCH

REFUSING = attrs.evolve(START, refused_by=frozenset({503}))
DATE = format_datetime(EPOCH + timedelta(seconds=20), usegmt=True)


def _reply(status: int, **headers: str) -> Reply:
    words = b'{"message": "hunter2"}'
    return Reply(status, {name.replace("_", "-"): value for name, value in headers.items()}, words)


# What comes back; how often it is sent and what is raised: by a repeatable call, by a start.
# Five is the policy's number of attempts; "ok" is a result.
TABLE: list[tuple[str, list[Step], tuple[int, object], tuple[int, object]]] = [
    ("not sent", [NotSent("x")], (5, NotSent), (5, NotSent)),
    ("not sent, then ok", [NotSent("x"), NotSent("x"), OK], (3, "ok"), (3, "ok")),
    ("429", [THROTTLED], (5, Throttled), (5, Throttled)),
    ("429, then ok", [THROTTLED, OK], (2, "ok"), (2, "ok")),
    ("429 with seconds", [_reply(429, retry_after="7"), OK], (2, "ok"), (2, "ok")),
    ("429 with a date", [_reply(429, retry_after=DATE), OK], (2, "ok"), (2, "ok")),
    ("429 with nonsense", [_reply(429, retry_after="soon"), OK], (2, "ok"), (2, "ok")),
    ("429 beyond patience", [_reply(429, retry_after="301"), OK], (1, Throttled), (1, Throttled)),
    ("401 once", [REFUSED, OK], (2, "ok"), (2, "ok")),
    ("401 twice", [REFUSED, REFUSED, OK], (2, AuthenticationError), (2, AuthenticationError)),
    ("401, then 429, then ok", [REFUSED, THROTTLED, OK], (3, "ok"), (3, "ok")),
    ("reply lost", [ReplyLost("x")], (5, ReplyLost), (1, StartUnknown)),
    ("reply lost, then ok", [ReplyLost("x"), OK], (2, "ok"), (1, StartUnknown)),
    ("401, then reply lost", [REFUSED, ReplyLost("x"), OK], (3, "ok"), (2, StartUnknown)),
    ("429, then reply lost", [THROTTLED, ReplyLost("x"), OK], (3, "ok"), (2, StartUnknown)),
    ("not sent, then lost", [NotSent("x"), ReplyLost("x"), OK], (3, "ok"), (2, StartUnknown)),
    ("500", [_reply(500)], (5, ServerError), (1, StartUnknown)),
    ("502", [_reply(502), OK], (2, "ok"), (1, StartUnknown)),
    ("503", [_reply(503), OK], (2, "ok"), (1, StartUnknown)),
    ("503 with seconds", [_reply(503, retry_after="3"), OK], (2, "ok"), (1, StartUnknown)),
    ("504", [_reply(504), OK], (2, "ok"), (1, StartUnknown)),
    ("520", [_reply(520), OK], (2, "ok"), (1, StartUnknown)),
    ("2xx unreadable", [Reply(200)], (1, DecodeError), (1, StartUnknown)),
    ("2xx too large", [DecodeError("too large")], (1, DecodeError), (1, StartUnknown)),
    ("400", [_reply(400)], (1, BadRequest), (1, BadRequest)),
    ("403", [_reply(403)], (1, PermissionDenied), (1, PermissionDenied)),
    ("404", [_reply(404)], (1, NotFound), (1, NotFound)),
    ("408", [_reply(408)], (5, ReplyError), (1, StartUnknown)),
    ("408, then ok", [_reply(408), OK], (2, "ok"), (1, StartUnknown)),
    ("421", [_reply(421)], (5, ReplyError), (5, ReplyError)),
    ("425, then ok", [_reply(425), OK], (2, "ok"), (2, "ok")),
    ("418", [_reply(418)], (1, ReplyError), (1, ReplyError)),
    ("301", [_reply(301)], (5, ForeignReply), (5, ForeignReply)),
    ("302", [_reply(302)], (5, ForeignReply), (5, ForeignReply)),
    ("302, then ok", [_reply(302), OK], (2, "ok"), (2, "ok")),
    ("307", [_reply(307)], (5, ForeignReply), (5, ForeignReply)),
    ("303", [_reply(303)], (5, ForeignReply), (1, StartUnknown)),
    ("304", [_reply(304)], (5, ForeignReply), (1, StartUnknown)),
    ("101", [_reply(101)], (5, ForeignReply), (1, StartUnknown)),
]
IDS = [row[0] for row in TABLE]


async def _see(rig: Rig, is_start: bool, outcome: object, request: Request) -> AgentsError | None:
    """Make the call and assert that it ends as it should; return what was raised."""
    work = rig.start(request) if is_start else rig.caller.call(rig.account, request, read_text)
    ended = await rig.ends(work)
    rig.assert_idle()
    if isinstance(outcome, str):
        assert ended == outcome
        return None
    assert type(ended) is outcome
    assert isinstance(ended, AgentsError)
    return ended


@pytest.mark.parametrize(("steps", "expected"), [(row[1], row[2]) for row in TABLE], ids=IDS)
@pytest.mark.parametrize("request_", [CALL, attrs.evolve(CALL, method="DELETE")], ids=["GET", "DELETE"])
async def test_repeatable_calls(steps: list[Step], expected: tuple[int, object], request_: Request) -> None:
    """A call that may be repeated is retried after every passing error, and after nothing else."""
    async with Rig(*steps) as rig:
        error = await _see(rig, False, expected[1], request_)
        assert rig.send.times == expected[0]
        assert not isinstance(error, StartUnknown)


@pytest.mark.parametrize(("steps", "expected"), [(row[1], row[3]) for row in TABLE], ids=IDS)
async def test_starts(steps: list[Step], expected: tuple[int, object]) -> None:
    """A start is repeated only where it began nothing for certain; where that cannot be known, it is unknown."""
    async with Rig(*steps) as rig:
        error = await _see(rig, True, expected[1], START)
        assert rig.send.times == expected[0]
        if isinstance(error, StartUnknown):
            assert (error.vendor, error.call, error.target) == ("leena", "aop.execute", "triage")
            assert error.sent_at is not None
            assert EPOCH <= error.sent_at <= rig.clock.utcnow()
            assert (error.body, error.advice) == (BODY, "Check the report.")
            assert isinstance(error.__cause__, AgentsError)
            assert error.status == error.__cause__.status
            assert SECRET not in f"{error} {error!r} {error.__cause__!r}"
            again = pickle.loads(pickle.dumps(error))  # noqa: S301 - our own
            assert vars(again) == vars(error)


async def test_vendors_say_which_5xx_execute_nothing() -> None:
    """A 503 that means, for this vendor, that nothing was executed is a refusal: the start is sent again."""
    async with Rig(_reply(503), OK) as rig:
        await _see(rig, True, "ok", REFUSING)
        assert rig.send.times == 2
    async with Rig(_reply(503)) as rig:
        await _see(rig, True, ServerError, REFUSING)
        assert rig.send.times == 5
    async with Rig(_reply(502)) as rig:
        await _see(rig, True, StartUnknown, REFUSING)
        assert rig.send.times == 1


@pytest.mark.parametrize("is_start", [False, True])
@pytest.mark.parametrize(
    ("header", "least", "most"), [("7", 7.0, 7.7), (DATE, 20.0, 22.0), ("0", 0.0, 0.5), ("1.5", 1.5, 1.75)]
)
async def test_retry_after_is_honoured(header: str, least: float, most: float, is_start: bool) -> None:
    """`Retry-After` is waited in full, in seconds or as a date, by starts as well."""
    async with Rig(_reply(429, retry_after=header), OK) as rig:
        await _see(rig, is_start, "ok", START if is_start else CALL)
        (retry,) = rig.emitted(RetryScheduled)
        assert least <= retry.delay <= most
        assert retry.error.retry_after == least


async def test_waits_double_and_jitter() -> None:
    """Without a Retry-After the waits are drawn below a bound that doubles."""
    async with Rig(_reply(502)) as rig:
        await _see(rig, False, ServerError, CALL)
        assert [retry.delay for retry in rig.emitted(RetryScheduled)] == [0.25, 0.5, 1.0, 2.0]
        assert [retry.failures for retry in rig.emitted(RetryScheduled)] == [1, 2, 3, 4]


async def test_refusals_carry_the_facts() -> None:
    """An error has the status, the request id and the server's message, and prints nothing of the message."""
    async with Rig(_reply(403, x_request_id="req-1", retry_after="5")) as rig:
        error = await _see(rig, False, PermissionDenied, CALL)
        assert error is not None
        assert (error.vendor, error.call, error.status) == ("leena", "report.page", 403)
        assert (error.request_id, error.retry_after, error.detail) == ("req-1", 5.0, SECRET)
        assert SECRET not in f"{error} {error!r}"


@pytest.mark.parametrize(
    ("body", "detail"),
    [
        (b"", ""),
        (b"<html>gone</html>", "<html>gone</html>"),
        (b'{"error": "no"}', "no"),
        (b'{"message": "", "error": "no"}', "no"),
        (b'{"error_description": "no"}', "no"),
        (b'{"code": 3}', ""),
        (b'"no"', "no"),
        (b'["no"]', '["no"]'),
        (b'{"error": {"code": "no"}}', '{"error": {"code": "no"}}'),
        (b"\xff\xfe", "\ufffd\ufffd"),
        (b"x" * 5000, "x" * 500),
        (b"[" * 1000 + b"]" * 1000, "[" * 500),
        (b'{"error": ' + b"[" * 900 + b"]" * 900 + b"}", '{"error": ' + "[" * 490),
    ],
)
async def test_detail_of_a_refusal_in_any_form(body: bytes, detail: str) -> None:
    """Whatever the body of a refusal is, it can be read, and its message is kept, truncated."""
    async with Rig(Reply(400, {}, body)) as rig:
        error = await _see(rig, False, BadRequest, CALL)
        assert error is not None
        assert error.detail == detail


@pytest.mark.parametrize(
    ("body", "code", "detail"),
    [
        (b'{"success": false, "error": {"code": "INVALID_NAME", "message": "no"}}', "INVALID_NAME", "no"),
        (b'{"error": {"code": "NO"}}', "NO", '{"error": {"code": "NO"}}'),
        (b'{"error": {"code": 7, "message": "no"}}', "", "no"),
        (b'{"code": "NO", "message": "no"}', "NO", "no"),
        (b'{"code": "NO", "error": "no"}', "NO", "no"),
        (b'{"error": "no"}', "", "no"),
        (b'["NO"]', "", '["NO"]'),
    ],
)
async def test_code_of_a_refusal(body: bytes, code: str, detail: str) -> None:
    """Where a refusal has a code, by itself or beside its message, the error has it as well."""
    async with Rig(Reply(400, {}, body)) as rig:
        error = await _see(rig, False, BadRequest, CALL)
        assert isinstance(error, BadRequest)
        assert (error.code, error.detail) == (code, detail)


async def test_a_retry_that_cannot_finish_in_time_is_not_begun() -> None:
    """The caller's own deadline ends the attempts as soon as the next wait would outlast it."""
    async with Rig(_reply(429, retry_after="30"), OK) as rig:
        with anyio.fail_after(20):
            with pytest.raises(Throttled):
                await rig.caller.call(rig.account, CALL, read_text)
            rig.send.steps = [_reply(429, retry_after="30"), OK]
            with pytest.raises(Throttled):
                await rig.start()
        assert rig.send.times == 2
        assert rig.emitted(RetryScheduled) == []
        rig.send.steps = [_reply(429, retry_after="30"), OK]
        with anyio.fail_after(200):
            assert await rig.ends(rig.start()) == "ok"


async def test_polls_are_sent_once() -> None:
    """A poll is not retried here, since the poller schedules retries itself. Only a stale token is renewed."""
    for step in (_reply(500), THROTTLED, ReplyLost("x"), NotSent("x")):
        async with Rig(step) as rig:
            assert isinstance(await rig.ends(rig.poll()), AgentsError)
            assert rig.send.times == 1
            rig.assert_idle()
    async with Rig(REFUSED, OK) as rig:
        assert await rig.ends(rig.poll()) == "ok"
        assert rig.send.times == 2


async def test_fixed_headers_cannot_be_renewed() -> None:
    """Where an account signs with a key, the first 401 is final, and every request has the key."""
    async with Rig(REFUSED, is_signed=False) as rig:
        await _see(rig, False, AuthenticationError, CALL)
        assert rig.send.times == 1


async def test_outage_costs_no_storm() -> None:
    """All calls of an account share one retry budget, so that an outage does not multiply the requests."""
    policy = RetryPolicy(reserve=10, share=0.1, first=0.001)
    async with Rig(_reply(502), retry=policy) as rig:
        tasks = [asyncio.ensure_future(rig.caller.call(rig.account, CALL, read_text)) for _ in range(100)]
        await rig.clock.advance(5.0)
        assert all(isinstance(task.exception(), ServerError) for task in tasks)
        assert 100 < rig.send.times <= 100 + 10 + 10 + 1


async def test_throttling_spends_no_budget() -> None:
    """Retries after a 429 are slowed down by the rate limit instead, and spend nothing of the budget."""
    async with Rig(THROTTLED, OK, retry=RetryPolicy(reserve=0, share=0)) as rig:
        await _see(rig, False, "ok", CALL)
    async with Rig(_reply(502), OK, retry=RetryPolicy(reserve=0, share=0)) as rig:
        await _see(rig, False, ServerError, CALL)
        assert rig.send.times == 1


async def test_throttling_lowers_the_rate() -> None:
    """A 429 lowers the account's rate, and that is emitted once a second, not for each answer."""
    async with Rig(THROTTLED) as rig:
        for _ in range(5):
            await rig.begin(rig.poll())
        assert len(rig.emitted(RateLowered)) == 1
        assert rig.account.limiter.statistics().per_second < 1.0
        await rig.clock.advance(5000)


async def test_no_account_is_held_for_longer_than_patience() -> None:
    """Whatever a server asks for, the account is held for no longer than the policy's patience."""
    async with Rig(_reply(429, retry_after="31536000"), retry=RetryPolicy(patience=60)) as rig:
        for _ in range(8):
            await rig.begin(rig.poll())
        await rig.clock.advance(600)
        rig.send.steps = [OK]
        waiting = await rig.begin(rig.poll())
        await rig.clock.advance(61)
        assert await waiting == "ok"


async def test_quota_holds_for_those_that_waited_for_the_token() -> None:
    """Requests that waited for a token are sent at the account's rate, not all at once when it arrives."""
    token: asyncio.Future[tuple[str, float]] = asyncio.get_running_loop().create_future()

    async def fetch() -> tuple[str, float]:
        return await token

    limits = PoolLimits(requests_per_second=2)
    async with Rig(OK, limits=limits, fetch=fetch) as rig:
        sent_at: list[float] = []
        rig.send.on_sending = lambda: sent_at.append(rig.clock.now())
        tasks = [asyncio.ensure_future(rig.caller.call(rig.account, CALL, read_text)) for _ in range(20)]
        await rig.clock.advance(30)
        assert sent_at == []
        token.set_result(("token-1", 3600.0))
        await rig.clock.advance(30)
        assert all(task.done() for task in tasks)
        gaps = [late - early for early, late in pairwise(sent_at)]
        assert min(gaps) >= 0.5


async def test_token_that_expires_in_the_queue() -> None:
    """A request whose token expired in the queue waits for a new one without a permit, and is signed with it."""
    held = Held()
    async with Rig(held, OK, limits=PoolLimits(requests_at_once=1)) as rig:
        first = await rig.begin(rig.caller.call(rig.account, CALL, read_text))
        waiting = await rig.begin(rig.start())
        await rig.clock.advance(3600)
        held.reply.set_result(OK)
        assert await first == "ok"
        assert await waiting == "ok"
        assert [each.signature for each in rig.send.attempts] == ["Bearer token-1", "Bearer token-2"]
        rig.assert_idle()


async def test_token_that_cannot_be_obtained_holds_no_permit() -> None:
    """A request whose token expired in the queue, and that gets no new one, leaves nothing behind."""
    held = Held()
    async with Rig(held, OK, limits=PoolLimits(requests_at_once=1)) as rig:
        first = await rig.begin(rig.caller.call(rig.account, CALL, read_text))
        waiting = await rig.begin(rig.start())
        await rig.clock.advance(3600)

        async def fail() -> tuple[str, float]:
            raise AuthenticationError("bad", vendor="leena", call="token")

        rig.source.fetch = fail
        held.reply.set_result(OK)
        assert await first == "ok"
        with pytest.raises(AuthenticationError):
            await waiting
        rig.assert_idle()


async def test_requests_are_emitted_where_there_is_a_hook() -> None:
    """Each request is emitted with its status or its error, and how long it took."""
    async with Rig(ReplyLost("x"), OK) as rig:
        await _see(rig, False, "ok", CALL)
        assert [(done.status, type(done.error)) for done in rig.emitted(RequestDone)] == [
            (None, ReplyLost),
            (200, type(None)),
        ]
        assert all(done.call == "report.page" and done.vendor == "leena" for done in rig.emitted(RequestDone))


async def test_numbers_count_what_was_sent() -> None:
    """Requests, retries and accepted starts are counted."""
    async with Rig(THROTTLED, OK) as rig:
        assert await rig.ends(rig.start()) == "ok"
        assert (rig.caller.requests, rig.caller.retries, rig.caller.starts) == (2, 1, 1)


# ── the token endpoint ──────────────────────────────────────────────────────────────────────────────────


def _error(code: str) -> Reply:
    return Reply(400, {}, b'{"error": "%s"}' % code.encode())


def _read_token(reply: Reply) -> tuple[str, float]:
    return reply.body.decode(), 60.0


@pytest.mark.parametrize("kind", ["call", "start", "token"])
async def test_decode_errors_name_the_reply(kind: str) -> None:
    """The error for a reply that cannot be read has its status and its request id."""
    async with Rig(Reply(201, {"x-request-id": "r-1"}), retry=RetryPolicy(attempts=1)) as rig:
        if kind == "start":
            ended = await rig.ends(rig.start())
        elif kind == "token":
            ended = await rig.ends(rig.caller.fetch_token("leena", TOKEN, read_text))
        else:
            ended = await rig.ends(rig.caller.call(rig.account, CALL, read_text))
        assert isinstance(ended, StartUnknown if kind == "start" else DecodeError)
        assert (ended.status, ended.request_id) == (201, "r-1")


@pytest.mark.parametrize(
    ("steps", "times", "outcome"),
    [
        ([OK], 1, ("ok", 60.0)),
        ([NotSent("x"), ReplyLost("x"), Reply(502), THROTTLED, OK], 5, ("ok", 60.0)),
        ([Reply(502)], 5, ServerError),
        ([ReplyLost("x")], 5, ReplyLost),
        ([NotSent("x")], 5, NotSent),
        ([THROTTLED], 5, Throttled),
        ([REFUSED], 1, AuthenticationError),
        ([Reply(400)], 1, AuthenticationError),
        ([Reply(404)], 1, AuthenticationError),
        ([Reply(302)], 5, ForeignReply),
        ([_error("temporarily_unavailable")], 5, ServerError),
        ([_error("temporarily_unavailable"), Reply(408), Reply(421), OK], 4, ("ok", 60.0)),
        ([_error("invalid_client")], 1, AuthenticationError),
        ([DecodeError("x")], 5, DecodeError),
    ],
)
async def test_token_requests(steps: list[Step], times: int, outcome: object) -> None:
    """A token request is retried after passing errors and odd replies; a refusal is an AuthenticationError."""
    async with Rig(*steps) as rig:
        ended = await rig.ends(rig.caller.fetch_token("leena", TOKEN, _read_token))
        assert rig.send.times == rig.caller.token_requests == times
        if isinstance(outcome, tuple):
            assert ended == outcome
            return
        assert type(ended) is outcome
        assert isinstance(ended, AgentsError)
        assert (ended.vendor, ended.call) == ("leena", "token")
        assert SECRET not in f"{ended} {ended!r} {ended.__cause__!r}"


@pytest.mark.parametrize("step", [Reply(502), ReplyLost("x"), NotSent("x"), REFUSED, DecodeError("x")])
@pytest.mark.parametrize("is_start", [False, True])
async def test_error_of_the_token_endpoint_is_raised(step: Step, is_start: bool) -> None:
    """Where no token is obtained, nothing was sent: the token endpoint's error is raised, and no start is unknown."""
    async with Rig(step) as rig:
        rig.source.fetch = lambda: rig.caller.fetch_token("leena", TOKEN, _read_token)
        ended = await rig.ends(rig.start() if is_start else rig.caller.call(rig.account, CALL, read_text))
        assert isinstance(ended, AgentsError)
        assert not isinstance(ended, StartUnknown)
        assert ended.call == "token"
        assert {attempt.request.call for attempt in rig.send.attempts} == {"token"}
        rig.assert_idle()


async def test_token_that_cannot_be_renewed_ends_a_refused_start() -> None:
    """A start that was refused with 401 and gets no new token began nothing."""

    async def first_only() -> tuple[str, float]:
        rig.fetches += 1
        if rig.fetches > 1:
            raise ReplyLost("the token endpoint is gone", vendor="leena", call="token")
        return "token-1", 3600.0

    async with Rig(REFUSED, fetch=first_only) as rig:
        ended = await rig.ends(rig.start())
        assert type(ended) is ReplyLost
        assert rig.send.times == 1


async def test_closed_pool_is_raised() -> None:
    """A call of a pool that is closed raises, instead of waiting for a token without end."""
    async with Rig(OK) as rig:
        await rig.supervisor.aclose()
        assert isinstance(await rig.ends(rig.caller.call(rig.account, CALL, read_text)), PoolClosed)
        assert isinstance(await rig.ends(rig.start()), PoolClosed)
        assert rig.send.times == 0
        rig.assert_idle()


async def test_refused_token_is_replaced() -> None:
    """After a 401 the call is signed with a new token."""
    async with Rig(REFUSED, OK) as rig:
        await _see(rig, False, "ok", CALL)
        assert [each.signature for each in rig.send.attempts] == ["Bearer token-1", "Bearer token-2"]
        assert rig.fetches == 2


async def test_account_shows_its_name_alone() -> None:
    """The repr of an account contains its name and no credentials."""
    async with Rig(OK) as rig:
        assert repr(rig.account) == "<Account k>"
