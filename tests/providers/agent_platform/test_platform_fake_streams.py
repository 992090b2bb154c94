"""The fake Agent Platform's streams: their events, moments, framings and pieces."""

import json
import math
from typing import Any

import pytest

from aioagents.contract.events import EventDecoder
from aioagents.contract.fake import StreamedReply
from aioagents.providers.agent_platform.fake import FRAMINGS
from tests.providers.agent_platform.platform_fake_rig import FakeClient, fake_client, read_held, streamed

_MODES = ("tokens", "messages", "custom")
_THOUGHTS = {"enable": True, "debugMode": "thoughts"}


def _stream(
    client: FakeClient, mode: str | None = "messages", text: str = "good", **more: Any
) -> StreamedReply:
    stream = {"enable": True} | ({} if mode is None else {"streamMode": mode})
    return streamed(client.execute(text, stream=stream, now=more.pop("now", 0.0), **more))


def _events(answer: StreamedReply, framing: str) -> list[dict[str, Any]]:
    """Decode events independently of the client."""
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


def _stream_events(mode: str | None = "messages", text: str = "good", **more: Any) -> list[dict[str, Any]]:
    return _events(_stream(fake_client(framings=("lines",)), mode, text, **more), "lines")


def _texts(events: list[dict[str, Any]]) -> list[str]:
    return [item["content"] for event in events for item in event.get("output", [])]


@pytest.mark.parametrize("mode", _MODES)
@pytest.mark.parametrize("framing", FRAMINGS)
def test_every_framing_holds_the_same_events(mode: str, framing: str) -> None:
    """In any framing, and cut anywhere, the events are the same, under a suitable content type."""
    answer = _stream(fake_client(framings=(framing,)), mode, debug=_THOUGHTS)
    assert [type(piece) for _, piece in answer.pieces] == [bytes] * len(answer.pieces)
    assert all(piece for _, piece in answer.pieces)
    events = _events(answer, framing)
    assert events == _stream_events(mode, debug=_THOUGHTS)
    assert answer.status == 200
    assert ("event-stream" in answer.headers["content-type"]) == framing.startswith("sse")


@pytest.mark.parametrize("framing", FRAMINGS)
def test_the_clients_decoder_reads_every_framing(framing: str) -> None:
    """Piece by piece, the client's decoder finds all events and the end."""
    answer = _stream(fake_client(framings=(framing,)), "tokens")
    decoder = EventDecoder(vendor="agent-platform", call="runs.execute")
    events = [event for _, piece in answer.pieces for event in decoder.feed(piece)]
    decoder.end()
    assert events == _events(answer, framing)


def test_framings_alternate() -> None:
    """By default each stream has another framing."""
    client = fake_client()
    types = {_stream(client).headers["content-type"] for _ in FRAMINGS}
    assert len(types) == len(FRAMINGS)
    assert client.count("streams") == client.count("starts") == len(FRAMINGS)


def test_events_of_messages_are_numbered() -> None:
    """In `messages`, events count from 0, each message is one, the last repeats all and has `isLastEvent`."""
    events = _stream_events("messages")
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
    """In `tokens`, the default, the texts add up to the answer; the last event has no flag."""
    client = fake_client(framings=("lines",), answers=(" two  words,\n\nthen ☂ more ",))
    events = _events(_stream(client, mode), "lines")
    assert len(_texts(events)) > 4
    last = events[-1]["sessionInfo"]
    assert "".join(_texts(events)) == "\n\n".join(item["content"] for item in last["output"])
    assert not any("eventIndex" in event or "isLastEvent" in event for event in events)
    assert {"sessionInfo" in event for event in events[1:-1]} == {True, False}


def test_custom_events_are_whole_and_without_flags() -> None:
    """In `custom`, which is undocumented, messages are whole and nothing is numbered."""
    events = _stream_events("custom")
    assert _texts(events) == _texts(_stream_events("messages"))
    assert not any("eventIndex" in event or "isLastEvent" in event for event in events)


@pytest.mark.parametrize("mode", _MODES)
def test_thoughts_come_as_events_of_their_own(mode: str) -> None:
    """Each thought is a whole event before the answer, all events share an id, and the last has no flag."""
    events = _stream_events(mode, debug=_THOUGHTS)
    thoughts = [event["debug"] for event in events if "debug" in event]
    assert [(len(each), each[0]["type"]) for each in thoughts] == [(1, "thought")] * 3
    assert [("debug" in event) for event in events[:5]] == [False, True, True, True, False]
    assert len({event["messageId"] for event in events}) == 1
    assert not any("eventIndex" in event or "isLastEvent" in event for event in events)


def test_a_failed_run_ends_its_stream_in_band() -> None:
    """The stream of a failed run has only the session's error status, and maybe a reason."""
    client = fake_client(framings=("lines",))
    for _ in range(2):
        events = _events(_stream(client, text="bad"), "lines")
        assert len(events) == 2
        assert events[-1]["sessionInfo"]["status"] == "error"
        assert len(events[-1]["sessionInfo"]["output"]) <= 1
        assert events[-1]["isLastEvent"]


@pytest.mark.parametrize("quirks", [False, True])
@pytest.mark.parametrize("mode", _MODES)
def test_pieces_are_spread_over_the_run(mode: str, quirks: bool) -> None:
    """The first piece is sent at the start, the last at the run's end, all others in order in between."""
    client = fake_client(quirks=quirks)
    answer = _stream(client, mode, now=5.0)
    moments = [at for at, _ in answer.pieces]
    assert moments == sorted(moments)
    assert (moments[0], moments[-1]) == (5.0, 15.0)
    assert len(set(moments)) > 2


def test_pieces_are_cut_anywhere() -> None:
    """Over a few streams, events are cut, also within a character, and joined with the next one."""
    client = fake_client(framings=("lines",), answers=("☂" * 40,))
    pieces = [piece for _ in range(20) for _, piece in _stream(client, "messages").pieces]
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
    """Without quirks each piece is one whole server-sent event."""
    pieces = [piece for _, piece in _stream(fake_client(quirks=False)).pieces]
    assert all(piece.startswith(b"data: {") and piece.endswith(b"}\n\n") for piece in pieces)


def test_a_run_that_never_ends_keeps_its_stream_open() -> None:
    """The stream of a run without an end has some events, and its last piece at infinity."""
    client = fake_client(framings=("lines",), answers=("Tea.\n\nMore tea.",))
    answer = _stream(client, text="endless")
    assert answer.pieces[-1] == (math.inf, b"")
    assert [at for at, _ in answer.pieces] == [0.0, 1.0, 2.0, math.inf]
    assert not any("isLastEvent" in event for event in _events(answer, "lines"))
    assert answer.on_disconnect is not None
    answer.on_disconnect(3.0)
    assert client.count("dropped") == 1


@pytest.mark.parametrize("framing", FRAMINGS)
@pytest.mark.parametrize("quirks", [False, True])
def test_a_stream_may_be_cut_within_an_event(framing: str, quirks: bool) -> None:
    """If the rules say so, the body ends in the middle of the last event."""
    rules: dict[str, Any] = {"framings": (framing,), "quirks": quirks}
    whole = b"".join(piece for _, piece in _stream(fake_client(**rules)).pieces)
    cut = b"".join(piece for _, piece in _stream(fake_client(cut=frozenset({"good"}), **rules)).pieces)
    assert whole.startswith(cut)
    assert 0 < len(whole) - len(cut) < len(whole) / 2


def test_a_stream_has_the_event_of_a_sign_in() -> None:
    """A run that goes on sends the event first; one that stops sends only it, as the last event of the mode."""
    rules: dict[str, Any] = {"signins": frozenset({"chat"}), "framings": ("lines",)}
    first, *others = _events(_stream(fake_client(signin_forms=("proceeds",), **rules)), "lines")
    assert first["events"][0]["type"] == "IDP_Redirect"
    assert others
    (event,) = _events(_stream(fake_client(signin_forms=("stops",), **rules), "messages"), "lines")
    assert (event["eventIndex"], event["isLastEvent"], "sessionInfo" in event) == (0, True, True)
    client = fake_client(signin_forms=("bare",), **rules)
    answer = _stream(client, "tokens", now=2.0)
    assert [set(event) for event in _events(answer, "lines")] == [{"events"}]
    assert ({at for at, _ in answer.pieces}, client.count("starts"), client.count("streams")) == ({2.0}, 0, 1)


def test_a_streamed_run_is_a_run() -> None:
    """A streamed run can be polled, and has the same output as without a stream."""
    client = fake_client(framings=("lines",), answers=("Tea.\n\nMore tea.",))
    events = _events(_stream(client, "messages"), "lines")
    record = client.poll(events[0]["sessionInfo"]["runId"], now=10.0)
    assert record["kwargs"]["stream"] == {"enable": True, "streamMode": "messages"}
    assert record["kwargs"]["output"] == read_held(client.execute())["output"]
    assert _texts(events) == ["Tea.", "More tea."]


def test_streams_of_one_seed_are_alike() -> None:
    """The same calls return the same pieces at the same moments; with another seed they differ."""
    first, again, other = (
        [_stream(client, mode).pieces for mode in _MODES for client in [fake_client(plan={"seed": seed})]]
        for seed in (1, 1, 2)
    )
    assert first == again
    assert first != other
