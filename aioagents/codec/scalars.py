"""How the single values of JSON are read: texts, numbers, booleans, moments. Pure."""

import math
from collections.abc import Callable
from datetime import datetime
from typing import Any, TypeAlias

from cattrs import Converter

from .text import parse_moment

#: Returns a value of JSON as the type that it is declared as. Raises an exception of any kind.
Hook: TypeAlias = Callable[[Any, Any], Any]


def register_scalars(converter: Converter, *, is_loose: bool) -> None:
    """Register how texts, numbers, booleans and moments are read; with `is_loose` from strings too."""
    hooks: dict[Any, Hook] = {
        str: _only(str),
        bool: _loose_flag if is_loose else _only(bool),
        int: _loose_count if is_loose else _only(int),
        float: _loose_number if is_loose else _number,
        datetime: _moment,
    }
    for kind, hook in hooks.items():
        converter.register_structure_hook(kind, hook)


def is_filled(value: Any) -> bool:
    """Return whether a value is a text with a character."""
    return type(value) is str and bool(value)


def filled_text(value: Any, _: Any) -> str:
    """Return a text with a character. Raises TypeError."""
    if type(value) is not str or not value:
        raise TypeError("expected a text")
    return value


def required_text(value: Any, _: Any) -> str:
    """Return a text with a character that is no blank. Raises TypeError."""
    if type(value) is not str or not value.strip():
        raise TypeError("expected a text")
    return value


def _only(kind: type) -> Hook:
    def check(value: Any, wanted: Any) -> Any:
        if type(value) is not kind:
            raise TypeError(f"expected {kind.__name__}")
        return value if wanted is kind else wanted(value)  # a word of an enumeration

    return check


def _number(value: Any, _: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError("expected a number")
    return float(value)


def _loose_flag(value: Any, _: Any) -> bool:
    if isinstance(value, bool):
        return value
    word = value.strip().lower()
    if word not in {"true", "false"}:
        raise ValueError("expected a boolean")
    return bool(word == "true")


def _loose_number(value: Any, _: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise TypeError("expected a number")
    number = float(value)
    if not math.isfinite(number):
        raise ValueError("expected a finite number")
    return number


def _loose_count(value: Any, kind: Any) -> int:
    return int(_loose_number(value, kind))


def _moment(value: Any, _: Any) -> datetime:
    moment = parse_moment(value)
    if moment is None:
        raise ValueError("expected a moment")
    return moment
