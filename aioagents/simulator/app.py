"""The HTTP side of the worlds: one request in, one asked world, one response out."""

from collections import Counter
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from functools import partial
from typing import Final

from aiohttp import web

from ..contract.fake import Call, FakeServer, Match, Router, StreamedReply, json_reply, read_query
from ..model import Purpose, Reply, Request
from .middleware import Wire, to_response
from .owed import Owed
from .streams import Streams
from .webhooks import Courier

_MOST_BYTES: Final = 64 * 1024 * 1024  # of one request: more than any world takes


class App:
    """Answers requests from the worlds, and counts them by call. `now` tells the worlds' time."""

    def __init__(
        self,
        fakes: Sequence[FakeServer],
        *,
        now: Callable[[], float],
        speed: float,
        wire: Wire | None,
        courier: Courier,
    ) -> None:
        self._router = Router(fakes)
        self._now = now
        self._speed = speed
        self._wire = wire
        self._courier = courier
        self._owed = Owed(now=now, speed=speed)
        self._streams = Streams(self._owed, now=now, speed=speed)
        self.requests: Counter[str] = Counter()

    async def __call__(self, request: web.BaseRequest) -> web.StreamResponse:
        """Answer one request."""
        raw_path, _, query = request.raw_path.partition("?")
        match = self._router.find(request.method, raw_path)
        try:
            body = await _read(request)
        except ConnectionError:
            return web.Response()  # never sent: the client left in the middle of its body
        if body is None:
            return _too_large()
        if match is None:
            self.requests["unknown"] += 1
            return to_response(self._router.answer_unknown(request.method, raw_path, self._now()))
        self.requests[match.route.call] += 1
        if self._wire is None:
            reply = await self._ask(request, match, query, body)
            if isinstance(reply, StreamedReply):
                return await self._streams.send(request, reply)
            return to_response(reply)
        ask = partial(self._ask, request, match, query, body)
        return await self._wire.handle(request, match, ask, self._streams)

    def close(self) -> None:
        """End the requests whose replies the worlds still owe, without a reply."""
        self._owed.close()

    async def _ask(
        self, request: web.BaseRequest, match: Match, query: str, body: bytes
    ) -> Reply | StreamedReply:
        route = match.route
        early: list[str] = []

        def hastens(run: str) -> bool:
            is_early = self._courier.is_early(run)
            if is_early:
                early.append(run)
            return is_early

        asked = Request(
            method=request.method,
            url=request.raw_path,
            call=route.call,
            purpose=route.purpose,
            headers=request.headers,
            body=body,
        )
        answered = route.handler(
            Call(
                request=asked,
                path=match.path,
                query=read_query(query),
                now=self._now(),
                speed=self._speed,
                should_end_at_start=hastens if route.purpose is Purpose.START else None,
                client_time=datetime.now(UTC),
            )
        )
        self._courier.wake()
        reply = await self._owed.settle(request, answered)
        if early:
            await self._courier.deliver(early)
        return reply


async def _read(request: web.BaseRequest) -> bytes | None:
    """Read the whole body; None where it is larger than any can be. How much is too much is for the world to say."""
    if not request.body_exists:
        return b""
    if request.content_length is not None:
        return await request.content.read() if request.content_length <= _MOST_BYTES else None
    body = bytearray()
    async for piece in request.content.iter_any():
        body += piece
        if len(body) > _MOST_BYTES:
            return None
    return bytes(body)


def _too_large() -> web.StreamResponse:
    response = to_response(json_reply({"message": f"more than {_MOST_BYTES} bytes"}, 413))
    response.force_close()
    return response
