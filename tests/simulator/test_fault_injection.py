"""Each injected fault as a client sees it, byte by byte."""

import asyncio
import base64
import socket
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import Any

import aiohttp
import pytest

from aioagents.codec import decode_json, encode_json
from aioagents.providers.leena.fake import FakeLeena
from aioagents.simulator import FaultPlan, Simulator

_GRANT = encode_json({"username": "demo-user", "password": "demo-password", "grant_type": "password"})
_TOKEN = "/api/v1.0/oauth/token"
_HEADERS = {
    "authorization": "Basic " + base64.b64encode(b"demo-client:demo-secret").decode(),
    "content-type": "application/json",
}
_NO_WAIT = {"delay": 0.0, "retry_after": 0}


def _simulator(*, seed: int = 0, fake: FakeLeena | None = None, **faults: Any) -> Simulator:
    plan = FaultPlan(**{**_NO_WAIT, **faults})
    return Simulator(fakes=[fake or FakeLeena()], seed=seed, faults=plan)


async def _raw(simulator: Simulator) -> bytes:
    """Ask for a token on a connection of its own, and read until its end."""
    reader, writer = await asyncio.open_connection("127.0.0.1", simulator.port)
    head = "".join(f"{name}: {value}\r\n" for name, value in _HEADERS.items())
    head = f"POST {_TOKEN} HTTP/1.1\r\nhost: x\r\ncontent-length: {len(_GRANT)}\r\nconnection: close\r\n{head}\r\n"
    writer.write(head.encode() + _GRANT)
    try:
        return await reader.read()
    finally:
        writer.transport.abort()


async def _ask(session: aiohttp.ClientSession, simulator: Simulator) -> tuple[int, Mapping[str, str], bytes]:
    async with session.post(simulator.url + _TOKEN, data=_GRANT, headers=_HEADERS) as reply:
        return reply.status, reply.headers, await reply.read()


async def test_without_fault_the_reply_is_unchanged() -> None:
    """Without a fault for a request the fake server's reply is sent unchanged."""
    async with _simulator(reset=1.0, only="start") as simulator:
        reply = await _raw(simulator)
        assert reply.startswith(b"HTTP/1.1 200 OK\r\n")
        assert b"access_token" in reply
        assert simulator.statistics().faults == {}


@pytest.mark.parametrize(("kind", "handled"), [("reset", 0), ("lost", 1)])
async def test_reset_before_and_after_the_request_was_handled(kind: str, handled: int) -> None:
    """The client's connection is reset without a byte, with the request handled or not."""
    faults: dict[str, Any] = {kind: 1.0}
    async with _simulator(**faults) as simulator:
        with pytest.raises(ConnectionResetError):
            await _raw(simulator)
        statistics = simulator.statistics()
    assert statistics.faults == {kind: 1}
    assert (statistics.token_requests, statistics.requests) == (handled, 1)


async def test_throttling_has_all_forms() -> None:
    """429 comes with seconds, with a date that is ahead by the plan's wait at most, and without `Retry-After`."""
    forms: dict[str, int] = {"seconds": 0, "date": 0, "none": 0}
    async with _simulator(throttle=1.0, retry_after=2) as simulator, aiohttp.ClientSession() as session:
        for _ in range(60):
            status, headers, body = await _ask(session, simulator)
            assert status == 429
            assert "message" in decode_json(body)
            text = headers.get("retry-after")
            if text is None:
                forms["none"] += 1
            elif text.isdigit():
                forms["seconds"] += 1
                assert 0 <= int(text) <= 2
            else:
                forms["date"] += 1
                ahead = parsedate_to_datetime(text) - datetime.now(UTC)
                assert timedelta(seconds=-60) < ahead <= timedelta(seconds=2)
        assert simulator.statistics().token_requests == 0
    assert min(forms.values()) > 5


async def test_server_errors_come_before_and_after_the_server_acted() -> None:
    """500, 502, 503 and 504 occur; with some of them the fake server has acted, with 503 never."""
    fake, seen = FakeLeena(), dict.fromkeys((500, 502, 503, 504), 0)
    acted = dict.fromkeys(seen, 0)
    async with _simulator(error=1.0, fake=fake) as simulator, aiohttp.ClientSession() as session:
        for _ in range(80):
            before = fake.statistics()["token_requests"]
            status, _, _ = await _ask(session, simulator)
            seen[status] += 1
            acted[status] += fake.statistics()["token_requests"] - before
    assert min(seen.values()) > 5
    assert acted[503] == 0
    assert all(0 < acted[status] < seen[status] for status in (500, 502, 504))


async def test_truncated_body_is_shorter_than_promised() -> None:
    """A truncated reply announces the whole body's length and ends before it."""
    async with _simulator(truncate=1.0) as simulator, aiohttp.ClientSession() as session:
        for _ in range(10):
            head, _, body = (await _raw(simulator)).partition(b"\r\n\r\n")
            promised = int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
            assert len(body) < promised
        with pytest.raises(aiohttp.ClientPayloadError):
            await _ask(session, simulator)
        assert simulator.statistics().token_requests == 11


async def test_garbled_reply_is_a_page() -> None:
    """A garbled reply is 200 with HTML, with the request handled or not."""
    async with _simulator(garble=1.0) as simulator, aiohttp.ClientSession() as session:
        for _ in range(40):
            status, headers, body = await _ask(session, simulator)
            assert (status, headers["content-type"]) == (200, "text/html; charset=utf-8")
            assert body.startswith(b"<html>")
        assert 5 < simulator.statistics().token_requests < 35


async def test_slow_body_comes_whole_and_in_pieces() -> None:
    """A slow reply has the whole body, in more than one piece."""
    async with (
        _simulator(slow=1.0, delay=0.02) as simulator,
        aiohttp.ClientSession() as session,
        session.post(simulator.url + _TOKEN, data=_GRANT, headers=_HEADERS) as reply,
    ):
        pieces = [piece async for piece, _ in reply.content.iter_chunks()]
    assert len([piece for piece in pieces if piece]) > 1
    assert "access_token" in decode_json(b"".join(pieces))


async def test_latency_is_counted_and_answers() -> None:
    """A request with latency is answered in the end."""
    async with _simulator(latency=1.0, delay=0.001) as simulator:
        assert b"access_token" in await _raw(simulator)
        assert simulator.statistics().faults == {"latency": 1}


async def test_client_that_disconnects_does_no_harm() -> None:
    """The simulator goes on serving after a client disconnected during a slow reply."""
    async with _simulator(slow=0.5, latency=0.5, delay=0.01) as simulator:
        for _ in range(8):
            with socket.create_connection(("127.0.0.1", simulator.port)) as peer:
                head = "".join(f"{name}: {value}\r\n" for name, value in _HEADERS.items())
                head = f"POST {_TOKEN} HTTP/1.1\r\nhost: x\r\ncontent-length: {len(_GRANT)}\r\n{head}\r\n"
                peer.sendall(head.encode() + _GRANT)
                await asyncio.sleep(0.005)
        assert b"access_token" in await _raw(simulator)


async def test_faults_are_the_same_for_the_same_seed() -> None:
    """The same requests in the same order see the same replies for the same seed."""

    async def statuses(seed: int) -> list[int]:
        async with (
            _simulator(seed=seed, throttle=0.3, error=0.3) as simulator,
            aiohttp.ClientSession() as session,
        ):
            return [(await _ask(session, simulator))[0] for _ in range(30)]

    first = await statuses(4)
    assert first == await statuses(4)
    assert first != await statuses(5)
    assert {200, 429} < set(first)


async def test_tokens_expire_early_and_new_ones_work() -> None:
    """A token expires long before its time; a new one serves at least its number of requests."""
    path = "/api/v1/external/aop/items/000000000000000000000000/status"
    lives: list[int] = []
    uses, token = 0, ""
    async with (
        _simulator(expire=0.5, expire_after=5) as simulator,
        aiohttp.ClientSession() as session,
    ):
        while len(lives) < 8:
            if not token:
                token = decode_json((await _ask(session, simulator))[2])["access_token"]
                uses = 0
            signed = {"authorization": f"Bearer {token}"}
            async with session.get(simulator.url + path, headers=signed) as reply:
                if reply.status == 401:
                    lives.append(uses)
                    token = ""
                else:
                    assert reply.status == 404
                    uses += 1
        assert simulator.statistics().faults == {"expire": 8}
    assert min(lives) >= 5
    assert len(set(lives)) > 1
