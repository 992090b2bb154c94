"""AGH Runtime: the client."""

from collections.abc import Mapping
from typing import ClassVar, Self

from ... import codec
from ...auth import read_settings
from ...contract import BatchRow, Endpoint, RunClient, check_base_url, check_ref
from ...errors import AgentsError, Conflict
from ...model import RunRef
from ...polling import RunHandle
from ...pool import SessionPool
from .calls import Calls
from .handles import Handles
from .jobs import Jobs
from .refusals import read_refusal, slot_delay
from .runs import Runs
from .settings import BASE_URL, VARIABLES, VENDOR
from .triggers import Triggers
from .webhooks import Webhooks
from .wire import status_request


class Agh(RunClient):
    """Manages jobs and triggers of an AGH Runtime, starts their runs, and follows these to the end of their work.

    The runtime has no credentials: it answers its own machine only. `name` is that of the endpoint in references.
    Raises ValueError for a base URL that is neither https nor loopback (`allow_insecure` permits http).
    """

    vendor: ClassVar[str] = VENDOR

    def __init__(
        self, pool: SessionPool, *, base_url: str = BASE_URL, name: str = "", allow_insecure: bool = False
    ) -> None:
        super().__init__(pool)
        self._base_url = check_base_url(base_url, "base_url", allow_insecure=allow_insecure)
        self._endpoint = Endpoint.at(VENDOR, self._base_url, name)
        self._account = pool.account(
            (VENDOR, self._base_url),
            name=f"agh-{self._base_url}",
            vendor=VENDOR,
            headers={},
            read_refusal=read_refusal,
        )
        self._calls = Calls(pool, self._account, self._base_url)
        self._handles = Handles(self._calls, self._endpoint)
        #: Jobs, which run by a schedule.
        self.jobs = Jobs(self._calls, self._handles)
        #: Triggers, which run when an event happens.
        self.triggers = Triggers(self._calls)
        #: The runs of all jobs and triggers.
        self.runs = Runs(self._calls, self._handles)
        #: Deliveries that fire triggers.
        self.webhooks = Webhooks(self._calls, self._handles)

    @classmethod
    def from_env(cls, pool: SessionPool, environ: Mapping[str, str] | None = None, *, name: str = "") -> Self:
        """Make a client from `AGH_BASE_URL`, which may be unset, or from that of the endpoint `name`, which may not.

        Raises ValueError for an invalid one. As `RunClient.from_env`.
        """
        found = read_settings(VARIABLES if name else (), VARIABLES, environ, name=name)
        return cls(pool, base_url=found.get("AGH_BASE_URL", BASE_URL), name=name)

    async def check(self) -> None:
        """Check that the runtime answers. Raises `ReplyError`, `DecodeError`, `TransportError`, `PoolClosed`."""
        self._pool.ensure_open()
        request = status_request(self._base_url)
        await self._pool.caller.call(
            self._account, request, lambda reply: codec.decode(reply.body, vendor=VENDOR, call=request.call)
        )

    async def start_row(self, row: BatchRow) -> RunHandle:
        """Start a row of a batch: its target is the job. As `Jobs.trigger`, without waiting for a slot.

        Raises ValueError for a row with a message or an input, which runs of jobs do not take.
        """
        if row.message or row.input:
            raise ValueError("a job of AGH Runtime is triggered without message and input")
        return await self.jobs.trigger(row.target)

    def retry_delay(self, error: AgentsError, failures: int) -> float | None:
        """Return the seconds after which a job that had no free slot may have one (AGH automation API, section 2)."""
        if not isinstance(error, Conflict):
            return None
        return slot_delay(error, failures, now=self._pool.clock.utcnow(), chance=self._pool.chance())

    def attach(self, ref: RunRef | str) -> RunHandle:
        """Return the handle of a run. Raises BadReference for one of another vendor or endpoint."""
        return self.runs.follow(check_ref(ref, self._endpoint).id)

    def __repr__(self) -> str:
        return f"<Agh at {self._base_url}>"
