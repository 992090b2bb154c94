"""A server in a process of its own that replies from memory to Leena's token, execute, status and report calls.

It does as little as possible for each request, so that the client is what is measured. It ends at the end of its
standard input, which is when the process that started it ends.
"""

import argparse
import asyncio
import random
import re
import ssl
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import orjson
from attrs import frozen

from .pages import make_pages

_HEAD: Final = (
    "HTTP/1.1 200 OK\r\nContent-Type: application/json; charset=utf-8\r\nContent-Length: {length}\r\n"
    "Date: Mon, 05 Jan 2026 09:00:00 GMT\r\nServer: benchmark\r\n\r\n"
)
_LENGTH: Final = re.compile(rb"content-length: *(\d+)", re.IGNORECASE)
_PAGE: Final = re.compile(rb"[?&]page=(\d+)")
_GRACE: Final = 5.0


@frozen
class Answers:
    """All replies, ready to be written."""

    status: bytes
    token: bytes
    pages: tuple[bytes, ...]
    empty_page: bytes


class _Connection(asyncio.Protocol):
    def __init__(self, answers: Answers, counts: Counter[str], token_delay: float, delay: float) -> None:
        self._answers = answers
        self._counts = counts
        self._token_delay = token_delay
        self._delay = delay
        self._rest = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._counts["connections"] += 1
        assert isinstance(transport, asyncio.Transport)  # noqa: S101 - what create_server makes
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        rest = self._rest + data if self._rest else data
        while (end := rest.find(b"\r\n\r\n")) >= 0:
            head = rest[:end]
            found = _LENGTH.search(head)
            end += 4 + (int(found[1]) if found is not None else 0)
            if len(rest) < end:
                break
            rest = rest[end:]
            self._answer(head.partition(b" HTTP/1.1")[0])
        self._rest = rest

    def _answer(self, line: bytes) -> None:
        if line.endswith(b"/status"):
            self._counts["polls"] += 1
            self._write_later(self._answers.status)
        elif line.endswith(b"/execute"):
            self._counts["starts"] += 1
            started = {"aop_item_id": f"{self._counts['starts']:024x}", "status": "accepted"}
            self._write_later(_whole(started))
        elif line.startswith(b"POST "):
            self._counts["token_requests"] += 1
            loop = asyncio.get_running_loop()
            loop.call_later(self._token_delay, self._transport.write, self._answers.token)
        elif (page := _PAGE.search(line)) is not None:
            number = int(page[1])
            pages = self._answers.pages
            self._transport.write(pages[number - 1] if number <= len(pages) else self._answers.empty_page)
        else:
            self._transport.write(_whole(dict(self._counts)))

    def _write_later(self, answer: bytes) -> None:
        """Reply after a random delay, as vendors do; otherwise requests sent together get their replies together."""
        if self._delay:
            seconds = random.uniform(0.0, 2 * self._delay)
            asyncio.get_running_loop().call_later(seconds, self._transport.write, answer)
        else:
            self._transport.write(answer)


def _whole(content: object) -> bytes:
    body = content if isinstance(content, bytes) else orjson.dumps(content)
    return _HEAD.format(length=len(body)).encode() + body


def _answers(rows: int, page_size: int, status: str) -> Answers:
    *pages, empty = make_pages(rows, page_size)
    return Answers(
        status=_whole({"status": status, "initiated_at": "2026-01-05T09:00:00.123456", "completed_at": None}),
        token=_whole({"access_token": "t" * 40, "expires_in": 86400, "token_type": "Bearer"}),
        pages=tuple(map(_whole, pages)),
        empty_page=_whole(empty),
    )


async def _serve(options: argparse.Namespace) -> None:
    answers = _answers(options.rows, options.page_size, options.status)
    counts: Counter[str] = Counter()
    loop = asyncio.get_running_loop()
    tls: ssl.SSLContext | None = None
    if options.certificate is not None:
        tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        tls.load_cert_chain(options.certificate)
    server = await loop.create_server(
        lambda: _Connection(answers, counts, options.token_delay, options.delay),
        "127.0.0.1",
        0,
        backlog=4096,
        ssl=tls,
    )
    scheme = "http" if tls is None else "https"
    async with server:
        sys.stdout.write(f"{scheme}://127.0.0.1:{server.sockets[0].getsockname()[1]}\n")
        sys.stdout.flush()
        await asyncio.to_thread(sys.stdin.read)


@contextmanager
def serving(
    *,
    token_delay: float = 0.0,
    delay: float = 0.0,
    rows: int = 0,
    page_size: int = 100,
    status: str = "in_progress",
    certificate: Path | None = None,
) -> Iterator[str]:
    """Return the base URL of a server that runs as long as the block. `GET /counts` returns its counts of requests.

    Replies to starts and polls come after 0 to twice `delay` seconds. With a `certificate` (and its key, in PEM) it
    serves over TLS.
    """
    options = [f"--token-delay={token_delay}", f"--rows={rows}", f"--page-size={page_size}"]
    options += [f"--status={status}", f"--delay={delay}"]
    if certificate is not None:
        options.append(f"--certificate={certificate}")
    command = [sys.executable, "-m", "benchmarks.server", *options]
    root = Path(__file__).parent.parent
    with subprocess.Popen(
        command, cwd=root, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        try:
            url = (process.stdout.readline() if process.stdout is not None else "").strip()
            if not url:
                raise RuntimeError("the benchmark's server did not start; its own output is above")
            yield url
        finally:
            if process.stdin is not None:
                process.stdin.close()
            try:
                process.wait(_GRACE)
            except subprocess.TimeoutExpired:
                process.kill()


if __name__ == "__main__":
    _parser = argparse.ArgumentParser()
    _parser.add_argument("--token-delay", type=float, default=0.0)
    _parser.add_argument("--delay", type=float, default=0.0)
    _parser.add_argument("--rows", type=int, default=0)
    _parser.add_argument("--page-size", type=int, default=100)
    _parser.add_argument("--status", default="in_progress")
    _parser.add_argument("--certificate")
    asyncio.run(_serve(_parser.parse_args()))
