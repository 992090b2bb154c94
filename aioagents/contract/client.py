"""What every client has: a pool, an account or more, runs to follow."""

from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any, ClassVar, Self

from ..errors import AgentsError
from ..model import RunRef
from ..polling import RunHandle
from ..pool import SessionPool
from .row import BatchRow


class RunClient(ABC):
    """A client of one vendor, bound to a pool. Cheap to make, nothing to close: the pool owns it all."""

    #: The vendor's name, as in run references and on the command line.
    vendor: ClassVar[str]

    def __init__(self, pool: SessionPool) -> None:
        self._pool = pool

    @classmethod
    @abstractmethod
    def from_env(cls, pool: SessionPool, environ: Mapping[str, str] | None = None) -> Self:
        """Make a client from the vendor's environment variables. Raises ValueError naming what is missing."""

    @classmethod
    @asynccontextmanager
    async def connect(cls, **settings: Any) -> AsyncIterator[Self]:
        """Make a client with a pool of its own, for scripts; without settings it reads the environment."""
        async with SessionPool() as pool:
            yield cls(pool, **settings) if settings else cls.from_env(pool)

    @property
    def pool(self) -> SessionPool:
        """Return the pool this client works with."""
        return self._pool

    @abstractmethod
    async def check(self) -> None:
        """See that the vendor answers and takes the credentials, by its cheapest call; starts nothing.

        Raises `AgentsError`.
        """

    @abstractmethod
    async def start(self, row: BatchRow) -> RunHandle:
        """Start what a row of a batch names, once; as the vendor's own verb does, whose errors it raises.

        Raises ValueError for a row that this vendor cannot start, before anything is sent.
        """

    def retry_delay(self, error: AgentsError, failures: int) -> float | None:  # noqa: ARG002 - most need no such
        """Return the seconds after which a start that was refused with `error` may well be taken.

        None where waiting is of no use, or where the pool's retries have waited already. `failures` counts how often
        it was refused so, more or less.
        """
        return None

    @abstractmethod
    def attach(self, ref: RunRef | str) -> RunHandle:
        """Follow a run by its reference, whoever started it. Raises ValueError for another vendor's or scope's."""


def check_ref(ref: RunRef | str, *, vendor: str, scope: str) -> RunRef:
    """Read `ref` and see that it belongs to this vendor and scope. Raises ValueError."""
    parsed = RunRef.parse(ref) if isinstance(ref, str) else ref
    if parsed.vendor != vendor or parsed.scope != scope:
        raise ValueError(f"{parsed} is not a run of {vendor}:{scope}")
    return parsed
