"""Kore Agent Platform: requests and answers about sessions. Pure.

The vendor's pages document listing and reading in generations with little in common (Agent Platform API, sections
6.2, 6.3); each has its own paths, names and paging, and all are read into the same values.
"""

from collections.abc import Collection, Mapping
from datetime import datetime
from enum import StrEnum
from typing import Any, Final, TypeAlias
from urllib.parse import quote, urlencode

import attrs
from attrs import frozen

from ... import codec
from ...codec import parse_moment
from ...errors import NotFound
from ...model import Reply, Request
from .identity import Identity
from .reading import Fields, object_in, wrong
from .settings import VENDOR
from .values import (
    Observation,
    Session,
    Trace,
    pending_in,
    read_events,
    read_limits,
    read_session_info,
)

JSON: Final[Mapping[str, str]] = {"Content-Type": "application/json"}
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
    def of(cls, name: str) -> "Generation":
        """Return the generation with this name. Raises ValueError, which lists the names, if there is none."""
        try:
            return cls(name)
        except ValueError:
            raise ValueError(f"generation has to be one of {', '.join(cls)}, not {name!r}") from None


#: A moment in a request: an aware datetime or ISO 8601 text.
Moment: TypeAlias = datetime | str
#: Values of `include` in the newest generation.
INCLUDES: Final = ("traces", "observations")
#: Filters of a list in each generation.
FILTERS: Final[Mapping[Generation, Collection[str]]] = {
    Generation.NEWEST: ("user_reference", "session_reference", "start", "end", "limit"),
    Generation.LATER: ("start", "end", "limit"),
    Generation.OLDER: ("session_id", "user_reference", "start", "end"),
}


@frozen
class SessionUrls:
    """Base URLs of the calls about sessions: under the app's paths, and in the newest and later generation."""

    app: str
    newest: str
    later: str
    environment: str


def create_request(app_url: str, identity: Identity, source: str | None) -> Request:
    """Build the request that finds or creates a session."""
    body: dict[str, Any] = {"sessionIdentity": identity.wire()}
    if source is not None:
        body["source"] = source
    return post(f"{app_url}/sessions", "sessions.create", body)


def terminate_request(app_url: str, identity: Identity) -> Request:
    """Build the request that terminates a session."""
    return post(f"{app_url}/sessions/terminate", "sessions.terminate", {"sessionIdentity": identity.wire()})


def get_request(url: str, query: Mapping[str, str], include: tuple[str, ...] = ()) -> Request:
    """Build the request for one session."""
    pairs = [*query.items(), *(("include", each) for each in include)]
    return Request(method="GET", url=f"{url}?{urlencode(pairs, quote_via=quote)}", call="sessions.get")


def list_request(
    urls: SessionUrls, generation: Generation, filters: Mapping[str, str], offset: int
) -> Request:
    """Build the request for the page of a list that begins at `offset`."""
    call = "sessions.list"
    start, end = filters.get("start"), filters.get("end")
    if generation is Generation.LATER:
        query = _given({"startDate": start, "endDate": end, "offset": str(offset), "limit": filters["limit"]})
        return attrs.evolve(get_request(f"{urls.later}/sessions/list", query), call=call)
    if generation is Generation.OLDER:
        body = {
            "sessionId": filters.get("session_id"),
            "userReference": filters.get("user_reference"),
            "date": _given({"start": start, "end": end}) or None,
            "offset": offset,
        }
        return post(f"{urls.app}/sessions/list", call, _given(body))
    body = {
        "env_name": urls.environment,
        "start_time": start,
        "end_time": end,
        "user_reference_id": filters.get("user_reference"),
        "session_reference_id": filters.get("session_reference"),
    }
    query = {"offset": str(offset), "limit": filters["limit"]}
    return post(f"{urls.newest}/list", call, _given(body), query)


def _given(members: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in members.items() if value is not None}


def post(url: str, call: str, body: Mapping[str, Any], query: Mapping[str, str] | None = None) -> Request:
    """Build a POST that may be repeated."""
    suffix = f"?{urlencode(query, quote_via=quote)}" if query else ""
    return Request(method="POST", url=url + suffix, call=call, headers=JSON, body=codec.encode_json(body))


@frozen(kw_only=True)
class Page:
    """One page of a list; `has_more` says whether the platform reports another one."""

    sessions: tuple[Session, ...]
    length: int
    has_more: bool


def read_page(reply: Reply, call: str, offset: int) -> Page:
    """Read the page of a list of any generation that began at `offset`. Raises DecodeError."""
    raw = Fields(object_in(reply, call))
    found = raw.get("sessions")
    if not isinstance(found, list):
        raise wrong(call, "$.sessions")
    paging = raw.inner("pagination")
    total = raw.number("total_count")
    if total is None:
        total = paging.number("totalCount")
    flag = paging.flag("hasMore")
    has_more = flag if flag is not None else total is not None and offset + len(found) < total
    sessions = tuple(_session(Fields(each), call, f"$.sessions[{n}]") for n, each in enumerate(found))
    return Page(sessions=sessions, length=len(found), has_more=has_more)


def read_session(reply: Reply, call: str) -> Session:
    """Read an answer with one session, in any envelope. Raises DecodeError, and NotFound for an empty list.

    The session is the member `session`, with a sign-in pending `sessionInfo`, the first item of `sessions` in the
    newest generation, and the body itself after a termination.
    """
    raw = Fields(object_in(reply, call))
    for name in ("session", "sessionInfo"):
        if inner := raw.inner(name):
            return _session(inner, call, f"$.{name}", raw)
    listed = raw.get("sessions")
    if isinstance(listed, list):
        if not listed:
            raise NotFound(
                f"{VENDOR}: the answer to {call} holds no session", vendor=VENDOR, call=call, status=_OK
            )
        return _session(Fields(listed[0]), call, "$.sessions[0]")
    return _session(raw, call, "$")


def _session(raw: Fields, call: str, path: str, outer: Fields | None = None) -> Session:
    info = read_session_info(raw)
    if not info.session_id:
        raise wrong(call, f"{path}.sessionId")
    outer = raw if outer is None else outer
    events = read_events(outer) or read_events(raw)
    return Session(
        session_id=info.session_id,
        session_reference=info.session_reference,
        user_reference=info.user_reference,
        user_id=info.user_id,
        app_id=info.app_id,
        environment=info.environment,
        status=info.status,
        source=raw.text("source"),
        created_at=raw.moment("createdAt", "start_time"),
        ended_at=raw.moment("end_time"),
        last_active_at=raw.moment("last_activity_at"),
        attachments=info.attachments,
        events=events,
        output=outer.items("output"),
        limits=read_limits(outer),
        traces=tuple(_trace(each) for each in raw.objects("traces")),
        pending_authorizations=pending_in(events),
        raw=outer.raw,
    )


def _trace(raw: Fields) -> Trace:
    return Trace(
        trace_id=raw.text("trace_id"),
        began_at=raw.moment("timestamp"),
        latency=raw.number("latency"),
        input=raw.get("input"),
        output=raw.get("output"),
        observations=tuple(_observation(each) for each in raw.objects("observations")),
        raw=raw.raw,
    )


def _observation(raw: Fields) -> Observation:
    return Observation(
        observation_id=raw.text("observation_id"),
        type=raw.text("type"),
        name=raw.text("name"),
        model=raw.text("model"),
        provider=raw.text("provider"),
        parent_id=raw.text("parent_observation_id"),
        started_at=raw.moment("start_time"),
        ended_at=raw.moment("end_time"),
        input=raw.get("input"),
        output=raw.get("output"),
        tokens=raw.inner("token_usage").raw,
        raw=raw.raw,
    )


def write_moment(value: Moment, name: str) -> str:
    """Return an aware datetime or ISO 8601 text as text. Raises ValueError or TypeError for anything else."""
    if isinstance(value, str):
        if parse_moment(value) is None:
            raise ValueError(f"{name}: expected an ISO 8601 date-time, not {value!r}")
        return value
    if not isinstance(value, datetime) or value.tzinfo is None:
        raise TypeError(f"{name}: expected an aware datetime or ISO 8601 text")
    return value.isoformat()
