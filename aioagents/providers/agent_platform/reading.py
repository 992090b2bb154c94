"""Kore Agent Platform: tolerant reading of its answers. Pure.

Its pages disagree about the names of members (`fileName`, `filename`; `dockStatusId`, `dock-statusId`,
`dockstatusId`; `sessionId`, `session_id`), and sometimes write booleans and numbers as strings. So names are compared
without case, hyphens and underscores, and a value of an unexpected type counts as absent.
"""

import math
from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any, Final

from ... import codec
from ...codec import parse_moment
from ...errors import DecodeError
from ...model import Reply
from .settings import VENDOR

_FOLDED: Final = str.maketrans("", "", "-_")


def fold(name: str) -> str:
    """Return a name in the form in which names are compared."""
    return name.translate(_FOLDED).lower()


class Fields:
    """The members of one object, by any spelling of their names. `raw` is the object as received."""

    __slots__ = ("_members", "raw")

    def __init__(self, raw: Any) -> None:
        self.raw: Mapping[str, Any] = raw if isinstance(raw, dict) else {}
        self._members: dict[str, Any] = {}
        for name, value in self.raw.items():
            if self._members.get(fold(name)) is None:
                self._members[fold(name)] = value

    def __bool__(self) -> bool:
        return bool(self.raw)

    def get(self, *names: str) -> Any:
        """Return the first of these members that is not null; None if there is none."""
        for name in names:
            value = self._members.get(fold(name))
            if value is not None:
                return value
        return None

    def text(self, *names: str) -> str:
        """Return the first of these strings that is not empty; an empty one if there is none."""
        for name in names:
            value = self._members.get(fold(name))
            if isinstance(value, str) and value:
                return value
        return ""

    def flag(self, *names: str) -> bool | None:
        """Return a boolean, which may be written as a string; None if there is none."""
        return read_flag(self.get(*names))

    def number(self, *names: str) -> float | None:
        """Return a number, which may be written as a string; None if there is none."""
        value = self.get(*names)
        if isinstance(value, bool) or not isinstance(value, int | float | str):
            return None
        try:
            number = float(value)
        except (ValueError, OverflowError):
            return None
        return number if math.isfinite(number) else None

    def count(self, *names: str) -> int | None:
        """Return a number cut to an integer; None if there is none."""
        value = self.number(*names)
        return None if value is None else int(value)

    def moment(self, *names: str) -> datetime | None:
        """Return a date-time; None if there is none that can be parsed."""
        return parse_moment(self.get(*names))

    def inner(self, *names: str) -> "Fields":
        """Return an object inside this one; an empty one if there is none."""
        return Fields(self.get(*names))

    def items(self, *names: str) -> tuple[Any, ...]:
        """Return the items of an array; no items if there is none."""
        value = self.get(*names)
        return tuple(value) if isinstance(value, list) else ()

    def objects(self, *names: str) -> Iterator["Fields"]:
        """Return the objects of an array, without other items."""
        return (Fields(each) for each in self.items(*names) if isinstance(each, dict))


def read_flag(value: Any) -> bool | None:
    """Return a boolean, which may be written as a string; None for anything else."""
    if isinstance(value, bool):
        return value
    if isinstance(value, str) and (word := value.strip().lower()) in {"true", "false"}:
        return word == "true"
    return None


def object_in(reply: Reply, call: str) -> dict[str, Any]:
    """Return the JSON object that is the body of an answer. Raises DecodeError."""
    raw = codec.decode(reply.body, vendor=VENDOR, call=call)
    if not isinstance(raw, dict):
        raise wrong(call, "$")
    return raw


def wrong(call: str, path: str) -> DecodeError:
    """Return the error for an answer that has the wrong shape at `path`."""
    message = f"{VENDOR}: the answer to {call} has the wrong shape at {path}"
    return DecodeError(message, vendor=VENDOR, call=call, path=path)
