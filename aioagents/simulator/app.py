"""The HTTP side of the simulator: reads a request, calls the fake server's handler, and sends the response."""

from collections import Counter
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from functools import partial
from typing import Final

from aiohttp import web

from ..contract.fake import Call, FakeServer, Match, Router, StreamedReply, json_reply, read_query
from ..model import Purpose, Reply, Request
from .delayed import DelayedReplies
from .fault_injection import FaultInjector, to_response
from .streams import Streams
from .webhooks import WebhookSender

_MOST_BYTES: Final = 64 * 1024 * 1024  # of one request: more than any fake server accepts


class App:
    """Answers requests with the fake servers' replies, and counts them by call. `now` returns the servers' time."""

    def __init__(
        self,
        fakes: Sequence[FakeServer],
        *,
        now: Callable[[], float],
        speed: float,
        injector: FaultInjector | None,
        webhooks: WebhookSender,
    ) -> None:
        self._router = Router(fakes)
        self._now = now
        self._speed = speed
        self._injector = injector
        self._webhooks = webhooks
        self._delayed = DelayedReplies(now=now, speed=speed)
        self._streams = Streams(self._delayed, now=now, speed=speed)
        self.requests: Counter[str] = Counter()

    async def __call__(self, request: web.BaseRequest) -> web.StreamResponse:
        """Answer one request."""
        raw_path, _, query = request.raw_path.partition("?")
        match = self._router.find(request.method, raw_path)
        try:
            body = await _read(request)
        except ConnectionError:
            return web.Response()  # never sent: the client disconnected before its body was complete
        if body is None:
            return _too_large()
        if match is None:
            self.requests["unknown"] += 1
            return to_response(self._router.answer_unknown(request.method, raw_path, self._now()))
        self.requests[match.route.call] += 1
        if self._injector is None:
            reply = await self._ask(request, match, query, body)
            if isinstance(reply, StreamedReply):
                return await self._streams.send(request, reply)
            return to_response(reply)
        ask = partial(self._ask, request, match, query, body)
        return await self._injector.handle(request, match, ask, self._streams)

    def close(self) -> None:
        """End the requests whose replies are still delayed, without a reply."""
        self._delayed.close()

    async def _ask(
        self, request: web.BaseRequest, match: Match, query: str, body: bytes
    ) -> Reply | StreamedReply:
        route = match.route
        early: list[str] = []

        def should_end_at_start(run: str) -> bool:
            is_early = self._webhooks.is_early(run)
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
                should_end_at_start=should_end_at_start if route.purpose is Purpose.START else None,
                client_time=datetime.now(UTC),
            )
        )
        self._webhooks.wake()
        reply = await self._delayed.settle(request, answered)
        if early:
            await self._webhooks.deliver(early)
        return reply


async def _read(request: web.BaseRequest) -> bytes | None:
    """Read the whole body; None beyond a size that no fake server accepts. Each has smaller limits of its own."""
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
