"""Kore Agent Platform: sessions, the conversations of an app with its users."""

from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from typing import Final

from ...contract import check_text
from ...errors import NotFound
from .calls import Calls, require_authorized
from .identity import Identity
from .session_wire import (
    FILTERS,
    INCLUDES,
    Generation,
    Moment,
    SessionUrls,
    list_request,
    read_page,
    read_session,
    write_moment,
)
from .values import Session
from .wire import check_whole, request

PAGE_SIZE: Final = 100
_ADVICE: Final = "List the user's sessions and look for the newest one: sessions.list(user_reference=...)."
_TERMINATED: Final = "terminated"


class Sessions:
    """The sessions of an app, available as `AgentPlatform.sessions`.

    All methods raise `ReplyError`, `TransportError`, `DecodeError` and `PoolClosed`, and ValueError or TypeError for
    arguments that cannot be sent. Requests that fail for a passing reason are retried, except as noted at `create`.
    """

    def __init__(self, calls: Calls, urls: SessionUrls) -> None:
        self._calls = calls
        self._urls = urls

    async def create(
        self,
        *,
        session_id: str | None = None,
        session_reference: str | None = None,
        user_reference: str | None = None,
        source: str | None = None,
        require_authorization: bool = False,
    ) -> Session:
        """Return an existing session or a new one. At least one of the three identifiers is needed.

        An id finds a session; a session's reference, chosen by the caller, finds one or names the new one; a user's
        reference creates a new one each time. So a request with a user's reference and no session's is sent once, and
        raises `StartUnknown` if its reply was lost; all others are retried, and lead to the same session. `source`
        names the origin of the conversation (by the platform's default `AP`). With `require_authorization`, pending
        sign-ins of the user raise `AuthorizationRequired`, which carries them as `pending_authorizations` and the
        session as `reply`. Agent Platform API, sections 4, 5 and 6.1.
        """
        identity = Identity.of(session_id, session_reference, user_reference)
        body = {
            "sessionIdentity": identity.wire(),
            "source": None if source is None else check_text(source, "source"),
        }
        creation = request(f"{self._urls.app}/sessions", "sessions.create", body)
        if identity.is_repeatable:
            session = await self._calls.call(creation, read_session)
        else:
            session = await self._calls.create(
                creation,
                read_session,
                target=identity.user_reference or "",
                advice=_ADVICE,
                action="created a session",
            )
        if require_authorization:
            require_authorized(session.pending_authorizations, creation.call, session)
        return session

    async def get(
        self,
        *,
        session_id: str | None = None,
        session_reference: str | None = None,
        include: Collection[str] = (),
        generation: str = Generation.NEWEST,
    ) -> Session:
        """Return a session as it is now.

        The newest generation finds it only by its id, and adds what `include` names: `traces`, `observations`. The
        older ones find it by id or reference, and return its attachments. Raises `NotFound`. Agent Platform API,
        section 6.3.
        """
        found = Generation.of(generation)
        identity = Identity.of(session_id, session_reference)
        if found is not Generation.NEWEST:
            if include:
                raise ValueError(f"include: the {found} generation has no traces")
            return await self._read(f"{self._urls.app}/sessions", identity.pairs())
        if session_id is None or session_reference is not None:
            raise ValueError(
                "the newest generation reads a session by session_id alone; "
                "generation='older' takes a session_reference"
            )
        unknown = [each for each in include if each not in INCLUDES]
        if unknown or isinstance(include, str):
            raise ValueError(f"include: expected a list of {', '.join(INCLUDES)}, not {include!r}")
        return await self._read(
            self._urls.newest, [("session_id", session_id), *(("include", each) for each in include)]
        )

    async def _read(self, url: str, query: Sequence[tuple[str, str]]) -> Session:
        return await self._calls.call(request(url, "sessions.get", method="GET", query=query), read_session)

    def list(
        self,
        *,
        user_reference: str | None = None,
        session_reference: str | None = None,
        session_id: str | None = None,
        start: Moment | None = None,
        end: Moment | None = None,
        page_size: int | None = None,
        generation: str = Generation.NEWEST,
    ) -> AsyncIterator[Session]:
        """Iterate over the sessions of the app's environment: `async for session in platform.sessions.list()`.

        The pages are read one by one; a session that moves to another page meanwhile is returned once. The newest
        generation covers the 24 hours before `end` (by default now) without a `start`, and has no filter
        `session_id`; the later one has only dates and page sizes; the older one has no session's reference and no
        page size. Raises ValueError for a filter that the generation does not have. Agent Platform API, section 6.2.
        """
        found = Generation.of(generation)
        given = {
            "user_reference": user_reference,
            "session_reference": session_reference,
            "session_id": session_id,
            "start": None if start is None else write_moment(start, "start"),
            "end": None if end is None else write_moment(end, "end"),
            "limit": None if page_size is None else str(check_whole(page_size, "page_size", PAGE_SIZE)),
        }
        filters = {name: value for name, value in given.items() if value is not None}
        for name in filters:
            if name not in FILTERS[found]:
                shown = "page_size" if name == "limit" else name
                raise ValueError(f"{shown}: the {found} generation has no such filter")
        if found is not Generation.OLDER:
            filters.setdefault("limit", str(PAGE_SIZE))
        return self._pages(found, filters)

    async def _pages(self, generation: Generation, filters: Mapping[str, str]) -> AsyncIterator[Session]:
        offset, seen = 0, set[str]()
        while True:
            listing = list_request(self._urls, generation, filters, offset)
            page = await self._calls.call(listing, read_page)
            fresh = [each for each in page.sessions(listing.call) if each.session_id not in seen]
            for session in fresh:
                seen.add(session.session_id)
                yield session
            # A server that ignores the offset would return the same page for ever.
            if not (page.is_followed(offset) and fresh):
                return
            offset += len(page.items)

    async def terminate(
        self, *, session_id: str | None = None, session_reference: str | None = None
    ) -> Session:
        """Terminate a session, whose memory is deleted, and return it; its `status` is `terminated`.

        It is not documented that this ends a run of the session that is in progress, so no run is cancelled by it.
        A session cannot be terminated by its user's reference. Raises `NotFound`, but not after a retry, since an
        earlier attempt may have terminated it. Agent Platform API, section 6.4.
        """
        identity = Identity.of(session_id, session_reference)
        body = {"sessionIdentity": identity.wire()}
        termination = request(f"{self._urls.app}/sessions/terminate", "sessions.terminate", body)
        try:
            return await self._calls.call(termination, read_session)
        except NotFound as error:
            if error.tries == 1:
                raise
        return Session(
            session_id=session_id or "", session_reference=session_reference or "", status=_TERMINATED
        )
