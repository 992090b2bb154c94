"""Handlers of the sessions' endpoints below the app's own paths: create, list (in two ways), get, terminate."""

import math
from collections.abc import Iterator
from typing import Any, Final

from ....contract.fake import Call, Endpoint, Refused, read_count, read_object
from ....model import Purpose, Reply
from .sessions import Identity, Session, Sessions, read_identity, session_info, shown_reference
from .signins import SignIns
from .state import ServerState

_APP: Final = "/api/v2/apps/{app_id}/environments/{environment}"
_LATER: Final = "/aaa/api/v1/apps/{app_id}/environments/{environment}"
_PAGE: Final = 20
_WELCOME: Final = "Welcome. How can I help?"


class SessionHandlers:
    """Creates, lists, returns and terminates sessions."""

    def __init__(self, server: ServerState, sessions: Sessions, signins: SignIns) -> None:
        self._server = server
        self._sessions = sessions
        self._signins = signins

    def endpoints(self) -> Iterator[Endpoint]:
        """Return the endpoints, which need the app's key."""
        call = Purpose.CALL
        yield "POST", f"{_APP}/sessions", "sessions.create", call, self._create
        yield "GET", f"{_APP}/sessions", "sessions.get", call, self._get
        yield "POST", f"{_APP}/sessions/list", "sessions.list", call, self._list
        yield "GET", f"{_LATER}/sessions/list", "sessions.list", call, self._list_later
        yield "POST", f"{_APP}/sessions/terminate", "sessions.terminate", call, self._terminate

    def _create(self, call: Call) -> Reply:
        body = read_object(call)
        source = body.get("source", str) or "AP"
        before = self._server.counts["sessions"]
        session = self._sessions.resolve(read_identity(body), source=source, now=call.now)
        is_new = self._server.counts["sessions"] > before
        event = self._signins.event(session.user)
        if event is not None:
            info = session_info(session, self._server, status="idle", run_id=None)
            answer = {"messageId": self._server.new_id("msg-"), "events": [event], "sessionInfo": info}
        else:
            status = self._server.vary("fresh", "idle", "started") if is_new else session.status(call.now)
            answer = {"session": self._new_session(session, status)} | (self._welcome() if is_new else {})
        rules = self._server.rules
        limits = {
            self._server.vary("uploads enabled", "enabled", "isAttachmentsEnabled"): True,
            "maxFileCount": rules.max_file_count,
            "maxFileSize": rules.max_file_size,
            "maxTokens": rules.max_tokens,
        }
        return self._server.created(
            {**answer, "allowedMimeTypes": list(rules.extensions), "fileUploadConfig": limits}
        )

    def _new_session(self, session: Session, status: str) -> dict[str, Any]:
        body = {
            "sessionId": session.id,
            "sessionReference": shown_reference(session, self._server),
            "userReference": session.user,
            "status": status,
            "userId": session.user_id,
            "createdAt": self._server.format_date(session.created_at),
        }
        return body | self._server.vary("session source", {}, {"source": session.source})

    def _welcome(self) -> dict[str, Any]:
        event = {
            "type": "Welcome_Event",
            "content": {"messageToUser": _WELCOME},
            "params": {"reason": "session started"},
        }
        full = {"events": [event], "output": [{"type": "text", "content": _WELCOME}]}
        return self._server.vary("welcome", {}, full, {"events": [], "output": []})

    def _get(self, call: Call) -> Reply:
        session_id, reference = call.query.get("sessionId"), call.query.get("sessionReference")
        if not session_id and not reference:
            raise Refused(400, "sessionId or sessionReference has to be there")
        found = self._sessions.get(session_id or "") or self._sessions.latest(reference or "")
        session = self._server.found(found, "session")
        files = [
            {
                "fileId": file.file_id,
                "filename": file.name,
                "mimetype": file.mime_type,
                "isActive": self._server.vary("isActive", file.is_active, str(file.is_active).lower()),
            }
            for file in session.files.values()
        ]
        more = {"appId": self._server.app.app_id, "events": ["Welcome_Event"], "attachments": files}
        return self._server.reply({"session": {**self._listed_session(session, call.now), **more}})

    def _listed_session(self, session: Session, now: float) -> dict[str, Any]:
        return {
            "sessionId": session.id,
            "sessionReference": shown_reference(session, self._server),
            "status": session.status(now),
            "userId": session.user_id,
            "createdAt": self._server.format_date(session.created_at),
        }

    def _list(self, call: Call) -> Reply:
        body = read_object(call)
        body.objects("filters")  # reserved by the vendor: has no effect
        offset = body.get("offset", int) or 0
        if offset < 0:
            raise body.invalid("offset", "be 0 or more")
        date = body.object("date")
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
        offset, limit = read_count(call, "offset", 0), read_count(call, "limit", _PAGE, low=1)
        return self._page(list(found), offset=offset, limit=limit, now=call.now)

    def _between(self, start: str | None, end: str | None) -> Iterator[Session]:
        begin = -math.inf if start is None else self._server.parse_date(start)
        stop = math.inf if end is None else self._server.parse_date(end)
        return (session for session in self._sessions if begin <= session.created_at <= stop)

    def _page(self, found: list[Session], *, offset: int, limit: int, now: float) -> Reply:
        end = min(offset + limit, len(found))
        return self._server.reply(
            {
                "sessions": [self._listed_session(session, now) for session in found[offset:end]],
                "pagination": {"totalCount": len(found), "endIndex": end, "hasMore": end < len(found)},
            }
        )

    def _terminate(self, call: Call) -> Reply:
        identity = read_identity(read_object(call), types=("sessionId", "sessionReference"))
        found = self._sessions.find(identity) or self._terminated(identity)
        session = self._server.found(found, "session")
        if session.ended_at is None:
            session.ended_at = call.now
            self._server.counts["terminated"] += 1
        info = session_info(session, self._server, status="terminated", run_id=None)
        event = {
            "type": "End_of_Conversation",
            "content": {"messageToUser": "Goodbye."},
            "params": {"reason": "terminated", "conversationSummary": ""},
        }
        files = [
            {"fileId": file.file_id, "fileName": file.name, "fileType": file.extension}
            for file in session.files.values()
        ]
        events = self._server.vary("farewell", {}, {"events": [event]})
        return self._server.reply({**info, "attachments": files, **events})

    def _terminated(self, identity: Identity) -> Session | None:
        if not self._server.rules.terminates_again:
            return None
        return self._sessions.get(identity.session_id or "") or self._sessions.latest(
            identity.reference or ""
        )
