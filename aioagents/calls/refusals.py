"""What a vendor says when it says no, or what cannot be read. Pure."""

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

_DETAIL: Final = 500
_REQUEST_IDS: Final = ("x-request-id", "request-id", "x-correlation-id", "x-amzn-requestid")
_MESSAGE_MEMBERS: Final = ("message", "error", "detail", "error_description")


def refusal_of(vendor: str, request: Request, reply: Reply, *, utcnow: "datetime") -> ReplyError:
    """Return the error that a reply which is no success stands for."""
    after = read_retry_after(reply.headers.get("retry-after"), utcnow=utcnow)
    words, code = _words_of(reply.body)
    return error_class(reply.status)(
        f"{vendor}: {request.call} was answered with {reply.status}",
        vendor=vendor,
        call=request.call,
        status=reply.status,
        retry_after=after,
        request_id=_request_id(reply.headers),
        detail=words,
        code=code,
    )


def bad_credentials(error: ReplyError) -> AuthenticationError:
    """Return the error for a token endpoint that refused."""
    if isinstance(error, AuthenticationError):
        return error
    return AuthenticationError(
        f"{error.vendor}: the token endpoint refused the credentials with {error.status}",
        **vars(error),
    )


def read_reply(read: Callable[[Reply], T], reply: Reply) -> T:
    """Return what `read` makes of a reply. Its DecodeError knows which reply it was."""
    try:
        return read(reply)
    except DecodeError as error:
        note_reply(error, reply)
        raise


def note_reply(error: AgentsError, reply: Reply | StreamedReply) -> None:
    """Note the status and the vendor's id of a reply on the error that it could not be read for."""
    if error.status is None:
        error.status = reply.status
    if error.request_id is None:
        error.request_id = _request_id(reply.headers)


def _request_id(headers: Mapping[str, str]) -> str | None:
    return next((headers[name] for name in _REQUEST_IDS if name in headers), None)


def _words_of(body: bytes) -> tuple[str, str]:
    """Find the server's own words in the body of a refusal, whatever its form, and its code where it has one."""
    text: Any = None
    code: Any = None
    with suppress(ValueError):
        text = codec.decode_json(body)
    if isinstance(text, dict):
        inner = text.get("error")
        if isinstance(inner, dict) and isinstance(inner.get("message"), str):
            text = inner
        code = (inner if isinstance(inner, dict) else text).get("code")
        text = next((text[name] for name in _MESSAGE_MEMBERS if text.get(name)), "")
    if not isinstance(text, str):
        text = body[: 4 * _DETAIL].decode("utf-8", "replace")
    return str(text[:_DETAIL]).strip(), code[:_DETAIL] if isinstance(code, str) else ""
