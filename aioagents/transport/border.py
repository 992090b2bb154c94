"""Where aiohttp's errors become ours."""

import asyncio
import ssl
from typing import Final

import aiohttp

from ..errors import NotSent, ReplyLost, TransportError
from ..model import Request

# No whole connection was had, so nothing was sent.
_NO_CONNECTION: Final = (
    aiohttp.ClientConnectorError,
    aiohttp.ConnectionTimeoutError,
    aiohttp.InvalidURL,
    aiohttp.ServerFingerprintMismatch,
)


def watch(response: aiohttp.ClientResponse) -> None:
    """Have a body break off when its connection is gone.

    aiohttp tells a reader nothing where the chunks of a body are framed wrongly, so that one without a bound would
    wait for ever. The watch lasts as long as the connection.
    """
    protocol = None if response.connection is None else response.connection.protocol
    if protocol is None:
        return
    body, closed = response.content, protocol.closed

    def end(_: object) -> None:
        if closed is not None and not closed.cancelled():
            closed.exception()  # it is told to nobody else, and need not be
        if not body.is_eof() and body.exception() is None:
            body.set_exception(aiohttp.ClientPayloadError("the connection ended in the middle of a body"))

    if closed is None:
        end(None)
    else:
        closed.add_done_callback(end)


def told(request: Request, exc: BaseException, *, was_sent: bool) -> TransportError:
    """Say in our words why no reply came. The foreign text may name proxies and paths, so it is the cause."""
    kind = type(exc).__name__
    where = f"{request.method} {request.call} at {request.origin}"
    if isinstance(exc, _NO_CONNECTION) or not was_sent:
        return NotSent(f"{where} was not sent: {_reason(exc)}", call=request.call)
    return ReplyLost(f"{where} was sent, and no whole reply came back: {kind}", call=request.call)


def bare(exc: BaseException) -> BaseException:
    """Return what may be shown of `exc`: aiohttp's own repr holds the request's headers and bits of the reply."""
    if isinstance(exc, aiohttp.ClientResponseError):
        return aiohttp.ClientError(f"{type(exc).__name__}, status {exc.status}")
    return exc


def _reason(exc: BaseException) -> str:
    if isinstance(exc, asyncio.TimeoutError):
        return "no connection in time"
    if isinstance(exc, aiohttp.ClientConnectorDNSError):
        return "the host name does not resolve"
    if isinstance(
        exc, aiohttp.ClientConnectorCertificateError | ssl.SSLError | aiohttp.ClientConnectorSSLError
    ):
        return f"TLS failed ({type(exc).__name__})"
    inner = getattr(exc, "os_error", None)
    return (
        (getattr(inner, "strerror", None) or type(exc).__name__) if inner is not None else type(exc).__name__
    )
