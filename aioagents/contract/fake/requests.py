"""What a request of a fake server's client holds: its key, its query and its JSON; what is wrong is refused. Pure."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Final, TypeVar
from urllib.parse import urlsplit

from attrs import frozen

from .routes import Call, Refused

T = TypeVar("T")

_NAMES: Final[Mapping[type, str]] = {
    str: "a string",
    bool: "a boolean",
    int: "an integer",
    dict: "an object",
    list: "an array",
}


def has_key(call: Call, key: str, *, header: str = "Authorization", prefix: str = "Bearer") -> bool:
    """Return whether a call carries this key, as a bearer token or in another header, after another prefix."""
    wanted = f"{prefix} {key}" if prefix[-1:].isalnum() else f"{prefix}{key}"
    return call.header(header.lower()) == wanted


def read_count(call: Call, name: str, default: int, *, low: int = 0, high: int = 999_999_999) -> int:
    """Read a whole number from the query, `default` if it is absent. Raises `Refused`."""
    text = call.query.get(name)
    if text is None:
        return default
    if not (text.isascii() and text.isdecimal()) or not low <= int(text) <= high:
        raise Refused(400, f"{name} has to be a whole number from {low} to {high}")
    return int(text)


@contextmanager
def refusing(status: int) -> Iterator[None]:
    """Raise `Refused`, with this status and the same text, in place of a ValueError."""
    try:
        yield
    except ValueError as exc:
        raise Refused(status, str(exc)) from None


def read_json(call: Call) -> Any:
    """Read the body as JSON, whatever its content type. Raises `Refused`."""
    try:
        return call.json()
    except ValueError as exc:
        raise Refused(400, str(exc)) from None


def read_object(call: Call, *, content_type: str = "application/json") -> "JsonObject":
    """Read a JSON object; an empty `content_type` permits any. Raises `Refused`."""
    kind = (call.header("content-type") or "").partition(";")[0].strip().lower()
    if content_type and kind != content_type:
        raise Refused(400, f"the content type has to be {content_type}")
    body = read_json(call)
    if not isinstance(body, dict):
        raise Refused(400, "the body has to be an object")
    return JsonObject(body)


@frozen
class JsonObject:
    """One JSON object of a request. Null counts as absent; a member of the wrong type is refused with 400."""

    values: Mapping[str, Any]
    path: str = ""

    def get(self, name: str, kind: type[T]) -> T | None:
        """Return a member, or None if it is absent. Raises `Refused`, as all methods do."""
        value = self.values.get(name)
        if value is None:
            return None
        if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
            raise self.invalid(name, f"be {_NAMES[kind]}")
        return value

    def require(self, name: str, kind: type[T]) -> T:
        """Return a required member; a string must not be empty."""
        value = self.get(name, kind)
        if value is None or value == "":
            raise self.invalid(name, "be there")
        return value

    def choice(self, name: str, options: Sequence[str], *, is_needed: bool = False) -> str | None:
        """Return a string that is one of the options."""
        value = self.require(name, str) if is_needed else self.get(name, str)
        if value is not None and value not in options:
            raise self.invalid(name, f"be one of {', '.join(options)}")
        return value

    def url(self, name: str) -> str | None:
        """Return an http or https URL, whose port may be impossible."""
        value = self.get(name, str)
        if value is not None and not _is_url(value):
            raise self.invalid(name, "be a URL")
        return value

    def check_range(self, name: str, low: float, high: float, *, is_whole: bool, is_needed: bool) -> None:
        """Raise `Refused` for a number that is out of range."""
        value: Any = self.values.get(name)
        if value is None and not is_needed:
            return
        is_number = isinstance(value, int if is_whole else int | float) and not isinstance(value, bool)
        if not is_number or not low <= value <= high:
            raise self.invalid(name, f"be {'an integer' if is_whole else 'a number'} from {low} to {high}")

    def object(self, name: str) -> "JsonObject":
        """Return an object; an empty one if it is absent."""
        return JsonObject(self.get(name, dict) or {}, f"{self.path}{name}.")

    def objects(self, name: str) -> "list[JsonObject]":
        """Return the objects of an array; an empty list if it is absent."""
        values = self.get(name, list) or []
        if not all(isinstance(value, dict) for value in values):
            raise self.invalid(name, "hold objects")
        return [JsonObject(value, f"{self.path}{name}[{index}].") for index, value in enumerate(values)]

    def strings(self, name: str) -> list[str]:
        """Return the strings of an array; an empty list if it is absent."""
        values = self.get(name, list) or []
        if not all(isinstance(value, str) for value in values):
            raise self.invalid(name, "hold strings")
        return values

    def invalid(self, name: str, text: str) -> Refused:
        """Return the refusal of a member, which has to `text`."""
        return Refused(400, f"{self.path}{name} has to {text}")


def _is_url(text: str) -> bool:
    try:
        parts = urlsplit(text)
    except ValueError:
        return False
    return parts.scheme in ("http", "https") and bool(parts.hostname)
