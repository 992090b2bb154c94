"""Translates aiohttp's errors into those of `aioagents.errors`."""

import asyncio
import ssl
from typing import Final

import aiohttp

from ..errors import DecodeError, NotSent, ReplyLost, TransportError
from ..model import Request
from ..tracebacks import drop_tracebacks
from .limits import PoolLimits

# The connection was not established, so nothing was sent.
_NO_CONNECTION: Final = (
    aiohttp.ClientConnectorError,
    aiohttp.ClientHttpProxyError,
    aiohttp.ConnectionTimeoutError,
    aiohttp.InvalidURL,
    aiohttp.ServerFingerprintMismatch,
)


def fail_body_on_disconnect(response: aiohttp.ClientResponse) -> None:
    """Make reading the body raise once its connection is lost.

    Where the chunks of a body are framed wrongly, aiohttp does not wake a reader then, and one without a timeout
    would wait without end.
    """
    protocol = None if response.connection is None else response.connection.protocol
    if protocol is None:
        return
    body, connection_lost = response.content, protocol.connection_lost

    def fail() -> None:
        if not body.is_eof() and body.exception() is None:
            body.set_exception(aiohttp.ClientPayloadError("the connection ended in the middle of a body"))

    def lose(exc: BaseException | None) -> None:
        connection_lost(exc)
        fail()

    if protocol.is_connected():
        protocol.connection_lost = lose  # type: ignore[method-assign]  # older versions have nothing to wait for
    else:
        fail()


def transport_error(request: Request, exc: BaseException, *, was_sent: bool) -> TransportError:
    """Return the error for a request that got no whole reply because of `exc`.

    Its message does not contain that of `exc`, which may name proxies and paths: raise it from `exc`.
    """
    kind = type(exc).__name__
    where = f"{request.method} {request.call} at {request.origin}"
    if isinstance(exc, _NO_CONNECTION) or not was_sent:
        return NotSent(f"{where} was not sent: {_reason(exc)}", call=request.call)
    return ReplyLost(f"{where} was sent, and no whole reply came back: {kind}", call=request.call)


def too_large(request: Request, status: int, limits: PoolLimits) -> DecodeError:
    """Return the error for a reply with a larger body than a pool may keep."""
    most = limits.bytes_for(request.purpose)
    name = "reply_bytes" if most == limits.reply_bytes else "poll_bytes"
    return DecodeError(
        f"the answer to {request.call} is larger than {most} bytes (PoolLimits.{name})",
        call=request.call,
        status=status,
    )


def redacted(exc: BaseException) -> BaseException:
    """Return `exc`, or what may be shown of it: aiohttp's may hold the request's headers and parts of the reply.

    Neither it nor what it came from has a traceback any more: their frames hold the whole request.
    """
    if isinstance(exc, aiohttp.ClientResponseError):
        return aiohttp.ClientError(f"{type(exc).__name__}, status {exc.status}")
    drop_tracebacks(exc)
    return exc


def _reason(exc: BaseException) -> str:
    if isinstance(exc, asyncio.TimeoutError):
        return "no connection in time"
    if isinstance(exc, aiohttp.ClientHttpProxyError):
        return f"the proxy refused, with status {exc.status}"
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
