"""Faults as they show on the wire: held back, reset, refused, cut off, garbled, dribbling."""

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
from .faults import Fault, Faults, Kind
from .streams import Streams

_RESET_ON_CLOSE: Final = struct.pack("ii", 1, 0)  # SO_LINGER: on, for no time at all
_DRIBBLES: Final = 5
_UNAUTHORIZED: Final = 401
_STREAMED: Final = (None, Kind.TRUNCATE, Kind.SLOW)  # the faults by which a streamed reply comes all the same
_PAGE: Final = b"<html><head><title>Please wait</title></head><body>Back in a moment.</body></html>"

Ask = Callable[[], Awaitable[Reply | StreamedReply]]


class Wire:
    """Carries replies to the client, or lets the drawn fault happen, and counts what happened."""

    def __init__(self, faults: Faults, *, utcnow: Callable[[], datetime] = lambda: datetime.now(UTC)) -> None:
        self._faults = faults
        self._utcnow = utcnow
        self.happened: Counter[str] = Counter()

    async def handle(
        self, request: web.BaseRequest, match: Match, ask: Ask, streams: Streams
    ) -> web.StreamResponse:
        """Answer one request. Asks the world at most once, and always before anything is sent."""
        fault = self._faults.draw(match.route.call, match.route.purpose)
        if fault.latency:
            self.happened[Kind.LATENCY.value] += 1
            await asyncio.sleep(fault.latency)
        self._let_token_cease(request, match, fault)
        reply = await ask() if fault.is_asked else None
        is_signed = match.route.purpose is not Purpose.TOKEN
        if is_signed and reply is not None and reply.status == _UNAUTHORIZED:
            self._faults.refused()
        if fault.kind is not None:
            self.happened[fault.kind.value] += 1
        if isinstance(reply, StreamedReply):
            if fault.kind in _STREAMED:
                return await streams.send(request, reply, fault)
            streams.drop(reply)
            reply = None
        return await self._spoil(request, fault, reply)

    def _let_token_cease(self, request: web.BaseRequest, match: Match, fault: Fault) -> None:
        authorization = request.headers.get("authorization")
        if authorization is None or match.route.purpose is Purpose.TOKEN:
            return
        if self._faults.is_worn(authorization) and fault.expires and match.fake.revoke(authorization):
            self.happened[Kind.EXPIRE.value] += 1
            self._faults.ceased()

    async def _spoil(self, request: web.BaseRequest, fault: Fault, reply: Reply | None) -> web.StreamResponse:
        match fault.kind:
            case Kind.THROTTLE:
                reply = json_reply({"message": "too many requests"}, 429, **self._waiting(fault))
            case Kind.ERROR:
                reply = json_reply({"message": "something broke"}, fault.status)
            case Kind.GARBLE:
                reply = Reply(200, {"content-type": "text/html; charset=utf-8"}, _PAGE)
            case Kind.TRUNCATE if reply is not None:
                return await _truncate(request, reply, fault.part)
            case Kind.SLOW if reply is not None:
                return await _dribble(request, reply, fault.seconds)
            case Kind.RESET | Kind.LOST:
                reply = None
        return _reset(request) if reply is None else to_response(reply)

    def _waiting(self, fault: Fault) -> dict[str, str]:
        if fault.waiting == "seconds":
            return {"retry-after": str(fault.retry_after)}
        if fault.waiting == "date":
            later = self._utcnow() + timedelta(seconds=fault.retry_after)
            return {"retry-after": format_datetime(later, usegmt=True)}
        return {}


def to_response(reply: Reply) -> web.StreamResponse:
    """Make aiohttp's response of a reply."""
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
    """Promise the whole body, send some of it, and end the connection."""
    response = await _begin(request, reply, size=max(len(reply.body), 1))
    with suppress(ConnectionError):
        await response.write(reply.body[: math.floor(len(reply.body) * part)])
    if request.transport is not None:
        request.transport.abort()
    return response


async def _dribble(request: web.BaseRequest, reply: Reply, seconds: float) -> web.StreamResponse:
    """Send the body in a few pieces with pauses between."""
    response = await _begin(request, reply, size=len(reply.body))
    size = max(math.ceil(len(reply.body) / _DRIBBLES), 1)
    with suppress(ConnectionError):
        for begin in range(0, len(reply.body), size):
            await asyncio.sleep(seconds / _DRIBBLES)
            await response.write(reply.body[begin : begin + size])
    return response


async def _begin(request: web.BaseRequest, reply: Reply, *, size: int) -> web.StreamResponse:
    response = web.StreamResponse(status=reply.status, headers=reply.headers)
    response.content_length = size
    with suppress(ConnectionError):
        await response.prepare(request)
    return response
