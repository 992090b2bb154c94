"""Sessions, and which of them a request means. Pure."""

from collections.abc import Iterator, Sequence
from hashlib import sha256
from typing import Any, Final
from uuid import UUID

from attrs import define, field, frozen

from .bodies import Members
from .courses import Progress, is_good
from .desk import Desk

_TYPES: Final = ("sessionId", "sessionReference", "userReference")


@frozen(kw_only=True)
class Identity:
    """By what a request names its session."""

    session_id: str | None = None
    reference: str | None = None
    user: str | None = None


@define(kw_only=True)
class Attached:
    """A file that a session uses, or used until it was excluded or turned out to be too large."""

    file_id: str
    name: str
    mime_type: str
    extension: str
    tokens: int | None = None
    error: str | None = None
    is_active: bool = True


@define(eq=False, kw_only=True)
class Session:
    """One session. `reference` is None where none was given: then it is known by its user's."""

    id: str
    reference: str | None
    user: str
    source: str
    created_at: float
    ended_at: float | None = None
    runs: list[Progress] = field(factory=list)
    files: dict[str, Attached] = field(factory=dict)

    @property
    def known_as(self) -> str:
        """Return the reference by which it is found."""
        return self.user if self.reference is None else self.reference

    @property
    def user_id(self) -> str:
        """Return the platform's own id of the user, which follows from the reference."""
        return f"u-{UUID(bytes=sha256(self.user.encode()).digest()[:16], version=4)}"

    def is_busy(self, now: float) -> bool:
        """Return whether one of its runs goes on."""
        return any(run.ended_at > now for run in self.runs)

    def status(self, now: float) -> str:
        """Return its status, as it is told of sessions."""
        if self.ended_at is not None:
            return "terminated"
        if self.is_busy(now):
            return "busy"
        is_failed = bool(self.runs) and not is_good(self.runs[-1].at(now)[1])
        return "error" if is_failed else "idle"

    def active_at(self, now: float) -> float:
        """Return when something last happened in it."""
        moments = [
            self.created_at,
            *(moment for run in self.runs for moment in (run.created_at, run.ended_at)),
        ]
        return max(moment for moment in moments if moment <= now)


class Sessions:
    """All sessions of the app in one world."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self._by_id: dict[str, Session] = {}
        #: A user's sessions without a reference are all known by the same.
        self._by_reference: dict[str, list[Session]] = {}

    def __iter__(self) -> Iterator[Session]:
        return iter(self._by_id.values())

    def get(self, session_id: str) -> Session | None:
        """Return a session by its id, also one that was terminated."""
        return self._by_id.get(session_id)

    def named(self, reference: str) -> Session | None:
        """Return the latest living session that is known by a reference; without one, the latest that there was."""
        known = self._by_reference.get(reference, ())
        living = (session for session in reversed(known) if session.ended_at is None)
        return next(living, known[-1] if known else None)

    def resolve(self, identity: Identity, *, source: str, now: float) -> Session:
        """Return the session that a request means, a new one where the vendor makes one. Raises `Refused`."""
        found = self.find(identity)
        if found is not None:
            return found
        if identity.reference is None and identity.user is None:
            raise self._desk.missing("session")
        return self._create(identity, source=source, now=now)

    def find(self, identity: Identity) -> Session | None:
        """Return the living session that matches first. Raises `Refused` if it is another user's."""
        session = self._by_id.get(identity.session_id or "")
        if session is None or session.ended_at is not None:
            session = self.named(identity.reference or "")
        if session is None or session.ended_at is not None:
            return None
        if identity.user not in (None, session.user):
            raise self._desk.foreign("the session is another user's")
        return session

    def check(self, identity: Identity, session: Session) -> None:
        """Refuse an identity that does not lead to this session, living or not. Its user may stand for it."""
        if identity.session_id in self._by_id:
            is_it = identity.session_id == session.id
        elif identity.reference in self._by_reference:
            is_it = identity.reference == session.known_as
        else:
            is_it = identity.user is not None or identity == Identity()
        if not is_it or identity.user not in (None, session.user):
            raise self._desk.foreign("the run is of another session")

    def _create(self, identity: Identity, *, source: str, now: float) -> Session:
        session = Session(
            id=self._desk.new_id("s-"),
            reference=identity.reference,
            user=identity.user or identity.reference or "",
            source=source,
            created_at=now,
        )
        self._by_id[session.id] = session
        self._by_reference.setdefault(session.known_as, []).append(session)
        self._desk.counts["sessions"] += 1
        return session


def read_identity(body: Members, *, types: Sequence[str] = _TYPES, is_needed: bool = True) -> Identity:
    """Read by what a request names its session. Raises `Refused`."""
    found: dict[str, str] = {}
    for each in body.each("sessionIdentity"):
        kind = each.choice("type", types, is_needed=True) or ""
        if kind in found:
            raise each.wrong("type", "come once")
        found[kind] = each.need("value", str)
    if not found and is_needed:
        raise body.wrong("sessionIdentity", "name a session")
    return Identity(
        session_id=found.get("sessionId"),
        reference=found.get("sessionReference"),
        user=found.get("userReference"),
    )


def session_info(session: Session, desk: Desk, *, status: str, run_id: str | None) -> dict[str, Any]:
    """Tell of a session as answers to runs do, in `sessionInfo`."""
    info: dict[str, Any] = {
        "status": status,
        "userReference": session.user,
        "sessionReference": told_reference(session, desk),
        "userId": session.user_id,
        "sessionId": session.id,
    }
    if run_id is not None:
        info["runId"] = run_id
    return {
        **info,
        "appId": desk.place.app_id,
        "attachments": [_told_file(each) for each in session.files.values()],
    }


def told_reference(session: Session, desk: Desk) -> str | None:
    """Return the session's reference as it is told: what is unset shows in three ways."""
    return session.reference or desk.turn("sessionReference", session.user, None, "")


def _told_file(file: Attached) -> dict[str, Any]:
    told: dict[str, Any] = {
        "fileId": file.file_id,
        "isActive": file.is_active,
        "fileName": file.name,
        "mimetype": file.mime_type,
    }
    if file.tokens is not None:
        told["Metadata"] = {"tokens": file.tokens} | ({"error": file.error} if file.error else {})
    return told
