"""Names of members: what a field is called in JSON, and where it is found there. Pure."""

from collections.abc import Callable
from functools import lru_cache
from typing import Any, Final, TypeAlias

import attrs
from attrs import field, frozen

from .scalars import is_filled

#: The names on the way from an object to a member, none for the object itself.
Path: TypeAlias = tuple[str, ...]

_PATHS: Final = "json"
_ALWAYS: Final = "json_always"
_EMPTY: Final = "json_empty"
_TEXT_FORM: Final = "json_text_form"
_HERE: Final = "."
#: Names longer than this are not remembered: a server decides how long they are.
_LONGEST: Final = 64
_SEPARATORS: Final = str.maketrans("", "", "-_")


def member(
    *paths: str,
    is_always_written: bool = False,
    may_be_empty: bool = False,
    is_text_form: bool = False,
    **options: Any,
) -> Any:
    """Declare an attrs field that is called something else in JSON than the rule says, or an exception to the rule.

    The first of `paths` that holds a value is read, and the first is written. `"data.appId"` is a member of the
    member `data`, and `"."` the object itself, for members that are a value of their own here. A field that equals
    its default is written if `is_always_written`; a text without a default has to be there, but `may_be_empty`. A
    text in place of the object is read as its member with `is_text_form`. `options` are those of `attrs.field`.
    """
    metadata = {
        _PATHS: paths,
        _ALWAYS: is_always_written,
        _EMPTY: may_be_empty,
        _TEXT_FORM: is_text_form,
    }
    return field(metadata=metadata, **options)


def camel_case(name: str) -> str:
    """Return a name in camel case: `session_id` is `sessionId`."""
    first, *others = name.split("_")
    return first + "".join(each.capitalize() for each in others)


def as_it_is(name: str) -> str:
    """Return the name unchanged."""
    return name


def fold(name: str) -> str:
    """Return a name in the form in which names are compared: without case, hyphens and underscores."""
    return _fold_once(name) if len(name) <= _LONGEST else _fold(name)


def _fold(name: str) -> str:
    return name.translate(_SEPARATORS).lower()


_fold_once: Final = lru_cache(maxsize=4096)(_fold)  # for the names of a vendor, which are few


@frozen
class Naming:
    """The rule of names: `write` returns a field's name in JSON; `compare` the form in which names are compared."""

    write: Callable[[str], str] = as_it_is
    compare: Callable[[str], str] = as_it_is

    def members_of(self, value: Any) -> dict[str, Any]:
        """Return the members of an object by their names to compare; none of what is no object.

        Of two spellings of a name, the first counts that is not null.
        """
        if type(value) is not dict:
            return {}
        if self.compare is as_it_is:
            return dict(value)
        members: dict[str, Any] = {}
        for name, each in value.items():
            if each is not None:
                members.setdefault(self.compare(name), each)
        return members

    def json_name(self, each: "attrs.Attribute[Any]") -> str:
        """Return what a field is called in JSON, for paths and for writing."""
        paths = each.metadata.get(_PATHS)
        return paths[0] if paths else self.write(each.name)

    def key(self, each: "attrs.Attribute[Any]") -> str:
        """Return what a field is called in JSON, in a form to compare."""
        return self.compare(self.json_name(each))

    def paths(self, each: "attrs.Attribute[Any]") -> tuple[Path, ...]:
        """Return where a field may be found, in a form to compare."""
        paths = each.metadata.get(_PATHS) or (self.write(each.name),)
        return tuple(() if path == _HERE else tuple(map(self.compare, path.split("."))) for path in paths)


def is_always_written(each: "attrs.Attribute[Any]") -> bool:
    """Return whether a field is written even if it equals its default."""
    return bool(each.metadata.get(_ALWAYS))


def may_be_empty(each: "attrs.Attribute[Any]") -> bool:
    """Return whether a text that has to be there may be empty."""
    return bool(each.metadata.get(_EMPTY))


def finder(
    naming: Naming, fields: "tuple[attrs.Attribute[Any], ...]", *, raw: str
) -> Callable[[dict[str, Any]], dict[str, Any]]:
    """Return a function that returns the members of an object by their fields' keys, wherever they were found.

    The object as it is becomes the field called `raw`.
    """
    elsewhere = [
        (key, paths, each.type is str)
        for each in fields
        if (paths := naming.paths(each)) != ((key := naming.key(each),),)
    ]
    has_raw = any(each.name == raw for each in fields)

    def find(value: dict[str, Any]) -> dict[str, Any]:
        members = naming.members_of(value)
        for key, paths, is_text in elsewhere:
            for path in paths:
                found = _at(naming, path, value, members)
                if found is not None and (not is_text or is_filled(found)):
                    members[key] = found
                    break
            else:
                members.pop(key, None)
        if has_raw:
            members[raw] = value
        return members

    return find


def _at(naming: Naming, path: Path, value: Any, members: dict[str, Any]) -> Any:
    for depth, name in enumerate(path):
        value = (naming.members_of(value) if depth else members).get(name)
    return value


def text_form_of(naming: Naming, fields: "tuple[attrs.Attribute[Any], ...]") -> str | None:
    """Return the name in JSON of the field that a text in place of the object is; None if there is none."""
    return next((naming.json_name(each) for each in fields if each.metadata.get(_TEXT_FORM)), None)
