"""Files to upload, read a piece at a time, and the forms that carry them.

A file is given by its path, as bytes, or as a stream. Forms are `multipart/form-data` as in RFC 7578: the fields
first, then the file; they are written while they are sent.
"""

import mimetypes
import secrets
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from os import PathLike, fspath
from pathlib import Path, PurePath
from stat import S_ISREG
from typing import IO, Any, Final, Protocol, TypeAlias

import anyio
from anyio.to_thread import run_sync
from attrs import field, frozen

from ..model import Upload
from .settings import check_text

#: Bytes that are read at a time.
PIECE: Final = 256 * 1024


class Readable(Protocol):
    """A file that is open for reading bytes."""

    def read(self, size: int, /) -> bytes:
        """Return at most `size` bytes, none at the end."""
        ...


#: What can be uploaded: the path of a file, bytes, an asynchronous iterator of bytes, an open file.
Uploadable: TypeAlias = (
    "str | PathLike[str] | bytes | bytearray | memoryview | AsyncIterator[bytes] | Readable"
)

#: Called with the number of bytes sent and the total.
Progress: TypeAlias = Callable[[int, int], object]
#: Called with a start and a length, returns that part of a file; all from the start on if the length is None.
Opener: TypeAlias = Callable[[int, int | None], AsyncIterator[bytes]]


@frozen(kw_only=True)
class UploadSource:
    """A file to upload. If its `size` is not known, it is None, and the file can be opened only once."""

    name: str
    size: int | None
    open: Opener = field(repr=False)

    @property
    def is_once(self) -> bool:
        """Return whether it can be read only once."""
        return self.size is None

    @property
    def extension(self) -> str:
        """Return the extension of the name, without its dot. Raises ValueError if there is none."""
        extension = PurePath(self.name).suffix.removeprefix(".")
        if not extension:
            raise ValueError(f"file_name: the vendor needs an extension, and {self.name!r} has none")
        return extension


@asynccontextmanager
async def open_upload(
    what: Uploadable, file_name: str | None, *, is_spooled: bool = False
) -> AsyncIterator[UploadSource]:
    """Return a context manager that yields a source to read from.

    A stream is read once, while it is sent; with `is_spooled` it is first written to a temporary file, which has a
    size and can be read again. Raises ValueError, TypeError, or OSError for a file that cannot be read.
    """
    if file_name is not None:
        check_text(file_name, "file_name")
    if isinstance(what, str | PathLike):
        path = Path(fspath(what))
        yield UploadSource(name=file_name or path.name, size=await _size_of(path), open=_from_path(path))
        return
    if file_name is None:
        raise ValueError("file_name: is needed unless the file is given by its path")
    if isinstance(what, bytes | bytearray | memoryview):
        data = bytes(what)
        yield UploadSource(name=file_name, size=len(data), open=_from_bytes(data))
        return
    pieces = _pieces(what)
    if not is_spooled:
        yield UploadSource(name=file_name, size=None, open=lambda _start, _length: pieces)
        return
    with tempfile.TemporaryFile() as file:
        size = await _spool(pieces, file)
        yield UploadSource(name=file_name, size=size, open=_from_file(file))


async def _size_of(path: Path) -> int:
    found = await anyio.Path(path).stat()
    if not S_ISREG(found.st_mode):
        raise ValueError(f"{path.name!r} is no regular file; upload its content as a stream")
    return found.st_size


def _pieces(what: Any) -> AsyncIterator[bytes]:
    if hasattr(what, "__aiter__"):
        pieces: AsyncIterator[bytes] = what.__aiter__()
        return pieces
    if callable(getattr(what, "read", None)):
        return _read(lambda size: run_sync(what.read, size), None)
    raise TypeError(
        "expected a path, bytes, an asynchronous iterator of bytes, or a file opened for reading, "
        f"not {type(what).__name__}"
    )


async def _spool(pieces: AsyncIterator[bytes], file: IO[bytes]) -> int:
    size = 0
    async for piece in pieces:
        if not isinstance(piece, bytes | bytearray | memoryview):
            raise TypeError(f"a stream that is uploaded yields bytes, not {type(piece).__name__}")
        size += await run_sync(file.write, piece)
    await run_sync(file.flush)
    return size


def _from_path(path: Path) -> Opener:
    async def open_(start: int, length: int | None) -> AsyncIterator[bytes]:
        async with await anyio.open_file(path, "rb") as file:
            await file.seek(start)
            async for piece in _read(file.read, length):
                yield piece

    return open_


def _from_file(file: IO[bytes]) -> Opener:
    async def open_(start: int, length: int | None) -> AsyncIterator[bytes]:
        await run_sync(file.seek, start)
        async for piece in _read(lambda size: run_sync(file.read, size), length):
            yield piece

    return open_


def _from_bytes(data: bytes) -> Opener:
    async def open_(start: int, length: int | None) -> AsyncIterator[bytes]:
        end = len(data) if length is None else start + length
        for at in range(start, end, PIECE):
            yield data[at : min(at + PIECE, end)]

    return open_


async def _read(read: Callable[[int], Awaitable[bytes]], length: int | None) -> AsyncIterator[bytes]:
    """Yield `length` bytes, or all up to the end; fewer if the file is shorter, which the form's length reveals."""
    left = length
    while left is None or left > 0:
        piece = await read(PIECE if left is None else min(PIECE, left))
        if not piece:
            return
        if left is not None:
            left -= len(piece)
        yield piece


_END: Final = "\r\n"
_ANY_TYPE: Final = "application/octet-stream"
#: Characters that would end a quoted name, escaped as browsers do.
_QUOTED: Final = str.maketrans({'"': "%22", "\r": "%0D", "\n": "%0A"})


class ProgressReporter:
    """Reports the progress of an upload, which never decreases: bytes sent again were counted before."""

    def __init__(self, progress: Progress | None, size: int) -> None:
        self._progress = progress
        self._size = size
        self._reported = -1

    def report(self, sent: int) -> None:
        """Report that `sent` bytes were sent, unless as many were reported before."""
        if self._progress is not None and sent > self._reported:
            self._reported = sent
            self._progress(sent, self._size)

    def reporting(self, source: UploadSource, start: int, length: int) -> Callable[[], AsyncIterator[bytes]]:
        """Return an opener of a part of a source, which reports each piece when the next one is requested."""

        async def pieces() -> AsyncIterator[bytes]:
            sent = start
            self.report(sent)
            async for piece in source.open(start, length):
                yield piece
                sent += len(piece)
                self.report(sent)

        return pieces


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
