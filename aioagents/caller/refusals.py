"""What a vendor says when it says no. Pure."""

from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final

from .. import codec
from ..errors import AuthenticationError, ReplyError, error_class
from ..model import Reply, Request
from ..retry import read_retry_after

if TYPE_CHECKING:
    from datetime import datetime

_DETAIL: Final = 500
_REQUEST_IDS: Final = ("x-request-id", "request-id", "x-correlation-id", "x-amzn-requestid")
_MESSAGE_MEMBERS: Final = ("message", "error", "detail", "error_description")


def refusal_of(vendor: str, request: Request, reply: Reply, *, utcnow: "datetime") -> ReplyError:
    """Give the error that a reply which is no success stands for."""
    after = read_retry_after(reply.headers.get("retry-after"), utcnow=utcnow)
    request_id = next((reply.headers[name] for name in _REQUEST_IDS if name in reply.headers), None)
    words, code = _words_of(reply.body)
    return error_class(reply.status)(
        f"{vendor}: {request.call} was answered with {reply.status}",
        vendor=vendor,
        call=request.call,
        status=reply.status,
        retry_after=after,
        request_id=request_id,
        detail=words,
        code=code,
    )


def bad_credentials(error: ReplyError) -> AuthenticationError:
    """Give the error for a token endpoint that refused."""
    if isinstance(error, AuthenticationError):
        return error
    return AuthenticationError(
        f"{error.vendor}: the token endpoint refused the credentials with {error.status}",
        **vars(error),
    )


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
