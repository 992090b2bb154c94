"""Files that are uploaded for a user, and used by the runs of the user's sessions."""

from collections.abc import Iterator
from hashlib import sha256
from typing import Final

from attrs import frozen

from ....contract.fake import Call, Endpoint, Refused
from ....model import Purpose, Reply
from .bodies import Members, read_any_object, read_form
from .desk import Desk
from .orders import Order
from .sessions import Attached, Identity, Session, Sessions

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
    """All uploaded attachments of one world, and what is asked about them."""

    def __init__(self, desk: Desk, sessions: Sessions) -> None:
        self._desk = desk
        self._sessions = sessions
        self._by_id: dict[str, Attachment] = {}

    def __iter__(self) -> Iterator[Attachment]:
        return iter(self._by_id.values())

    def endpoints(self) -> Iterator[Endpoint]:
        """Return the endpoints."""
        call = Purpose.CALL
        yield "POST", f"{_APP}/attachments/upload", "attachments.upload", call, self._upload
        yield "DELETE", f"{_APP}/attachments/{{file_id}}", "attachments.delete", call, self._delete

    def use(self, order: Order, session: Session) -> None:
        """Let a session use the files that a run lists, and leave those it excludes. Raises `Refused`."""
        found = [self._find(file_id, session) for file_id in order.include]
        used = {file.file_id for file in session.files.values() if file.is_active}
        if len((used | set(order.include)) - set(order.exclude)) > self._desk.rules.max_file_count:
            raise Refused(400, "the session has too many attachments")
        for file_id in session.files.keys() & set(order.exclude):
            session.files[file_id].is_active = False
        for attachment in found:
            if attachment.id not in order.exclude:
                self._attach(attachment, session)

    def _find(self, file_id: str, session: Session) -> Attachment:
        found = self._by_id.get(file_id)
        # The vendor's sample puts a session's reference where it says a user's.
        if found is None or found.user not in (session.user, session.known_as):
            raise self._desk.missing("attachment")
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
            if used.tokens + sum(file.tokens or 0 for file in others) > self._desk.rules.max_tokens:
                used.error, used.is_active = _TOO_LARGE, False
        session.files[attachment.id] = used

    def _upload(self, call: Call) -> Reply:
        form, rules = read_form(call), self._desk.rules
        file, user = form.file, form.need("userReference")
        if form.need("uploadType") != "runtime":
            raise Refused(400, "uploadType has to be runtime")
        if file.extension not in rules.extensions:
            raise Refused(415, "files of this kind are not taken")
        if len(file.content) > rules.max_file_size * _MEGABYTE:
            raise Refused(413, "the file is too large")
        attachment = Attachment(
            id=self._desk.new_id("f-"),
            name=file.name,
            extension=file.extension,
            mime_type=file.content_type,
            size=len(file.content),
            sha256=sha256(file.content).hexdigest(),
            user=user,
        )
        self._by_id[attachment.id] = attachment
        self._desk.counts["uploads"] += 1
        told = {
            "fileId": attachment.id,
            "fileName": attachment.name,
            "filePath": f"AppFileSystem/{attachment.id}.{attachment.extension}",
            "fileSize": attachment.size,
            "mimeType": attachment.mime_type,
            "extension": attachment.extension,
            "uploadedAt": self._desk.moment(call.now),
        }
        return self._desk.created(told)

    def _delete(self, call: Call) -> Reply:
        body = read_any_object(call) if call.request.body else Members({})
        identity = Identity(
            session_id=body.get("sessionId", str), reference=body.get("sessionReference", str)
        )
        session = self._sessions.find(identity)
        if session is None and identity != Identity():
            raise self._desk.missing("session")
        file_id = call.path["file_id"]
        if self._by_id.pop(file_id, None) is None:
            raise self._desk.missing("attachment")
        for each in self._sessions:
            each.files.pop(file_id, None)
        return self._desk.reply({"message": "deleted", "success": "true", "fileId": file_id})
