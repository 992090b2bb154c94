"""Which run is polled next, and what each answer means for those who wait: the decisions of the polling engine.

Pure: it neither waits nor reads a clock. The driver (`scheduler.py`) reports what happened and when, makes the polls
that `next_poll` returns, calls `take_due` at `wake_at`, and carries out the effects that `take_effects` returns.

Read `runs.py` first: it has the data, and then `planning.py`, which has half of the core. `timing.py` says how long
until a poll, `rotation.py` bounds polls per account, `groups.py` knows which runs one list reads, `backoff.py` and
`slow_start.py` what follows when polls fail in a row, those of one run or those of an account.
"""

from collections.abc import Iterable, Mapping
from typing import Final

from ..errors import AgentsError
from ..model import Run, RunRef, RunState
from ..observe import PollFailed, PollsFailing, RunChanged, StatusUnknown
from .backoff import NO_BACKOFF
from .effects import Missed, Show, fault_of
from .groups import ListPoll, enter_group, gather
from .planning import PollPlan
from .reader import Hinted
from .runs import PLANNED, POLLING, RESTING, Contexts, Listener, PolledRun, Source

_MAY_LISTEN: Final = (Listener, dict)


class PollCore(PollPlan):
    """Decides when each run of a pool is polled, at most `pollers` at a time, and what its answers mean.

    `asked_at` is when a request was made. What was asked for before the state that is known is out of date, but for
    an end, which no state follows.
    """

    # Which run is polled next

    def next_poll(self) -> PolledRun | ListPoll | None:
        """Return the next poll to make, of one run or of a list, counted as begun; None if none may begin now."""
        while (run := self.rotation.take()) is not None:
            if not self._is_awaited(run):
                self.rotation.free(run.source)
                run.source.slow_start.allowed += 1
                run.phase = RESTING
                self._forget(run)
                continue
            self.polls += 1
            if run.group is not None and (poll := self._begin_list(run)) is not None:
                return poll
            self._begin(run)
            return run
        return None

    def _begin(self, run: PolledRun) -> None:
        """Count a run as being polled. A wake from now on may report a change that this poll does not see."""
        run.phase = POLLING
        run.was_woken, run.is_woken = run.is_woken, False
        run.is_left_out = False

    def _begin_list(self, first: PolledRun) -> ListPoll | None:
        """Return one poll of the run's whole group; None if the run is better polled alone."""
        poll = gather(first, self._is_awaited)
        if poll is not None:
            for run in poll.early.values():
                self._queue.drop(run)
            for run in poll.runs():
                self._begin(run)
        return poll

    def _count_out(self, run: PolledRun) -> None:
        """Count a run as not polled after all, and keep the wake that asked for the poll."""
        run.phase = RESTING
        run.is_woken |= run.was_woken

    # What a poll saw, or how it failed

    def not_made(self, poll: PolledRun | ListPoll, now: float) -> None:
        """Record that a begun poll was not made after all. What was due is due again, as long as anybody waits."""
        self.polls -= 1
        if isinstance(poll, PolledRun):
            self._put_back((poll,), (), now)
            self.rotation.free(poll.source)
        else:
            self._put_back(poll.due.values(), poll.early.values(), now)
            self.rotation.free(poll.first.source)

    def polled(self, run: PolledRun, seen: Run | Hinted[Run], now: float, asked_at: float) -> None:
        """Record what a poll saw, and the vendor's pacing hint if there is one."""
        source = run.source
        self.rotation.free(source)
        if source.slow_start.failures:
            source.slow_start.succeeded(now)
        run.phase = RESTING
        self._take(run, seen, now, asked_at)

    def poll_failed(self, run: PolledRun, error: Exception, now: float) -> None:
        """Record that a poll failed. A fault that is no `AgentsError` ends the waits for the run."""
        self.rotation.free(run.source)
        run.phase = RESTING
        if isinstance(error, AgentsError):
            self._count_failed(run.source, error, now)
            self._settle(run, self._fail, error, now)
        else:
            self._end(run, fault_of(run, error))

    def list_polled(
        self,
        poll: ListPoll,
        found: Mapping[RunRef, Run] | Hinted[Mapping[RunRef, Run]],
        now: float,
        asked_at: float,
    ) -> PolledRun | None:
        """Record what a list saw, and the hint for the next one; each run that it left out is polled by itself next.

        Return the first run if it was left out: its own poll is begun instead.
        """
        if poll.first.source.slow_start.failures:
            poll.first.source.slow_start.succeeded(now)
        if isinstance(found, Hinted):
            poll.group.until = self._timing.hinted(found.seconds, now)
        for run, seen in poll.answered(found.seen if isinstance(found, Hinted) else found):
            run.phase = RESTING
            self._take(run, seen, now, asked_at)
        return self._end_list(poll, now)

    def list_failed(self, poll: ListPoll, error: Exception, now: float) -> PolledRun | None:
        """Record that a list failed, as in `poll_failed`. Return the first run if its own poll is begun instead."""
        if isinstance(error, AgentsError):
            self._count_failed(poll.first.source, error, now)
            for run in poll.failed(error):
                run.phase = RESTING
                self._settle(run, self._fail, error, now)
        else:
            poll.group.is_sparse = True
            poll.due.pop(poll.first.ref, None)
            poll.first.phase = RESTING
            self._end(poll.first, fault_of(poll.first, error))
        return self._end_list(poll, now)

    def _count_failed(self, source: Source, error: AgentsError, now: float) -> None:
        self.polls_failed += 1
        source.slow_start.failed(error, now)
        self._await_grant(source)

    def _put_back(self, due: Iterable[PolledRun], early: Iterable[PolledRun], now: float) -> None:
        for run in due:
            self._count_out(run)
            self.rotation.add(run)
            self._await_grant(run.source)
        for run in early:
            self._count_out(run)
            self._plan_or_keep(run, now if run.is_woken else run.due_at)

    def _end_list(self, poll: ListPoll, now: float) -> PolledRun | None:
        """Put back the runs that the list left out: due ones are due again, others keep their planned time."""
        first = poll.due.pop(poll.first.ref, None)
        self._put_back(poll.due.values(), poll.early.values(), now)
        if first is not None:
            self._count_out(first)
            if self._is_awaited(first):
                self.polls += 1
                self._begin(first)
                return first
            self._forget(first)
        self.rotation.free(poll.first.source)
        return None

    def _take(self, run: PolledRun, seen: Run | Hinted[Run], now: float, asked_at: float) -> None:
        """Record what a poll saw, and plan the next one. An exception in it ends the waits for this run only."""
        if run.backoff is not NO_BACKOFF:
            run.backoff = NO_BACKOFF
        try:
            if isinstance(seen, Hinted):
                seen = self._heed(run, seen, now)
            self.seen(run, seen, now, asked_at, run.contexts)
            push = run.push
            if seen.state.is_terminal:
                if push is not None and not (run.was_woken or run.is_woken):
                    self.effects.append((None, Missed(push)))
                return
            if push is not None and run.was_woken and not push.will_wake_again(seen):
                # Woken although it has not ended: do not rely on a second wake.
                run.push, run.since = None, now
            at = now
            if not run.is_woken:
                at += self._timing.gap(run, now - run.since)
                if run.group is not None or run.backoff is not NO_BACKOFF:
                    at = self._timing.as_wanted(run, at)
            self._plan_or_keep(run, at)
        except Exception as exc:  # noqa: BLE001 - a cadence of the user's, or a vendor's reader
            self._end(run, fault_of(run, exc))

    def _heed(self, run: PolledRun, hinted: Hinted[Run], now: float) -> Run:
        """Plan no poll of a run before its server wants one. Return what was seen."""
        run.backoff = NO_BACKOFF._replace(until=self._timing.hinted(hinted.seconds, now))
        return hinted.seen

    def reported(self, run: PolledRun, seen: Run | Hinted[Run], now: float, asked_at: float) -> None:
        """Record a state of a run that no poll saw: a caller's own request, or one for something else.

        No poll is planned, but one that is planned sooner than a hint asks for is put off.
        """
        if isinstance(seen, Hinted):
            seen = self._heed(run, seen, now)
            if run.phase is PLANNED and run.due_at < run.backoff.until and not run.is_woken:
                self._plan(run, run.backoff.until)
        self.seen(run, seen, now, asked_at)

    def seen(self, run: PolledRun, seen: Run, now: float, asked_at: float, contexts: Contexts = None) -> None:
        """Record a state of a run, which a poll saw or somebody reports, and inform the waiters. Plan no poll."""
        previous = run.last
        if previous is not None and previous.state.is_terminal:
            return  # an older answer that arrived late
        if run.backoff.failures:
            run.backoff = NO_BACKOFF
        is_over = seen.state.is_terminal
        if asked_at < run.asked_at and not is_over:
            return  # a newer one overtook it
        is_new = _is_new_state(previous, seen)
        self._timing.learn(run, seen, is_changed=is_new, asked_at=asked_at, now=now)
        run.asked_at = asked_at
        if seen is not previous:  # else nothing changed, as the vendor says
            if is_new:
                run.since = now
            run.last = seen
            if run.source.lists is not None and self._is_awaited(run):
                enter_group(run)
            if not seen.is_same_as(previous):
                self._report_change(run.source.vendor, seen, previous, contexts)
        if is_over:
            self._release(run, seen, contexts)
            self._forget(run)
        elif isinstance(run.waiters, _MAY_LISTEN):
            self.effects.append((contexts, Show(run.waiters, seen)))

    def _report_change(self, vendor: str, seen: Run, previous: Run | None, contexts: Contexts) -> None:
        self.effects.append((contexts, RunChanged(vendor=vendor, run=seen, previous=previous)))
        if seen.state is RunState.UNKNOWN and (vendor, seen.status) not in self._unknown:
            self._unknown.add((vendor, seen.status))
            self.effects.append((contexts, StatusUnknown(vendor=vendor, run=seen)))

    def _fail(self, run: PolledRun, error: AgentsError, now: float) -> None:
        """Plan the next poll after one that failed, or end the waits if another cannot succeed."""
        if run.push is not None and (run.was_woken or run.is_woken):
            run.push, run.since = None, now  # as in `_take`: woken once, and not seen
        backoff = run.backoff.after(error, now)
        if error.retry_after is not None:
            backoff = backoff._replace(until=self._timing.hinted(error.retry_after, now))
        run.backoff = backoff
        if not backoff.may_pass(error, self._retry, now):
            self._end(run, error)
            return
        at, vendor = self._timing.after_failure(run, error, now), run.source.vendor
        count, runs = backoff.failures, len(run.source.runs)
        failed = PollFailed(vendor=vendor, ref=run.ref, failures=count, delay=at - now, error=error)
        self.effects.append((run.contexts, failed))
        if run.source.reported.is_new(backoff, now):
            failing = PollsFailing(vendor=vendor, ref=run.ref, failures=count, runs=runs, error=error)
            self.effects.append((run.contexts, failing))
        # The next poll sees what changed; it is not made sooner than the server asks for.
        run.is_woken = False
        self._plan_or_keep(run, at)


def _is_new_state(previous: Run | None, seen: Run) -> bool:
    return previous is None or previous.state is not seen.state or previous.status != seen.status
