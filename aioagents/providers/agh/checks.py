"""AGH Runtime: checks of what is to be sent, made before it is. Pure.

Each raises ValueError, or TypeError for what is of another kind, and its message begins with the member's path
as it stands on the wire: `schedule.interval: ...`. Texts are given back without the white space around them,
which the server takes off as well.
"""

from collections.abc import Collection, Iterator, Mapping
from typing import Final, TypeVar

T = TypeVar("T")

_KEPT: Final = "null leaves it alone on the server; leave it out"


def check_string(value: object, path: str) -> str:
    """Return a text, which may be empty."""
    if not isinstance(value, str):
        raise TypeError(f"{path}: expected a string, not {type(value).__name__}")
    return value.strip()


def check_filled(value: object, path: str) -> str:
    """Return a text with something in it."""
    text = check_string(value, path)
    if not text:
        raise ValueError(f"{path}: has to be there, and not blank")
    return text


def check_blank(value: object, path: str, why: str) -> None:
    """See that a text is not there, or blank."""
    if value is not None and check_string(value, path):
        raise ValueError(f"{path}: has to be left out {why}")


def check_word(value: object, words: Collection[str], path: str) -> str:
    """Return one of the words that the server knows."""
    text = check_string(value, path)
    if text not in words:
        raise ValueError(f"{path}: expected {' or '.join(words)}, not {text!r}")
    return text


def check_flag(value: object, path: str) -> bool:
    """Return True or False."""
    if not isinstance(value, bool):
        raise TypeError(f"{path}: expected True or False, not {type(value).__name__}")
    return value


def check_number(value: object, path: str, *, least: int) -> int:
    """Return a whole number that is not below `least`."""
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"{path}: expected a whole number, not {type(value).__name__}")
    if value < least:
        raise ValueError(f"{path}: has to be {least} or more, not {value}")
    return value


def check_given(changes: Mapping[str, object], names: Collection[str]) -> Iterator[tuple[str, object]]:
    """Return the members of a change, which has at least one, each with a value."""
    if not changes:
        raise ValueError(f"there is nothing to change; give at least one of {', '.join(names)}")
    for name, value in changes.items():
        if name == "scope":
            raise ValueError("scope: cannot be changed; make a new one")
        if name not in names:
            raise TypeError(f"{name}: is no member that can be changed; there are {', '.join(names)}")
        if value is None:
            raise ValueError(f"{name}: {_KEPT}")
        yield name, value


def check_members(value: object, kind: type[T], names: Collection[str], path: str) -> T | dict[str, object]:
    """Return a value of ours, or the members of a mapping, all of which have to be known."""
    if isinstance(value, kind):
        return value
    if not isinstance(value, Mapping):
        raise TypeError(f"{path}: expected {kind.__name__} or a mapping, not {type(value).__name__}")
    for name in value:
        if name not in names:
            raise ValueError(f"{path}.{name}: is no member; there are {', '.join(names)}")
    return dict(value)
