"""Sends requests over sessions of aiohttp: uploads, streams, long requests, and all those of a caller's session."""

import asyncio
import math
import ssl
from collections.abc import Callable, Coroutine, Mapping
from typing import Any, Final, Self, TypeAlias

import aiohttp
import anyio
import attrs
from aiohttp import hdrs
from yarl import URL

from ..errors import AgentsError, PoolClosed
from ..model import Purpose, Reply, Request, Upload
from ..tracebacks import cut_traceback
from .aiohttp_errors import fail_body_on_disconnect, redacted, too_large, transport_error
from .deadlines import Deadlines
from .direct.encoder import ACCEPT, USER_AGENT
from .limits import PoolLimits, Timeouts
from .proxies import Proxies, authorization_for
from .send_observer import ObservedConnector, SendObserver
from .stream import HttpStream, read_refusal
from .upload import UploadBody

_GRACE: Final = 2.0
_REFUSAL_TIMEOUT: Final = 5.0  # seconds that reading the body of a refusal may take
_SUCCESS: Final = range(200, 300)

#: The timeouts that aiohttp enforces, and the deadlines of replies, counted from the sending of their requests.
Bounds: TypeAlias = tuple[aiohttp.ClientTimeout, Deadlines | None]


class SessionSend:
    """Sends over one aiohttp connector, another one for long requests, and a session for each host.

    Redirects are not followed, and cookies are not kept. A `session` of the caller's is used for everything with its
    own settings for connections, and is not closed here.
    """

    def __init__(
        self,
        *,
        limits: PoolLimits,
        timeouts: Timeouts,
        session: aiohttp.ClientSession | None,
        proxies: Proxies,
        tls: ssl.SSLContext | bool,
    ) -> None:
        self._limits = limits
        self._proxies = proxies
        self._tls = tls
        self._external_session = session
        self._connector: ObservedConnector | None = None
        self._keep_alive = timeouts.keep_alive
        self._sessions: dict[str, aiohttp.ClientSession] = {}
        self._long_connector: ObservedConnector | None = None
        self._long_sessions: dict[str, aiohttp.ClientSession] = {}
        self._settings = timeouts
        self._refusal_timeout = (
            _REFUSAL_TIMEOUT if timeouts.read is None else min(_REFUSAL_TIMEOUT, timeouts.read)
        )
        # Exact: aiohttp would extend longer timeouts to the next whole second.
        self._without_end = aiohttp.ClientTimeout(
            total=None, connect=timeouts.connect, ceil_threshold=math.inf
        )
        self._bounds = {purpose: self._bounds_for(timeouts.seconds_for(purpose)) for purpose in Purpose}

    def _bounds_for(self, seconds: float | None) -> Bounds:
        """Return the bounds for a reply within so many seconds, counted from its sending where that is observed."""
        if self._external_session is None:
            return self._without_end, None if seconds is None else Deadlines(seconds)
        total = self._settings.total(seconds)
        return attrs.evolve(self._without_end, total=total, sock_read=seconds), None

    async def __aenter__(self) -> Self:
        if self._external_session is None:
            self._connector = ObservedConnector(
                limit=0,  # with a bound over all hosts, a stalled one would starve the others
                limit_per_host=self._limits.per_host,
                keepalive_timeout=self._keep_alive,
                ssl=self._tls,
            )
            # A request that waits for hours must not take the others' connections, nor use one that was idle.
            self._long_connector = ObservedConnector(limit=0, force_close=True, ssl=self._tls)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Close all connections that are ours. May be called twice."""
        connectors = (self._connector, self._long_connector)
        self._connector = self._long_connector = None
        sessions = [*self._sessions.values(), *self._long_sessions.values()]
        self._sessions, self._long_sessions = {}, {}
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
        if self._external_session is not None:
            if self._external_session.closed:
                raise PoolClosed("the aiohttp session that was handed to the pool is closed")
            return self._external_session
        if self._connector is None:
            raise PoolClosed("the pool is closed")
        sessions = self._long_sessions if is_long else self._sessions
        session = sessions.get(url.raw_authority)
        if session is None:
            proxy = self._proxies.find(url)
            headers: dict[str, str] = {hdrs.USER_AGENT: USER_AGENT, hdrs.ACCEPT: ACCEPT}
            headers |= authorization_for(
                url, proxy
            )  # older versions of aiohttp forget it on a kept connection
            if is_long:
                headers[hdrs.CONNECTION] = "close"
            session = sessions[url.raw_authority] = aiohttp.ClientSession(
                connector=self._long_connector if is_long else self._connector,
                connector_owner=False,
                cookie_jar=aiohttp.DummyCookieJar(),
                headers=headers,
                max_line_size=self._limits.header_bytes,
                max_field_size=self._limits.header_bytes,
                proxy=proxy,
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
        returned with as much of its body as arrived, 64 KiB at most. Where the body is an upload, what its source
        raises is raised, and the time for the reply begins when all is sent.
        """
        if request.upload is not None:
            return self._send_upload(request, request.upload, headers, on_sent)
        return self._exchange(request, headers, on_sent, request.body, self._bounds_of(request))

    async def _send_upload(
        self,
        request: Request,
        body: Upload,
        headers: Mapping[str, str],
        on_sent: Callable[[], None] | None,
    ) -> Reply:
        seconds = request.timeout
        if seconds is None:
            seconds = self._settings.seconds_for(request.purpose)
        upload = UploadBody(body, seconds=None if request.is_long else seconds)
        try:
            async with upload:
                return await self._exchange(request, headers, on_sent, upload, (self._without_end, None))
        except AgentsError:
            if upload.error is None:
                raise
        except TimeoutError as exc:
            raise transport_error(request, exc, was_sent=True) from exc
        finally:
            headers = {}  # as in _exchange
        raise upload.error

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
        observer = self._observe(on_sent, bounds[1], is_long=request.is_long)
        response: aiohttp.ClientResponse | None = None
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
                if request.is_long and self._external_session is None:
                    fail_body_on_disconnect(response)
                length = response.content_length
                if response.status not in _SUCCESS:
                    body = await self._read_refusal(response, observer)
                elif (
                    length is None
                    or length > self._limits.bytes_for(request.purpose)
                    or hdrs.CONTENT_ENCODING in response.headers
                ):
                    body = await self._read_bounded(request, response, length)
                else:
                    body = await response.read()
                return Reply(response.status, response.headers, body)
        except (Exception, asyncio.CancelledError) as exc:
            failure = self._uncancelled(exc, observer, is_long=request.is_long)
            if not self._is_transport_failure(failure):
                cut_traceback(exc)
                raise
            error, cause = self._translate(request, failure, observer), redacted(failure)
            del failure
        finally:
            if observer is not None:
                observer.stop()
            headers, data, response = {}, None, None  # or the tracebacks of errors would keep secrets alive
        try:
            raise error from cause  # out here: its context would keep what the redacted cause leaves out
        finally:
            del error, cause, observer  # or the error's own traceback would keep them alive

    def stream(
        self,
        request: Request,
        *,
        headers: Mapping[str, str],
        on_sent: Callable[[], None] | None = None,
    ) -> HttpStream:
        """Return a context manager that sends once on entering, over a connection of its own, and streams the reply.

        There is no timeout for the whole; the request's `timeout`, or the pool's `silence`, bounds each pause. Raises
        ValueError for an upload.
        """
        if request.upload is not None:
            raise ValueError(f"{request.call}: an upload has no streamed reply")
        observer: SendObserver | None = None
        silence = self._settings.silence if request.timeout is None else request.timeout

        async def begin() -> aiohttp.ClientResponse:
            nonlocal observer
            url = URL(request.url, encoded=True)
            session = self._session(url, is_long=True)
            observer = self._observe(on_sent, None, is_long=True)
            try:
                return await session.request(
                    request.method,
                    url,
                    # A server that compresses a stream delays it until there is enough to compress.
                    headers={hdrs.ACCEPT_ENCODING: "identity", **request.headers, **headers},
                    data=request.body,
                    allow_redirects=False,
                    raise_for_status=False,
                    timeout=attrs.evolve(self._without_end, sock_read=silence),
                )
            finally:
                self._forget(is_long=True)

        def translate(exc: BaseException, *, has_begun: bool) -> AgentsError | None:
            if not self._is_transport_failure(exc):
                return None
            if has_begun and self._is_closed:
                return PoolClosed(f"the pool was closed in the middle of {request.call}", call=request.call)
            return self._translate(request, exc, observer)

        return HttpStream(begin, translate, refusal_timeout=self._settings.read)

    def _observe(
        self, on_sent: Callable[[], None] | None, deadlines: Deadlines | None, *, is_long: bool
    ) -> SendObserver | None:
        """Return the observer of the running task's next request; None where nobody needs one."""
        if on_sent is None and deadlines is None:
            return None
        observer = SendObserver(on_sent, deadlines)
        connector = self._long_connector if is_long else self._connector
        if self._external_session is not None or connector is None:
            observer.note_sent()  # it cannot be observed here: from now on it may have happened
        else:
            connector.expect(observer)
        return observer

    def _forget(self, *, is_long: bool) -> None:
        """Stop observing the running task's request."""
        connector = self._long_connector if is_long else self._connector
        if connector is not None:
            connector.forget()

    def _uncancelled(
        self, exc: BaseException, observer: SendObserver | None, *, is_long: bool
    ) -> BaseException:
        """Return why a request failed: TimeoutError where the observer cancelled it, else `exc`."""
        if observer is None:
            return exc
        self._forget(is_long=is_long)
        return TimeoutError() if observer.uncancel(exc) else exc

    @property
    def _is_closed(self) -> bool:
        return self._connector is None if self._external_session is None else self._external_session.closed

    def _is_transport_failure(self, exc: BaseException) -> bool:
        """Return whether `exc` means that aiohttp could not send or read.

        When it is closed meanwhile, aiohttp raises AssertionError, and CancelledError in tasks that nobody cancelled.
        """
        if isinstance(exc, aiohttp.ClientError | OSError | TimeoutError):
            return True
        if isinstance(exc, asyncio.CancelledError):
            task = asyncio.current_task()
            return self._is_closed and task is not None and not task.cancelling()
        return self._is_closed and not isinstance(exc, AgentsError)

    def _translate(self, request: Request, exc: BaseException, observer: SendObserver | None) -> AgentsError:
        if self._is_closed and (observer is None or not observer.was_reported):
            return PoolClosed(f"the pool was closed before {request.call} was answered", call=request.call)
        return transport_error(request, exc, was_sent=observer is None or observer.was_sent)

    async def _read_refusal(self, response: aiohttp.ClientResponse, observer: SendObserver | None) -> bytes:
        """Read the body of a refusal, within the time that is left for the reply."""
        seconds = self._refusal_timeout
        if observer is not None:
            seconds = observer.seconds_left(seconds)
            observer.stop()
        return await read_refusal(response, seconds=seconds)

    async def _read_bounded(
        self, request: Request, response: aiohttp.ClientResponse, length: int | None
    ) -> bytes:
        """Read a body of unknown size, or a compressed one; never more than the limit."""
        most = self._limits.bytes_for(request.purpose)
        body = bytearray()
        if length is None or length <= most:
            async for piece in response.content.iter_any():
                body += piece
                if len(body) > most:
                    break
            else:
                return bytes(body)
        response.close()
        raise too_large(request, response.status, self._limits)
