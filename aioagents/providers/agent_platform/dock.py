"""Kore Agent Platform: dock jobs, started and polled."""

from typing import Any, ClassVar, Final

from ...calls import Start
from ...contract import Endpoint, RunReader, check_ref, path_segment
from ...errors import DecodeError
from ...model import Purpose, Reply, Run, RunRef
from ...polling import RunHandle, ScheduledSource
from ...tracebacks import hides_locals
from .calls import Calls
from .dock_wire import DOCK, STATUS, DockJob, read_job, read_started, status_request
from .download import Download
from .settings import VENDOR
from .wire import request

_ADVICE: Final = (
    "The platform has no list of dock jobs: check the tool, model or guardrail in its console before you start a "
    "second job, which may do the work twice."
)


class DockHandle(RunHandle):
    """Handle on a dock job. `result()` returns the `DockJob`, or the `Download` of an export.

    The output of its `Run` is a `DockJob`, also while the job is in progress.
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
        """Return the job as last seen; None for a job started elsewhere before its first poll."""
        return _job_of(self.last)

    @property
    def progress(self) -> float | None:
        """Return the progress in percent; None if the platform does not report it."""
        return None if self.job is None else self.job.progress

    async def result(self) -> Any:
        """Wait for the end and return the `Download` of an export, else the `DockJob`.

        A job that was started elsewhere counts as an export if it has a download URL. Raises `RunFailed`,
        `DecodeError` for an export without a download URL, and everything that `wait` raises.
        """
        job: DockJob = await super().result()
        if self._exports is False:
            return job
        # The status need not repeat the URL that the answer to the start had.
        started = _job_of(self.accepted)
        url = job.download_url or ("" if started is None else started.download_url)
        if url:
            return Download(url, self._calls)
        if self._exports is None:
            return job
        raise DecodeError(
            f"{VENDOR}: the export {self.ref} ended as {job.status}, without a download URL",
            vendor=VENDOR,
            call=STATUS,
            ref=self.ref,
            path="$.response.downloadUrl",
        )


def _job_of(run: Run | None) -> DockJob | None:
    return run.output if run is not None and isinstance(run.output, DockJob) else None


class Dock:
    """Starts and polls the dock jobs of one account."""

    def __init__(self, calls: Calls, endpoint: Endpoint) -> None:
        self._calls = calls
        self._endpoint = endpoint
        self._pool = calls.pool
        self._source: ScheduledSource | None = None

    def follow(self, job_id: str, *, exports: bool | None = None) -> DockHandle:
        """Return a handle on a job by its id. Raises ValueError for an invalid id."""
        ref = self._endpoint.ref(job_id)
        status_request(self._calls.url, ref)
        return DockHandle(self._calls, self._source_of_jobs(), ref, exports=exports)

    def attach(self, ref: RunRef) -> DockHandle:
        """Return a handle on a job by its reference. Raises BadReference for one of another endpoint."""
        return self.follow(check_ref(ref, self._endpoint).id)

    @hides_locals
    async def start(
        self,
        path: str,
        call: str,
        body: Any = None,
        *,
        target: str,
        action: str,
        exports: bool = False,
        **options: Any,
    ) -> DockHandle:
        """Start a job by a POST to a path under the account's URL, sent once, and return a handle.

        `options` are those of `Request`. A job that is already over is never polled.
        """
        source = self._source_of_jobs()
        start = request(self._calls.url + path, call, body, purpose=Purpose.START, **options)

        def read(reply: Reply) -> DockHandle:
            clock = self._pool.clock
            run = read_started(reply, self._endpoint.scope, call, clock.utcnow())
            facts = {"target": target, "accepted": run, "begun_at": clock.now()}
            return DockHandle(self._calls, source, run.ref, exports=exports, **facts)

        return await self._calls.start(
            Start(vendor=VENDOR, request=start, read=read, target=target, advice=_ADVICE, action=action)
        )

    def _source_of_jobs(self) -> ScheduledSource:
        """Return the source of dock jobs. Raises ValueError, which names the setting, if there is no key."""
        account, url = self._calls.account, self._calls.url
        if self._source is None:
            reader = RunReader(
                self._pool, account, request=lambda ref: status_request(url, ref), read=read_job
            )
            self._source = self._pool.source((VENDOR, DOCK, url, account.name), reader, VENDOR)
        return self._source


class DockResource:
    """What is imported, exported, deployed and undeployed by dock jobs. `_noun` is what one item is called."""

    _noun: ClassVar[str]

    def __init__(self, dock: Dock) -> None:
        self._dock = dock

    @hides_locals
    async def _begin(
        self, item_id: str, verb: str, body: Any = None, *, call: str | None = None, **options: Any
    ) -> DockHandle:
        """Start the job that `verb` names, on one item. `options` are those of `Dock.start`."""
        return await self._dock.start(
            self._path(item_id, verb),
            call or f"{self._noun}s.{verb}",
            body,
            target=item_id,
            action=f"began to {verb} a {self._noun}",
            **options,
        )

    def _path(self, item_id: str, verb: str) -> str:
        return f"/{self._noun}s/{path_segment(item_id, f'{self._noun}_id')}/{verb}"
