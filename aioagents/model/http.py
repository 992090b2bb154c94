"""One HTTP request and its reply, as values: what a vendor's wire builds and a `Send` carries."""

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
    """Why a request is made; limits, timeouts and the rules for trying again follow from it."""

    __hash__ = object.__hash__  # members are single: no need to hash their names with every request

    START = "start"  # starts something that costs money: sent once, unless surely refused or not sent
    POLL = "poll"  # reads the state of one run
    CALL = "call"  # any other call that may be repeated
    TOKEN = "token"  # noqa: S105 - a purpose, not a token


@frozen(kw_only=True)
class Upload:
    """A body that is read while it is sent, a piece at a time.

    `open` gives its pieces from the beginning, anew for each try; where that can be done once alone, `is_once`, the
    request is not sent again. `size` is the number of bytes, None where it is not known beforehand. What the pieces
    raise, and ValueError where they are not `size` bytes in all, is raised by the call, and the vendor then surely
    did not get the whole body.
    """

    open: Callable[[], AsyncIterator[bytes]] = field(repr=False)
    size: int | None = None
    is_once: bool = False


@quick
@frozen(kw_only=True)
class Request:
    """A request ready to be signed and sent; its body is either `body` or, read while it is sent, `upload`.

    `call` names it for people and metrics (`aop.execute`). `refused_by` are the 5xx statuses by which the
    vendor's facts say that nothing was executed. `timeout` (seconds) overrides the pool's for this purpose.
    `is_long` says that the answer comes when the work is done: the request then has a connection of its own,
    holds no place among the account's requests while it waits, and is waited for without end.
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
        """Return whether a second sending does no harm."""
        return self.purpose is not Purpose.START

    @property
    def is_spent(self) -> bool:
        """Return whether, once any of it was sent, the body cannot be read for another try."""
        return self.upload is not None and self.upload.is_once

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
    """Carries requests: over sockets in `transport`, into a vendor's fake in tests."""

    async def send(
        self,
        request: Request,
        *,
        headers: Mapping[str, str],
        on_sent: Callable[[], None] | None = None,
    ) -> Reply:
        """Send once, with `headers` (the signature) beside the request's own, and give whatever comes back.

        `on_sent` is called before the first byte leaves; sending is watched for this only where it is given.
        Raises `NotSent` when the request surely did not reach the server, `ReplyLost` when it may have.
        """
        ...


class StreamedReply(Protocol):
    """A reply whose body comes bit by bit: status and headers (ask for them in lower case) are there already."""

    @property
    def status(self) -> int:
        """Return the status."""
        ...

    @property
    def headers(self) -> Mapping[str, str]:
        """Return the headers."""
        ...

    def pieces(self) -> AsyncIterator[bytes]:
        """Return the body's bytes as they arrive, in no particular portions, none empty; ask for this once.

        Raises `ReplyLost` where the body breaks off, or stays silent for too long, and `PoolClosed`.
        """
        ...

    async def read(self) -> bytes:
        """Return the body of a refusal: at most 64 KiB of it, and what there is of it where it breaks off."""
        ...


@runtime_checkable
class StreamSend(Protocol):
    """Carries requests whose replies are read while they arrive: a `Send` that can do this is one too."""

    def stream(
        self,
        request: Request,
        *,
        headers: Mapping[str, str],
        on_sent: Callable[[], None] | None = None,
    ) -> AbstractAsyncContextManager[StreamedReply]:
        """Send once on entering, as `Send.send` does; leaving ends the connection at once, read to its end or not."""
        ...
