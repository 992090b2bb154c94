"""Request bodies: JSON objects and forms, read member by member; invalid ones are refused. Pure."""

from collections.abc import Mapping, Sequence
from email.message import Message
from typing import Any, Final, TypeVar

from attrs import frozen

from ....contract.fake import Call, Refused

T = TypeVar("T")

_NAMES: Final[Mapping[type, str]] = {
    str: "a string",
    bool: "a boolean",
    int: "an integer",
    dict: "an object",
    list: "an array",
}


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


def read_object(call: Call) -> JsonObject:
    """Read a JSON object, whose content type has to be `application/json`. Raises `Refused`."""
    if _content_type(call).get_content_type() != "application/json":
        raise Refused(400, "the content type has to be application/json")
    return read_any_object(call)


def read_any_object(call: Call) -> JsonObject:
    """Read a JSON object, whatever its content type. Raises `Refused`."""
    try:
        body = call.json()
    except ValueError as exc:
        raise Refused(400, str(exc)) from None
    if not isinstance(body, dict):
        raise Refused(400, "the body has to be an object")
    return JsonObject(body)


@frozen
class FormFile:
    """The file of a form. Its content is a view of the request's body."""

    name: str
    content_type: str
    content: memoryview

    @property
    def extension(self) -> str:
        """Return what follows the name's last dot."""
        return self.name.rpartition(".")[2].lower()


@frozen
class Form:
    """A form: its text fields by name, and its one file, called `file`."""

    texts: Mapping[str, str]
    file: FormFile

    def require(self, name: str) -> str:
        """Return a required text field. Raises `Refused`."""
        text = self.texts.get(name)
        if not text:
            raise Refused(400, f"{name} has to be there")
        return text


def read_form(call: Call) -> Form:
    """Read a form with a file. The body is not copied. Raises `Refused`."""
    kind = _content_type(call)
    boundary = kind.get_param("boundary")
    if kind.get_content_type() != "multipart/form-data" or not isinstance(boundary, str) or not boundary:
        raise Refused(400, "the content type has to be multipart/form-data with a boundary")
    texts: dict[str, str] = {}
    found: FormFile | None = None
    for head, content in _parts(call.request.body or b"", b"--" + boundary.encode()):
        name = head.get_param("name", header="content-disposition")
        if head.get_content_disposition() != "form-data" or not isinstance(name, str):
            raise Refused(400, "a part of the form has no name")
        file_name = head.get_filename()
        if file_name is None:
            texts[name] = bytes(content).decode(errors="replace")
        elif name != "file" or found is not None:
            raise Refused(400, "the form has to have one file, called file")
        else:
            found = FormFile(file_name, head.get_content_type(), content)
    if found is None:
        raise Refused(400, "file has to be there")
    return Form(texts, found)


def _parts(body: bytes, delimiter: bytes) -> list[tuple[Message, memoryview]]:
    """Split the body of a form at its delimiters, as in RFC 2046, section 5.1.1."""
    view, parts = memoryview(body), []
    begin = 0 if body.startswith(delimiter) else body.find(b"\r\n" + delimiter) + 2
    if not body.startswith(delimiter, begin):
        raise Refused(400, "the form does not begin")
    while not body.startswith(b"--", begin + len(delimiter)):
        begin = body.find(b"\r\n", begin) + 2
        end = body.find(b"\r\n" + delimiter, begin - 2)
        # Searched from the end of the delimiter's line on: a part without headers begins with an empty line.
        middle = body.find(b"\r\n\r\n", begin - 2)
        if end < 0 or not 0 <= middle <= end:
            raise Refused(400, "the form does not end")
        parts.append((_head(body[begin:middle]), view[middle + 4 : end]))
        begin = end + 2
    return parts


def _head(lines: bytes) -> Message:
    head = Message()
    for line in lines.decode(errors="replace").split("\r\n"):
        name, _, value = line.partition(":")
        head[name.strip()] = value.strip()
    return head


def _content_type(call: Call) -> Message:
    head = Message()
    head["content-type"] = call.header("content-type") or "text/plain"
    return head
