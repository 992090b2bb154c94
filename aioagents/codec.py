"""Reads and writes JSON, and reads it into typed values. Pure.

What vendors send is read tolerantly: unknown members are ignored, missing optional ones take their default, and a
malformed date is None. A wrong shape where the shape matters raises a `DecodeError` that names the vendor, the call
and the path in the body, and never contains the body itself.
"""

import math
from codecs import BOM_UTF8
from collections.abc import Iterator, Mapping
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any, Final, TypeVar

import attrs
import orjson
from attrs import field
from cattrs import BaseValidationError, Converter
from cattrs.errors import AttributeValidationNote, IterableValidationNote
from cattrs.gen import make_dict_structure_fn, override

from .errors import DecodeError

T = TypeVar("T")

_NAME: Final = "json"
_MAX_DEPTH: Final = 1024  # JSON that is nested deeper than this is not read
_END: Final = object()


def encode_json(value: Any, *, is_sorted: bool = False) -> bytes:
    """Return `value` as JSON, members sorted if asked. Raises TypeError, naming the type that JSON cannot hold."""
    try:
        return orjson.dumps(value, default=_members_of, option=orjson.OPT_SORT_KEYS if is_sorted else None)
    except orjson.JSONEncodeError as exc:
        raise TypeError(f"not JSON-able: {exc}") from exc


def _members_of(value: Any) -> Any:
    """Return the members of an attrs value."""
    if attrs.has(type(value)):
        return attrs.asdict(value, recurse=False)
    raise TypeError(f"{type(value).__name__} is not JSON")


def encode_deep(value: Any, *, max_depth: int = _MAX_DEPTH) -> bytes:
    """Return what was read from JSON as JSON; it may be nested deeper than `encode_json` accepts.

    Lone surrogates in strings become question marks. Raises TypeError for what JSON cannot hold.
    """
    try:
        return encode_json(value)
    except TypeError:
        return b"".join(_pieces_of(value, max_depth))


def _pieces_of(value: Any, max_depth: int) -> Iterator[bytes]:
    """Yield the parts of the JSON, without recursion."""
    begun: list[Iterator[tuple[bytes, Any]]] = [iter([(b"", value)])]
    while begun:
        for prefix, member_value in begun[-1]:
            yield prefix
            if isinstance(member_value, dict | list | tuple):
                if len(begun) > max_depth:
                    raise TypeError(f"not JSON-able: nested more than {max_depth} deep")
                begun.append(_members_in(member_value))
                break
            if member_value is not _END:
                yield _encode_whole(member_value)
        else:
            begun.pop()


def _members_in(value: Any) -> Iterator[tuple[bytes, Any]]:
    """Yield each member with the text before it, then the end."""
    opens, closes = (b"{", b"}") if isinstance(value, dict) else (b"[", b"]")
    if isinstance(value, dict):
        for key, each in value.items():
            if not isinstance(key, str):
                raise TypeError("not JSON-able: a key is not a string")
            yield opens + _encode_whole(key) + b":", each
            opens = b","
    else:
        for each in value:
            yield opens, each
            opens = b","
    yield closes if opens == b"," else opens + closes, _END


def _encode_whole(value: Any) -> bytes:
    return encode_json(value.encode("utf-8", "replace").decode() if isinstance(value, str) else value)


def encode_object(value: Any, name: str) -> bytes:
    """Return a mapping as a JSON object. Raises TypeError that calls it `name` and says what is accepted."""
    if not isinstance(value, Mapping):
        raise TypeError(f"{name} has to be a mapping with string keys, not {type(value).__name__}")
    message = f"{name} has to hold JSON-able values under string keys"
    try:
        body, is_finite = encode_json(dict(value)), _is_finite(value)
    except TypeError as exc:
        raise TypeError(f"{message}: {exc}") from exc
    if not is_finite:  # orjson writes null for it
        raise TypeError(f"{message}: NaN and infinity are not")
    return body


def encode_around(value: Any, name: str, content: Mapping[str, Any]) -> bytes:
    """Return `content` as JSON, with the user's `value` as its member `name`. Raises TypeError as `encode_object`."""
    if not isinstance(value, Mapping):
        return encode_object(value, name)
    try:
        body = encode_json({**content, name: dict(value)})
    except TypeError:
        encode_object(value, name)  # raises a better message
        raise
    if b"null" in body:
        encode_object(value, name)  # a null may stand for NaN
    return body


def _is_finite(value: Any) -> bool:
    if isinstance(value, float):
        return math.isfinite(value)
    if isinstance(value, Mapping):
        return all(map(_is_finite, value.values()))
    return not isinstance(value, list | tuple) or all(map(_is_finite, value))


def decode_json(body: bytes) -> Any:
    """Return what JSON holds, also after a byte order mark. Raises ValueError, whose message contains no body."""
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError as exc:
        if body.startswith(BOM_UTF8):
            with suppress(orjson.JSONDecodeError):
                return orjson.loads(body[len(BOM_UTF8) :])
        raise ValueError(f"not JSON at character {exc.pos}") from None


def parse_moment(text: Any) -> datetime | None:
    """Return a date-time as vendors write it: `Z`, an offset or no zone (then UTC is assumed), 0 to 9 digits.

    Return None for anything else, `NA` and None included: callers keep the raw text as well.
    """
    if not isinstance(text, str):
        return None
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return None
    if moment.tzinfo is not None:
        return moment
    try:
        zoned = datetime.fromisoformat(f"{text}+00:00")  # a fifth of what replace() costs
    except ValueError:
        zoned = moment
    return zoned if zoned.tzinfo is not None else moment.replace(tzinfo=UTC)  # a date alone has no zone


def member(name: str, **options: Any) -> Any:
    """Declare an attrs field that is called `name` in JSON."""
    return field(metadata={_NAME: name}, **options)


def decode(body: bytes, *, vendor: str, call: str) -> Any:
    """Return what the JSON of a reply holds. Raises DecodeError."""
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError as exc:
        with suppress(ValueError):
            return decode_json(body)  # after a byte order mark
        raise DecodeError(
            f"{vendor}: the answer to {call} is not JSON (character {exc.pos} of {len(body)} bytes)",
            vendor=vendor,
            call=call,
        ) from None


def text_in(value: Any, name: str, *, vendor: str, call: str, path: str = "$") -> str:
    """Return a member of an object, which has to be a string. Raises DecodeError.

    Replies to polls are read with this, since they are nine tenths of all replies and need no more. `path` says where
    in the body the object was found.
    """
    text = value.get(name) if isinstance(value, dict) else None
    if isinstance(text, str):
        return text
    path = f"{path}.{name}" if isinstance(value, dict) else path
    message = f"{vendor}: the answer to {call} has the wrong shape at {path}"
    raise DecodeError(message, vendor=vendor, call=call, path=path)


def structure(value: Any, shape: type[T], *, vendor: str, call: str, path: str = "$") -> T:
    """Return decoded JSON as a `shape`. Raises DecodeError. `path` says where in the body `value` was found."""
    try:
        return _FAST.structure(value, shape)
    except Exception:  # noqa: BLE001 - any error of a hook means a wrong shape, reported below
        path += _path_of_fault(value, shape)
    # From None: the message of the original error may quote the body.
    raise DecodeError(
        f"{vendor}: the answer to {call} has the wrong shape at {path}", vendor=vendor, call=call, path=path
    ) from None


def _path_of_fault(value: Any, shape: type) -> str:
    """Read once more, slowly, to find the path where the shape is wrong."""
    try:
        _SLOW.structure(value, shape)
    except BaseValidationError as exc:
        return _path_in(exc, shape)
    except Exception:  # noqa: BLE001 - the fault lies in the value as a whole
        return ""
    return ""


def _path_in(error: BaseException, shape: Any) -> str:
    if not isinstance(error, BaseValidationError):
        return ""
    inner = error.exceptions[0]
    for note in getattr(inner, "__notes__", ()):
        if isinstance(note, AttributeValidationNote):
            return f".{_json_name(shape, note.name)}" + _path_in(inner, note.type)
        if isinstance(note, IterableValidationNote):
            return f"[{note.index}]" + _path_in(inner, note.type)
    return _path_in(inner, shape)


def _json_name(shape: Any, attribute: str) -> str:
    if not attrs.has(shape):
        return attribute
    named = attrs.fields_dict(shape).get(attribute)
    return attribute if named is None else named.metadata.get(_NAME, attribute)


def _only(kind: type) -> Any:
    def check(value: Any, _: Any) -> Any:
        if type(value) is not kind:
            raise TypeError(f"expected {kind.__name__}")
        return value

    return check


def _number(value: Any, _: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError("expected a number")
    return float(value)


def _converter(*, detailed: bool) -> Converter:
    converter = Converter(detailed_validation=detailed, prefer_attrib_converters=True)

    def read_class(shape: type) -> Any:
        names: dict[str, Any] = {
            each.name: override(rename=each.metadata[_NAME])
            for each in attrs.fields(shape)
            if _NAME in each.metadata
        }
        read: Any = make_dict_structure_fn(shape, converter, _cattrs_prefer_attrib_converters=True, **names)

        def read_object(value: Any, kind: Any) -> Any:
            # Without this, a list or a string would be read as an object without members.
            if type(value) is not dict:
                raise TypeError("expected an object")
            return read(value, kind)

        return read_object

    converter.register_structure_hook_factory(attrs.has, read_class)
    for kind in (str, int, bool):
        converter.register_structure_hook(kind, _only(kind))
    converter.register_structure_hook(float, _number)
    return converter


_FAST: Final = _converter(detailed=False)
_SLOW: Final = _converter(detailed=True)
