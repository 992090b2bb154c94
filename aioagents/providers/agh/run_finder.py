"""Find the run that a trigger call began while the call is in flight: the server answers when the run has ended.

The job's history is read for a run that was not there before. The same is done when the answer hides the run (500) or
is lost. The call itself is sent once, whatever happens (AGH automation API, section 6.7).
"""

import asyncio
import math
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta
from typing import Final, TypeVar
from weakref import WeakValueDictionary

from ...calls import PendingStart
from ...clock import sleep
from ...errors import AgentsError, Conflict, NotFound, ServerError
from ...model import Reply, Request
from ...polling import RunHandle
from ...retry import is_reply_lost
from .calls import Calls
from .records import AutomationRun
from .refusals import CONCURRENCY, FIRE
from .run_assignment import Claim, ListedRun, RunAssignment
from .values import Retry
from .wire import get_request, job_in, list_request, run_in, runs_in

T = TypeVar("T")

CALL: Final = "jobs.trigger"
_FAILED: Final = 500  # the server's answer when the run failed
_FIRST_GAP: Final = 0.25  # seconds; a call that is refused at once is answered by then
_FACTOR: Final = 1.5
_LONGEST_GAP: Final = 5.0
_RECENT: Final = 0.1  # seconds: a list that another call read so lately is not read again
_GAPS_AFTER: Final = (0.0, 0.25, 0.5, 1.0, 2.0, 4.0)  # seconds between lists once the answer was lost
_MOST_SHOWN: Final = 10  # of the runs that a call may have begun
# Runs may be listed in another order than they started: lists reach back by so much from the newest known run.
_SLACK: Final = timedelta(seconds=10)


class JobRuns:
    """The recent history of one job, read for all trigger calls in flight, and the assignment of its runs to them."""

    def __init__(self, calls: Calls, job_id: str) -> None:
        self._calls = calls
        self._job_id = job_id
        self._url = f"{calls.item('jobs', job_id)}/runs"
        self._assignment = RunAssignment()
        self._lock = asyncio.Lock()
        self._asked_at: float | None = None
        # Lower bounds for lists: when each was found, and the start of the newest run at that time, less the slack.
        self._bounds: deque[tuple[float, str | None]] = deque()
        self._runs: dict[str, AutomationRun] = {}

    async def open(self) -> Claim:
        """Return a claim to a run that is not there yet.

        Raises what reading the history raises, such as `NotFound` for no such job.
        """
        now = self._calls.pool.clock.now()
        await self.refresh(after=now)
        return self._assignment.open(now)

    async def refresh(self, *, after: float) -> None:
        """Read the history, unless another call did since the time `after`. Raises `AgentsError`."""
        async with self._lock:
            if self._asked_at is not None and self._asked_at >= after:
                return
            is_first = self._asked_at is None
            if is_first:
                self._add_bound(-math.inf, await self._list({"limit": "1"}))
            asked_at = self._calls.pool.clock.now()
            since = self._bounds[0][1]
            runs = await self._list({} if since is None else {"since": since})
            self._runs = {run.id: run for run in reversed(runs)}
            listed = [_listed(run) for run in self._runs.values()]
            self._assignment.update(listed, asked_at=None if is_first else asked_at)
            self._asked_at = asked_at
            self._add_bound(asked_at, runs)

    def _add_bound(self, asked_at: float, runs: Sequence[AutomationRun]) -> None:
        """Keep a lower bound for the lists of later calls, and drop bounds that no call needs any more."""
        started_at = runs[0].started_at if runs else None
        if started_at is not None:
            self._bounds.append((asked_at, (started_at - _SLACK).isoformat().replace("+00:00", "Z")))
        elif not self._bounds:
            self._bounds.append((asked_at, None))
        oldest = self._assignment.oldest_opened_at()
        while len(self._bounds) > 1 and self._bounds[1][0] < oldest:
            self._bounds.popleft()

    async def _list(self, query: Mapping[str, str]) -> list[AutomationRun]:
        return await self._read(list_request(self._url, "jobs.runs", query), runs_in)

    async def _read(self, request: Request, read: Callable[[Reply, str], T]) -> T:
        # Also while the pool is closing, so that calls in flight have the time to learn their runs.
        calls = self._calls
        return await calls.pool.caller.call(calls.account, request, lambda reply: read(reply, request.call))

    def run_of(self, claim: Claim) -> AutomationRun | None:
        """Return the run that is assigned to a claim, as it was last listed; None while there is none."""
        return None if claim.run_id is None else self._runs.get(claim.run_id)

    def record_answer(self, claim: Claim, run: AutomationRun) -> bool:
        """Assign the run that the server's answer names; return False when another call has it already."""
        return self._assignment.record_answer(claim, run.id, run.attempt)

    def assign_oldest(self, claim: Claim) -> AutomationRun | None:
        """Assign the oldest run that no other call has, and return it; None where there is none."""
        found = self._assignment.assign_oldest(claim)
        return None if found is None else self._runs.get(found)

    def close(self, claim: Claim, *, has_begun: bool) -> None:
        """Record that a call has ended, and whether it has begun the run that is assigned to it."""
        self._assignment.close(claim, has_begun=has_begun)

    def candidates(self, claim: Claim) -> list[str]:
        """Return the ids of the runs that the call can have begun and that no other call has."""
        return self._assignment.candidates(claim)

    async def retry(self) -> Retry:
        """Read the job's retry policy. Raises `AgentsError`."""
        request = get_request(self._calls.item("jobs", self._job_id), "jobs.get")
        return (await self._read(request, job_in)).retry


class JobRunsById:
    """The `JobRuns` of one client's jobs, each of which exists while a trigger call of its job is in flight."""

    def __init__(self, calls: Calls) -> None:
        self._calls = calls
        self._by_id: WeakValueDictionary[str, JobRuns] = WeakValueDictionary()

    def get(self, job_id: str) -> JobRuns:
        """Return those of a job. Raises ValueError for an impossible id."""
        runs = self._by_id.get(job_id)
        if runs is None:
            runs = self._by_id[job_id] = JobRuns(self._calls, job_id)
        return runs


class RunFinder:
    """Finds the run that one trigger call begins: `find_early`, `confirm` and `find_start` of its `Start`."""

    def __init__(
        self, calls: Calls, runs: JobRuns, claim: Claim, make_handle: Callable[[AutomationRun], RunHandle]
    ) -> None:
        self._clock = calls.pool.clock
        self._runs = runs
        self._claim = claim
        self._make_handle = make_handle
        self._answer: AutomationRun | None = None
        self._was_listed = False

    def read(self, reply: Reply) -> RunHandle:
        """Read the answer, which comes when the run has ended, or was delegated."""
        self._answer = run_in(reply, CALL)
        return self._make_handle(self._answer)

    def advice(self) -> str:
        """Return how to find out later whether a run began, and which runs may be it."""
        way = "Check the job's runs for one that began at that time."
        found = self._runs.candidates(self._claim)
        if found:
            shown = ", ".join(found[:_MOST_SHOWN])
            more = f" and {len(found) - _MOST_SHOWN} more" if len(found) > _MOST_SHOWN else ""
            return f"{way} These are new, and no other call of this client began them: {shown}{more}."
        return f"{way} No new one was listed." if self._was_listed else way

    async def find_early(self, pending: PendingStart[RunHandle]) -> RunHandle:
        """Return a handle of the run once the history has it."""
        self._claim.call = pending
        gap = _FIRST_GAP
        while True:
            await sleep(self._clock, gap)
            if pending.in_flight_since is None:
                continue
            run = await self._refreshed(after=self._clock.now() - _RECENT)
            if run is not None and pending.in_flight_since is not None:  # and was not refused meanwhile
                self._runs.close(self._claim, has_begun=True)
                return self._make_handle(run)
            gap = min(gap * _FACTOR, _LONGEST_GAP)

    async def confirm(self, result: RunHandle) -> RunHandle:
        """Return the handle of the run that was answered, or of the one that is left for this call.

        Where the answered run was assigned to another call, that call's own run is this call's.
        """
        try:
            if self._answer is None or self._runs.record_answer(self._claim, self._answer):
                return result
            for gap in _GAPS_AFTER:
                await sleep(self._clock, gap)
                await self._refreshed(after=self._clock.now())
                other = self._runs.assign_oldest(self._claim)
                if other is not None:
                    return self._make_handle(other)
            return result
        finally:
            self._runs.close(self._claim, has_begun=True)

    async def find_start(self, pending: PendingStart[RunHandle], error: AgentsError) -> RunHandle | None:
        """Return a handle of the run after an answer that hides it or was lost; None where no run is found."""
        run = None
        try:
            if isinstance(error, Conflict):
                run = await self._earlier_attempt(error, pending)
            elif pending.is_sent:
                run = await self._hidden(error)
        finally:  # the call has ended: a run that was assigned meanwhile may be another call's
            self._runs.close(self._claim, has_begun=run is not None)
        return None if run is None else self._make_handle(run)

    async def _hidden(self, error: AgentsError) -> AutomationRun | None:
        self._claim.has_failed = isinstance(error, ServerError) and error.status == _FAILED
        self._claim.is_lost = is_reply_lost(error)
        for gap in _GAPS_AFTER:
            await sleep(self._clock, gap)
            run = await self._refreshed(after=self._clock.now())
            if run is not None:
                return run
        # No new run has failed, so the 500 meant something else: a run that no other call has may still be this
        # call's.
        self._claim.has_failed, self._claim.is_lost = False, True
        await sleep(self._clock, _FIRST_GAP)
        return await self._refreshed(after=self._clock.now())

    async def _earlier_attempt(
        self, error: Conflict, pending: PendingStart[RunHandle]
    ) -> AutomationRun | None:
        """Find an attempt before a refusal: with backoff, it may be a later attempt that was refused."""
        if error.reason not in {CONCURRENCY, FIRE}:
            return None
        refused_at = self._clock.now()
        self._claim.has_failed = True
        try:
            retry = await self._runs.retry()
        except NotFound:
            return None
        except AgentsError:
            pass  # the policy is unknown, so there may have been an attempt
        else:
            # The second attempt comes no sooner than this: a run that failed earlier is another call's.
            if retry.strategy == "none" or refused_at - self._claim.opened_at < (retry.base_seconds or 0.0):
                return None
        self._was_listed = False
        run = await self._refreshed(after=self._clock.now())
        if not self._was_listed:
            pending.note_may_have_begun()  # or the call might be sent again although a run began
        return run

    async def _refreshed(self, *, after: float) -> AutomationRun | None:
        """Read the history and return the run of this call, if there is one.

        Errors of reading are dropped: they pass, or the call itself fails by the same cause.
        """
        try:
            await self._runs.refresh(after=after)
            self._was_listed = True
        except AgentsError:
            return None
        return self._runs.run_of(self._claim)


def _listed(run: AutomationRun) -> ListedRun:
    # A scheduled fire has a `fire_id`; no call of ours began it.
    return ListedRun(run.id, 0 if run.fire_id else max(run.attempt, 1), run.status == "failed")
