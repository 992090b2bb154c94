"""Attachments: files that are uploaded for a user, and used by the runs of the user's sessions."""

from collections.abc import Iterator
from hashlib import sha256
from typing import Final

from attrs import frozen

from ....contract.fake import Call, Endpoint, JsonObject, Refused, read_object
from ....model import Purpose, Reply
from .execute_request import ExecuteRequest
from .forms import read_form
from .sessions import Attached, Identity, Session, Sessions
from .state import ServerState

_APP: Final = "/api/v2/apps/{app_id}/environments/{environment}"
_WITH_TEXT: Final = frozenset({"pdf", "docx", "txt", "json"})
_MEGABYTE: Final = 1_000_000
_BYTES_PER_TOKEN: Final = 4
_TOO_LARGE: Final = "the file's text has too many tokens"


@frozen(kw_only=True)
class Attachment:
    """An uploaded file. Its content is not kept."""

    id: str
    name: str
    extension: str
    mime_type: str
    size: int
    sha256: str
    user: str


class Attachments:
    """All uploaded attachments, and the handlers of their endpoints."""

    def __init__(self, server: ServerState, sessions: Sessions) -> None:
        self._server = server
        self._sessions = sessions
        self._by_id: dict[str, Attachment] = {}

    def __iter__(self) -> Iterator[Attachment]:
        return iter(self._by_id.values())

    def endpoints(self) -> Iterator[Endpoint]:
        """Return the endpoints."""
        call = Purpose.CALL
        yield "POST", f"{_APP}/attachments/upload", "attachments.upload", call, self._upload
        yield "DELETE", f"{_APP}/attachments/{{file_id}}", "attachments.delete", call, self._delete

    def use(self, request: ExecuteRequest, session: Session) -> None:
        """Add the files that a run includes to its session, and deactivate those it excludes. Raises `Refused`."""
        found = [self._find(file_id, session) for file_id in request.include]
        used = {file.file_id for file in session.files.values() if file.is_active}
        if len((used | set(request.include)) - set(request.exclude)) > self._server.rules.max_file_count:
            raise Refused(400, "the session has too many attachments")
        for file_id in session.files.keys() & set(request.exclude):
            session.files[file_id].is_active = False
        for attachment in found:
            if attachment.id not in request.exclude:
                self._attach(attachment, session)

    def _find(self, file_id: str, session: Session) -> Attachment:
        found = self._by_id.get(file_id)
        # The vendor's sample has a session's reference where its table says a user's.
        if found is None or found.user not in (session.user, session.effective_reference):
            raise self._server.not_found("attachment")
        return found

    def _attach(self, attachment: Attachment, session: Session) -> None:
        used = Attached(
            file_id=attachment.id,
            name=attachment.name,
            mime_type=attachment.mime_type,
            extension=attachment.extension,
        )
        if attachment.extension in _WITH_TEXT:
            used.tokens = attachment.size // _BYTES_PER_TOKEN
            others = [
                file for file in session.files.values() if file.is_active and file.file_id != used.file_id
            ]
            if used.tokens + sum(file.tokens or 0 for file in others) > self._server.rules.max_tokens:
                used.error, used.is_active = _TOO_LARGE, False
        session.files[attachment.id] = used

    def _upload(self, call: Call) -> Reply:
        form, rules = read_form(call), self._server.rules
        file, user = form.file, form.require("userReference")
        if form.require("uploadType") != "runtime":
            raise Refused(400, "uploadType has to be runtime")
        if file.extension not in rules.extensions:
            raise Refused(415, "files of this type are not accepted")
        if len(file.content) > rules.max_file_size * _MEGABYTE:
            raise Refused(413, "the file is too large")
        attachment = Attachment(
            id=self._server.new_id("f-"),
            name=file.name,
            extension=file.extension,
            mime_type=file.content_type,
            size=len(file.content),
            sha256=sha256(file.content).hexdigest(),
            user=user,
        )
        self._by_id[attachment.id] = attachment
        self._server.counts["uploads"] += 1
        body = {
            "fileId": attachment.id,
            "fileName": attachment.name,
            "filePath": f"AppFileSystem/{attachment.id}.{attachment.extension}",
            "fileSize": attachment.size,
            "mimeType": attachment.mime_type,
            "extension": attachment.extension,
            "uploadedAt": self._server.format_date(call.now),
        }
        return self._server.created(body)

    def _delete(self, call: Call) -> Reply:
        body = read_object(call, content_type="") if call.request.body else JsonObject({})
        identity = Identity(
            session_id=body.get("sessionId", str), reference=body.get("sessionReference", str)
        )
        session = self._sessions.find(identity)
        if session is None and identity != Identity():
            raise self._server.not_found("session")
        file_id = call.path["file_id"]
        if self._by_id.pop(file_id, None) is None:
            raise self._server.not_found("attachment")
        for each in self._sessions:
            each.files.pop(file_id, None)
        return self._server.reply({"message": "deleted", "success": "true", "fileId": file_id})
