"""Kore Agent Platform: dock jobs, started and followed."""

from typing import Any, Final

from ...calls import Start
from ...contract import RunReader
from ...errors import DecodeError
from ...model import Reply, Request, Run, RunRef
from ...polling import RunHandle, ScheduledSource
from .calls import Calls
from .dock_wire import DOCK, STATUS, DockJob, read_job, read_started, status_request
from .download import Download
from .settings import VENDOR

_ADVICE: Final = (
    "The platform lists no dock jobs: look at the tool, model or guardrail in its console, since a second job may "
    "do the work twice."
)


class DockHandle(RunHandle):
    """Follows a dock job. `result()` gives what it was about, or what it exported.

    The runs of it have a `DockJob` as output, also while it goes on.
    """

    __slots__ = ("_calls", "_exports")

    def __init__(
        self, calls: Calls, source: ScheduledSource, ref: RunRef, *, exports: bool | None = None, **facts: Any
    ) -> None:
        super().__init__(source, ref, **facts)
        self._calls = calls
        self._exports = exports

    @property
    def job(self) -> DockJob | None:
        """Return what is known of the job; None before the first poll at one that was started elsewhere."""
        return _job_of(self.last)

    @property
    def progress(self) -> float | None:
        """Return how far it has come, from 0 to 100; None where the platform does not tell."""
        return None if self.job is None else self.job.progress

    async def result(self) -> Any:
        """Wait for the end and give the `Download` of an export, else the `DockJob`.

        Of a job that was started elsewhere, what has a download URL counts as an export. Raises `RunFailed`,
        `DecodeError` for an export that told no download URL, and whatever `wait` raises.
        """
        job: DockJob = await super().result()
        if self._exports is False:
            return job
        # The status need not repeat what the start told already.
        begun = _job_of(self.accepted)
        url = job.download_url or ("" if begun is None else begun.download_url)
        if url:
            return Download(url, self._calls)
        if self._exports is None:
            return job
        raise DecodeError(
            f"{VENDOR}: the export {self.ref} ended as {job.status}, and told no download URL",
            vendor=VENDOR,
            call=STATUS,
            ref=self.ref,
            path="$.response.downloadUrl",
        )


def _job_of(run: Run | None) -> DockJob | None:
    return run.output if run is not None and isinstance(run.output, DockJob) else None


class Dock:
    """Starts and follows the dock jobs of one account."""

    def __init__(self, calls: Calls) -> None:
        self._calls = calls
        self._pool = calls.pool
        self._source: ScheduledSource | None = None

    def follow(self, job_id: str, *, exports: bool | None = None) -> DockHandle:
        """Make a handle on a job by its id. Raises ValueError for what cannot be one."""
        ref = RunRef(VENDOR, DOCK, job_id)
        status_request(self._calls.url, ref)
        return DockHandle(self._calls, self._ready(), ref, exports=exports)

    async def start(self, request: Request, *, target: str, action: str, exports: bool = False) -> DockHandle:
        """Send, once, what starts a job, and give a handle on it; one that is over at once is never polled."""
        source = self._ready()

        def read(reply: Reply) -> DockHandle:
            clock = self._pool.clock
            run = read_started(reply, request.call, clock.utcnow())
            facts = {"target": target, "accepted": run, "begun_at": clock.now()}
            return DockHandle(self._calls, source, run.ref, exports=exports, **facts)

        return await self._calls.start(
            Start(vendor=VENDOR, request=request, read=read, target=target, advice=_ADVICE, action=action)
        )

    def _ready(self) -> ScheduledSource:
        """Return the lane. Raises ValueError, which names the setting, where there is no key."""
        account, url = self._calls.account, self._calls.url
        if self._source is None:
            reader = RunReader(
                self._pool, account, request=lambda ref: status_request(url, ref), read=read_job
            )
            self._source = self._pool.source((VENDOR, DOCK, url, account.name), reader, VENDOR)
        return self._source
