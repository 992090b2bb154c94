"""Whose answer is it? What a gateway says in a vendor's place ends no wait, loses no start and condemns nobody."""

import pickle
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest

from aioagents import (
    AgentsError,
    AuthenticationError,
    DecodeError,
    ForeignReply,
    NotFound,
    RunHandle,
    RunState,
    SessionPool,
    StartUnknown,
    Steady,
)
from aioagents.contract.fake import FakeServer, RunPlan, Step
from aioagents.model import Purpose, Reply, Request
from aioagents.observe import Event, PollFailed
from aioagents.providers import all_providers
from tests.conformance.adapter import Adapter
from tests.conformance.adapters import ADAPTERS
from tests.fakes import FakeClock, FakeSend
from tests.polling.rig import begin, until_end

_HTML = b"<html><body>Sorry</body></html>"
_PAGES = {
    "404 text": Reply(404, {}, b"default backend - 404"),
    "403 page": Reply(403, {}, _HTML),
    "400 page": Reply(400, {}, _HTML),
    "401 page": Reply(401, {}, _HTML),
    "302 login": Reply(302, {"location": "https://login.example.com/"}),
    "307 login": Reply(307, {"location": "https://login.example.com/"}, _HTML),
    "408": Reply(408),
    "421": Reply(421),
    "425": Reply(425),
    "200 page": Reply(200, {"content-type": "text/html"}, _HTML),
    "200 text": Reply(200, {}, b"We are back soon"),
    "200 empty": Reply(200),
    "200 other": Reply(200, {}, b'{"maintenance": true}'),
    "503 page": Reply(503, {"retry-after": "0"}, _HTML),
    "429 page": Reply(429, {"retry-after": "1"}, _HTML),
}
_TOKEN_FAULTS = {
    "302": Reply(302, {"location": "https://login.example.com/"}),
    "404 text": Reply(404, {}, b"default backend - 404"),
    "404 of a gateway": Reply(404, {}, b'{"message": "no Route matched with those values"}'),
    "403 page": Reply(403, {}, _HTML),
    "400 unavailable": Reply(400, {}, b'{"error": "temporarily_unavailable"}'),
    "408": Reply(408),
    "425": Reply(425),
    "200 page": Reply(200, {}, _HTML),
    "200 other": Reply(200, {}, b'{"maintenance": true}'),
    "503 page": Reply(503, {}, _HTML),
}
_CONDEMNED = {
    "401": Reply(401, {}, b'{"message": "who is that?"}'),
    "401 empty": Reply(401),
    **{
        code: Reply(400, {}, b'{"error": "%s"}' % code.encode())
        for code in ("invalid_client", "invalid_grant", "unauthorized_client")
    },
}
_UNAUTHORIZED = Reply(401, {}, b'{"message": "unauthorized", "error": "unauthorized"}')
_GAP = 5.0
_MANY, _FEW = 500, 10  # AGH's jobs start a dozen runs an hour


class _Case:
    """A vendor's client, its fake server, and what may answer in its place: `page`, while there is one."""

    def __init__(self, vendor: Adapter, seconds: float = 100.0) -> None:
        steps = [Step(vendor.words[RunState.RUNNING], seconds), Step(vendor.words[RunState.COMPLETED])]
        self.vendor = vendor
        self.clock = FakeClock()
        self.fake: FakeServer = vendor.fake(RunPlan(scripts={"target": steps}, outcomes={"completed": 1.0}))
        self.send = FakeSend(self.fake, clock=self.clock)
        self.send.before = self._before
        self.events: list[Event] = []
        self.page: Reply | None = None
        self.concerns: Callable[[Request], bool] = lambda request: request.purpose is Purpose.POLL
        self.left = 10**9
        self.pool = SessionPool(
            clock=self.clock,
            send=self.send,
            cadence=Steady(_GAP),
            chance=lambda: 0.5,
            hooks=[self.events.append],
        )
        self.client: Any = vendor.client(all_providers()[vendor.name].client, self.pool, self.fake)

    def _before(self, request: Request) -> Reply | None:
        if self.page is None or not self.left or not self.concerns(request):
            return None
        self.left -= 1
        return self.page

    async def start(self) -> RunHandle:
        return await self.vendor.start(self.client, "target")

    @property
    def token_requests(self) -> int:
        return self.pool.statistics().token_requests


@asynccontextmanager
async def _case(vendor: Adapter, seconds: float = 100.0) -> AsyncIterator[_Case]:
    case = _Case(vendor, seconds)
    async with case.pool:
        yield case


@pytest.fixture(params=sorted(all_providers()))
def vendor(request: pytest.FixtureRequest) -> Adapter:
    """Return each vendor in turn."""
    return ADAPTERS[request.param]


@pytest.fixture
def signing() -> Adapter:
    """Return a vendor with a token endpoint."""
    return next(each for each in ADAPTERS.values() if each.has_tokens)


# While a run is waited for


@pytest.mark.parametrize("seconds", [0, 11, 50])
@pytest.mark.parametrize("page", _PAGES)
async def test_pages_end_no_wait(vendor: Adapter, page: str, seconds: int) -> None:
    """After good polls, a page of somebody else's, once or for some time, ends no wait, which sees the true end."""
    async with _case(vendor) as c:
        waiter = await begin(until_end(await c.start()))
        await c.clock.advance(2 * _GAP + 1)
        c.page, c.left = _PAGES[page], 10**9 if seconds else 1
        await c.clock.advance(seconds or 2 * _GAP)
        assert not waiter.done()
        has_failed = any(isinstance(event, PollFailed) for event in c.events)
        assert has_failed or (page == "401 page" and vendor.has_tokens and not seconds)  # renewed, and read
        c.page = None
        await c.clock.advance(120)
        assert (await waiter).state is RunState.COMPLETED


async def test_pages_end_no_wait_however_long_they_come(vendor: Adapter) -> None:
    """A maintenance page that stays for an hour is polled at the cadence, and ends no wait."""
    async with _case(vendor) as c:
        waiter = await begin(until_end(await c.start()))
        await c.clock.advance(2 * _GAP + 1)
        before = len(c.send.sent)
        c.page = _PAGES["200 page"]
        await c.clock.advance(3600)
        assert not waiter.done()
        assert len(c.send.sent) - before <= 3600 / _GAP + 1
        c.page = None
        await c.clock.advance(2 * _GAP)
        assert (await waiter).state is RunState.COMPLETED


async def test_the_vendors_own_refusal_ends_a_wait(vendor: Adapter) -> None:
    """What the vendor itself refuses is final, also among pages of others."""
    async with _case(vendor) as c:
        waiter = await begin(until_end(await c.start()))
        await c.clock.advance(40)  # no 404 is a delay of the vendor's any more
        c.page = _PAGES["404 text"]
        await c.clock.advance(2 * _GAP)
        assert not waiter.done()
        c.page = Reply(404, {}, vendor.refusals[0][0])
        await c.clock.advance(2 * _GAP)
        with pytest.raises(NotFound):
            await waiter


@pytest.mark.parametrize("page", ["404 text", "403 page", "400 page", "302 login", "200 page"])
async def test_wrong_base_url(vendor: Adapter, page: str) -> None:
    """Where no answer was ever the vendor's, waits and calls end after a few tries, and the error names the host."""
    for is_wait in (True, False):
        async with _case(vendor) as c:
            c.concerns, c.page = lambda request: request.purpose is not Purpose.TOKEN, _PAGES[page]
            handle = vendor.follow(c.client, vendor.unknown_id)
            task: Any = await begin(until_end(handle) if is_wait else handle.poll())
            await c.clock.advance(5 * _GAP)
            error = task.exception()
            assert isinstance(error, ForeignReply | DecodeError)
            assert error.is_foreign
            assert (error.is_passing, error.host) == (False, "127.0.0.1")
            assert "127.0.0.1" in str(error)
            assert "base URL" in str(error)
            assert _HTML.decode() not in f"{error} {error!r}"
            assert len([each for each in c.send.sent if each.purpose is Purpose.POLL]) <= 5
            again = pickle.loads(pickle.dumps(error))  # noqa: S301 - our own
            assert (str(again), vars(again)) == (str(error), vars(error))


async def test_calls_go_on_for_a_minute(vendor: Adapter) -> None:
    """A call of an account that is known is repeated after pages for a minute, and then raises what it got."""
    async with _case(vendor) as c:
        handle = await c.start()
        await handle.poll()
        for seconds, is_good in ((20, True), (None, False)):
            c.page = _PAGES["404 text"]
            call: Any = await begin(handle.poll())
            await c.clock.advance(seconds or 65)
            assert call.done() is not is_good
            c.page = None
            await c.clock.advance(60)
            if is_good:
                assert (await call).state is RunState.RUNNING
            else:
                error = call.exception()
                assert isinstance(error, ForeignReply)
                assert (error.status, error.is_passing) == (404, True)
                assert "base URL" not in str(error)


# Refused credentials


async def test_401s_of_a_moment_end_no_wait(vendor: Adapter) -> None:
    """401s for half a minute end none of many waits of an account that was good, and cost few token requests."""
    async with _case(vendor) as c:
        handles = [await c.start() for _ in range(_MANY if vendor.has_input else _FEW)]
        waiters = [await begin(until_end(handle)) for handle in handles]
        await c.clock.advance(2 * _GAP + 1)
        tokens = c.token_requests
        c.page = _UNAUTHORIZED
        await c.clock.advance(30)
        assert not any(waiter.done() for waiter in waiters)
        assert c.token_requests - tokens <= 3
        c.page = None
        await c.clock.advance(200)
        assert {(await waiter).state for waiter in waiters} == {RunState.COMPLETED}


async def test_revoked_credentials_end_waits(vendor: Adapter) -> None:
    """401s for longer than a minute end all waits with AuthenticationError; new tokens are asked for rarely."""
    async with _case(vendor, 1e6) as c:
        handles = [await c.start() for _ in range(_FEW)]
        waiters: list[Any] = [await begin(until_end(handle)) for handle in handles]
        await c.clock.advance(2 * _GAP + 1)
        tokens = c.token_requests
        c.page = _UNAUTHORIZED
        await c.clock.advance(55)
        assert not any(waiter.done() for waiter in waiters)
        await c.clock.advance(25)
        assert all(isinstance(waiter.exception(), AuthenticationError) for waiter in waiters)
        assert c.token_requests - tokens <= 6


async def test_credentials_that_were_never_good_end_a_wait_at_once(vendor: Adapter) -> None:
    """Where no request was ever accepted, the first 401 to a poll is final."""
    async with _case(vendor) as c:
        c.page = _UNAUTHORIZED
        waiter: Any = await begin(until_end(vendor.follow(c.client, vendor.unknown_id)))
        await c.clock.advance(_GAP + 1)
        assert isinstance(waiter.exception(), AuthenticationError)


# The token endpoint


@asynccontextmanager
async def _token_fault(
    signing: Adapter, answer: Reply, seconds: float
) -> AsyncIterator[tuple[_Case, list[Any]]]:
    """Let a token be renewed in the middle of waits, with `answer` from the token endpoint for some time."""
    async with _case(signing, 5400.0) as c:
        waiters = [await begin(until_end(await c.start())) for _ in range(20)]
        await c.clock.advance(3200)  # the token is valid for an hour, and renewed in its last five minutes
        c.concerns, c.page = lambda request: request.purpose is Purpose.TOKEN, answer
        await c.clock.advance(seconds)
        yield c, waiters


@pytest.mark.parametrize("fault", _TOKEN_FAULTS)
async def test_faults_of_the_token_endpoint_end_no_wait(signing: Adapter, fault: str) -> None:
    """Pages, and refusals that are not about the credentials, are waited out, past the end of the token as well."""
    async with _token_fault(signing, _TOKEN_FAULTS[fault], 600) as (c, waiters):
        assert not any(waiter.done() for waiter in waiters)
        assert c.token_requests < 600  # one a second
        c.page = None
        await c.clock.advance(3000)
        assert {(await waiter).state for waiter in waiters} == {RunState.COMPLETED}


@pytest.mark.parametrize("fault", _CONDEMNED)
async def test_credentials_that_the_token_endpoint_refuses(signing: Adapter, fault: str) -> None:
    """401 and the codes that mean it end waits, when it lasts, with few requests."""
    async with _token_fault(signing, _CONDEMNED[fault], 400) as (c, waiters):
        tokens = c.token_requests
        await c.clock.advance(100)
        assert all(isinstance(waiter.exception(), AuthenticationError) for waiter in waiters)
        assert c.token_requests - tokens <= 7


@pytest.mark.parametrize("fault", ["302", "404 text", "403 page", "200 page"])
async def test_wrong_url_of_the_token_endpoint(signing: Adapter, fault: str) -> None:
    """A token endpoint that never gave a token fails after a few tries, with an error that names its host."""
    async with _case(signing) as c:
        c.concerns, c.page = lambda request: request.purpose is Purpose.TOKEN, _TOKEN_FAULTS[fault]
        starting: Any = await begin(c.start())
        await c.clock.advance(30)
        error = starting.exception()
        assert isinstance(error, ForeignReply | DecodeError)
        assert not isinstance(error, AuthenticationError)
        assert "127.0.0.1" in str(error)
        assert c.token_requests == 5


# Starts


@pytest.mark.parametrize("page", ["404 text", "403 page", "400 page", "302 login", "307 login", "421", "425"])
async def test_pages_that_began_nothing(vendor: Adapter, page: str) -> None:
    """A start that somebody else refused is sent again; if that goes on, it is refused, and never unknown."""
    async with _case(vendor) as c:
        c.concerns = lambda request: request.call == vendor.start_call
        c.page, c.left = _PAGES[page], 2
        starting = await begin(c.start())
        await c.clock.advance(60)
        assert (await starting).accepted is not None
        assert c.fake.statistics()["starts"] == 1
        c.left = 10**9
        starting = await begin(c.start())
        await c.clock.advance(600)
        with pytest.raises(AgentsError) as caught:
            await starting
        assert not isinstance(caught.value, StartUnknown)
        assert c.fake.statistics()["starts"] == 1


@pytest.mark.parametrize("page", ["200 page", "200 text", "200 empty", "503 page", "408"])
async def test_pages_that_hide_what_began(vendor: Adapter, page: str) -> None:
    """A start whose reply somebody replaced is unknown, or its run is found; it is never sent again."""
    async with _case(vendor) as c:
        c.send.after = lambda request, reply: _PAGES[page] if request.call == vendor.start_call else reply
        starting: Any = await begin(c.start())
        await c.clock.advance(600)
        assert c.fake.statistics()["starts"] == len(c.send.calls(vendor.start_call)) == 1
        if not vendor.finds_lost:
            with pytest.raises(StartUnknown):
                await starting
        else:
            assert isinstance(starting.exception(), StartUnknown | None)
