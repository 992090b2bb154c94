"""AGH Runtime: jobs, which run by a schedule or when they are triggered."""

from typing import TypeAlias, Unpack

from ...calls import Start
from ...clock import sleep
from ...errors import Conflict
from ...model import Purpose, Request
from ...polling import RunHandle
from ...tracebacks import hides_locals
from .calls import Calls, Resource
from .definitions import JobChanges, job_body, job_changes, listing
from .handles import Handles
from .history import RunFilters, RunHistory
from .records import Job
from .refusals import slot_delay
from .run_finder import CALL as TRIGGER
from .run_finder import JobRuns, JobRunsById, RunFinder
from .values import FireLimitLike, JobTaskLike, RetryLike, ScheduleLike
from .wire import REFUSED, job_in, jobs_in

_Jobs: TypeAlias = list[Job]  # in the class, `list` is its method


class Jobs:
    """The jobs of a runtime. Made by `Agh.jobs`.

    All methods raise `ReplyError` (`BadRequest`, `NotFound`, `Conflict`, `PermissionDenied`, `ServerError`),
    `TransportError`, `DecodeError` and `PoolClosed`, and ValueError or TypeError for what the server would refuse,
    before anything is sent, with the member's path in front. All but `create` retry after passing errors.
    """

    def __init__(self, calls: Calls, handles: Handles) -> None:
        self._calls = calls
        self._handles = handles
        self._runs_by_job = JobRunsById(calls)
        self._jobs = Resource(calls, "jobs", job_in, jobs_in)

    async def list(
        self,
        *,
        scope: str | None = None,
        workspace_id: str | None = None,
        source: str | None = None,
        limit: int | None = None,
    ) -> _Jobs:
        """Return the jobs, by name then id; no `limit` or 0 means all. Sources: `config`, `dynamic`, `package`."""
        return await self._jobs.get_all(listing(scope, workspace_id, source, limit=limit))

    @hides_locals
    async def create(
        self,
        *,
        scope: str,
        name: str,
        schedule: ScheduleLike,
        agent_name: str = "",
        prompt: str = "",
        workspace_id: str | None = None,
        task: JobTaskLike | None = None,
        enabled: bool | None = None,
        retry: RetryLike | None = None,
        fire_limit: FireLimitLike | None = None,
    ) -> Job:
        """Create a job, once. With a `task`, agent and prompt may be left out.

        The server's defaults are: enabled, no retry, 12 runs within an hour. Scheduled runs of any job that are in
        progress end as canceled when a job is created, changed or deleted. The server checks neither that agent and
        workspace exist nor that the name is new. Raises `StartUnknown` when the reply was lost and the job may exist.
        """
        return await self._jobs.create(job_body(locals()), name)  # which reads the arguments, by their names

    async def get(self, job_id: str) -> Job:
        """Return a job."""
        return await self._jobs.get(job_id)

    @hides_locals
    async def update(self, job_id: str, /, **changes: Unpack[JobChanges]) -> Job:
        """Change the given members only; `schedule`, `retry`, `task` ... are replaced as a whole.

        A task cannot be removed. Of a job from the configuration only `enabled` can be changed (else `BadRequest`),
        of one from a package nothing (`Conflict`). Of two changes at once, one may fail with `ServerError`.
        """
        return await self._jobs.update(job_id, job_changes(changes))

    async def delete(self, job_id: str) -> None:
        """Delete a job; the history of its runs stays. Jobs of configuration and packages cannot be deleted."""
        await self._jobs.delete(job_id)

    async def trigger(self, job_id: str, *, wait_for_slot: bool = False) -> RunHandle:
        """Start a run of a job, once, and return its handle as soon as the run is known; never wait for its end.

        The server answers when the run has ended, so the job's history is polled meanwhile, and the connection is
        closed once the run is found, which does not affect the run. The request is never sent again; after an answer
        that hides the run (500) or that was lost, the run is searched in the history. Raises `StartUnknown`, with the
        possible runs in its `advice`, when it is not found. A history does not say who began a run: calls of this
        client each get one of their own; if others trigger the same job at the same time, two runs that do the same
        work may be swapped.

        With `backoff`, each attempt of a triggered run is a record of its own: the handle follows the first one that
        was found, and `runs(job_id)` has the others. At a limit `Conflict` is raised (`reason`, `retry_at`, `active`,
        `limit`); with `wait_for_slot` the call is made again until there is a slot, since nothing was started.
        Cancellation is as for `Leena.execute`. Raises `NotFound` for no such job, otherwise as the other methods.
        """
        url = f"{self._jobs.url(job_id)}/trigger"
        runs = self._runs_by_job.get(job_id)
        tries = 0
        while True:
            try:
                return await self._trigger(job_id, url, runs)
            except Conflict as error:
                tries += 1
                pool = self._calls.pool
                delay = slot_delay(error, tries, now=pool.clock.utcnow(), chance=pool.chance())
                if not wait_for_slot or delay is None:
                    raise
            await sleep(pool.clock, delay)

    async def _trigger(self, job_id: str, url: str, runs: JobRuns) -> RunHandle:
        self._calls.pool.ensure_open()
        finder = RunFinder(self._calls, runs, await runs.open(), self._handles.of_started)
        request = Request(
            method="POST",
            url=url,
            call=TRIGGER,
            purpose=Purpose.START,
            refused_by=REFUSED,
            is_long=True,
        )
        return await self._calls.start(
            Start(
                vendor=self._calls.account.vendor,
                request=request,
                read=finder.read,
                target=job_id,
                advice=finder.advice,
                find_early=finder.find_early,
                confirm=finder.confirm,
                find_start=finder.find_start,
            )
        )

    def runs(self, job_id: str, **filters: Unpack[RunFilters]) -> RunHistory:
        """Iterate over a job's runs, newest first: `async for run in agh.jobs.runs(job_id)`.

        `since` and `until` (aware datetimes or RFC 3339 text, both inclusive) bound when a run started; `limit` is
        the largest number of runs, None or 0 for all.
        """
        return self._handles.reporting(self._jobs.runs(job_id, **filters))
