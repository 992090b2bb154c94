"""Connections without sockets, and a host that opens them."""

import asyncio
from typing import Any

from yarl import URL

from aioagents.transport.direct.budget import ReplyBudget
from aioagents.transport.direct.connection import HttpConnection, Owner, RawReply
from aioagents.transport.direct.encoder import Encoder
from aioagents.transport.direct.host import Host
from aioagents.transport.direct.idle_times import IdleTimes
from aioagents.transport.direct.reader import ReplyReader

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


class Wire(asyncio.Transport):
    """A transport that keeps what is written, and is closed as asyncio's are: in a later step."""

    def __init__(self) -> None:
        super().__init__()
        self.written: list[bytes] = []
        self.is_aborted = False
        self.is_paused = False
        self.connection: HttpConnection | None = None

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        """Return nothing: there is no socket."""
        return default

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Keep what is written."""
        self.written.append(bytes(data))

    def is_closing(self) -> bool:
        """Return whether it was closed."""
        return self.is_aborted

    def get_write_buffer_size(self) -> int:
        """Return that all was sent."""
        return 0

    def is_reading(self) -> bool:
        """Return whether it receives."""
        return not self.is_paused

    def pause_reading(self) -> None:
        """Receive nothing."""
        assert not self.is_paused
        self.is_paused = True

    def resume_reading(self) -> None:
        """Receive again."""
        assert self.is_paused
        self.is_paused = False

    def abort(self) -> None:
        """Close."""
        if not self.is_aborted:
            self.is_aborted = True
            assert self.connection is not None
            asyncio.get_running_loop().call_soon(self.connection.connection_lost, None)

    def receive(self, data: bytes) -> None:
        """Hand bytes to the protocol, as they arrive."""
        assert self.connection is not None
        buffer = self.connection.get_buffer(-1)
        buffer[: len(data)] = data
        self.connection.buffer_updated(len(data))


class Wires:
    """Opens connections over wires; each opening waits for its future in `held`, if there is one."""

    def __init__(self, budget: int = 1000) -> None:
        self.budget = ReplyBudget(budget)
        self.made: list[Wire] = []
        self.held: list[asyncio.Future[None]] = []
        self.opening = 0

    async def open(self, owner: Owner, _: Encoder, times: IdleTimes) -> HttpConnection:
        """Open a connection."""
        self.opening += 1
        if self.held:
            await self.held.pop(0)
        wire = Wire()
        wire.connection = HttpConnection(
            wire,
            owner,
            times=times,
            reader=ReplyReader(header_bytes=1000, header_lines=10),
            buffer=memoryview(bytearray(100_000)),
            budget=self.budget,
            on_closed=lambda: None,
        )
        self.made.append(wire)
        return wire.connection

    def host(self, *, per_host: int = 2, keep_alive: float = 75) -> Host:
        """Return a host whose connections are opened here."""
        return Host(
            Encoder(URL("http://example.com"), None), self.open, per_host=per_host, keep_alive=keep_alive
        )


def ask(connection: HttpConnection) -> asyncio.Future[RawReply]:
    """Send a request; return the future of its reply."""
    return connection.request(b"GET", "GET", most=1_000_000, refusal_timeout=5, deadlines=None, due_at=None)
