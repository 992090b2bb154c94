"""The bytes of requests."""

import pytest
from yarl import URL

from aioagents.model import Request
from aioagents.transport.direct.encoder import Encoder

DEFAULTS = (
    "Host: {host}\r\nUser-Agent: aioagents\r\nAccept: application/json\r\nAccept-Encoding: gzip, deflate\r\n"
)


def encoder(url: str = "https://example.com", proxy: str | None = None) -> Encoder:
    """Return what writes requests to a host."""
    return Encoder(URL(url), None if proxy is None else URL(proxy))


def request(method: str = "GET", **options: object) -> Request:
    """Return a request."""
    return Request(method=method, url="", call="c", **options)  # type: ignore[arg-type]  # as given


def test_a_poll() -> None:
    """A GET has the defaults and its signature, and no body."""
    found = encoder().encode(request(), "/a?b=c", {"Authorization": "Bearer x"})
    expected = (
        "GET /a?b=c HTTP/1.1\r\n" + DEFAULTS.format(host="example.com") + "Authorization: Bearer x\r\n\r\n"
    )
    assert found == expected.encode()


def test_a_body_has_its_length() -> None:
    """A body is preceded by its length, and by a type if it has none; without a body, the length is nought."""
    text = (encoder().encode(request("POST", body=b"{}"), "/", {}) or b"").decode()
    assert text.endswith("Content-Type: application/octet-stream\r\nContent-Length: 2\r\n\r\n{}")
    own = {"content-type": "application/json", "Content-Length": "7", "transfer-encoding": "chunked"}
    text = (encoder().encode(request("POST", body=b"{}", headers=own), "/", {}) or b"").decode()
    assert text.endswith("content-type: application/json\r\nContent-Length: 2\r\n\r\n{}")
    assert "chunked" not in text
    assert (encoder().encode(request("DELETE"), "/", {}) or b"").endswith(b"\r\nContent-Length: 0\r\n\r\n")


def test_the_last_of_a_name_counts() -> None:
    """A request's own header replaces a default, and the signature's replaces both, in whatever case."""
    headers = {"USER-AGENT": "mine", "accept": "text/plain", "Authorization": "own"}
    text = (encoder().encode(request(headers=headers), "/", {"authorization": "signature"}) or b"").decode()
    assert text.lower().count("user-agent") == text.lower().count("accept:") == 1
    assert "USER-AGENT: mine" in text
    assert "authorization: signature" in text
    assert "own" not in text


def test_what_was_written_is_kept_for_equal_headers_alone() -> None:
    """A header that changes is written, also where it changes in the same mapping."""
    it, headers = encoder(), {"Authorization": "one"}
    assert b"one" in (it.encode(request(), "/", headers) or b"")
    headers["Authorization"] = "two"
    assert b"two" in (it.encode(request(), "/", headers) or b"")
    for number in range(200):
        assert f"\r\nX: {number}\r\n".encode() in (it.encode(request(), "/", {"X": str(number)}) or b"")


@pytest.mark.parametrize(
    ("options", "target", "headers"),
    [
        ({"method": "GET X"}, "/", {}),
        ({"method": ""}, "/", {}),
        ({}, "/a b", {}),
        ({}, "/a\r\nX: y", {}),
        ({}, "/caf\xe9", {}),
        ({}, "/\0", {}),
        ({}, "/", {"X": "a\r\nY: z"}),
        ({}, "/", {"X": "a\nb"}),
        ({}, "/", {"X": "a\0b"}),
        ({}, "/", {"X Y": "a"}),
        ({}, "/", {"X:": "a"}),
        ({}, "/", {"": "a"}),
        ({"headers": {"X": "a\rb"}}, "/", {}),
    ],
)
def test_what_http_does_not_allow(options: dict[str, str], target: str, headers: dict[str, str]) -> None:
    """Nothing is written that would be read as another request."""
    assert encoder().encode(request(**options), target, headers) is None


@pytest.mark.parametrize(
    ("url", "host"),
    [
        ("https://example.com:443", "example.com"),
        ("https://example.com:8443", "example.com:8443"),
        ("http://[::1]:80", "[::1]"),
        ("http://[::1]:81", "[::1]:81"),
        ("http://EXAMPLE.com", "example.com"),
    ],
)
def test_the_name_of_the_host(url: str, host: str) -> None:
    """A host is named with its port where that is not the usual one."""
    assert f"\r\nHost: {host}\r\n".encode() in (encoder(url).encode(request(), "/", {}) or b"")


def test_through_a_proxy() -> None:
    """A proxy gets whole URLs and its credentials; where the connection leads through it, neither."""
    found = (
        encoder("http://example.com:81", "http://user:pa%20ss@proxy:3128").encode(request(), "/a", {}) or b""
    )
    assert found.startswith(b"GET http://example.com:81/a HTTP/1.1\r\nHost: example.com:81\r\n")
    assert b"\r\nProxy-Authorization: Basic dXNlcjpwYSBzcw==\r\n" in found
    found = encoder("https://example.com", "http://user:pass@proxy:3128").encode(request(), "/a", {}) or b""
    assert found.startswith(b"GET /a HTTP/1.1\r\n")
    assert b"Proxy-Authorization" not in found


def test_shows_no_secret() -> None:
    """Its text names the host alone."""
    it = encoder("http://example.com", "http://user:pass@proxy:3128")
    it.encode(request(), "/", {"Authorization": "hunter2"})
    assert repr(it) == "<Encoder http://example.com>"
