"""Runs that one list reads: which belong together, and what a list's answer or failure means for each.

Pure: it neither waits nor reads a clock.
"""

from collections.abc import Callable, Iterator, Mapping
from typing import Final

from ..errors import AgentsError, NotSent, Throttled
from ..model import Run, RunRef
from .reader import ListReader
from .runs import DUE, PLANNED, Group, PolledRun

_WORTH: Final = 0.25  # a list is asked for again only if it had so large a share of its runs


def enter_group(run: PolledRun) -> None:
    """Put a run into the group that its last state belongs to, if it belongs to one."""
    source = run.source
    if source.lists is None or run.last is None:
        return
    name = source.lists.group_of(run.last)
    if run.group is not None:
        if run.group.name == name:
            return
        leave_group(run)
    if name is None:
        return
    group = source.groups.get(name)
    if group is None or group.joined >= source.lists.page_size or group.is_sparse:
        group = source.groups[name] = Group(name)
    group.members[run.ref] = run
    group.joined += 1
    run.group = group


def leave_group(run: PolledRun) -> None:
    """Take a run out of its group; harmless when it is in none."""
    group = run.group
    if group is None:
        return
    run.group = None
    group.members.pop(run.ref, None)
    group.alone.discard(run.ref)
    if not group.members and run.source.groups.get(group.name) is group:
        del run.source.groups[group.name]


class ListPoll:
    """One poll of many runs of a group: those that were due, of which `first` led to it, and others ahead of time."""

    __slots__ = ("due", "early", "first", "group", "lists")

    def __init__(self, first: PolledRun, group: Group, lists: ListReader) -> None:
        self.lists = lists
        self.group = group
        self.first = first
        self.due: dict[RunRef, PolledRun] = {first.ref: first}
        self.early: dict[RunRef, PolledRun] = {}

    def __len__(self) -> int:
        return len(self.due) + len(self.early)

    def runs(self) -> list[PolledRun]:
        """Return those that are not settled yet, the first one first."""
        return [*self.due.values(), *self.early.values()]

    def lasts(self) -> list[Run]:
        """Return what was last seen of each of them."""
        return [run.last for run in self.runs() if run.last is not None]

    def answered(self, found: Mapping[RunRef, Run]) -> Iterator[tuple[PolledRun, Run]]:
        """Take out the runs that were found, each with what was seen of it.

        The next poll of each of the others is its own. A list that has too few of its runs is not asked for again:
        they are polled one by one.
        """
        self.group.is_sparse = len(found) < len(self) * _WORTH
        self.group.alone.clear()
        for ref, seen in found.items():
            run = self.due.pop(ref, None) or self.early.pop(ref, None)
            if run is not None:
                yield run, seen
        for run in self.runs():
            run.is_left_out = True

    def failed(self, error: AgentsError) -> list[PolledRun]:
        """Take out the runs whose poll failed with the list: those that were due, if the fault is passing.

        The next poll of each is its own, unless that would fare no better. After a fault that does not pass, the list
        is not asked for again, and no run's poll counts as failed.
        """
        if not error.is_passing:
            self.group.is_sparse = True
            return []
        due, self.due = self.due, {}
        if not isinstance(error, NotSent | Throttled):
            self.group.alone.update(ref for ref, run in due.items() if run.group is self.group)
        return list(due.values())


def gather(first: PolledRun, is_awaited: Callable[[PolledRun], bool]) -> ListPoll | None:
    """Return one poll of all of a run's group that can be polled now; None if it is better polled by itself."""
    group, lists = first.group, first.source.lists
    if group is None or lists is None or group.is_sparse or first.is_left_out or len(group.members) <= 1:
        return None
    alone = group.alone
    if alone and first.ref in alone:
        alone.discard(first.ref)
        return None
    poll = ListPoll(first, group, lists)
    for ref, run in group.members.items():
        if run is first or run.is_left_out or not is_awaited(run) or (alone and ref in alone):
            continue
        if run.phase is DUE:
            poll.due[ref] = run
        elif run.phase is PLANNED:
            poll.early[ref] = run
    return poll
