"""Starts whose reply is read while it arrives: signed, retried, read, left, and always reported."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Self

import anyio
import attrs
import pytest

from aioagents.calls import Caller, Start, StartRequest, StreamingCall
from aioagents.errors import (
    AgentsError,
    AuthenticationError,
    BadRequest,
    DecodeError,
    ForeignReply,
    NotSent,
    PoolClosed,
    ReplyError,
    ReplyLost,
    ServerError,
    StartUnknown,
    Throttled,
)
from aioagents.model import Purpose, Reply, Request, Run, RunRef, RunState, Upload
from aioagents.observe import (
    Event,
    RateLowered,
    RequestDone,
    RetryScheduled,
    RunStarted,
    StartAbandoned,
    TokenRenewed,
)
from aioagents.retry import RetryPolicy
from aioagents.transport import PoolLimits
from tests.calls.rig import (
    BODY,
    CALL,
    OK,
    REFUSED,
    SECRET,
    START,
    THROTTLED,
    Attempt,
    Held,
    Rig,
    ScriptSend,
    Step,
    read_text,
)
from tests.fakes import EPOCH

ONE = PoolLimits(requests_at_once=1)
RUN = Run(ref=RunRef("leena", "", "r-1"), state=RunState.RUNNING, status="busy", raw=None, seen_at=EPOCH)

#: What happens to a body: bytes, an error, or a wait.
Part = bytes | AgentsError | asyncio.Event


class StreamScript(ScriptSend):
    """A `Send` whose steps begin streams; the body of a success then has these parts, if there are any."""

    def __init__(self, *steps: Step, parts: Sequence[Part] | None = None) -> None:
        super().__init__(*steps)
        self.parts = parts
        self.open = 0
        self.requests: list[Request] = []

    def stream(
        self, request: Request, *, headers: Mapping[str, str], on_sent: Callable[[], None] | None = None
    ) -> "_Body":
        """Follow the next step on entering."""
        self.requests.append(request)
        return _Body(self, lambda: self.send(request, headers=headers, on_sent=on_sent))


class _Body:
    def __init__(self, script: StreamScript, begin: Callable[[], Any]) -> None:
        self._script = script
        self._begin = begin
        self._reply = Reply(0)
        self._parts: list[Part] = []

    @property
    def status(self) -> int:
        return self._reply.status

    @property
    def headers(self) -> Mapping[str, str]:
        return self._reply.headers

    async def __aenter__(self) -> Self:
        self._reply = await self._begin()
        self._parts = list([self._reply.body] if self._script.parts is None else self._script.parts)
        self._script.open += 1
        return self

    async def __aexit__(self, *_: object) -> None:
        self._script.open -= 1

    def pieces(self) -> Self:
        return self

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> bytes:
        await asyncio.sleep(0)
        while self._parts:
            part = self._parts.pop(0)
            if isinstance(part, AgentsError):
                raise part
            if isinstance(part, bytes) and part:
                return part
            if isinstance(part, asyncio.Event):
                await part.wait()
        raise StopAsyncIteration

    async def read(self) -> bytes:
        return self._reply.body


class StreamRig(Rig):
    """A caller whose send can stream."""

    def __init__(
        self, *steps: Step, parts: Sequence[Part] | None = None, is_detailed: bool = False, **options: Any
    ) -> None:
        super().__init__(*steps, **options)
        self.script = StreamScript(*steps, parts=parts)
        self.send = self.script
        self.emit.is_detailed = is_detailed
        self.caller = Caller(
            self.script,
            supervisor=self.supervisor,
            clock=self.clock,
            retry=self.retry,
            emit=self.emit,
            chance=lambda: 0.5,
        )

    def stream(self, request: Request = START) -> StreamingCall:
        """Return a stream that was not entered."""
        return self.caller.stream(self.account, start(request))

    async def read(self, request: Request = START) -> bytes:
        """Read a stream to its end."""
        async with self.stream(request) as streaming:
            return b"".join([piece async for piece in streaming.pieces()])

    @property
    def trace(self) -> list[Event]:
        """Return what was emitted, apart from tokens."""
        return [event for event in self.events if not isinstance(event, TokenRenewed)]

    def assert_idle(self) -> None:
        """Assert that nothing is left, and no connection is open."""
        super().assert_idle()
        assert self.script.open == 0


def start(request: Request = START) -> StartRequest:
    """Return what is to be started."""
    return StartRequest(vendor="leena", request=request, target="triage", advice="Check the report.")


# ── what comes ──────────────────────────────────────────────────────────────────────────────────────────


async def test_returns_status_headers_and_pieces() -> None:
    """The reply is read as it arrives; the request is signed and long, and its connection closed in the end."""
    async with StreamRig(Reply(201, {"x-a": "1"}), parts=[b"one", b"", b"two"]) as rig:
        async with rig.stream() as streaming:
            assert (streaming.status, streaming.headers["x-a"], rig.script.open) == (201, "1", 1)
            assert [piece async for piece in streaming.pieces()] == [b"one", b"two"]
        assert rig.send.attempts[0].signature == "Bearer token-1"
        assert (rig.script.requests[0].is_long, rig.script.requests[0].body) == (True, BODY)
        assert rig.caller.requests == 1
        assert rig.trace == []
        rig.assert_idle()


async def test_a_start_can_be_streamed() -> None:
    """A `Start` can be streamed as well: its `read` is not used."""
    async with StreamRig(OK) as rig:
        start = Start(vendor="leena", request=START, target="triage", advice="", read=read_text)
        async with rig.caller.stream(rig.account, start) as streaming:
            assert [piece async for piece in streaming.pieces()] == [b"ok"]


async def test_the_permit_is_released_once_it_was_sent() -> None:
    """A stream holds no permit for short requests: with one of them, many streams go on."""
    forever = asyncio.Event()
    async with StreamRig(OK, parts=[b"x", forever], limits=ONE) as rig:
        entered = [await rig.stream().__aenter__() for _ in range(5)]
        assert rig.account.limiter.statistics().under_way == 0
        for each in entered:
            assert await anext(each.pieces()) == b"x"
            await each.__aexit__(None, None, None)
        rig.assert_idle()


async def test_a_stream_that_connects_holds_a_permit() -> None:
    """Before its first byte has left, a stream holds a permit like any other request."""
    held = Held(is_connecting=True)
    async with StreamRig(held, OK, limits=ONE) as rig:
        first = await rig.begin(rig.read())
        second = await rig.begin(rig.read())
        assert (rig.account.limiter.statistics().under_way, rig.send.times) == (1, 1)
        held.reply.set_result(OK)
        assert (await first, await second) == (b"ok", b"ok")
        rig.assert_idle()


async def test_the_first_run_is_emitted_and_counted_once() -> None:
    """The run that a streamed reply names counts as accepted, once, however often it is named."""
    async with StreamRig(OK, parts=[b"x"]) as rig:
        async with rig.stream() as streaming:
            assert rig.caller.starts == 0
            for _ in range(3):
                streaming.note_run(RUN)
        assert rig.emitted(RunStarted) == [RunStarted(vendor="leena", target="triage", run=RUN)]
        assert rig.caller.starts == 1


async def test_what_is_no_run_is_not_counted() -> None:
    """The start of something else than a run is emitted, and not counted."""
    async with StreamRig(OK) as rig:
        async with rig.caller.stream(rig.account, attrs.evolve(start(), is_run=False)) as streaming:
            streaming.note_run(RUN)
            assert [piece async for piece in streaming.pieces()] == [b"ok"]
        assert rig.caller.starts == 0


async def test_a_send_that_cannot_stream_is_refused() -> None:
    """Where the pool's `Send` cannot stream, TypeError is raised before anything is sent."""
    async with Rig(OK) as rig:
        with pytest.raises(TypeError, match="ScriptSend cannot stream replies"):
            rig.caller.stream(rig.account, start())


async def test_a_stream_is_entered_first() -> None:
    """A stream that was not entered has no status and no pieces."""
    async with StreamRig(OK) as rig:
        with pytest.raises(RuntimeError, match="entered first"):
            _ = rig.stream().status
        with pytest.raises(RuntimeError, match="entered first"):
            await anext(rig.stream().pieces())


async def test_has_its_permit_until_it_is_left() -> None:
    """Beyond the limit a stream waits unsent until another one is left; cancelled, it sends nothing."""
    async with StreamRig(OK, parts=[b"one"], limits=PoolLimits(long_at_once=1)) as rig:
        for _ in range(2):
            streaming = rig.stream()
            async with streaming:
                assert await anext(streaming.pieces()) == b"one"
                waiting = [await rig.begin(rig.read()) for _ in range(2)]
                assert rig.script.open == 1
                sent = rig.script.times
                waiting[0].cancel()
            assert await waiting[1] == b"one"
            await streaming.__aexit__()
            assert (waiting[0].cancelled(), rig.script.times) == (True, sent + 1)
        assert rig.emitted(StartAbandoned) == []
        assert not rig.account.limiter.long_permits.locked()
        rig.assert_idle()


async def test_a_refused_stream_releases_its_permit() -> None:
    """A stream that could not be entered holds no permit."""
    async with StreamRig(Reply(400), limits=PoolLimits(long_at_once=1)) as rig:
        for _ in range(2):
            assert isinstance(await rig.ends(rig.read()), BadRequest)
        rig.assert_idle()


# ── what is refused, and retried ────────────────────────────────────────────────────────────────────────


async def test_a_refused_token_is_renewed_once() -> None:
    """After a 401 the stream is sent again with a new token; a second one is final."""
    async with StreamRig(REFUSED, OK) as rig:
        assert await rig.ends(rig.read()) == b"ok"
        assert [attempt.signature for attempt in rig.send.attempts] == [
            "Bearer token-1",
            "Bearer token-2",
        ]
    async with StreamRig(REFUSED) as rig:
        error = await rig.ends(rig.read())
        assert isinstance(error, AuthenticationError)
        assert rig.send.times == 2
        rig.assert_idle()


@pytest.mark.parametrize("step", [THROTTLED, NotSent("x"), Reply(429, {"retry-after": "7"})])
async def test_what_began_nothing_is_retried(step: Step) -> None:
    """Not sent, or throttled: another attempt is made, as for any start."""
    async with StreamRig(step, step, OK) as rig:
        assert await rig.ends(rig.read()) == b"ok"
        assert rig.send.times == 3
        assert [event.failures for event in rig.emitted(RetryScheduled)] == [1, 2]
        assert rig.emitted(StartAbandoned) == []
        rig.assert_idle()


async def test_a_refusal_by_status_may_be_retried() -> None:
    """A 503 that means, for this vendor, that nothing was executed is retried; another one is not."""
    soft = attrs.evolve(START, refused_by=frozenset({503}))
    async with StreamRig(Reply(503), OK) as rig:
        assert await rig.ends(rig.read(soft)) == b"ok"
    async with StreamRig(Reply(503), OK) as rig:
        assert isinstance(await rig.ends(rig.read()), StartUnknown)
        assert rig.send.times == 1


async def test_attempts_end() -> None:
    """The last error is raised when there is no other attempt; nothing is unknown then."""
    async with StreamRig(NotSent("x"), retry=RetryPolicy(attempts=3)) as rig:
        error = await rig.ends(rig.read())
        assert isinstance(error, NotSent)
        assert (error.tries, error.vendor, rig.send.times) == (3, "leena", 3)
        assert rig.emitted(StartAbandoned) == []


async def test_attempts_spend_the_budget() -> None:
    """A stream earns the account's retry budget like any call, and spends it."""
    policy = RetryPolicy(reserve=1, share=1, first=0.001)
    async with StreamRig(NotSent("x"), NotSent("x"), NotSent("x"), OK, retry=policy) as rig:
        assert isinstance(await rig.ends(rig.read()), NotSent)
        assert rig.send.times == 3


async def test_a_deadline_ends_attempts() -> None:
    """An attempt that cannot be made before the caller's own deadline is not waited for."""
    async with StreamRig(Reply(429, {"retry-after": "60"})) as rig:

        async def hurried() -> bytes:
            with anyio.fail_after(30):
                return await rig.read()

        assert isinstance(await rig.ends(hurried()), Throttled)
        assert rig.send.times == 1


@pytest.mark.parametrize(
    ("status", "kind", "times"),
    [(400, BadRequest, 1), (404, ReplyError, 1), (302, ForeignReply, 5), (418, ReplyError, 1)],
)
async def test_a_refusal_is_final(status: int, kind: type[AgentsError], times: int) -> None:
    """A refusal is raised with the vendor's message, once; a redirect is not the vendor's. Connections are closed."""
    async with StreamRig(Reply(status, {"x-request-id": "q"}, b'{"message": "no"}')) as rig:
        error = await rig.ends(rig.read())
        assert isinstance(error, kind)
        assert (error.status, error.detail, error.request_id) == (status, "no", "q")
        assert rig.send.times == times
        rig.assert_idle()


async def test_what_can_be_read_once_is_not_sent_twice() -> None:
    """A body that cannot be read again is not sent again after a 401 or 429, nor where its reply is lost."""

    async def nothing() -> Any:
        yield b""

    once = attrs.evolve(CALL, upload=Upload(open=nothing, is_once=True))
    again = attrs.evolve(CALL, upload=Upload(open=nothing))
    for step in (REFUSED, THROTTLED, ReplyLost("x"), Reply(500)):
        for request, times in ((once, 1), (again, 2)):
            async with Rig(step, OK) as rig:
                outcome = await rig.ends(rig.caller.call(rig.account, request, read_text))
                assert rig.send.times == times
                assert (outcome == "ok") is (times == 2)
                assert rig.account.token_nowait() is None or step is not REFUSED or times == 2
    async with Rig(NotSent("x"), OK) as rig:
        assert await rig.ends(rig.caller.call(rig.account, once, read_text)) == "ok"


async def test_a_start_whose_upload_broke_began_nothing() -> None:
    """Where the source of a start's upload raises, the vendor did not get the whole body: nothing is unknown."""

    async def broken(attempt: Attempt) -> Reply:
        attempt.note_sent()
        raise FileNotFoundError(2, "gone")

    async def nothing() -> Any:
        yield b""

    async with Rig(broken) as rig:
        request = attrs.evolve(START, body=None, upload=Upload(open=nothing))
        error = await rig.ends(rig.start(request))
        assert isinstance(error, AgentsError)
        assert not isinstance(error, StartUnknown)
        assert isinstance(error.__cause__, FileNotFoundError)
    async with Rig(broken) as rig:
        call = attrs.evolve(request, purpose=Purpose.CALL)
        fault = await rig.ends(rig.caller.call(rig.account, call, read_text))
        assert isinstance(fault, FileNotFoundError)


# ── what cannot be known ────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("step", [ReplyLost("x"), Reply(502), Reply(500), Reply(303), DecodeError("x")])
async def test_a_lost_reply_is_unknown(step: Step) -> None:
    """Sent, and answered with nothing or an error: it cannot be known whether a run began; it is not sent again."""
    async with StreamRig(step, OK) as rig:
        error = await rig.ends(rig.read())
        assert isinstance(error, StartUnknown)
        assert (error.target, error.body, error.sent_at) == ("triage", BODY, EPOCH)
        assert "Check the report." in str(error)
        assert SECRET not in f"{error} {error!r}"
        assert isinstance(error.__cause__, AgentsError)
        assert rig.send.times == 1
        assert rig.emitted(StartAbandoned) == []
        rig.assert_idle()


@pytest.mark.parametrize(
    ("parts", "kind"), [([ReplyLost("x")], ReplyLost), ([PoolClosed("x")], PoolClosed), ([], DecodeError)]
)
async def test_an_empty_reply_is_unknown(parts: list[Part], kind: type[AgentsError]) -> None:
    """A success without a byte of body, for whatever reason, leaves the outcome unknown."""
    async with StreamRig(OK, parts=parts) as rig:
        error = await rig.ends(rig.read())
        assert isinstance(error, StartUnknown)
        assert type(error.__cause__) is kind
        assert rig.emitted(StartAbandoned) == []
        rig.assert_idle()


async def test_an_error_after_the_first_byte_is_raised() -> None:
    """Once something arrived, an error in the rest is raised as it is, after what arrived."""
    async with StreamRig(OK, parts=[b"one", ReplyLost("x")]) as rig:
        async with rig.stream() as streaming:
            pieces = streaming.pieces()
            assert await anext(pieces) == b"one"
            with pytest.raises(ReplyLost) as caught:
                await anext(pieces)
        assert caught.value.vendor == "leena"
        assert rig.emitted(StartAbandoned) == []


async def test_a_reply_that_cannot_be_read_is_unknown() -> None:
    """A reader that cannot read the reply can report the start as unknown."""
    async with StreamRig(Reply(201, {"x-request-id": "r-1"}), parts=[b"<html>"]) as rig:
        async with rig.stream() as streaming:
            assert await anext(streaming.pieces()) == b"<html>"
            cause = DecodeError("wrong shape")
            error = streaming.start_unknown(cause)
        assert (error.__cause__, error.target, error.body) == (cause, "triage", BODY)
        assert (error.status, error.request_id) == (201, "r-1")


async def test_other_exceptions_after_sending_are_unknown() -> None:
    """Any other exception means unknown after the first byte left; before that it is raised as it is."""

    async def broken(attempt: Attempt) -> Reply:
        attempt.note_sent()
        raise ValueError("x")

    async def unmarked(_: Attempt) -> Reply:
        raise ValueError("x")

    async with StreamRig(broken) as rig:
        assert isinstance(await rig.ends(rig.read()), StartUnknown)
        assert isinstance(await rig.ends(rig.read(CALL)), ValueError)
    async with StreamRig(unmarked) as rig:
        assert isinstance(await rig.ends(rig.read()), ValueError)


# ── cancelled or left ───────────────────────────────────────────────────────────────────────────────────


async def _assert_abandoned(rig: StreamRig) -> None:
    """Assert that a start was emitted as abandoned, with an unknown outcome."""
    (event,) = rig.emitted(StartAbandoned)
    assert (event.vendor, event.target, event.sent_at, event.run) == ("leena", "triage", EPOCH, None)
    assert isinstance(event.error, StartUnknown)
    assert event.error.body == BODY
    rig.assert_idle()


async def test_cancelled_before_the_first_byte_nothing_is_emitted() -> None:
    """Cancelled while it waits for a token, permit, connection or attempt, a stream emits nothing."""
    held = Held(is_connecting=True)
    async with StreamRig(held) as rig:
        task = await rig.begin(rig.read())
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        assert rig.trace == []
        rig.assert_idle()
    async with StreamRig(THROTTLED) as rig:
        task = await rig.begin(rig.read())
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        assert rig.emitted(StartAbandoned) == []
        rig.assert_idle()


async def test_cancelled_already_nothing_is_sent() -> None:
    """A stream that is entered under a cancelled scope is not sent."""
    async with StreamRig(OK, is_signed=False) as rig:
        with anyio.CancelScope() as scope:
            scope.cancel()
            await rig.read()
        assert rig.send.times == 0


async def test_cancelled_before_the_reply_it_is_emitted() -> None:
    """Cancelled before the reply, the connection is closed, and the start is emitted as unknown."""
    held = Held()
    async with StreamRig(held) as rig:
        task = await rig.begin(rig.read())
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await _assert_abandoned(rig)


async def test_cancelled_before_the_first_piece_it_is_emitted() -> None:
    """The headers alone do not name a run: cancelled after them, the start is emitted as unknown."""
    async with StreamRig(OK, parts=[asyncio.Event(), b"one"]) as rig:
        task = await rig.begin(rig.read())
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await _assert_abandoned(rig)


async def test_left_unread_it_is_emitted() -> None:
    """Left without reading anything, the start is emitted as unknown, once."""
    async with StreamRig(OK, parts=[b"one"]) as rig:
        async with rig.stream() as streaming:
            pass
        await streaming.__aexit__(None, None, None)
        await _assert_abandoned(rig)


@pytest.mark.parametrize("is_cancelled", [False, True])
async def test_left_in_the_middle_nothing_is_emitted(is_cancelled: bool) -> None:
    """A caller that read something knows of the run: nothing is emitted; leaving closes the connection at once."""
    async with StreamRig(OK, parts=[b"one", asyncio.Event(), b"two"]) as rig:

        async def read() -> None:
            async with rig.stream() as streaming:
                async for _ in streaming.pieces():
                    if not is_cancelled:
                        break

        task = await rig.begin(read())
        if is_cancelled:
            task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        assert rig.trace == []
        rig.assert_idle()


# ── what may be repeated ────────────────────────────────────────────────────────────────────────────────


async def test_what_starts_nothing_is_retried_and_never_unknown() -> None:
    """A streamed read is retried after any passing error, and is never unknown."""
    async with StreamRig(ReplyLost("x"), Reply(502), OK, parts=[b"one", ReplyLost("x")]) as rig:
        outcome = await rig.ends(rig.read(CALL))
        assert isinstance(outcome, ReplyLost)
        assert rig.send.times == 3
    async with StreamRig(OK, parts=[]) as rig:
        assert await rig.ends(rig.read(CALL)) == b""
    async with StreamRig(Held()) as rig:
        task = await rig.begin(rig.read(CALL))
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        async with StreamRig(OK) as other, other.stream(CALL):
            pass
        assert rig.trace == other.trace == []


# ── events of requests ──────────────────────────────────────────────────────────────────────────────────


async def test_each_request_is_emitted_when_it_is_done() -> None:
    """Each attempt is emitted: refused, not sent, and the one that was read with its whole time."""
    forever = asyncio.Event()
    async with StreamRig(THROTTLED, NotSent("x"), OK, parts=[b"one", forever], is_detailed=True) as rig:
        task = await rig.begin(rig.read())
        await rig.clock.advance(1000.0)
        assert [event.status for event in rig.emitted(RequestDone)] == [429, None]
        forever.set()
        await task
        *_, last = rig.emitted(RequestDone)
        assert (last.status, last.call, last.method, last.error) == (200, "aop.execute", "POST", None)
        assert last.seconds > 900
        assert isinstance(rig.emitted(RequestDone)[1].error, NotSent)


async def test_a_stream_that_broke_off_is_emitted_as_failed() -> None:
    """A reply that did not arrive whole is emitted with its error."""
    async with StreamRig(OK, parts=[b"one", ReplyLost("x")], is_detailed=True) as rig:
        await rig.ends(rig.read())
        (event,) = rig.emitted(RequestDone)
        assert event.status is None
        assert isinstance(event.error, ReplyLost)


async def test_refusals_lower_the_rate() -> None:
    """A stream that is throttled slows its account down like any other request."""
    async with StreamRig(THROTTLED, OK) as rig:
        assert await rig.ends(rig.read()) == b"ok"
        assert len(rig.emitted(RateLowered)) == 1


async def test_a_server_error_on_a_read_is_final_in_the_end() -> None:
    """A read that goes on failing raises the last error."""
    async with StreamRig(Reply(500), retry=RetryPolicy(attempts=2)) as rig:
        error = await rig.ends(rig.read(CALL))
        assert isinstance(error, ServerError)
        assert error.tries == 2
