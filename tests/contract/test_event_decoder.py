"""Decoding of streams: the same events in any framing and any chunks, and an error wherever one is cut."""

import json
import math
import pickle
import re
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from aioagents.contract.events import EventDecoder
from aioagents.errors import AgentsError, DecodeError, StreamCut
from aioagents.model import Run, RunRef, RunState
from tests.fakes import EPOCH

EVENT: dict[str, Any] = {
    "eventIndex": 1,
    "output": [{"type": "text", "content": 'It "ships" {today}]: \\ €\n'}],
    "sessionInfo": {"runId": "r-1"},
}


def _decoder(max_event_bytes: int | None = None) -> EventDecoder:
    if max_event_bytes is None:
        return EventDecoder(vendor="agent-platform", call="runs.stream")
    return EventDecoder(vendor="agent-platform", call="runs.stream", max_event_bytes=max_event_bytes)


def _read(
    chunks: Sequence[bytes], decoder: EventDecoder | None = None
) -> tuple[list[Any], AgentsError | None]:
    """Return all events, and the error raised after them, if any."""
    decoder = decoder or _decoder()
    events: list[Any] = []
    try:
        for chunk in chunks:
            events += decoder.feed(chunk)
        decoder.end()
    except AgentsError as error:
        return events, error
    return events, None


def _bytes(body: bytes) -> Iterator[bytes]:
    return (body[at : at + 1] for at in range(len(body)))


# ── framings ────────────────────────────────────────────────────────────────────────────────────────────


class Framed:
    """A body under construction, with the ends of its events and the positions where a cut has to be noticed."""

    def __init__(self) -> None:
        self.body = bytearray()
        self.events: list[Any] = []
        self.texts: list[bytes] = []
        self.ends: list[int] = []
        self.dirty: set[int] = set()

    def separator(self, text: bytes) -> None:
        """Add bytes that belong to no event."""
        self.body += text

    def unfinished(self, text: bytes) -> None:
        """Add bytes that begin something: a cut inside or right after them is in the middle."""
        begin = len(self.body)
        self.body += text
        self.dirty.update(range(begin + 1, len(self.body) + 1))

    def end_unfinished(self, text: bytes) -> None:
        """Add bytes of which the first ends what was unfinished."""
        self.body += text

    def comment(self, line_end: bytes) -> None:
        """Add a line that is ignored; a cut inside it is an error all the same."""
        self.unfinished(b': {"no": "event"}')
        self.end_unfinished(line_end)

    def event(
        self, event: Any, lines: Sequence[bytes], *, before: bytes = b"", line_end: bytes = b""
    ) -> None:
        """Add an event, whose text is split into lines with this prefix."""
        for index, line in enumerate(lines):
            self.unfinished(before + line + (line_end if index < len(lines) - 1 else b""))
        self.dirty.discard(len(self.body))
        self.events.append(event)
        self.texts.append(b"".join(lines))
        self.ends.append(len(self.body))


_scalars = (
    st.none()
    | st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=8)
    | st.sampled_from(
        ['"', "\\", '\\"', "{", "}]", "data: {}\n\n", "[DONE]", "\r", "€", "\U0001f600", "\ufeff"]
    )
)
_values = st.recursive(
    _scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=6,
)
_events = st.dictionaries(st.text(max_size=4), _values, max_size=3) | st.lists(_values, max_size=3)
_line_ends = st.sampled_from([b"\n", b"\r\n", b"\r"])


def _lines(draw: st.DrawFn, event: Any) -> list[bytes]:
    indent = draw(st.sampled_from([None, None, 0, 2]))
    separators = draw(st.sampled_from([(",", ":"), (", ", ": ")]))
    text = json.dumps(event, ensure_ascii=draw(st.booleans()), indent=indent, separators=separators)
    return text.encode().split(b"\n")


@st.composite
def _bare(draw: st.DrawFn) -> Framed:
    """Objects one after the other: on lines of their own or not, printed over one line or many."""
    framed, line_end = Framed(), draw(_line_ends)
    if draw(st.booleans()):
        framed.unfinished(b"\xef\xbb\xbf")
        framed.dirty.discard(len(framed.body))
    for event in draw(st.lists(_events, max_size=4)):
        framed.separator(draw(st.sampled_from([b"", line_end, line_end * 2, b" ", b"\t"])))
        framed.event(event, _lines(draw, event), line_end=line_end)
    framed.separator(draw(st.sampled_from([b"", line_end, line_end * 2, b" "])))
    if draw(st.booleans()):
        framed.unfinished(b"[DONE]")
        framed.dirty.discard(len(framed.body))
        framed.separator(line_end)
    return framed


@st.composite
def _server_sent(draw: st.DrawFn) -> Framed:
    """Server-sent events, with everything that the standard allows beside their data."""
    framed, line_end = Framed(), draw(_line_ends)
    field = st.sampled_from([b"event: message", b"id: 7", b"id", b"retry:3000", b"event:", b"data:", b"data"])
    if draw(st.booleans()):
        framed.unfinished(b"\xef\xbb\xbf")
        framed.dirty.discard(len(framed.body))
    for event in draw(st.lists(_events | st.none(), max_size=4)):
        if draw(st.booleans()):
            framed.comment(line_end)
        for line in draw(st.lists(field, max_size=2)):
            framed.unfinished(line + line_end)
        before = draw(st.sampled_from([b"data: ", b"data:", b"data:  "]))
        if event is not None:
            framed.event(event, _lines(draw, event), before=before, line_end=line_end)
            framed.separator(draw(st.sampled_from([b"", b" "])) + line_end)
        for line in draw(st.lists(field, max_size=1)):
            framed.unfinished(line + line_end)
        framed.end_unfinished(line_end)
    if draw(st.booleans()):
        framed.unfinished(b"data: [DONE]")
        framed.dirty.discard(len(framed.body))
        framed.separator(line_end + draw(st.sampled_from([b"", line_end])))
    return framed


_framed = _bare() | _server_sent()


def _chunks(body: bytes, cuts: Sequence[int]) -> list[bytes]:
    positions = sorted({0, len(body), *(cut % (len(body) + 1) for cut in cuts)})
    return [body[begin:end] for begin, end in pairwise(positions)] or [b""]


@settings(deadline=None)
@given(_framed, st.lists(st.integers(0, 10_000), max_size=6))
def test_any_chunks_of_any_framing_give_the_same_events(framed: Framed, cuts: list[int]) -> None:
    """In any framing, and cut into any chunks, the events are the same."""
    body = bytes(framed.body)
    for chunks in (_chunks(body, cuts), [body], list(_bytes(body))):
        assert _read(chunks) == (framed.events, None)


def _bare_of_spaces(text: bytes) -> bytes:
    return re.sub(rb"\s", b"", text)


@settings(deadline=None)
@given(_framed, st.lists(st.integers(0, 10_000), max_size=3), st.lists(st.integers(0, 10_000), max_size=12))
def test_a_cut_body_returns_complete_events_and_then_the_error(
    framed: Framed, cuts: list[int], ends: list[int]
) -> None:
    """A cut body has the events before the cut, and an error if the cut is in the middle of something."""
    for end in (each % (len(framed.body) + 1) for each in ends):
        whole = sum(each <= end for each in framed.ends)
        events, error = _read(_chunks(bytes(framed.body[:end]), cuts))
        assert events == framed.events[:whole]
        assert (error is not None) is (end in framed.dirty)
        if error is not None:
            assert isinstance(error, StreamCut)
            assert error.events == whole
            if whole < len(framed.texts) and framed.texts[whole].startswith(error.received[:1]):
                text, received = (_bare_of_spaces(each) for each in (framed.texts[whole], error.received))
                assert text.startswith(received)


@pytest.mark.parametrize(
    "body",
    [b"event: x\n", b"id: 5\r", b"retry: 3\r\n", b"data\n", b"data:\n", b"data: \n", b"data", b"da", b"event",
     b"retry: 3", b": pi", b"\xef", b"\xef\xbb", b"[DO", b"data: [DONE", b'{"a"', b"{", b"[",
     b'data: {"a":1}\nid: 5\n', b'data: {"a":1}\n\nevent: x\n', b'data: {"a":\n\n', b'{"a": "\\']
)  # fmt: skip
def test_these_ends_are_in_the_middle(body: bytes) -> None:
    """An end inside an event, or after a field without its event, is an error, to the single byte."""
    for chunks in ([body], list(_bytes(body))):
        assert isinstance(_read(chunks)[1], StreamCut)


@pytest.mark.parametrize(
    ("body", "count"),
    [(b"event: end\n\n", 0), (b"event: end\r\r", 0), (b"event: end\r\n\r", 0), (b"event: x\r \n", 0),
     (b"data:\n\n", 0), (b"data\n\n", 0), (b": ping\n", 0), (b": ping\r", 0), (b"\xef\xbb\xbf", 0),
     (b'event: x\ndata: {"a":1}\n', 1), (b'event: x\ndata: {"a":1}', 1), (b'data: {"a":1}\n\n{"b"\n: 2}', 2),
     (b'{"a":1}\ndata: {"b":2}\n{"c":3} {"d":4}\n\n', 4), (b'  {"a":1}\t\r\n\t', 1), (b"[]\n[{}]", 2)]
)  # fmt: skip
def test_these_ends_are_complete(body: bytes, count: int) -> None:
    """An end after all events, or after an empty line that discards a field, is no error."""
    for chunks in ([body], list(_bytes(body))):
        events, error = _read(chunks)
        assert (len(events), error) == (count, None)


_tokens = st.sampled_from(
    [b"data:", b"data", b": x", b"event: x", b"id", b"\n", b"\r", b"\r\n", b" ", b"{", b"}", b'{"a":1}', b'"',
     b"\\", b"[", b"]", b"[1]", b"[DONE]", b"[DO", b",", b'{"a":', b"\xef\xbb\xbf", b"\xef", b"\xff", b"x", b"1"]
)  # fmt: skip


@settings(deadline=None)
@given(st.lists(_tokens, max_size=14).map(b"".join), st.lists(st.integers(0, 10_000), max_size=6))
@example(b'{"a":1}\r\n\n{', [8, 9])
def test_any_bytes_are_read_alike_in_any_chunks(body: bytes, cuts: list[int]) -> None:
    """Any bytes give events or one of two errors, the same ones in any chunks."""
    outcomes = set()
    for chunks in (_chunks(body, cuts), [body], list(_bytes(body))):
        events, error = _read(chunks, _decoder(12))
        assert error is None or isinstance(error, StreamCut | DecodeError)
        raised = (
            None if error is None else (type(error), str(error), error.detail, vars(error).get("received"))
        )
        outcomes.add(json.dumps([events, repr(raised)]))
    assert len(outcomes) == 1


# ── one by one ──────────────────────────────────────────────────────────────────────────────────────────


def test_events_are_returned_with_their_last_byte() -> None:
    """An event is returned without waiting for a line end or for the next event."""
    decoder, text = _decoder(), json.dumps(EVENT).encode()
    for before, after in ((b"", b""), (b"\n", b"\n"), (b"event: x\ndata: ", b"\n\n")):
        assert decoder.feed(before + text[:-1]) == []
        assert decoder.feed(text[-1:]) == [EVENT]
        assert decoder.feed(after) == []
    decoder.end()
    assert decoder.events == 3


def test_one_plain_body_is_one_event() -> None:
    """The answer of an app with a response processor is read like a stream of one event."""
    body = json.dumps(EVENT, indent=4).encode()
    assert _read([body]) == ([EVENT], None)
    assert _read([b""]) == ([], None)
    assert _read([b"\n \n"]) == ([], None)


def test_later_lines_may_lack_the_field_name() -> None:
    """Data over many lines, of which only the first has `data:`, is one event, with comments in between."""
    body = b'data: {\n  "a": [1,\n: ping\n   2]\ndata: ,"b": 3\n}\n\n'
    assert _read([body]) == ([{"a": [1, 2], "b": 3}], None)


@pytest.mark.parametrize(
    ("body", "event"),
    [
        (b'{"a": "\xff"}\n', {"a": "\xff"}),
        (b'{"a": Infinity}\n', {"a": math.inf}),
        (b'{"a": 123456789012345678901234567890}\n', {"a": 123456789012345678901234567890}),
        (rb'data: {"a": "\ud800"}' + b"\n\n", {"a": "\ud800"}),
    ],
)
def test_reads_json_that_is_not_strict(body: bytes, event: object) -> None:
    """What a strict reader refuses ends no stream, in one piece or byte by byte."""
    assert _read([body]) == ([event], None)
    assert _read([bytes([byte]) for byte in body]) == ([event], None)


def test_done_ends_the_stream() -> None:
    """`[DONE]` is no event, and ends the stream; events after it are returned all the same."""
    decoder = _decoder()
    assert decoder.feed(b'data: {"a":1}\n\ndata: [DON') == [{"a": 1}]
    assert not decoder.is_done
    assert decoder.feed(b"E]\n\n") == []
    assert decoder.is_done
    assert decoder.feed(b'{"b":2}') == [{"b": 2}]
    decoder.end()
    assert _read([b"[D"])[1] is not None
    assert isinstance(_read([b"[DATA]"])[1], DecodeError)


@pytest.mark.parametrize(
    ("body", "detail"),
    [
        (b"<html>hunter2</html>", "<"),
        (b"upstream connect error", "u"),
        (b"event hunter2", "event "),
        (b"error: hunter2\n", "er"),
        (b"eve: hunter2\n", "eve"),
        (b"null\n", "n"),
        (b"data: ping\n\n", "p"),
        (b'"text"\n', '"'),
        (b"12\n", "1"),
        (b"}", "}"),
        (b"\xef\xbb{}", "\ufffd"),
        (b"\xff\xfe{\x00}\x00", "\ufffd"),
        (b'{"a": hunter2}', '{"a": hunter2}'),
        (b'{"a": [1}}', '{"a": [1}}'),
        (b'{"a": "hunter\n2"}', '{"a": "hunter\n'),
        (b'data: {"a": "x\ndata: y"}\n\n', '{"a": "x\n'),
        (b'{"a": 1}, {"a": 2}', ","),
    ],
)
@pytest.mark.parametrize("is_first", [True, False])
def test_bytes_that_are_no_event_raise(body: bytes, detail: str, is_first: bool) -> None:
    """The error for bytes that are no JSON names vendor and call; it carries the text and does not print it."""
    before = b"" if is_first else b'data: {"good": 1}\n\n'
    if not is_first and body.startswith(b"\xef"):
        detail = "\ufffd"
    events, error = _read([before + body])
    if body.startswith(b'{"a": 1}'):
        assert events.pop() == {"a": 1}
    assert events == ([] if is_first else [{"good": 1}])
    assert isinstance(error, DecodeError)
    assert (error.vendor, error.call, error.path) == ("agent-platform", "runs.stream", "$")
    assert error.detail == detail
    assert "hunter2" not in f"{error} {error!r} {error.__cause__}"


def test_an_error_comes_after_the_events_before_it() -> None:
    """Events in the same bytes as an error are returned first; then every call raises this error."""
    decoder = _decoder()
    assert decoder.feed(b'{"a":1}{"b":2}<html>{"c":3}') == [{"a": 1}, {"b": 2}]
    fault = decoder.fault
    assert isinstance(fault, DecodeError)
    assert "after 2 events" in str(fault)
    for call in (lambda: decoder.feed(b'{"d":4}'), decoder.end, lambda: decoder.feed(b"")):
        with pytest.raises(DecodeError) as caught:
            call()
        assert caught.value is fault
    assert decoder.events == 2


@pytest.mark.parametrize("before", [b"", b"data: ", b"\n  "])
def test_an_event_has_a_bound(before: bytes) -> None:
    """An event of the largest size is read; of a larger one no more is kept, in any chunks."""
    fits, exceeds = b'{"a":"%s"}' % (b"x" * 92), b'{"a":"%s"}' % (b"x" * 93)
    for chunks in ([before + fits], list(_bytes(before + fits)), [before + fits + b"\n"]):
        assert _read(chunks, _decoder(100)) == ([{"a": "x" * 92}], None)
    for chunks in ([before + exceeds], list(_bytes(before + exceeds)), [before + exceeds + b"\n"]):
        events, error = _read([b"{}\n", *chunks], _decoder(100))
        assert events == [{}]
        assert isinstance(error, StreamCut)
        assert "larger than 100 bytes (max_event_bytes)" in str(error)
        assert (error.events, error.received) == (1, exceeds[:100])


def test_ignored_bytes_have_no_bound() -> None:
    """Comments, blanks and other fields may be longer than any event: nothing of them is kept."""
    long = b"x" * 1000
    body = b": " + long + b"\nevent: " + long + b"\n" + b" " * 1000 + b"data: " + b" " * 1000 + b"{}\n\n"
    assert _read([body], _decoder(10)) == ([{}], None)


def test_a_cut_carries_the_incomplete_event() -> None:
    """The error has at most 64 KiB of the event, and the run; it prints neither and can be pickled."""
    run = Run(
        ref=RunRef("agent-platform", "", "r-1"),
        state=RunState.RUNNING,
        status="busy",
        raw=None,
        seen_at=EPOCH,
    )
    decoder = _decoder()
    assert decoder.feed(b'data: {"a":1}\n\ndata: {"b": "hunter2') == [{"a": 1}]
    error = decoder.cut("the connection was lost", run=run)
    assert (error.received, error.events, error.run) == (b'{"b": "hunter2', 1, run)
    assert (error.vendor, error.call) == ("agent-platform", "runs.stream")
    assert "cut after 1 events: the connection was lost" in str(error)
    assert "hunter2" not in f"{error} {error!r}"
    again = pickle.loads(pickle.dumps(error))  # noqa: S301 - our own
    assert (again.received, again.events, again.run, str(again)) == (error.received, 1, run, str(error))
    decoder.feed(b"x" * 200_000)
    assert len(decoder.cut("x").received) == 65536


_LARGE = {
    "long": json.dumps({"a": "x" * 1_000_000}).encode(),
    "pretty": json.dumps({"a": ['\\"{}[]\n'] * 60_000}, indent=1).encode(),
    "many": b"".join(b'data: {"i": %d}\n\n' % i for i in range(50_000)),
    "comments": b": ping\n" * 150_000 + b"{}",
    "blanks": b" " * 1_000_000 + b"{}",
    "lines": b"\n \t" * 300_000 + b"{}",
    "concatenated": b'{"a":1}' * 150_000,
    "unended": b"{}" + b'data: {"a"' * 100_000,
}


@pytest.mark.parametrize(
    ("name", "size"), [("long", 1), *((name, size) for name in _LARGE for size in (65536, 10_000_000))]
)
def test_each_byte_is_examined_once(name: str, size: int) -> None:
    """A megabyte is read in any portions, also byte by byte, in time proportional to its size."""
    decoder, body = _decoder(), _LARGE[name]
    chunks = [body[at : at + size] for at in range(0, len(body), size)]
    events, error = _read(chunks, decoder)
    assert len(events) == decoder.events >= 1
    assert (error is None) is (name != "unended")
