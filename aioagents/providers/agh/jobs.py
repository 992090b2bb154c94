"""AGH Runtime: jobs, which run by a schedule."""

from typing import TypeAlias, Unpack

from ...calls import Start
from ...clock import sleep
from ...errors import Conflict
from ...model import Purpose, Request
from ...polling import RunHandle
from .calls import Calls
from .checks import check_number
from .definitions import JobChanges, job_body, job_changes, listing
from .follow import Follower
from .history import PAGE_SIZE, RunHistory, history
from .records import Job
from .refusals import slot_delay
from .times import Moment
from .trigger import CALL as TRIGGER
from .trigger import Book, TriggerSearch, TriggerSearches
from .values import FireLimitLike, JobTaskLike, RetryLike, ScheduleLike
from .wire import REFUSED, create_request, get_request, job_in, jobs_in, list_request, update_request

_ADVICE = (
    "List the jobs and look for one of this name: names may repeat, so compare what it was made of as well."
)
_Jobs: TypeAlias = list[Job]  # in the class, `list` is its method


class Jobs:
    """The jobs of a runtime. Made by `Agh.jobs`.

    All methods raise `ReplyError` (`BadRequest`, `NotFound`, `Conflict`, `PermissionDenied`, `ServerError`),
    `TransportError`, `DecodeError` and `PoolClosed`, and ValueError or TypeError for what the server would refuse,
    before anything is sent, with the member's path in front. All but `create` try again after passing faults.
    """

    def __init__(self, calls: Calls, follower: Follower) -> None:
        self._calls = calls
        self._follower = follower
        self._searches = TriggerSearches(calls)
        self._url = calls.url("jobs")

    async def list(
        self,
        *,
        scope: str | None = None,
        workspace_id: str | None = None,
        source: str | None = None,
        limit: int | None = None,
    ) -> _Jobs:
        """Return the jobs, by name then id; no `limit` or 0 is all. Sources are `config`, `dynamic`, `package`."""
        query = listing(scope, workspace_id, source)
        if limit is not None:
            query["limit"] = str(check_number(limit, "limit", least=0))
        return await self._calls.call(list_request(self._url, "jobs.list", query), jobs_in)

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
        """Make a job, once. With a `task`, agent and prompt may be left out.

        Left to the server are: enabled, no retry, 12 runs within an hour. A scheduled run of any job that is under
        way ends as canceled when jobs are made, changed or deleted. Whether agent and workspace exist is not looked
        at, nor that the name is new. Raises `StartUnknown` when the reply was lost and the job may be there.
        """
        body = job_body(
            {
                "scope": scope,
                "name": name,
                "schedule": schedule,
                "agent_name": agent_name,
                "prompt": prompt,
                "workspace_id": workspace_id,
                "task": task,
                "enabled": enabled,
                "retry": retry,
                "fire_limit": fire_limit,
            }
        )
        request = create_request(self._url, "jobs.create", body)
        return await self._calls.start(
            Start(
                vendor=self._calls.account.vendor,
                request=request,
                read=lambda reply: job_in(reply, request.call),
                target=name,
                advice=_ADVICE,
                action="created a job",
                is_run=False,
            )
        )

    async def get(self, job_id: str) -> Job:
        """Return a job."""
        return await self._calls.call(get_request(self._item(job_id), "jobs.get"), job_in)

    async def update(self, job_id: str, /, **changes: Unpack[JobChanges]) -> Job:
        """Change what is given, and leave alone what is not; `schedule`, `retry`, `task` ... are replaced whole.

        A task cannot be taken away again. A job from the configuration takes `enabled` alone (else `BadRequest`),
        one from a package nothing (`Conflict`). Two changes at once may make one fail with `ServerError`.
        """
        body = job_changes(changes)
        return await self._calls.call(update_request(self._item(job_id), "jobs.update", body), job_in)

    async def delete(self, job_id: str) -> None:
        """Delete a job; the history of its runs stays. One of configuration or package cannot be deleted."""
        await self._calls.delete("jobs", job_id)

    async def trigger(self, job_id: str, *, wait_for_slot: bool = False) -> RunHandle:
        """Begin a run of a job, once, and give a handle on it as soon as it is known; never waits for its end.

        The server answers when the run has ended, so the job's history is watched meanwhile, and the connection is
        closed once the run is there, which the server does not mind. The request is never sent again, whatever
        becomes of it; after an answer that hides the run (500) or that was lost, the run is searched for in the
        history. Raises `StartUnknown`, with what was seen in its `advice`, when it is not found. Which of several
        new runs is whose a history does not tell: calls made here each get one of their own; where others trigger
        the same job in that very moment, two runs that do the same work may be taken for each other.

        With `backoff`, each attempt of a triggered run is a record of its own: the handle follows the first one that
        was seen, and `runs(job_id)` has the others. At a limit `Conflict` is raised (`reason`, `retry_at`,
        `active`, `limit`); with `wait_for_slot` the call is made again, for as long as it takes, since nothing was
        begun. Cancelling is as `Leena.execute` tells. Raises `NotFound` for no such job, otherwise as the others.
        """
        url = f"{self._item(job_id)}/trigger"
        book = self._searches.book(job_id)
        tries = 0
        while True:
            try:
                return await self._trigger(job_id, url, book)
            except Conflict as error:
                tries += 1
                pool = self._calls.pool
                delay = slot_delay(error, tries, now=pool.clock.utcnow(), chance=pool.chance())
                if not wait_for_slot or delay is None:
                    raise
            await sleep(pool.clock, delay)

    async def _trigger(self, job_id: str, url: str, book: Book) -> RunHandle:
        self._calls.pool.ensure_open()
        search = TriggerSearch(self._calls, book, await book.open(), self._follower.begun)
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
                read=search.read,
                target=job_id,
                advice=search.advice,
                search=search,
            )
        )

    def runs(
        self,
        job_id: str,
        *,
        status: str | None = None,
        since: Moment | None = None,
        until: Moment | None = None,
        limit: int | None = None,
        page_size: int = PAGE_SIZE,
    ) -> RunHistory:
        """Iterate over a job's runs, newest first: `async for run in agh.jobs.runs(job_id)`.

        `since` and `until` (aware datetimes or RFC 3339 text, both inclusive) bound when a run started; `limit` says
        how many at most, None or 0 for all.
        """
        return history(
            self._calls,
            f"{self._item(job_id)}/runs",
            "jobs.runs",
            status=status,
            since=since,
            until=until,
            limit=limit,
            page_size=page_size,
        )

    def _item(self, job_id: str) -> str:
        return self._calls.item("jobs", job_id)
