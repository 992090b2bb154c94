"""Request bodies that are forms with a file; invalid ones are refused. Pure."""

from collections.abc import Mapping
from email.message import Message

from attrs import frozen

from ....contract.fake import Call, Refused


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
