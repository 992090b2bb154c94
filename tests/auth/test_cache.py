"""One token for many callers: fetched once, renewed before it expires, dropped only when it was refused."""

import asyncio
import math
import traceback
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

import pytest

from aioagents.auth import MemoryTokenStore, StoredToken, TokenCache, TokenSource, TokenStore
from aioagents.errors import AgentsError, AuthenticationError, DecodeError, PoolClosed, ServerError, Throttled
from aioagents.model import Token
from aioagents.observe import Event, TokenRenewed, TokenStoreFailed
from aioagents.tasks import Supervisor
from tests.fakes import FakeClock, settle

HOUR = 3600.0


class _Account:
    """One account: a cache, a source, and the vendor's token endpoint, which counts its requests."""

    def __init__(self, *, store: TokenStore | None = None, clock: FakeClock | None = None) -> None:
        self.clock = clock or FakeClock()
        self.cache = TokenCache(store, clock=self.clock)
        self.supervisor = Supervisor()
        self.fetches = 0
        self.lifetime = HOUR
        self.fault: Exception | None = None
        self.value: str | None = None
        self.may_answer: asyncio.Event | None = None
        self.events: list[Event] = []
        self.source = self.another(self.supervisor)

    def another(self, supervisor: Supervisor) -> TokenSource:
        """Return the same account's source as another pool has it."""
        return TokenSource(
            key="k",
            name="k",
            vendor="leena",
            fetch=self.fetch,
            spawn=supervisor.spawn,
            emit=self.events.append,
        )

    async def fetch(self) -> tuple[str, float]:
        """Answer as the token endpoint does."""
        self.fetches += 1
        number = self.fetches
        await asyncio.sleep(0)
        if self.may_answer is not None:
            await self.may_answer.wait()
        if self.fault is not None:
            raise self.fault
        return self.value if self.value is not None else f"token-{number}", self.lifetime

    async def get(self) -> Token:
        """Ask for the token."""
        return await self.cache.get(self.source)

    def names(self) -> list[str]:
        """Return the types of the events."""
        return [type(event).__name__ for event in self.events]


@asynccontextmanager
async def account(**options: Any) -> AsyncIterator[_Account]:
    """Open an account."""
    it = _Account(**options)
    await it.supervisor.open()
    try:
        yield it
    finally:
        await it.supervisor.aclose()


async def test_renews_once_for_many_callers() -> None:
    """A thousand callers at once cost one token request."""
    async with account() as it:
        tokens = await asyncio.gather(*(it.get() for _ in range(1000)))
        assert {token.value for token in tokens} == {"token-1"}
        assert it.fetches == 1
        assert it.names() == ["TokenRenewed"]
        assert tokens[0].headers == {"Authorization": "Bearer token-1"}
        assert "token-1" not in f"{it.cache!r} {it.events!r} {it.source!r}"


async def test_renewed_in_the_background_ahead_of_expiry() -> None:
    """In the advisory window callers keep the old token while one request fetches the new one."""
    async with account() as it:
        await it.get()
        await it.clock.advance(HOUR - 300.5)
        assert (await it.get()).value == "token-1"
        assert it.fetches == 1
        await it.clock.advance(1)
        it.may_answer = asyncio.Event()
        tokens = await asyncio.gather(*(it.get() for _ in range(100)))
        assert {token.value for token in tokens} == {"token-1"}
        await settle()
        assert it.fetches == 2
        assert (await it.get()).value == "token-1"
        it.may_answer.set()
        await settle()
        assert (await it.get()).value == "token-2"
        assert it.fetches == 2


async def test_callers_wait_only_in_the_last_moments() -> None:
    """In the mandatory window callers wait for the new token, all for the same one."""
    async with account() as it:
        await it.get()
        await it.clock.advance(HOUR - 30)
        it.may_answer = asyncio.Event()
        tasks = [asyncio.ensure_future(it.get()) for _ in range(10)]
        await settle()
        assert not any(task.done() for task in tasks)
        it.may_answer.set()
        assert {token.value for token in await asyncio.gather(*tasks)} == {"token-2"}
        assert it.fetches == 2


async def test_failing_background_renewal_hurts_nobody() -> None:
    """While the old token is valid, a failed renewal is emitted and retried after a pause; no caller gets it."""
    async with account() as it:
        await it.get()
        await it.clock.advance(HOUR - 200)
        it.fault = ServerError("x", status=502)
        for _ in range(5):
            assert (await it.get()).value == "token-1"
            await settle()
        assert it.fetches == 2
        assert it.names() == ["TokenRenewed", "TokenFailed"]
        await it.clock.advance(1)
        it.fault = None
        assert (await it.get()).value == "token-1"
        await settle()
        assert (await it.get()).value == "token-3"


async def test_only_the_token_that_failed_is_dropped() -> None:
    """A late 401 to an older token does not drop the newer one."""
    async with account() as it:
        first = await it.get()
        it.cache.accept(it.source, first)
        it.cache.reject(it.source, first)
        assert it.cache.peek(it.source) is None
        second = await it.get()
        for _ in range(10):
            it.cache.reject(it.source, first)
        assert it.cache.peek(it.source) is second
        assert it.fetches == 2


async def test_rejected_while_it_is_renewed() -> None:
    """A token that is rejected during its renewal is not used again, and not fetched twice."""
    async with account() as it:
        first = await it.get()
        await it.clock.advance(HOUR - 200)
        it.may_answer = asyncio.Event()
        it.cache.peek(it.source)
        it.cache.reject(it.source, first)
        tasks = [asyncio.ensure_future(it.get()) for _ in range(5)]
        await settle()
        it.may_answer.set()
        assert {token.value for token in await asyncio.gather(*tasks)} == {"token-2"}
        assert it.fetches == 2


@pytest.mark.parametrize(
    ("fault", "seconds"), [(AuthenticationError("bad", status=400), 15.0), (ServerError("x"), 1.0)]
)
async def test_failures_are_remembered_and_forgotten(fault: AgentsError, seconds: float) -> None:
    """For some time a failure is raised to all callers without another request; after that, one is made."""
    async with account() as it:
        it.fault = fault
        outcomes = await asyncio.gather(*(it.get() for _ in range(100)), return_exceptions=True)
        assert {type(each) for each in outcomes} == {type(fault)}
        assert it.fetches == 1
        await it.clock.advance(seconds - 0.1)
        with pytest.raises(type(fault)):
            await it.get()
        assert it.fetches == 1
        await it.clock.advance(0.1)
        it.fault = None
        assert (await it.get()).value == "token-2"
        assert it.names() == ["TokenFailed", "TokenRenewed"]


@pytest.mark.parametrize(("after", "seconds"), [(0.0, 1.0), (40.0, 40.0), (300.0, 300.0), (7200.0, 300.0)])
async def test_retry_after_of_the_token_endpoint_is_heeded(after: float, seconds: float) -> None:
    """No token is requested before the vendor's Retry-After, at most 5 minutes; callers get the time left."""
    async with account() as it:
        it.fault = Throttled("slow", status=429, retry_after=after)
        for passed in (0.0, seconds / 2):
            with pytest.raises(Throttled) as caught:
                await it.get()
            assert caught.value.retry_after == pytest.approx(max(after - passed, 0.0))
            await it.clock.advance(seconds / 2 - 0.1)
            with pytest.raises(Throttled):
                await it.get()
            await it.clock.advance(0.1)
        assert it.fetches == 1
        it.fault = None
        assert (await it.get()).value == "token-2"


async def test_each_caller_gets_an_error_of_its_own() -> None:
    """Callers get the facts and the cause of a failure, not one instance that grows with each of them."""
    async with account() as it:
        fault = AuthenticationError("bad", vendor="leena", status=400, detail="d")
        fault.__cause__ = KeyError("k")
        it.fault = fault
        errors = await asyncio.gather(*(it.get() for _ in range(50)), return_exceptions=True)
        assert len({id(error) for error in errors}) == 50
        for error in errors:
            assert isinstance(error, AuthenticationError)
            assert (vars(error), str(error)) == (vars(fault), "bad")
            assert error.__cause__ is fault.__cause__
            assert len(traceback.extract_tb(error.__traceback__)) < 10


async def test_other_exceptions_are_wrapped() -> None:
    """Any other exception of `fetch` becomes the cause of an error of ours, without its text."""
    async with account() as it:
        it.fault = KeyError("hunter2")
        with pytest.raises(AgentsError, match="obtaining a token failed: KeyError") as caught:
            await it.get()
        assert isinstance(caught.value.__cause__, KeyError)
        assert "hunter2" not in f"{caught.value!r} {it.events!r}"


async def test_cancelled_first_caller_fails_nobody() -> None:
    """The caller who began a renewal may be cancelled: the others get the token."""
    async with account() as it:
        it.may_answer = asyncio.Event()
        first = asyncio.ensure_future(it.get())
        others = [asyncio.ensure_future(it.get()) for _ in range(5)]
        await settle()
        first.cancel()
        await settle()
        assert first.cancelled()
        it.may_answer.set()
        assert {token.value for token in await asyncio.gather(*others)} == {"token-1"}
        assert it.fetches == 1


async def test_all_callers_cancelled_the_token_still_comes() -> None:
    """A renewal goes on when nobody waits for it any more, and serves the next caller."""
    async with account() as it:
        it.may_answer = asyncio.Event()
        task = asyncio.ensure_future(it.get())
        await settle()
        task.cancel()
        it.may_answer.set()
        await settle()
        assert (await it.get()).value == "token-1"
        assert it.fetches == 1


@pytest.mark.parametrize("steps", [0, 1, 2, 60])
async def test_pool_that_renews_is_closed(steps: int) -> None:
    """Two pools share a cache: the one that renews is closed at any moment, and the other renews in its place."""
    async with account() as it:
        other = Supervisor()
        await other.open()
        it.may_answer = asyncio.Event()
        closing = asyncio.ensure_future(other.aclose()) if steps == 0 else None
        await asyncio.sleep(0)
        theirs = asyncio.ensure_future(it.cache.get(it.another(other)))
        ours = asyncio.ensure_future(it.get())
        for _ in range(steps):
            await asyncio.sleep(0)
        await (closing or other.aclose())
        it.may_answer.set()
        assert (await asyncio.wait_for(ours, 5)).value.startswith("token-")
        assert isinstance((await asyncio.gather(theirs, return_exceptions=True))[0], PoolClosed | Token)


async def test_closed_pool_gets_no_token() -> None:
    """A pool that is closed gets no new token; a valid one needs no renewal to be used."""
    async with account() as it:
        other = Supervisor()
        with pytest.raises(PoolClosed):
            await it.cache.get(it.another(other))
        await it.get()
        await it.clock.advance(HOUR - 200)
        assert (await it.cache.get(it.another(other))).value == "token-1"
        assert it.fetches == 1


async def test_new_tokens_that_nobody_accepts_are_as_bad_credentials() -> None:
    """Two new tokens in a row that are refused are remembered as a failure, so that nothing is hammered."""
    async with account() as it:
        for _ in range(2):
            it.cache.reject(it.source, await it.get())
        with pytest.raises(AuthenticationError, match="may lack the permission"):
            await it.get()
        assert it.fetches == 2
        await it.clock.advance(15)
        assert (await it.get()).value == "token-3"


async def test_one_call_without_permission_does_not_stop_the_others() -> None:
    """Where tokens were accepted, a call whose every token is refused does not take it from the other calls."""
    async with account() as it:
        it.cache.accept(it.source, await it.get())
        for _ in range(20):
            for _ in range(4):  # two calls, each repeated once
                it.cache.reject(it.source, await it.get())
            it.cache.accept(it.source, await it.get())
        for _ in range(20):
            it.cache.reject(it.source, await it.get())
        assert (await it.get()).value == "token-2"
        assert it.fetches == 2
        assert it.names() == ["TokenRenewed", "TokenRenewed"]


async def test_tokens_that_are_refused_from_one_day_on_are_asked_for_rarely() -> None:
    """Where credentials that were good get tokens that nobody accepts, four a minute are requested and tried."""
    async with account() as it:
        it.cache.accept(it.source, await it.get())
        for _ in range(240):
            it.cache.reject(it.source, await it.get())
            await it.clock.advance(0.25)
        assert it.fetches == 1 + 4


async def test_a_kept_token_that_is_refused_later_is_dropped() -> None:
    """A token that was refused when it was new is dropped like any other once it is not new any more."""
    async with account() as it:
        it.cache.accept(it.source, await it.get())
        it.cache.reject(it.source, await it.get())
        second = await it.get()
        it.cache.reject(it.source, second)
        it.cache.accept(it.source, second)
        await it.clock.advance(15)
        assert (await it.get()) is second
        it.cache.reject(it.source, second)
        assert (await it.get()).value == "token-3"


async def test_a_stored_token_that_is_refused_is_not_kept() -> None:
    """A token from a store may be invalid for long: refused at once, it is replaced at once."""
    store = MemoryTokenStore()
    async with account(store=store) as it:
        it.cache.accept(it.source, await it.get())
        now = it.clock.utcnow().timestamp()
        await store.save("k", StoredToken(value="ceased", lifetime=HOUR, expires_at=now + HOUR))
        for value in ("token-1", "ceased"):
            token = await it.get()
            assert token.value == value
            it.cache.reject(it.source, token)
        assert (await it.get()).value == "token-2"


async def test_accepting_an_old_token_says_nothing_of_the_new_one() -> None:
    """A late success of an older token does not count for the newer one."""
    async with account() as it:
        first = await it.get()
        it.cache.reject(it.source, first)
        second = await it.get()
        it.cache.accept(it.source, first)
        it.cache.reject(it.source, second)
        with pytest.raises(AuthenticationError):
            await it.get()


@pytest.mark.parametrize("lifetime", [1e-9, 0.001, 1.0])
async def test_tiny_lifetimes_cost_one_request_a_caller_at_most(lifetime: float) -> None:
    """A token that expires before it can be used is used once, rather than fetched again and again."""
    async with account() as it:
        it.lifetime = lifetime
        for number in range(1, 4):
            tasks = [asyncio.ensure_future(it.get()) for _ in range(10)]
            for _ in range(30):
                await asyncio.sleep(0)
                it.clock._now += lifetime  # noqa: SLF001 - time that passes while nobody polls
            tokens = await asyncio.gather(*tasks)
            assert {token.value for token in tokens} == {f"token-{number}"}
            await it.clock.advance(2.0)


async def test_lifetime_without_end() -> None:
    """A token that never expires is fetched once."""
    async with account() as it:
        it.lifetime = math.inf
        await it.get()
        await it.clock.advance(1e9)
        assert (await it.get()).value == "token-1"


@pytest.mark.parametrize("value", ["", "a\nb", "a\r\nX: 1", "a\0", "\u20ac"])
async def test_tokens_that_do_not_fit_a_header(value: str) -> None:
    """A token that would break its header is a reply of the wrong shape; it is never used or shown."""
    store = MemoryTokenStore()
    async with account(store=store) as it:
        it.value = value
        with pytest.raises(DecodeError) as caught:
            await it.get()
        assert caught.value.call == "token"
        await store.save("k", StoredToken(value=value, lifetime=HOUR, expires_at=9e9))
        await it.clock.advance(60)
        it.value = None
        assert (await it.get()).value == "token-2"


# ── stores ──────────────────────────────────────────────────────────────────────────────────────────────


async def test_store_is_shared_by_pools() -> None:
    """Pools that share a store fetch one token between them, however many ask at the same time."""
    store = MemoryTokenStore()
    async with account(store=store) as one, account(store=store, clock=one.clock) as two:
        tokens = await asyncio.gather(*(each.get() for each in (one, two) for _ in range(100)))
        assert len({token.value for token in tokens}) == 1
        assert one.fetches + two.fetches == 1
        renewed = [event for event in one.events + two.events if isinstance(event, TokenRenewed)]
        assert sorted(event.from_store for event in renewed) == [False, True]
        assert repr(store) == "<MemoryTokenStore tokens=1>"


async def test_store_spreads_the_newer_token() -> None:
    """A token that one pool rejected is not taken from the store again; the one its renewal put there is."""
    store = MemoryTokenStore()
    async with account(store=store) as one, account(store=store, clock=one.clock) as two:
        old = await one.get()
        same = await two.get()
        assert old.value == same.value
        one.cache.reject(one.source, old)
        new = await one.get()
        assert new.value != old.value
        two.fetches = 100
        two.cache.reject(two.source, same)
        assert (await two.get()).value == new.value
        assert two.fetches == 100


async def test_renewal_ahead_of_expiry_does_not_take_the_same_token_back() -> None:
    """In the advisory window the store's copy of the present token is no renewal."""
    store = MemoryTokenStore()
    async with account(store=store) as it:
        await it.get()
        await it.clock.advance(HOUR - 200)
        await it.get()
        await settle()
        assert (await it.get()).value == "token-2"
        stored = await store.load("k")
        assert stored is not None
        assert stored.value == "token-2"


@pytest.mark.parametrize(("jump", "fetches"), [(0.0, 0), (HOUR * 24, 1), (-HOUR * 24, 0), (HOUR - 100, 1)])
async def test_wall_clock_jumps(jump: float, fetches: int) -> None:
    """A stored token that has expired by the wall clock is fetched anew; none outlives its lifetime."""
    store = MemoryTokenStore()
    async with account(store=store) as it:
        now = it.clock.utcnow().timestamp()
        await store.save("k", StoredToken(value="stored", lifetime=HOUR, expires_at=now + HOUR - jump))
        token = await it.get()
        assert it.fetches == fetches
        assert token.expires_at <= it.clock.now() + HOUR


class _Broken:
    """A store that fails in one of its methods."""

    def __init__(self, part: str, fault: Exception) -> None:
        self.part = part
        self.fault = fault

    async def load(self, key: str) -> StoredToken | None:
        """Fail, or return nothing."""
        if self.part == "load":
            raise self.fault
        return None

    async def save(self, key: str, token: StoredToken) -> None:
        """Fail, or forget."""
        if self.part == "save":
            raise self.fault

    @asynccontextmanager
    async def lock(self, key: str) -> AsyncIterator[None]:
        """Fail, or return a lock without effect."""
        if self.part == "enter":
            raise self.fault
        yield
        if self.part == "leave":
            raise self.fault


class _Unlocked(MemoryTokenStore):
    """A store whose lock cannot be created."""

    def lock(self, key: str) -> AbstractAsyncContextManager[object]:
        raise ConnectionError("away")


@pytest.mark.parametrize("part", ["load", "save", "enter", "leave"])
@pytest.mark.parametrize("fault", [OSError("disk"), RuntimeError("a store of the user's")])
async def test_broken_store_costs_no_token(part: str, fault: Exception) -> None:
    """A store that cannot be read, written or locked is emitted, and the token is still kept in memory."""
    async with account(store=_Broken(part, fault)) as it:
        assert (await it.get()).value == "token-1"
        assert (await it.get()).value == "token-1"
        assert it.names() == ["TokenStoreFailed", "TokenRenewed"]
        (failed,) = [event for event in it.events if isinstance(event, TokenStoreFailed)]
        assert failed.error is fault


async def test_error_of_the_vendor_passes_through_the_lock() -> None:
    """An error of the token request is raised as it is, and is not reported as the store's."""
    async with account(store=_Broken("", OSError())) as it:
        it.fault = ServerError("away")
        with pytest.raises(ServerError):
            await it.get()
        assert it.names() == ["TokenFailed"]


async def test_renewal_without_the_lock_still_uses_the_store() -> None:
    """While the lock cannot be acquired, tokens are still loaded from the store and saved there."""
    store = _Unlocked()
    async with account(store=store) as one, account(store=store, clock=one.clock) as two:
        assert [(await each.get()).value for each in (one, two)] == ["token-1", "token-1"]
        assert two.fetches == 0


async def test_accounts_do_not_mix() -> None:
    """Each account has its own token, failures and renewals."""
    async with account() as it:

        def source(key: str, fetch: Callable[[], Awaitable[tuple[str, float]]]) -> TokenSource:
            return TokenSource(
                key=key, name=key, vendor="v", fetch=fetch, spawn=it.supervisor.spawn, emit=it.events.append
            )

        async def good() -> tuple[str, float]:
            return "good", HOUR

        async def bad() -> tuple[str, float]:
            raise AuthenticationError("bad")

        with pytest.raises(AuthenticationError):
            await it.cache.get(source("bad", bad))
        assert (await it.cache.get(source("good", good))).value == "good"
        assert repr(it.cache) == "<TokenCache accounts=2 tokens=1 store=None>"


async def test_a_renewal_that_is_cancelled_before_it_begins_holds_up_nobody() -> None:
    """A caller that waits for a renewal whose task is cancelled at once asks for the token again."""
    async with account() as it:
        before = asyncio.all_tasks()
        caller = asyncio.create_task(it.get())
        await asyncio.sleep(0)
        (renewal,) = asyncio.all_tasks() - before - {caller}
        renewal.cancel()
        assert (await caller).value == "token-1"
        assert it.fetches == 1
