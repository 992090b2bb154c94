"""Reads and writes JSON as text. Pure.

Errors name the vendor and the call, and never contain the body.
"""

import math
from codecs import BOM_UTF8
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any, Final

import attrs
import orjson

from ..errors import DecodeError
from .tolerant import MAX_DEPTH, has_long_integer, read_tolerant

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


def encode_deep(value: Any, *, max_depth: int = MAX_DEPTH) -> bytes:
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
    if type(value) is int:  # of any size
        return b"%d" % value
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
    values = [value]
    while values:
        value = values.pop()
        if isinstance(value, float):
            if not math.isfinite(value):
                return False
        elif isinstance(value, Mapping):
            values += value.values()
        elif isinstance(value, list | tuple):
            values += value
    return True


def decode_json(body: bytes) -> Any:
    """Return what JSON holds, also after a byte order mark. Raises ValueError, whose message contains no body."""
    try:
        return orjson.loads(body.removeprefix(BOM_UTF8))
    except orjson.JSONDecodeError as exc:
        raise ValueError(f"not JSON at character {exc.pos}") from None


def decode_tolerant(body: bytes) -> Any:
    """Return what JSON of a server holds, which need not be strict JSON: see `read_tolerant`.

    Raises ValueError, whose message contains no body.
    """
    try:
        value = orjson.loads(body)
    except orjson.JSONDecodeError:
        pass
    else:
        if not has_long_integer(body):
            return value
    return read_tolerant(body)


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


def decode(body: bytes, *, vendor: str, call: str) -> Any:
    """Return what the JSON of a reply holds, as `decode_tolerant` does. Raises DecodeError."""
    try:
        return decode_tolerant(body)
    except ValueError as exc:
        reason = str(exc)
    message = f"{vendor}: the answer to {call} is {reason} of {len(body)} bytes"
    raise DecodeError(message, vendor=vendor, call=call)


def check_id(found: Any, wanted: str, *, vendor: str, call: str, path: str) -> None:
    """Raise DecodeError if an answer names another thing than the one that was asked for: it is somebody else's.

    An answer that names nothing at `path` may be the right one.
    """
    if found != wanted and isinstance(found, str) and found:
        raise DecodeError(
            f"{vendor}: the answer to {call} is about another id, at {path}",
            vendor=vendor,
            call=call,
            path=path,
        )


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


def id_in(value: Any, name: str, *, vendor: str, call: str) -> str:
    """Return a member of an object that a run cannot do without: a string that is not blank. Raises DecodeError."""
    text = text_in(value, name, vendor=vendor, call=call)
    if text.strip():
        return text
    message = f"{vendor}: the answer to {call} has no text at $.{name}"
    raise DecodeError(message, vendor=vendor, call=call, path=f"$.{name}")
