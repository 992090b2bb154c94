"""Kore Agent Platform: files of the account, uploaded in one call or in chunks."""

from collections.abc import AsyncIterator, Callable, Mapping
from datetime import datetime
from typing import Any, Final, TypeAlias

from attrs import field, frozen

from ... import codec
from ...contract import check_text, path_segment
from ...errors import Conflict
from ...model import Reply, Request
from .calls import Calls
from .multipart import Form, file_form
from .reading import Fields, object_in, wrong
from .session_wire import JSON
from .sources import Source, Uploadable, opened

#: Bytes that go up in one call: 25 MB, read as the smaller number that this may mean (section 7).
ONE_CALL: Final = 25_000_000
#: Bytes of a chunk, unless said otherwise. The vendor publishes no bounds.
CHUNK: Final = 10_000_000

#: Is told how many bytes have gone up, and of how many.
Progress: TypeAlias = Callable[[int, int], object]


@frozen(kw_only=True)
class UploadedFile:
    """A file of the account. Tools and other calls take its `file_id`; its `url` holds a signature."""

    file_id: str
    url: str = field(default="", repr=False)
    file_name: str = ""
    size: int = 0
    raw: Mapping[str, Any] = field(factory=dict, repr=False, eq=False)


@frozen(kw_only=True)
class UploadSession:
    """An upload in chunks that was begun. `model_id` is told for models alone."""

    id: str
    expires_at: datetime | None
    model_id: str


class Files:
    """The files of an account. Made by `AgentPlatform.files`; raises and tries again as `Attachments` does."""

    def __init__(self, calls: Calls) -> None:
        self._calls = calls
        self._chunks = Chunks(calls)

    async def upload(
        self,
        file: Uploadable,
        *,
        context: str = "bulkImport",
        file_name: str | None = None,
        progress: Progress | None = None,
        chunk_bytes: int = CHUNK,
    ) -> UploadedFile:
        """Upload a file: a path, bytes, a stream, or a file that is open. What is no path needs a `file_name`.

        Up to 25,000,000 bytes go up in one call, more in chunks of `chunk_bytes`, one after the other, each tried
        again by itself. Nothing but a small piece is ever in memory; a stream is written to a temporary file first,
        since the platform has to know its size. `progress` is called with the bytes sent so far, never fewer than
        before, and the size. An upload that ended on the way is to be begun anew: what it left expires. Raises
        `NotFound` also where the reply to the last step was lost and its repetition found the upload gone; OSError
        for a file that cannot be read. Agent Platform API, section 7.
        """
        check_text(context, "context")
        check_chunk(chunk_bytes)
        self._calls.ensure_usable()  # before a stream is read to its end for nothing
        async with opened(file, file_name, is_spooled=True) as source:
            size, meter = source.size or 0, Meter(progress, source.size or 0)
            if size <= ONE_CALL:
                found = await self._upload(source, size, context, meter)
            else:
                session = await self._chunks.begin(source, context, chunk_bytes)
                await self._chunks.send(session, source, chunk_bytes, meter)
                request = self._chunks.completion(session)
                found = await self._calls.call(request, _file)
            meter.tell(size)
        return UploadedFile(
            file_id=found.text("fileId"),
            url=found.text("url", "fileURL"),
            file_name=source.name,
            size=size,
            raw=found.raw,
        )

    async def _upload(self, source: Source, size: int, context: str, meter: "Meter") -> Fields:
        form = file_form({"fileContext": context}, source.name, meter.watch(source, 0, size), size=size)
        return await self._calls.call(_form_request(f"{self._calls.url}/files", "files.upload", form), _file)


class Chunks:
    """Uploads in chunks, of files and of models: the same calls, which differ in their last answer."""

    def __init__(self, calls: Calls) -> None:
        self._calls = calls
        self._url = f"{calls.url}/files/session"

    async def begin(self, source: Source, context: str, chunk_bytes: int, **more: object) -> UploadSession:
        """Announce an upload. Raises ValueError for what has no bytes, or a name without an extension."""
        size = source.size or 0
        if not size:
            raise ValueError("file: there is nothing in it")
        body = {
            "fileContext": context,
            "totalChunks": -(-size // chunk_bytes),
            "fileExtension": source.extension,
            "fileName": source.name,
            "fileSize": size,
            **more,
        }
        request = Request(
            method="POST",
            url=f"{self._url}/start",
            call="files.start",
            headers=JSON,
            body=codec.encode_json(body),
        )
        return await self._calls.call(request, _session)

    async def send(self, session: UploadSession, source: Source, chunk_bytes: int, meter: "Meter") -> None:
        """Send all chunks, in order."""
        size = source.size or 0
        for number, start in enumerate(range(0, size, chunk_bytes)):
            length = min(chunk_bytes, size - start)
            pieces = meter.watch(source, start, length)
            form = file_form({"chunkNumber": str(number)}, source.name, pieces, size=length)
            try:
                await self._calls.call(_form_request(self._of(session), "files.chunk", form), _nothing)
            except Conflict as error:
                if error.tries == 1:
                    raise
                # An earlier try may have brought it; the last step finds out whether one is missing.

    def completion(self, session: UploadSession) -> Request:
        """Build the last step."""
        return Request(method="POST", url=f"{self._of(session)}/complete", call="files.complete")

    def _of(self, session: UploadSession) -> str:
        return f"{self._url}/{path_segment(session.id, 'session_id')}"


class Meter:
    """Tells how far an upload has come, forwards alone: what is tried again was counted before."""

    def __init__(self, progress: Progress | None, size: int) -> None:
        self._progress = progress
        self._size = size
        self._most = -1

    def tell(self, sent: int) -> None:
        """Tell of so many bytes."""
        if self._progress is not None and sent > self._most:
            self._most = sent
            self._progress(sent, self._size)

    def watch(self, source: Source, start: int, length: int) -> Callable[[], AsyncIterator[bytes]]:
        """Return a part of a source, telling of each piece once the next one is asked for."""

        async def pieces() -> AsyncIterator[bytes]:
            sent = start
            self.tell(sent)
            async for piece in source.open(start, length):
                yield piece
                sent += len(piece)
                self.tell(sent)

        return pieces


def check_chunk(chunk_bytes: int) -> int:
    """Return `chunk_bytes`. Raises ValueError unless one call can carry so many."""
    if isinstance(chunk_bytes, bool) or not isinstance(chunk_bytes, int) or not 1 <= chunk_bytes <= ONE_CALL:
        raise ValueError(f"chunk_bytes has to be a whole number from 1 to {ONE_CALL}, not {chunk_bytes!r}")
    return chunk_bytes


def _form_request(url: str, call: str, form: Form) -> Request:
    return Request(method="POST", url=url, call=call, headers=form.headers, upload=form.body)


def _session(reply: Reply, call: str) -> UploadSession:
    raw = Fields(object_in(reply, call))
    session_id = raw.text("sessionId")
    if not session_id.strip():
        raise wrong(call, "$.sessionId")
    return UploadSession(id=session_id, expires_at=raw.moment("expirationDate"), model_id=raw.text("modelId"))


def _file(reply: Reply, call: str) -> Fields:
    raw = Fields(object_in(reply, call))
    if not raw.text("fileId"):
        raise wrong(call, "$.fileId")
    return raw


def _nothing(_reply: Reply, _call: str) -> None:
    """Read an answer that tells no more than that it came: chunk numbers come as texts, or not at all."""
