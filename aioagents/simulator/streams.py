"""Replies that the worlds give bit by bit: each piece sent at its time, for as long as somebody is there."""

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from typing import Final

from aiohttp import web

from ..contract.fake import StreamedReply
from .faults import NO_FAULT, Fault, Kind
from .owed import Owed

_DRIBBLES: Final = 5


class Streams:
    """Sends streamed replies. `now` tells the worlds' time, which goes `speed` times as fast as the clients'."""

    def __init__(self, owed: Owed, *, now: Callable[[], float], speed: float) -> None:
        self._owed = owed
        self._now = now
        self._speed = speed

    async def send(
        self, request: web.BaseRequest, reply: StreamedReply, fault: Fault = NO_FAULT
    ) -> web.StreamResponse:
        """Send a reply: cut off in the middle of a piece, or dribbling, where that is the fault."""
        is_cut = fault.kind is Kind.TRUNCATE
        parts: Iterable[tuple[float, bytes]] = reply.pieces
        if is_cut:
            parts = _cut(reply, fault.part)
        elif fault.kind is Kind.SLOW:
            parts = _dribbling(reply, fault.seconds * self._speed)
        response = web.StreamResponse(status=reply.status, headers=reply.headers)
        is_whole = False
        try:
            with suppress(ConnectionError):
                await response.prepare(request)
                is_whole = await self._write(request, response, parts)
        finally:
            if is_cut or not is_whole:
                self.drop(reply)
                if request.transport is not None:
                    request.transport.abort()
        return response

    def drop(self, reply: StreamedReply) -> None:
        """Tell the world that nobody reads its reply to the end."""
        if reply.on_disconnect is not None:
            reply.on_disconnect(self._now())

    async def _write(
        self, request: web.BaseRequest, response: web.StreamResponse, parts: Iterable[tuple[float, bytes]]
    ) -> bool:
        """Write each part at its time; False where nobody is there any more."""
        for at, piece in parts:
            if not await self._owed.until(request, at):
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


def _dribbling(reply: StreamedReply, seconds: float) -> Iterator[tuple[float, bytes]]:
    """Return each piece in a few portions, the last of them all so many seconds late."""
    gap = seconds / max(len(reply.pieces) * _DRIBBLES, 1)
    late = 0.0
    for at, piece in reply.pieces:
        size = max(math.ceil(len(piece) / _DRIBBLES), 1)
        for begin in range(0, len(piece), size):
            late += gap
            yield at + late, piece[begin : begin + size]
