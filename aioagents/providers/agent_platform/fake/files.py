"""Files of the account, uploaded in one call or in chunks. Sizes and hashes are kept, contents are not."""

import hashlib
from collections.abc import Iterator
from hashlib import sha256
from typing import Any, Final
from urllib.parse import quote

from attrs import define, field, frozen

from ....contract.fake import Answer, Call, Endpoint, JsonObject, Refused, read_object
from ....model import Purpose, Reply
from .dock_jobs import IMPORT_MODEL, DockJobs
from .forms import Form, read_form
from .state import ServerState

_FILES: Final = "/api/public/files"
#: 25 MB, read as the larger number: the vendor does not say whether a megabyte has 1,000,000 bytes.
LIMIT: Final = 25 * 1_048_576


@frozen(kw_only=True)
class StoredFile:
    """An uploaded file. `sha256` is empty if its chunks came out of order."""

    id: str
    name: str
    context: str
    size: int
    sha256: str
    chunks: int


@define(eq=False, kw_only=True)
class _Upload:
    """An upload in chunks that is not complete. `hashes` has the chunks received, by number."""

    id: str
    name: str
    context: str
    size: int
    total: int
    expires_at: float
    model: str | None
    received: int = 0
    hashes: dict[int, str] = field(factory=dict)
    whole: Any = field(factory=hashlib.sha256)


class Files:
    """All files of the account, and the handlers of their endpoints."""

    def __init__(self, server: ServerState, dock_jobs: DockJobs) -> None:
        self._server = server
        self._dock_jobs = dock_jobs
        self._by_id: dict[str, StoredFile] = {}
        self._uploads: dict[str, _Upload] = {}

    def __iter__(self) -> Iterator[StoredFile]:
        return iter(self._by_id.values())

    def endpoints(self) -> Iterator[Endpoint]:
        """Return the endpoints."""
        call, session = Purpose.CALL, f"{_FILES}/session/{{upload_id}}"
        yield "POST", _FILES, "files.upload", call, self._upload
        yield "POST", f"{_FILES}/session/start", "files.start", call, self._start
        yield "POST", session, "files.chunk", call, self._chunk
        yield "POST", f"{session}/complete", "files.complete", Purpose.START, self._complete

    def get(self, file_id: str) -> StoredFile | None:
        """Return a file by its id, None if there is none."""
        return self._by_id.get(file_id)

    def add(self, *, name: str, context: str, size: int, sha256: str, chunks: int) -> StoredFile:
        """Record a file as uploaded, and return it."""
        file = StoredFile(
            id=self._server.new_hex(24), name=name, context=context, size=size, sha256=sha256, chunks=chunks
        )
        self._by_id[file.id] = file
        return file

    def _upload(self, call: Call) -> Reply:
        form = read_form(call)
        file, context = form.file, form.require("fileContext")
        self._check_extension(file.extension)
        self._check_size(form)
        self._server.counts["uploads"] += 1
        stored = self.add(
            name=file.name,
            context=context,
            size=len(file.content),
            sha256=sha256(file.content).hexdigest(),
            chunks=0,
        )
        return self._server.created(_file(stored))

    def _check_extension(self, extension: str) -> None:
        if extension.lower() not in self._server.rules.file_extensions:
            raise Refused(415, "files of this type are not accepted")

    def _check_size(self, form: Form) -> None:
        if len(form.file.content) > LIMIT:
            raise Refused(413, "the content of one call is too large")

    def _start(self, call: Call) -> Reply:
        body = read_object(call)
        context, name = body.require("fileContext", str), body.require("fileName", str)
        total, size = _positive(body, "totalChunks"), _positive(body, "fileSize")
        self._check_extension(body.require("fileExtension", str))
        body.get("isAdapter", bool)
        if total > size:
            raise body.invalid("totalChunks", "be no more than the bytes")
        upload = _Upload(
            id=self._server.new_id(""),
            name=name,
            context=context,
            size=size,
            total=total,
            expires_at=call.now + self._server.rules.upload_lasts,
            model=self._server.new_id("cm-") if context == "model" else None,
        )
        self._uploads[upload.id] = upload
        self._server.counts["chunked_uploads"] += 1
        answer = {"sessionId": upload.id, "expirationDate": self._server.format_date(upload.expires_at)}
        return self._server.created(answer if upload.model is None else {**answer, "modelId": upload.model})

    def _chunk(self, call: Call) -> Reply:
        upload, form = self._find(call), read_form(call)
        text = form.require("chunkNumber")
        if not text.isdecimal() or int(text) >= upload.total:
            raise Refused(400, f"chunkNumber has to be from 0 to {upload.total - 1}")
        self._check_size(form)
        self._add_chunk(upload, int(text), form.file.content)
        number = self._server.vary("chunkNumber", text, int(text))
        return self._server.created({"chunkNumber": number, "sessionId": upload.id})

    def _add_chunk(self, upload: _Upload, number: int, content: memoryview) -> None:
        digest, rules = sha256(content).hexdigest(), self._server.rules
        if number in upload.hashes:
            if not rules.chunk_again or digest != upload.hashes[number]:
                raise Refused(409, "the chunk was sent before")
            self._server.counts["chunks_again"] += 1
            return
        if number != len(upload.hashes):
            if rules.in_order:
                raise Refused(409, "another chunk is due first")
            upload.whole = None
        upload.hashes[number] = digest
        upload.received += len(content)
        if upload.whole is not None:
            upload.whole.update(content)
        self._server.counts["chunks"] += 1

    def _complete(self, call: Call) -> Answer:
        upload = self._find(call)
        if len(upload.hashes) < upload.total:
            raise Refused(self._server.rules.missing_chunk_status, "chunks are missing")
        if upload.received != upload.size:
            raise Refused(400, "the chunks are not as large as the file")
        del self._uploads[upload.id]
        stored = self.add(
            name=upload.name,
            context=upload.context,
            size=upload.size,
            sha256="" if upload.whole is None else upload.whole.hexdigest(),
            chunks=upload.total,
        )
        if upload.model is not None:
            return self._dock_jobs.start(call, IMPORT_MODEL, upload.model, name=upload.name)
        return self._server.created(_file(stored))

    def _find(self, call: Call) -> _Upload:
        upload = self._server.found(self._uploads.get(call.path["upload_id"]), "upload session")
        if call.now > upload.expires_at:
            raise Refused(self._server.rules.expired_status, "the upload session has expired")
        return upload


def _positive(body: JsonObject, name: str) -> int:
    value = body.require(name, int)
    if value <= 0:
        raise body.invalid(name, "be more than 0")
    return value


def _file(file: StoredFile) -> dict[str, Any]:
    query = f"e=1&n=2&del=false&s={file.sha256[:8]}&fileName={quote(file.name)}"
    extension = file.name.rpartition(".")[2]
    url = f"http://localhost/api/getMediaStream/orgFiles/f-{file.id}.{quote(extension)}?{query}"
    return {"url": url, "fileId": file.id}
