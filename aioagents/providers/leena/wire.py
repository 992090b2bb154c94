"""Leena AI: requests, and the reading of replies. Pure."""

from datetime import datetime
from typing import Any, Final

from attrs import frozen

from ... import codec
from ...auth import basic_header
from ...contract import path_segment
from ...errors import DecodeError
from ...model import Purpose, Reply, Request, Run, RunRef, RunState
from ...model.token import read_lifetime
from ...tracebacks import hides_locals
from .settings import VENDOR, LeenaCredentials
from .states import ACCEPTED, state_of

_JSON: Final = {"Content-Type": "application/json"}


@frozen(kw_only=True)
class _Token:
    access_token: str
    expires_in: Any = None


@hides_locals
def token_request(base_url: str, credentials: LeenaCredentials) -> Request:
    """Build the password grant: Basic client credentials, and a JSON body instead of RFC 6749's form."""
    body = {
        "username": credentials.username,
        "password": credentials.password.reveal(),
        "grant_type": "password",
    }
    basic = basic_header(credentials.client_id, credentials.client_secret)
    return Request(
        method="POST",
        url=f"{base_url}/api/v1.0/oauth/token",
        call="token",
        purpose=Purpose.TOKEN,
        headers={**_JSON, "Authorization": basic},
        body=codec.encode_json(body),
    )


def read_token(reply: Reply) -> tuple[str, float]:
    """Read a token and its lifetime in seconds; a missing or invalid lifetime is replaced by a short one."""
    token = codec.structure(
        codec.decode(reply.body, vendor=VENDOR, call="token"), _Token, vendor=VENDOR, call="token"
    )
    if not token.access_token:
        raise DecodeError(f"{VENDOR}: the token is empty", vendor=VENDOR, call="token", path="$.access_token")
    return token.access_token, read_lifetime(token.expires_in)


def execute_request(base_url: str, aop_id: str, message: str, context: Any) -> Request:
    """Build the start of an AOP run. Raises TypeError for a context that JSON cannot hold."""
    content = {"aop_id": aop_id, "message_to_start": message}
    body = codec.encode_around(context, "context", content)
    return Request(
        method="POST",
        url=f"{base_url}/api/v1/external/aop/execute",
        call="aop.execute",
        purpose=Purpose.START,
        headers=_JSON,
        body=body,
    )


def read_accepted(reply: Reply, *, scope: str, seen_at: datetime) -> Run:
    """Read the answer to execute. Raises DecodeError when it has no run id."""
    raw = codec.decode(reply.body, vendor=VENDOR, call="aop.execute")
    item = codec.id_in(raw, "aop_item_id", vendor=VENDOR, call="aop.execute")
    # Only the id is needed: with an odd status the start is known to have begun all the same.
    status = raw.get("status", ACCEPTED)
    status = status if isinstance(status, str) else ACCEPTED
    state = RunState.QUEUED if status == ACCEPTED else state_of(status)
    ref = RunRef(VENDOR, scope, item)
    return Run(ref=ref, state=state, status=status, raw=raw, seen_at=seen_at)


def status_request(base_url: str, aop_item_id: str) -> Request:
    """Build a poll of one run. Raises ValueError for an empty id."""
    return Request(
        method="GET",
        url=f"{base_url}/api/v1/external/aop/items/{path_segment(aop_item_id, 'aop_item_id')}/status",
        call="aop.status",
        purpose=Purpose.POLL,
    )


def read_status(reply: Reply, ref: RunRef, seen_at: datetime) -> Run:
    """Read a run's status. `status` alone decides the state: the dates may be missing, early or late.

    Dates have no zone and are taken as UTC; the vendor's sample does not say which zone is meant.
    """
    raw = codec.decode(reply.body, vendor=VENDOR, call="aop.status")
    status = codec.text_in(raw, "status", vendor=VENDOR, call="aop.status")
    codec.check_id(raw.get("aop_item_id"), ref.id, vendor=VENDOR, call="aop.status", path="$.aop_item_id")
    return Run(
        ref=ref,
        state=state_of(status),
        status=status,
        started_at=codec.parse_moment(raw.get("initiated_at")),
        ended_at=codec.parse_moment(raw.get("completed_at")),
        raw=raw,
        seen_at=seen_at,
    )
