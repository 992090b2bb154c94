"""The jobs that a journal's file is asked for. All jobs submitted during a commit share the next commit."""

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from enum import Enum, auto
from itertools import groupby
from operator import attrgetter
from typing import Any, Final

import anyio
from attrs import frozen

from ...clock import Clock
from ...errors import JournalError
from .executor import Executor
from .faults import journal_error
from .opening import OpeningOptions
from .store import Store

#: The number of rows in one commit, which bounds its time and memory.
_MOST: Final = 2048
#: Errors that a job may raise before it has written anything.
_REFUSALS: Final = (JournalError, ValueError, TypeError, KeyError)


class Kind(Enum):
    """The kind of a job: claims, changes, a call of the store inside a transaction, or a call that reads."""

    CLAIM = auto()
    CHANGE = auto()
    WRITE = auto()
    READ = auto()


class Job:
    """A request to the thread. `work` is encoded rows or changes, or a function that is called with the store."""

    __slots__ = ("error", "future", "kind", "result", "rows", "work")

    def __init__(self, kind: Kind, work: Any, rows: int, future: "asyncio.Future[Any]") -> None:
        self.kind = kind
        self.work = work
        self.rows = rows
        self.future = future
        self.result: Any = None
        self.error: JournalError | None = None

    def refuse(self, error: Exception, path: str) -> None:
        """Record that the job failed, with an error of its own for its caller."""
        self.error = journal_error(error, path)


@frozen(kw_only=True)
class JournalStatistics:
    """What a journal has done since it was opened.

    `commits` counts transactions that wrote something, `writes` the calls that they contained, `rows` the rows
    written; `waiting` is the number of calls that are pending.
    """

    commits: int
    writes: int
    rows: int
    waiting: int


class Writer:
    """Passes jobs to its executor and their results back to the loop, which is woken once for each group."""

    def __init__(
        self,
        path: str,
        *,
        owner: str,
        clock: Clock,
        grace: float,
        executor: Executor,
        options: OpeningOptions,
    ) -> None:
        self._path = path
        self._options = options
        self._owner = owner
        self._clock = clock
        self._grace = grace
        self._executor = executor
        self._loop = asyncio.get_running_loop()
        self._opened: asyncio.Future[None] = self._loop.create_future()
        self._ended: asyncio.Future[None] = self._loop.create_future()
        self._asked: list[Job] = []
        self._waiting: set[Job] = set()
        #: Jobs for the executor: the loop appends them, the executor takes them out.
        self._handed: deque[Job] = deque()
        self._store: Store | None = None
        self._is_stopped = False
        self._commits = self._writes = self._rows = 0

    # In the loop

    async def open(self) -> None:
        """Open the journal. Raise JournalError if that fails. If cancelled, close it again before returning."""
        self._executor.submit(self._open_store)
        try:
            await self._opened
        except BaseException:
            with suppress(JournalError):  # the first error is the one to raise
                await self.aclose()
            raise

    @property
    def is_of_this_loop(self) -> bool:
        """Return whether the running loop is the one in which the journal was opened."""
        return asyncio.get_running_loop() is self._loop

    def submit(self, kind: Kind, work: Any, *, rows: int) -> "asyncio.Future[Any]":
        """Submit a job and return its future. Jobs run in order. Cancelling the future does not withdraw the job."""
        job = Job(kind, work, rows, self._loop.create_future())
        self._waiting.add(job)
        if not self._asked:
            self._loop.call_soon(
                self._hand_over
            )  # wake the executor once for all jobs of one iteration of the loop
        self._asked.append(job)
        return job.future

    def _hand_over(self) -> None:
        if self._asked and not self._is_stopped:
            self._handed.extend(self._asked)
            self._asked = []
            self._executor.submit(self._serve_all)

    def stop(self) -> None:
        """Request that the file be closed after the jobs submitted so far. May be called twice."""
        self._hand_over()
        if not self._is_stopped:
            self._is_stopped = True
            self._executor.submit(self._close_store)
            self._executor.close()

    async def aclose(self) -> None:
        """Wait until all jobs are done and the file is closed, at most `grace` seconds."""
        self.stop()
        with anyio.move_on_after(self._grace, shield=True):
            await asyncio.wait([self._ended])
        if self._ended.done():
            self._executor.join()
            return
        words = f"the journal {self._path} did not finish writing within {self._grace:g} s: is its disk available?"
        for job in self._waiting:
            if not job.future.done():
                job.future.set_exception(JournalError(words))
        self._waiting.clear()
        raise JournalError(words)

    def _settle(self, jobs: Sequence[Job]) -> None:
        self._waiting.difference_update(jobs)
        for job in jobs:
            if job.future.done():
                continue
            if job.error is None:
                job.future.set_result(job.result)
            else:
                job.future.set_exception(job.error)

    def statistics(self) -> JournalStatistics:
        """Return what the writer has done so far."""
        return JournalStatistics(
            commits=self._commits, writes=self._writes, rows=self._rows, waiting=len(self._waiting)
        )

    # In the executor

    def _call_in_loop(self, callback: Callable[..., object], *arguments: object) -> None:
        with suppress(RuntimeError):  # the loop was closed without closing the journal
            self._loop.call_soon_threadsafe(callback, *arguments)

    def _open_store(self) -> None:
        try:
            self._store = Store.open(
                self._path, owner=self._owner, now=self._clock.utcnow(), options=self._options
            )
        except Exception as exc:  # noqa: BLE001 - whatever it is, `open` raises it
            self._call_in_loop(_refuse, self._opened, journal_error(exc, self._path))
        else:
            self._call_in_loop(_answer, self._opened)

    def _close_store(self) -> None:
        try:
            if self._store is not None:
                self._store.close(now=self._clock.utcnow())
        finally:
            self._call_in_loop(_answer, self._ended)

    def _serve_all(self) -> None:
        """Do all jobs that were handed over, those included that come meanwhile: then the next call finds none."""
        store = self._store
        while store is not None and self._handed:
            self._serve(store, _take_group(self._handed))

    def _serve(self, store: Store, jobs: Sequence[Job]) -> None:
        writes = [job for job in jobs if job.kind is not Kind.READ]
        reads = [job for job in jobs if job.kind is Kind.READ]
        if writes:
            self._commit(store, writes)
            self._call_in_loop(self._settle, writes)
        for job in reads:
            try:
                job.result = job.work(store)
            except Exception as exc:  # noqa: BLE001 - the executor has to go on
                job.refuse(exc, store.path)
        if reads:
            self._call_in_loop(self._settle, reads)

    def _commit(self, store: Store, jobs: Sequence[Job]) -> None:
        """Do jobs in one transaction. If it fails, all of them fail and nothing is changed."""
        before = store.changes
        try:
            with store.transaction():
                for kind, some in groupby(jobs, key=attrgetter("kind")):
                    _DO[kind](store, list(some))
        except Exception as exc:  # noqa: BLE001 - the executor has to go on
            for job in jobs:
                job.refuse(exc, store.path)
            store.spill(job.work for job in jobs if job.kind is Kind.CHANGE)
            return
        rows = store.changes - before
        self._rows += rows
        self._commits += bool(rows)
        self._writes += sum(job.error is None for job in jobs)


def _claim(store: Store, jobs: Sequence[Job]) -> None:
    plan = store.plan_claims(job.work for job in jobs)
    try:
        for job in jobs:
            job.result = plan.claim(job.work)
    except _REFUSALS as exc:
        _do_one_by_one(_claim, store, jobs, exc)
    else:
        store.save_claims(plan)


def _change(store: Store, jobs: Sequence[Job]) -> None:
    plan = store.plan_changes(job.work for job in jobs)
    try:
        for job in jobs:
            plan.change(job.work)
    except _REFUSALS as exc:
        store.clear_cache()
        _do_one_by_one(_change, store, jobs, exc)
    else:
        store.save_changes(plan)


def _do_one_by_one(
    act: Callable[[Store, Sequence[Job]], None], store: Store, jobs: Sequence[Job], error: Exception
) -> None:
    """Do jobs one by one after one of the group was refused. Nothing of the group was written yet."""
    if len(jobs) == 1:
        jobs[0].refuse(error, store.path)
        return
    for job in jobs:
        act(store, [job])


def _write(store: Store, jobs: Sequence[Job]) -> None:
    for job in jobs:
        try:
            job.result = job.work(store)
        except _REFUSALS as exc:
            job.refuse(exc, store.path)


_DO: Final = {Kind.CLAIM: _claim, Kind.CHANGE: _change, Kind.WRITE: _write}


def _take_group(backlog: deque[Job]) -> list[Job]:
    """Take the jobs for one commit: at least one, and more only up to the limit of rows."""
    jobs: list[Job] = []
    rows = 0
    while backlog and (not jobs or rows + backlog[0].rows <= _MOST):
        job = backlog.popleft()
        rows += job.rows
        jobs.append(job)
    return jobs


def _answer(future: "asyncio.Future[None]") -> None:
    if not future.done():
        future.set_result(None)


def _refuse(future: "asyncio.Future[None]", error: JournalError) -> None:
    if not future.done():
        future.set_exception(error)
