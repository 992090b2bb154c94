"""The session pool's lifetime, and what it shares."""

import asyncio
import gc
import logging
import warnings
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from datetime import date
from typing import Any

import aiohttp
import anyio
import pytest
from aiohttp import web

from aioagents import (
    Leena,
    LeenaCredentials,
    MemoryTokenStore,
    PoolClosed,
    SessionPool,
    Steady,
    TokenCache,
)
from aioagents.contract.fake import RunPlan, Step
from aioagents.observe import Event, RequestDone, RunStarted
from aioagents.providers.leena.fake import FakeLeena
from aioagents.simulator import Simulator
from tests.fakes import FakeClock, FakeSend, settle
from tests.polling.rig import CREDENTIALS, ENDPOINTS, begin, rig, until_end


def _quick() -> RunPlan:
    return RunPlan(scripts={"quick": [Step("in_progress", 2.0), Step("completed")]})


async def _use(pool: SessionPool, simulator: Simulator) -> None:
    leena = Leena.from_env(pool, simulator.environment())
    run = await leena.execute("quick")
    assert (await run.wait(timeout=10)).status == "completed"


def _pool(**options: Any) -> SessionPool:
    return SessionPool(cadence=Steady(0.02), **options)


# Entered here, left there


async def test_entered_and_left_in_different_tasks() -> None:
    """A pool opened by one task may be closed by another; waits are ended, and no task is left."""
    async with Simulator(plan=_quick(), speed=100) as simulator:
        pool = _pool()
        await asyncio.create_task(pool.__aenter__())
        await asyncio.create_task(_use(pool, simulator))
        waiter = await begin(until_end(await Leena.from_env(pool, simulator.environment()).execute("any")))
        await asyncio.create_task(pool.aclose())
        with pytest.raises(PoolClosed):
            await waiter


async def test_opened_inside_a_cancel_scope_that_ends_first() -> None:
    """No cancel scope is held open: one around the opening may end before the pool does."""
    async with Simulator(plan=_quick(), speed=100) as simulator:
        pool = _pool()
        with anyio.CancelScope() as scope:
            await pool.__aenter__()
            scope.cancel()
        await _use(pool, simulator)
        async with anyio.create_task_group() as group:
            group.start_soon(_use, pool, simulator)
            group.cancel_scope.cancel()
        await _use(pool, simulator)
        with anyio.fail_after(10):
            await pool.aclose()


async def test_opened_in_a_task_group_that_is_cancelled() -> None:
    """A task group that opened the pool may be cancelled; the pool lives on and closes elsewhere."""
    async with Simulator(plan=_quick(), speed=100) as simulator:
        pool = _pool()
        async with anyio.create_task_group() as group:

            async def open_and_stay() -> None:
                await pool.__aenter__()
                await anyio.sleep_forever()

            group.start_soon(open_and_stay)
            await anyio.sleep(0.05)
            group.cancel_scope.cancel()
        await _use(pool, simulator)
        await pool.aclose()


async def test_in_an_exit_stack_beside_task_groups() -> None:
    """In an `AsyncExitStack`, as of a lifespan, a pool may be opened and closed in any order with anyio's scopes."""
    async with Simulator(plan=_quick(), speed=100) as simulator, AsyncExitStack() as stack:
        await stack.enter_async_context(anyio.create_task_group())
        pool = await stack.enter_async_context(_pool())
        await stack.enter_async_context(anyio.create_task_group())
        await _use(pool, simulator)


async def test_in_a_cleanup_context_of_aiohttp() -> None:
    """A web application opens the pool at its start and closes it at its end."""
    key = web.AppKey("pool", SessionPool)
    async with Simulator(plan=_quick(), speed=100) as simulator:

        async def pool_context(app: web.Application) -> AsyncIterator[None]:
            async with _pool() as pool:
                app[key] = pool
                yield

        async def start(request: web.Request) -> web.Response:
            await _use(request.app[key], simulator)
            return web.Response(text="done")

        app = web.Application()
        app.cleanup_ctx.append(pool_context)
        app.router.add_post("/start", start)
        runner = web.AppRunner(app)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        host, port = runner.addresses[0][:2]
        async with aiohttp.ClientSession() as session, session.post(f"http://{host}:{port}/start") as reply:
            assert await reply.text() == "done"
        await runner.cleanup()
        with pytest.raises(PoolClosed):
            app[key].ensure_open()


async def test_closed_inside_a_cancelled_scope() -> None:
    """A cancelled block still closes its pool, and leaves nothing behind."""
    with Simulator(plan=_quick(), speed=100).in_thread() as simulator:
        before = asyncio.all_tasks()
        with anyio.move_on_after(0.1):
            async with _pool() as pool:
                await Leena.from_env(pool, simulator.environment()).execute("quick")
                await anyio.sleep_forever()
        assert repr(pool) == "<SessionPool closed, accounts=1>"
        assert asyncio.all_tasks() == before


async def test_closed_while_its_closing_is_cancelled() -> None:
    """Cancelling the closing, as a second Ctrl-C does, leaves no connection and no task open."""
    with Simulator(plan=_quick(), speed=100).in_thread() as simulator:
        before = asyncio.all_tasks()
        pool = _pool()
        await pool.__aenter__()
        await _use(pool, simulator)
        closing = asyncio.create_task(pool.aclose())
        for _ in range(3):
            await asyncio.sleep(0)
            closing.cancel()
        await asyncio.wait([closing])
        await settle()
        assert asyncio.all_tasks() == before
    del pool
    gc.collect()


# Closed, unentered, foreign


async def test_closing_twice_does_nothing_more() -> None:
    """`aclose` may be called any number of times, also before entering."""
    pool = SessionPool()
    await pool.aclose()
    await pool.aclose()
    with pytest.raises(PoolClosed, match="make a new one"):
        await pool.__aenter__()
    async with SessionPool() as second:
        await second.aclose()
        await second.aclose()


async def test_entered_once() -> None:
    """A pool is not entered a second time, neither open nor closed."""
    pool = SessionPool()
    async with pool:
        with pytest.raises(PoolClosed, match="entered once, and this one is open"):
            await pool.__aenter__()
    with pytest.raises(PoolClosed, match="this one is closed"):
        await pool.__aenter__()


def _calls(leena: Leena) -> dict[str, Callable[[], Any]]:
    async def rows() -> None:
        async for _ in leena.report(date(2026, 1, 1), date(2026, 1, 2)):
            pass

    async def synced() -> None:
        async for _ in leena.sync(start="2026-01-01"):
            pass

    async def changes() -> None:
        async for _ in leena.item("a" * 24).updates():
            pass

    item = leena.item("a" * 24)
    return {
        "execute": lambda: leena.execute("any"),
        "check": leena.check,
        "wait": item.wait,
        "await": lambda: until_end(item),
        "result": item.result,
        "poll": item.poll,
        "updates": changes,
        "report": rows,
        "sync": synced,
    }


_ALL = ["execute", "check", "wait", "await", "result", "poll", "updates", "report", "sync"]


@pytest.mark.parametrize("state", ["not entered", "closed"])
@pytest.mark.parametrize("name", _ALL)
async def test_no_call_without_an_open_pool(name: str, state: str) -> None:
    """A pool that is not open refuses each call before anything is sent, and says what to do."""
    clock = FakeClock()
    send = FakeSend(FakeLeena(), clock=clock)
    pool = SessionPool(send=send, clock=clock)
    if state == "closed":
        await pool.__aenter__()
        await pool.aclose()
    with pytest.raises(PoolClosed, match=f"the pool is {state}; use it inside 'async with"):
        await _calls(Leena(pool, credentials=CREDENTIALS, endpoints=ENDPOINTS))[name]()
    assert send.sent == []


@pytest.mark.parametrize("name", _ALL)
async def test_no_call_from_another_event_loop(name: str) -> None:
    """A pool of another event loop refuses each call before anything is sent, and says what to do."""
    async with rig() as r:

        def foreign() -> None:
            async def call() -> None:
                await _calls(r.leena)[name]()

            with pytest.raises(PoolClosed, match="another event loop; open one pool in each loop"):
                asyncio.run(call())

        await asyncio.to_thread(foreign)
        assert r.send.sent == []
        assert r.pool.statistics().polling.runs == 0


async def test_dropped_pool_warns() -> None:
    """A pool that is dropped while it is open emits a `ResourceWarning`."""
    pool = SessionPool()
    await pool.__aenter__()
    with pytest.warns(ResourceWarning, match="SessionPool open, accounts=0> was never closed"):
        pool.__del__()
    await pool.aclose()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        pool.__del__()


def test_pool_of_an_ended_loop() -> None:
    """A pool whose event loop has ended cannot be used, and says so other than a closed one."""

    async def leave() -> None:
        pool = SessionPool()
        await pool.__aenter__()
        for task in asyncio.all_tasks() - {asyncio.current_task()}:
            task.cancel()  # as `asyncio.run` does at its end
        await settle()
        with pytest.raises(PoolClosed, match="ending with its event loop"):
            pool.ensure_open()
        await pool.aclose()

    asyncio.run(leave())


def test_pool_is_closed_in_its_own_event_loop() -> None:
    """In a later event loop nothing of a pool can be closed: that raises `PoolClosed`, and it counts as unclosed."""
    clock = FakeClock()
    pool = SessionPool(send=FakeSend(FakeLeena(), clock=clock), clock=clock)
    asyncio.run(
        pool.__aenter__()
    )  # as a program does that opens a pool in one `asyncio.run` and closes it in another
    for _ in range(2):
        with pytest.raises(PoolClosed, match="another event loop; open one pool in each loop"):
            asyncio.run(pool.aclose())
    with pytest.warns(ResourceWarning, match="was never closed"):
        pool.__del__()
    pool._state = "closed"  # noqa: SLF001 - or it warns once more


# What is shared, and emitted


async def test_session_of_the_callers_is_used_and_left_open() -> None:
    """An aiohttp session of the caller's is used for the requests and is not closed with the pool."""
    async with (
        Simulator(plan=_quick(), speed=100) as simulator,
        aiohttp.ClientSession(headers={"X-Ours": "1"}) as session,
    ):
        async with _pool(session=session) as pool:
            await _use(pool, simulator)
        assert not session.closed
        async with _pool(session=session) as pool:
            await _use(pool, simulator)
        assert simulator.statistics().starts == 2


async def test_closed_session_of_the_callers() -> None:
    """A session that its owner closed is named as the reason; nothing was started."""
    async with Simulator(plan=_quick(), speed=100) as simulator:
        session = aiohttp.ClientSession()
        await session.close()
        async with _pool(session=session) as pool:
            with pytest.raises(PoolClosed, match="session that was handed to the pool is closed"):
                await _use(pool, simulator)
        assert simulator.statistics().requests == 0


async def test_a_send_of_the_callers_needs_no_connections() -> None:
    """A pool that is given its `Send` makes no connector of its own."""
    gc.collect()
    before = sum(isinstance(each, aiohttp.BaseConnector) for each in gc.get_objects())
    clock = FakeClock()
    async with SessionPool(clock=clock, send=FakeSend(FakeLeena(RunPlan()), clock=clock)):
        assert sum(isinstance(each, aiohttp.BaseConnector) for each in gc.get_objects()) == before


async def test_connections_are_kept() -> None:
    """Many runs one after the other need no more connections than requests at once."""
    async with Simulator(plan=_quick(), speed=100) as simulator, _pool() as pool:
        for _ in range(10):
            await _use(pool, simulator)
        assert simulator.statistics().connections <= 3


async def test_hooks_are_called_in_order() -> None:
    """Each hook gets each event, in the order of the hooks; one that raises does not affect the others."""
    heard: list[tuple[str, Event]] = []

    def bad(event: Event) -> None:
        raise LookupError

    hooks = [lambda event: heard.append(("one", event)), bad, lambda event: heard.append(("two", event))]
    async with rig(hooks=hooks) as r:
        await r.start()
        kinds = [type(event) for name, event in heard if name == "one"]
        assert RequestDone in kinds
        assert kinds[-1] is RunStarted
        assert heard[0::2] == [("one", event) for event in r.events]
        assert heard[1::2] == [("two", event) for event in r.events]


def test_hook_that_cannot_be_called_is_refused() -> None:
    """A hook that is not callable is refused when the pool is made."""
    not_callable: Any = "print"
    with pytest.raises(TypeError, match="hook has to be callable"):
        SessionPool(hooks=[not_callable])


async def test_two_clients_of_one_account_share_token_and_limits() -> None:
    """Equal credentials at one token endpoint are one account: one token request, one limiter."""
    async with rig() as r:
        credentials = LeenaCredentials(
            client_id="demo-client",
            client_secret="demo-secret",
            username="demo-user",
            password="demo-password",
        )
        other = Leena(r.pool, credentials=credentials, endpoints=ENDPOINTS)
        await asyncio.gather(r.start(), other.execute("triage"), other.check())
        statistics = r.pool.statistics()
        assert statistics.token_requests == 1
        assert len(statistics.accounts) == 1
        assert statistics.starts == 2


async def test_token_cache_may_outlive_the_pool() -> None:
    """A cache or a store that is passed in saves the next pool its token request."""
    clock = FakeClock()
    for tokens in (TokenCache(clock=clock), MemoryTokenStore()):
        send = FakeSend(FakeLeena(), clock=clock)
        for _ in range(3):
            async with SessionPool(clock=clock, send=send, tokens=tokens) as pool:
                await Leena(pool, credentials=CREDENTIALS, endpoints=ENDPOINTS).execute("any")
        assert len(send.calls("token")) == 1


async def test_connect_opens_a_pool_of_its_own() -> None:
    """A script needs no pool: `connect` opens one and closes it."""
    async with Simulator(plan=_quick(), speed=100) as simulator:
        environ = simulator.environment()
        credentials = LeenaCredentials.from_env(environ)
        async with Leena.connect(credentials=credentials, endpoints=_endpoints(simulator)) as leena:
            run = await leena.execute("quick")
            assert run.last is not None
            pool = leena.pool
        assert repr(pool).startswith("<SessionPool closed")


async def test_connect_reads_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without settings, `connect` takes them from the environment."""
    async with Simulator(plan=_quick(), speed=100) as simulator:
        for name, value in simulator.environment().items():
            monkeypatch.setenv(name, value)
        async with Leena.connect() as leena:
            await leena.check()
        assert simulator.statistics().token_requests == 1


def _endpoints(simulator: Simulator) -> Any:
    return type(ENDPOINTS)(token=simulator.url, aop=simulator.url, report=simulator.url)


async def test_nothing_shown_is_secret(caplog: pytest.LogCaptureFixture) -> None:
    """Neither the log at its lowest level nor any repr of a pool in use contains a secret or a token."""
    with caplog.at_level(logging.DEBUG, "aioagents"):
        async with rig() as r:
            run = await r.start()
            waiter = await begin(until_end(run))
            await r.clock.advance(40)
            await waiter
            shown = [repr(each) for each in (r.pool, r.leena, run, r.pool.statistics(), *r.events)]
            token = r.send.calls("aop.status")[0].headers["authorization"].split()[1]
    text = "\n".join([*shown, caplog.text, *(str(vars(record)) for record in caplog.records)])
    for secret in ("demo-secret", "demo-password", "demo-user", token):
        assert secret not in text
    assert "RunStarted" in text
