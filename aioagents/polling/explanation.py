"""What the wait for a run is doing, as a value and in words."""

from typing import Self

from attrs import frozen

from ..errors import AgentsError
from ..model import Run, RunRef
from .backoff import Backoff
from .runs import DUE, PLANNED, POLLING, PolledRun


@frozen(kw_only=True)
class Explanation:
    """What the wait for a run is doing. `str` says it in one line.

    `last` is the latest state known, `waiting` how many wait for the run in this pool. The next poll is due in
    `next_poll_in` seconds: 0 while one is due or under way (`is_polling`), None where none is planned. `is_pushed`
    says that a webhook wakes the run when it ends, so that polls are rare. The last `failures` polls failed, the
    latest with `error`.
    """

    ref: RunRef
    last: Run | None
    waiting: int
    next_poll_in: float | None
    is_polling: bool
    is_pushed: bool
    failures: int
    error: AgentsError | None

    @classmethod
    def of(cls, run: PolledRun, *, waiting: int, now: float) -> Self:
        """Return what is known at the moment `now` of a run for which so many wait."""
        due_in = {PLANNED: max(run.due_at - now, 0.0), DUE: 0.0, POLLING: 0.0}
        return cls(
            ref=run.ref,
            last=run.last,
            waiting=waiting,
            next_poll_in=due_in.get(run.phase) if waiting else None,
            is_polling=run.phase is POLLING,
            is_pushed=run.push is not None,
            failures=run.backoff.failures,
            error=run.backoff.error,
        )

    def __str__(self) -> str:
        facts = ["not seen yet" if self.last is None else f"last seen as {self.last.status}"]
        if self.last is not None and self.last.state.is_terminal:
            facts.append("it is over")
        elif self.next_poll_in is None:
            facts.append("nobody waits, so it is not polled")
        else:
            due = f"due in {self.next_poll_in:.1f} s" if self.next_poll_in else "due now"
            facts.append("a poll is under way" if self.is_polling else f"the next poll is {due}")
            facts.append("a webhook wakes it" if self.is_pushed else "no webhook wakes it")
        if self.failures:
            facts.append(str(Backoff(self.failures, error=self.error)))
        return f"{self.ref}: {', '.join(facts)}"
