"""The fake Agent Platform's streams: which events, when, told apart in which way, in which pieces."""

import json
import math
from typing import Any

import pytest

from aioagents.contract.fake import StreamedReply
from aioagents.providers.agent_platform.decoder import EventDecoder
from aioagents.providers.agent_platform.fake import FRAMINGS
from tests.providers.agent_platform.platform_fake_rig import PlatformAsker, asker, awaited, streamed

_MODES = ("tokens", "messages", "custom")
_THOUGHTS = {"enable": True, "debugMode": "thoughts"}


def _stream(
    a: PlatformAsker, mode: str | None = "messages", text: str = "good", **more: Any
) -> StreamedReply:
    stream = {"enable": True} | ({} if mode is None else {"streamMode": mode})
    return streamed(a.execute(text, stream=stream, now=more.pop("now", 0.0), **more))


def _events(answer: StreamedReply, framing: str) -> list[dict[str, Any]]:
    """Read events without what the client does for it."""
    text = b"".join(piece for _, piece in answer.pieces).decode()
    if framing == "lines":
        return [json.loads(line) for line in text.splitlines()]
    if framing.startswith("sse"):
        blocks = [block.splitlines() for block in text.replace("\r\n", "\n").split("\n\n")]
        data = [
            [line.removeprefix("data:") for line in block if line.startswith("data:")] for block in blocks
        ]
        return [json.loads("\n".join(lines)) for lines in data if lines]
    decoder, events = json.JSONDecoder(), []
    while text:
        event, end = decoder.raw_decode(text)
        events.append(event)
        text = text[end:].lstrip()
    return events


def _told(mode: str | None = "messages", text: str = "good", **more: Any) -> list[dict[str, Any]]:
    return _events(_stream(asker(framings=("lines",)), mode, text, **more), "lines")


def _texts(events: list[dict[str, Any]]) -> list[str]:
    return [item["content"] for event in events for item in event.get("output", [])]


@pytest.mark.parametrize("mode", _MODES)
@pytest.mark.parametrize("framing", FRAMINGS)
def test_every_framing_holds_the_same_events(mode: str, framing: str) -> None:
    """However events are told apart, and wherever they are cut, the same ones come, under a fitting content type."""
    answer = _stream(asker(framings=(framing,)), mode, debug=_THOUGHTS)
    assert [type(piece) for _, piece in answer.pieces] == [bytes] * len(answer.pieces)
    assert all(piece for _, piece in answer.pieces)
    events = _events(answer, framing)
    assert events == _told(mode, debug=_THOUGHTS)
    assert answer.status == 200
    assert ("event-stream" in answer.headers["content-type"]) == framing.startswith("sse")


@pytest.mark.parametrize("framing", FRAMINGS)
def test_the_clients_decoder_reads_every_framing(framing: str) -> None:
    """Fed piece by piece, what reads streams for clients finds all events, and the end at the end."""
    answer = _stream(asker(framings=(framing,)), "tokens")
    decoder = EventDecoder(vendor="agent-platform", call="runs.execute")
    events = [event for _, piece in answer.pieces for event in decoder.feed(piece)]
    decoder.end()
    assert events == _events(answer, framing)


def test_framings_come_in_turn() -> None:
    """By default no framing can be relied upon."""
    a = asker()
    types = {_stream(a).headers["content-type"] for _ in FRAMINGS}
    assert len(types) == len(FRAMINGS)
    assert a.count("streams") == a.count("starts") == len(FRAMINGS)


def test_events_of_messages_are_numbered() -> None:
    """In `messages`, events count from 0, each message is one, the last repeats all and says it is the last."""
    events = _told("messages")
    assert [event["eventIndex"] for event in events] == list(range(len(events)))
    assert len({event["messageId"] for event in events}) == len(events)
    first, *middle, last = events
    assert (first["sessionInfo"]["status"], "output" in first) == ("busy", False)
    assert {tuple(event["sessionInfo"]) for event in middle} == {("runId",)}
    assert (last["sessionInfo"]["status"], "output" in last, last["isLastEvent"]) == ("idle", False, True)
    assert [item["content"] for item in last["sessionInfo"]["output"]] == _texts(events)
    assert not any("isLastEvent" in event for event in events[:-1])


@pytest.mark.parametrize("mode", [None, "tokens"])
def test_tokens_add_up(mode: str | None) -> None:
    """In `tokens`, which is the default, pieces of text add up to the answer; nothing marks the last event."""
    a = asker(framings=("lines",), answers=(" two  words,\n\nthen ☂ more ",))
    events = _events(_stream(a, mode), "lines")
    assert len(_texts(events)) > 4
    last = events[-1]["sessionInfo"]
    assert "".join(_texts(events)) == "\n\n".join(item["content"] for item in last["output"])
    assert not any("eventIndex" in event or "isLastEvent" in event for event in events)
    assert {"sessionInfo" in event for event in events[1:-1]} == {True, False}


def test_custom_events_are_whole_and_unmarked() -> None:
    """Of `custom` nothing is known: messages are whole, and nothing is numbered."""
    events = _told("custom")
    assert _texts(events) == _texts(_told("messages"))
    assert not any("eventIndex" in event or "isLastEvent" in event for event in events)


@pytest.mark.parametrize("mode", _MODES)
def test_thoughts_come_as_events_of_their_own(mode: str) -> None:
    """With thoughts, each is a whole event before the answer, all events share an id, and no end is marked."""
    events = _told(mode, debug=_THOUGHTS)
    thoughts = [event["debug"] for event in events if "debug" in event]
    assert [(len(each), each[0]["type"]) for each in thoughts] == [(1, "thought")] * 3
    assert [("debug" in event) for event in events[:5]] == [False, True, True, True, False]
    assert len({event["messageId"] for event in events}) == 1
    assert not any("eventIndex" in event or "isLastEvent" in event for event in events)


def test_a_failed_run_ends_its_stream_in_band() -> None:
    """A run that fails says nothing but that the session is in error, and perhaps why."""
    a = asker(framings=("lines",))
    for _ in range(2):
        events = _events(_stream(a, text="bad"), "lines")
        assert len(events) == 2
        assert events[-1]["sessionInfo"]["status"] == "error"
        assert len(events[-1]["sessionInfo"]["output"]) <= 1
        assert events[-1]["isLastEvent"]


@pytest.mark.parametrize("quirks", [False, True])
@pytest.mark.parametrize("mode", _MODES)
def test_pieces_come_in_the_runs_time(mode: str, quirks: bool) -> None:
    """The first piece comes with the start, the last with the run's end, all others in order between."""
    a = asker(quirks=quirks)
    answer = _stream(a, mode, now=5.0)
    moments = [at for at, _ in answer.pieces]
    assert moments == sorted(moments)
    assert (moments[0], moments[-1]) == (5.0, 15.0)
    assert len(set(moments)) > 2


def test_pieces_are_cut_anywhere() -> None:
    """Over a few streams, events are cut apart, also within a character, and ends come with beginnings."""
    a = asker(framings=("lines",), answers=("☂" * 40,))
    pieces = [piece for _ in range(20) for _, piece in _stream(a, "messages").pieces]
    assert any(b"\n" not in piece for piece in pieces)
    assert any(b"\n" in piece[:-1] for piece in pieces)
    assert any(not _is_text(piece) for piece in pieces)


def _is_text(piece: bytes) -> bool:
    try:
        piece.decode()
    except UnicodeDecodeError:
        return False
    return True


def test_without_quirks_a_piece_is_an_event() -> None:
    """Without quirks each event comes whole, as tidy server-sent events."""
    pieces = [piece for _, piece in _stream(asker(quirks=False)).pieces]
    assert all(piece.startswith(b"data: {") and piece.endswith(b"}\n\n") for piece in pieces)


def test_a_run_that_never_ends_keeps_its_stream_open() -> None:
    """A run without an end says a little, and then there is no second at which more comes."""
    a = asker(framings=("lines",), answers=("Tea.\n\nMore tea.",))
    answer = _stream(a, text="endless")
    assert answer.pieces[-1] == (math.inf, b"")
    assert [at for at, _ in answer.pieces] == [0.0, 1.0, 2.0, math.inf]
    assert not any("isLastEvent" in event for event in _events(answer, "lines"))
    assert answer.on_disconnect is not None
    answer.on_disconnect(3.0)
    assert a.count("dropped") == 1


@pytest.mark.parametrize("framing", FRAMINGS)
@pytest.mark.parametrize("quirks", [False, True])
def test_a_stream_may_be_cut_within_an_event(framing: str, quirks: bool) -> None:
    """Where the rules say so, the body ends in the middle of the last event."""
    rules: dict[str, Any] = {"framings": (framing,), "quirks": quirks}
    whole = b"".join(piece for _, piece in _stream(asker(**rules)).pieces)
    cut = b"".join(piece for _, piece in _stream(asker(cut=frozenset({"good"}), **rules)).pieces)
    assert whole.startswith(cut)
    assert 0 < len(whole) - len(cut) < len(whole) / 2


def test_a_stream_tells_of_a_sign_in() -> None:
    """A run that goes on tells the event first; one that stops tells it alone, marked as the mode marks ends."""
    rules: dict[str, Any] = {"signins": frozenset({"chat"}), "framings": ("lines",)}
    first, *others = _events(_stream(asker(signin_forms=("proceeds",), **rules)), "lines")
    assert first["events"][0]["type"] == "IDP_Redirect"
    assert others
    (event,) = _events(_stream(asker(signin_forms=("stops",), **rules), "messages"), "lines")
    assert (event["eventIndex"], event["isLastEvent"], "sessionInfo" in event) == (0, True, True)
    a = asker(signin_forms=("bare",), **rules)
    answer = _stream(a, "tokens", now=2.0)
    assert [set(event) for event in _events(answer, "lines")] == [{"events"}]
    assert ({at for at, _ in answer.pieces}, a.count("starts"), a.count("streams")) == ({2.0}, 0, 1)


def test_a_streamed_run_is_a_run() -> None:
    """What was streamed can be polled, and says the same as it would have said otherwise."""
    a = asker(framings=("lines",), answers=("Tea.\n\nMore tea.",))
    events = _events(_stream(a, "messages"), "lines")
    record = a.poll(events[0]["sessionInfo"]["runId"], now=10.0)
    assert record["kwargs"]["stream"] == {"enable": True, "streamMode": "messages"}
    assert record["kwargs"]["output"] == awaited(a.execute())["output"]
    assert _texts(events) == ["Tea.", "More tea."]


def test_streams_of_one_seed_are_alike() -> None:
    """The same calls give the same pieces at the same seconds; another seed gives others."""
    first, again, other = (
        [_stream(a, mode).pieces for mode in _MODES for a in [asker(plan={"seed": seed})]]
        for seed in (1, 1, 2)
    )
    assert first == again
    assert first != other
