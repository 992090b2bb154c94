"""What a fake server reads in requests, and how it refuses what is wrong."""

from collections.abc import Mapping
from typing import Any

import pytest

from aioagents.codec import encode_json
from aioagents.contract.fake import (
    Call,
    JsonObject,
    Refused,
    has_key,
    read_count,
    read_json,
    read_object,
    refusing,
)
from aioagents.model import Request

_JSON = {"content-type": "application/json; charset=utf-8"}


def _call(
    body: bytes | None = None,
    *,
    headers: Mapping[str, str] = _JSON,
    query: Mapping[str, str] | None = None,
) -> Call:
    request = Request(method="POST", url="http://h/a", call="a", headers=headers, body=body)
    return Call(request=request, path={}, query=query or {}, now=0.0)


def _refused(caught: pytest.ExceptionInfo[Refused]) -> tuple[int, str]:
    return caught.value.status, str(caught.value)


@pytest.mark.parametrize(
    ("header", "value", "options", "is_right"),
    [
        ("authorization", "Bearer k", {}, True),
        ("authorization", "Bearer kk", {}, False),
        ("authorization", "bearer k", {}, False),
        ("x-key", "k", {"header": "X-Key", "prefix": ""}, True),
        ("x-key", "key=k", {"header": "X-Key", "prefix": "key="}, True),
        ("x-other", "k", {"header": "X-Key", "prefix": ""}, False),
    ],
)
def test_keys(header: str, value: str, options: dict[str, str], is_right: bool) -> None:
    """A key is a bearer token, or stands in another header after another prefix."""
    assert has_key(_call(headers={header: value}), "k", **options) is is_right


@pytest.mark.parametrize(("text", "number"), [(None, 20), ("1", 1), ("007", 7), ("100", 100)])
def test_counts(text: str | None, number: int) -> None:
    """A whole number is read from the query; an absent one has its default."""
    query = {} if text is None else {"limit": text}
    assert read_count(_call(query=query), "limit", 20, low=1, high=100) == number


@pytest.mark.parametrize("text", ["", "0", "101", "-1", "1.5", "ten", "\u0665", "\u00b2"])
def test_counts_that_are_refused(text: str) -> None:
    """What is no whole number, or out of range, is refused by its name."""
    with pytest.raises(Refused) as caught:
        read_count(_call(query={"limit": text}), "limit", 20, low=1, high=100)
    assert _refused(caught) == (400, "limit has to be a whole number from 1 to 100")


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b'"a"', b"null"])
def test_bodies_that_are_no_objects(body: bytes) -> None:
    """A body that is no JSON object is refused."""
    with pytest.raises(Refused) as caught:
        read_object(_call(body))
    assert caught.value.status == 400


def test_content_types() -> None:
    """A JSON object has the content type of JSON, unless any is permitted; mere JSON may have any."""
    plain = _call(b'{"a":1}', headers={"content-type": "text/plain"})
    with pytest.raises(Refused, match="content type"):
        read_object(plain)
    assert read_object(plain, content_type="").values == read_json(plain) == {"a": 1}
    assert read_object(_call(b"{}")).values == {}


_BODY: dict[str, Any] = {
    "text": "a",
    "empty": "",
    "flag": True,
    "number": 7,
    "none": None,
    "url": "https://h/x",
    "inner": {"text": "b", "list": [{"n": 1}, {"n": "x"}]},
    "words": ["a", "b"],
}


def test_members_that_are_right() -> None:
    """Members are returned with their types; null counts as absent."""
    body = read_object(_call(encode_json(_BODY)))
    assert (body.get("text", str), body.get("flag", bool), body.get("number", int)) == ("a", True, 7)
    assert (body.get("none", str), body.get("missing", dict), body.require("text", str)) == (None, None, "a")
    assert (body.choice("text", ("a", "b")), body.choice("missing", ("a",))) == ("a", None)
    assert (body.url("url"), body.url("missing")) == ("https://h/x", None)
    assert (body.strings("words"), body.strings("missing"), body.objects("missing")) == (["a", "b"], [], [])
    assert body.object("inner").require("text", str) == "b"
    assert body.object("missing") == JsonObject({}, "missing.")
    body.check_range("number", 1, 7, is_whole=True, is_needed=True)
    body.check_range("missing", 1, 7, is_whole=True, is_needed=False)


@pytest.mark.parametrize(
    ("read", "message"),
    [
        (lambda body: body.get("text", int), "text has to be an integer"),
        (lambda body: body.get("flag", int), "flag has to be an integer"),
        (lambda body: body.get("words", dict), "words has to be an object"),
        (lambda body: body.require("missing", str), "missing has to be there"),
        (lambda body: body.require("empty", str), "empty has to be there"),
        (lambda body: body.choice("text", ("b", "c")), "text has to be one of b, c"),
        (lambda body: body.choice("missing", ("b",), is_needed=True), "missing has to be there"),
        (lambda body: body.url("text"), "text has to be a URL"),
        (lambda body: body.url("empty"), "empty has to be a URL"),
        (lambda body: body.url("number"), "number has to be a string"),
        (lambda body: body.strings("inner"), "inner has to be an array"),
        (lambda body: body.objects("words"), "words has to hold objects"),
        (lambda body: body.object("inner").strings("list"), "inner.list has to hold strings"),
        (
            lambda body: body.object("inner").objects("list")[1].get("n", int),
            "inner.list[1].n has to be an integer",
        ),
        (
            lambda body: body.check_range("number", 1, 6, is_whole=True, is_needed=True),
            "number has to be an integer from 1 to 6",
        ),
        (
            lambda body: body.check_range("flag", 0, 1, is_whole=False, is_needed=True),
            "flag has to be a number from 0 to 1",
        ),
        (
            lambda body: body.check_range("missing", 0, 1, is_whole=True, is_needed=True),
            "missing has to be an integer from 0 to 1",
        ),
    ],
)
def test_members_that_are_refused(read: Any, message: str) -> None:
    """A member of the wrong type, or an impossible one, is refused by its path in the body."""
    with pytest.raises(Refused) as caught:
        read(read_object(_call(encode_json(_BODY))))
    assert _refused(caught) == (400, message)


def test_errors_become_refusals() -> None:
    """A ValueError becomes a refusal with the status and the same text; other errors stay what they are."""
    with pytest.raises(Refused) as caught, refusing(422):
        raise ValueError("no date")
    assert _refused(caught) == (422, "no date")
    with pytest.raises(KeyError), refusing(422):
        raise KeyError("a")
