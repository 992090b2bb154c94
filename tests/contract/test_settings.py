"""Checks of settings: what could send a secret elsewhere or in clear text is refused at the call."""

import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from yarl import URL

from aioagents.contract.settings import (
    account_name,
    check_base_url,
    check_header_value,
    check_host_label,
    check_text,
    check_webhook_url,
    is_loopback,
    key_headers,
    path_segment,
)
from aioagents.model import Secret


@pytest.mark.parametrize(
    ("url", "checked"),
    [
        ("https://x.example", "https://x.example"),
        ("https://x.example/", "https://x.example"),
        ("  https://x.example/api/ ", "https://x.example/api"),
        ("https://x.example\n", "https://x.example"),
        ("HTTPS://X.Example:8443", "https://x.example:8443"),
        ("http://localhost:2123", "http://localhost:2123"),
        ("http://a.localhost", "http://a.localhost"),
        ("http://127.0.0.1:80/", "http://127.0.0.1:80"),
        ("http://127.8.9.1", "http://127.8.9.1"),
        ("http://[::1]:8080/x", "http://[::1]:8080/x"),
    ],
)
def test_base_urls_that_are_accepted(url: str, checked: str) -> None:
    """Any host by https, and this machine by http, are returned without a slash at the end."""
    assert check_base_url(url, "base_url") == checked


@pytest.mark.parametrize(
    "url",
    [
        "http://x.example",
        "http://10.0.0.1",
        "http://localhost.x.example",
        "http://127.0.0.1.x.example",
        "http://127.1",
        "http://0.0.0.0",
        "http://[::2]",
        "ftp://x.example",
        "x.example",
        "//x.example",
        "https://",
        "https:///path",
        "",
        "https://x.example?a=b",
        "https://x.example#a",
        "https://user@x.example",
        "https://user:hunter2@x.example",
        "https://x.example:hunter2",
        "https://x.example:99999",
        "https://a\\b.example",
        "https://x y.example",
        "https://[::1",
        "https://x.\nexample",
        "https://x.example/a\tb",
        "https://x.example/\r\nX-Evil: 1",
        "https://x.example/\x00",
        "https://x.example/\x7f",
        "https://x.example/\u2028a",
        "https://x.example/\ud800",
    ],
)
def test_base_urls_that_are_refused(url: str) -> None:
    """Clear text, other schemes, users, queries and what is no URL are refused by an error without the password."""
    with pytest.raises(ValueError, match="base_url: ") as caught:
        check_base_url(url, "base_url")
    assert "hunter2@" not in str(caught.value)


def test_insecure_hosts_have_to_be_asked_for() -> None:
    """Plain http to another host is possible with `allow_insecure`."""
    assert check_base_url("http://x.example/", "base_url", allow_insecure=True) == "http://x.example"
    with pytest.raises(ValueError, match="base_url"):
        check_base_url("ftp://x.example/", "base_url", allow_insecure=True)


@pytest.mark.parametrize(
    ("host", "is_this"),
    [
        ("localhost", True), ("a.localhost", True), ("127.0.0.1", True), ("::1", True),
        ("localhost.example", False), ("notlocalhost", False), ("10.0.0.1", False), ("", False),
    ],
)  # fmt: skip
def test_loopback(host: str, is_this: bool) -> None:
    """Only names and addresses of this machine are this machine."""
    assert is_loopback(host) is is_this


@pytest.mark.parametrize("text", ["us-east-1", "US-EAST-1", "canadacentral", "a", "a" * 63, "1"])
def test_labels_that_are_accepted(text: str) -> None:
    """Whatever can be one label of a host name is accepted, in lower case."""
    assert check_host_label(text, "region") == text.lower()


@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        "a.b",
        "evil.example/",
        "a/b",
        "a@b",
        "a:b",
        "-a",
        "a-",
        "a" * 64,
        "a\n",
        "\u00e4",
        "a b",
        None,
        3,
    ],
)
def test_labels_that_are_refused(text: str) -> None:
    """Text that could change the host raises an error that names the setting."""
    with pytest.raises(ValueError, match="region: "):
        check_host_label(text, "region")


@given(st.text())
def test_labels_never_change_the_host(text: str) -> None:
    """Any text is refused or stays one label of the host it is put into."""
    try:
        label = check_host_label(text, "region")
    except ValueError:
        return
    assert URL(f"https://{label}-aic.leena.ai/x").host == f"{label}-aic.leena.ai"


@given(st.text(min_size=1))
def test_segments_never_change_the_path(text: str) -> None:
    """Any text is refused or is one segment of the path it is put into, and is unchanged when read back."""
    try:
        segment = path_segment(text, "id")
    except ValueError:
        assert not text.strip() or text in {".", ".."}
        return
    url = URL(f"https://x.example/items/{segment}/status", encoded=True)
    assert url.host == "x.example"
    assert url.raw_parts == ("/", "items", segment, "status")
    assert not url.query_string
    assert url.parts[2] == text


@pytest.mark.parametrize("text", ["", "  ", ".", "..", None, 7])
def test_segments_that_are_refused(text: str) -> None:
    """Blank text and dots raise an error that names the argument."""
    with pytest.raises(ValueError, match="id"):
        path_segment(text, "id")


@pytest.mark.parametrize("text", ["", " \n", None, 7])
def test_texts_that_are_refused(text: str) -> None:
    """Blank text raises an error that names the argument."""
    assert check_text(" a ", "name") == " a "
    with pytest.raises(ValueError, match="name has to be a non-empty string"):
        check_text(text, "name")


@pytest.mark.parametrize(
    "url", ["", "cb.example", "ftp://cb.example", "https://", "https://h:0", "https://[", 7]
)
def test_webhook_urls_that_are_refused(url: Any) -> None:
    """A webhook has to be a URL that can be called; the error does not quote it."""
    with pytest.raises(ValueError, match="callback_url"):
        check_webhook_url(url, "callback_url")
    assert check_webhook_url("http://cb.example/x?s=1", "callback_url") == "http://cb.example/x?s=1"


@pytest.mark.parametrize(
    ("header", "prefix", "value"),
    [
        ("x-api-key", "", "k-1"),
        ("Authorization", "", "k-1"),
        ("Authorization", "Bearer", "Bearer k-1"),
        ("Authorization", "Bearer ", "Bearer k-1"),
        ("X-Auth", "key=", "key=k-1"),
        ("apikey", " Token", "Token k-1"),
    ],
)
def test_header_of_a_key(header: str, prefix: str, value: str) -> None:
    """A key is sent in any header, after any prefix; one that ends in a letter is followed by a space."""
    assert dict(key_headers(Secret("k-1"), "app_key", header=header, prefix=prefix)) == {header: value}


def test_keys_are_sent_as_bearer_tokens_by_default() -> None:
    """Without a header and a prefix of its own a key is a bearer token; without a key there is no header."""
    assert dict(key_headers("k-1", "token")) == {"Authorization": "Bearer k-1"}
    assert dict(key_headers(None, "token")) == {}


@pytest.mark.parametrize(
    ("key", "header", "prefix", "name"),
    [
        ("", "X-Key", "", "token"),
        ("demo-\n", "X-Key", "", "token"),
        ("demo- ", "X-Key", "", "token"),
        ("demo-\xe4", "X-Key", "", "token"),
        ("k", "Host", "", "key_header"),
        ("k", "X Key", "", "key_header"),
        ("k", "X-Key", "demo-\n x", "key_prefix"),
    ],
)
def test_keys_that_no_header_can_carry(key: str, header: str, prefix: str, name: str) -> None:
    """A key, header or prefix that cannot be sent is refused by its name, without its value."""
    with pytest.raises(ValueError, match=name) as caught:
        key_headers(Secret(key), "token", header=header, prefix=prefix)
    assert "demo-" not in str(caught.value)


def test_header_values() -> None:
    """A header carries printable ASCII without white space around it; the error does not quote what it refuses."""
    assert check_header_value("a b", "user_id") == "a b"
    for text in ("s3cret\n", " s3cret", "s3cr\u00e9t"):
        with pytest.raises(ValueError, match="user_id: ") as caught:
            check_header_value(text, "user_id")
        assert text not in str(caught.value)


def test_account_names() -> None:
    """An account's name depends on all parts and shows none, and the same parts give the same name."""
    name = account_name("acme", "https://acme.example", Secret("k-1"))
    assert name == account_name("acme", "https://acme.example", "k-1")
    assert len({name, account_name("acme", "https://acme.example", "k-2"), account_name("acme", "k-1")}) == 3
    assert re.fullmatch(r"acme-[0-9a-f]{16}", name)
