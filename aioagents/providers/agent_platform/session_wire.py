"""Kore Agent Platform: requests and answers about sessions. Pure.

The vendor's pages document listing and reading in generations with little in common (Agent Platform API, sections
6.2, 6.3); each has its own paths, names and paging, and all are read into the same values.
"""

from collections.abc import Mapping
from datetime import datetime
from enum import StrEnum
from typing import Any, Final, Self, TypeAlias

import attrs
from attrs import frozen

from ...codec import member, parse_moment
from ...errors import NotFound
from ...model import Reply, Request
from .settings import VENDOR
from .values import Answer, Session, UploadLimits
from .wire import KORE, check_word, request

_OK: Final = 200


class Generation(StrEnum):
    """The calls that list and read sessions: three generations of the vendor's pages contradict each other.

    `NEWEST`: under `/api/public/apps/{app}/sessions` (`POST .../list`, `GET ...`), with names in snake case.
    `LATER`: listed by `GET .../sessions/list` under `/aaa/api/v1`, bounded by dates; read as `OLDER`.
    `OLDER`: listed by `POST .../sessions/list`, read by `GET .../sessions`, both under the paths of the app.
    """

    NEWEST = "newest"
    LATER = "later"
    OLDER = "older"

    @classmethod
    def of(cls, name: str) -> Self:
        """Return the generation with this name. Raises ValueError, which lists the names, if there is none."""
        return cls(check_word(name, cls, "generation"))


#: A moment in a request: an aware datetime or ISO 8601 text.
Moment: TypeAlias = datetime | str
#: Values of `include` in the newest generation.
INCLUDES: Final = ("traces", "observations")
#: Filters of a list in each generation, and what they are called there.
FILTERS: Final[Mapping[Generation, Mapping[str, str]]] = {
    Generation.NEWEST: {
        "user_reference": "user_reference_id",
        "session_reference": "session_reference_id",
        "start": "start_time",
        "end": "end_time",
        "limit": "limit",
    },
    Generation.LATER: {"start": "startDate", "end": "endDate", "limit": "limit"},
    Generation.OLDER: {
        "session_id": "sessionId",
        "user_reference": "userReference",
        "start": "start",
        "end": "end",
    },
}


@frozen
class SessionUrls:
    """Base URLs of the calls about sessions: under the app's paths, and in the newest and later generation."""

    app: str
    newest: str
    later: str
    environment: str


def list_request(
    urls: SessionUrls, generation: Generation, filters: Mapping[str, str], offset: int
) -> Request:
    """Build the request for the page of a list that begins at `offset`."""
    names = FILTERS[generation]
    given: dict[str, Any] = {names[name]: value for name, value in filters.items()}
    call, limit = "sessions.list", {"limit": given.pop("limit")} if "limit" in given else {}
    query = {"offset": str(offset), **limit}
    if generation is Generation.LATER:
        return request(f"{urls.later}/sessions/list", call, method="GET", query={**given, **query})
    if generation is Generation.OLDER:
        if date := {name: given.pop(name) for name in ("start", "end") if name in given}:
            given["date"] = date
        return request(f"{urls.app}/sessions/list", call, {**given, "offset": offset})
    return request(f"{urls.newest}/list", call, {"env_name": urls.environment, **given}, query=query)


@frozen(kw_only=True)
class Page:
    """One page of a list."""

    items: list[Any] = member("sessions")
    total: int | None = member("total_count", "pagination.totalCount", default=None)
    has_more: bool | None = member("pagination.hasMore", default=None)

    def is_followed(self, offset: int) -> bool:
        """Return whether the platform reports another page after this one, which began at `offset`."""
        if self.has_more is not None:
            return self.has_more
        return self.total is not None and offset + len(self.items) < self.total

    def sessions(self, call: str) -> list[Session]:
        """Return the sessions. Raises DecodeError if one has no id."""
        return [_item(each, call, number) for number, each in enumerate(self.items)]


@frozen(kw_only=True)
class _Envelope(Answer):
    """An answer with one session, in any envelope."""

    limits: UploadLimits = member(".", factory=UploadLimits)
    session: Any = None
    session_info: Any = None
    sessions: Any = None


def read_session(reply: Reply, call: str) -> Session:
    """Read an answer with one session, in any envelope. Raises DecodeError, and NotFound for an empty list.

    The session is the member `session`, with a sign-in pending `sessionInfo`, the first item of `sessions` in the
    newest generation, and the body itself after a termination.
    """
    outer = _read_envelope(reply, call)
    inner = {"session": outer.session, "sessionInfo": outer.session_info}
    for name, found in inner.items():
        if found and isinstance(found, dict):
            session = KORE.read(found, Session, call=call, path=f"$.{name}")
            return attrs.evolve(
                session,
                events=outer.events or session.events,
                output=outer.output,
                limits=outer.limits,
                raw=outer.raw,
            )
    if not isinstance(outer.sessions, list):
        return KORE.read(outer.raw, Session, call=call)
    if not outer.sessions:
        raise NotFound(
            f"{VENDOR}: the answer to {call} holds no session", vendor=VENDOR, call=call, status=_OK
        )
    return _item(outer.sessions[0], call, 0)


def _item(value: Any, call: str, number: int) -> Session:
    # What is no object has no id.
    found = value if isinstance(value, dict) else {}
    return KORE.read(found, Session, call=call, path=f"$.sessions[{number}]")


_read_envelope: Final = KORE.reader(_Envelope)
read_page: Final = KORE.reader(Page)


def write_moment(value: Moment, name: str) -> str:
    """Return an aware datetime or ISO 8601 text as text. Raises ValueError or TypeError for anything else."""
    if isinstance(value, str):
        if parse_moment(value) is None:
            raise ValueError(f"{name}: expected an ISO 8601 date-time, not {value!r}")
        return value
    if not isinstance(value, datetime) or value.tzinfo is None:
        raise TypeError(f"{name}: expected an aware datetime or ISO 8601 text")
    return value.isoformat()
