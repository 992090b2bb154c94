"""The HTTP side of the worlds: one request in, one asked world, one response out."""

import asyncio
from collections import Counter
from collections.abc import Callable, Sequence
from functools import partial
from typing import Final

from aiohttp import web

from ..contract.fake import Call, Held, Match, Router, World, no_such_endpoint, read_query
from ..model import Purpose, Reply, Request
from .middleware import Wire, to_response
from .webhooks import Courier

_DROPS_SEEN_EVERY: Final = 0.05  # seconds


class App:
    """Answers requests from the worlds, and counts them by call. `now` tells the worlds' time."""

    def __init__(
        self,
        worlds: Sequence[World],
        *,
        now: Callable[[], float],
        speed: float,
        wire: Wire | None,
        courier: Courier,
    ) -> None:
        self._router = Router(worlds)
        self._now = now
        self._speed = speed
        self._wire = wire
        self._courier = courier
        self.requests: Counter[str] = Counter()

    async def __call__(self, request: web.BaseRequest) -> web.StreamResponse:
        """Answer one request."""
        raw_path, _, query = request.raw_path.partition("?")
        match = self._router.find(request.method, raw_path)
        body = await request.read() if request.body_exists else b""
        if match is None:
            self.requests["unknown"] += 1
            return to_response(no_such_endpoint())
        self.requests[match.route.call] += 1
        if self._wire is None:
            return to_response(await self._ask(request, match, query, body))
        return await self._wire.handle(request, match, partial(self._ask, request, match, query, body))

    async def _ask(self, request: web.BaseRequest, match: Match, query: str, body: bytes) -> Reply:
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
                hastens=hastens if route.purpose is Purpose.START else None,
            )
        )
        self._courier.wake()
        reply = await self._held_back(request, answered)
        if early:
            await self._courier.deliver(early)
        return reply

    async def _held_back(self, request: web.BaseRequest, reply: Reply | Held) -> Reply:
        """Wait for a reply that the world owes, for as long as the client does."""
        while isinstance(reply, Held):
            if reply.drop is not None and request.transport is None:
                reply.drop(self._now())
                return no_such_endpoint()  # never read
            left = (reply.until - self._now()) / self._speed
            if left > 0:
                await asyncio.sleep(min(left, _DROPS_SEEN_EVERY))
            else:
                reply = reply.reply(self._now())
        return reply
