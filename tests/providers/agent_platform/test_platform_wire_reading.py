"""Tolerant reading of answers: names in any spelling, booleans and numbers as strings, odd members."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aioagents import DecodeError
from aioagents.model import Reply
from aioagents.providers.agent_platform import text_of
from aioagents.providers.agent_platform.reading import Fields, fold, object_in
from aioagents.providers.agent_platform.values import texts_in

_JSON = st.recursive(
    st.none() | st.booleans() | st.floats(allow_nan=False) | st.integers() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


@pytest.mark.parametrize(
    "name", ["dockStatusId", "dock-statusId", "dockstatusId", "dock_status_id", "DOCKSTATUSID"]
)
def test_names_in_any_spelling(name: str) -> None:
    """Names are equal without case, hyphens and underscores."""
    assert Fields({name: "ds-1"}).text("dockStatusId") == "ds-1"
    assert fold(name) == "dockstatusid"


def test_first_of_two_spellings() -> None:
    """Of two spellings of a member, the first one that is not null counts."""
    assert Fields({"fileName": None, "filename": "b", "file_name": "c"}).text("fileName") == "b"


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
    assert Fields({"success": value}).flag("success") is flag


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
    found = Fields({"n": value})
    assert found.number("n") == number
    assert found.count("n") == (None if number is None else int(number))


def test_members_of_another_type() -> None:
    """A member of an unexpected type counts as absent."""
    found = Fields(
        {"a": 1, "b": "x", "c": [1, {"d": 2}], "e": {"f": "g"}, "h": "2026-01-02T03:04:05Z", "i": ""}
    )
    assert (found.text("a"), found.text("i", "b"), found.text("none")) == ("", "x", "")
    assert (found.items("b"), found.items("c"), [each.raw for each in found.objects("c")]) == (
        (),
        (1, {"d": 2}),
        [{"d": 2}],
    )
    assert (found.inner("e").text("f"), bool(found.inner("b")), bool(found.inner("e"))) == ("g", False, True)
    assert (str(found.moment("h")), found.moment("b"), found.moment("a")) == (
        "2026-01-02 03:04:05+00:00",
        None,
        None,
    )
    assert (found.get("none", "a"), found.get("none")) == (1, None)
    assert Fields([1]).raw == {}


@given(_JSON)
def test_nothing_breaks_reading(value: Any) -> None:
    """Whatever a member holds, no method raises."""
    found = Fields({"m": value})
    for ask in (
        found.text,
        found.flag,
        found.number,
        found.count,
        found.moment,
        found.inner,
        found.items,
        found.get,
    ):
        ask("m")
    list(found.objects("m"))
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
