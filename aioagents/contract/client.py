"""What every client has: a pool, starts, and handles of runs."""

from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any, ClassVar, Self

from .. import codec
from ..calls import Account
from ..errors import (
    AgentsError,
    AuthenticationError,
    ForeignReply,
    PermissionDenied,
    ReplyError,
    ServerError,
    Throttled,
)
from ..model import Request, Run, RunRef
from ..polling import RunHandle
from ..pool import SessionPool
from .row import BatchRow


class RunClient(ABC):
    """A client of one vendor, bound to a pool. Cheap to make, and nothing to close: the pool owns all resources."""

    #: The vendor's name, as in run references and on the command line.
    vendor: ClassVar[str]

    def __init__(self, pool: SessionPool) -> None:
        self._pool = pool

    @classmethod
    @abstractmethod
    def from_env(cls, pool: SessionPool, environ: Mapping[str, str] | None = None, *, name: str = "") -> Self:
        """Make a client from the vendor's environment variables. Raises ValueError naming what is missing.

        With `name` it is the client of that endpoint, and each variable's name ends in two underscores and the
        endpoint's name (`LEAP_API_KEY__billing`); the variables without it are not read.
        """

    @classmethod
    @asynccontextmanager
    async def connect(cls, **settings: Any) -> AsyncIterator[Self]:
        """Make a client with a pool of its own, for scripts.

        Without settings, or with a `name` alone, it is made from the environment.
        """
        async with SessionPool() as pool:
            yield cls.from_env(pool, **settings) if settings.keys() <= {"name"} else cls(pool, **settings)

    @property
    def pool(self) -> SessionPool:
        """Return the pool this client works with."""
        return self._pool

    @abstractmethod
    async def check(self) -> None:
        """Check, by the vendor's cheapest call, that it answers and accepts the credentials. Starts nothing.

        Raises `AgentsError`.
        """

    async def _check_key(self, account: Account, request: Request) -> None:
        """Send a request for what does not exist: any answer but a refusal of the key shows that the key is good.

        For a vendor that has no call for `check`. Raises `AuthenticationError`, `PermissionDenied`, `ServerError`,
        `Throttled`, `TransportError`, and `ForeignReply` or `DecodeError` where the answer is not the vendor's.
        """
        try:
            await self._pool.caller.call(
                account,
                request,
                lambda reply: codec.decode(reply.body, vendor=self.vendor, call=request.call),
            )
        except (AuthenticationError, ForeignReply, PermissionDenied, ServerError, Throttled):
            raise
        except ReplyError:
            return

    @abstractmethod
    async def start_row(self, row: BatchRow) -> RunHandle | Run:
        """Start what a row of a batch names, once; return its handle, or the ended run if the answer is its end.

        A batch attaches to a run that has not ended by its reference. Raises what the vendor's own verb for it
        raises, and ValueError, before anything is sent, for a row that this vendor cannot start.
        """

    def retry_delay(self, error: AgentsError, failures: int) -> float | None:  # noqa: ARG002 - for vendors that override it
        """Return the seconds after which a start that was refused with `error` may be accepted.

        None where waiting does not help, or where the pool's retries have waited already. `failures` is about how
        often it was refused for this reason. A batch ends with ValueError for what is no finite time.
        """
        return None

    @abstractmethod
    def attach(self, ref: RunRef | str) -> RunHandle:
        """Return a handle of a run, whoever started it. Raises BadReference for another vendor's or endpoint's."""
