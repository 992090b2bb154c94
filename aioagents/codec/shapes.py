"""Converts JSON into attrs values, and these into JSON, by rule. Pure.

The rule of a vendor is its `Codec`. A wrong shape raises a `DecodeError` that names the vendor, the call and the path
in the body, and never contains the body itself.
"""

from collections.abc import Callable, Mapping
from contextlib import suppress
from datetime import datetime
from functools import cache, cached_property
from types import NoneType
from typing import Any, Final, TypeVar, get_args, get_origin

import attrs
from attrs import field, frozen
from cattrs import BaseValidationError, Converter
from cattrs.cols import list_structure_factory
from cattrs.errors import AttributeValidationNote, IterableValidationNote
from cattrs.gen import make_dict_structure_fn, make_dict_unstructure_fn, override

from ..errors import DecodeError
from ..model import Reply
from .naming import (
    Naming,
    as_it_is,
    camel_case,
    finder,
    fold,
    is_always_written,
    may_be_empty,
    text_form_of,
)
from .scalars import Hook, filled_text, register_scalars, required_text
from .text import decode, parse_moment

T = TypeVar("T")

#: The field that keeps an object as received.
_RAW: Final = "raw"


@frozen(slots=False, eq=False)
class _Rule:
    """What a converter depends on, and the converters, which are made when they are first needed."""

    is_camel: bool = False
    is_loose: bool = False
    is_strict: bool = False

    @cached_property
    def naming(self) -> Naming:
        return Naming(
            write=camel_case if self.is_camel else as_it_is, compare=fold if self.is_loose else as_it_is
        )

    @cached_property
    def converter(self) -> Converter:
        return _converter(self, is_detailed=False)

    @cached_property
    def detailed_converter(self) -> Converter:
        return _converter(self, is_detailed=True)

    def read(self, value: Any, shape: type[T], vendor: str, call: str, path: str) -> T:
        hook: Callable[[Any, Any], T] = self.converter.get_structure_hook(shape)
        try:
            return hook(value, shape)
        except Exception:  # noqa: BLE001 - any error of a hook means a wrong shape, reported below
            path += self._path_of_fault(value, shape)
        raise _wrong(vendor, call, path) from None  # the message of the original error may quote the body

    def _path_of_fault(self, value: Any, shape: type) -> str:
        """Read once more, slowly, to find the path where the shape is wrong."""
        try:
            self.detailed_converter.structure(value, shape)
        except BaseValidationError as exc:
            return _path_in(exc, shape, self.naming)
        except Exception:  # noqa: BLE001 - the fault lies in the value as a whole
            return ""
        return ""


_rule: Final = cache(_Rule)
_STRICT: Final = _rule(is_strict=True)


@frozen
class Codec:
    """How a vendor's JSON objects are read as attrs values, and written: by rule, which each class only names.

    A field is called as in JSON, or in camel case there with `is_camel`; `member` declares exceptions. A field `raw`
    keeps the object as received, unknown members included. A field without a default has to be there, and a text
    without one has to hold more than blanks, or the error has its path. Any other field is never a fault: it takes
    its default if it is null, an empty text for a field of type `str`, or of another type; items of an array and
    values of a map that cannot be read are left out. Moments are read as by `parse_moment`. With `is_loose`, names
    are compared without case, hyphens and underscores, numbers and booleans may be written as strings, and fractions
    are cut to integers. No class may contain itself.

    When a value is written, fields that equal their default are left out, and so is `raw`.
    """

    vendor: str
    is_camel: bool = False
    is_loose: bool = False
    _rule: _Rule = field(init=False, repr=False, eq=False)

    @_rule.default
    def _find_rule(self) -> _Rule:
        return _rule(is_camel=self.is_camel, is_loose=self.is_loose)

    def read(self, value: Any, shape: type[T], *, call: str, path: str = "$") -> T:
        """Return decoded JSON as a `shape`. Raises DecodeError. `path` says where in the body `value` was found."""
        return self._rule.read(value, shape, self.vendor, call, path)

    def reader(self, shape: type[T]) -> Callable[[Reply, str], T]:
        """Return a function that reads the whole body of the reply to a call. It raises DecodeError."""

        def read(reply: Reply, call: str) -> T:
            return self.read(decode(reply.body, vendor=self.vendor, call=call), shape, call=call)

        return read

    def write(self, value: Any) -> dict[str, Any]:
        """Return an attrs value as a JSON object, without what is absent."""
        written: dict[str, Any] = self._rule.converter.unstructure(value)
        return written

    def wrong(self, call: str, path: str) -> DecodeError:
        """Return the error for an answer that has the wrong shape at `path`."""
        return _wrong(self.vendor, call, path)


def structure(value: Any, shape: type[T], *, vendor: str, call: str, path: str = "$") -> T:
    """Return decoded JSON as a `shape`, strictly: only an absent member takes its default. Raises DecodeError.

    `path` says where in the body `value` was found.
    """
    return _STRICT.read(value, shape, vendor, call, path)


def _wrong(vendor: str, call: str, path: str) -> DecodeError:
    message = f"{vendor}: the answer to {call} has the wrong shape at {path}"
    return DecodeError(message, vendor=vendor, call=call, path=path)


def _path_in(error: BaseException, shape: Any, naming: Naming) -> str:
    if not isinstance(error, BaseValidationError):
        return ""
    inner = error.exceptions[0]
    for note in getattr(inner, "__notes__", ()):
        if isinstance(note, AttributeValidationNote):
            # A value that may be null has a type of several alternatives, of which one is a class.
            kind = next(each for each in (shape, *get_args(shape)) if attrs.has(each))
            named = attrs.fields_dict(kind)[note.name]
            return f".{naming.json_name(named)}" + _path_in(inner, note.type, naming)
        if isinstance(note, IterableValidationNote):
            return f"[{note.index}]" + _path_in(inner, note.type, naming)
    return _path_in(inner, shape, naming)


def _converter(rule: _Rule, *, is_detailed: bool) -> Converter:
    converter = Converter(detailed_validation=is_detailed, prefer_attrib_converters=True)
    register_scalars(converter, is_loose=rule.is_loose)

    def read_class(shape: type) -> Hook:
        return _class_reader(converter, rule, shape)

    def write_class(shape: type) -> Callable[[Any], dict[str, Any]]:
        return _class_writer(converter, rule.naming, shape)

    converter.register_structure_hook_factory(attrs.has, read_class)
    converter.register_unstructure_hook_factory(attrs.has, write_class)
    converter.register_structure_hook_factory(_is_array, lambda shape: _array_reader(converter, shape))
    converter.register_unstructure_hook_factory(_is_array, lambda shape: _array_writer(converter, shape))
    converter.register_unstructure_hook(datetime, datetime.isoformat)
    return converter


def _class_writer(converter: Converter, naming: Naming, shape: type) -> Callable[[Any], dict[str, Any]]:
    names: dict[str, Any] = {
        each.name: override(
            rename=naming.json_name(each),
            omit=each.name == _RAW,
            omit_if_default=not is_always_written(each),
        )
        for each in attrs.fields(attrs.resolve_types(shape))
    }
    return make_dict_unstructure_fn(shape, converter, **names)


def _class_reader(converter: Converter, rule: _Rule, shape: type) -> Hook:
    fields, naming = attrs.fields(attrs.resolve_types(shape)), rule.naming
    names: dict[str, Any] = {
        each.name: override(
            rename=naming.key(each),
            struct_hook=None if rule.is_strict else _field_reader(converter, each),
        )
        for each in fields
    }
    read: Any = make_dict_structure_fn(shape, converter, _cattrs_prefer_attrib_converters=True, **names)
    find, text_form = finder(naming, fields, raw=_RAW), text_form_of(naming, fields)

    def read_object(value: Any, kind: Any) -> Any:
        if type(value) is str and text_form is not None:
            return read({**find({text_form: value}), _RAW: value}, kind)
        # Without this, a list or a string would be read as an object without members.
        if type(value) is not dict:
            raise TypeError("expected an object")
        return read(value if rule.is_strict else find(value), kind)

    return read_object


def _field_reader(converter: Converter, each: "attrs.Attribute[Any]") -> Hook:
    """Return how a field is read: faults where it has no default, else the default."""
    if each.name == _RAW:
        return lambda value, _: value
    default = each.default
    if default is attrs.NOTHING:
        if each.type is str and not may_be_empty(each):
            return required_text
        read = converter.get_structure_hook(each.type)
        return _not_null(read) if each.type is Any or NoneType in get_args(each.type) else read
    # Most members are these two: one call each, no exception.
    if each.type is str and default == "":
        return lambda value, _: value if type(value) is str else ""
    if each.type == datetime | None and default is None:
        return lambda value, _: parse_moment(value)
    read = _tolerant_reader(converter, each.type)
    make = getattr(default, "factory", None)

    def read_or_default(value: Any, kind: Any) -> Any:
        try:
            if value is not None:
                return read(value, kind)
        except Exception:  # noqa: BLE001, S110 - any error of a hook means a wrong shape
            pass
        return default if make is None else make()

    return read_or_default


def _not_null(read: Hook) -> Hook:
    def read_value(value: Any, kind: Any) -> Any:
        if value is None:
            raise TypeError("expected a value")
        return read(value, kind)

    return read_value


def _tolerant_reader(converter: Converter, kind: Any) -> Hook:
    """Return how a value is read of which parts may be left out: the items of an array, the members of a map."""
    arguments, origin = get_args(kind), get_origin(kind)
    if origin is Mapping:
        return _map_reader(converter, arguments[1])
    if kind is str:
        return filled_text
    if not _is_array(kind):
        return converter.get_structure_hook(kind)
    item = arguments[0]
    read_item = converter.get_structure_hook(item)

    def read_items(value: Any, _: Any) -> Any:
        if type(value) is not list:
            raise TypeError("expected an array")
        read = []
        for each in value:
            with suppress(Exception):
                read.append(read_item(each, item))
        return origin(read)

    return read_items


def _map_reader(converter: Converter, kind: Any) -> Hook:
    read_value = None if kind is Any else converter.get_structure_hook(kind)

    def read_map(value: Any, _: Any) -> Any:
        if type(value) is not dict:
            raise TypeError("expected an object")
        if read_value is None:
            return value
        read = {}
        for name, each in value.items():
            with suppress(Exception):
                read[name] = read_value(each, kind)
        return read

    return read_map


def _is_array(kind: Any) -> bool:
    arguments = get_args(kind)
    return get_origin(kind) is list or (get_origin(kind) is tuple and arguments[1:] == (...,))


def _array_reader(converter: Converter, kind: Any) -> Hook:
    """Return how an array is read of which no item may be left out."""
    make, item = get_origin(kind), get_args(kind)[0]
    read = list_structure_factory(list[item], converter)  # type: ignore[valid-type]

    def read_array(value: Any, _: Any) -> Any:
        if type(value) is not list:
            raise TypeError("expected an array")
        return make(read(value, list[item]))  # type: ignore[valid-type]

    return read_array


def _array_writer(converter: Converter, kind: Any) -> Callable[[Any], list[Any]]:
    write = converter.get_unstructure_hook(get_args(kind)[0])
    return lambda value: [write(each) for each in value]
