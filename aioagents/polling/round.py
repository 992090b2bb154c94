"""One look at many runs: who is looked at, and what became of each. Pure: it neither waits nor asks."""

from collections.abc import Iterator, Mapping

from ..errors import AgentsError, NotSent, Throttled
from ..model import Run, RunRef
from .lane import Group
from .watch import Watch


class Round:
    """The members of a group that nobody else looks at: those that were due, and those that come along.

    While it lasts they count as looked at, and nothing is planned for them.
    """

    __slots__ = ("_due", "_early", "_woken", "group")

    def __init__(self, group: Group, first: Watch) -> None:
        self.group = group
        self._due: dict[RunRef, Watch] = {first.ref: first}
        self._early: dict[RunRef, Watch] = {}
        self._woken: set[RunRef] = set()
        alone = group.alone
        for ref, watch in group.members.items():
            if watch is first or not watch.is_awaited or (alone and ref in alone):
                pass
            elif watch.is_ready:
                watch.is_ready = False
                self._due[ref] = watch
            elif not watch.is_looking:
                watch.is_looking = True
                self._early[ref] = watch
        for ref, watch in self._all():
            if watch.is_woken:
                self._woken.add(ref)
                watch.is_woken = False

    def __len__(self) -> int:
        return len(self._due) + len(self._early)

    @property
    def early(self) -> list[Watch]:
        """Give those whose look was not due yet."""
        return list(self._early.values())

    def lasts(self) -> list[Run]:
        """Give what was last seen of each, that of the first one first."""
        return [watch.last for _, watch in self._all() if watch.last is not None]

    def told(self, found: Mapping[RunRef, Run]) -> Iterator[tuple[Watch, Run, bool]]:
        """Take out those that were found, each with its run and whether news had been announced for it."""
        for ref, run in found.items():
            watch = self._due.pop(ref, None) or self._early.pop(ref, None)
            if watch is not None:
                watch.is_looking = False
                yield watch, run, ref in self._woken

    def failed(self, error: AgentsError) -> Iterator[tuple[Watch, bool]]:
        """Take out those that were due, each with whether news had been announced for it.

        Unless single looks would fare no better, each of them has one next.
        """
        due, self._due = self._due, {}
        if not isinstance(error, NotSent | Throttled):
            self.group.alone.update(ref for ref, watch in due.items() if watch.group is self.group)
        for ref, watch in due.items():
            watch.is_looking = False
            yield watch, ref in self._woken

    def rest(self) -> tuple[list[Watch], list[Watch]]:
        """Take out all that are left: those that were due, still counted as looked at, and those that were not."""
        for ref, watch in self._all():
            watch.is_woken |= ref in self._woken
        due, early = list(self._due.values()), self.early
        for watch in early:
            watch.is_looking = False
        self._due, self._early = {}, {}
        return due, early

    def _all(self) -> list[tuple[RunRef, Watch]]:
        return [*self._due.items(), *self._early.items()]
