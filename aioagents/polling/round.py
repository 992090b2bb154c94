"""One look at many runs: who is polled, and what became of each. Pure: it neither waits nor asks."""

from collections.abc import Iterator, Mapping

from ..errors import AgentsError, NotSent, Throttled
from ..model import Run, RunRef
from .listeners import is_awaited
from .runs import Group, PolledRun


class Round:
    """The members of a group that nobody else looks at: those that were due, and those that come along.

    While it lasts they count as polled, and nothing is planned for them.
    """

    __slots__ = ("_due", "_early", "_woken", "group")

    def __init__(self, group: Group, first: PolledRun) -> None:
        self.group = group
        self._due: dict[RunRef, PolledRun] = {first.ref: first}
        self._early: dict[RunRef, PolledRun] = {}
        self._woken: set[RunRef] = set()
        alone = group.alone
        for ref, polled in group.members.items():
            if polled is first or not is_awaited(polled) or (alone and ref in alone):
                pass
            elif polled.is_ready:
                polled.is_ready = False
                self._due[ref] = polled
            elif not polled.is_polling:
                polled.is_polling = True
                self._early[ref] = polled
        for ref, polled in self._all():
            if polled.is_woken:
                self._woken.add(ref)
                polled.is_woken = False

    def __len__(self) -> int:
        return len(self._due) + len(self._early)

    @property
    def early(self) -> list[PolledRun]:
        """Return those whose look was not due yet."""
        return list(self._early.values())

    def lasts(self) -> list[Run]:
        """Return what was last seen of each, that of the first one first."""
        return [polled.last for _, polled in self._all() if polled.last is not None]

    def told(self, found: Mapping[RunRef, Run]) -> Iterator[tuple[PolledRun, Run, bool]]:
        """Take out those that were found, each with its run and whether news had been announced for it."""
        for ref, run in found.items():
            polled = self._due.pop(ref, None) or self._early.pop(ref, None)
            if polled is not None:
                polled.is_polling = False
                yield polled, run, ref in self._woken

    def failed(self, error: AgentsError) -> Iterator[tuple[PolledRun, bool]]:
        """Take out those that were due, each with whether news had been announced for it.

        Unless single polls would fare no better, each of them has one next.
        """
        due, self._due = self._due, {}
        if not isinstance(error, NotSent | Throttled):
            self.group.alone.update(ref for ref, polled in due.items() if polled.group is self.group)
        for ref, polled in due.items():
            polled.is_polling = False
            yield polled, ref in self._woken

    def rest(self) -> tuple[list[PolledRun], list[PolledRun]]:
        """Take out all that are left: those that were due, still counted as polled, and those that were not."""
        for ref, polled in self._all():
            polled.is_woken |= ref in self._woken
        due, early = list(self._due.values()), self.early
        for polled in early:
            polled.is_polling = False
        self._due, self._early = {}, {}
        return due, early

    def _all(self) -> list[tuple[RunRef, PolledRun]]:
        return [*self._due.items(), *self._early.items()]
