"""Tolerant reading of answers: names in any spelling, booleans and numbers as strings, odd members."""

import json
from collections.abc import Mapping
from datetime import datetime
from typing import Any

import pytest
from attrs import field, frozen
from hypothesis import given
from hypothesis import strategies as st

from aioagents import DecodeError
from aioagents.codec import member
from aioagents.model import Reply
from aioagents.providers.agent_platform import text_of
from aioagents.providers.agent_platform.values import texts_in
from aioagents.providers.agent_platform.wire import KORE, object_in

_JSON = st.recursive(
    st.none() | st.booleans() | st.floats(allow_nan=False) | st.integers() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


@frozen(kw_only=True)
class _Inner:
    f: str = ""
    raw: Mapping[str, Any] = field(factory=dict)


@frozen(kw_only=True)
class _Members:
    """A member of each type."""

    text: str = member("m", default="")
    flag: bool | None = member("m", default=None)
    number: float | None = member("m", default=None)
    count: int | None = member("m", default=None)
    moment: datetime | None = member("m", default=None)
    inner: _Inner = member("m", factory=_Inner)
    items: tuple[Any, ...] = member("m", default=())
    objects: tuple[_Inner, ...] = member("m", default=())
    anything: Any = member("m", default=None)


@frozen(kw_only=True)
class _Named:
    dock_status_id: str = ""
    file_name: str = ""
    one_of: str = member("i", "b", default="")
    any_of: Any = member("none", "a", default=None)


def _read(value: Any) -> _Members:
    return KORE.read({"m": value}, _Members, call="c")


@pytest.mark.parametrize(
    "name", ["dockStatusId", "dock-statusId", "dockstatusId", "dock_status_id", "DOCKSTATUSID"]
)
def test_names_in_any_spelling(name: str) -> None:
    """Names are equal without case, hyphens and underscores."""
    assert KORE.read({name: "ds-1"}, _Named, call="c").dock_status_id == "ds-1"


def test_first_of_two_spellings() -> None:
    """Of two spellings of a member, the first one that is not null counts."""
    body = {"fileName": None, "filename": "b", "file_name": "c"}
    assert KORE.read(body, _Named, call="c").file_name == "b"


@pytest.mark.parametrize(
    ("value", "flag"),
    [
        (True, True),
        (False, False),
        ("true", True),
        ("True ", True),
        ("false", False),
        ("yes", None),
        (1, None),
        (None, None),
        ([], None),
    ],
)
def test_booleans(value: Any, flag: bool | None) -> None:
    """A boolean may be written as a string; anything else is None."""
    assert _read(value).flag is flag


@pytest.mark.parametrize(
    ("value", "number"),
    [
        (7, 7.0),
        ("7", 7.0),
        ("7.5", 7.5),
        (7.5, 7.5),
        (True, None),
        ("", None),
        ("nan", None),
        ("inf", None),
        (None, None),
        ({}, None),
        (10**400, None),
    ],
)
def test_numbers(value: Any, number: float | None) -> None:
    """A number may be written as a string; anything else, and what is not finite, counts as absent."""
    found = _read(value)
    assert found.number == number
    assert found.count == (None if number is None else int(number))


def test_members_of_another_type() -> None:
    """A member of an unexpected type counts as absent."""
    named = KORE.read({"a": 1, "b": "x", "i": ""}, _Named, call="c")
    assert (_read(1).text, named.one_of, _read(None).text) == ("", "x", "")
    found = _read([1, {"d": 2}])
    assert (_read("x").items, found.items, [each.raw for each in found.objects]) == (
        (),
        (1, {"d": 2}),
        [{"d": 2}],
    )
    assert (_read({"f": "g"}).inner.f, _read("x").inner, _read("x").inner.raw) == ("g", _Inner(), {})
    moments = [_read(each).moment for each in ("2026-01-02T03:04:05Z", "x", 1)]
    assert (str(moments[0]), *moments[1:]) == ("2026-01-02 03:04:05+00:00", None, None)
    assert (named.any_of, _read(None).anything) == (1, None)


@given(_JSON)
def test_nothing_breaks_reading(value: Any) -> None:
    """Whatever a member holds, nothing raises."""
    found = _read(value)
    assert found.anything == value
    assert isinstance(found.text, str)
    assert all(isinstance(each, str) for each in texts_in(value))
    assert isinstance(text_of(value), str)


@pytest.mark.parametrize("body", [b"", b"<html>", b"[]", b"null", b'"x"', b"\xff"])
def test_answers_that_are_no_object(body: bytes) -> None:
    """The error for an answer that is no object names the call, without its content."""
    with pytest.raises(DecodeError, match=r"runs\.status") as caught:
        object_in(Reply(200, {}, body), "runs.status")
    assert (caught.value.vendor, caught.value.call) == ("agent-platform", "runs.status")


def test_texts_of_outputs() -> None:
    """The texts of an output are its items that are texts, a line each."""
    output = [
        {"type": "text", "content": "one"},
        {"content": "two"},
        {"type": "image", "content": "https://x"},
        {"type": "text", "content": {"a": 1}},
        {"type": "text"},
        "three",
        None,
    ]
    assert texts_in(output) == ["one", "two"]
    assert text_of(tuple(output)) == "one\ntwo"
    assert [text_of(each) for each in (None, "x", {"content": "x"}, 7)] == [""] * 4
    assert json.loads(json.dumps(output)) == output
