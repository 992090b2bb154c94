"""Whatever fails: errors, events, log lines, journals and local variables of tracebacks show no secret."""

import asyncio
import base64
import io
import logging
import traceback
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping
from datetime import date
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

import aiohttp
import pytest
from anyio import Path as AnyioPath
from rich.console import Console
from rich.traceback import Traceback

from aioagents import (
    AgentsError,
    BadRequest,
    Batch,
    NotSent,
    PoolLimits,
    ReplyLost,
    RetryPolicy,
    SessionPool,
    Steady,
    Timeouts,
)
from aioagents.codec import encode_json
from aioagents.contract import BatchRow, RunClient
from aioagents.model import Reply, Request
from aioagents.observe import Event
from aioagents.providers import all_providers
from tests.conformance.shown import locals_in, texts_of
from tests.transport.raw import Line, Serve, serving

#: In what is started, and in no credentials.
CONTENT: Final = "content-hunter2"
CREDENTIALS: Final[Mapping[str, Mapping[str, str]]] = {
    "leena": {
        "LEENA_CLIENT_ID": "client-1",
        "LEENA_CLIENT_SECRET": "client/secret+2",
        "LEENA_USERNAME": "somebody",
        "LEENA_PASSWORD": 'pass "word" & 3',
    },
    "leap": {"LEAP_API_KEY": "leap-key-4"},
    "agh": {},
    "agent-platform": {
        "AGENT_PLATFORM_APP_ID": "aa-1",
        "AGENT_PLATFORM_ENVIRONMENT": "draft",
        "AGENT_PLATFORM_APP_KEY": "app-key-5",
        "AGENT_PLATFORM_TOOLS_KEY": "tools-key-6",
    },
}
_PUBLIC: Final = frozenset({"client-1", "somebody", "aa-1", "draft"})
TOKEN: Final = "token-value-7"
WEBHOOK_SECRET: Final = "webhook-secret-8"
CALLBACK_TOKEN: Final = "callback-token-9"
SECRETS: Final = (
    *(value for each in CREDENTIALS.values() for value in each.values() if value not in _PUBLIC),
    TOKEN,
    WEBHOOK_SECRET,
    CALLBACK_TOKEN,
)
BASIC: Final = base64.b64encode(b"client-1:client/secret+2").decode()


def forms(secret: str) -> set[str]:
    """Return the forms in which a secret would give itself away."""
    return {
        secret,
        encode_json(secret).decode()[1:-1],
        repr(secret)[1:-1],
        quote(secret),
        quote(secret, safe=""),
        base64.b64encode(secret.encode()).decode(),
    }


def leaks(texts: Iterable[str], *also: str) -> list[str]:
    """Return the texts in which a secret is."""
    hidden = {form for secret in (*SECRETS, *also) for form in forms(secret)} | {BASIC}
    return sorted({text[:300] for text in texts if any(form in text for form in hidden)})


# What is asked of each vendor

Act = Callable[[Any], Awaitable[object]]


async def _report(client: Any) -> None:
    async for _ in client.report(date(2026, 1, 1), date(2026, 1, 2)):
        pass


async def _stream(client: Any) -> None:
    async for _ in client.runs.stream(CONTENT, session_reference="s"):
        pass


async def _wait(handle: Any) -> object:
    return await handle.wait(timeout=0.05)


_TRIGGER: Final = {
    "scope": "global",
    "name": "t",
    "agent_name": "a",
    "prompt": CONTENT,
    "event": "webhook",
    "endpoint_slug": "slug",
    "webhook_secret_value": WEBHOOK_SECRET,
}
ACTS: Final[Mapping[str, Mapping[str, Act]]] = {
    "leena": {
        "token": lambda c: c.check(),
        "start": lambda c: c.execute("x", message=CONTENT, context={"password": CONTENT}),
        "poll": lambda c: c.item("f" * 24).poll(),
        "wait": lambda c: _wait(c.item("f" * 24)),
        "call": _report,
    },
    "leap": {
        "start": lambda c: c.run("w", {"password": CONTENT}),
        "bulk": lambda c: c.run_bulk("w", f"https://example.com/{CONTENT}"),
        "poll": lambda c: c.get("r1").poll(),
        "wait": lambda c: _wait(c.get("r1")),
    },
    "agh": {
        "long start": lambda c: c.jobs.trigger("j1"),
        "create": lambda c: c.triggers.create(**_TRIGGER),
        "update": lambda c: c.triggers.update("t1", prompt=CONTENT, webhook_secret_value=WEBHOOK_SECRET),
        "deliver": lambda c: c.webhooks.deliver(
            "slug--wbh_1", {"password": CONTENT}, secret=WEBHOOK_SECRET, timeout=0.3
        ),
        "poll": lambda c: c.runs.follow("r1").poll(),
        "wait": lambda c: _wait(c.runs.follow("r1")),
        "call": lambda c: c.jobs.list(),
    },
    "agent-platform": {
        "start": lambda c: c.runs.start(
            CONTENT,
            session_reference="s",
            metadata={"password": CONTENT},
            callback_url="https://example.com/c",
            callback_token=CALLBACK_TOKEN,
        ),
        "long start": lambda c: c.runs.execute(CONTENT, session_reference="s", timeout=0.3),
        "stream": _stream,
        "poll": lambda c: c.runs.get("r1", session_reference="s").poll(),
        "wait": lambda c: _wait(c.runs.get("r1", session_reference="s")),
        "call": lambda c: c.sessions.create(session_reference="s"),
        "upload": lambda c: c.attachments.upload(CONTENT.encode(), user_reference="u", file_name="a.txt"),
        "create": lambda c: c.connections.create(
            provider="Open AI", name="n", model="m", fields={"API_KEY": WEBHOOK_SECRET}
        ),
        "update": lambda c: c.connections.update("c1", fields={"API_KEY": WEBHOOK_SECRET}),
    },
}

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


def _as_json(heard: bytes) -> bytes:
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
    "400": _answered(400, _as_json),
    "400 text": _answered(400, _as_text),
    "401": _answered(401, _as_json),
    "403": _answered(403, _as_json),
    "404": _answered(404, _as_json),
    "429": _answered(429, _as_json),
    "500": _answered(500, _as_json),
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


class _OtherRequest:
    """A `ClientRequest` of another aiohttp, which takes other arguments."""

    def __init__(self, *, settings: object) -> None:
        self.settings = settings


def _environment(vendor: str, url: str) -> dict[str, str]:
    urls = {
        "leena": ("LEENA_TOKEN_URL", "LEENA_AOP_URL", "LEENA_REPORT_URL"),
        "leap": ("LEAP_BASE_URL",),
        "agh": ("AGH_BASE_URL",),
        "agent-platform": ("AGENT_PLATFORM_BASE_URL", "AGENT_PLATFORM_TOOLS_URL"),
    }[vendor]
    return {**CREDENTIALS[vendor], **dict.fromkeys(urls, url)}


def _pool(events: list[Event], **settings: Any) -> SessionPool:
    return SessionPool(
        limits=PoolLimits(reply_bytes=30_000, poll_bytes=30_000),
        timeouts=Timeouts(connect=2, read=0.1, start=0.1, token=0.1, silence=0.1, close=0.1),
        retry=RetryPolicy(attempts=2, first=0.001, cap=0.001, patience=0.01),
        cadence=Steady(0.01),
        hooks=[events.append],
        **settings,
    )


def _client(vendor: str, url: str, pool: SessionPool) -> RunClient:
    return all_providers()[vendor].client.from_env(pool, _environment(vendor, url))


async def failing(vendor: str, act: str, url: str, events: list[Event], **settings: Any) -> BaseException:
    """Return the error of a call against a server."""
    async with _pool(events, **settings) as pool:
        client = _client(vendor, url, pool)
        with pytest.raises((AgentsError, _Bug)) as caught:
            await ACTS[vendor][act](client)
    return caught.value


def check(error: BaseException, events: list[Event], logs: str = "") -> None:
    """Assert that nothing is shown of any secret."""
    found = leaks(locals_in(error), CONTENT) + leaks(texts_of(error))
    for event in events:
        found += leaks([repr(event)])
        if (inner := getattr(event, "error", None)) is not None:
            found += leaks(locals_in(inner), CONTENT) + leaks(texts_of(inner))
    found += leaks(logs.splitlines(), CONTENT)
    assert not found, "\n".join(found)


class _Bug(Exception):
    """A fault of a caller's own `Send`."""


class _EchoingSend:
    """Fails with an outcome: an error, or a status with what was asked as its body. Token requests succeed."""

    def __init__(self, outcome: type[Exception] | int, *, is_token: bool) -> None:
        self._outcome = outcome
        self._is_token = is_token
        self.heard: list[str] = []

    async def send(
        self, request: Request, *, headers: Mapping[str, str], on_sent: Callable[[], None] | None = None
    ) -> Reply:
        """Send nothing."""
        if on_sent is not None:
            on_sent()
        if request.call == "token" and not self._is_token:
            return Reply(200, {}, encode_json({"access_token": TOKEN, "expires_in": 3600}))
        self.heard.append(f"{dict(request.headers)} {dict(headers)} {(request.body or b'').decode()}")
        if not isinstance(self._outcome, int):
            raise self._outcome("in memory")
        return Reply(self._outcome, {}, _as_json(self.heard[-1].encode()))


_CASES: Final = [(vendor, name) for vendor, acts in ACTS.items() for name in acts]


def test_every_vendor_is_hunted() -> None:
    """Each vendor is asked for something."""
    assert set(ACTS) == set(all_providers())


@pytest.fixture(params=["direct", "session", "caller's"])
async def session(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[aiohttp.ClientSession | None]:
    """Send small requests over connections of our own, over sessions of ours, or over the caller's session."""
    if request.param == "caller's":
        async with aiohttp.ClientSession() as session:
            yield session
        return
    if request.param == "session":
        monkeypatch.setattr(aiohttp, "ClientRequest", _OtherRequest)
    yield None


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize(("vendor", "act"), _CASES)
async def test_requests_that_fail(
    vendor: str,
    act: str,
    fault: str,
    session: aiohttp.ClientSession | None,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """No fault of a server shows a secret, however it is sent."""
    caplog.set_level(logging.DEBUG)
    events: list[Event] = []
    async with serving(serve_with(FAULTS[fault], is_token=act == "token")) as server:
        error = await failing(vendor, act, f"http://127.0.0.1:{server.port}", events, session=session)
    check(error, events, caplog.text)


@pytest.mark.parametrize("url", ["http://127.0.0.1:1", "https://no-such-host.invalid"])
@pytest.mark.parametrize(("vendor", "act"), _CASES)
async def test_requests_that_are_not_sent(
    vendor: str, act: str, url: str, session: aiohttp.ClientSession | None
) -> None:
    """Neither does a server that is not there."""
    events: list[Event] = []
    check(await failing(vendor, act, url, events, session=session), events)


@pytest.mark.parametrize("outcome", [NotSent, ReplyLost, _Bug, 200, 400, 500])
@pytest.mark.parametrize(("vendor", "act"), _CASES)
async def test_requests_in_memory(vendor: str, act: str, outcome: type[Exception] | int) -> None:
    """A `Send` of the caller's gets all secrets, and no frame around it shows them."""
    events: list[Event] = []
    send = _EchoingSend(outcome, is_token=act == "token")
    try:
        error = await failing(vendor, act, "http://127.0.0.1", events, send=send)
    except TypeError:
        assert act == "stream"  # which takes a `StreamSend`
        return
    assert send.heard
    check(error, events)


@pytest.mark.parametrize("vendor", ["leena", "agent-platform"])
async def test_requests_that_are_cancelled(vendor: str) -> None:
    """A timeout of the caller's shows nothing of the request that it cancelled."""
    async with serving(serve_with(_silent, is_token=False)) as server, _pool([]) as pool:
        client = _client(vendor, f"http://127.0.0.1:{server.port}", pool)
        for act in ("start", "long start", "upload", "stream", "poll", "call"):
            if act not in ACTS[vendor]:
                continue
            with pytest.raises(TimeoutError) as caught:
                async with asyncio.timeout(0.03):
                    await ACTS[vendor][act](client)
            check(caught.value, [])


async def test_batches_keep_no_secret(tmp_path: Path) -> None:
    """Neither the journal nor a result has what a server repeated of a refused start."""
    async with serving(serve_with(FAULTS["400"], is_token=False)) as server, _pool([]) as pool:
        for vendor in ("leena", "leap"):
            client = _client(vendor, f"http://127.0.0.1:{server.port}", pool)
            batch = Batch(client, journal=tmp_path / f"{vendor}.db")
            rows = [BatchRow("k1", "x", "", {"password": CONTENT})]
            outcomes = [outcome async for outcome in batch.run(rows)]
            assert [type(outcome.error) for outcome in outcomes] == [BadRequest]
            check(outcomes[0].error or AssertionError(), [])
            assert not leaks([repr(outcomes)], CONTENT)
    stored = b"".join([await AnyioPath(path).read_bytes() async for path in AnyioPath(tmp_path).iterdir()])
    assert b"cannot use" in stored
    assert not leaks([stored.decode("latin-1")])


@pytest.mark.parametrize("vendor", [vendor for vendor in ACTS if CREDENTIALS[vendor]])
async def test_settings_that_are_wrong(vendor: str) -> None:
    """An error of a missing or impossible setting shows none of the others."""
    names = list(_environment(vendor, "http://127.0.0.1"))
    async with _pool([]) as pool:
        for name in names:
            for value in ("", "http://elsewhere.example", "\u00e9"):
                given = {**_environment(vendor, "http://127.0.0.1"), name: value}
                error: ValueError | None = None
                try:
                    all_providers()[vendor].client.from_env(pool, given)
                except ValueError as exc:
                    error = exc
                # `given` itself is a variable of the caller's, and an argument.
                shown = [] if error is None else locals_in(error)
                assert not leaks(text for text in shown if ": environ = " not in text)


def test_credentials_of_proxies() -> None:
    """Nor does one of an impossible proxy."""
    with pytest.raises(ValueError, match="proxy") as caught:
        SessionPool(proxy=f"socks5://user:{CONTENT}@proxy.example")
    assert not leaks([*locals_in(caught.value), *texts_of(caught.value)], CONTENT)


async def test_what_rich_and_pytest_print() -> None:
    """Tracebacks with local variables, as rich and the standard library print them, show no secret."""
    async with serving(serve_with(FAULTS["500"], is_token=False)) as server:
        error = await failing("leena", "start", f"http://127.0.0.1:{server.port}", [])
    shown = Traceback.from_exception(
        type(error), error, error.__traceback__, show_locals=True, locals_max_string=100_000
    )
    out = io.StringIO()
    Console(file=out, width=300).print(shown)
    plain = traceback.TracebackException.from_exception(error, capture_locals=True)
    lines = [*out.getvalue().splitlines(), *"".join(plain.format()).splitlines()]
    assert any("request = Request(method='POST'" in line for line in lines)
    # What is left is the source of these tests, and their own frames.
    assert not [line for line in leaks(lines, CONTENT) if "lambda" not in line]
