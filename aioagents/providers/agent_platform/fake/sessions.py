"""Sessions, and which of them a request means. Pure."""

from collections.abc import Iterator, Sequence
from hashlib import sha256
from typing import Any, Final
from uuid import UUID

from attrs import define, field, frozen

from ....contract.fake import FakeRun, JsonObject
from .state import ServerState
from .statuses import is_good

_TYPES: Final = ("sessionId", "sessionReference", "userReference")


@frozen(kw_only=True)
class Identity:
    """The identifiers by which a request names its session."""

    session_id: str | None = None
    reference: str | None = None
    user: str | None = None


@define(kw_only=True)
class Attached:
    """A file of a session, not active any more if it was excluded or is too large."""

    file_id: str
    name: str
    mime_type: str
    extension: str
    tokens: int | None = None
    error: str | None = None
    is_active: bool = True


@define(eq=False, kw_only=True)
class Session:
    """One session. Without a `reference` it is found by its user's reference."""

    id: str
    reference: str | None
    user: str
    source: str
    created_at: float
    ended_at: float | None = None
    runs: list[FakeRun] = field(factory=list)
    files: dict[str, Attached] = field(factory=dict)

    @property
    def effective_reference(self) -> str:
        """Return the reference by which it is found."""
        return self.user if self.reference is None else self.reference

    @property
    def user_id(self) -> str:
        """Return the platform's own id of the user, which follows from the reference."""
        return f"u-{UUID(bytes=sha256(self.user.encode()).digest()[:16], version=4)}"

    def is_busy(self, now: float) -> bool:
        """Return whether one of its runs is in progress."""
        return any(not run.is_over(now) for run in self.runs)

    def status(self, now: float) -> str:
        """Return its status, in the vendor's words."""
        if self.ended_at is not None:
            return "terminated"
        if self.is_busy(now):
            return "busy"
        is_failed = bool(self.runs) and not is_good(self.runs[-1].status_at(now)[1])
        return "error" if is_failed else "idle"

    def active_at(self, now: float) -> float:
        """Return when it was created, or one of its runs last started or ended."""
        moments = [
            self.created_at,
            *(moment for run in self.runs for moment in (run.created_at, run.until)),
        ]
        return max(moment for moment in moments if moment <= now)


class Sessions:
    """All sessions of the app."""

    def __init__(self, server: ServerState) -> None:
        self._server = server
        self._by_id: dict[str, Session] = {}
        #: Several sessions each: those of a user without a reference of their own share the user's.
        self._by_reference: dict[str, list[Session]] = {}

    def __iter__(self) -> Iterator[Session]:
        return iter(self._by_id.values())

    def get(self, session_id: str) -> Session | None:
        """Return a session by its id, also a terminated one; None if there is none."""
        return self._by_id.get(session_id)

    def latest(self, reference: str) -> Session | None:
        """Return the latest session with a reference: of those not terminated, else of all; None without any."""
        known = self._by_reference.get(reference, ())
        open_sessions = (session for session in reversed(known) if session.ended_at is None)
        return next(open_sessions, known[-1] if known else None)

    def resolve(self, identity: Identity, *, source: str, now: float) -> Session:
        """Return the session of a request, created if the vendor would create one. Raises `Refused`."""
        found = self.find(identity)
        if found is not None:
            return found
        if identity.reference is None and identity.user is None:
            raise self._server.not_found("session")
        return self._create(identity, source=source, now=now)

    def find(self, identity: Identity) -> Session | None:
        """Return the first match that is not terminated, or None. Raises `Refused` if it is another user's."""
        session = self._by_id.get(identity.session_id or "")
        if session is None or session.ended_at is not None:
            session = self.latest(identity.reference or "")
        if session is None or session.ended_at is not None:
            return None
        if identity.user not in (None, session.user):
            raise self._server.forbidden("the session is another user's")
        return session

    def check(self, identity: Identity, session: Session) -> None:
        """Raise `Refused` for an identity that does not match a session, terminated or not; its user alone does."""
        if identity.session_id in self._by_id:
            is_it = identity.session_id == session.id
        elif identity.reference in self._by_reference:
            is_it = identity.reference == session.effective_reference
        else:
            is_it = identity.user is not None or identity == Identity()
        if not is_it or identity.user not in (None, session.user):
            raise self._server.forbidden("the run belongs to another session")

    def _create(self, identity: Identity, *, source: str, now: float) -> Session:
        session = Session(
            id=self._server.new_id("s-"),
            reference=identity.reference,
            user=identity.user or identity.reference or "",
            source=source,
            created_at=now,
        )
        self._by_id[session.id] = session
        self._by_reference.setdefault(session.effective_reference, []).append(session)
        self._server.counts["sessions"] += 1
        return session


def read_identity(body: JsonObject, *, types: Sequence[str] = _TYPES, is_needed: bool = True) -> Identity:
    """Read the member `sessionIdentity` of a request. Raises `Refused`."""
    found: dict[str, str] = {}
    for each in body.objects("sessionIdentity"):
        kind = each.choice("type", types, is_needed=True) or ""
        if kind in found:
            raise each.invalid("type", "come once")
        found[kind] = each.require("value", str)
    if not found and is_needed:
        raise body.invalid("sessionIdentity", "name a session")
    return Identity(
        session_id=found.get("sessionId"),
        reference=found.get("sessionReference"),
        user=found.get("userReference"),
    )


def session_info(session: Session, server: ServerState, *, status: str, run_id: str | None) -> dict[str, Any]:
    """Return the member `sessionInfo`, as in answers to runs."""
    info: dict[str, Any] = {
        "status": status,
        "userReference": session.user,
        "sessionReference": shown_reference(session, server),
        "userId": session.user_id,
        "sessionId": session.id,
    }
    if run_id is not None:
        info["runId"] = run_id
    return {
        **info,
        "appId": server.app.app_id,
        "attachments": [_file(each) for each in session.files.values()],
    }


def shown_reference(session: Session, server: ServerState) -> str | None:
    """Return a session's reference as replies have it: one that is unset appears in three ways."""
    return session.reference or server.vary("sessionReference", session.user, None, "")


def _file(file: Attached) -> dict[str, Any]:
    body: dict[str, Any] = {
        "fileId": file.file_id,
        "isActive": file.is_active,
        "fileName": file.name,
        "mimetype": file.mime_type,
    }
    if file.tokens is not None:
        body["Metadata"] = {"tokens": file.tokens} | ({"error": file.error} if file.error else {})
    return body
