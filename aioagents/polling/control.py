"""Asks a vendor to cancel a run, or answers what the run asks.

A request goes on in a task of the pool's when its caller is cancelled: the vendor may have acted on it already, and
those who wait for the run are to learn of it.
"""

import asyncio
from collections.abc import Callable, Coroutine
from contextvars import copy_context
from functools import partial
from typing import Any, Final

from ..errors import (
    AgentsError,
    Conflict,
    DecodeError,
    NotFound,
    PoolClosed,
    ReplyLost,
    ServerError,
    Unsupported,
)
from ..model import Run, RunRef
from ..observe import AnswerSent, CancelSent, Event
from .listeners import Within
from .reader import Answerer, Canceller, Hinted
from .runs import PolledRun
from .scheduler import Scheduler

#: Seconds after which a request is given up. The vendor may have acted on it all the same.
LIMIT: Final = 30.0

#: Errors after which the vendor may have done what was asked.
_MAY_HAVE_ACTED: Final = (ReplyLost, ServerError, DecodeError)


class RunControl:
    """What the handles of a run ask its vendor for. `shared` returns the run that all of them share at the moment."""

    def __init__(self, scheduler: Scheduler, shared: Callable[[], PolledRun]) -> None:
        self._scheduler = scheduler
        self._shared = shared
        self._seen: Run | None = None

    async def cancel(self, canceller: Canceller, reason: str | None) -> None:
        """Ask for the run to be cancelled, unless its end is known. Raises as `RunHandle.cancel`."""
        self._scheduler.ensure_open()
        run = self._shared()
        if run.last is not None and run.last.state.is_terminal:
            return
        await self._request(
            run.ref,
            lambda: self._cancel(canceller, reason, was_requested=run.is_cancel_requested),
            lambda error: CancelSent(vendor=run.source.vendor, ref=run.ref, run=self._seen, error=error),
        )

    async def answer(self, answerer: Answerer, answer: str) -> None:
        """Send an answer. Raises as `RunHandle.answer`."""
        run = self._shared()
        known = answerer.answers
        if answer not in known:
            raise ValueError(f"{run.source.vendor} takes the answers {', '.join(known)}, not {answer!r}")
        self._scheduler.ensure_open()
        await self._request(
            run.ref,
            lambda: self._answer(answerer, answer),
            lambda error: AnswerSent(
                vendor=run.source.vendor, ref=run.ref, answer=answer, run=self._seen, error=error
            ),
        )

    async def _cancel(self, canceller: Canceller, reason: str | None, *, was_requested: bool) -> None:
        run, asked_at = self._shared(), self._scheduler.clock.now()

        def set_requested(*, is_requested: bool) -> None:
            self._shared().is_cancel_requested = is_requested

        try:
            seen = await canceller.cancel(
                run.ref,
                reason=reason,
                age=self._age(run),
                last=run.last,
                on_sent=partial(set_requested, is_requested=True),
            )
        except (Conflict, NotFound) as error:
            if error.tries == 1:  # else an earlier try may have cancelled it
                set_requested(is_requested=was_requested)
            seen = await self._end_after(error)
        except Exception as error:
            if not isinstance(error, _MAY_HAVE_ACTED):
                set_requested(is_requested=was_requested)
            raise
        self._take(seen, asked_at)

    async def _end_after(self, error: AgentsError) -> Run:
        """Return the end of a run that could not be cancelled. Raises `error` if it has not ended."""
        run = self._shared()
        found = await run.source.reader.read(run.ref, age=self._age(run), last=run.last)
        seen = found.seen if isinstance(found, Hinted) else found
        if not seen.state.is_terminal:
            raise error
        return seen

    async def _answer(self, answerer: Answerer, answer: str) -> None:
        run, asked_at = self._shared(), self._scheduler.clock.now()
        self._take(await answerer.answer(run.ref, answer, age=self._age(run), last=run.last), asked_at)

    def _age(self, run: PolledRun) -> float | None:
        return None if run.begun_at is None else self._scheduler.clock.now() - run.begun_at

    def _take(self, seen: Run | None, asked_at: float) -> None:
        """Inform those who wait of the state that a reply has; where it has none, have the run polled now."""
        self._seen = seen
        if seen is None:
            self._scheduler.wake(self._shared())
        else:
            self._scheduler.seen(self._shared(), seen, asked_at=asked_at)

    async def _request(
        self,
        ref: RunRef,
        make: Callable[[], Coroutine[Any, Any, None]],
        event: Callable[[AgentsError | None], Event],
    ) -> None:
        """Do what `make` returns in a task of the pool's, for `LIMIT` seconds at most; emit an event at its end."""
        scheduler, context = self._scheduler, copy_context()
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        task: asyncio.Task[Any] | None = None
        is_late = False

        async def work() -> None:
            nonlocal task
            task = asyncio.current_task()
            await Within(context, make())

        def ended(task: "asyncio.Task[Any]") -> None:
            timer.cancel()
            fault = _fault_of(task, ref, is_late=is_late)
            known = fault if fault is None or isinstance(fault, AgentsError) else _broken(ref, fault)
            context.run(scheduler.emit, event(known))
            if future.done():
                if known is not fault:  # a vendor's folder is broken, and nobody waits any more
                    task.get_loop().call_exception_handler({"message": str(known), "exception": fault})
            elif fault is None:
                future.set_result(None)
            else:
                future.set_exception(fault)

        def give_up() -> None:
            nonlocal is_late
            is_late = True
            if task is not None:
                task.cancel()

        scheduler.spawn(work(), ended)
        timer = scheduler.clock.call_at(scheduler.clock.now() + LIMIT, give_up)
        await future


def canceller_of(run: PolledRun) -> Canceller:
    """Return what cancels a run. Raises `Unsupported` where its vendor has no call for that."""
    source = run.source
    if isinstance(source.reader, Canceller):
        return source.reader
    why = source.cannot_cancel or "the vendor has no call that cancels a run"
    raise Unsupported(f"run {run.ref} cannot be cancelled: {why}", vendor=source.vendor, ref=run.ref)


def answerer_of(run: PolledRun) -> Answerer:
    """Return what answers a run. Raises `Unsupported` where runs of its vendor ask nothing."""
    source = run.source
    if isinstance(source.reader, Answerer):
        return source.reader
    words = f"run {run.ref} takes no answer: the vendor has no call for that"
    raise Unsupported(words, vendor=source.vendor, ref=run.ref)


def _fault_of(task: "asyncio.Task[Any]", ref: RunRef, *, is_late: bool) -> BaseException | None:
    if not task.cancelled():
        return task.exception()
    if is_late:
        words = f"{ref.vendor} did not answer within {LIMIT:g} s: it may have acted, or not"
        return ReplyLost(words, vendor=ref.vendor, ref=ref)
    return PoolClosed("the pool was closed before the vendor answered", vendor=ref.vendor, ref=ref)


def _broken(ref: RunRef, fault: BaseException) -> AgentsError:
    error = AgentsError(f"a request for {ref} failed: {type(fault).__name__}", vendor=ref.vendor, ref=ref)
    error.__cause__ = fault
    return error
