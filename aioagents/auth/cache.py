"""Caches tokens: one for many callers, fetched once, renewed before it expires, dropped only when it was refused."""

import asyncio
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Hashable
from contextlib import asynccontextmanager, suppress
from typing import Any, Final, Protocol

from attrs import define, field

from ..clock import Clock, LoopClock
from ..errors import AgentsError, AuthenticationError, DecodeError, PoolClosed
from ..model import Token
from ..observe import Event, TokenFailed, TokenRenewed, TokenStoreFailed
from ..tracebacks import hides_locals
from .store import StoredToken, TokenStore

# Seconds for which further callers get the same failure, so that bad credentials do not hammer the token endpoint.
_REFUSED_FOR: Final = 15.0
_FAULTY_FOR: Final = 1.0
# The most seconds of a vendor's `Retry-After` that are waited; after that, asking again does no harm.
_MAX_RETRY_AFTER: Final = 300.0
# Where no token was ever accepted, so many new ones refused in a row are treated as bad credentials.
_MAX_REJECTED: Final = 2
# Where one was, a 401 to a new token may mean that one call lacks a permission (as Leena's report does): another new
# token would be refused as well, so this one is kept for so many seconds for the calls that have it.
_KEPT_FOR: Final = 15.0


class Spawn(Protocol):
    """Runs work in a task that belongs to a pool and ends with it."""

    def __call__(self, work: Coroutine[Any, Any, None], /) -> "asyncio.Task[None]":
        """Run `work`. Raises `PoolClosed`."""
        ...


class _Entry:
    __slots__ = (
        "failed_at",
        "failed_until",
        "failure",
        "is_accepted",
        "is_kept",
        "is_proven",
        "kept_until",
        "rejected",
        "renewal",
        "streak",
        "token",
    )

    def __init__(self) -> None:
        self.token: Token | None = None
        self.renewal: asyncio.Future[None] | None = None
        self.failure: AgentsError | None = None
        self.failed_at = 0.0
        self.failed_until = 0.0
        self.is_proven = False  # whether a token of these credentials was ever accepted
        self.is_accepted = False  # whether the present token was ever accepted
        self.is_kept = False  # whether the present token was refused when it was new, and is kept
        self.kept_until = 0.0  # until when it counts as new; one from a store never does
        self.rejected = ""  # the value of the latest token that was refused
        self.streak = 0  # how many new tokens in a row were refused


@define(kw_only=True, eq=False)
class TokenSource:
    """How one account obtains tokens from one cache.

    `key` identifies the account within the process; `name` does so in stores, and must contain no secret. `fetch`
    asks the vendor, and returns the token and its lifetime in seconds.
    """

    key: Hashable = field(repr=False)
    name: str
    vendor: str
    fetch: Callable[[], Awaitable[tuple[str, float]]] = field(repr=False)
    spawn: Spawn = field(repr=False)
    emit: Callable[[Event], None] = field(repr=False)
    _entry: _Entry | None = field(
        default=None, init=False, repr=False
    )  # looked up once: keys are slow to hash


class TokenCache:
    """Keeps one token for each account and renews it, with one request however many callers ask.

    Before it expires (advisory window: the last fifth of its lifetime, at most 5 minutes) a token is renewed in the
    background while callers go on using it; callers wait only in the mandatory window (the last twentieth, at most
    30 s). With a `store`, tokens are shared beyond this cache. Used by one event loop at a time.
    """

    def __init__(self, store: TokenStore | None = None, *, clock: Clock | None = None) -> None:
        self._store = store
        self._clock = clock or LoopClock()
        self._entries: dict[Hashable, _Entry] = {}

    def peek(self, source: TokenSource) -> Token | None:
        """Return the token, or None when callers have to wait for one; begin a renewal that is due."""
        entry = self._entry(source)
        token = entry.token
        if token is None:
            return None
        now = self._clock.now()
        if now >= token.advisory_at:
            if now >= token.mandatory_at:
                return None
            if entry.renewal is None and now >= entry.failed_until:
                with suppress(PoolClosed):  # the token is still valid
                    self._begin(entry, source)
        return token

    async def get(self, source: TokenSource) -> Token:
        """Return a valid token, and wait for its renewal if need be.

        Raises `AuthenticationError` when the vendor refuses the credentials, or the error of the token endpoint; both
        are remembered for some seconds. Cancelling does not cancel the renewal, which other callers may wait for.
        """
        while (token := self.peek(source)) is None:
            entry = self._entry(source)
            if entry.renewal is None:
                if entry.failure is not None and self._clock.now() < entry.failed_until:
                    raise _copy(entry.failure, age=self._clock.now() - entry.failed_at)
                self._begin(entry, source)
            renewal, old = entry.renewal, entry.token
            if renewal is not None:
                # Ends without an exception, also when the pool that renews is closed: check again then.
                await asyncio.shield(renewal)
                if entry.token is not None and entry.token is not old:
                    return entry.token  # used once, however short its lifetime is
        return token

    def accept(self, source: TokenSource, token: Token) -> None:
        """Record that the vendor accepted `token`."""
        entry = self._entry(source)
        if entry.token is token and not entry.is_accepted:
            entry.is_accepted = entry.is_proven = True
            entry.streak = 0

    def reject(self, source: TokenSource, token: Token) -> None:
        """Drop `token` after a 401, unless it was replaced already or a new one would be refused as well."""
        entry = self._entry(source)
        if entry.token is not token:
            return
        if entry.is_proven and self._clock.now() < entry.kept_until:
            entry.is_kept |= not entry.is_accepted
            if entry.is_kept:
                return
        entry.token = None
        entry.rejected = token.value
        entry.streak = 0 if entry.is_accepted else entry.streak + 1
        if entry.streak >= _MAX_REJECTED and not entry.is_proven:
            self._fail(
                entry,
                AuthenticationError(
                    f"{source.vendor}: new tokens are refused again and again; the account may lack the permission",
                    vendor=source.vendor,
                    status=401,
                ),
            )

    def _entry(self, source: TokenSource) -> _Entry:
        if source._entry is None:  # noqa: SLF001 - the cache's own attribute of the source
            source._entry = self._entries.setdefault(source.key, _Entry())  # noqa: SLF001
        return source._entry  # noqa: SLF001

    def _fail(self, entry: _Entry, error: AgentsError) -> None:
        entry.failure = error
        # What is a gateway's, or cannot be read, says nothing about the credentials.
        is_brief = error.is_passing or error.is_foreign or isinstance(error, DecodeError)
        seconds = _FAULTY_FOR if is_brief else _REFUSED_FOR
        entry.failed_at = self._clock.now()
        entry.failed_until = entry.failed_at + max(seconds, min(error.retry_after or 0.0, _MAX_RETRY_AFTER))

    def _begin(self, entry: _Entry, source: TokenSource) -> None:
        renewal = entry.renewal = asyncio.get_running_loop().create_future()
        work = self._renew(entry, source, renewal)
        try:
            task = source.spawn(work)
        except BaseException:
            work.close()
            entry.renewal = None
            raise
        # A task that is cancelled before its first step runs nothing of its `finally`.
        task.add_done_callback(lambda _: _end_renewal(entry, renewal))

    async def _renew(self, entry: _Entry, source: TokenSource, renewal: asyncio.Future[None]) -> None:
        began_at = self._clock.now()
        try:
            async with self._locked(source):
                token = await self._load(entry, source)
                is_shared = token is not None
                if token is None:
                    token = await self._fetch(source)
                    await self._save(token, source)
        except Exception as exc:  # noqa: BLE001 - a store of the user's may raise anything, and callers have to get it
            error = exc if isinstance(exc, AgentsError) else _wrapped(source, exc)
            self._fail(entry, error)
            source.emit(TokenFailed(vendor=source.vendor, error=error))
        else:
            entry.token, entry.is_accepted, entry.failure = token, False, None
            now = self._clock.now()
            entry.is_kept, entry.kept_until = False, 0.0 if is_shared else now + _KEPT_FOR
            seconds = now - began_at
            source.emit(
                TokenRenewed(
                    vendor=source.vendor, lifetime=token.lifetime, seconds=seconds, from_store=is_shared
                )
            )
        finally:
            _end_renewal(entry, renewal)

    @hides_locals
    async def _fetch(self, source: TokenSource) -> Token:
        value, lifetime = await source.fetch()
        if not _fits_header(value):
            message = f"{source.vendor}: the token has characters that no header may have"
            raise DecodeError(message, vendor=source.vendor, call="token")
        return Token.from_lifetime(value, lifetime=lifetime, now=self._clock.now())

    @asynccontextmanager
    async def _locked(self, source: TokenSource) -> AsyncIterator[None]:
        """Hold the store's lock; where that fails, go on without it: two renewals do less harm than none."""
        lock = None
        try:
            if self._store is not None:
                lock = self._store.lock(source.name)
                await lock.__aenter__()
        except Exception as exc:  # noqa: BLE001 - as in `_load`
            lock = None
            source.emit(TokenStoreFailed(vendor=source.vendor, error=exc))
        try:
            yield
        finally:
            exc_info = sys.exc_info()
            try:
                if lock is not None:
                    await lock.__aexit__(*exc_info)
            except Exception as exc:  # noqa: BLE001 - as in `_load`
                if exc is not exc_info[1]:
                    source.emit(TokenStoreFailed(vendor=source.vendor, error=exc))

    async def _load(self, entry: _Entry, source: TokenSource) -> Token | None:
        """Return the store's token, which others may have renewed; None if it is not newer or was refused."""
        if self._store is None:
            return None
        try:
            stored = await self._store.load(source.name)
        except Exception as exc:  # noqa: BLE001 - a store of the user's may raise anything, and is optional
            source.emit(TokenStoreFailed(vendor=source.vendor, error=exc))
            return None
        if stored is None or stored.value == entry.rejected or not _fits_header(stored.value):
            return None
        if entry.token is not None and stored.value == entry.token.value:
            return None
        token = Token.from_lifetime(
            stored.value,
            lifetime=stored.lifetime,
            now=self._clock.now(),
            remaining=stored.expires_at - self._clock.utcnow().timestamp(),
        )
        return token if self._clock.now() < token.advisory_at else None

    async def _save(self, token: Token, source: TokenSource) -> None:
        if self._store is None:
            return
        expires_at = self._clock.utcnow().timestamp() + token.lifetime
        stored = StoredToken(value=token.value, lifetime=token.lifetime, expires_at=expires_at)
        try:
            await self._store.save(source.name, stored)
        except Exception as exc:  # noqa: BLE001 - as above
            source.emit(TokenStoreFailed(vendor=source.vendor, error=exc))

    def __repr__(self) -> str:
        held = sum(entry.token is not None for entry in self._entries.values())
        return f"<TokenCache accounts={len(self._entries)} tokens={held} store={self._store!r}>"


def _end_renewal(entry: _Entry, renewal: "asyncio.Future[None]") -> None:
    """Wake the callers who wait for `renewal`. May be called twice."""
    if entry.renewal is renewal:
        entry.renewal = None
    if not renewal.done():
        renewal.set_result(None)


def _fits_header(value: str) -> bool:
    return bool(value) and value.isascii() and value.isprintable()


def _wrapped(source: TokenSource, exc: Exception) -> AgentsError:
    error = AgentsError(
        f"{source.vendor}: obtaining a token failed: {type(exc).__name__}", vendor=source.vendor
    )
    error.__cause__ = exc
    return error


def _copy(error: AgentsError, *, age: float) -> AgentsError:
    """Return a copy of an error of `age` seconds: raised by many tasks, one would collect all their tracebacks."""
    copy = type(error)(*error.args, **vars(error))
    copy.__cause__ = error.__cause__
    if copy.retry_after is not None:
        copy.retry_after = max(copy.retry_after - age, 0.0)  # counted from now
    return copy
