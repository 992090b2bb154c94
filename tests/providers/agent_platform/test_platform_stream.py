"""StreamedReply runs: each mode in each framing, cut streams, streams left early, and events to hooks."""

import asyncio
import gc
import pickle
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import aclosing
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aioagents import (
    BadRequest,
    DecodeError,
    NotSent,
    PoolClosed,
    ReplyLost,
    RunState,
    StartUnknown,
    StreamCut,
)
from aioagents.codec import encode_json
from aioagents.model import Purpose, Reply, Request
from aioagents.observe import RequestDone, RunStarted, StartAbandoned
from aioagents.providers.agent_platform import Invoke, RunStream, StreamEvent, StreamResult, text_of
from aioagents.providers.agent_platform.fake import FRAMINGS
from aioagents.providers.agent_platform.stream import ResultBuilder, read_event
from tests.fakes import FakeSend, FakeStream, settle
from tests.polling.rig import begin, reply
from tests.providers.agent_platform.platform_rig import (
    APP_URL,
    HELLO,
    SCOPE,
    PlatformRig,
    platform_rig,
    sample_body,
)

_MODES = ["tokens", "messages", "custom"]
_SAID = "It ships today."
_ANSWERS = {"answers": ("One two.\n\nThree ✓",)}


async def _all(stream: RunStream) -> list[StreamEvent]:
    return [event async for event in stream]


async def _read(r: PlatformRig, stream: RunStream, seconds: float = 60.0) -> list[StreamEvent]:
    waiter = await begin(_all(stream))
    await r.clock.advance(seconds)
    return await waiter


def _listen(r: PlatformRig, text: str = HELLO, **options: Any) -> RunStream:
    return r.platform.runs.stream(text, **{"session_reference": "chat-7", **options})


# Read to the end


@pytest.mark.parametrize("framing", FRAMINGS)
@pytest.mark.parametrize("mode", _MODES)
async def test_each_mode_in_each_framing(mode: str, framing: str) -> None:
    """Events are typed and in order, in any framing and cut anywhere; together they are the answer, once."""
    async with platform_rig(rules={"framings": (framing,), **_ANSWERS}) as r:
        stream = _listen(r, mode=mode)
        assert r.send.sent == []
        events = await _read(r, stream)
        assert [request.call for request in r.send.sent] == ["runs.stream"]
        assert (r.last.url, r.last.purpose, r.last.is_long) == (
            f"{APP_URL}/runs/execute",
            Purpose.START,
            True,
        )
        assert r.body["stream"] == {"enable": True, "streamMode": mode}
        assert r.body["isAsync"] is False
        first, *middle, last = events
        assert (first.session.status, first.text, first.session.session_reference) == ("busy", "", "chat-7")
        assert last.text == ""
        assert text_of(last.whole_output) == "One two.\nThree ✓"
        assert [each.text for each in middle] == (
            ["One", " two.", "\n\nThree", " ✓"] if mode == "tokens" else ["One two.", "Three ✓"]
        )
        result = stream.result
        whole = {
            "tokens": "One two.\n\nThree ✓",
            "messages": "One two.\nThree ✓",
            "custom": "One two.Three ✓",
        }
        assert (result.text, result.is_complete, result.is_error) == (whole[mode], True, False)
        assert (result.events, result.session.status) == (len(events), "idle")
        if mode == "messages":
            assert [each.index for each in events] == list(range(len(events)))
            assert [each.is_last for each in events] == [False] * (len(events) - 1) + [True]


async def test_events_come_when_they_are_sent() -> None:
    """Each event is returned when it arrives, not when the run is over."""
    async with platform_rig(("running", 30.0), "success", rules={"quirks": False, **_ANSWERS}) as r:
        waiter = await begin(_all(stream := _listen(r, mode="messages")))
        seen = []
        for _ in range(4):
            seen.append((stream.result.events, stream.result.text))
            await r.clock.advance(10)
        assert seen == [(1, ""), (2, "One two."), (3, "One two.\nThree ✓"), (4, "One two.\nThree ✓")]
        assert waiter.done()


async def test_thoughts() -> None:
    """Thoughts are whole events of their own, with their source."""
    async with platform_rig() as r:
        stream = _listen(r, debug="thoughts")
        events = await _read(r, stream)
        thoughts = [thought for event in events for thought in event.thoughts]
        assert [each.source for each in thoughts] == ["Orchestrator", "OrderAgent", ""]
        assert stream.result.thoughts == tuple(thoughts)
        assert all(not event.text for event in events if event.thoughts)
        assert "wants to know" not in f"{events!r} {stream.result!r}"


async def test_app_that_streams_nothing() -> None:
    """The answer of an app with a response processor is the only event, and the end."""
    async with platform_rig(rules={"has_response_processor": True}) as r:
        stream = _listen(r)
        (event,) = await _read(r, stream)
        assert (event.text, event.is_last, event.session.status) == (_SAID, False, "idle")
        assert (stream.result.text, stream.result.is_complete) == (_SAID, True)


async def test_run_that_fails() -> None:
    """A failure is an attribute of the result, not an exception."""
    async with platform_rig("failed") as r:
        stream = _listen(r, mode="messages")
        result = await stream.read()
        assert (result.is_error, result.is_complete) == (True, True)


@pytest.mark.parametrize("form", ["proceeds", "stops", "bare"])
@pytest.mark.parametrize("mode", ["tokens", "messages"])
async def test_sign_in(mode: str, form: str) -> None:
    """Pending sign-ins are attributes of the event that asks for them, and of the result."""
    rules = {"signins": frozenset({"chat-7"}), "signin_forms": (form,)}
    async with platform_rig("success", rules=rules) as r:
        stream = _listen(r, mode=mode)
        events = await _read(r, stream)
        assert [each.name for each in events[0].pending_authorizations] == ["Google"]
        assert stream.result.pending_authorizations == events[0].pending_authorizations
        assert bool(stream.result.text) == (form == "proceeds")
        assert bool(stream.ref) == (form == "proceeds")


async def test_direct_tool_is_streamed() -> None:
    """StreamedReply runs have the same options as others."""
    async with platform_rig("success") as r:
        tool = Invoke.tool("t", "code", "A", {"n": 1})
        stream = r.platform.runs.stream(session_reference="chat-7", invoke=tool, metadata={"key": HELLO})
        assert '"n"' in (await stream.read()).text


# References and events of the run


async def test_run_is_reported_once() -> None:
    """A run is counted, and reported to hooks, when its first event names it."""
    async with platform_rig() as r:
        stream = _listen(r)
        waiter = await begin(_all(stream))
        assert r.pool.statistics().starts == 1
        (started,) = r.events_of(RunStarted)
        assert (started.target, started.run.ref) == ("chat-7", stream.ref)
        assert started.run.state is RunState.RUNNING
        await r.clock.advance(60)
        await waiter
        assert len(r.events_of(RunStarted)) == 1
        assert len(r.events_of(RequestDone)) == 1


async def test_run_is_followed_by_its_reference() -> None:
    """The reference of a stream can be followed; with a user's reference alone it names the new session."""
    async with platform_rig(("running", 30.0), "success", rules={"status_needs_identity": True}) as r:
        several: list[dict[str, Any]] = [{}, {"session_reference": None, "user_reference": "cust-42"}]
        for options in several:
            stream = _listen(r, **options)
            assert stream.ref is None
            async with stream:
                async for _ in stream:
                    break
            assert stream.ref is not None
            kind = "sessionId" if options else "sessionReference"
            assert stream.ref.scope.startswith(f"{SCOPE};{kind}=")
            run = await r.platform.attach(str(stream.ref)).poll()
            assert run.state is RunState.RUNNING


# Left early


@pytest.mark.parametrize("how", ["with", "aclosing", "break"])
async def test_leaving_closes_the_connection(how: str) -> None:
    """Leaving the loop or the block closes the connection, and the run goes on."""
    async with platform_rig(("running", 30.0), "success") as r:
        stream = _listen(r, mode="messages")
        if how == "with":
            async with stream:
                assert [event.text async for event in _some(stream, 1)] == [""]
        elif how == "aclosing":
            async with aclosing(stream):
                async for _ in stream:
                    break
        else:
            async for _ in stream:
                break
        await settle()
        gc.collect()
        await settle()
        assert r.fake.statistics()["dropped"] == 1
        assert (stream.result.is_complete, r.events_of(StartAbandoned)) == (False, [])
        assert r.clock.timers == 0


async def _some(stream: RunStream, count: int) -> Any:
    async for event in stream:
        yield event
        count -= 1
        if not count:
            return


async def test_last_event_ends_the_stream() -> None:
    """After the last event of the mode, nothing more is waited for."""
    async with platform_rig() as r:
        last = b'{"isLastEvent": true, "messageId": "m"}\n'
        r.answer("runs.stream", reply(200, last + b'{"output": [{"content": "late"}]}\n{"cut'))
        stream = _listen(r)
        (event,) = await _all(stream)
        assert (event.message_id, stream.result.text, stream.result.is_complete) == ("m", "", True)
        r.answer("runs.stream", reply(200, b'data: {"messageId": "m"}\n\ndata: [DONE]\n\ndata: {"cut'))
        stream = _listen(r)
        assert len(await _all(stream)) == 1
        assert stream.result.is_complete


async def test_cancelled_while_waiting() -> None:
    """Cancellation between events closes the connection."""
    async with platform_rig(("running", 30.0), "success") as r:
        waiter = await begin(_all(_listen(r, mode="messages")))
        waiter.cancel()
        await settle()
        assert waiter.cancelled()
        assert r.fake.statistics()["dropped"] == 1
        assert r.events_of(StartAbandoned) == []


async def test_left_before_anything_came() -> None:
    """A stream that is left after it was sent, before its first event, is reported: a run may have started."""
    async with platform_rig() as r:
        async with _listen(r):
            pass
        (event,) = r.events_of(StartAbandoned)
        assert isinstance(event.error, StartUnknown)
        assert event.target == "chat-7"


async def test_read_event_by_event() -> None:
    """A stream is an async iterator: single events can be read, and a loop continues from there to the end."""
    async with platform_rig("success") as r:
        stream = _listen(r)
        assert isinstance(stream, AsyncIterator)

        async def read() -> list[StreamEvent]:
            return [await anext(stream), *[event async for event in stream]]

        waiter = await begin(read())
        await r.clock.advance(60)
        assert len(await waiter) == stream.result.events > 1
        with pytest.raises(StopAsyncIteration):
            await anext(stream)
        assert stream.result.is_complete


@pytest.mark.parametrize("is_waiting", [False, True])
async def test_closed_event_by_event(is_waiting: bool) -> None:
    """Closing a stream that is read event by event closes its connection and ends it, also for a waiting reader."""
    async with platform_rig(("running", 30.0), "success") as r:
        async with aclosing(_listen(r, mode="messages")) as stream:
            assert not (await anext(stream)).is_last
            waiter = await begin(anext(stream, None)) if is_waiting else None
        await stream.aclose()
        await settle()
        assert r.fake.statistics()["dropped"] == 1
        if waiter is not None:
            waiter.cancel()
            await asyncio.gather(waiter, return_exceptions=True)
        with pytest.raises(StopAsyncIteration):
            await anext(stream)


async def test_read_once() -> None:
    """A stream is entered and read once; one that was never read sent nothing."""
    async with platform_rig("success") as r:
        stream = _listen(r)
        await stream.read()
        with pytest.raises(RuntimeError, match="read only once"):
            await stream.read()
        with pytest.raises(RuntimeError, match="entered only once"):
            async with stream:
                pass
        unread = _listen(r)
        await unread.aclose()
        with pytest.raises(RuntimeError, match="read only once"):
            await unread.read()
        assert (len(r.send.sent), unread.result) == (1, StreamResult())


# Cut


_EVENTS = [
    {
        "eventIndex": 0,
        "messageId": "m",
        "sessionInfo": {"status": "busy", "sessionId": "s-1", "runId": "r-1"},
    },
    {
        "eventIndex": 1,
        "output": [{"type": "text", "content": "It ships today."}],
        "sessionInfo": {"runId": "r-1"},
    },
    {
        "eventIndex": 2,
        "output": [{"type": "text", "content": "Anything else?"}],
        "sessionInfo": {"runId": "r-1"},
    },
]
_BODY = b"".join(encode_json(event) + b"\n" for event in _EVENTS)


@pytest.mark.parametrize("keep", [1, 50, len(_BODY) - 2, len(_BODY) - 90])
async def test_cut_within_an_event(keep: int) -> None:
    """A body that ends within an event raises an error with the bytes of that event, and the run."""
    async with platform_rig() as r:
        whole = _BODY[:keep].count(b"\n")
        r.answer("runs.stream", reply(200, _BODY[:keep]))
        stream = _listen(r, mode="messages")
        with pytest.raises(StreamCut, match=f"cut after {whole} events: it ended in the middle") as caught:
            await stream.read()
        error = caught.value
        assert (error.events, error.received) == (whole, _BODY[:keep].split(b"\n")[-1])
        assert (error.call, error.vendor) == ("runs.stream", "agent-platform")
        assert stream.result.is_complete is False
        assert stream.result.text == "\n".join(["It ships today.", "Anything else?"][: max(whole - 1, 0)])
        assert error.run == (None if not whole else error.run)
        if whole:
            assert error.run is not None
            assert error.ref == error.run.ref == stream.ref
            assert str(error.ref) == f"agent-platform:{SCOPE};sessionReference=chat-7/r-1"
            again: Any = pickle.loads(pickle.dumps(error))  # noqa: S301
            assert again.received == error.received
        assert "ships" not in f"{error} {error!r}"


@pytest.mark.parametrize("mode", _MODES)
async def test_cut_by_the_server(mode: str) -> None:
    """Streams that the fake cuts within an event raise in each mode, after all complete events."""
    async with platform_rig(("running", 5.0), "success", rules={"cut": frozenset({HELLO}), **_ANSWERS}) as r:
        stream = _listen(r, mode=mode)
        with pytest.raises(StreamCut) as caught:
            await _read(r, stream)
        assert caught.value.received
        assert caught.value.events == stream.result.events > 1
        assert caught.value.run is not None
        run = await r.platform.attach(caught.value.run.ref).poll()
        assert run.state is RunState.COMPLETED


@pytest.mark.parametrize("bytes_left", [1, 200, 400])
async def test_connection_that_is_lost(bytes_left: int) -> None:
    """A connection lost in the middle raises the same error, with its cause; nothing is sent again."""
    async with platform_rig(("running", 5.0), "success", rules={"quirks": False}) as r:
        r.send.cut_after = lambda _: bytes_left
        stream = _listen(r, mode="messages")
        with pytest.raises(StreamCut, match="the connection was lost") as caught:
            await _read(r, stream)
        assert isinstance(caught.value.__cause__, ReplyLost)
        assert caught.value.events == stream.result.events
        assert len(r.send.sent) == 1


async def test_connection_that_is_lost_before_anything_came() -> None:
    """If the connection is lost before any event, it is unknown whether a run has started."""
    async with platform_rig() as r:
        r.send.cut_after = lambda _: 0
        with pytest.raises(StartUnknown) as caught:
            await _listen(r).read()
        assert isinstance(caught.value.__cause__, ReplyLost)
        assert len(r.send.sent) == 1


@pytest.mark.parametrize("body", [b"<html>gone</html>", b": keep-alive\n\n", b"[]", b"7", b"[1, 2]\n", b""])
async def test_answers_without_an_event(body: bytes) -> None:
    """An answer without an event leaves unknown whether a run has started, which is raised."""
    async with platform_rig() as r:
        r.answer("runs.stream", reply(200, body))
        with pytest.raises(StartUnknown, match="started a run") as caught:
            await _listen(r).read()
        assert isinstance(caught.value.__cause__, DecodeError)
        assert (len(r.send.sent), caught.value.target) == (1, "chat-7")
        assert r.events_of(RunStarted) == []


async def test_nonsense_after_events() -> None:
    """Invalid bytes after some events raise an error with the run, after these events."""
    async with platform_rig() as r:
        r.answer("runs.stream", reply(200, encode_json(_EVENTS[0]) + b"\n<html>"))
        stream = _listen(r)
        with pytest.raises(DecodeError, match="after 1 events") as caught:
            await stream.read()
        assert (stream.result.events, caught.value.ref) == (1, stream.ref)
        assert caught.value.run is not None


class _StuckStream(FakeStream):
    """A reply with one piece, and then neither another one nor its end."""

    _is_given = False

    async def __anext__(self) -> bytes:
        if self._is_given:
            await asyncio.Event().wait()
        self._is_given = True
        return encode_json(_EVENTS[0]) + b"\n<html>"


class _StuckSend(FakeSend):
    """Makes all streams hang."""

    def stream(
        self, request: Request, *, headers: Mapping[str, str], on_sent: Callable[[], None] | None = None
    ) -> FakeStream:
        return _StuckStream(self, super().stream(request, headers=headers, on_sent=on_sent).request, on_sent)


async def test_nonsense_is_raised_at_once() -> None:
    """Invalid bytes raise when they arrive, without waiting for more."""
    async with platform_rig("success", send=_StuckSend) as r:
        waiter = await begin(_all(_listen(r)))
        assert waiter.done()
        with pytest.raises(DecodeError):
            await waiter


async def test_refusals() -> None:
    """A stream is refused like any run, and only retried if nothing can have started."""
    async with platform_rig("success") as r:
        r.answer("runs.stream", NotSent("no"), Reply(400, {}, b'{"message": "no"}'))
        waiter = await begin(_all(_listen(r)))
        await r.clock.advance(5)
        with pytest.raises(BadRequest):
            await waiter
        assert len(r.send.sent) == 2
        for fault in (ReplyLost("lost"), Reply(500), Reply(503)):
            r.answer("runs.stream", fault)
            with pytest.raises(StartUnknown):
                await _listen(r).read()
        assert r.fake.statistics()["runs"] == 0
        assert len(r.send.sent) == 5


async def test_closed_pool() -> None:
    """A closed pool starts no stream, and closing it during a stream ends that."""
    async with platform_rig() as r:
        stream = _listen(r)
    with pytest.raises(PoolClosed):
        await stream.read()
    assert r.send.sent == []


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"mode": "token"}, ValueError, "tokens, messages, custom"),
        ({"silence": 0}, ValueError, "above 0"),
        ({"text": ""}, ValueError, "text"),
        ({"session_reference": None}, ValueError, "session_id"),
        ({"is_async": True}, TypeError, "no option is_async"),
    ],
)
async def test_invalid_arguments_of_streams(
    options: dict[str, Any], error: type[Exception], message: str
) -> None:
    """Invalid arguments are refused immediately, by name."""
    async with platform_rig() as r:
        with pytest.raises(error, match=message):
            _listen(r, **options)
        assert _listen(r, silence=3.0) is not None
        assert r.send.sent == []


# Results


def test_the_repeated_output_counts_once() -> None:
    """The output in the last event is the text only if no event before it had one."""
    builder = ResultBuilder("messages")
    last = read_event({"sessionInfo": {"status": "idle", "output": [{"type": "text", "content": "All."}]}})
    builder.add(last)
    assert builder.result().text == "All."
    builder = ResultBuilder("messages")
    builder.add(read_event({"output": [{"type": "text", "content": "All."}]}))
    builder.add(last)
    assert builder.result().text == "All."


def test_events_as_sampled() -> None:
    """A whole answer is read as an event, files included; unknown members stay in `raw`."""
    body = sample_body("runs_execute/200-all") | {"isLastEvent": "true", "eventIndex": "3"}
    event = read_event(body)
    assert (event.index, event.is_last, event.message_id) == (3, True, "msg-demo")
    assert event.text == "It ships today.\nAnything else?"
    assert (event.session.run_id, event.session.attachments[0].file_id) == ("r-demo", "f-1")
    assert event.raw == body
    assert "ships" not in repr(event)


@given(
    st.lists(st.lists(st.text(), max_size=3), max_size=8),
    st.sampled_from(_MODES),
)
def test_no_text_is_lost_or_repeated(pieces: Sequence[Sequence[str]], mode: str) -> None:
    """The text of a stream is that of its events, each once and in order."""
    builder = ResultBuilder(mode)
    for texts in pieces:
        builder.add(read_event({"output": [{"type": "text", "content": text} for text in texts]}))
    between = "\n" if mode == "messages" else ""
    assert builder.result().text == between.join(text for text in map("\n".join, pieces) if text)
    assert builder.result().events == len(pieces)


async def test_many_streams_at_once() -> None:
    """Streams of one session and of many run concurrently, and each has its own events."""
    async with platform_rig(rules={"answers": [f"answer {n}" for n in range(50)]}) as r:
        streams = [_listen(r, session_reference=f"chat-{n}") for n in range(50)]
        waiters = [asyncio.ensure_future(stream.read()) for stream in streams]
        await r.clock.advance(60)
        assert sorted([(await waiter).text for waiter in waiters]) == sorted(f"answer {n}" for n in range(50))
