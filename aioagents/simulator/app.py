"""The HTTP side of the worlds: one request in, one asked world, one response out."""

from collections import Counter
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from functools import partial

from aiohttp import web

from ..contract.fake import Call, Match, Router, World, read_query
from ..model import Purpose, Reply, Request
from .middleware import Wire, to_response
from .owed import Owed
from .webhooks import Courier


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
        self._owed = Owed(now=now, speed=speed)
        self.requests: Counter[str] = Counter()

    async def __call__(self, request: web.BaseRequest) -> web.StreamResponse:
        """Answer one request."""
        raw_path, _, query = request.raw_path.partition("?")
        match = self._router.find(request.method, raw_path)
        # Whole, whatever its size: how much is too much is for the world to say.
        body = await request.content.read() if request.body_exists else b""
        if match is None:
            self.requests["unknown"] += 1
            return to_response(self._router.missing(request.method, raw_path, self._now()))
        self.requests[match.route.call] += 1
        if self._wire is None:
            return to_response(await self._ask(request, match, query, body))
        return await self._wire.handle(request, match, partial(self._ask, request, match, query, body))

    def close(self) -> None:
        """End the requests whose replies the worlds still owe, without a reply."""
        self._owed.close()

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
                moment=datetime.now(UTC),
            )
        )
        self._courier.wake()
        reply = await self._owed.settle(request, answered)
        if early:
            await self._courier.deliver(early)
        return reply
