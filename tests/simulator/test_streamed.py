"""Replies that a world gives bit by bit, as a client sees them."""

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


class StreamWorld:
    """A world with one endpoint, which answers as it is told, and notes whose connection was gone when."""

    vendor = "streamer"

    def __init__(
        self, pieces: Sequence[tuple[float, bytes]], *, status: int = 200, until: float = 0.0
    ) -> None:
        self.pieces = pieces
        self.status = status
        self.until = until
        self.drops: list[float] = []
        self.bodies: list[bytes] = []
        self.dropped = asyncio.Event()
        self.routes = [
            Route(method="POST", path="/s", call="s.run", purpose=Purpose.START, handler=self._handle),
            Route(method="POST", path="/plain", call="s.plain", purpose=Purpose.CALL, handler=self._plain),
        ]

    def _handle(self, call: Call) -> Answer:
        self.bodies.append(call.request.body or b"")
        streamed = StreamedReply(
            pieces=self.pieces, status=self.status, headers=_TEXT, on_disconnect=self._drop
        )
        return DelayedReply(until=self.until, reply=lambda _: streamed) if self.until else streamed

    def _plain(self, call: Call) -> Answer:
        self.bodies.append(call.request.body or b"")
        return Reply(200, {}, b"%d" % len(self.bodies[-1]))

    def _drop(self, now: float) -> None:
        self.drops.append(now)
        self.dropped.set()

    def statistics(self) -> Mapping[str, int]:
        """Count nothing."""
        return {"token_requests": 0, "starts": 0, "polls": 0}

    def environment(self, url: str) -> Mapping[str, str]:
        """Need nothing."""
        return {}

    def revoke(self, authorization: str) -> bool:
        """Grant no tokens."""
        return False

    def ended_at(self, run_id: str) -> float | None:
        """Know no runs."""
        return None


def _simulator(fake: StreamWorld, *, speed: float = 1000.0, seed: int = 0, **faults: Any) -> Simulator:
    plan = FaultPlan(**{"delay": 0.0, **faults})
    return Simulator(fakes=[fake], speed=speed, seed=seed, faults=plan)


async def _pieces(reply: aiohttp.ClientResponse) -> AsyncIterator[bytes]:
    async for piece in reply.content.iter_any():
        yield piece


async def _until_cut(reply: aiohttp.ClientResponse) -> tuple[bytes, bool]:
    """Return what comes, and whether it breaks off."""
    got = b""
    try:
        async for piece in _pieces(reply):
            got += piece
    except aiohttp.ClientPayloadError:
        return got, True
    return got, False


async def test_pieces_come_at_their_time() -> None:
    """No piece comes before the world's second that stands beside it, and all of them come."""
    fake = StreamWorld(
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
        assert fake.drops == []


async def test_a_stream_may_be_owed() -> None:
    """A reply that is owed first may be a stream when it is due."""
    fake = StreamWorld(_PIECES, until=20.0)
    async with _simulator(fake) as simulator, aiohttp.ClientSession() as session:
        async with session.post(f"{simulator.url}/s") as reply:
            assert await reply.read() == _WHOLE
        assert simulator.now() >= 20.0


async def test_a_stream_without_pieces_ends_at_once() -> None:
    """Nothing to send is a whole reply of no bytes."""
    fake = StreamWorld([])
    async with _simulator(fake) as simulator, aiohttp.ClientSession() as session:
        async with session.post(f"{simulator.url}/s") as reply:
            assert await reply.read() == b""
        assert fake.drops == []


async def test_a_client_that_leaves_is_told_to_the_world() -> None:
    """A client that goes away in the middle is noticed though nothing is sent, and the world is told once."""
    fake = StreamWorld([(0.0, b"one"), (_NEVER, b"two")])
    async with _simulator(fake) as simulator, aiohttp.ClientSession() as session:
        async with session.post(f"{simulator.url}/s") as reply:
            assert await anext(_pieces(reply)) == b"one"
            reply.close()
        async with asyncio.timeout(10):
            await fake.dropped.wait()
        assert len(fake.drops) == 1
        async with session.post(f"{simulator.url}/plain", data=b"12345") as reply:
            assert await reply.read() == b"5"


async def test_closing_ends_streams_in_the_middle() -> None:
    """Leaving the simulator cuts off streams that would go on for ever, whether or not their client reads."""
    fake = StreamWorld([(0.0, b"x" * 10_000_000), (_NEVER, b"two")])
    async with aiohttp.ClientSession() as session:
        async with _simulator(fake) as simulator:
            replies = [await session.post(f"{simulator.url}/s") for _ in range(3)]
            assert await anext(_pieces(replies[0]))
        async with asyncio.timeout(10):
            for reply in replies:
                with pytest.raises(aiohttp.ClientError):
                    await reply.read()
    assert len(fake.drops) == 3


async def test_truncated_in_the_middle_of_a_piece() -> None:
    """A truncated stream ends, without its end being told, within one of its pieces; the world is told."""
    fake, seen = StreamWorld(_PIECES), set()
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
    assert len(fake.drops) == 20


async def test_slow_stream_comes_whole_in_more_pieces() -> None:
    """A slow stream dribbles, and nothing of it is missing."""
    fake = StreamWorld([(0.0, b"abcdefghij"), (0.0, b"k")])
    async with _simulator(fake, slow=1.0, delay=0.05) as simulator, aiohttp.ClientSession() as session:
        async with session.post(f"{simulator.url}/s") as reply:
            pieces = [piece async for piece in _pieces(reply)]
        assert b"".join(pieces) == b"abcdefghijk"
        assert len(pieces) > 2
        assert fake.drops == []


@pytest.mark.parametrize("kind", ["lost", "garble", "error"])
async def test_faults_that_take_the_place_of_a_stream(kind: str) -> None:
    """Where something else goes out, or nothing, the world hears that its stream was not read, each time once."""
    fake = StreamWorld(_PIECES)
    faults: dict[str, Any] = {kind: 1.0}
    async with _simulator(fake, **faults) as simulator, aiohttp.ClientSession() as session:
        for _ in range(20):
            try:
                async with session.post(f"{simulator.url}/s") as reply:
                    assert b"data" not in await reply.read()
            except aiohttp.ClientError:
                assert kind == "lost"
    assert len(fake.drops) == len(fake.bodies) > 0


# ── what comes up ───────────────────────────────────────────────────────────────────────────────────────


async def _dripping(count: int, size: int) -> AsyncIterator[bytes]:
    for _ in range(count):
        yield bytes(size)


async def test_a_body_without_a_length_is_read_whole() -> None:
    """The world gets all of a body that comes in chunks."""
    fake = StreamWorld([])
    async with (
        _simulator(fake) as simulator,
        aiohttp.ClientSession() as session,
        session.post(f"{simulator.url}/plain", data=_dripping(7, 100_000)) as reply,
    ):
        assert await reply.read() == b"700000"


@pytest.mark.parametrize("is_told", [True, False])
async def test_a_body_has_a_bound(is_told: bool) -> None:
    """What is larger than anything a world takes is refused, with its length told or not, and the world not asked."""
    fake = StreamWorld([])
    headers = {"content-length": str(70 * 1024 * 1024)} if is_told else {}
    async with _simulator(fake) as simulator, aiohttp.ClientSession() as session:
        data = _dripping(70, 1024 * 1024)
        async with session.post(f"{simulator.url}/plain", data=data, headers=headers) as reply:
            assert reply.status == 413
    assert fake.bodies == []


async def test_a_client_that_leaves_in_the_middle_of_its_body(caplog: pytest.LogCaptureFixture) -> None:
    """Half a body is no request: the world is not asked, and nothing is logged."""
    fake = StreamWorld([])
    async with _simulator(fake) as simulator:
        _, writer = await asyncio.open_connection("127.0.0.1", simulator.port)
        writer.write(b"POST /plain HTTP/1.1\r\nhost: x\r\ncontent-length: 100\r\n\r\nabc")
        await writer.drain()
        await asyncio.sleep(0.01)
        writer.transport.abort()
        await asyncio.sleep(0.05)
    assert fake.bodies == []
    assert [record for record in caplog.records if record.levelno >= logging.INFO] == []


# ── all together ────────────────────────────────────────────────────────────────────────────────────────


async def _outcome(pool: SessionPool, url: str, key: str) -> tuple[bytes, AgentsError | None]:
    """Stream one run, and give what came and what befell it."""
    request = Request(
        method="POST", url=f"{url}/s", call="s.run", purpose=Purpose.START, body=key.encode(), is_long=True
    )
    account = pool.account("k", name="k", vendor="streamer")
    got = b""
    try:
        launch = StartRequest(vendor="streamer", request=request, target=key, advice="")
        async with pool.caller.stream(account, launch) as streaming:
            async for piece in streaming.pieces():
                got += piece
    except AgentsError as error:
        return got, error
    return got, None


async def test_no_fault_starts_a_stream_twice() -> None:
    """Under all faults at once each run begins at most once, what came is what was sent, and no fate is hidden."""
    fake = StreamWorld([(0.0, b"data: 1\n\n"), (2.0, b"data: 22\n\n"), (4.0, b"data: 333\n\n")])
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
