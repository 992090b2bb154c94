"""Sending streamed replies: each piece at its time, until the client disconnects or the simulator closes."""

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from typing import Final

from aiohttp import web

from ..contract.fake import StreamedReply
from .delayed import DelayedReplies
from .faults import NO_FAULT, Fault, FaultKind

_PORTIONS: Final = 5


class Streams:
    """Sends streamed replies. `now` returns the fake servers' time, which runs `speed` times as fast as real time."""

    def __init__(self, delayed: DelayedReplies, *, now: Callable[[], float], speed: float) -> None:
        self._delayed = delayed
        self._now = now
        self._speed = speed

    async def send(
        self, request: web.BaseRequest, reply: StreamedReply, fault: Fault = NO_FAULT
    ) -> web.StreamResponse:
        """Send a reply; with the fault `TRUNCATE` cut off in the middle of a piece, with `SLOW` in small portions."""
        is_cut = fault.kind is FaultKind.TRUNCATE
        parts: Iterable[tuple[float, bytes]] = reply.pieces
        if is_cut:
            parts = _cut(reply, fault.part)
        elif fault.kind is FaultKind.SLOW:
            parts = _in_portions(reply, fault.seconds * self._speed)
        response = web.StreamResponse(status=reply.status, headers=reply.headers)
        is_whole = False
        try:
            with suppress(ConnectionError):
                await response.prepare(request)
                is_whole = await self._write(request, response, parts)
        finally:
            if is_cut or not is_whole:
                self.discard(reply)
                if request.transport is not None:
                    request.transport.abort()
        return response

    def discard(self, reply: StreamedReply) -> None:
        """Call the reply's `on_disconnect`: it is not sent to the end."""
        if reply.on_disconnect is not None:
            reply.on_disconnect(self._now())

    async def _write(
        self, request: web.BaseRequest, response: web.StreamResponse, parts: Iterable[tuple[float, bytes]]
    ) -> bool:
        """Write each part at its time; False where the client disconnected before the last one."""
        for at, piece in parts:
            if not await self._delayed.until(request, at):
                return False
            await response.write(piece)
        return True


def _cut(reply: StreamedReply, part: float) -> Sequence[tuple[float, bytes]]:
    """Return what is sent before the connection ends: some whole pieces, and one that is not."""
    last = int(len(reply.pieces) * part)
    return [
        (at, piece if index < last else piece[: (len(piece) + 1) // 2])
        for index, (at, piece) in enumerate(reply.pieces[: last + 1])
    ]


def _in_portions(reply: StreamedReply, seconds: float) -> Iterator[tuple[float, bytes]]:
    """Yield each piece in a few portions, with delays that add up to `seconds` at the last portion."""
    gap = seconds / max(len(reply.pieces) * _PORTIONS, 1)
    late = 0.0
    for at, piece in reply.pieces:
        size = max(math.ceil(len(piece) / _PORTIONS), 1)
        for begin in range(0, len(piece), size):
            late += gap
            yield at + late, piece[begin : begin + size]
