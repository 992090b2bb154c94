"""Replies that arrive in pieces of any size, and what follows them."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aioagents.transport.direct.head import BadReply
from aioagents.transport.direct.reader import MOST_OF_REFUSAL, ReplyReader


def reader(method: str = "GET", *, most: int = 1000, header_bytes: int = 500) -> ReplyReader:
    """Return a reader that expects a reply."""
    made = ReplyReader(header_bytes=header_bytes, header_lines=20)
    made.begin(method, most)
    return made


def feed(it: ReplyReader, data: bytes, cuts: list[int] | None = None) -> list[bool]:
    """Feed `data` in pieces that end at `cuts`, until the reply is done; return what each feeding returned."""
    found: list[bool] = []
    ends = sorted({cut % (len(data) + 1) for cut in cuts or []} | {len(data)})
    for start, end in zip([0, *ends], ends, strict=False):
        if start < end and True not in found:
            found.append(it.feed(data[start:end]))
    return found


BODY = b'{"status": "completed"}'
REPLIES = {
    "sized": (b"HTTP/1.1 200 OK\r\nContent-Length: 23\r\n\r\n" + BODY, BODY, True),
    "empty": (b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", b"", True),
    "no content": (b"HTTP/1.1 204 No Content\r\n\r\n", b"", True),
    "bare line ends": (b"HTTP/1.1 200 OK\nContent-Length: 23\n\n" + BODY, BODY, True),
    "mixed line ends": (b"HTTP/1.1 200 OK\r\nContent-Length: 4\n\r\n\r\n\r\n", b"\r\n\r\n", True),
    "chunked": (
        b'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nA;x="\r\n'[:-2] + b"\r\n" + BODY[:10] + b"\r\n"
        b"0d \r\n" + BODY[10:] + b"\r\n000\r\nA: b\r\nContent-Length: 7\r\n\r\n",
        BODY,
        True,
    ),
    "informational": (
        b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n"
        b"HTTP/1.1 200 OK\r\nContent-Length: 23\r\n\r\n" + BODY,
        BODY,
        True,
    ),
    "chunked and sized": (
        b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n\r\n",
        b"x",
        False,
    ),
    "closing": (b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 23\r\n\r\n" + BODY, BODY, False),
}


@settings(deadline=None)
@given(name=st.sampled_from(sorted(REPLIES)), cuts=st.lists(st.integers(0, 400), max_size=8))
def test_pieces_make_no_difference(name: str, cuts: list[int]) -> None:
    """However the bytes are cut, the reply is done with the last one, and not before."""
    data, body, may_be_kept = REPLIES[name]
    it = reader()
    assert feed(it, data, cuts)[-1] is True
    assert (it.body(), it.may_be_kept, it.is_too_large) == (body, may_be_kept, False)


@pytest.mark.parametrize("name", REPLIES)
def test_byte_by_byte(name: str) -> None:
    """Only the last byte ends a reply."""
    data, body, _ = REPLIES[name]
    it = reader()
    assert [it.feed(data[at : at + 1]) for at in range(len(data))] == [False] * (len(data) - 1) + [True]
    assert it.body() == body


@pytest.mark.parametrize("name", REPLIES)
@pytest.mark.parametrize("excess", [b"x", b"\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"])
@settings(deadline=None)
@given(cuts=st.lists(st.integers(0, 400), max_size=4))
def test_bytes_behind_a_reply(name: str, excess: bytes, cuts: list[int]) -> None:
    """Whatever follows a reply in the same piece is no part of it, and the connection is not used again."""
    data, body, _ = REPLIES[name]
    it = reader()
    rest = [cut for cut in cuts if cut % (len(data) + 1) < len(data)]
    ends = sorted({cut % (len(data) + 1) for cut in rest})
    whole = data + excess
    for start, end in zip([0, *ends], [*ends, len(whole)], strict=True):
        done = it.feed(whole[start:end]) if start < end else False
    assert done
    assert (it.body(), it.may_be_kept) == (body, False)


def test_two_replies_in_a_row() -> None:
    """Nothing of one reply is left for the next."""
    it = reader()
    for name in ("chunked", "sized", "informational", "empty", "chunked"):
        it.begin("GET", 1000)
        assert (it.has_begun, it.head, it.may_be_kept) == (False, None, False)
        assert it.feed(REPLIES[name][0][:40]) is (name == "empty" and len(REPLIES[name][0]) <= 40)
        assert it.has_begun
        it.feed(REPLIES[name][0][40:])
        assert it.body() == REPLIES[name][1]


def test_the_end_of_the_connection_ends_a_body_without_a_length() -> None:
    """A body without a length ends with its connection; so does nothing else."""
    it = reader()
    assert not it.feed(b"HTTP/1.0 200 OK\r\n\r\nab")
    assert not it.feed(b"cd")
    assert it.feed_end()
    assert (it.body(), it.may_be_kept) == (b"abcd", False)


@pytest.mark.parametrize("name", [name for name, (data, _, _) in REPLIES.items()])
def test_a_cut_reply_is_none(name: str) -> None:
    """A success that breaks off anywhere is no reply."""
    data, _, _ = REPLIES[name]
    for end in range(len(data)):
        it = reader()
        if data[:end]:
            assert not it.feed(data[:end])
        assert not it.feed_end()


@pytest.mark.parametrize(
    ("rest", "body"),
    [
        (b"Content-Length: 50\r\n\r\nabc", b"abc"),
        (b"Transfer-Encoding: chunked\r\n\r\n9\r\nabc", b"abc"),
        (b"\r\nabc", b"abc"),
    ],
)
def test_a_refusal_is_one_although_it_is_cut(rest: bytes, body: bytes) -> None:
    """What has arrived of a refusal's body is its body."""
    it = reader()
    assert not it.feed(b"HTTP/1.1 429 X\r\n" + rest)
    assert it.is_refusal
    assert it.feed_end()
    assert (it.body(), it.may_be_kept) == (body, False)


SIZED = b"HTTP/1.1 %d X\r\nContent-Length: %d\r\n\r\n%b"
CHUNKED = b"HTTP/1.1 %d X\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n%b\r\n0\r\n\r\n"


@pytest.mark.parametrize("form", [SIZED, CHUNKED])
@settings(deadline=None)
@given(cuts=st.lists(st.integers(0, 200_000), max_size=5))
def test_successes_are_bounded(form: bytes, cuts: list[int]) -> None:
    """As many bytes are read as are allowed; where there are more, the reply is too large."""
    for size, is_too_large in ((1000, False), (1001, True)):
        it = reader()
        assert feed(it, form % (200, size, bytes(size)), cuts)[-1]
        assert it.is_too_large is is_too_large
        assert it.may_be_kept is not is_too_large


@pytest.mark.parametrize("form", [SIZED, CHUNKED])
@pytest.mark.parametrize("size", [MOST_OF_REFUSAL, MOST_OF_REFUSAL + 1, 200_000])
@settings(deadline=None)
@given(cuts=st.lists(st.integers(0, 200_000), max_size=5))
def test_refusals_are_cut(form: bytes, size: int, cuts: list[int]) -> None:
    """Of a refusal the first 64 KiB are read, whatever is allowed for successes."""
    it = reader()
    assert feed(it, form % (404, size, bytes(size)), cuts)[-1]
    assert len(it.body()) == MOST_OF_REFUSAL
    assert not it.is_too_large


@pytest.mark.parametrize(
    "chunks",
    [
        b"zz\r\n",
        b"\r\n",
        b"-1\r\n",
        b"+1\r\n",
        b"0x1\r\n",
        b" 1\r\n",
        b"1\r\nxy\r\n",
        b"1\r\nx\n0\r\n",
        b"f" * 16 + b"\r\n",
    ],
)
def test_broken_chunks_are_refused(chunks: bytes) -> None:
    """A chunk that is not as its size says, or has none, makes a reply none."""
    with pytest.raises(BadReply):
        reader().feed(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + chunks)


@pytest.mark.parametrize(
    "data",
    [
        b"HTTP/1.1 200 OK\r\nX: " + b"x" * 500,
        b"HTTP/1.1 200 OK\r\nX: " + b"x" * 500 + b"\r\n\r\n",
        b"HTTP/1.1 100 Continue\r\n\r\n" * 30,
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1;" + b"x" * 600,
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n" + b"A: b\r\n" * 200,
    ],
)
@settings(deadline=None)
@given(cuts=st.lists(st.integers(0, 1000), max_size=5))
def test_headers_are_bounded(data: bytes, cuts: list[int]) -> None:
    """Headers, informational replies, chunk extensions and trailers without end are given up."""
    with pytest.raises(BadReply, match="header_bytes"):
        feed(reader(), data, cuts)


def test_headers_may_have_so_many_bytes() -> None:
    """A head of exactly as many bytes as are allowed is read."""
    line = b"HTTP/1.1 204 OK\r\nX: "
    assert reader().feed(line + b"x" * (500 - len(line)) + b"\r\n\r\n")
    with pytest.raises(BadReply):
        reader().feed(line + b"x" * (501 - len(line)) + b"\r\n\r\n")


def test_another_protocol_is_refused() -> None:
    """A server that switches to another protocol is not understood."""
    with pytest.raises(BadReply):
        reader().feed(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\n")


@settings(deadline=None)
@given(st.binary(max_size=300), st.lists(st.integers(0, 300), max_size=5))
def test_any_bytes_are_read_or_refused(data: bytes, cuts: list[int]) -> None:
    """No bytes make the reader raise anything else."""
    for prefix in (b"", b"HTTP/1.1 200 OK\r\n", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"):
        it = reader()
        try:
            feed(it, prefix + data, cuts)
            it.feed_end()
        except BadReply:
            pass
        assert len(it.body()) <= 1000
