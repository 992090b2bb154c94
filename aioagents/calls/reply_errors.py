"""Errors made of replies: of a refusal, and of a body that cannot be read. Pure."""

from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final, TypeVar

from .. import codec
from ..errors import AgentsError, AuthenticationError, DecodeError, ReplyError, error_class
from ..model import Reply, Request, StreamedReply
from ..retry import read_retry_after

if TYPE_CHECKING:
    from datetime import datetime

T = TypeVar("T")

_MAX_DETAIL: Final = 500
_REQUEST_IDS: Final = ("x-request-id", "request-id", "x-correlation-id", "x-amzn-requestid")
_MESSAGE_MEMBERS: Final = ("message", "error", "detail", "error_description")


def error_of_reply(vendor: str, request: Request, reply: Reply, *, utcnow: "datetime") -> ReplyError:
    """Return the error for a reply whose status is not 2xx."""
    after = read_retry_after(reply.headers.get("retry-after"), utcnow=utcnow)
    detail, code = _detail_of(reply.body)
    return error_class(reply.status)(
        f"{vendor}: {request.call} was answered with {reply.status}",
        vendor=vendor,
        call=request.call,
        status=reply.status,
        retry_after=after,
        request_id=_request_id(reply.headers),
        detail=detail,
        code=code,
    )


def as_authentication_error(error: ReplyError) -> AuthenticationError:
    """Return the error to raise for `error`, by which a token endpoint refused."""
    if isinstance(error, AuthenticationError):
        return error
    return AuthenticationError(
        f"{error.vendor}: the token endpoint refused the credentials with {error.status}",
        **vars(error),
    )


def read_reply(read: Callable[[Reply], T], reply: Reply) -> T:
    """Return what `read` makes of a reply. A DecodeError that it raises gets the reply's status and request id."""
    try:
        return read(reply)
    except DecodeError as error:
        note_reply(error, reply)
        raise


def note_reply(error: AgentsError, reply: Reply | StreamedReply) -> None:
    """Set the status and the vendor's request id of `reply` on `error`, which says that it could not be read."""
    if error.status is None:
        error.status = reply.status
    if error.request_id is None:
        error.request_id = _request_id(reply.headers)


def _request_id(headers: Mapping[str, str]) -> str | None:
    return next((headers[name] for name in _REQUEST_IDS if name in headers), None)


def _detail_of(body: bytes) -> tuple[str, str]:
    """Return the server's own message in the body of a refusal, whatever its form, and its code if it has one."""
    text: Any = None
    code: Any = None
    with suppress(ValueError):
        text = codec.decode_tolerant(body)
    if isinstance(text, dict):
        inner = text.get("error")
        if isinstance(inner, dict) and isinstance(inner.get("message"), str):
            text = inner
        code = (inner if isinstance(inner, dict) else text).get("code")
        text = next((text[name] for name in _MESSAGE_MEMBERS if text.get(name)), "")
    if not isinstance(text, str):
        text = body[: 4 * _MAX_DETAIL].decode("utf-8", "replace")
    return str(text[:_MAX_DETAIL]).strip(), code[:_MAX_DETAIL] if isinstance(code, str) else ""
