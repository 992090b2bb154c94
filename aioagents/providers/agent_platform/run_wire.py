"""Kore Agent Platform: requests and answers about runs. Pure."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final

from ... import codec
from ...contract import path_segment
from ...errors import AuthorizationRequired
from ...model import Purpose, Reply, Request, Run, RunRef, RunState
from ...webhooks import DeliveryClaim, is_news
from .identity import Identity
from .reading import Fields, object_in, wrong
from .session_wire import JSON
from .settings import VENDOR
from .states import run_state
from .values import pending_in, read_events, text_of

STATUS: Final = "runs.status"
_CALLBACK_TOKEN: Final = "callbackToken"  # noqa: S105 - the name of the member that holds one
_SECRETS: Final = frozenset({"app_token", _CALLBACK_TOKEN})
_ECHOES: Final = (b"app_token", _CALLBACK_TOKEN.encode())
_REDACTED: Final = "***"


def execute_request(
    app_url: str, call: str, body: Mapping[str, Any], timeout: float | None = None
) -> Request:
    """Build the request that starts a run, synchronous or not, which is sent once.

    It is a long request unless the run is asynchronous: its answer comes at the end of the run, or during it.
    """
    return Request(
        method="POST",
        url=f"{app_url}/runs/execute",
        call=call,
        purpose=Purpose.START,
        headers=JSON,
        body=codec.encode_json(body),
        timeout=timeout,
        is_long=not body["isAsync"],
    )


def shown_body(body: Mapping[str, Any]) -> bytes:
    """Return the part of a body that errors may carry, as JSON: all but the token for callbacks."""
    return codec.encode_json({name: value for name, value in body.items() if name != _CALLBACK_TOKEN})


def status_request(app_url: str, ref: RunRef) -> Request:
    """Build the request that polls a run, a POST that only reads. Raises ValueError for an invalid id or scope."""
    segment = path_segment(ref.id, "run_id")
    return Request(
        method="POST",
        url=f"{app_url}/runs/{segment}/status",
        call=STATUS,
        purpose=Purpose.POLL,
        headers=JSON,
        body=codec.encode_json({"sessionIdentity": Identity.parse(ref.scope).wire()}),
    )


def read_started(reply: Reply, scope: str, call: str, seen_at: datetime) -> Run:
    """Read the acknowledgement of a run. Raises DecodeError if it names none.

    If it names none and asks for a sign-in, no run has started: raises AuthorizationRequired. Whatever the status of
    an acknowledgement, the run is not over: there is no output (section 6.5.3).
    """
    raw = object_in(reply, call)
    run_id = _run_id(Fields(raw))
    if not run_id:
        pending = pending_in(read_events(Fields(raw)))
        if pending:
            raise AuthorizationRequired(
                f"{VENDOR}: {call} started no run: {len(pending)} sign-in(s) of its end user are pending",
                vendor=VENDOR,
                call=call,
                pending_authorizations=pending,
            )
        raise wrong(call, "$.runId")
    status = raw.get("status")
    word = status if isinstance(status, str) else ""
    state = run_state(word)
    return Run(
        ref=RunRef(VENDOR, scope, run_id),
        state=RunState.QUEUED if state.is_terminal else state,
        status=word,
        raw=redacted(raw, reply.body),
        seen_at=seen_at,
    )


def _run_id(raw: Fields) -> str:
    found = raw.text("runId") or raw.inner("sessionInfo").text("runId") or raw.inner("run").text("_id")
    return found.strip()


def read_run(reply: Reply, ref: RunRef, seen_at: datetime) -> Run:
    """Read the answer to a poll. Raises DecodeError if it has no status."""
    raw = object_in(reply, STATUS)
    run = raw.get("run", raw)
    # Lower case, since the platform writes it in either, which is no change (section 6.6); `raw` has it as received.
    path = "$" if run is raw else "$.run"
    status = codec.text_in(run, "status", vendor=VENDOR, call=STATUS, path=path).lower()
    state = run_state(status)
    kwargs = run.get("kwargs")
    output = kwargs.get("output") if isinstance(kwargs, dict) else None
    return Run(
        ref=ref,
        state=state,
        status=status,
        created_at=codec.parse_moment(run.get("createdAt")),
        ended_at=codec.parse_moment(run.get("updatedAt")) if state.is_terminal else None,
        output=output if state is RunState.COMPLETED else None,
        error=_reason(output) if state is RunState.FAILED else None,
        raw=redacted(raw, reply.body),
        seen_at=seen_at,
    )


def _reason(output: Any) -> str | None:
    """Return why a run failed, None if unknown; where the platform reports that is undocumented (section 6.6)."""
    if isinstance(output, str):
        return output or None
    if isinstance(output, dict):
        found = Fields(output)
        return found.text("message", "error", "content") or found.inner("error").text("message") or None
    return text_of(output) or None


def redacted(raw: dict[str, Any], body: bytes) -> dict[str, Any]:
    """Return an answer without the token for callbacks, which status records repeat."""
    if not any(each in body for each in _ECHOES):
        return raw
    clean: dict[str, Any] = _without_secrets(raw)
    return clean


def _without_secrets(value: Any) -> Any:
    if isinstance(value, dict):
        return {
            name: _REDACTED if name in _SECRETS and each else _without_secrets(each)
            for name, each in value.items()
        }
    if isinstance(value, list):
        return [_without_secrets(each) for each in value]
    return value


def read_delivery(content: Any) -> DeliveryClaim | None:
    """Return the run id, empty if there is none, and the status in the body of a callback; None if it is no object.

    A status word of a run that goes on is no news; anything else is.

    The form of the body is undocumented. A run's record, with or without its envelope, a synchronous answer, and a
    summary of these are recognized; for any other object, the URL of the callback identifies the run.
    """
    if not isinstance(content, dict):
        return None
    raw = Fields(content)
    run, info = raw.inner("run"), raw.inner("sessionInfo")
    run_id = run.text("_id", "runId") or info.text("runId") or raw.text("runId", "_id")
    status = run.text("status") or info.text("status") or raw.text("status")
    return DeliveryClaim(run_id, status or None, is_news=is_news(run_state(status)))
