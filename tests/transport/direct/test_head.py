"""Heads of replies: what is read, what is refused, and how the body will end."""

import pytest

from aioagents.transport.direct.head import BadReply, Head, read_head, seconds_kept


def head(text: str, *, is_bodiless: bool = False, most_headers: int = 200) -> Head:
    """Return the head of a reply whose lines are separated by `|`."""
    block = text.replace("|", "\r\n").encode()
    return read_head(block, is_bodiless=is_bodiless, most_headers=most_headers)


def test_status_and_headers() -> None:
    """Names are in lower case, values without the space around them; of a repeated field the first counts."""
    found = head("HTTP/1.1 404 Not Found|Retry-After: 7 |X-ID:\ta|x-id: b|Empty:")
    assert found.status == 404
    assert found.headers == {"retry-after": "7", "x-id": "a", "empty": ""}


@pytest.mark.parametrize(
    "line", ["HTTP/1.1 200", "HTTP/1.1 200 ", "HTTP/1.0 200 OK", "HTTP/1.1  200 OK", "HTTP/1.1 200 caf\xe9 ?"]
)
def test_status_lines_of_the_world(line: str) -> None:
    """A reason may be missing, or have any bytes."""
    assert read_head(line.encode("latin-1"), is_bodiless=False, most_headers=9).status == 200


@pytest.mark.parametrize(
    "text",
    [
        "",
        "SSH-2.0-x",
        "HTTP/2 200",
        "HTTP/1.1 20",
        "HTTP/1.1 2000 OK",
        "HTTP/1.1 \u0662\u0660\u0660 OK",
        "HTTP/1.1 099 OK",
        "http/1.1 200 OK",
        "HTTP/1.1 200 OK|no colon",
        "HTTP/1.1 200 OK|token",
        "HTTP/1.1 200 OK|: x",
        "HTTP/1.1 200 OK|A : x",
        "HTTP/1.1 200 OK|A\u00e9: x",
        "HTTP/1.1 200 OK|A: x\0y",
        "HTTP/1.1 200 OK|A: x\ry",
        "HTTP/1.1 200 OK|Content-Length: ",
        "HTTP/1.1 200 OK|Content-Length: x",
        "HTTP/1.1 200 OK|Content-Length: -1",
        "HTTP/1.1 200 OK|Content-Length: +1",
        "HTTP/1.1 200 OK|Content-Length: 1_0",
        "HTTP/1.1 200 OK|Content-Length: \u0663",
        "HTTP/1.1 200 OK|Content-Length: 1e3",
        "HTTP/1.1 200 OK|Content-Length: 1, 2",
        "HTTP/1.1 200 OK|Content-Length: 1|Content-Length: 2",
        "HTTP/1.1 200 OK|Content-Length: 1|Content-Length: 01",
        "HTTP/1.1 200 OK|Content-Length: 1| 2",
        "HTTP/1.1 200 OK|Content-Length: 9999999999999999999",
        "HTTP/1.1 200 OK|Transfer-Encoding: gzip",
        "HTTP/1.1 200 OK|Transfer-Encoding: chunked, gzip",
        "HTTP/1.1 200 OK|Transfer-Encoding: chunked|Transfer-Encoding: chunked",
        "HTTP/1.1 200 OK|Transfer-Encoding: xchunked",
    ],
)
def test_what_is_no_reply_is_refused(text: str) -> None:
    """A head that is malformed, or from which it is not certain where the body ends, is no reply."""
    with pytest.raises(BadReply):
        head(text)


@pytest.mark.parametrize(
    ("text", "length", "is_chunked", "may_be_kept"),
    [
        ("HTTP/1.1 200 OK|Content-Length: 5", 5, False, True),
        ("HTTP/1.1 200 OK|Content-Length: 5|Content-Length: 5", 5, False, True),
        ("HTTP/1.1 200 OK|Content-Length: 5 , 5", 5, False, True),
        ("HTTP/1.1 200 OK|Content-Length: 5|Connection: Close", 5, False, False),
        ("HTTP/1.1 200 OK|Content-Length: 5|Connection: x, close", 5, False, False),
        ("HTTP/1.1 200 OK|Content-Length: 5|Connection: x|Connection: close", 5, False, False),
        ("HTTP/1.1 200 OK|Content-Length: 5|Connection: keep-alive", 5, False, True),
        ("HTTP/1.0 200 OK|Content-Length: 5", 5, False, False),
        ("HTTP/1.0 200 OK|Content-Length: 5|Connection: Keep-Alive", 5, False, True),
        ("HTTP/1.1 200 OK|Transfer-Encoding: Chunked", None, True, True),
        ("HTTP/1.1 200 OK|Transfer-Encoding: identity|Content-Length: 5", None, False, False),
        ("HTTP/1.1 200 OK|Transfer-Encoding: chunked|Content-Length: 5", None, True, False),
        ("HTTP/1.0 200 OK|Transfer-Encoding: chunked|Connection: keep-alive", None, True, False),
        ("HTTP/1.1 200 OK|Connection: keep-alive", None, False, False),
        ("HTTP/1.1 204 No Content|Content-Length: 5", 0, False, True),
        ("HTTP/1.1 304 Not Modified|Transfer-Encoding: chunked", 0, False, True),
    ],
)
def test_how_the_body_ends(text: str, length: int | None, is_chunked: bool, may_be_kept: bool) -> None:
    """The end is as RFC 9112 has it; whatever may be read in two ways closes the connection."""
    found = head(text)
    assert (found.length, found.is_chunked, found.may_be_kept) == (length, is_chunked, may_be_kept)


def test_a_reply_to_head_has_no_body() -> None:
    """A reply to HEAD has no body, whatever its length says."""
    assert head("HTTP/1.1 200 OK|Content-Length: 5", is_bodiless=True).length == 0


@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_line_ends_and_folded_lines(end: str) -> None:
    """Lines may end without a carriage return, and a value may go on in the next line."""
    block = end.join(["HTTP/1.1 200 OK", "A: x", "  y", "\tz", "B: 1"]).encode()
    assert read_head(block, is_bodiless=False, most_headers=9).headers == {"a": "x y z", "b": "1"}


def test_bytes_that_are_not_utf_8() -> None:
    """A value may have any bytes."""
    found = read_head(b"HTTP/1.1 200 OK\r\nA: caf\xe9 \xc2\x85", is_bodiless=False, most_headers=9)
    assert found.headers["a"].encode("utf-8", "surrogateescape") == b"caf\xe9 \xc2\x85"


def test_the_number_of_headers_is_bounded() -> None:
    """So many headers are read, and not one more."""
    text = "HTTP/1.1 200 OK" + "".join(f"|X{number}: 1" for number in range(200))
    assert len(head(text).headers) == 200
    with pytest.raises(BadReply, match="header_lines"):
        head(f"{text}|Y: 1")


def test_names_are_remembered_within_bounds() -> None:
    """A server that makes up names is read all the same, however many they are."""
    for number in range(2000):
        assert head(f"HTTP/1.1 200 OK|N{number}: 1").headers == {f"n{number}": "1"}


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("timeout=5", 5),
        ("max=100, timeout=5", 5),
        ('Timeout = "7"', 7),
        ("timeout=0", 0),
        ("timeout=5;max=3", 5),
        ("", None),
        ("max=9", None),
        ("timeout=x", None),
        ("xtimeout=5", None),
    ],
)
def test_how_long_a_server_keeps_connections(value: str, seconds: float | None) -> None:
    """The parameter `timeout` of Keep-Alive is read in the spellings that servers use."""
    assert seconds_kept({"keep-alive": value}) == seconds
