"""AGH Runtime: checks of arguments before anything is sent. Pure.

Each raises ValueError, or TypeError for another type, with a message that begins with the member's path in the JSON:
`schedule.interval: ...`. Texts are returned without the white space around them, which the server strips too.
"""

from collections.abc import Callable, Collection
from typing import Any, TypeAlias

#: Returns a checked value. Called with the value and its path.
Check: TypeAlias = Callable[[Any, str], object]


def check_string(value: object, path: str) -> str:
    """Return a stripped text, which may be empty."""
    if not isinstance(value, str):
        raise TypeError(f"{path}: expected a string, not {type(value).__name__}")
    return value.strip()


def check_filled(value: object, path: str) -> str:
    """Return a stripped text that is not empty."""
    text = check_string(value, path)
    if not text:
        raise ValueError(f"{path}: is required, and must not be blank")
    return text


def check_blank(value: object, path: str, why: str) -> None:
    """Raise unless a text is missing or blank."""
    if value is not None and check_string(value, path):
        raise ValueError(f"{path}: has to be left out {why}")


def check_word(value: object, path: str, *, words: Collection[str]) -> str:
    """Return a text that is one of `words`, those that the server knows."""
    text = check_string(value, path)
    if text not in words:
        raise ValueError(f"{path}: expected {' or '.join(words)}, not {text!r}")
    return text


def check_rule(rule: Callable[[str], object], text: str, path: str) -> str:
    """Return a stripped text for which `rule` does not raise ValueError."""
    try:
        rule(text)
    except ValueError as exc:
        raise ValueError(f"{path}: {exc}") from None
    return text.strip()


def check_flag(value: object, path: str) -> bool:
    """Return True or False."""
    if not isinstance(value, bool):
        raise TypeError(f"{path}: expected True or False, not {type(value).__name__}")
    return value


def check_number(value: object, path: str, *, least: int) -> int:
    """Return a whole number, at least `least`."""
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"{path}: expected a whole number, not {type(value).__name__}")
    if value < least:
        raise ValueError(f"{path}: has to be {least} or more, not {value}")
    return value
