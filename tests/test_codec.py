"""Reading and writing JSON, and replies of the wrong shape."""

import math
from codecs import BOM_UTF8
from collections.abc import Callable
from datetime import UTC, datetime, timedelta, timezone
from functools import partial
from types import MappingProxyType
from typing import Any

import pytest
from attrs import field, frozen
from hypothesis import given
from hypothesis import strategies as st

from aioagents import Secret, codec
from aioagents.codec import member
from aioagents.errors import DecodeError
from aioagents.providers.leap import BulkOutput


@frozen
class _Inner:
    name: str
    count: int = 0


@frozen
class _Optional:
    name: str = ""


@frozen
class _Outer:
    run_id: str = member("runId")
    rows: list[_Inner] = field(factory=list)
    ratio: float = 0.0
    flag: bool = False
    note: str | None = None
    extra: Any = None
    nested: _Inner | None = None


def _read(value: Any) -> _Outer:
    return codec.structure(value, _Outer, vendor="leena", call="report.page")


def test_unknown_members_and_missing_optional_ones_do_not_break_a_read() -> None:
    """What is new is ignored, and what is absent takes its default."""
    assert _read({"runId": "r", "news": [1]}) == _Outer("r")


def test_names_of_the_vendor_are_read_into_ours() -> None:
    """A field that has another name in JSON is found under it, and not under ours."""
    assert _read({"runId": "r", "rows": [{"name": "n", "count": 2}], "ratio": 1}).rows == [_Inner("n", 2)]
    with pytest.raises(DecodeError):
        _read({"run_id": "r"})


@pytest.mark.parametrize(
    ("value", "path"),
    [
        ({"runId": 7}, "$.runId"),
        ({"runId": None}, "$.runId"),
        ({"runId": "r", "rows": [{"name": "n"}, {"name": 3}]}, "$.rows[1].name"),
        ({"runId": "r", "rows": [{"name": "n", "count": True}]}, "$.rows[0].count"),
        ({"runId": "r", "rows": [{"name": "n", "count": 1.5}]}, "$.rows[0].count"),
        ({"runId": "r", "rows": 3}, "$.rows"),
        ({"runId": "r", "rows": [[]]}, "$.rows[0]"),
        ({"runId": "r", "ratio": True}, "$.ratio"),
        ({"runId": "r", "ratio": "1"}, "$.ratio"),
        ({"runId": "r", "flag": 1}, "$.flag"),
        ({"runId": "r", "note": 1}, "$.note"),
        ({"runId": "r", "nested": {"name": 3}}, "$.nested.name"),
        ({"runId": "r", "nested": {}}, "$.nested.name"),
        ([], "$"),
        (None, "$"),
        ("text", "$"),
        (3, "$"),
    ],
)
def test_wrong_shapes_are_named_by_their_path(value: Any, path: str) -> None:
    """A wrong shape raises an error that says where in the body it is."""
    with pytest.raises(DecodeError) as caught:
        _read(value)
    assert caught.value.path == path
    assert (caught.value.vendor, caught.value.call) == ("leena", "report.page")
    assert path in str(caught.value)
    assert caught.value.__cause__ is None


@pytest.mark.parametrize("value", [[], "", "name", ["name"], 0, None, False])
def test_what_is_no_object_is_never_an_empty_one(value: Any) -> None:
    """A list or a string in place of an object is a wrong shape, also where every member is optional."""
    with pytest.raises(DecodeError) as caught:
        codec.structure(value, _Optional, vendor="v", call="c")
    assert caught.value.path == "$"


def test_path_begins_where_the_value_was_found() -> None:
    """A value taken out of a larger body is named by its path in that body."""
    with pytest.raises(DecodeError) as caught:
        codec.structure({}, _Inner, vendor="v", call="c", path="$.result.rows[3]")
    assert caught.value.path.startswith("$.result.rows[3]")


def test_errors_do_not_quote_the_body() -> None:
    """The message of a decoding error contains nothing of the body."""
    for action in (
        lambda: _read({"runId": "r", "rows": [{"name": {"secret": "private"}}]}),
        lambda: codec.decode(b'{"secret": "private', vendor="v", call="c"),
        lambda: codec.text_in({"status": ["private"]}, "status", vendor="v", call="c"),
    ):
        with pytest.raises(DecodeError) as caught:
            action()
        shown = f"{caught.value!r} {caught.value.__cause__!r}"
        assert "private" not in shown
        assert caught.value.__suppress_context__ or caught.value.__context__ is None


@pytest.mark.parametrize("body", [b"", b"<html>", b"{", b"\xff\xfe", b"[" * 3000, b'{"a": 1} x'])
def test_what_is_not_json_is_a_decode_error(body: bytes) -> None:
    """A body that is not JSON raises an error that names vendor and call, whatever it is instead."""
    with pytest.raises(DecodeError, match=r"v: the answer to c is not JSON"):
        codec.decode(body, vendor="v", call="c")
    with pytest.raises(ValueError, match="not JSON at character"):
        codec.decode_json(body)


@pytest.mark.parametrize("read", [codec.decode_json, partial(codec.decode, vendor="v", call="c")])
def test_json_after_a_byte_order_mark_is_json(read: Callable[[bytes], Any]) -> None:
    """JSON after one byte order mark is read, and what is not JSON stays so."""
    assert read(BOM_UTF8 + b'{"a": 1}') == {"a": 1}
    assert read(BOM_UTF8 + b"null") is None
    for body in (BOM_UTF8, BOM_UTF8 + b"<html>", BOM_UTF8 * 2 + b"1", b"1" + BOM_UTF8):
        with pytest.raises((ValueError, DecodeError), match="not JSON"):
            read(body)


@given(st.binary())
def test_decoding_never_breaks_otherwise(body: bytes) -> None:
    """Any bytes are either JSON or a decoding error."""
    try:
        value = codec.decode(body, vendor="v", call="c")
    except DecodeError:
        return
    assert codec.decode_json(body) == value


_JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=20,
)


@given(_JSON)
def test_json_round_trip(value: Any) -> None:
    """What is written is read back equal."""
    assert codec.decode_json(codec.encode_json(value)) == value


@given(st.dictionaries(st.sampled_from(["runId", "rows", "ratio", "flag", "note", "extra", "nested"]), _JSON))
def test_any_json_is_read_or_refused(value: Any) -> None:
    """Any JSON is read, or raises a decoding error with a path, and nothing else."""
    try:
        _read(value)
    except DecodeError as error:
        assert error.path.startswith("$")  # noqa: PT017 - either outcome is right


@pytest.mark.parametrize("value", [object(), {1, 2}, {"a": object()}, {1: 2}, 2**70, "\ud800"])
def test_what_json_cannot_hold_is_a_type_error(value: Any) -> None:
    """Writing what JSON cannot hold is refused at the call."""
    with pytest.raises(TypeError, match="not JSON-able"):
        codec.encode_json(value)


def test_objects_are_named() -> None:
    """An argument that has to be a JSON object is named in the error when it is none."""
    assert codec.encode_object(MappingProxyType({"a": 1}), "context") == b'{"a":1}'
    with pytest.raises(TypeError, match="context has to be a mapping with string keys, not list"):
        codec.encode_object([], "context")
    with pytest.raises(TypeError, match="context has to hold JSON-able values"):
        codec.encode_object({"a": object()}, "context")
    with pytest.raises(TypeError, match="context has to hold JSON-able values"):
        codec.encode_object({1: 1}, "context")


@pytest.mark.parametrize("value", [{"a": math.nan}, {"a": [1, {"b": (math.inf,)}]}])
def test_nan_and_infinity_are_refused(value: Any) -> None:
    """NaN and infinity are refused, for which the JSON writer would write null."""
    with pytest.raises(TypeError, match="NaN and infinity"):
        codec.encode_object(value, "context")


def test_values_of_ours_are_written_as_objects() -> None:
    """An output that is a typed value is written member by member; a secret is not written at all."""
    assert codec.encode_json(BulkOutput(csv_url=None, row_count=2)) == b'{"csv_url":null,"row_count":2}'
    with pytest.raises(TypeError):
        codec.encode_json(Secret("hunter2"))


def test_id_in_refuses_what_is_blank() -> None:
    """The text that a run cannot do without is returned as it is; a blank one is an error with its path."""
    assert codec.id_in({"id": " x "}, "id", vendor="v", call="c") == " x "
    for value in ({"id": " "}, {"id": ""}, {"id": 1}, {}):
        with pytest.raises(DecodeError, match="the answer to c has") as caught:
            codec.id_in(value, "id", vendor="v", call="c")
        assert caught.value.path == "$.id"


@pytest.mark.parametrize(
    ("value", "path"), [([], "$"), (None, "$"), ({}, "$.status"), ({"status": 1}, "$.status")]
)
def test_text_in_names_what_is_missing(value: Any, path: str) -> None:
    """The member that a poll needs is there and is a string, or the error has its path."""
    assert codec.text_in({"status": "x"}, "status", vendor="v", call="c") == "x"
    with pytest.raises(DecodeError) as caught:
        codec.text_in(value, "status", vendor="v", call="c")
    assert caught.value.path == path
    with pytest.raises(DecodeError) as caught:
        codec.text_in(value, "status", vendor="v", call="c", path="$.run")
    assert caught.value.path == path.replace("$", "$.run")


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("2026-01-02T03:04:05Z", datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)),
        ("2026-01-02T03:04:05", datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)),
        ("2026-01-02 03:04:05", datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)),
        ("2026-01-02T03:04:05.1Z", datetime(2026, 1, 2, 3, 4, 5, 100_000, tzinfo=UTC)),
        ("2026-01-02T03:04:05.123456", datetime(2026, 1, 2, 3, 4, 5, 123_456, tzinfo=UTC)),
        ("2026-01-02T03:04:05.123456789Z", datetime(2026, 1, 2, 3, 4, 5, 123_456, tzinfo=UTC)),
        ("2026-01-02T05:04:05+02:00", datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)),
        ("2026-01-02", datetime(2026, 1, 2, tzinfo=UTC)),
        ("NA", None),
        ("N/A", None),
        ("", None),
        ("soon", None),
        ("2026-13-01T00:00:00Z", None),
        ("2026-01-02T03:04:05+99:00", None),
        (None, None),
        (1767323045, None),
        ({}, None),
    ],
)
def test_moments_as_vendors_write_them(text: Any, moment: datetime | None) -> None:
    """Zones, none, and any number of digits are read; everything else is None."""
    assert codec.parse_moment(text) == moment


def _nested(depth: int, *, core: Any = 7) -> Any:
    for number in range(depth):
        core = {"inner": core, "none": None} if number % 2 else [core, "é"]
    return core


@pytest.mark.parametrize("depth", [1, 254, 255, 600, 1024])
def test_what_can_be_read_can_be_written(depth: int) -> None:
    """However deep a value is nested that was read, it is written as it was."""
    body = b'["\xc3\xa9",null,true]'
    for number in range(depth - 1):
        body = b'{"inner":' + body + b',"empty":{}}' if number % 2 else b"[" + body + b",[],1.5]"
    assert codec.encode_deep(codec.decode_json(body)) == body


@pytest.mark.parametrize(
    "value",
    [_nested(1025), _nested(300, core={1}), _nested(300, core={1: 2})],
    ids=["deeper", "a set", "a number for a key"],
)
def test_what_could_not_be_read_is_not_written(value: Any) -> None:
    """Deep values are refused where they are not JSON, or too deep to be read again."""
    with pytest.raises(TypeError, match="not JSON-able"):
        codec.encode_deep(value)
    value.append(value) if isinstance(value, list) else value.update(self=value)
    with pytest.raises(TypeError, match="not JSON-able"):
        codec.encode_deep(value)


def test_lone_surrogates_can_be_written() -> None:
    """In keys and strings they become question marks, and NaN becomes null."""
    assert codec.encode_deep({"a\udc00": ["\ud800é", math.nan]}) == '{"a?":["?é",null]}'.encode()


@given(st.text() | st.from_regex(r"\A\d{4}-\d\d-\d\d[T ]\d\d:\d\d(:\d\d(\.\d{0,9})?)?(Z|[+-]\d\d:?\d\d)?\Z"))
def test_moments_never_break(text: str) -> None:
    """Any text returns an aware datetime or None."""
    moment = codec.parse_moment(text)
    assert moment is None or moment.utcoffset() is not None


@given(
    st.datetimes(timezones=st.integers(-1439, 1439).map(lambda minutes: timezone(timedelta(minutes=minutes))))
)
def test_moments_round_trip(moment: datetime) -> None:
    """A datetime in ISO form is read back as the same instant."""
    assert codec.parse_moment(moment.isoformat()) == moment


def test_deep_arguments_are_checked_without_recursion() -> None:
    """An argument that is nested deeper than Python's own bound is written, or refused as too deep."""
    value: Any = 1.5
    for _ in range(250):
        value = [value]
    assert codec.encode_object({"a": value}, "context") == b'{"a":' + b"[" * 250 + b"1.5" + b"]" * 250 + b"}"
    for _ in range(2000):
        value = [value]
    with pytest.raises(TypeError, match="context has to hold JSON-able values"):
        codec.encode_object({"a": value}, "context")


@pytest.mark.parametrize("body", [b"NaN", b'{"text": "\xe9"}', rb'["\ud800"]', b'["a\x01b"]', b"[1e400]"])
def test_files_of_users_are_read_strictly(body: bytes) -> None:
    """What a server may send is refused in a file: what a run is started with is not to be guessed."""
    with pytest.raises(ValueError, match="not JSON at character"):
        codec.decode_json(body)
    codec.decode(body, vendor="v", call="c")
