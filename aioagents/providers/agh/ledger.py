"""Which new runs of a job belong to which calls that started one. Pure.

The runtime answers a trigger only when its run has ended, and a run does not tell who began it. What can be told:
runs that were not there before the call, and how many calls of ours are out. All runs of a job do the same work, so
that it matters that each call has a run of its own, and none a run that is not there.
"""

import math
from collections.abc import Sequence
from typing import Final, Protocol
from weakref import WeakSet

from attrs import frozen

#: After so many seconds without an answer, a call that was sent is taken to have reached the server.
_SETTLED: Final = 2.0
_UNLISTED: Final = -1  # the place of a run that an answer named before any list did


@frozen
class Sighting:
    """A run in the job's history that a trigger may have begun: `attempt` counts from 1."""

    id: str
    attempt: int
    has_failed: bool


class Outgoing(Protocol):
    """A call on its way."""

    @property
    def in_flight_since(self) -> float | None:
        """Give when its first byte left, on the monotonic clock; None while it is not out."""
        ...

    @property
    def was_sent(self) -> bool:
        """Return whether it ever was out."""
        ...


class Claim:
    """One call's claim to a run. `base` is the place of the first run that can be its own."""

    __slots__ = ("__weakref__", "base", "call", "has_failed", "is_lost", "opened_at", "run_id")

    def __init__(self, base: int, opened_at: float) -> None:
        self.base = base
        self.opened_at = opened_at
        self.call: Outgoing | None = None
        #: Whether it was answered by saying that its run failed.
        self.has_failed = False
        #: Whether its answer was lost, so that it may never have arrived.
        self.is_lost = False
        self.run_id: str | None = None

    @property
    def in_flight_since(self) -> float | None:
        """Return when the call was sent; None while it is not out."""
        return None if self.call is None else self.call.in_flight_since


class Ledger:
    """The runs of one job that were seen since the first of the present calls, and the calls' claims."""

    def __init__(self) -> None:
        self._places: dict[str, int] = {}
        self._next = 0
        self._free: dict[str, Sighting] = {}  # in the order of their places
        self._taken: dict[str, Sighting] = {}
        self._claims: WeakSet[Claim] = WeakSet()

    def __len__(self) -> int:
        """Count the runs that are remembered."""
        return len(self._places.keys() | self._free.keys() | self._taken.keys())

    def open(self, now: float) -> Claim:
        """Make the claim of a call: only runs that are not noted yet can be its own."""
        claim = Claim(self._next, now)
        self._claims.add(claim)
        return claim

    def close(self, claim: Claim, *, is_begun: bool) -> None:
        """Take in that a call is over: it gets no run any more. What it had is free again unless it began that."""
        self._claims.discard(claim)
        if not is_begun:
            self._release(claim)

    def opened_at(self) -> float:
        """Return when the oldest of the present calls was made, infinite when there is none."""
        return min((claim.opened_at for claim in self._claims), default=math.inf)

    def note(self, sightings: Sequence[Sighting], *, asked_at: float | None = None) -> None:
        """Take in a list of the job's runs, oldest first, asked for at that time; settle the claims that can be.

        What the list does not hold any more is forgotten. Without a time the runs were there before all calls.
        """
        listed: dict[str, int] = {}
        for sighting in sightings:
            known = self._places.get(sighting.id)
            if sighting.id in self._taken:
                self._taken[sighting.id] = sighting
            elif sighting.id in self._free or (
                known is None and asked_at is not None and sighting.attempt == 1
            ):
                self._free[sighting.id] = sighting
            if known is None or known == _UNLISTED:
                known, self._next = self._next, self._next + 1
            listed[sighting.id] = known
        # What an answer named and no list has shown yet must not be taken for new later on.
        kept = {run: place for run, place in self._places.items() if place == _UNLISTED}
        self._places = kept | listed
        self._taken = {run: each for run, each in self._taken.items() if run in self._places}
        self._free = {run: each for run, each in self._free.items() if run in listed}
        for claim in self._claims:
            self._review(claim)
        if asked_at is not None:
            self._settle(asked_at)

    def answer(self, claim: Claim, run_id: str, attempt: int) -> bool:
        """Take in that the vendor answered with this run; False when it was given to another call before."""
        if claim.run_id == run_id:
            return True
        if run_id in self._taken:
            return False  # so what this call was given is as good as the other's
        self._release(claim)
        first = next((each for each in self._open_to(claim) if each.has_failed), None)
        if attempt > 1 and first is not None:
            self._take(first)  # the last of several records was named: the first one is this call's too
        self._places.setdefault(run_id, _UNLISTED)
        self._take(Sighting(run_id, attempt, has_failed=False))
        claim.run_id = run_id
        return True

    def left_over(self, claim: Claim) -> str | None:
        """Return the run that this call has by now, or else the oldest one that no other has."""
        if claim.run_id is None:
            found = next(iter(self._open_to(claim)), None)
            if found is not None:
                self._take(found)
                claim.run_id = found.id
        return claim.run_id

    def candidates(self, claim: Claim) -> list[str]:
        """Return the runs that may be this call's, oldest first."""
        return [each.id for each in self._open_to(claim)]

    def _open_to(self, claim: Claim) -> list[Sighting]:
        return [each for each in self._free.values() if self._places[each.id] >= claim.base]

    def _take(self, sighting: Sighting) -> None:
        self._free.pop(sighting.id, None)
        self._taken[sighting.id] = sighting

    def _release(self, claim: Claim) -> None:
        """Have the run back that a call was given, for it turned out not to have begun it."""
        run_id, claim.run_id = claim.run_id, None
        sighting = None if run_id is None else self._taken.pop(run_id, None)
        if sighting is not None and self._places[sighting.id] != _UNLISTED:
            self._free[sighting.id] = sighting
            self._free = dict(sorted(self._free.items(), key=lambda each: self._places[each[0]]))

    def _review(self, claim: Claim) -> None:
        """See to it that a call that is not out gets none of the runs that are noted by now."""
        if claim.in_flight_since is not None:
            return
        if claim.call is None or not claim.call.was_sent:
            claim.base = self._next
        else:
            self._release(claim)  # it was refused, and may be sent again

    def _settle(self, asked_at: float) -> None:
        waiting: list[Claim] = []
        for claim in sorted(self._claims, key=lambda each: (-each.base, each.in_flight_since or 0.0)):
            if claim.run_id is not None:
                continue
            if claim.has_failed:  # answered: its run is in the list if there is one
                self._pair([claim], asked_at, only_failed=True)
            elif claim.in_flight_since is not None:
                waiting.append(claim)
        firm = [each for each in waiting if not each.is_lost]
        settled = [each for each in firm if (each.in_flight_since or 0.0) <= asked_at - _SETTLED]
        # A run may be that of a call whose refusal is on its way. Where each call has one, none is.
        for claims in (waiting, firm, settled):
            if claims and self._pair(claims, asked_at):
                return

    def _pair(self, claims: Sequence[Claim], asked_at: float, *, only_failed: bool = False) -> bool:
        """Return each claim a run of its own, or none; later, where it was sent after the list was asked for."""
        free = [each for each in self._free.values() if each.has_failed or not only_failed]
        pairs: list[tuple[Claim, Sighting]] = []
        for claim in claims:  # from the latest base down: what is open to few goes to them first
            found = next((each for each in free if self._places[each.id] >= claim.base), None)
            if found is None:
                return False
            free.remove(found)
            pairs.append((claim, found))
        for claim, found in pairs:
            if (claim.in_flight_since or 0.0) <= asked_at:
                self._take(found)
                claim.run_id = found.id
        return True
