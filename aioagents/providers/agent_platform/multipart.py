"""Kore Agent Platform: forms with one file, written while they are sent.

`multipart/form-data` as in RFC 7578: the fields first, then the file.
"""

import mimetypes
import secrets
from collections.abc import AsyncIterator, Callable, Mapping
from typing import Final

from attrs import frozen

from ...model import Upload

_END: Final = "\r\n"
_ANY_TYPE: Final = "application/octet-stream"
#: Characters that would end a quoted name, escaped as browsers do.
_QUOTED: Final = str.maketrans({'"': "%22", "\r": "%0D", "\n": "%0A"})


@frozen
class Form:
    """A form ready to be sent: its body, and the headers that describe it."""

    body: Upload
    headers: Mapping[str, str]


def file_form(
    fields: Mapping[str, str],
    file_name: str,
    pieces: Callable[[], AsyncIterator[bytes]],
    *,
    size: int | None,
    is_once: bool = False,
) -> Form:
    """Return a form whose file is called `file`. `pieces` returns its `size` bytes, anew for each attempt."""
    boundary = secrets.token_hex(16)  # in no content, but for a chance of 1 in 2**128
    head = "".join(
        f'--{boundary}{_END}Content-Disposition: form-data; name="{name.translate(_QUOTED)}"{_END}{_END}{value}{_END}'
        for name, value in fields.items()
    )
    kind = mimetypes.guess_type(file_name)[0] or _ANY_TYPE
    head += (
        f'--{boundary}{_END}Content-Disposition: form-data; name="file"; '
        f'filename="{file_name.translate(_QUOTED)}"{_END}Content-Type: {kind}{_END}{_END}'
    )
    before, after = head.encode(), f"{_END}--{boundary}--{_END}".encode()

    async def opened() -> AsyncIterator[bytes]:
        yield before
        async for piece in pieces():
            yield piece
        yield after

    whole = None if size is None else len(before) + size + len(after)
    upload = Upload(open=opened, size=whole, is_once=is_once)
    return Form(upload, {"Content-Type": f"multipart/form-data; boundary={boundary}"})
