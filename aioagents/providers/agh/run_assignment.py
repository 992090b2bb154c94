"""Assign the new runs of a job to the calls that triggered it, one to each. Pure.

The runtime answers a trigger call only when its run has ended, and a run does not say which call began it. What is
known: which runs were not there before a call, and how many of our calls are in flight. All runs of a job do the same
work, so it is enough that each call gets a run of its own, and that no call gets a run which it cannot have begun.
"""

import math
from collections.abc import Sequence
from typing import Final, Protocol
from weakref import WeakSet

from attrs import frozen

#: After so many seconds in flight without an answer, a call is assumed to have reached the server.
_ARRIVED_AFTER: Final = 2.0
_UNLISTED: Final = -1  # the position of a run that an answer named before any list did


@frozen
class ListedRun:
    """A run in the job's history that a trigger call may have begun: `attempt` counts from 1."""

    id: str
    attempt: int
    has_failed: bool


class SentCall(Protocol):
    """The state of a trigger call's request."""

    @property
    def in_flight_since(self) -> float | None:
        """Return when its first byte was sent, on the monotonic clock; None while it is not in flight."""
        ...

    @property
    def was_sent(self) -> bool:
        """Return whether it ever was in flight."""
        ...


class Claim:
    """The claim of one call to a run. `first` is the position of the first run that the call can have begun."""

    __slots__ = ("__weakref__", "call", "first", "has_failed", "is_lost", "opened_at", "run_id")

    def __init__(self, first: int, opened_at: float) -> None:
        self.first = first
        self.opened_at = opened_at
        self.call: SentCall | None = None
        #: Whether the answer was that the run failed.
        self.has_failed = False
        #: Whether the answer was lost, so that the call may never have arrived.
        self.is_lost = False
        #: The run that is assigned to the call.
        self.run_id: str | None = None

    @property
    def in_flight_since(self) -> float | None:
        """Return when the call was sent; None while it is not in flight."""
        return None if self.call is None else self.call.in_flight_since


class RunAssignment:
    """The runs of one job that were listed since the first of the open claims, and which claim has which of them."""

    def __init__(self) -> None:
        self._positions: dict[str, int] = {}
        self._next = 0
        self._free: dict[str, ListedRun] = {}  # by position
        self._assigned: dict[str, ListedRun] = {}
        self._claims: WeakSet[Claim] = WeakSet()

    def __len__(self) -> int:
        """Return the number of runs that are remembered."""
        return len(self._positions.keys() | self._free.keys() | self._assigned.keys())

    def open(self, now: float) -> Claim:
        """Return the claim of a new call: only runs that are not listed yet can be assigned to it."""
        claim = Claim(self._next, now)
        self._claims.add(claim)
        return claim

    def close(self, claim: Claim, *, has_begun: bool) -> None:
        """Assign no run to this claim any more. Its run is free again, unless the call has begun it."""
        self._claims.discard(claim)
        if not has_begun:
            self._release(claim)

    def oldest_opened_at(self) -> float:
        """Return when the oldest open claim was opened; infinite when there is none."""
        return min((claim.opened_at for claim in self._claims), default=math.inf)

    def update(self, runs: Sequence[ListedRun], *, asked_at: float | None = None) -> None:
        """Record the job's runs, oldest first, as listed by a request sent at `asked_at`, and assign what can be.

        Runs that are listed no more are forgotten. Without `asked_at` all of them began before all calls.
        """
        listed: dict[str, int] = {}
        for run in runs:
            known = self._positions.get(run.id)
            if run.id in self._assigned:
                self._assigned[run.id] = run
            elif run.id in self._free or (known is None and asked_at is not None and run.attempt == 1):
                self._free[run.id] = run
            if known is None or known == _UNLISTED:
                known, self._next = self._next, self._next + 1
            listed[run.id] = known
        # A run that an answer named and no list had yet must not be taken for new when a list has it.
        kept = {run_id: position for run_id, position in self._positions.items() if position == _UNLISTED}
        self._positions = kept | listed
        self._assigned = {run_id: run for run_id, run in self._assigned.items() if run_id in self._positions}
        self._free = {run_id: run for run_id, run in self._free.items() if run_id in listed}
        for claim in self._claims:
            self._exclude_listed(claim)
        if asked_at is not None:
            self._assign_free(asked_at)

    def record_answer(self, claim: Claim, run_id: str, attempt: int) -> bool:
        """Assign the run that the vendor's answer names; return False when another claim has it already."""
        if claim.run_id == run_id:
            return True
        if run_id in self._assigned:
            return False  # so the run that this claim has is as good as the other's
        self._release(claim)
        first = next((each for each in self._open_to(claim) if each.has_failed), None)
        if attempt > 1 and first is not None:
            self._assign(first)  # the answer names the last of several records: the first is this call's too
        self._positions.setdefault(run_id, _UNLISTED)
        self._assign(ListedRun(run_id, attempt, has_failed=False))
        claim.run_id = run_id
        return True

    def assign_oldest(self, claim: Claim) -> str | None:
        """Return the run of this claim; if it has none, assign the oldest free one first."""
        if claim.run_id is None:
            found = next(iter(self._open_to(claim)), None)
            if found is not None:
                self._assign(found)
                claim.run_id = found.id
        return claim.run_id

    def candidates(self, claim: Claim) -> list[str]:
        """Return the free runs that this call can have begun, oldest first."""
        return [each.id for each in self._open_to(claim)]

    def _open_to(self, claim: Claim) -> list[ListedRun]:
        return [each for each in self._free.values() if self._positions[each.id] >= claim.first]

    def _assign(self, run: ListedRun) -> None:
        self._free.pop(run.id, None)
        self._assigned[run.id] = run

    def _release(self, claim: Claim) -> None:
        """Free the run of a claim whose call has not begun it."""
        run_id, claim.run_id = claim.run_id, None
        run = None if run_id is None else self._assigned.pop(run_id, None)
        if run is not None and self._positions[run.id] != _UNLISTED:
            self._free[run.id] = run
            self._free = dict(sorted(self._free.items(), key=lambda each: self._positions[each[0]]))

    def _exclude_listed(self, claim: Claim) -> None:
        """Exclude the runs that are listed by now from a claim whose call is not in flight."""
        if claim.in_flight_since is not None:
            return
        if claim.call is None or not claim.call.was_sent:
            claim.first = self._next
        else:
            self._release(claim)  # the call was refused, and may be sent again

    def _assign_free(self, asked_at: float) -> None:
        waiting: list[Claim] = []
        for claim in sorted(self._claims, key=lambda each: (-each.first, each.in_flight_since or 0.0)):
            if claim.run_id is not None:
                continue
            if claim.has_failed:  # the call was answered: if it began a run, the list has it
                self._pair([claim], asked_at, only_failed=True)
            elif claim.in_flight_since is not None:
                waiting.append(claim)
        not_lost = [each for each in waiting if not each.is_lost]
        arrived = [each for each in not_lost if (each.in_flight_since or 0.0) <= asked_at - _ARRIVED_AFTER]
        # With fewer runs than calls, the refusal of any call may still be under way, so no run can be assigned; the
        # smaller groups leave out calls that need not have begun one.
        for claims in (waiting, not_lost, arrived):
            if claims and self._pair(claims, asked_at):
                return

    def _pair(self, claims: Sequence[Claim], asked_at: float, *, only_failed: bool = False) -> bool:
        """Find a run for each claim, or return False.

        A claim whose call was sent after the list was requested gets its run with a later list.
        """
        free = [each for each in self._free.values() if each.has_failed or not only_failed]
        pairs: list[tuple[Claim, ListedRun]] = []
        for claim in claims:  # sorted by the number of runs that are open to them, fewest first
            found = next((each for each in free if self._positions[each.id] >= claim.first), None)
            if found is None:
                return False
            free.remove(found)
            pairs.append((claim, found))
        for claim, found in pairs:
            if (claim.in_flight_since or 0.0) <= asked_at:
                self._assign(found)
                claim.run_id = found.id
        return True
