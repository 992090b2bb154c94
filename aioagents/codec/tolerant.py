"""Reads JSON that a strict reader refuses, as some vendors' servers write it. Pure.

Slow, in comparison: it is asked only where the strict reader raised, or would lose digits.
"""

import re
from json import detect_encoding
from json.decoder import scanstring  # type: ignore[attr-defined]  # typeshed lacks it
from typing import Any, Final

#: Arrays and objects are read to this depth; what lies deeper is kept as its text.
MAX_DEPTH: Final = 1024
_GUARDS: Final = (")]}',", ")]}'", "while(1);", "for(;;);")  # against being run as a script
_SPACE: Final = re.compile(r"[ \t\n\r]*")
_NUMBER: Final = re.compile(r"-?(?:0|[1-9]\d*)(\.\d+)?([eE][-+]?\d+)?", re.ASCII)
_WORDS: Final = {
    "true": True,
    "false": False,
    "null": None,
    "NaN": float("nan"),
    "Infinity": float("inf"),
    "-Infinity": float("-inf"),
}
_WORD: Final = re.compile("|".join(map(re.escape, _WORDS)))
# Digits become zeros, and all else becomes spaces: so a long number is found without reading each byte in Python.
_DIGITS: Final = bytes(0x30 if 0x30 <= byte <= 0x39 else 0x20 for byte in range(256))  # noqa: PLR2004 - "0" to "9"
_LONG: Final = b"0" * 19
_LONG_INTEGER: Final = re.compile(rb"(?:^|[:\[,\s])-?[0-9]{19}")
_NOT_BRACKETS: Final = re.compile(r'[^"\[\]{}]*')


def has_long_integer(body: bytes) -> bool:
    """Return whether JSON may hold an integer of more than 64 bits, which a strict reader reads as a float."""
    return _LONG in body.translate(_DIGITS) and _LONG_INTEGER.search(body) is not None


def read_tolerant(body: bytes) -> Any:
    """Return what JSON holds, in UTF-8, -16 or -32 or else Latin-1, with or without a byte order mark.

    It may hold NaN, infinities, numbers of any size (integers whole, others as the nearest float), control
    characters and lone surrogates in strings, arrays and objects of any depth, and a guard against scripts in front.
    Raises ValueError, whose message contains no body, for anything else.
    """
    text = _text_of(body)
    for guard in _GUARDS:
        text = text.removeprefix(guard)
    value, end = _Reading(text).read()
    if _skip(text, end) != len(text):
        raise ValueError(f"not JSON at character {end}")
    return value


def _text_of(body: bytes) -> str:
    try:
        return body.decode(detect_encoding(body), "surrogatepass")
    except UnicodeDecodeError:
        return body.decode("latin-1")


def _skip(text: str, at: int) -> int:
    """Return where the next character that is no space is."""
    match = _SPACE.match(text, at)
    return at if match is None else match.end()


class _Reading:
    """One text that is being read, without recursion."""

    def __init__(self, text: str) -> None:
        self._text = text
        #: Arrays and objects that are open, and the name of the member that each one waits for.
        self._open: list[tuple[list[Any] | dict[str, Any], str]] = []

    def read(self) -> tuple[Any, int]:
        """Return the first value, and where it ends."""
        text = self._text
        at = _skip(text, 0)
        while True:
            value: Any
            if text.startswith(("[", "{"), at):
                if len(self._open) >= MAX_DEPTH:
                    end = _end_of_nested(text, at)
                    value, at = text[at:end], end
                else:
                    opened: list[Any] | dict[str, Any] = [] if text[at] == "[" else {}
                    inside = _skip(text, at + 1)
                    if not text.startswith("]" if text[at] == "[" else "}", inside):
                        at, name = (inside, "") if isinstance(opened, list) else self._name_at(inside)
                        self._open.append((opened, name))
                        continue
                    value, at = opened, inside + 1
            else:
                value, at = self._scalar_at(at)
            done, value, at = self._add(value, at)
            if done:
                return value, at

    def _add(self, value: Any, at: int) -> tuple[bool, Any, int]:
        """Add a value to the innermost open array or object, and close those that end behind it.

        Return whether all are closed, the outermost value, and where to go on.
        """
        text = self._text
        while self._open:
            holder, name = self._open[-1]
            if isinstance(holder, list):
                holder.append(value)
            else:
                holder[name] = value
            at = _skip(text, at)
            if text.startswith(",", at):
                at = _skip(text, at + 1)
                if isinstance(holder, dict):
                    at, name = self._name_at(at)
                    self._open[-1] = (holder, name)
                return False, None, at
            if not text.startswith("]" if isinstance(holder, list) else "}", at):
                raise ValueError(f"not JSON at character {at}")
            self._open.pop()
            value, at = holder, at + 1
        return True, value, at

    def _name_at(self, at: int) -> tuple[int, str]:
        """Return where the value of a member begins, and the member's name."""
        name, end = self._string_at(at)
        end = _skip(self._text, end)
        if not self._text.startswith(":", end):
            raise ValueError(f"not JSON at character {end}")
        return _skip(self._text, end + 1), name

    def _string_at(self, at: int) -> tuple[str, int]:
        if not self._text.startswith('"', at):
            raise ValueError(f"not JSON at character {at}")
        try:
            text, end = scanstring(self._text, at + 1, False)  # noqa: FBT003 - not strict: control characters
        except ValueError:  # its message is long, and its attributes hold the whole text
            raise ValueError(f"not JSON at character {at}") from None
        return text, end

    def _scalar_at(self, at: int) -> tuple[Any, int]:
        if self._text.startswith('"', at):
            return self._string_at(at)
        word = _WORD.match(self._text, at)
        if word is not None:
            return _WORDS[word.group()], word.end()
        number = _NUMBER.match(self._text, at)
        if number is None:
            raise ValueError(f"not JSON at character {at}")
        return _number(number), number.end()


def _number(match: re.Match[str]) -> int | float:
    """Return an integer as it is, and any other number as the nearest float, which may be infinite."""
    if match.group(1) is None and match.group(2) is None:
        try:
            return int(match.group())
        except ValueError:  # too long for Python's bound
            pass
    return float(match.group())


def _end_of_nested(text: str, at: int) -> int:
    """Return where an array or object ends. What is inside is not checked further."""
    depth = 0
    while True:
        match = _NOT_BRACKETS.match(text, at)
        at = at if match is None else match.end()
        if at >= len(text):
            raise ValueError(f"not JSON at character {at}")
        if text[at] == '"':
            try:
                _, at = scanstring(text, at + 1, False)  # noqa: FBT003 - as above
            except ValueError:
                raise ValueError(f"not JSON at character {at}") from None
            continue
        depth += 1 if text[at] in "[{" else -1
        at += 1
        if depth == 0:
            return at
