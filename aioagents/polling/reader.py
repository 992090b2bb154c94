"""What the polling engine asks of a vendor's client: read one run, read many with one list."""

from collections.abc import Callable, Mapping, Sequence
from typing import Generic, NamedTuple, Protocol, TypeVar, runtime_checkable

from ..model import Run, RunRef

T = TypeVar("T")


class Hinted(NamedTuple, Generic[T]):
    """What a poll saw, and the vendor's pacing hint: the next one is wanted after `seconds` at the earliest.

    The next planned poll waits for so long if the cadence's gap is shorter, but for `RetryPolicy.patience` at most.
    A wake is not delayed: the vendor that asks for patience has news of its own.
    """

    seen: T
    seconds: float


class Reader(Protocol):
    """Reads the runs of one account."""

    async def poll(self, ref: RunRef, *, age: float | None, last: Run | None) -> Run | Hinted[Run]:
        """Read the run, with one try.

        `age` is the number of seconds since this process started the run, None if others started it; `last` is
        what was seen of it before. Return `last` itself where the vendor says that nothing changed: nothing is
        compared or emitted then, and its `seen_at` stays that of the reply that it was made from. Raises
        `AgentsError`; one that `is_passing` ends no wait.
        """
        ...

    async def read(self, ref: RunRef, *, age: float | None, last: Run | None) -> Run | Hinted[Run]:
        """Read the run, trying again as the retry policy says."""
        ...

    def may_retry(self) -> bool:
        """Take one retry out of the account's budget; return False where none is left."""
        ...


@runtime_checkable
class ListReader(Protocol):
    """What a `Reader` has besides where its vendor lists runs: one request then reads many."""

    @property
    def page_size(self) -> int:
        """Return for how many runs one list is asked at most; more of one group are read by several lists."""
        ...

    def group_of(self, run: Run) -> str | None:
        """Return the name of the list that has a run last seen as `run`; None if it is read by itself."""
        ...

    async def poll_many(
        self, group: str, runs: Sequence[Run]
    ) -> Mapping[RunRef, Run] | Hinted[Mapping[RunRef, Run]]:
        """Read runs of one group, last seen as `runs`, with one try.

        A run may be left out for any reason: it is then read by itself once, when it is due, and listed again after
        that if it goes on. So a run that ended is best listed too, with its end, where the vendor's list has ended
        runs; left out, it costs one more request. A list that has less than a quarter of `runs` is not asked for
        again, and its runs are read one by one. As in `Reader.poll`, a run that did not change may be one of `runs`
        itself, and a hint delays the next list of this group. Raises `AgentsError`.
        """
        ...


@runtime_checkable
class Canceller(Protocol):
    """What a `Reader` has besides where its vendor can cancel runs."""

    async def cancel(
        self,
        ref: RunRef,
        *,
        reason: str | None,
        age: float | None,
        last: Run | None,
        on_sent: Callable[[], None],
    ) -> Run | None:
        """Ask the vendor to cancel a run, trying again as the retry policy says; it may be asked twice.

        Return the run as the reply has it, None where the reply says nothing of it. Return its end, and ask for
        nothing, where it is found to have ended. `on_sent` is to be called just before the request leaves that may
        cancel the run. `age` and `last` are as in `Reader.poll`. Raises `AgentsError`: `Conflict` or `NotFound` where
        the run may have ended meanwhile, which is then looked up.
        """
        ...


@runtime_checkable
class Answerer(Protocol):
    """What a `Reader` has besides where runs of its vendor wait for answers."""

    @property
    def answers(self) -> Sequence[str]:
        """Return the answers that there are calls for."""
        ...

    async def answer(self, ref: RunRef, answer: str, *, age: float | None, last: Run | None) -> Run | None:
        """Send one of `answers`, trying again as the retry policy says. Otherwise as `Canceller.cancel`."""
        ...
