"""Errors made of replies: of a refusal, and of a body that cannot be read. Pure."""

import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from attrs import field, frozen

from .. import codec
from ..errors import (
    AgentsError,
    AuthenticationError,
    DecodeError,
    ForeignReply,
    ReplyError,
    ServerError,
    error_class,
)
from ..model import Reply, Request, StreamedReply
from ..retry import PASSING, read_retry_after
from ..tracebacks import hide_locals
from .redaction import known_secrets, redact

if TYPE_CHECKING:
    from datetime import datetime

_MAX_DETAIL: Final = 500
_REQUEST_IDS: Final = ("x-request-id", "request-id", "x-correlation-id", "x-amzn-requestid")
#: What identifies a request has no spaces, and is short; a header that was repeated is neither.
_ID: Final = re.compile(r"[!-~]{1,200}")
_UNSIGNED: Final[Mapping[str, str]] = MappingProxyType({})
_MESSAGE_MEMBERS: Final = ("message", "msg", "error", "detail", "error_description", "errorMessage", "errors")
#: Members that may hold an object with the message, or a list of such objects.
_NESTED_IN: Final = ("error", "errors")
_NONE: Final[Mapping[str, object]] = MappingProxyType({})
_UNAUTHORIZED: Final = 401
# Codes of token endpoints (RFC 6749, sections 5.2 and 4.1.2.1).
_CONDEMNING_CODES: Final = frozenset({"invalid_client", "invalid_grant", "unauthorized_client"})
_PASSING_CODES: Final = frozenset({"server_error", "temporarily_unavailable"})
_FIRST_CLIENT_STATUS: Final = 400
_MISPLACED: Final = "no answer of {} was in the vendor's form so far: is the base URL right?"


@frozen(kw_only=True)
class Refusal:
    """What the body of a refusal says: its text for people, its code, and the vendor's id of the request.

    `facts` are attributes that the error gets besides, such as those of `Conflict`. Texts may have any length: the
    error keeps the first 500 characters.
    """

    detail: str = field(default="", repr=False)
    code: str = ""
    request_id: str | None = None
    facts: Mapping[str, object] = _NONE


#: Reads the body of a refusal in a vendor's form, wherever it has the reason. Returns None for a body in no form of
#: this vendor's: it may be a gateway's. Pure, and raises nothing, whatever the body.
ReadRefusal: TypeAlias = Callable[[Reply], Refusal | None]


def refusal_object(reply: Reply) -> dict[str, Any] | None:
    """Return the JSON object that is the body of a refusal; None for any other body."""
    with suppress(ValueError):
        body = codec.decode_tolerant(reply.body)
        return body if isinstance(body, dict) else None
    return None


def read_json_refusal(reply: Reply) -> Refusal | None:
    """Return the refusal in a JSON object that has a message or a code under one of the usual names.

    Both may be at the top, in an object `error`, or in the first object of a list `error` or `errors`. None for any
    other body.
    """
    body = refusal_object(reply)
    return None if body is None else _refusal_in(body)


def read_any_refusal(reply: Reply) -> Refusal:
    """Return the refusal in a body of any form: as `read_json_refusal`, else the body's text."""
    text: Any = None
    with suppress(ValueError):
        text = codec.decode_tolerant(reply.body)
    found = (_refusal_in(text) if isinstance(text, dict) else None) or Refusal()
    if found.detail or (isinstance(text, dict) and not any(text.get(name) for name in _MESSAGE_MEMBERS)):
        return found
    if not isinstance(text, str):
        text = reply.body[: 4 * _MAX_DETAIL].decode("utf-8", "replace")
    return Refusal(detail=text, code=found.code)


def error_of_reply(
    vendor: str,
    request: Request,
    reply: Reply,
    *,
    utcnow: "datetime",
    read_refusal: ReadRefusal = read_any_refusal,
    headers: Mapping[str, str] = _UNSIGNED,
    shown_body: bytes | None = None,
    is_known: bool = False,
) -> ReplyError:
    """Return the error for a reply whose status is not 2xx, with what `read_refusal` finds in its body.

    Secrets that were sent in `request`, or in `headers` beside its own, are replaced by asterisks where the server
    repeats them. `shown_body` is the part of the body that is no secret, if that is known. `is_known` says that an
    answer of the account was in the vendor's form before. No vendor redirects, and a 401 says all without a body.
    """
    found = read_refusal(reply) if reply.status >= _FIRST_CLIENT_STATUS else None
    if found is None and reply.status == _UNAUTHORIZED and not reply.body:
        found = Refusal()
    is_foreign = found is None
    refusal = found or read_any_refusal(reply)
    kind = error_class(reply.status, is_foreign=is_foreign)
    error = kind(
        f"{vendor}: {request.call} was answered with {reply.status}",
        vendor=vendor,
        call=request.call,
        status=reply.status,
        retry_after=read_retry_after(reply.headers.get("retry-after"), utcnow=utcnow),
        request_id=_request_id(reply.headers) or refusal.request_id,
        detail=refusal.detail[:_MAX_DETAIL].strip(),
        code=refusal.code[:_MAX_DETAIL],
        is_foreign=is_foreign,
        **refusal.facts,
    )
    if is_foreign:
        note_host(error, request, is_known=is_known)
    error.is_passing = kind.is_passing or reply.status in PASSING or (kind is ForeignReply and is_known)
    redact(error, known_secrets(request, headers, shown_body))
    return error


def note_host(error: AgentsError, request: Request, *, is_known: bool) -> None:
    """Set on `error` who answered `request`, which may not have been the vendor; its message names the host.

    Where no answer was the vendor's before, the message also says so.
    """
    error.host = request.host
    form = ", in no form of the vendor's" if error.is_foreign else ""
    doubt = "" if is_known else f"; {_MISPLACED.format(error.host)}"
    error.args = (f"{error} (by {error.host}{form}){doubt}",)


def note_unreadable(
    error: Exception, request: Request, reply: Reply, *, is_known: bool, passes: bool = False
) -> None:
    """Set what `reply` says about `error`, with which reading it failed.

    As `note_reply`. What is no JSON is foreign. It passes if an answer was in the vendor's form before; with
    `passes`, so does whatever else cannot be read.
    """
    note_reply(error, reply)
    if not isinstance(error, DecodeError):
        return
    error.is_foreign = bool(reply.body) and not _is_json(reply.body)
    error.is_passing = is_known and (error.is_foreign or passes)
    if error.is_foreign or not is_known:
        note_host(error, request, is_known=is_known)


def _is_json(body: bytes) -> bool:
    try:
        codec.decode_json(body)
    except ValueError:
        return False
    return True


def refusal_of_token(
    vendor: str,
    request: Request,
    reply: Reply,
    *,
    utcnow: "datetime",
    read_refusal: ReadRefusal = read_any_refusal,
    is_known: bool = False,
) -> ReplyError:
    """Return the error for a reply of a token endpoint whose status is not 2xx.

    `is_known` says that it gave a token before. If it did not, whatever it refuses in its own form is a fault of the
    credentials or settings; if it did, only what says so is, and anything else is taken for a gateway's.
    """
    error = error_of_reply(
        vendor, request, reply, utcnow=utcnow, read_refusal=read_refusal, is_known=is_known
    )
    code = error.code or error.detail
    kind: type[ReplyError] = AuthenticationError
    if not isinstance(error, AuthenticationError):
        if error.is_foreign or error.is_passing:
            return error
        if code in _PASSING_CODES:
            kind = ServerError
        elif is_known and code not in _CONDEMNING_CODES:
            kind = ForeignReply
    facts = {**vars(error), "is_passing": kind is not AuthenticationError, "is_foreign": kind is ForeignReply}
    return kind(f"{vendor}: the token endpoint refused the credentials with {reply.status}", **facts)


def note_reply(error: Exception, reply: Reply | StreamedReply) -> None:
    """Set the status and the vendor's request id of `reply` on `error`, which says that it could not be read.

    The local variables of what read it are cleared: tracebacks would show the reply.
    """
    hide_locals(error)
    if not isinstance(error, AgentsError):
        return
    if error.status is None:
        error.status = reply.status
    if error.request_id is None:
        error.request_id = _request_id(reply.headers)


def _request_id(headers: Mapping[str, str]) -> str | None:
    found = next((headers[name] for name in _REQUEST_IDS if name in headers), None)
    return found if found is not None and _ID.fullmatch(found) else None


def _refusal_in(body: dict[str, Any]) -> Refusal | None:
    detail = code = ""
    for each in (*_nested_in(body), body):
        texts = (_text_in(each.get(name)) for name in _MESSAGE_MEMBERS)
        detail = detail or next(filter(None, texts), "")
        found = each.get("code")
        code = code or (found if isinstance(found, str) else "")
    return Refusal(detail=detail, code=code) if detail or code else None


def _nested_in(body: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for name in _NESTED_IN:
        value = body.get(name)
        inner = value[0] if isinstance(value, list) and value else value
        if isinstance(inner, dict):
            yield inner


def _text_in(value: Any) -> str:
    """Return a text, or the texts of a list, one after the other; empty for anything else."""
    if isinstance(value, list):
        return "; ".join(value) if all(isinstance(each, str) for each in value) else ""
    return value if isinstance(value, str) else ""
