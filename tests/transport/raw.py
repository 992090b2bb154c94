"""A server that tests write byte by byte, and a sender to talk to it."""

import asyncio
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any

import aiohttp

from aioagents.model import Purpose, Request
from aioagents.transport import HttpSend, PoolLimits, Timeouts

Serve = Callable[["Line"], Awaitable[None]]

QUICK = Timeouts(connect=5, read=5, start=5, silence=5)


class Line:
    """The server's end of one connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer
        self.head = ""

    async def hear(self) -> str:
        """Read the head of a request, in lower case."""
        self.head = (await self.reader.readuntil(b"\r\n\r\n")).decode().lower()
        return self.head

    async def body(self) -> bytes:
        """Read a whole body, in either framing. Raises IncompleteReadError where it breaks off."""
        if "transfer-encoding: chunked" not in self.head:
            length = self.head.split("content-length: ")[1].split("\r\n")[0]
            return await self.reader.readexactly(int(length))
        body = b""
        while size := int(await self.reader.readuntil(b"\r\n"), 16):
            body += await self.reader.readexactly(size)
            assert await self.reader.readexactly(2) == b"\r\n"
        await self.reader.readuntil(b"\r\n")
        return body

    async def write(self, *parts: bytes) -> None:
        """Send bytes, each part in a step of its own."""
        for part in parts:
            self.writer.write(part)
            await self.writer.drain()
            await asyncio.sleep(0)

    async def chunk(self, *parts: bytes) -> None:
        """Send chunks of a body that began with `STREAM`."""
        await self.write(*(b"%x\r\n%s\r\n" % (len(part), part) for part in parts))

    async def gone(self) -> None:
        """Wait until the client has closed its end."""
        with suppress(ConnectionError):
            while await self.reader.read(65536):
                pass


STREAM = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


class Server:
    """Where a server is, how many connections it had, and whether it has ended one."""

    def __init__(self, scheme: str) -> None:
        self.scheme = scheme
        self.port = 0
        self.connections = 0
        #: The server's ends of all connections, in their order.
        self.lines: list[Line] = []
        self.has_ended = asyncio.Event()
        #: The exceptions of serving, which are asserted at the end.
        self.faults: list[BaseException] = []

    def request(self, **options: Any) -> Request:
        """Build a request to it."""
        given: dict[str, Any] = {"method": "POST", "call": "c", "purpose": Purpose.CALL, **options}
        return Request(url=f"{self.scheme}://127.0.0.1:{self.port}/a", **given)


@asynccontextmanager
async def serving(serve: Serve, *, tls: ssl.SSLContext | None = None) -> AsyncIterator[Server]:
    """Serve each connection so, on a free port of this machine, and raise what was raised in it."""
    server = Server("http" if tls is None else "https")
    tasks: set[asyncio.Task[None]] = set()

    async def take(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        tasks.add(task)
        server.connections += 1
        line = Line(reader, writer)
        server.lines.append(line)
        try:
            await serve(line)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        except asyncio.CancelledError:
            return
        except Exception as exc:  # noqa: BLE001 - asserted at the end
            server.faults.append(exc)
        finally:
            writer.close()
            server.has_ended.set()

    listener = await asyncio.start_server(take, "127.0.0.1", 0, ssl=tls)
    server.port = listener.sockets[0].getsockname()[1]
    try:
        yield server
    finally:
        listener.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await listener.wait_closed()
    assert server.faults == []


def sender(
    *,
    timeouts: Timeouts = QUICK,
    session: aiohttp.ClientSession | None = None,
    proxy: str | None = None,
    tls: ssl.SSLContext | None = None,
    **limits: int,
) -> HttpSend:
    """Return what is under test."""
    return HttpSend(limits=PoolLimits(**limits), timeouts=timeouts, session=session, proxy=proxy, tls=tls)
