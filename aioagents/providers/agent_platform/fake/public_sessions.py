"""Handlers of the sessions' endpoints of the newest pages: other paths, members in snake case, traces."""

from collections.abc import Iterator
from typing import Any, Final
from urllib.parse import parse_qsl, urlsplit

from ....contract.fake import Call, Endpoint, JsonObject, Refused, read_count, read_object
from ....model import Purpose, Reply
from .runs import AppRun, RunSerializer
from .sessions import Session, Sessions
from .state import ServerState

_PATH: Final = "/api/public/apps/{app_id}/sessions"
_DAY: Final = 86_400.0
_PAGE, _LARGEST_PAGE = 20, 100
_INCLUDED: Final = frozenset({"traces", "observations"})


class PublicSessionHandlers:
    """Lists sessions, and returns one with its traces."""

    def __init__(self, server: ServerState, sessions: Sessions, serializer: RunSerializer) -> None:
        self._server = server
        self._sessions = sessions
        self._serializer = serializer

    def endpoints(self) -> Iterator[Endpoint]:
        """Return the endpoints, which need the app's key as well."""
        yield "POST", f"{_PATH}/list", "sessions.list", Purpose.CALL, self._list
        yield "GET", _PATH, "sessions.get", Purpose.CALL, self._get

    def _list(self, call: Call) -> Reply:
        body = read_object(call)
        offset = read_count(call, "offset", 0)
        limit = read_count(call, "limit", _PAGE, low=1, high=_LARGEST_PAGE)
        found = [session for session in self._between(body, call.now) if self._is_wanted(session, body)]
        page = [self._session(session, call.now) for session in found[offset : offset + limit]]
        return self._server.reply({"sessions": page, "total_count": len(found)})

    def _between(self, body: JsonObject, now: float) -> Iterator[Session]:
        start, end = body.get("start_time", str), body.get("end_time", str)
        stop = now if end is None else self._server.parse_date(end)
        begin = stop - _DAY if start is None else self._server.parse_date(start)
        return (session for session in self._sessions if begin <= session.created_at <= stop)

    def _is_wanted(self, session: Session, body: JsonObject) -> bool:
        is_needed = self._server.rules.env_name_needed
        name = body.require("env_name", str) if is_needed else body.get("env_name", str)
        return (
            (name is None or name.lower() == self._server.app.environment.lower())
            and body.get("user_reference_id", str) in (None, session.user)
            and body.get("session_reference_id", str) in (None, session.effective_reference)
        )

    def _session(self, session: Session, now: float) -> dict[str, Any]:
        is_over = session.ended_at is not None
        return {
            "session_id": session.id,
            "session_reference_id": session.reference or "",
            "user_reference_id": session.user,
            "env_name": self._server.app.environment,
            "start_time": self._server.format_date(session.created_at),
            "end_time": self._server.format_date(session.ended_at or 0.0) if is_over else None,
            "last_activity_at": self._server.format_date(session.active_at(now)),
            "source": self._server.vary("listed source", session.source, None),
        }

    def _get(self, call: Call) -> Reply:
        session_id = call.query.get("session_id")
        if not session_id:
            raise Refused(400, "session_id has to be there")
        # `include` is repeated if both are wanted, and the mapping `call.query` keeps the last one only.
        pairs = parse_qsl(urlsplit(call.request.url).query)
        included = {value for name, value in pairs if name == "include"}
        if not included <= _INCLUDED:
            raise Refused(400, "include has to be traces or observations")
        session = self._server.found(self._sessions.get(session_id), "session")
        app = self._server.app
        body: dict[str, Any] = {
            "session_id": session.id,
            "created_at": self._server.format_date(session.created_at),
            "source": session.source,
            "environment": app.environment,
            "user_id": session.user_id,
            "session_reference": session.reference,
            "app_version_id": app.version_id,
            "latency": None,
            "traces": [],
        }
        if included:
            runs = (run for run in session.runs if isinstance(run, AppRun))
            has_all = "observations" in included
            body["traces"] = [self._trace(run, call.now, has_all=has_all) for run in runs]
        return self._server.reply({"sessions": [body], "pagination": {"page": 1, "limit": 1, "total": 1}})

    def _trace(self, run: AppRun, now: float, *, has_all: bool) -> dict[str, Any]:
        is_over = run.is_over(now)
        app = self._server.app
        return {
            "trace_id": run.id,
            "timestamp": self._server.format_date(run.created_at),
            "environment": app.environment,
            "user_id": run.session.user_id,
            "input": run.request.echo["input"],
            "output": self._serializer.output(run, now) if is_over else None,
            "latency": run.until - run.created_at if is_over else None,
            "app_version_id": app.version_id,
            "env_id": app.env_id,
            "source": run.session.source,
            "observations": [self._observation(run)] if has_all else [],
        }

    def _observation(self, run: AppRun) -> dict[str, Any]:
        return {
            "observation_id": f"o-{run.id.removeprefix('r-')}",
            "type": "GENERATION",
            "name": "Orchestrator",
            "start_time": self._server.format_date(run.created_at),
            "end_time": None,
            "latency": None,
            "input": None,
            "output": None,
            "model": "gpt-4o",
            "provider": "openai",
            "token_usage": {"input": 12, "output": 5, "total": 17},
            "parent_observation_id": None,
        }
