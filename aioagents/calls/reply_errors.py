"""Errors made of replies: of a refusal, and of a body that cannot be read. Pure."""

import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final, TypeAlias, TypeVar

from attrs import field, frozen

from .. import codec
from ..errors import AgentsError, AuthenticationError, ReplyError, error_class
from ..model import Reply, Request, StreamedReply
from ..retry import read_retry_after
from ..tracebacks import hide_locals
from .redaction import known_secrets, redact

if TYPE_CHECKING:
    from datetime import datetime

T = TypeVar("T")

_MAX_DETAIL: Final = 500
_REQUEST_IDS: Final = ("x-request-id", "request-id", "x-correlation-id", "x-amzn-requestid")
#: What identifies a request has no spaces, and is short; a header that was repeated is neither.
_ID: Final = re.compile(r"[!-~]{1,200}")
_UNSIGNED: Final[Mapping[str, str]] = MappingProxyType({})
_MESSAGE_MEMBERS: Final = ("message", "msg", "error", "detail", "error_description", "errorMessage", "errors")
#: Members that may hold an object with the message, or a list of such objects.
_NESTED_IN: Final = ("error", "errors")
_NONE: Final[Mapping[str, object]] = MappingProxyType({})


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
) -> ReplyError:
    """Return the error for a reply whose status is not 2xx, with what `read_refusal` finds in its body.

    Secrets that were sent in `request`, or in `headers` beside its own, are replaced by asterisks where the server
    repeats them. `shown_body` is the part of the body that is no secret, if that is known.
    """
    after = read_retry_after(reply.headers.get("retry-after"), utcnow=utcnow)
    found = read_refusal(reply)
    refusal = found or read_any_refusal(reply)
    error = error_class(reply.status)(
        f"{vendor}: {request.call} was answered with {reply.status}",
        vendor=vendor,
        call=request.call,
        status=reply.status,
        retry_after=after,
        request_id=_request_id(reply.headers) or refusal.request_id,
        detail=refusal.detail[:_MAX_DETAIL].strip(),
        code=refusal.code[:_MAX_DETAIL],
        is_foreign=found is None,
        **refusal.facts,
    )
    redact(error, known_secrets(request, headers, shown_body))
    return error


def as_authentication_error(error: ReplyError) -> AuthenticationError:
    """Return the error to raise for `error`, by which a token endpoint refused."""
    if isinstance(error, AuthenticationError):
        return error
    return AuthenticationError(
        f"{error.vendor}: the token endpoint refused the credentials with {error.status}",
        **vars(error),
    )


def read_reply(read: Callable[[Reply], T], reply: Reply) -> T:
    """Return what `read` makes of a reply. Errors that it raises are handled by `note_reply`."""
    try:
        return read(reply)
    except Exception as error:
        note_reply(error, reply)
        raise


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
