"""Kore Agent Platform: files of the account, uploaded in one call or in chunks."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final

import attrs
from attrs import field, frozen

from ...codec import member
from ...contract import (
    Progress,
    ProgressReporter,
    Uploadable,
    UploadSource,
    check_text,
    file_form,
    open_upload,
    path_segment,
)
from ...errors import Conflict
from ...model import Reply, Request
from ...tracebacks import hides_locals
from .calls import Calls
from .wire import KORE, check_whole, form_request, request

#: Bytes that are uploaded in one call at most: 25 MB, read as the smaller of its two meanings (section 7).
ONE_CALL: Final = 25_000_000
#: Default size of a chunk in bytes. The vendor documents no bounds.
CHUNK: Final = 10_000_000

_SESSIONS: Final = "/files/session"


@frozen(kw_only=True)
class UploadedFile:
    """A file of the account. Other calls name it by its `file_id`; its `url` holds a signature."""

    file_id: str
    url: str = member("url", "fileURL", default="", repr=False)
    file_name: str = ""
    size: int = 0
    raw: Mapping[str, Any] = field(factory=dict, repr=False, eq=False)


@frozen(kw_only=True)
class UploadSession:
    """An upload in chunks that was started. Only those of models have a `model_id`."""

    id: str = member("sessionId")
    expires_at: datetime | None = member("expirationDate", default=None)
    model_id: str = ""


class Files:
    """The files of an account, available as `AgentPlatform.files`. Methods raise and retry as in `Attachments`."""

    def __init__(self, calls: Calls) -> None:
        self._calls = calls
        self._chunks = Chunks(calls)

    @hides_locals
    async def upload(
        self,
        file: Uploadable,
        *,
        context: str = "bulkImport",
        file_name: str | None = None,
        progress: Progress | None = None,
        chunk_bytes: int = CHUNK,
    ) -> UploadedFile:
        """Upload a file: a path, bytes, a stream or an open file. Everything but a path needs a `file_name`.

        Up to 25,000,000 bytes are sent in one call, more in chunks of `chunk_bytes`, one after the other, each
        retried by itself. Only a small piece is in memory at a time; a stream is written to a temporary file first,
        since the platform needs its size. `progress` is called with the bytes sent so far, which never decrease, and
        the size. An upload that fails has to be started anew; the platform expires the incomplete one. Raises
        `NotFound` also if the reply to the last step was lost and its retry found the upload completed; OSError for a
        file that cannot be read. Agent Platform API, section 7.
        """
        check_text(context, "context")
        check_chunk(chunk_bytes)
        self._calls.ensure_usable()  # before a stream is read in vain
        async with open_upload(file, file_name, is_spooled=True) as source:
            size, reporter = source.size or 0, ProgressReporter(progress, source.size or 0)
            if size <= ONE_CALL:
                pieces = reporter.reporting(source, 0, size)
                form = file_form({"fileContext": context}, source.name, pieces, size=size)
                upload = form_request(f"{self._calls.url}/files", "files.upload", form)
            else:
                session = await self._chunks.send(source, context, chunk_bytes, reporter)
                upload = request(self._calls.url + self._chunks.completion(session), "files.complete")
            found = await self._calls.call(upload, _read_file)
            reporter.report(size)
        return attrs.evolve(found, file_name=source.name, size=size)


class Chunks:
    """Uploads in chunks, of files and of models, whose calls differ only in the answer to the last one."""

    def __init__(self, calls: Calls) -> None:
        self._calls = calls

    async def send(
        self,
        source: UploadSource,
        context: str,
        chunk_bytes: int,
        reporter: ProgressReporter,
        **more: object,
    ) -> UploadSession:
        """Start an upload, and send all chunks, in order.

        Raises ValueError for an empty file, or a name without an extension. `more` are members of the first request.
        """
        size = source.size or 0
        if not size:
            raise ValueError("file: it is empty")
        body = {
            "fileContext": context,
            "totalChunks": -(-size // chunk_bytes),
            "fileExtension": source.extension,
            "fileName": source.name,
            "fileSize": size,
            **more,
        }
        start = request(f"{self._calls.url}{_SESSIONS}/start", "files.start", body)
        session = await self._calls.call(start, _read_session)
        for number, begin in enumerate(range(0, size, chunk_bytes)):
            length = min(chunk_bytes, size - begin)
            pieces = reporter.reporting(source, begin, length)
            form = file_form({"chunkNumber": str(number)}, source.name, pieces, size=length)
            await self._send_chunk(form_request(self._calls.url + _path(session), "files.chunk", form))
        return session

    async def _send_chunk(self, chunk: Request) -> None:
        try:
            await self._calls.call(chunk, _nothing)
        except Conflict as error:
            if error.tries == 1:
                raise
            # An earlier attempt may have delivered it; the last step fails if a chunk is missing.

    def completion(self, session: UploadSession) -> str:
        """Return the path of the call that completes an upload."""
        return f"{_path(session)}/complete"


def check_chunk(chunk_bytes: int) -> int:
    """Return `chunk_bytes`. Raises ValueError unless one call can send so many."""
    return check_whole(chunk_bytes, "chunk_bytes", ONE_CALL)


def _path(session: UploadSession) -> str:
    return f"{_SESSIONS}/{path_segment(session.id, 'session_id')}"


_read_file: Final = KORE.reader(UploadedFile)
_read_session: Final = KORE.reader(UploadSession)


def _nothing(_reply: Reply, _call: str) -> None:
    """Read an answer whose body is ignored: chunk numbers are echoed as strings, or not at all."""
