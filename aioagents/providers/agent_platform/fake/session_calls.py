"""Sessions over HTTP, as the app's own paths serve them: created, listed in two ways, read, terminated."""

from collections.abc import Iterator
from typing import Any, Final

from ....contract.fake import Call, Endpoint, Refused
from ....model import Purpose, Reply
from .bodies import read_object
from .desk import Desk
from .sessions import Identity, Session, Sessions, read_identity, session_info, told_reference
from .signins import SignIns

_APP: Final = "/api/v2/apps/{app_id}/environments/{environment}"
_LATER: Final = "/aaa/api/v1/apps/{app_id}/environments/{environment}"
_PAGE: Final = 20
_WELCOME: Final = "Welcome. How can I help?"


class SessionCalls:
    """Answers what is asked about sessions."""

    def __init__(self, desk: Desk, sessions: Sessions, signins: SignIns) -> None:
        self._desk = desk
        self._sessions = sessions
        self._signins = signins

    def endpoints(self) -> Iterator[Endpoint]:
        """Return the endpoints that an app's key opens."""
        call = Purpose.CALL
        yield "POST", f"{_APP}/sessions", "sessions.create", call, self._create
        yield "GET", f"{_APP}/sessions", "sessions.get", call, self._get
        yield "POST", f"{_APP}/sessions/list", "sessions.list", call, self._list
        yield "GET", f"{_LATER}/sessions/list", "sessions.list", call, self._list_later
        yield "POST", f"{_APP}/sessions/terminate", "sessions.terminate", call, self._terminate

    def _create(self, call: Call) -> Reply:
        body = read_object(call)
        source = body.get("source", str) or "AP"
        before = self._desk.counts["sessions"]
        session = self._sessions.resolve(read_identity(body), source=source, now=call.now)
        is_new = self._desk.counts["sessions"] > before
        event = self._signins.event(session.user)
        if event is not None:
            info = session_info(session, self._desk, status="idle", run_id=None)
            told = {"messageId": self._desk.new_id("msg-"), "events": [event], "sessionInfo": info}
        else:
            status = self._desk.turn("fresh", "idle", "started") if is_new else session.status(call.now)
            told = {"session": self._told_new(session, status)} | (self._welcome() if is_new else {})
        rules = self._desk.rules
        limits = {
            self._desk.turn("uploads enabled", "enabled", "isAttachmentsEnabled"): True,
            "maxFileCount": rules.max_file_count,
            "maxFileSize": rules.max_file_size,
            "maxTokens": rules.max_tokens,
        }
        return self._desk.created(
            {**told, "allowedMimeTypes": list(rules.extensions), "fileUploadConfig": limits}
        )

    def _told_new(self, session: Session, status: str) -> dict[str, Any]:
        told = {
            "sessionId": session.id,
            "sessionReference": told_reference(session, self._desk),
            "userReference": session.user,
            "status": status,
            "userId": session.user_id,
            "createdAt": self._desk.moment(session.created_at),
        }
        return told | self._desk.turn("session source", {}, {"source": session.source})

    def _welcome(self) -> dict[str, Any]:
        event = {
            "type": "Welcome_Event",
            "content": {"messageToUser": _WELCOME},
            "params": {"reason": "session started"},
        }
        full = {"events": [event], "output": [{"type": "text", "content": _WELCOME}]}
        return self._desk.turn("welcome", {}, full, {"events": [], "output": []})

    def _get(self, call: Call) -> Reply:
        session_id, reference = call.query.get("sessionId"), call.query.get("sessionReference")
        if not session_id and not reference:
            raise Refused(400, "sessionId or sessionReference has to be there")
        session = self._sessions.get(session_id or "")
        if session is None and reference:
            session = self._sessions.named(reference)
        if session is None:
            raise self._desk.missing("session")
        files = [
            {
                "fileId": file.file_id,
                "filename": file.name,
                "mimetype": file.mime_type,
                "isActive": self._desk.turn("isActive", file.is_active, str(file.is_active).lower()),
            }
            for file in session.files.values()
        ]
        more = {"appId": self._desk.place.app_id, "events": ["Welcome_Event"], "attachments": files}
        return self._desk.reply({"session": {**self._told_listed(session, call.now), **more}})

    def _told_listed(self, session: Session, now: float) -> dict[str, Any]:
        return {
            "sessionId": session.id,
            "sessionReference": told_reference(session, self._desk),
            "status": session.status(now),
            "userId": session.user_id,
            "createdAt": self._desk.moment(session.created_at),
        }

    def _list(self, call: Call) -> Reply:
        body = read_object(call)
        body.each("filters")  # reserved: read, and of no effect
        offset = body.get("offset", int) or 0
        if offset < 0:
            raise body.wrong("offset", "be 0 or more")
        date = body.members("date")
        wanted = {"start": date.get("start", str), "end": date.get("end", str)}
        found = [
            session
            for session in self._between(wanted["start"], wanted["end"])
            if body.get("sessionId", str) in (None, session.id)
            and body.get("userReference", str) in (None, session.user)
        ]
        return self._page(found, offset=offset, limit=_PAGE, now=call.now)

    def _list_later(self, call: Call) -> Reply:
        found = self._between(call.query.get("startDate"), call.query.get("endDate"))
        offset, limit = whole(call, "offset", 0, 0), whole(call, "limit", _PAGE, 1)
        return self._page(list(found), offset=offset, limit=limit, now=call.now)

    def _between(self, start: str | None, end: str | None) -> Iterator[Session]:
        begin = None if start is None else self._desk.second(start)
        stop = None if end is None else self._desk.second(end)
        for session in self._sessions:
            is_early = begin is not None and session.created_at < begin
            is_late = stop is not None and session.created_at > stop
            if not is_early and not is_late:
                yield session

    def _page(self, found: list[Session], *, offset: int, limit: int, now: float) -> Reply:
        end = min(offset + limit, len(found))
        return self._desk.reply(
            {
                "sessions": [self._told_listed(session, now) for session in found[offset:end]],
                "pagination": {"totalCount": len(found), "endIndex": end, "hasMore": end < len(found)},
            }
        )

    def _terminate(self, call: Call) -> Reply:
        identity = read_identity(read_object(call), types=("sessionId", "sessionReference"))
        session = self._sessions.find(identity) or self._terminated(identity)
        if session is None:
            raise self._desk.missing("session")
        if session.ended_at is None:
            session.ended_at = call.now
            self._desk.counts["terminated"] += 1
        info = session_info(session, self._desk, status="terminated", run_id=None)
        event = {
            "type": "End_of_Conversation",
            "content": {"messageToUser": "Goodbye."},
            "params": {"reason": "terminated", "conversationSummary": ""},
        }
        files = [
            {"fileId": file.file_id, "fileName": file.name, "fileType": file.extension}
            for file in session.files.values()
        ]
        events = self._desk.turn("farewell", {}, {"events": [event]})
        return self._desk.reply({**info, "attachments": files, **events})

    def _terminated(self, identity: Identity) -> Session | None:
        if not self._desk.rules.terminates_again:
            return None
        return self._sessions.get(identity.session_id or "") or self._sessions.named(identity.reference or "")


def whole(call: Call, name: str, default: int, low: int, high: int = 1_000_000) -> int:
    """Read a whole number of the query. Raises `Refused`."""
    text = call.query.get(name)
    if text is None:
        return default
    if not text.isdecimal() or not low <= int(text) <= high:
        raise Refused(400, f"{name} has to be from {low} to {high}")
    return int(text)
