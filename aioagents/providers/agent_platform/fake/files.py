"""Files of the account: uploaded whole, or in chunks. Sizes and hashes are kept, contents are not."""

import hashlib
from collections.abc import Iterator
from hashlib import sha256
from typing import Any, Final
from urllib.parse import quote

from attrs import define, field, frozen

from ....contract.fake import Answer, Call, Endpoint, Refused
from ....model import Purpose, Reply
from .bodies import Form, Members, read_form, read_object
from .desk import Desk
from .dock import IMPORT_MODEL, Dock

_FILES: Final = "/api/public/files"
#: 25 MB: the facts leave open whether these are of 1,000,000 bytes; the larger ones are let through.
LIMIT: Final = 25 * 1_048_576


@frozen(kw_only=True)
class StoredFile:
    """An uploaded file. `sha256` is empty where chunks did not come in order."""

    id: str
    name: str
    context: str
    size: int
    sha256: str
    chunks: int


@define(eq=False, kw_only=True)
class _Upload:
    """An upload in chunks that goes on. `hashes` are those of the chunks that came."""

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
    """All files of one world, and what is asked about them."""

    def __init__(self, desk: Desk, dock: Dock) -> None:
        self._desk = desk
        self._dock = dock
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
        """Return a file by its id."""
        return self._by_id.get(file_id)

    def keep(self, *, name: str, context: str, size: int, sha256: str, chunks: int) -> StoredFile:
        """Note a file, as an upload would."""
        file = StoredFile(
            id=self._desk.new_hex(24), name=name, context=context, size=size, sha256=sha256, chunks=chunks
        )
        self._by_id[file.id] = file
        return file

    def _upload(self, call: Call) -> Reply:
        form = read_form(call)
        file, context = form.file, form.need("fileContext")
        self._check_extension(file.extension)
        self._check_size(form)
        self._desk.counts["uploads"] += 1
        stored = self.keep(
            name=file.name,
            context=context,
            size=len(file.content),
            sha256=sha256(file.content).hexdigest(),
            chunks=0,
        )
        return self._desk.created(_told(stored))

    def _check_extension(self, extension: str) -> None:
        if extension.lower() not in self._desk.rules.file_extensions:
            raise Refused(415, "files of this kind are not taken")

    def _check_size(self, form: Form) -> None:
        if len(form.file.content) > LIMIT:
            raise Refused(413, "what is sent at once is too large")

    def _start(self, call: Call) -> Reply:
        body = read_object(call)
        context, name = body.need("fileContext", str), body.need("fileName", str)
        total, size = _positive(body, "totalChunks"), _positive(body, "fileSize")
        self._check_extension(body.need("fileExtension", str))
        body.get("isAdapter", bool)
        if total > size:
            raise body.wrong("totalChunks", "be no more than the bytes")
        upload = _Upload(
            id=self._desk.new_id(""),
            name=name,
            context=context,
            size=size,
            total=total,
            expires_at=call.now + self._desk.rules.upload_lasts,
            model=self._desk.new_id("cm-") if context == "model" else None,
        )
        self._uploads[upload.id] = upload
        self._desk.counts["chunked_uploads"] += 1
        told = {"sessionId": upload.id, "expirationDate": self._desk.moment(upload.expires_at)}
        return self._desk.created(told if upload.model is None else {**told, "modelId": upload.model})

    def _chunk(self, call: Call) -> Reply:
        upload, form = self._find(call), read_form(call)
        text = form.need("chunkNumber")
        if not text.isdecimal() or int(text) >= upload.total:
            raise Refused(400, f"chunkNumber has to be from 0 to {upload.total - 1}")
        self._check_size(form)
        self._take(upload, int(text), form.file.content)
        number = self._desk.turn("chunkNumber", text, int(text))
        return self._desk.created({"chunkNumber": number, "sessionId": upload.id})

    def _take(self, upload: _Upload, number: int, content: memoryview) -> None:
        digest, rules = sha256(content).hexdigest(), self._desk.rules
        if number in upload.hashes:
            if not rules.chunk_again or digest != upload.hashes[number]:
                raise Refused(409, "the chunk has come before")
            self._desk.counts["chunks_again"] += 1
            return
        if number != len(upload.hashes):
            if rules.in_order:
                raise Refused(409, "another chunk comes first")
            upload.whole = None
        upload.hashes[number] = digest
        upload.received += len(content)
        if upload.whole is not None:
            upload.whole.update(content)
        self._desk.counts["chunks"] += 1

    def _complete(self, call: Call) -> Answer:
        upload = self._find(call)
        if len(upload.hashes) < upload.total:
            raise Refused(self._desk.rules.missing_chunk_status, "chunks are missing")
        if upload.received != upload.size:
            raise Refused(400, "the chunks are not as large as the file")
        del self._uploads[upload.id]
        stored = self.keep(
            name=upload.name,
            context=upload.context,
            size=upload.size,
            sha256="" if upload.whole is None else upload.whole.hexdigest(),
            chunks=upload.total,
        )
        if upload.model is not None:
            return self._dock.begin(call, IMPORT_MODEL, upload.model, name=upload.name)
        return self._desk.created(_told(stored))

    def _find(self, call: Call) -> _Upload:
        upload = self._uploads.get(call.path["upload_id"])
        if upload is None:
            raise self._desk.missing("upload session")
        if call.now > upload.expires_at:
            raise Refused(self._desk.rules.expired_status, "the upload session has expired")
        return upload


def _positive(body: Members, name: str) -> int:
    value = body.need(name, int)
    if value <= 0:
        raise body.wrong(name, "be more than 0")
    return value


def _told(file: StoredFile) -> dict[str, Any]:
    query = f"e=1&n=2&del=false&s={file.sha256[:8]}&fileName={quote(file.name)}"
    extension = file.name.rpartition(".")[2]
    url = f"http://localhost/api/getMediaStream/orgFiles/f-{file.id}.{quote(extension)}?{query}"
    return {"url": url, "fileId": file.id}
