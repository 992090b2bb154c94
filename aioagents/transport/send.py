"""Carries requests over sockets."""

import asyncio
import math
from collections.abc import Callable, Coroutine, Mapping
from typing import Any, Final, Self, TypeAlias

import aiohttp
import anyio
import attrs
from aiohttp import hdrs
from yarl import URL

from ..errors import AgentsError, DecodeError, PoolClosed
from ..model import Purpose, Reply, Request, Upload
from .border import bare, told, watch
from .deadlines import Deadlines
from .limits import PoolLimits, Timeouts
from .observer import ObservedConnector, SendObserver
from .stream import HttpStream, words_of
from .upload import UploadBody

_AGENT: Final = "aioagents"
_GRACE: Final = 2.0
_PATIENCE: Final = 5.0  # seconds that the words of a refusal may take
_SUCCESS: Final = 200
_REDIRECT: Final = 300

#: What aiohttp bounds, and what bounds the time for a reply from the moment that its request is sent.
Bounds: TypeAlias = tuple[aiohttp.ClientTimeout, Deadlines | None]


class HttpSend:
    """One connector, another for long requests, and a session for each host, over aiohttp.

    Follows no redirect, keeps no cookie.

    With a `session` of the caller's, that one carries everything, keeps its own settings for connections,
    and is not closed here.
    """

    def __init__(
        self, *, limits: PoolLimits, timeouts: Timeouts, session: aiohttp.ClientSession | None = None
    ) -> None:
        self._limits = limits
        self._most = limits.reply_bytes
        self._foreign = session
        self._connector: ObservedConnector | None = None
        self._keep_alive = timeouts.keep_alive
        self._sessions: dict[str, aiohttp.ClientSession] = {}
        self._long_connector: ObservedConnector | None = None
        self._long: dict[str, aiohttp.ClientSession] = {}
        self._seconds = {
            Purpose.START: timeouts.start,
            Purpose.POLL: timeouts.read,
            Purpose.CALL: timeouts.read,
            Purpose.TOKEN: timeouts.token,
        }
        self._settings = timeouts
        self._patience = _PATIENCE if timeouts.read is None else min(_PATIENCE, timeouts.read)
        # Exactly: aiohttp would put off what takes longer to the next whole second.
        self._without_end = aiohttp.ClientTimeout(
            total=None, connect=timeouts.connect, ceil_threshold=math.inf
        )
        self._bounds = {purpose: self._bound(seconds) for purpose, seconds in self._seconds.items()}

    def _bound(self, seconds: float | None) -> Bounds:
        """Return what bounds a reply by so many seconds, counted from the moment of sending where that is seen."""
        if self._foreign is None:
            return self._without_end, None if seconds is None else Deadlines(seconds)
        total = self._settings.total(seconds)
        return attrs.evolve(self._without_end, total=total, sock_read=seconds), None

    async def __aenter__(self) -> Self:
        if self._foreign is None:
            self._connector = ObservedConnector(
                limit=0,  # a bound over all hosts would let a stalled one starve the others
                limit_per_host=self._limits.per_host,
                keepalive_timeout=self._keep_alive,
            )
            # What waits for hours must not take the others' connections, nor trust one that lay idle.
            self._long_connector = ObservedConnector(limit=0, force_close=True)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Close all connections that are ours. May be called twice."""
        connectors = (self._connector, self._long_connector)
        self._connector = self._long_connector = None
        sessions = [*self._sessions.values(), *self._long.values()]
        self._sessions, self._long = {}, {}
        for _, deadlines in self._bounds.values():
            if deadlines is not None:
                deadlines.close()
        with anyio.move_on_after(_GRACE, shield=True):
            for session in sessions:
                await session.close()
            for connector in connectors:
                if connector is not None:
                    await connector.close()

    def _session(self, url: URL, *, is_long: bool) -> aiohttp.ClientSession:
        if self._foreign is not None:
            if self._foreign.closed:
                raise PoolClosed("the aiohttp session that was handed to the pool is closed")
            return self._foreign
        if self._connector is None:
            raise PoolClosed("the pool is closed")
        sessions = self._long if is_long else self._sessions
        session = sessions.get(url.raw_authority)
        if session is None:
            session = sessions[url.raw_authority] = aiohttp.ClientSession(
                connector=self._long_connector if is_long else self._connector,
                connector_owner=False,
                cookie_jar=aiohttp.DummyCookieJar(),
                headers={hdrs.USER_AGENT: _AGENT, hdrs.ACCEPT: "application/json"},
            )
        return session

    def _bounds_of(self, request: Request) -> Bounds:
        if request.timeout is not None:
            return attrs.evolve(self._without_end, total=request.timeout), None
        return (self._without_end, None) if request.is_long else self._bounds[request.purpose]

    def send(
        self,
        request: Request,
        *,
        headers: Mapping[str, str],
        on_sent: Callable[[], None] | None = None,
    ) -> Coroutine[Any, Any, Reply]:
        """Send once, with `headers` beside the request's own; `on_sent` is called before the first byte.

        Raises `NotSent`, `ReplyLost`, `PoolClosed`, or `DecodeError` for a success above the size limit. A refusal is
        given with what there is of its body, 64 KiB at most. Where the body is an upload, what its source raises is
        raised, and the time for the reply begins when all is sent.
        """
        if request.upload is not None:
            return self._send_up(request, request.upload, headers, on_sent)
        return self._exchange(request, headers, on_sent, request.body, self._bounds_of(request))

    async def _send_up(
        self,
        request: Request,
        body: Upload,
        headers: Mapping[str, str],
        on_sent: Callable[[], None] | None,
    ) -> Reply:
        seconds = self._seconds[request.purpose] if request.timeout is None else request.timeout
        upload = UploadBody(body, seconds=None if request.is_long else seconds)
        try:
            async with upload:
                return await self._exchange(request, headers, on_sent, upload, (self._without_end, None))
        except AgentsError:
            if upload.fault is None:
                raise
        except TimeoutError as exc:
            raise told(request, exc, was_sent=True) from exc
        raise upload.fault

    async def _exchange(
        self,
        request: Request,
        headers: Mapping[str, str],
        on_sent: Callable[[], None] | None,
        data: bytes | UploadBody | None,
        bounds: Bounds,
    ) -> Reply:
        url = URL(request.url, encoded=True)
        session = self._session(url, is_long=request.is_long)
        mark = self._expect(on_sent, bounds[1], is_long=request.is_long)
        try:
            async with session.request(
                request.method,
                url,
                headers={**request.headers, **headers} if request.headers else headers,
                data=data,
                allow_redirects=False,
                raise_for_status=False,
                timeout=bounds[0],
            ) as response:
                if request.is_long and self._foreign is None:
                    watch(response)
                length = response.content_length
                if not _SUCCESS <= response.status < _REDIRECT:
                    body = await self._words(response, mark)
                elif length is None or length > self._most or hdrs.CONTENT_ENCODING in response.headers:
                    body = await self._bounded(request, response, length)
                else:
                    body = await response.read()
                return Reply(response.status, response.headers, body)
        except (Exception, asyncio.CancelledError) as exc:
            fault = self._fault(exc, mark, is_long=request.is_long)
            if not self._is_ours_to_tell(fault):
                raise
            error, cause = self._told(request, fault, mark), bare(fault)
        finally:
            if mark is not None:
                mark.end()
        try:
            raise error from cause  # out here, since a context holds on to what the cause leaves out
        finally:
            del error, cause, mark  # or they would be held by the error's own traceback

    def stream(
        self,
        request: Request,
        *,
        headers: Mapping[str, str],
        on_sent: Callable[[], None] | None = None,
    ) -> HttpStream:
        """Send once on entering, and have the reply read while it arrives, over a connection of its own.

        There is no bound on the whole; the request's `timeout`, or the pool's `silence`, bounds each pause. Raises
        ValueError for an upload.
        """
        if request.upload is not None:
            raise ValueError(f"{request.call}: an upload has no streamed reply")
        mark: SendObserver | None = None
        silence = self._settings.silence if request.timeout is None else request.timeout

        async def begin() -> aiohttp.ClientResponse:
            nonlocal mark
            url = URL(request.url, encoded=True)
            session = self._session(url, is_long=True)
            mark = self._expect(on_sent, None, is_long=True)
            try:
                return await session.request(
                    request.method,
                    url,
                    # Who packs a stream holds it back until there is enough to pack.
                    headers={hdrs.ACCEPT_ENCODING: "identity", **request.headers, **headers},
                    data=request.body,
                    allow_redirects=False,
                    raise_for_status=False,
                    timeout=attrs.evolve(self._without_end, sock_read=silence),
                )
            finally:
                self._forget(is_long=True)

        def tell(exc: BaseException, *, has_begun: bool) -> AgentsError | None:
            if not self._is_ours_to_tell(exc):
                return None
            if has_begun and self._is_closed:
                return PoolClosed(f"the pool was closed in the middle of {request.call}", call=request.call)
            return self._told(request, exc, mark)

        return HttpStream(begin, tell, patience=self._settings.read)

    def _expect(
        self, on_sent: Callable[[], None] | None, deadlines: Deadlines | None, *, is_long: bool
    ) -> SendObserver | None:
        """Have the running task's next request marked when its first byte is about to leave, where that matters."""
        if on_sent is None and deadlines is None:
            return None
        mark = SendObserver(on_sent, deadlines)
        connector = self._long_connector if is_long else self._connector
        if self._foreign is not None or connector is None:
            mark()  # sending cannot be observed here: from now on it may have happened
        else:
            connector.expect(mark)
        return mark

    def _forget(self, *, is_long: bool) -> None:
        """Expect nothing any more of the running task's request, which is over."""
        connector = self._long_connector if is_long else self._connector
        if connector is not None:
            connector.forget()

    def _fault(self, exc: BaseException, mark: SendObserver | None, *, is_long: bool) -> BaseException:
        """Return what befell a request; where its time was over, that is no cancellation."""
        if mark is None:
            return exc
        self._forget(is_long=is_long)
        return TimeoutError() if mark.take_back(exc) else exc

    @property
    def _is_closed(self) -> bool:
        return self._connector is None if self._foreign is None else self._foreign.closed

    def _is_ours_to_tell(self, exc: BaseException) -> bool:
        """Return whether aiohttp could not do it. Closed meanwhile, it asserts, and cancels who was not cancelled."""
        if isinstance(exc, aiohttp.ClientError | OSError | TimeoutError):
            return True
        if isinstance(exc, asyncio.CancelledError):
            task = asyncio.current_task()
            return self._is_closed and task is not None and not task.cancelling()
        return self._is_closed and not isinstance(exc, AgentsError)

    def _told(self, request: Request, exc: BaseException, mark: SendObserver | None) -> AgentsError:
        if self._is_closed and (mark is None or not mark.was_told):
            return PoolClosed(f"the pool was closed while {request.call} was out", call=request.call)
        return told(request, exc, was_sent=mark is None or mark.was_made)

    async def _words(self, response: aiohttp.ClientResponse, mark: SendObserver | None) -> bytes:
        """Read the body of a refusal, within the time that the reply has left."""
        patience = self._patience
        if mark is not None:
            patience = mark.left(patience)
            mark.end()
        return await words_of(response, patience=patience)

    async def _bounded(self, request: Request, response: aiohttp.ClientResponse, length: int | None) -> bytes:
        """Read a body whose size is not told, never more than the limit, also where it arrives compressed."""
        most = self._most
        body = bytearray()
        if length is None or length <= most:
            async for piece in response.content.iter_any():
                body += piece
                if len(body) > most:
                    break
            else:
                return bytes(body)
        response.close()
        raise DecodeError(
            f"the answer to {request.call} is larger than {most} bytes (PoolLimits.reply_bytes)",
            call=request.call,
            status=response.status,
        )
