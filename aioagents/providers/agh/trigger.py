"""Starting a job's run and knowing it at once, though the server answers only when it has ended.

While the call is out, the job's history is watched for a run that was not there before; the same is done when the
answer hides the run (500) or is lost. The call is made once, whatever happens (AGH automation API, section 6.7).
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
from .ledger import Claim, Ledger, Sighting
from .records import AutomationRun
from .refusals import CONCURRENCY, FIRE, tell_conflict
from .values import Retry
from .wire import get_request, job_in, list_request, run_in, runs_in

T = TypeVar("T")

CALL: Final = "jobs.trigger"
_FAILED: Final = 500  # how the server tells that the run failed
_FIRST_GAP: Final = 0.25  # seconds; what is refused at once is told by then
_FACTOR: Final = 1.5
_LONGEST_GAP: Final = 5.0
_RECENT: Final = 0.1  # seconds; of many calls one asks for all
_GAPS_AFTER: Final = (0.0, 0.25, 0.5, 1.0, 2.0, 4.0)  # seconds between looks once the answer was lost
_SHOWN: Final = 10  # of the runs that may be a call's
# A run that is reserved first may be seen second: the history is read from so long before the newest run.
_SLACK: Final = timedelta(seconds=10)


class Book:
    """The calls of one job that are out, and the part of its history that is read for them."""

    def __init__(self, calls: Calls, job_id: str) -> None:
        self._calls = calls
        self._job_id = job_id
        self._url = f"{calls.item('jobs', job_id)}/runs"
        self._ledger = Ledger()
        self._lock = asyncio.Lock()
        self._asked_at: float | None = None
        self._marks: deque[tuple[float, str | None]] = deque()
        self._runs: dict[str, AutomationRun] = {}

    async def open(self) -> Claim:
        """Make a claim to a run that is not there yet. Raises what reading the history raises, `NotFound` first."""
        now = self._calls.pool.clock.now()
        await self.refresh(after=now)
        return self._ledger.open(now)

    async def refresh(self, *, after: float) -> None:
        """Read the history, unless somebody did since the time `after`. Raises `AgentsError`."""
        async with self._lock:
            if self._asked_at is not None and self._asked_at >= after:
                return
            is_first = self._asked_at is None
            if is_first:
                self._mark(-math.inf, await self._list({"limit": "1"}))
            asked_at = self._calls.pool.clock.now()
            since = self._marks[0][1]
            runs = await self._list({} if since is None else {"since": since})
            self._runs = {run.id: run for run in reversed(runs)}
            sightings = [_sighting(run) for run in self._runs.values()]
            self._ledger.note(sightings, asked_at=None if is_first else asked_at)
            self._asked_at = asked_at
            self._mark(asked_at, runs)

    def _mark(self, asked_at: float, runs: Sequence[AutomationRun]) -> None:
        """Note from when on the history matters to calls made later, and forget what matters to none."""
        started_at = runs[0].started_at if runs else None
        if started_at is not None:
            self._marks.append((asked_at, (started_at - _SLACK).isoformat().replace("+00:00", "Z")))
        elif not self._marks:
            self._marks.append((asked_at, None))
        oldest = self._ledger.opened_at()
        while len(self._marks) > 1 and self._marks[1][0] < oldest:
            self._marks.popleft()

    async def _list(self, query: Mapping[str, str]) -> list[AutomationRun]:
        return await self._read(list_request(self._url, "jobs.runs", query), runs_in)

    async def _read(self, request: Request, read: Callable[[Reply, str], T]) -> T:
        # Also while the pool is closing, which leaves calls that are out the time to learn their runs.
        calls = self._calls
        return await calls.pool.caller.call(calls.account, request, lambda reply: read(reply, request.call))

    def run_of(self, claim: Claim) -> AutomationRun | None:
        """Return the run that a claim was settled with, as it was last listed."""
        return None if claim.run_id is None else self._runs.get(claim.run_id)

    def answer(self, claim: Claim, run: AutomationRun) -> bool:
        """Take in the run that the server named; False when it was given to another call before."""
        return self._ledger.answer(claim, run.id, run.attempt)

    def take_left_over(self, claim: Claim) -> AutomationRun | None:
        """Take the oldest run that no other call has."""
        found = self._ledger.left_over(claim)
        return None if found is None else self._runs.get(found)

    def close(self, claim: Claim, *, is_begun: bool) -> None:
        """Take in that a call is over, and whether the run that it was given is its own."""
        self._ledger.close(claim, is_begun=is_begun)

    def candidates(self, claim: Claim) -> list[str]:
        """Return the ids of the runs that may be this call's."""
        return self._ledger.candidates(claim)

    async def retry(self) -> Retry:
        """Read how the job's runs are tried again. Raises `AgentsError`."""
        request = get_request(self._calls.item("jobs", self._job_id), "jobs.get")
        return (await self._read(request, job_in)).retry


class TriggerSearches:
    """The books of one client's jobs; each is there while a call of its job is."""

    def __init__(self, calls: Calls) -> None:
        self._calls = calls
        self._books: WeakValueDictionary[str, Book] = WeakValueDictionary()

    def book(self, job_id: str) -> Book:
        """Return the book of a job. Raises ValueError for what cannot be an id."""
        book = self._books.get(job_id)
        if book is None:
            book = self._books[job_id] = Book(self._calls, job_id)
        return book


class TriggerSearch:
    """The search for the run that one call begins."""

    def __init__(
        self, calls: Calls, book: Book, claim: Claim, handle: Callable[[AutomationRun], RunHandle]
    ) -> None:
        self._clock = calls.pool.clock
        self._book = book
        self._claim = claim
        self._handle = handle
        self._answer: AutomationRun | None = None
        self._polled = False

    def read(self, reply: Reply) -> RunHandle:
        """Read the answer, which comes when the run has ended, or was delegated."""
        self._answer = run_in(reply, CALL)
        return self._handle(self._answer)

    def advice(self) -> str:
        """Say how to find out later, and what was seen."""
        way = "Look at the job's runs for one that began at that time."
        found = self._book.candidates(self._claim)
        if found:
            shown = ", ".join(found[:_SHOWN])
            more = f" and {len(found) - _SHOWN} more" if len(found) > _SHOWN else ""
            return f"{way} These are new, and nobody's as far as is known here: {shown}{more}."
        return f"{way} No new one was seen." if self._polled else way

    async def find(self, pending: PendingStart[RunHandle]) -> RunHandle:
        """Return a handle on the run once the history shows it."""
        self._claim.call = pending
        gap = _FIRST_GAP
        while True:
            await sleep(self._clock, gap)
            if pending.in_flight_since is None:
                continue
            run = await self._poll(after=self._clock.now() - _RECENT)
            if run is not None and pending.in_flight_since is not None:  # and was not refused meanwhile
                self._book.close(self._claim, is_begun=True)
                return self._handle(run)
            gap = min(gap * _FACTOR, _LONGEST_GAP)

    async def confirm(self, result: RunHandle) -> RunHandle:
        """Return the handle on the run that was answered, or on the one that is left for this call.

        Where another call was taken to have begun that run, this one began the other's.
        """
        try:
            if self._answer is None or self._book.answer(self._claim, self._answer):
                return result
            for gap in _GAPS_AFTER:
                await sleep(self._clock, gap)
                await self._poll(after=self._clock.now())
                other = self._book.take_left_over(self._claim)
                if other is not None:
                    return self._handle(other)
            return result
        finally:
            self._book.close(self._claim, is_begun=True)

    async def recover(self, error: AgentsError, pending: PendingStart[RunHandle]) -> RunHandle | None:
        """Look for the run where the answer hides it, or was lost."""
        run = None
        try:
            if isinstance(error, Conflict):
                run = await self._tried_before(error, pending)
            elif pending.is_sent:
                run = await self._hidden(error)
        finally:  # over in any case: what it was given meanwhile may be another call's
            self._book.close(self._claim, is_begun=run is not None)
        return None if run is None else self._handle(run)

    async def _hidden(self, error: AgentsError) -> AutomationRun | None:
        self._claim.has_failed = isinstance(error, ServerError) and error.status == _FAILED
        self._claim.is_lost = is_reply_lost(error)
        for gap in _GAPS_AFTER:
            await sleep(self._clock, gap)
            run = await self._poll(after=self._clock.now())
            if run is not None:
                return run
        # None has failed, so the answer hid something else: what is left over may still be this call's.
        self._claim.has_failed, self._claim.is_lost = False, True
        await sleep(self._clock, _FIRST_GAP)
        return await self._poll(after=self._clock.now())

    async def _tried_before(self, error: Conflict, pending: PendingStart[RunHandle]) -> AutomationRun | None:
        """Look for attempts before a refusal: with backoff, a later attempt may be what was refused."""
        tell_conflict(error)
        if error.reason not in {CONCURRENCY, FIRE}:
            return None
        refused_at = self._clock.now()
        self._claim.has_failed = True
        try:
            retry = await self._book.retry()
        except NotFound:
            return None
        except AgentsError:
            pass  # then it may be so
        else:
            # The second attempt comes no sooner: what failed within this time is another call's.
            if retry.strategy == "none" or refused_at - self._claim.opened_at < (retry.base_seconds or 0.0):
                return None
        self._polled = False
        run = await self._poll(after=self._clock.now())
        if not self._polled:
            pending.note_may_have_begun()  # or the call might be made again, on top of a run
        return run

    async def _poll(self, *, after: float) -> AutomationRun | None:
        """Read the history; what keeps it from being read passes, or ends the call by itself."""
        try:
            await self._book.refresh(after=after)
            self._polled = True
        except AgentsError:
            return None
        return self._book.run_of(self._claim)


def _sighting(run: AutomationRun) -> Sighting:
    # A scheduled fire has a `fire_id`; no call of ours began it.
    return Sighting(run.id, 0 if run.fire_id else max(run.attempt, 1), run.status == "failed")
