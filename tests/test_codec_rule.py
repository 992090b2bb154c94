"""Values read from JSON and written as JSON by the rule of a vendor."""

import tracemalloc
from collections.abc import Mapping
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

import attrs
import pytest
from attrs import field, frozen
from cattrs import StructureHandlerNotFoundError
from hypothesis import given
from hypothesis import strategies as st

from aioagents.codec import Codec, decode_json, encode_json, member
from aioagents.codec.naming import fold
from aioagents.errors import DecodeError
from aioagents.model import Reply


class _Color(StrEnum):
    RED = "red"
    BLUE = "blue"


@frozen(kw_only=True)
class _Part:
    part_id: str
    size: int = 0
    raw: Mapping[str, Any] = field(factory=dict, repr=False, eq=False)


@frozen(kw_only=True)
class _Limits:
    most: int | None = member("limits.mostFiles", "limits.most", default=None)
    kinds: tuple[str, ...] = member("fileKinds", default=())


@frozen(kw_only=True)
class _Thing:
    thing_id: str
    status: str = member(may_be_empty=True, default="none")
    owner_name: str = member("ownedBy", "creator.name", default="")
    is_open: bool = False
    is_known: bool | None = None
    count: int | None = None
    ratio: float | None = None
    color: _Color | None = None
    created_at: datetime | None = None
    part: _Part | None = None
    parts: tuple[_Part, ...] = ()
    later: "tuple[_Late, ...]" = ()
    labels: Mapping[str, str] = field(factory=dict)
    extra: Mapping[str, Any] = field(factory=dict)
    anything: Any = None
    limits: _Limits = member(".", factory=_Limits)
    raw: Mapping[str, Any] = field(factory=dict, repr=False, eq=False)


@frozen(kw_only=True)
class _Late:
    name: str = ""


@frozen(kw_only=True)
class _Page:
    things: tuple[_Thing, ...]
    listed: list[int] = field(factory=list)


@frozen(kw_only=True)
class _Words:
    status: str = member(may_be_empty=True)
    name: str


_SNAKE = Codec("v")
_CAMEL = Codec("v", is_camel=True)
_LOOSE = Codec("v", is_camel=True, is_loose=True)


def _loose(**members: Any) -> _Thing:
    return _LOOSE.read({"thingId": "t", **members}, _Thing, call="c")


def test_names_by_rule() -> None:
    """A member has its field's name, or the same in camel case; loosely, any spelling of it."""
    assert _SNAKE.read({"thing_id": "a"}, _Thing, call="c").thing_id == "a"
    assert _CAMEL.read({"thingId": "a", "isOpen": True}, _Thing, call="c").is_open
    for name in ("thing_id", "thing-id", "ThingID", "thingid"):
        assert _LOOSE.read({name: "a"}, _Thing, call="c").thing_id == "a"
    for codec in (_SNAKE, _CAMEL):
        with pytest.raises(DecodeError):
            codec.read({"thing-id": "a"}, _Thing, call="c")


def test_long_names_are_not_remembered() -> None:
    """Long names are compared as others are, and take no memory afterwards: a server decides how many come."""
    names = [f"Long_{'x' * 100_000}{number}" for number in range(100)]
    tracemalloc.start()
    try:
        for name in names:
            assert fold(name) == name.replace("_", "").lower()
            _LOOSE.read({"thing-id": "a", name: 1}, _Late, call="c")
        held, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert held < 1_000_000


def test_raw_keeps_the_object() -> None:
    """Unknown members are kept in `raw`, of inner objects too, and a member of that name is only there."""
    body = {"thing_id": "a", "news": 1, "raw": 2, "part": {"part_id": "p", "x": None}}
    found = _SNAKE.read(body, _Thing, call="c")
    assert found.raw is body
    assert found.part is not None
    assert found.part.raw == {"part_id": "p", "x": None}


@pytest.mark.parametrize(
    ("body", "path"),
    [
        ({}, "$.thingId"),
        ({"thingId": 7}, "$.thingId"),
        ({"thingId": ""}, "$.thingId"),
        ({"thingId": " "}, "$.thingId"),
        ({"thingId": None}, "$.thingId"),
        ([], "$"),
        (None, "$"),
        ("thingId", "$"),
    ],
)
@pytest.mark.parametrize("codec", [_CAMEL, _LOOSE])
def test_what_has_to_be_there(codec: Codec, body: Any, path: str) -> None:
    """A field without a default that cannot be read is a fault with its path, and without the body."""
    with pytest.raises(DecodeError) as caught:
        codec.read(body, _Thing, call="c", path="$")
    assert (caught.value.path, caught.value.vendor, caught.value.call) == (path, "v", "c")
    assert caught.value.__suppress_context__


@frozen(kw_only=True)
class _Deep:
    part: _Part | None
    labels: Mapping[str, _Part]


@pytest.mark.parametrize(
    ("body", "path"),
    [
        ({"part": {}, "labels": {}}, "$.part.partId"),
        ({"part": 1, "labels": {}}, "$.part"),
        ({"part": {"partId": "a"}, "labels": 1}, "$.labels"),
        ({"part": {"partId": "a"}, "labels": {"b": {"size": 1}}}, "$.labels"),
    ],
)
def test_paths_of_inner_faults(body: Any, path: str) -> None:
    """A fault inside a value that may be null, or in a map, is named by its path as far as it is known."""
    with pytest.raises(DecodeError) as caught:
        _LOOSE.read(body, _Deep, call="c")
    assert caught.value.path.startswith(path)


@pytest.mark.parametrize(
    ("body", "path"),
    [
        ({}, "$.things"),
        ({"things": {}}, "$.things"),
        ({"things": "abc"}, "$.things"),
        ({"things": [{"thingId": "a"}, {"x": 1}]}, "$.things[1].thingId"),
        ({"things": [{"thingId": "a"}, 3]}, "$.things[1]"),
    ],
)
def test_arrays_that_have_to_be_there(body: Any, path: str) -> None:
    """No item of an array without a default may be left out."""
    with pytest.raises(DecodeError) as caught:
        _LOOSE.read(body, _Page, call="c")
    assert caught.value.path == path


def test_texts_that_may_be_empty() -> None:
    """A text that has to be there may be empty if that is declared, but not of another type."""
    assert _SNAKE.read({"status": "", "name": "n"}, _Words, call="c").status == ""
    for body in ({"name": "n"}, {"status": 1, "name": "n"}, {"status": "", "name": ""}):
        with pytest.raises(DecodeError):
            _SNAKE.read(body, _Words, call="c")


@pytest.mark.parametrize("odd", [None, 7, -1.5, "x", True, [], [1], {}, {"a": 1}])
@pytest.mark.parametrize(
    "name",
    ["status", "ownedBy", "isOpen", "isKnown", "count", "ratio", "color", "createdAt", "part", "later"],
)
@pytest.mark.parametrize("codec", [_CAMEL, _LOOSE])
def test_members_of_another_type_count_as_absent(codec: Codec, name: str, odd: Any) -> None:
    """A member with a default is never a fault, and is of its field's type, whatever was there."""
    found = codec.read({"thingId": "t", name: odd}, _Thing, call="c")
    assert isinstance(found.status, str)
    assert isinstance(found.is_open, bool)
    assert found.created_at is None
    assert found.color is None
    assert found.part is None
    assert all(isinstance(each, _Late) for each in found.later)
    assert found.count is None or type(found.count) is int
    assert found.ratio is None or type(found.ratio) is float
    assert found.status == (odd if name == "status" and isinstance(odd, str) else "none")


def test_parts_that_cannot_be_read_are_left_out() -> None:
    """Items of an array and values of a map that cannot be read are left out; others stay in order."""
    found = _loose(
        parts=[{"partId": "p"}, 1, None, {"size": 2}, {"partId": "q", "size": "3"}],
        labels={"a": "b", "c": 1, "d": "", "e": None},
        extra={"a": None, "b": [1]},
    )
    assert found.parts == (_Part(part_id="p"), _Part(part_id="q", size=3))
    assert found.labels == {"a": "b", "d": ""}
    assert found.extra == {"a": None, "b": [1]}
    assert _LOOSE.read({"things": [], "listed": [1, "x", 2]}, _Page, call="c").listed == [1, 2]


def test_words_and_moments() -> None:
    """Words of an enumeration and moments are read as such; a new word counts as absent."""
    found = _loose(color="red", createdAt="2026-01-02T03:04:05Z", anything="")
    assert (found.color, found.anything) == (_Color.RED, "")
    assert found.created_at == datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
    assert _loose(color="green").color is None


@pytest.mark.parametrize(
    ("value", "flag", "number"),
    [
        ("true", True, None),
        (" False", False, None),
        ("7.5", None, 7.5),
        ("nan", None, None),
        (10**400, None, None),
        (1, None, 1.0),
        (True, True, None),
    ],
)
def test_values_written_as_strings(value: Any, flag: bool | None, number: float | None) -> None:
    """Loosely, booleans and numbers may be written as strings, and fractions are cut off; otherwise not."""
    found = _loose(isKnown=value, ratio=value, count=value)
    assert (found.is_known, found.ratio) == (flag, number)
    assert found.count == (None if number is None else int(number))
    body = {"thing_id": "t", "is_known": value, "ratio": value, "count": value}
    strict = _SNAKE.read(body, _Thing, call="c")
    if isinstance(value, str):
        assert (strict.is_known, strict.ratio, strict.count) == (None, None, None)


def test_members_found_elsewhere() -> None:
    """A field is found at the first of its paths that holds a value, in inner objects too."""
    assert _loose(owned_by="o", creator={"name": "c"}).owner_name == "o"
    for nothing in (None, "", 7):
        assert _loose(ownedBy=nothing, creator={"Name": "c"}).owner_name == "c"
    assert _loose(ownedBy="", creator="c").owner_name == ""
    found = _loose(limits={"most": "4"}, fileKinds=["pdf", 1]).limits
    assert found == _Limits(most=4, kinds=("pdf",))
    assert _loose().limits == _Limits()


@frozen(kw_only=True)
class _Happening:
    kind: str = member("type", is_text_form=True, default="")
    raw: Any = field(default=None, eq=False)


@frozen(kw_only=True)
class _Log:
    happenings: tuple[_Happening, ...] = ()


def test_texts_in_place_of_objects() -> None:
    """A text is read as an object that has one member, where a class declares it, and `raw` is the text."""
    found = _LOOSE.read({"happenings": ["a", {"type": "b"}, 3]}, _Log, call="c").happenings
    assert [(each.kind, each.raw) for each in found] == [("a", "a"), ("b", {"type": "b"})]


def test_first_of_two_spellings() -> None:
    """Of two spellings of a member, the first one that is not null counts."""
    assert _loose(is_open=None, isOpen=True, IsOpen=False).is_open


def test_whole_replies_are_read() -> None:
    """A reader of a shape reads the body of a reply, and refuses what is no JSON."""
    read = _CAMEL.reader(_Thing)
    assert read(Reply(200, {}, b'{"thingId":"t"}'), "c").thing_id == "t"
    with pytest.raises(DecodeError, match="v: the answer to c is not JSON"):
        read(Reply(200, {}, b"<html>"), "c")


@frozen(kw_only=True)
class _Optimized:
    type: str = member("optimizationType", is_always_written=True, default="")
    weight_kind: str = ""


@frozen(kw_only=True)
class _Written:
    top_p: float
    kind: _Color = _Color.RED
    stop_words: tuple[str, ...] = ()
    max_tokens: int | None = None
    at: datetime | None = None
    inner: _Optimized | None = None
    others: tuple[_Optimized, ...] = ()
    raw: Mapping[str, Any] = field(factory=dict)


def test_values_are_written_by_the_same_rule() -> None:
    """Names follow the rule, moments are text, and what equals its default is left out unless declared."""
    plain = _Written(top_p=0.5, raw={"a": 1})
    assert _SNAKE.write(plain) == {"top_p": 0.5}
    whole = _Written(
        top_p=1,
        kind=_Color.BLUE,
        stop_words=("a",),
        max_tokens=0,
        at=datetime(2026, 1, 2, tzinfo=UTC),
        inner=_Optimized(),
        others=(_Optimized(type="x", weight_kind="y"),),
    )
    assert _CAMEL.write(whole) == {
        "topP": 1,
        "kind": "blue",
        "stopWords": ["a"],
        "maxTokens": 0,
        "at": "2026-01-02T00:00:00+00:00",
        "inner": {"optimizationType": ""},
        "others": [{"optimizationType": "x", "weightKind": "y"}],
    }
    sent = decode_json(encode_json(_CAMEL.write(whole)))
    assert _CAMEL.read(sent, _Written, call="c") == attrs.evolve(whole, raw=sent)


@frozen
class _Odd:
    odd: object


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=6),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=3), inner, max_size=2),
    max_leaves=6,
)
_MEMBERS = st.sampled_from(
    [
        "status",
        "ownedBy",
        "creator",
        "isOpen",
        "count",
        "ratio",
        "part",
        "parts",
        "labels",
        "limits",
        "fileKinds",
    ]
)


def test_shapes_that_no_rule_reads_are_errors_of_the_program() -> None:
    """A class with a field of a type that the rule does not know raises its own error, and no decoding error."""
    with pytest.raises(StructureHandlerNotFoundError):
        _SNAKE.read({"odd": 1}, _Odd, call="c")


@given(st.dictionaries(_MEMBERS, _JSON, max_size=4))
def test_nothing_breaks_reading(body: dict[str, Any]) -> None:
    """Whatever the members with defaults hold, the value is read."""
    found = _loose(**body)
    assert found.thing_id == "t"
    assert found.raw == {"thingId": "t", **body}


@given(_JSON)
def test_any_json_is_read_or_refused(value: Any) -> None:
    """Any JSON is read, or is a fault with a path, and nothing else."""
    try:
        _LOOSE.read({"things": [value]}, _Page, call="c")
    except DecodeError as error:
        assert error.path.startswith("$.things[0]")  # noqa: PT017 - either outcome is right


@frozen(kw_only=True)
class _Nullable:
    part: _Part | None
    anything: Any = None


@pytest.mark.parametrize("codec", [_SNAKE, _CAMEL, _LOOSE])
def test_null_is_no_value(codec: Codec) -> None:
    """Null is a fault where a value has to be there, also where the type admits None, and elsewhere the default."""
    with pytest.raises(DecodeError) as caught:
        codec.read({"part": None}, _Nullable, call="c")
    assert caught.value.path == "$.part"
    assert codec.read({"thing_id": "t", "thingId": "t", "status": None}, _Thing, call="c").status == "none"
