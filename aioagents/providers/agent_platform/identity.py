"""Kore Agent Platform: the identifiers that name a session. Pure.

A request has up to three identifiers, which the platform tries in this order; the first that matches decides:
`sessionId` finds a session and never creates one; `sessionReference` finds or creates one; `userReference` always
creates one (Agent Platform API, section 4.2, which also says why pages with the reverse order are wrong).
"""

from typing import Any, Final, Self

from attrs import frozen

from ...contract import check_text, details_in
from ...errors import BadReference
from .settings import APP, ENVIRONMENT, VENDOR

SESSION_ID: Final = "sessionId"
SESSION_REFERENCE: Final = "sessionReference"
USER_REFERENCE: Final = "userReference"
#: In the order in which the platform tries them.
_TYPES: Final = (SESSION_ID, SESSION_REFERENCE, USER_REFERENCE)


@frozen
class Identity:
    """The identifiers of a session, at least one of the three."""

    session_id: str | None = None
    session_reference: str | None = None
    user_reference: str | None = None

    @classmethod
    def of(
        cls,
        session_id: str | None = None,
        session_reference: str | None = None,
        user_reference: str | None = None,
    ) -> Self:
        """Make an identity. Raises ValueError if all three are None, or one of them is blank."""
        given = {
            "session_id": session_id,
            "session_reference": session_reference,
            "user_reference": user_reference,
        }
        for name, value in given.items():
            if value is not None:
                check_text(value, name)
        if not any(value is not None for value in given.values()):
            raise ValueError(f"give at least one of {', '.join(given)}")
        return cls(session_id, session_reference, user_reference)

    def pairs(self) -> list[tuple[str, str]]:
        """Return pairs of the vendor's type and the value, in the order in which the platform tries them."""
        values = (self.session_id, self.session_reference, self.user_reference)
        return [(kind, value) for kind, value in zip(_TYPES, values, strict=True) if value is not None]

    def wire(self) -> list[dict[str, Any]]:
        """Return the member `sessionIdentity` of a request."""
        return [{"type": kind, "value": value} for kind, value in self.pairs()]

    @property
    def is_repeatable(self) -> bool:
        """Return whether the same identity always leads to the same session.

        With a user's reference but no session's, each request may create another one: a user's reference never finds
        a session, and it also decides if the id matches nothing.
        """
        return self.user_reference is None or self.session_reference is not None

    def details(self) -> dict[str, str]:
        """Return the details in references to runs of this session: `sessionReference=chat-7`.

        With a session's reference, the user's is left out: the platform does not need it to find the session, and it
        may be somebody's name.
        """
        pairs = self.pairs()
        if self.session_reference is not None:
            pairs = [pair for pair in pairs if pair[0] != USER_REFERENCE]
        return dict(pairs)

    @classmethod
    def parse(cls, scope: str) -> Self:
        """Return the identity in the scope of a reference. Raises BadReference for one that names no session."""
        found = details_in(scope)
        given = {kind: value for kind, value in found.items() if kind not in (APP, ENVIRONMENT)}
        if not (given and set(given) <= set(_TYPES) and all(value.strip() for value in given.values())):
            raise BadReference(f"{scope!r} names no session; the form is sessionReference=...", vendor=VENDOR)
        return cls(*(given.get(kind) for kind in _TYPES))
