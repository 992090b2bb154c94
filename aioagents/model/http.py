"""One HTTP request and its reply, as values, and the protocols of what sends them."""

from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager
from enum import Enum
from types import MappingProxyType
from typing import Final, Protocol, runtime_checkable
from urllib.parse import urlsplit

from attrs import field, frozen

from .quick import quick

_NONE: Final[Mapping[str, str]] = MappingProxyType({})


class Purpose(Enum):
    """Why a request is made; limits, timeouts and the rules for retries depend on it."""

    __hash__ = object.__hash__  # members are single: no need to hash their names with every request

    START = "start"  # starts something that costs money: sent once, unless it surely began nothing
    POLL = "poll"  # reads the state of one run
    CALL = "call"  # any other call that may be repeated
    TOKEN = "token"  # noqa: S105 - a purpose, not a token


@frozen(kw_only=True)
class Upload:
    """A body that is read while it is sent, piece by piece.

    `open` returns its pieces from the beginning, for each attempt again; where that is possible only once
    (`is_once`), the request is not sent again. `size` is the number of bytes, None where it is not known
    beforehand. What the iterator raises, and ValueError where it does not yield `size` bytes, is raised by the
    call; the vendor then did not get the whole body for certain.
    """

    open: Callable[[], AsyncIterator[bytes]] = field(repr=False)
    size: int | None = None
    is_once: bool = False


@quick
@frozen(kw_only=True)
class Request:
    """A request to be signed and sent; its body is either `body` or, read while it is sent, `upload`.

    `call` names it for people and metrics (`aop.execute`). `refused_by` are the 5xx statuses that, as the vendor
    documents, mean that nothing was executed. `timeout` (seconds) overrides the pool's for this purpose. `is_long`
    says that the reply comes when the work is done: the request then has a connection of its own, holds no permit of
    the account's for short requests while it waits, and has no timeout of the pool's.
    """

    method: str
    url: str
    call: str
    purpose: Purpose = Purpose.CALL
    headers: Mapping[str, str] = field(default=_NONE, repr=False)
    body: bytes | None = field(default=None, repr=False)
    upload: Upload | None = None
    refused_by: frozenset[int] = frozenset()
    timeout: float | None = None
    is_long: bool = False

    @property
    def is_repeatable(self) -> bool:
        """Return whether sending it twice does no harm."""
        return self.purpose is not Purpose.START

    @property
    def is_spent(self) -> bool:
        """Return whether the body, once any of it was sent, cannot be read again for another attempt."""
        return self.upload is not None and self.upload.is_once

    @property
    def host(self) -> str:
        """Return host and port, as they stand in the URL: `us-east-1-aic.leena.ai`."""
        return urlsplit(self.url).netloc.rpartition("@")[2]

    @property
    def origin(self) -> str:
        """Return scheme, host and port: `https://us-east-1-aic.leena.ai`."""
        parts = urlsplit(self.url)
        return f"{parts.scheme}://{parts.netloc}"


@quick
@frozen
class Reply:
    """A reply as received: status, headers (ask for them in lower case) and the whole body."""

    status: int
    headers: Mapping[str, str] = field(default=_NONE, repr=False)
    body: bytes = field(default=b"", repr=False)

    @property
    def is_success(self) -> bool:
        """Return whether the status is 2xx."""
        return 200 <= self.status < 300  # noqa: PLR2004


class Send(Protocol):
    """Sends requests: over sockets in `transport`, to a vendor's fake server in tests."""

    async def send(
        self,
        request: Request,
        *,
        headers: Mapping[str, str],
        on_sent: Callable[[], None] | None = None,
    ) -> Reply:
        """Send once, with `headers` (the signature) beside the request's own, and return the reply of any status.

        `on_sent` is called before the first byte leaves; sending is observed only where it is given. Raises
        `NotSent` when the request surely did not reach the server, `ReplyLost` when it may have.
        """
        ...


class StreamedReply(Protocol):
    """A reply whose body is still arriving; status and headers (ask for them in lower case) are there."""

    @property
    def status(self) -> int:
        """Return the status."""
        ...

    @property
    def headers(self) -> Mapping[str, str]:
        """Return the headers."""
        ...

    def pieces(self) -> AsyncIterator[bytes]:
        """Return the body's bytes as they arrive, in pieces of any size, none empty. To be called once.

        Raises `ReplyLost` where the body breaks off, or stays silent for too long, and `PoolClosed`.
        """
        ...

    async def read(self) -> bytes:
        """Return the body of a refusal: at most 64 KiB, and what arrived of it where it breaks off."""
        ...


@runtime_checkable
class StreamSend(Protocol):
    """Sends requests whose replies are read while they arrive. A `Send` may be one too."""

    def stream(
        self,
        request: Request,
        *,
        headers: Mapping[str, str],
        on_sent: Callable[[], None] | None = None,
    ) -> AbstractAsyncContextManager[StreamedReply]:
        """Return a context manager that sends once on entering, as `Send.send` does.

        Leaving it closes the connection at once, whether or not the reply was read to its end.
        """
        ...
