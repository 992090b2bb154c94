"""Streamed replies as a client sees them."""

import asyncio
import logging
from collections import Counter
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any

import aiohttp
import pytest

from aioagents import SessionPool
from aioagents.calls import StartRequest
from aioagents.contract.fake import Answer, Call, DelayedReply, Route, StreamedReply
from aioagents.errors import AgentsError, ReplyLost, StartUnknown
from aioagents.model import Purpose, Reply, Request
from aioagents.observe import Event, StartAbandoned
from aioagents.retry import RetryPolicy
from aioagents.simulator import FaultPlan, Simulator

_TEXT = {"content-type": "text/event-stream"}
_PIECES = [(0.0, b"data: 1\n\n"), (0.0, b"data: 22\n\n"), (0.0, b"data: 333\n\n")]
_WHOLE = b"".join(piece for _, piece in _PIECES)
_NEVER = 1e9


class StreamServer:
    """A fake server with one streamed endpoint, which records when its clients disconnected."""

    vendor = "streamer"

    def __init__(
        self, pieces: Sequence[tuple[float, bytes]], *, status: int = 200, until: float = 0.0
    ) -> None:
        self.pieces = pieces
        self.status = status
        self.until = until
        self.disconnects: list[float] = []
        self.bodies: list[bytes] = []
        self.disconnected = asyncio.Event()
        self.routes = [
            Route(method="POST", path="/s", call="s.run", purpose=Purpose.START, handler=self._handle),
            Route(method="POST", path="/plain", call="s.plain", purpose=Purpose.CALL, handler=self._plain),
        ]

    def _handle(self, call: Call) -> Answer:
        self.bodies.append(call.request.body or b"")
        streamed = StreamedReply(
            pieces=self.pieces, status=self.status, headers=_TEXT, on_disconnect=self._on_disconnect
        )
        return DelayedReply(until=self.until, reply=lambda _: streamed) if self.until else streamed

    def _plain(self, call: Call) -> Answer:
        self.bodies.append(call.request.body or b"")
        return Reply(200, {}, b"%d" % len(self.bodies[-1]))

    def _on_disconnect(self, now: float) -> None:
        self.disconnects.append(now)
        self.disconnected.set()

    def statistics(self) -> Mapping[str, int]:
        """Return zeros."""
        return {"token_requests": 0, "starts": 0, "polls": 0}

    def environment(self, url: str) -> Mapping[str, str]:
        """Return no variables."""
        return {}

    def revoke(self, authorization: str) -> bool:
        """Return False: there are no tokens."""
        return False

    def ended_at(self, run_id: str) -> float | None:
        """Return None: there are no runs."""
        return None


def _simulator(fake: StreamServer, *, speed: float = 1000.0, seed: int = 0, **faults: Any) -> Simulator:
    plan = FaultPlan(**{"delay": 0.0, **faults})
    return Simulator(fakes=[fake], speed=speed, seed=seed, faults=plan)


async def _pieces(reply: aiohttp.ClientResponse) -> AsyncIterator[bytes]:
    async for piece in reply.content.iter_any():
        yield piece


async def _until_cut(reply: aiohttp.ClientResponse) -> tuple[bytes, bool]:
    """Return the bytes of the body, and whether it was cut off."""
    got = b""
    try:
        async for piece in _pieces(reply):
            got += piece
    except aiohttp.ClientPayloadError:
        return got, True
    return got, False


async def test_pieces_come_at_their_time() -> None:
    """No piece comes before its time on the fake server's clock, and all of them come."""
    fake = StreamServer(
        [(0.0, b"one"), (0.0, b"+"), (30.0, b"two"), (60.0, b""), (90.0, b"three")], status=202
    )
    async with _simulator(fake) as simulator, aiohttp.ClientSession() as session:
        seen: list[tuple[float, bytes]] = []
        async with session.post(f"{simulator.url}/s") as reply:
            assert (reply.status, reply.headers["content-type"]) == (202, "text/event-stream")
            async for piece in _pieces(reply):
                seen += [(simulator.now(), piece)]
        assert b"".join(piece for _, piece in seen) == b"one+twothree"
        for piece, at in ((b"two", 30.0), (b"three", 90.0)):
            assert min(moment for moment, each in seen if each.endswith(piece)) >= at
        assert fake.disconnects == []


async def test_a_stream_may_be_delayed() -> None:
    """A delayed reply may be a stream when it is due."""
    fake = StreamServer(_PIECES, until=20.0)
    async with _simulator(fake) as simulator, aiohttp.ClientSession() as session:
        async with session.post(f"{simulator.url}/s") as reply:
            assert await reply.read() == _WHOLE
        assert simulator.now() >= 20.0


async def test_a_stream_without_pieces_ends_at_once() -> None:
    """A stream without pieces is a complete reply with an empty body."""
    fake = StreamServer([])
    async with _simulator(fake) as simulator, aiohttp.ClientSession() as session:
        async with session.post(f"{simulator.url}/s") as reply:
            assert await reply.read() == b""
        assert fake.disconnects == []


async def test_a_disconnect_is_reported_to_the_fake_server() -> None:
    """A disconnect is detected though nothing is being sent, and `on_disconnect` is called once."""
    fake = StreamServer([(0.0, b"one"), (_NEVER, b"two")])
    async with _simulator(fake) as simulator, aiohttp.ClientSession() as session:
        async with session.post(f"{simulator.url}/s") as reply:
            assert await anext(_pieces(reply)) == b"one"
            reply.close()
        async with asyncio.timeout(10):
            await fake.disconnected.wait()
        assert len(fake.disconnects) == 1
        async with session.post(f"{simulator.url}/plain", data=b"12345") as reply:
            assert await reply.read() == b"5"


async def test_closing_ends_streams_in_the_middle() -> None:
    """Closing the simulator cuts off streams that would go on for ever, whether or not their client reads."""
    fake = StreamServer([(0.0, b"x" * 10_000_000), (_NEVER, b"two")])
    async with aiohttp.ClientSession() as session:
        async with _simulator(fake) as simulator:
            replies = [await session.post(f"{simulator.url}/s") for _ in range(3)]
            assert await anext(_pieces(replies[0]))
        async with asyncio.timeout(10):
            for reply in replies:
                with pytest.raises(aiohttp.ClientError):
                    await reply.read()
    assert len(fake.disconnects) == 3


async def test_truncated_in_the_middle_of_a_piece() -> None:
    """A truncated stream is cut off within one of its pieces, and `on_disconnect` is called."""
    fake, seen = StreamServer(_PIECES), set()
    async with _simulator(fake, truncate=1.0) as simulator, aiohttp.ClientSession() as session:
        for _ in range(20):
            async with session.post(f"{simulator.url}/s") as reply:
                got, is_cut = await _until_cut(reply)
            assert is_cut
            assert _WHOLE.startswith(got)
            assert not got.endswith(b"\n\n")
            seen.add(got)
        assert simulator.statistics().faults == {"truncate": 20}
    assert len(seen) > 1
    assert len(fake.disconnects) == 20


async def test_slow_stream_comes_whole_in_more_pieces() -> None:
    """A slow stream comes in more pieces, and nothing of it is missing."""
    fake = StreamServer([(0.0, b"abcdefghij"), (0.0, b"k")])
    async with _simulator(fake, slow=1.0, delay=0.05) as simulator, aiohttp.ClientSession() as session:
        async with session.post(f"{simulator.url}/s") as reply:
            pieces = [piece async for piece in _pieces(reply)]
        assert b"".join(pieces) == b"abcdefghijk"
        assert len(pieces) > 2
        assert fake.disconnects == []


@pytest.mark.parametrize("kind", ["lost", "garble", "error"])
async def test_faults_that_replace_a_stream(kind: str) -> None:
    """Where something else is sent, or nothing, `on_disconnect` of the stream is called once."""
    fake = StreamServer(_PIECES)
    faults: dict[str, Any] = {kind: 1.0}
    async with _simulator(fake, **faults) as simulator, aiohttp.ClientSession() as session:
        for _ in range(20):
            try:
                async with session.post(f"{simulator.url}/s") as reply:
                    assert b"data" not in await reply.read()
            except aiohttp.ClientError:
                assert kind == "lost"
    assert len(fake.disconnects) == len(fake.bodies) > 0


# Bodies of requests


async def _chunks(count: int, size: int) -> AsyncIterator[bytes]:
    for _ in range(count):
        yield bytes(size)


async def test_a_body_without_a_length_is_read_whole() -> None:
    """The fake server gets all of a body that comes in chunks."""
    fake = StreamServer([])
    async with (
        _simulator(fake) as simulator,
        aiohttp.ClientSession() as session,
        session.post(f"{simulator.url}/plain", data=_chunks(7, 100_000)) as reply,
    ):
        assert await reply.read() == b"700000"


@pytest.mark.parametrize("has_length", [True, False])
async def test_a_body_has_a_bound(has_length: bool) -> None:
    """A body that no fake server would accept is refused before one is called, with a length or without."""
    fake = StreamServer([])
    headers = {"content-length": str(70 * 1024 * 1024)} if has_length else {}
    async with _simulator(fake) as simulator, aiohttp.ClientSession() as session:
        data = _chunks(70, 1024 * 1024)
        async with session.post(f"{simulator.url}/plain", data=data, headers=headers) as reply:
            assert reply.status == 413
    assert fake.bodies == []


async def test_a_client_that_disconnects_in_the_middle_of_its_body(caplog: pytest.LogCaptureFixture) -> None:
    """An incomplete body does not reach the fake server, and nothing is logged."""
    fake = StreamServer([])
    async with _simulator(fake) as simulator:
        _, writer = await asyncio.open_connection("127.0.0.1", simulator.port)
        writer.write(b"POST /plain HTTP/1.1\r\nhost: x\r\ncontent-length: 100\r\n\r\nabc")
        await writer.drain()
        await asyncio.sleep(0.01)
        writer.transport.abort()
        await asyncio.sleep(0.05)
    assert fake.bodies == []
    assert [record for record in caplog.records if record.levelno >= logging.INFO] == []


# All faults together


async def _outcome(pool: SessionPool, url: str, key: str) -> tuple[bytes, AgentsError | None]:
    """Stream one run, and return what came and the error, if any."""
    request = Request(
        method="POST", url=f"{url}/s", call="s.run", purpose=Purpose.START, body=key.encode(), is_long=True
    )
    account = pool.account("k", name="k", vendor="streamer")
    got = b""
    try:
        start = StartRequest(vendor="streamer", request=request, target=key, advice="")
        async with pool.caller.stream(account, start) as streaming:
            async for piece in streaming.pieces():
                got += piece
    except AgentsError as error:
        return got, error
    return got, None


async def test_no_fault_starts_a_stream_twice() -> None:
    """Under all faults at once, each run starts at most once, bytes are those sent, and every outcome is right."""
    fake = StreamServer([(0.0, b"data: 1\n\n"), (2.0, b"data: 22\n\n"), (4.0, b"data: 333\n\n")])
    faults = dict.fromkeys(("reset", "lost", "throttle", "error", "truncate", "garble", "slow"), 0.12)
    keys = [f"run-{number}" for number in range(150)]
    events: list[Event] = []
    async with (
        _simulator(fake, seed=3, retry_after=0, **faults) as simulator,
        SessionPool(retry=RetryPolicy(first=0.001, cap=0.002, reserve=1000), hooks=[events.append]) as pool,
    ):
        outcomes = [await _outcome(pool, simulator.url, key) for key in keys]
    begun = [body.decode() for body in fake.bodies]
    assert len(set(begun)) == len(begun)
    kinds: Counter[str] = Counter()
    for key, (got, error) in zip(keys, outcomes, strict=True):
        kinds["whole" if error is None else type(error).__name__] += 1
        if error is None:
            assert got == _WHOLE or got.startswith(b"<html>")
        elif isinstance(error, ReplyLost):
            assert got
            assert _WHOLE.startswith(got)
            assert key in begun
        else:
            assert got == b""
            assert isinstance(error, StartUnknown) or key not in begun
    assert min(kinds["whole"], kinds["StartUnknown"], kinds["ReplyLost"]) > 5
    assert [event for event in events if isinstance(event, StartAbandoned)] == []
