"""Writes the bytes of requests to one host. Pure."""

import re
from collections.abc import Mapping
from typing import Final

from yarl import URL

from ...model import Request
from ..proxies import authorization_for

#: How this library names itself.
USER_AGENT: Final = "aioagents"
#: What it reads.
ACCEPT: Final = "application/json"

_TOKEN: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_TARGET: Final = re.compile(r"[!-~]+")
_FORBIDDEN: Final = re.compile(r"[\r\n\0]")
_SET_HERE: Final = frozenset({"content-length", "transfer-encoding"})
_BODILESS: Final = frozenset({"GET", "HEAD"})
_MOST_BLOCKS: Final = 64


class Encoder:
    """Writes requests to the host of `url`. `proxy` is the proxy that they go through, if any.

    What is written for a signature is kept, since it stays the same for as long as its token.
    """

    def __init__(self, url: URL, proxy: URL | None) -> None:
        self.url = url
        self.proxy = proxy
        self._defaults = {
            "Host": url.host_port_subcomponent or "",
            "User-Agent": USER_AGENT,
            "Accept": ACCEPT,
            "Accept-Encoding": "gzip, deflate",
        }
        self._prefix = ""
        if proxy is not None and url.scheme == "http":  # for https, the connection leads through the proxy
            self._prefix = f"http://{url.host_port_subcomponent}"
            self._defaults |= authorization_for(url, proxy)
        self._blocks: dict[tuple[tuple[str, str], ...], bytes] = {}

    def __repr__(self) -> str:
        return f"<Encoder {self.url}>"

    def encode(self, request: Request, target: str, headers: Mapping[str, str]) -> bytes | None:
        """Return the bytes of a request, with `headers` beside its own; None where HTTP does not allow them."""
        body = request.body
        if _TARGET.fullmatch(target) is None or _TOKEN.fullmatch(request.method) is None:
            return None
        key = tuple(headers.items()) if not request.headers else (*request.headers.items(), *headers.items())
        block = self._blocks.get(key)
        if block is None:
            block = self._write_block(key)
            if block is None:
                return None
            if len(self._blocks) >= _MOST_BLOCKS:
                self._blocks.clear()
            self._blocks[key] = block
        line = f"{request.method} {self._prefix}{target} HTTP/1.1\r\n".encode()
        if body is None:
            if request.method in _BODILESS:
                return line + block + b"\r\n"
            return line + block + b"Content-Length: 0\r\n\r\n"
        kind = b"" if b"\r\ncontent-type:" in block.lower() else b"Content-Type: application/octet-stream\r\n"
        return b"%b%b%bContent-Length: %d\r\n\r\n%b" % (line, block, kind, len(body), body)

    def _write_block(self, headers: tuple[tuple[str, str], ...]) -> bytes | None:
        """Return the lines of the headers; of those of one name the last."""
        lines = {name.lower(): f"{name}: {value}\r\n" for name, value in self._defaults.items()}
        for name, value in headers:
            if _TOKEN.fullmatch(name) is None or _FORBIDDEN.search(value) is not None:
                return None
            if name.lower() not in _SET_HERE:
                lines[name.lower()] = f"{name}: {value}\r\n"
        return "".join(lines.values()).encode("utf-8", "surrogateescape")
