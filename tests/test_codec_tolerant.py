"""JSON as the world writes it."""

import json
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aioagents.codec import decode_tolerant, encode_deep
from aioagents.codec.tolerant import MAX_DEPTH, has_long_integer, read_tolerant

_TEXT: st.SearchStrategy[str] = st.text(st.characters())  # lone surrogates too
_SCALARS = st.one_of(st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False), _TEXT)
_VALUES = st.recursive(
    _SCALARS, lambda inner: st.one_of(st.lists(inner), st.dictionaries(_TEXT, inner)), max_leaves=20
)


@pytest.mark.parametrize(
    ("body", "value"),
    [
        (rb'{"status": "\ud800"}', {"status": "\ud800"}),
        ('{"status": "\ud800"}'.encode("utf-8", "surrogatepass"), {"status": "\ud800"}),
        (b"[Infinity, -Infinity, 1e400, -1e400]", [math.inf, -math.inf, math.inf, -math.inf]),
        (b"123456789012345678901234567890", 123456789012345678901234567890),
        (b'{"n":-123456789012345678901234567890}', {"n": -123456789012345678901234567890}),
        (b"[1e5, 1.5, -0, 18446744073709551616]", [1e5, 1.5, 0, 18446744073709551616]),
        (b'{"text": "a\x01b\nc"}', {"text": "a\x01b\nc"}),
        (b"\xef\xbb\xbf[1]", [1]),
        ('{"text": "é"}'.encode("latin-1"), {"text": "é"}),
        ('{"text": "é"}'.encode("utf-16"), {"text": "é"}),
        ('{"text": "é"}'.encode("utf-16-le"), {"text": "é"}),
        ('{"text": "é"}'.encode("utf-32"), {"text": "é"}),
        (b")]}'\n{}", {}),
        (b")]}',\n[]", []),
        (b"while(1);[NaN2]", ValueError),
        (b' {"a" : { } , "b" : [ ] } ', {"a": {}, "b": []}),
        (b'{"a": 1, "a": NaN, "a": 2}', {"a": 2}),
    ],
)
def test_reads(body: bytes, value: Any) -> None:
    """What a strict reader refuses or rounds is read as it was meant."""
    if value is ValueError:
        with pytest.raises(ValueError, match="not JSON at character"):
            decode_tolerant(body)
    else:
        assert decode_tolerant(body) == value


def test_reads_nan() -> None:
    """Which equals nothing, not even itself."""
    assert math.isnan(decode_tolerant(b"[NaN]")[0])


@pytest.mark.parametrize(
    "body",
    [b"", b"{", b"[1,]", b'{"a"}', b'{"a":1,}', b"[1 2]", b"<html>", b"[1]]", b'"open', b"nul", b"{]", b"-",
     b"[\\u0041]", b"01", b"+1", b"\xff\xfe", b'{"a":}', b"[NaN"],
)  # fmt: skip
def test_refuses_what_is_no_json(body: bytes) -> None:
    """The message names the character and holds nothing of the body."""
    with pytest.raises(ValueError, match=r"^not JSON at character \d+$") as caught:
        decode_tolerant(body)
    assert caught.value.__context__ is None or caught.value.__suppress_context__


@given(_VALUES)
def test_reads_what_others_write(value: Any) -> None:
    """Whatever the standard library writes is read back, floats and strings to the last bit."""
    for text in (json.dumps(value), json.dumps(value, ensure_ascii=False, indent=1)):
        assert read_tolerant(text.encode("utf-8", "surrogatepass")) == value


@given(st.binary(max_size=200))
def test_any_bytes_are_read_or_refused(body: bytes) -> None:
    """No other error is raised."""
    message = ""
    try:
        read_tolerant(body)
    except ValueError as exc:
        message = str(exc)
    assert message.startswith("not JSON at character") or not message


@given(_VALUES)
def test_what_was_read_can_be_written(value: Any) -> None:
    """Writing and reading again changes lone surrogates, to question marks, infinity, to null, and nothing else."""
    again = decode_tolerant(encode_deep(value))
    expected = json.dumps(value, ensure_ascii=False).encode("utf-8", "replace").decode()
    assert again == json.loads(expected, parse_constant=lambda _: None)


@pytest.mark.parametrize("depth", [600, 1000, MAX_DEPTH])
def test_depth_is_kept_to_the_bound(depth: int) -> None:
    """Arrays in arrays are read as deep as they are."""
    value = read_tolerant(b"[" * depth + b"]" * depth)
    found = 0
    while isinstance(value, list):
        found, value = found + 1, value[0] if value else None
    assert found == depth


def test_what_lies_deeper_is_kept_as_text() -> None:
    """Below the bound the text of the array stands in place of it, so that nothing is lost."""
    deep = '[{"]": "}"}, "\\""]'
    value = read_tolerant(b"[" * MAX_DEPTH + deep.encode() + b"]" * MAX_DEPTH)
    for _ in range(MAX_DEPTH):
        (value,) = value
    assert value == deep
    with pytest.raises(ValueError, match="not JSON at character"):
        read_tolerant(b"[" * 5000)


@pytest.mark.parametrize(
    ("body", "is_long"),
    [
        (b'{"id": "123456789012345678901234567890"}', False),
        (b'{"n": 12345678901234567890}', True),
        (b"[1,12345678901234567890]", True),
        (b"-12345678901234567890", True),
        (b'{"n": 123456789012345678}', False),
    ],
)
def test_long_integers_are_noticed_outside_of_strings(body: bytes, is_long: bool) -> None:
    """A long id in quotes does not make a reply slow to read."""
    assert has_long_integer(body) is is_long
