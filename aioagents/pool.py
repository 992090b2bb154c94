"""The session pool: connections, tokens, limits and waits of any number of clients, with one lifetime."""

import asyncio
import random
import warnings
from collections.abc import Callable, Coroutine, Hashable, Iterable, Mapping
from contextvars import Context
from ssl import SSLContext
from typing import Any, Self

import aiohttp
import anyio
from attrs import frozen

from .auth import TokenCache, TokenSource, TokenStore
from .calls import Account, Caller, ReadRefusal, read_any_refusal
from .clock import Clock, LoopClock
from .errors import PoolClosed
from .model import Send
from .observe import Dispatcher, Hook
from .polling import Cadence, Learned, PollStatistics, Reader, ScheduledSource, Scheduler
from .retry import RetryPolicy
from .tasks import Supervisor
from .tracebacks import hides_locals
from .transport import HttpSend, LimiterStatistics, PoolLimits, Timeouts


@frozen(kw_only=True)
class PoolStatistics:
    """What a pool has done since it was opened, and what it is doing.

    `requests` counts every request sent, `retries` those sent again after an error, `token_requests` those to token
    endpoints, and `starts` the runs that were accepted. `polling` describes the waits (a run with several handles
    counts once), and `accounts` the limiter of each account.
    """

    requests: int
    retries: int
    token_requests: int
    starts: int
    polling: PollStatistics
    accounts: Mapping[str, LimiterStatistics]


class SessionPool:
    """Shares connections, tokens, limits and one poll scheduler among clients of any vendor, region, account.

    An async context manager that may be entered in one task and left in another, of the same event loop. Leaving it
    ends waits with `PoolClosed`, waits up to `timeouts.close` seconds for the replies of starts that are in flight,
    then closes tasks and connections; the runs themselves go on. `tokens` is a `TokenCache`, or the store for one;
    `hooks` are called with each event (`aioagents.observe`). `proxy` is the URL of an HTTP proxy for all hosts;
    without it those of the environment are used (`HTTPS_PROXY`, `HTTP_PROXY`, `NO_PROXY`), except for this machine,
    and with an empty string none. `ssl` is the context for TLS, with an authority or a client certificate of a
    company's. A `session` of the caller's is used for all requests, with its own settings for both, and not closed.
    `clock`, `send` and `chance` are for tests.
    """

    @hides_locals
    def __init__(
        self,
        *,
        limits: PoolLimits | None = None,
        timeouts: Timeouts | None = None,
        retry: RetryPolicy | None = None,
        cadence: Cadence | None = None,
        tokens: TokenCache | TokenStore | None = None,
        hooks: Iterable[Hook] = (),
        proxy: str | None = None,
        ssl: SSLContext | None = None,
        session: aiohttp.ClientSession | None = None,
        clock: Clock | None = None,
        send: Send | None = None,
        chance: Callable[[], float] = random.random,
    ) -> None:
        self._limits = limits or PoolLimits()
        self._timeouts = timeouts or Timeouts()
        self._retry = retry or RetryPolicy()
        self.clock = clock or LoopClock()
        self.chance = chance
        #: When runs are polled: what was given, or a `Learned`, which all runs of the pool teach.
        self.cadence: Cadence = Learned() if cadence is None else cadence
        self._tokens = tokens if isinstance(tokens, TokenCache) else TokenCache(tokens, clock=self.clock)
        self._http: HttpSend | None = None
        if send is None:
            send = self._http = HttpSend(
                limits=self._limits, timeouts=self._timeouts, session=session, proxy=proxy, tls=ssl
            )
        self._supervisor = Supervisor()
        self._emit = Dispatcher(hooks)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._state = "not entered"
        self._accounts: dict[Hashable, Account] = {}
        self._sources: dict[Hashable, ScheduledSource] = {}
        self.caller = Caller(
            send,
            supervisor=self._supervisor,
            clock=self.clock,
            retry=self._retry,
            emit=self._emit,
            chance=chance,
        )
        self._scheduler = Scheduler(
            clock=self.clock,
            cadence=self.cadence,
            retry=self._retry,
            emit=self._emit,
            spawn=self._spawn_poller,
            ensure_open=self.ensure_open,
            pollers=self._limits.pollers,
            chance=chance,
        )

    async def __aenter__(self) -> Self:
        if self._state != "not entered":
            raise PoolClosed(f"a pool is entered once, and this one is {self._state}; make a new one")
        self._loop = asyncio.get_running_loop()
        if self._http is not None:
            await self._http.__aenter__()
        await self._supervisor.open()
        self._state = "open"
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Close everything in order. May be called twice, and from another task than the one that entered.

        Raises `PoolClosed` in another event loop than the one it was entered in: nothing can be closed there.
        """
        if self._state == "not entered":
            self._state = "closed"
        if self._state != "open":
            return
        self._ensure_same_loop()
        self._state = "closed"
        self._scheduler.close()
        try:
            with anyio.move_on_after(self._timeouts.close, shield=True):
                await self.caller.drain(self._timeouts.close)
        finally:  # also when cancelled otherwise than by anyio, against which there is no shield
            try:
                await self._supervisor.aclose()
            finally:
                if self._http is not None:
                    await self._http.aclose()

    def ensure_open(self) -> None:
        """Raise `PoolClosed` unless the pool is open in the running event loop."""
        if self._state != "open" or not self._supervisor.is_open:
            state = self._state if self._state != "open" else "ending with its event loop"
            raise PoolClosed(f"the pool is {state}; use it inside 'async with SessionPool() as pool'")
        self._ensure_same_loop()

    def _ensure_same_loop(self) -> None:
        if asyncio.get_running_loop() is not self._loop:
            raise PoolClosed("the pool belongs to another event loop; open one pool in each loop")

    def account(
        self,
        key: Hashable,
        *,
        name: str,
        vendor: str,
        headers: Mapping[str, str] | None = None,
        fetch: Callable[[], Coroutine[Any, Any, tuple[str, float]]] | None = None,
        read_refusal: ReadRefusal = read_any_refusal,
    ) -> Account:
        """Return the account of `key`, which is made on the first call. Its `name` is shown, and has no secret.

        It signs with fixed `headers`, or with tokens that `fetch` obtains (value and lifetime in seconds);
        `read_refusal` reads the vendor's form of refusals.
        """
        account = self._accounts.get(key)
        if account is None:
            tokens = None
            if fetch is not None:
                source = TokenSource(
                    key=key,
                    name=name,
                    vendor=vendor,
                    fetch=fetch,
                    spawn=self._supervisor.spawn,
                    emit=self._emit,
                )
                tokens = (self._tokens, source)
            account = self._accounts[key] = Account(
                name,
                vendor,
                limits=self._limits,
                retry=self._retry,
                clock=self.clock,
                headers=headers or {},
                tokens=tokens,
                read_refusal=read_refusal,
            )
        return account

    def source(
        self, key: Hashable, reader: Reader, vendor: str, *, cannot_cancel: str = ""
    ) -> ScheduledSource:
        """Return the source of `key`, which is made on the first call.

        `cannot_cancel` may say why its runs cannot be cancelled, where `reader` is no `Canceller`.
        """
        source = self._sources.get(key)
        if source is None:
            source = self._sources[key] = self._scheduler.source(reader, vendor, cannot_cancel=cannot_cancel)
        return source

    def statistics(self) -> PoolStatistics:
        """Return the present numbers."""
        return PoolStatistics(
            requests=self.caller.requests,
            retries=self.caller.retries,
            token_requests=self.caller.token_requests,
            starts=self.caller.starts,
            polling=self._scheduler.statistics(),
            accounts={each.name: each.limiter.statistics() for each in self._accounts.values()},
        )

    def _spawn_poller(
        self, work: Coroutine[Any, Any, None], on_end: Callable[["asyncio.Task[Any]"], object]
    ) -> object:
        # Poll workers serve all callers, so they have no context variables of one.
        return self._supervisor.spawn(work, context=Context(), on_end=on_end)

    def __repr__(self) -> str:
        return f"<SessionPool {self._state}, accounts={len(self._accounts)}>"

    def __del__(self) -> None:
        if getattr(self, "_state", "") == "open":
            warnings.warn(f"{self!r} was never closed", ResourceWarning, source=self, stacklevel=2)
