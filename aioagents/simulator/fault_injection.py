"""Inject faults into the simulator's HTTP replies: latency, reset, 429, 5xx, gateways' pages, bad bodies."""

import asyncio
import math
import socket
import struct
from collections import Counter
from collections.abc import Awaitable, Callable
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Final

from aiohttp import web

from ..contract.fake import Match, StreamedReply, json_reply
from ..model import Purpose, Reply
from .faults import Fault, FaultKind, Faults
from .streams import Streams

_RESET_ON_CLOSE: Final = struct.pack("ii", 1, 0)  # SO_LINGER: on, for no time at all
_SLOW_PIECES: Final = 5
_UNAUTHORIZED: Final = 401
_STREAMED: Final = (
    None,
    FaultKind.TRUNCATE,
    FaultKind.SLOW,
)  # with these a streamed reply is sent as a stream
_PAGE: Final = b"<html><head><title>Please wait</title></head><body>Back in a moment.</body></html>"

_HTML: Final = {"content-type": "text/html; charset=utf-8"}
_LOGIN: Final = {"location": "https://login.example.com/"}
_FOUND: Final = 302

Ask = Callable[[], Awaitable[Reply | StreamedReply]]


class FaultInjector:
    """Sends replies with the fault that is drawn for each request, and counts the faults in `happened`."""

    def __init__(self, faults: Faults, *, utcnow: Callable[[], datetime] = lambda: datetime.now(UTC)) -> None:
        self._faults = faults
        self._utcnow = utcnow
        self.happened: Counter[str] = Counter()

    async def handle(
        self, request: web.BaseRequest, match: Match, ask: Ask, streams: Streams
    ) -> web.StreamResponse:
        """Answer one request. Calls `ask` at most once, and before anything is sent."""
        fault = self._faults.draw(match.route.call, match.route.purpose)
        if fault.latency:
            self.happened[FaultKind.LATENCY.value] += 1
            await asyncio.sleep(fault.latency)
        self._maybe_expire_token(request, match, fault)
        reply = await ask() if fault.reaches_server else None
        is_signed = match.route.purpose is not Purpose.TOKEN
        if is_signed and reply is not None and reply.status == _UNAUTHORIZED:
            self._faults.token_refused()
        if fault.kind is not None:
            self.happened[fault.kind.value] += 1
        if isinstance(reply, StreamedReply):
            if fault.kind in _STREAMED:
                return await streams.send(request, reply, fault)
            streams.discard(reply)
            reply = None
        return await self._inject(request, fault, reply)

    def _maybe_expire_token(self, request: web.BaseRequest, match: Match, fault: Fault) -> None:
        authorization = request.headers.get("authorization")
        if authorization is None or match.route.purpose is Purpose.TOKEN:
            return
        if self._faults.count_use(authorization) and fault.expires and match.fake.revoke(authorization):
            self.happened[FaultKind.EXPIRE.value] += 1
            self._faults.token_expired()

    async def _inject(
        self, request: web.BaseRequest, fault: Fault, reply: Reply | None
    ) -> web.StreamResponse:
        match fault.kind:
            case FaultKind.THROTTLE:
                reply = json_reply({"message": "too many requests"}, 429, **self._retry_after(fault))
            case FaultKind.ERROR:
                reply = json_reply({"message": "something broke"}, fault.status)
            case FaultKind.GARBLE:
                reply = Reply(200, _HTML, _PAGE)
            case FaultKind.GATEWAY:
                reply = Reply(fault.status, _HTML | _LOGIN if fault.status == _FOUND else _HTML, _PAGE)
            case FaultKind.TRUNCATE if reply is not None:
                return await _truncate(request, reply, fault.part)
            case FaultKind.SLOW if reply is not None:
                return await _send_slowly(request, reply, fault.seconds)
            case FaultKind.RESET | FaultKind.LOST:
                reply = None
        return _reset(request) if reply is None else to_response(reply)

    def _retry_after(self, fault: Fault) -> dict[str, str]:
        if fault.retry_after_form == "seconds":
            return {"retry-after": str(fault.retry_after)}
        if fault.retry_after_form == "date":
            later = self._utcnow() + timedelta(seconds=fault.retry_after)
            return {"retry-after": format_datetime(later, usegmt=True)}
        return {}


def to_response(reply: Reply) -> web.StreamResponse:
    """Return a reply as an aiohttp response."""
    return web.Response(body=reply.body, status=reply.status, headers=reply.headers)


def _reset(request: web.BaseRequest) -> web.StreamResponse:
    """Abort the connection such that the peer gets a reset, not an end of stream."""
    transport = request.transport
    if transport is not None:
        peer = transport.get_extra_info("socket")
        if peer is not None:
            peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
        transport.abort()
    return web.Response()  # never sent: aiohttp finds the connection gone


async def _truncate(request: web.BaseRequest, reply: Reply, part: float) -> web.StreamResponse:
    """Announce the length of the whole body, send a part of it, and abort the connection."""
    response = await _send_head(request, reply, size=max(len(reply.body), 1))
    with suppress(ConnectionError):
        await response.write(reply.body[: math.floor(len(reply.body) * part)])
    if request.transport is not None:
        request.transport.abort()
    return response


async def _send_slowly(request: web.BaseRequest, reply: Reply, seconds: float) -> web.StreamResponse:
    """Send the body in a few pieces, with pauses between them."""
    response = await _send_head(request, reply, size=len(reply.body))
    size = max(math.ceil(len(reply.body) / _SLOW_PIECES), 1)
    with suppress(ConnectionError):
        for begin in range(0, len(reply.body), size):
            await asyncio.sleep(seconds / _SLOW_PIECES)
            await response.write(reply.body[begin : begin + size])
    return response


async def _send_head(request: web.BaseRequest, reply: Reply, *, size: int) -> web.StreamResponse:
    response = web.StreamResponse(status=reply.status, headers=reply.headers)
    response.content_length = size
    with suppress(ConnectionError):
        await response.prepare(request)
    return response
