"""Whatever fails: errors, events, log lines, journals and local variables of tracebacks show no secret."""

import asyncio
import io
import logging
import traceback
from collections.abc import AsyncIterator, Callable, Mapping
from pathlib import Path
from typing import Any, Final

import aiohttp
import pytest
from anyio import Path as AnyioPath
from rich.console import Console
from rich.traceback import Traceback

from aioagents import (
    AgentsError,
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
from aioagents.contract import RunClient
from aioagents.model import Reply, Request
from aioagents.observe import Event
from aioagents.providers import all_providers
from tests.conformance.adapter import CONTENT
from tests.conformance.adapters import ADAPTERS
from tests.conformance.hunt import FAULTS, TOKEN, as_json, check, leaks, serve_with
from tests.conformance.shown import locals_in, texts_of
from tests.transport.raw import serving


class _OtherRequest:
    """A `ClientRequest` of another aiohttp, which takes other arguments."""

    def __init__(self, *, settings: object) -> None:
        self.settings = settings


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
    return all_providers()[vendor].client.from_env(pool, ADAPTERS[vendor].hunt.settings(url))


async def failing(vendor: str, act: str, url: str, events: list[Event], **settings: Any) -> BaseException:
    """Return the error of a call against a server."""
    async with _pool(events, **settings) as pool:
        client = _client(vendor, url, pool)
        with pytest.raises((AgentsError, _Bug)) as caught:
            await ADAPTERS[vendor].hunt.calls[act](client)
    return caught.value


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
        return Reply(self._outcome, {}, as_json(self.heard[-1].encode()))


_CASES: Final = [(vendor, name) for vendor, adapter in ADAPTERS.items() for name in adapter.hunt.calls]
_VENDORS: Final = sorted(ADAPTERS)


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


@pytest.mark.parametrize("vendor", _VENDORS)
async def test_requests_that_are_cancelled(vendor: str) -> None:
    """A timeout of the caller's shows nothing of the request that it cancelled."""
    async with serving(serve_with(FAULTS["silent"], is_token=True)) as server, _pool([]) as pool:
        client = _client(vendor, f"http://127.0.0.1:{server.port}", pool)
        for act in ADAPTERS[vendor].hunt.calls.values():
            with pytest.raises(TimeoutError) as caught:
                async with asyncio.timeout(0.03):
                    await act(client)
            check(caught.value, [])


@pytest.mark.parametrize("vendor", _VENDORS)
async def test_batches_keep_no_secret(vendor: str, tmp_path: Path) -> None:
    """Neither the journal nor a result has what a server repeated of a refused start."""
    async with serving(serve_with(FAULTS["400"], is_token=False)) as server, _pool([]) as pool:
        client = _client(vendor, f"http://127.0.0.1:{server.port}", pool)
        batch = Batch(client, journal=tmp_path / "batch.db")
        outcomes = [outcome async for outcome in batch.run([ADAPTERS[vendor].row("k1")])]
        assert len(outcomes) == 1
        assert outcomes[0].error is not None
        check(outcomes[0].error, [])
        assert not leaks([repr(outcomes)])
    stored = b"".join([await AnyioPath(path).read_bytes() async for path in AnyioPath(tmp_path).iterdir()])
    assert b"cannot use" in stored
    assert not leaks([stored.decode("latin-1")])


@pytest.mark.parametrize("vendor", [vendor for vendor in _VENDORS if ADAPTERS[vendor].hunt.secrets])
async def test_settings_that_are_wrong(vendor: str) -> None:
    """An error of a missing or impossible setting shows none of the others."""
    names = list(ADAPTERS[vendor].hunt.settings("http://127.0.0.1"))
    async with _pool([]) as pool:
        for name in names:
            for value in ("", "http://elsewhere.example", "\u00e9"):
                given = {**ADAPTERS[vendor].hunt.settings("http://127.0.0.1"), name: value}
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


def _start_of(vendor: str) -> str:
    return next(act for act in ADAPTERS[vendor].hunt.calls if act.endswith("start"))


@pytest.mark.parametrize("vendor", _VENDORS)
async def test_what_rich_and_pytest_print(vendor: str) -> None:
    """Tracebacks with local variables, as rich and the standard library print them, show no secret."""
    async with serving(serve_with(FAULTS["500"], is_token=False)) as server:
        error = await failing(vendor, _start_of(vendor), f"http://127.0.0.1:{server.port}", [])
    shown = Traceback.from_exception(
        type(error), error, error.__traceback__, show_locals=True, locals_max_string=100_000
    )
    out = io.StringIO()
    Console(file=out, width=300).print(shown)
    plain = traceback.TracebackException.from_exception(error, capture_locals=True)
    lines = [*out.getvalue().splitlines(), *"".join(plain.format()).splitlines()]
    assert any("account = <Account" in line for line in lines)
    # What is left is the source of these tests, and their own frames.
    assert not [line for line in leaks(lines, CONTENT) if "lambda" not in line]
