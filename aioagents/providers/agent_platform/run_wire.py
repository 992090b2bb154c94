"""Kore Agent Platform: requests and answers about runs. Pure."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final

import attrs
from attrs import frozen

from ... import codec
from ...codec import member
from ...contract import path_segment
from ...errors import AuthorizationRequired
from ...model import Purpose, Reply, Request, Run, RunRef, RunState
from ...webhooks import DeliveryClaim, is_news
from .identity import Identity
from .settings import VENDOR
from .states import run_state
from .values import Answer, RunReply, text_of
from .wire import JSON, KORE, object_in, request

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
    url, is_long = f"{app_url}/runs/execute", not body["isAsync"]
    return request(url, call, body, purpose=Purpose.START, timeout=timeout, is_long=is_long)


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


@frozen(kw_only=True)
class _Started(Answer):
    run_id: str = member("runId", "sessionInfo.runId", "run._id", default="")


def read_started(reply: Reply, scope: str, call: str, seen_at: datetime) -> Run:
    """Read the acknowledgement of a run. Raises DecodeError if it names none.

    If it names none and asks for a sign-in, no run has started: raises AuthorizationRequired. Whatever the status of
    an acknowledgement, the run is not over: there is no output (section 6.5.3).
    """
    raw = object_in(reply, call)
    started = KORE.read(raw, _Started, call=call)
    run_id = started.run_id.strip()
    if not run_id:
        pending = started.pending_authorizations
        if pending:
            raise AuthorizationRequired(
                f"{VENDOR}: {call} started no run: {len(pending)} sign-in(s) of its end user are pending",
                vendor=VENDOR,
                call=call,
                pending_authorizations=pending,
            )
        raise KORE.wrong(call, "$.runId")
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


def read_run(reply: Reply, ref: RunRef, seen_at: datetime) -> Run:
    """Read the answer to a poll. Raises DecodeError if it has no status."""
    # By hand, which takes a third of the time of the rule: nine tenths of all answers are read here.
    raw = object_in(reply, STATUS)
    run = raw.get("run", raw)
    # Lower case, since the platform writes it in either, which is no change (section 6.6); `raw` has it as received.
    path = "$" if run is raw else "$.run"
    status = codec.text_in(run, "status", vendor=VENDOR, call=STATUS, path=path).lower()
    codec.check_id(run.get("_id"), ref.id, vendor=VENDOR, call=STATUS, path=f"{path}._id")
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


@frozen
class _Known:
    output: Any = None
    session_info: Any = None
    events: Any = None
    message_id: Any = None


def reply_in(reply: Reply, call: str) -> RunReply:
    """Read the answer to a synchronous run. Raises DecodeError unless it is an object with a known member."""
    body = object_in(reply, call)
    if not any(attrs.astuple(KORE.read(body, _Known, call=call), recurse=False)):
        raise KORE.wrong(call, "$")
    return KORE.read(body, RunReply, call=call)


@frozen
class _Failure:
    """Why a run failed; where the platform reports that is undocumented (section 6.6)."""

    reason: str = member("message", "error", "content", "error.message", default="")


def _reason(output: Any) -> str | None:
    if isinstance(output, dict):
        return KORE.read(output, _Failure, call=STATUS).reason or None
    return (output if isinstance(output, str) else text_of(output)) or None


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


@frozen
class _Delivery:
    run_id: str = member("run._id", "run.runId", "sessionInfo.runId", "runId", "_id", default="")
    status: str = member("run.status", "sessionInfo.status", "status", default="")


def read_delivery(content: Any) -> DeliveryClaim | None:
    """Return the run id, empty if there is none, and the status in the body of a callback; None if it is no object.

    A status word of a run that goes on is no news; anything else is.

    The form of the body is undocumented. A run's record, with or without its envelope, a synchronous answer, and a
    summary of these are recognized; for any other object, the URL of the callback identifies the run.
    """
    if not isinstance(content, dict):
        return None
    found = KORE.read(content, _Delivery, call="callback")
    return DeliveryClaim(found.run_id, found.status or None, is_news=is_news(run_state(found.status)))
