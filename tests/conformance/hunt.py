"""A hunt for secrets that show: servers that fail in all ways, and what is looked at afterwards."""

import base64
from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Final
from urllib.parse import quote

from aioagents.codec import encode_json
from aioagents.observe import Event
from tests.conformance.adapter import CALLBACK_TOKEN, CONTENT, WEBHOOK_SECRET
from tests.conformance.adapters import ADAPTERS
from tests.conformance.shown import locals_in, texts_of
from tests.transport.raw import Line, Serve

TOKEN: Final = "token-value-7"
#: All that may show nowhere. What is started is sent in bodies that errors keep, but not in anything else.
SECRETS: Final = (
    *(secret for adapter in ADAPTERS.values() for secret in adapter.hunt.secrets),
    TOKEN,
    WEBHOOK_SECRET,
    CALLBACK_TOKEN,
)


def forms(secret: str) -> set[str]:
    """Return the forms in which a secret would give itself away."""
    return {
        secret,
        encode_json(secret).decode()[1:-1],
        repr(secret)[1:-1],
        quote(secret),
        quote(secret, safe=""),
        base64.b64encode(secret.encode()).decode(),
        base64.b64encode(f"client-1:{secret}".encode()).decode(),
    }


def leaks(texts: Iterable[str], *also: str) -> list[str]:
    """Return the texts in which a secret is."""
    hidden = {form for secret in (*SECRETS, *also) for form in forms(secret)}
    return sorted({text[:300] for text in texts if any(form in text for form in hidden)})


def check(error: BaseException, events: list[Event], logs: str = "") -> None:
    """Assert that nothing is shown of any secret."""
    found = leaks(locals_in(error), CONTENT) + leaks(texts_of(error))
    for event in events:
        found += leaks([repr(event)])
        if (inner := getattr(event, "error", None)) is not None:
            found += leaks(locals_in(inner), CONTENT) + leaks(texts_of(inner))
    found += leaks(logs.splitlines(), CONTENT)
    assert not found, "\n".join(found)


# What a server does with each request that is not its own

Fault = Callable[[Line, bytes], Awaitable[bool]]


async def _reset(line: Line, _: bytes) -> bool:
    line.writer.transport.abort()
    return False


async def _cut(line: Line, _: bytes) -> bool:
    await line.write(b'HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\n{"access_token": "' + TOKEN.encode())
    return False


async def _silent(line: Line, _: bytes) -> bool:
    await line.gone()
    return False


async def _foreign(line: Line, heard: bytes) -> bool:
    await line.write(b"SSH-2.0 " + heard.replace(b"\r\n", b" ")[:2000] + b"\r\n\r\n")
    return False


def answer(status: int, body: bytes, *headers: bytes) -> bytes:
    """Return the bytes of a reply."""
    lines = (b"HTTP/1.1 %d X" % status, b"Content-Length: %d" % len(body), *headers)
    return b"\r\n".join(lines) + b"\r\n\r\n" + body


def _answered(status: int, write: Callable[[bytes], bytes]) -> Fault:
    async def fault(line: Line, heard: bytes) -> bool:
        echo = heard.replace(b"\r\n", b" ")
        await line.write(
            answer(status, write(heard), b"X-Echo: " + echo[:4000], b"X-Request-Id: " + echo[:300])
        )
        return True

    return fault


def as_json(heard: bytes) -> bytes:
    """Return the body of a refusal that repeats what was asked."""
    return encode_json(
        {"message": f"cannot use {heard.decode('latin-1')}", "code": heard.decode("latin-1")[:300]}
    )


def _as_text(heard: bytes) -> bytes:
    return b"cannot use " + heard


FAULTS: Final[Mapping[str, Fault]] = {
    "reset": _reset,
    "cut": _cut,
    "silent": _silent,
    "foreign": _foreign,
    "302": _answered(302, _as_text),
    "400": _answered(400, as_json),
    "400 text": _answered(400, _as_text),
    "401": _answered(401, as_json),
    "403": _answered(403, as_json),
    "404": _answered(404, as_json),
    "429": _answered(429, as_json),
    "500": _answered(500, as_json),
    "502 text": _answered(502, _as_text),
    "undecodable": _answered(200, lambda heard: b'{"access_token": "' + heard),
    "unclosed": _answered(200, lambda heard: heard[-60:] + b'{"access_token": "' + TOKEN.encode()),
    "misshapen": _answered(200, lambda heard: encode_json([heard.decode("latin-1"), TOKEN])),
    "oversized": _answered(200, lambda heard: heard + TOKEN.encode() + bytes(40_000)),
}


async def _hear(line: Line) -> bytes:
    """Read a whole request, as it was sent."""
    head = await line.reader.readuntil(b"\r\n\r\n")
    line.head = head.decode("latin-1").lower()
    has_body = "content-length: " in line.head or "chunked" in line.head
    return head + (await line.body() if has_body else b"")


def serve_with(fault: Fault, *, is_token: bool) -> Serve:
    """Return what serves a fault, except to token requests, unless these are what is tried."""

    async def serve(line: Line) -> None:
        while True:
            heard = await _hear(line)
            if b"/oauth/token" in heard and not is_token:
                await line.write(answer(200, encode_json({"access_token": TOKEN, "expires_in": 3600})))
            elif not await fault(line, heard):
                return

    return serve
