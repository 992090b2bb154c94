"""AGH Runtime: the client."""

from collections.abc import Mapping
from typing import ClassVar, Self

from ...auth import read_settings
from ...contract import BatchRow, RunClient, check_base_url
from ...model import RunRef
from ...polling import RunHandle
from ...pool import SessionPool
from .calls import Calls
from .jobs import Jobs
from .runs import Runs
from .settings import BASE_URL, VARIABLES, VENDOR
from .triggers import Triggers
from .wire import status_request


class Agh(RunClient):
    """Keeps jobs and triggers of an AGH Runtime, and reads the history of their runs.

    The runtime asks for no credentials: it answers its own machine alone. Raises ValueError for a base URL that is
    neither https nor loopback (`allow_insecure` lets it through).
    """

    vendor: ClassVar[str] = VENDOR

    def __init__(self, pool: SessionPool, *, base_url: str = BASE_URL, allow_insecure: bool = False) -> None:
        super().__init__(pool)
        self._base_url = check_base_url(base_url, "base_url", allow_insecure=allow_insecure)
        self._account = pool.account(
            (VENDOR, self._base_url), name=f"agh-{self._base_url}", vendor=VENDOR, headers={}
        )
        self._calls = Calls(pool, self._account, self._base_url)
        #: What runs by a schedule.
        self.jobs = Jobs(self._calls)
        #: What runs when something happens.
        self.triggers = Triggers(self._calls)
        #: The runs of all of them.
        self.runs = Runs(self._calls)

    @classmethod
    def from_env(cls, pool: SessionPool, environ: Mapping[str, str] | None = None) -> Self:
        """Make a client from `AGH_BASE_URL`, which need not be set. Raises ValueError for one of no use."""
        found = read_settings((), VARIABLES, environ)
        return cls(pool, base_url=found.get("AGH_BASE_URL", BASE_URL))

    async def check(self) -> None:
        """Ask the runtime whether it serves. Raises `ReplyError`, `TransportError`, `PoolClosed`."""
        self._pool.ensure_open()
        await self._pool.caller.exchange(self._account, status_request(self._base_url))

    async def start(self, row: BatchRow) -> RunHandle:
        """Start the job that a row of a batch names."""
        raise NotImplementedError(f"jobs of {VENDOR} cannot be started yet: {row.key}")

    def attach(self, ref: RunRef | str) -> RunHandle:
        """Follow a run by its reference."""
        raise NotImplementedError(f"runs of {VENDOR} cannot be followed yet: {ref}")

    def __repr__(self) -> str:
        return f"<Agh at {self._base_url}>"
