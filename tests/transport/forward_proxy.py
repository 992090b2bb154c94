"""A forward proxy on this machine: it tunnels for CONNECT, and forwards requests with whole URLs."""

import asyncio
import base64
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from urllib.parse import urlsplit


class ForwardProxy:
    """Answers 407 to whoever does not have its `credentials`, and `refusal`, where there is one, to everybody."""

    def __init__(self, credentials: str | None, refusal: bytes | None) -> None:
        self.port = 0
        self._refusal = refusal
        self._expected = None if credentials is None else base64.b64encode(credentials.encode()).decode()
        #: The heads of all requests to it, and to what is behind it where it can read them.
        self.heads: list[str] = []

    @property
    def url(self) -> str:
        """Return its URL."""
        return f"http://127.0.0.1:{self.port}"

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one connection."""
        try:
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode()
                self.heads.append(head)
                if self._refusal is not None:
                    writer.write(self._refusal)
                    break
                if self._expected is not None and f"Proxy-Authorization: Basic {self._expected}" not in head:
                    writer.write(b"HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n")
                    break
                method, target, _ = head.split(" ", 2)
                if method == "CONNECT":
                    await self._tunnel(target, reader, writer)
                    break
                await self._forward(head, target, writer)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    async def _tunnel(self, target: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        host, _, port = target.rpartition(":")
        there_reader, there_writer = await asyncio.open_connection(host, int(port))
        try:
            writer.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
            await asyncio.gather(_copy(reader, there_writer), _copy(there_reader, writer))
        finally:
            there_writer.close()

    async def _forward(self, head: str, target: str, writer: asyncio.StreamWriter) -> None:
        """Forward a request without a body, and the whole reply, whose end it does not look for."""
        parts = urlsplit(target)
        reader, there = await asyncio.open_connection(parts.hostname, parts.port)
        there.write(head.replace(target, parts.path, 1).encode())
        writer.write(await reader.readuntil(b"\r\n\r\nok"))
        there.close()


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(ConnectionError):
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
    writer.close()


@asynccontextmanager
async def forward_proxy(
    credentials: str | None = None, *, refusal: bytes | None = None, tls: ssl.SSLContext | None = None
) -> AsyncIterator[ForwardProxy]:
    """Serve a proxy on a free port of this machine."""
    proxy = ForwardProxy(credentials, refusal)
    tasks: set[asyncio.Task[None]] = set()

    def take(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        tasks.add(asyncio.ensure_future(proxy.serve(reader, writer)))

    server = await asyncio.start_server(take, "127.0.0.1", 0, ssl=tls)
    proxy.port = server.sockets[0].getsockname()[1]
    try:
        yield proxy
    finally:
        server.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await server.wait_closed()
