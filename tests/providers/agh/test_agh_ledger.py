"""Which runs are given to which calls: tables, and a server that takes, refuses and loses calls in any order."""

import gc
import math
from typing import Any

import pytest
from attrs import define, field
from hypothesis import given, settings
from hypothesis import strategies as st

from aioagents.providers.agh.ledger import Claim, Ledger, Sighting

EARLY, NOW = 10.0, 100.0


@define
class _Call:
    """A call on its way, as a ledger sees it."""

    in_flight_since: float | None = None
    was_sent: bool = False

    def send(self, at: float) -> None:
        self.in_flight_since, self.was_sent = at, True


def ran(run_id: str, attempt: int = 1, *, failed: bool = False) -> Sighting:
    """See a run in the history."""
    return Sighting(run_id, attempt, failed)


def sent(ledger: Ledger, at: float = EARLY) -> Claim:
    """Make the claim of a call that is out since then."""
    claim = ledger.open(0.0)
    claim.call = _Call()
    claim.call.send(at)
    return claim


def begun(*runs: str) -> Ledger:
    """Have a ledger that knows of runs which were there before all calls."""
    ledger = Ledger()
    ledger.note([ran(each) for each in runs])
    return ledger


# ── what a list settles ─────────────────────────────────────────────────────────────────────────────────


def test_new_run_is_the_only_call_s() -> None:
    """A run that was not there before belongs to the one call that is out; what was there does not."""
    ledger = begun("old")
    claim = sent(ledger)
    ledger.note([ran("old")], asked_at=NOW)
    assert claim.run_id is None
    ledger.note([ran("old"), ran("new")], asked_at=NOW)
    assert claim.run_id == "new"


def test_claims_begin_where_the_ledger_stands() -> None:
    """A run that is noted before a call is made is not that call's, though it was new to an earlier one."""
    ledger = begun()
    first = sent(ledger)
    second = sent(ledger)
    ledger.note([ran("a")], asked_at=NOW)  # one run for two: whose it is cannot be told in the first moments
    third = sent(ledger, NOW)
    ledger.note([ran("a"), ran("b"), ran("c")], asked_at=NOW)
    assert third.run_id in {"b", "c"}
    assert {first.run_id, second.run_id, third.run_id} == {"a", "b", "c"}


@pytest.mark.parametrize("attempt", [0, 2, 7])
def test_scheduled_fires_and_later_attempts_are_nobodys(attempt: int) -> None:
    """What the schedule began, and further attempts of a run, are given to no call."""
    ledger = begun()
    claim = sent(ledger)
    ledger.note([ran("x", attempt)], asked_at=NOW)
    assert (claim.run_id, ledger.candidates(claim), ledger.left_over(claim)) == (None, [], None)


@pytest.mark.parametrize(
    ("outs", "runs", "given_runs"),
    [
        ([99.0, 99.0], 1, 0),  # the refusal of either may be on its way
        ([99.0, 99.0], 2, 2),
        ([99.0, 99.0], 3, 2),
        ([99.0, 97.9], 1, 1),  # one has been out for so long that it surely arrived
        ([97.9, 97.9], 1, 0),
        ([97.9, 97.9, 99.0], 2, 2),
        ([100.0], 1, 1),
        ([100.1], 1, 0),  # sent after the list was asked for: it may be in it, and may not
        ([99.0, 100.1], 2, 1),
        ([99.0, 100.1], 1, 0),
        ([], 2, 0),
    ],
)
def test_each_gets_one_or_none_any(outs: list[float], runs: int, given_runs: int) -> None:
    """Runs are given out where each call can have one, else to those whose refusal would be known by now."""
    ledger = begun()
    claims = [sent(ledger, at) for at in outs]
    ledger.note([ran(f"r{number}") for number in range(runs)], asked_at=NOW)
    given = [claim.run_id for claim in claims if claim.run_id is not None]
    assert len(given) == len(set(given)) == given_runs


def test_what_is_open_to_few_goes_to_them() -> None:
    """Of two calls, the later one gets the run that it alone may have begun, the earlier one the older run."""
    ledger = begun()
    first = sent(ledger, 98.5)
    second = sent(ledger, 98.6)
    ledger.note([ran("a")], asked_at=98.7)
    third = sent(ledger, 98.8)
    ledger.note([ran("a"), ran("b")], asked_at=99.0)
    assert [each.run_id for each in (first, second, third)] == [None, None, None]
    second.call = None  # it was never sent
    ledger.note([ran("a"), ran("b")], asked_at=99.0)
    assert (first.run_id, second.run_id, third.run_id) == ("a", None, "b")


def test_lost_calls_take_what_is_left_over() -> None:
    """A call whose answer was lost gets a run only when no other call is without one."""
    ledger = begun()
    lost, firm = sent(ledger), sent(ledger)
    lost.is_lost = True
    ledger.note([ran("a")], asked_at=NOW)
    assert (lost.run_id, firm.run_id) == (None, "a")
    ledger.note([ran("a"), ran("b")], asked_at=NOW)
    assert lost.run_id == "b"


def test_who_was_told_of_a_failure_gets_a_failed_run() -> None:
    """A call that was answered by 500 gets a run only once it has failed, and before those that still wait."""
    ledger = begun()
    waiting, told = sent(ledger, 99.0), sent(ledger, 99.0)
    told.has_failed = True
    ledger.note([ran("a")], asked_at=NOW)
    assert told.run_id is None
    assert waiting.run_id == "a"
    ledger.note([ran("a", failed=True), ran("b")], asked_at=NOW)
    assert told.run_id is None
    ledger.note([ran("a", failed=True), ran("b", failed=True)], asked_at=NOW)
    assert told.run_id == "b"


# ── calls that are not out ──────────────────────────────────────────────────────────────────────────────


def test_call_that_waits_its_turn_gets_nothing() -> None:
    """Runs that are listed while a call waits to be sent are never its own."""
    ledger = begun()
    claim = ledger.open(0.0)
    claim.call = call = _Call()
    ledger.note([ran("foreign")], asked_at=NOW)
    call.send(NOW)
    ledger.note([ran("foreign")], asked_at=NOW + 5)
    assert (claim.run_id, ledger.candidates(claim)) == (None, [])
    ledger.note([ran("foreign"), ran("own")], asked_at=NOW + 5)
    assert claim.run_id == "own"


def test_refused_call_gives_back_what_it_was_given() -> None:
    """What a call was given before its refusal came goes to the call that really began it."""
    ledger = begun()
    refused = sent(ledger, 90.0)
    began = sent(ledger, 99.9)
    ledger.note([ran("a")], asked_at=NOW)
    assert (refused.run_id, began.run_id) == ("a", None)
    assert isinstance(refused.call, _Call)
    refused.call.in_flight_since = None
    ledger.note([ran("a")], asked_at=NOW)
    assert (refused.run_id, began.run_id) == (None, "a")


def test_what_is_given_back_keeps_its_place() -> None:
    """A run that is free again comes before those that began later."""
    ledger = begun()
    refused, other = sent(ledger, 90.0), sent(ledger, 101.0)
    ledger.note([ran("a"), ran("b")], asked_at=NOW)
    assert (refused.run_id, ledger.candidates(other)) == ("a", ["b"])
    ledger.close(refused, is_begun=False)
    assert ledger.candidates(other) == ["a", "b"]


@pytest.mark.parametrize(("is_begun", "expected"), [(True, None), (False, "a")])
def test_closed_call_keeps_only_what_it_began(is_begun: bool, expected: str | None) -> None:
    """What a call that is over had is free again unless it began that; it gets nothing any more."""
    ledger = begun()
    over = sent(ledger, 90.0)
    other = sent(ledger, 99.9)
    ledger.note([ran("a")], asked_at=NOW)
    ledger.close(over, is_begun=is_begun)
    ledger.close(over, is_begun=is_begun)
    ledger.note([ran("a")], asked_at=NOW)
    assert other.run_id == expected
    ledger.note([ran("a"), ran("b")], asked_at=NOW)
    assert other.run_id == (expected or "b")
    assert over.run_id == ("a" if is_begun else None)


def test_calls_that_are_over_hold_nobody_up() -> None:
    """A call that ended without a run, or that nobody remembers, is not waited for."""
    ledger = begun()
    over, gone, claim = sent(ledger, 99.0), sent(ledger, 99.0), sent(ledger, 99.0)
    ledger.close(over, is_begun=False)
    del gone
    gc.collect()
    ledger.note([ran("a")], asked_at=NOW)
    assert (over.run_id, claim.run_id) == (None, "a")


def test_oldest_call_is_told() -> None:
    """The moment from which on the history matters is that of the oldest call that is not over."""
    ledger = Ledger()
    assert ledger.opened_at() == math.inf
    claims = [ledger.open(float(number)) for number in range(3)]
    assert ledger.opened_at() == 0.0
    ledger.close(claims[0], is_begun=True)
    assert ledger.opened_at() == 1.0


# ── answers ─────────────────────────────────────────────────────────────────────────────────────────────


def test_answer_before_any_list() -> None:
    """A run that an answer named is that call's, and not new when a list shows it for the first time."""
    ledger = begun()
    answered, other = sent(ledger, 99.0), sent(ledger, 99.0)
    assert ledger.answer(answered, "a", 1)
    assert ledger.answer(answered, "a", 1)
    ledger.note([], asked_at=NOW)
    ledger.note([ran("a")], asked_at=NOW)
    assert (answered.run_id, other.run_id) == ("a", None)


def test_answer_that_names_anothers_run() -> None:
    """When the run that is answered was given to another call, this call gets what is left over."""
    ledger = begun()
    early, late = sent(ledger, 90.0), sent(ledger, 99.5)
    ledger.note([ran("a")], asked_at=NOW)
    assert early.run_id == "a"
    assert not ledger.answer(late, "a", 1)
    assert (late.run_id, ledger.left_over(late)) == (None, None)
    ledger.note([ran("a"), ran("b"), ran("c")], asked_at=NOW)
    assert ledger.left_over(late) == "b"
    assert ledger.left_over(late) == "b"  # it has one now, and takes no second
    assert late.run_id == "b"
    assert ledger.candidates(early) == ["c"]


def test_answer_of_another_run_than_the_one_given() -> None:
    """An answer corrects what was given; the run that the call did not begin is there for others."""
    ledger = begun()
    claim = sent(ledger, 90.0)
    ledger.note([ran("a")], asked_at=NOW)
    assert ledger.answer(claim, "b", 1)
    other = sent(ledger, 99.0)
    assert claim.run_id == "b"
    assert ledger.candidates(claim) == ["a"]
    assert ledger.candidates(other) == []


def test_two_calls_that_were_given_each_others_run() -> None:
    """Two calls that have each other's run keep what they have, so that each has one."""
    ledger = begun()
    first, second = sent(ledger, 98.0), sent(ledger, 98.1)
    ledger.note([ran("a"), ran("b")], asked_at=NOW)
    mine, other = first.run_id, second.run_id
    assert other is not None
    assert not ledger.answer(first, other, 1)
    assert ledger.left_over(first) == mine
    assert {first.run_id, second.run_id} == {"a", "b"}


def test_answer_takes_no_other_failed_run() -> None:
    """A first attempt that is answered is all that its call has; other runs that failed are free."""
    ledger = begun()
    claim, other = sent(ledger, 99.0), sent(ledger, 99.0)
    ledger.note([ran("a", failed=True)], asked_at=NOW)
    assert ledger.answer(claim, "b", 1)
    assert ledger.candidates(other) == ["a"]


@pytest.mark.parametrize("is_given", [True, False])
@pytest.mark.parametrize("had_failed", [True, False])
def test_answer_with_a_later_attempt(is_given: bool, had_failed: bool) -> None:
    """Where the last of several records is answered, the first one stays this call's too, and no other's."""
    ledger = begun()
    claim = sent(ledger, 90.0)
    other = sent(ledger, 99.0)
    ledger.note([ran("a", failed=had_failed)] if is_given else [], asked_at=NOW)
    assert claim.run_id == ("a" if is_given else None)
    ledger.note([ran("a", failed=True), ran("a2", 2)], asked_at=NOW - 20)
    assert ledger.answer(claim, "a2", 2)
    assert claim.run_id == "a2"
    ledger.note([ran("a", failed=True), ran("a2", 2)], asked_at=NOW)
    assert (ledger.candidates(claim), other.run_id) == ([], None)


def test_answer_with_a_later_attempt_frees_what_still_runs() -> None:
    """A run that goes on cannot be the first attempt of one that was answered, and is there for others."""
    ledger = begun()
    claim, other = sent(ledger, 90.0), sent(ledger, 99.5)
    ledger.note([ran("b")], asked_at=NOW)
    assert claim.run_id == "b"
    assert ledger.answer(claim, "a2", 2)
    ledger.note([ran("b")], asked_at=NOW)
    assert other.run_id == "b"


# ── memory ──────────────────────────────────────────────────────────────────────────────────────────────


def test_what_is_listed_no_more_is_forgotten() -> None:
    """The ledger remembers what the last list held, and what an answer named, until a list has shown it."""
    ledger = begun("a", "b", "c")
    claim = sent(ledger, 90.0)
    assert len(ledger) == 3
    ledger.note([ran("c"), ran("d")], asked_at=NOW)
    assert (len(ledger), claim.run_id) == (2, "d")
    assert ledger.answer(claim, "e", 1)
    for _ in range(3):
        ledger.note([ran("d")], asked_at=NOW)
        assert len(ledger) == 2
    ledger.note([ran("e"), ran("f")], asked_at=NOW)
    assert len(ledger) == 2
    ledger.note([], asked_at=NOW)
    assert len(ledger) == 0
    assert (ledger.candidates(claim), ledger.left_over(claim)) == ([], "e")


def test_a_hundred_thousand_runs_are_not_kept() -> None:
    """However many runs pass by, no more is remembered than one list holds."""
    ledger = begun()
    for number in range(2000):
        ledger.note([ran(f"r{number + each}") for each in range(5)], asked_at=NOW + number)
        assert len(ledger) == 5


# ── a server that does what it wants ────────────────────────────────────────────────────────────────────


@define
class _Run:
    id: str
    attempt: int = 1
    has_failed: bool = False
    is_listed: bool = True


@define(eq=False)
class _Trip:
    """One call: what the client knows of it, and what the server did."""

    claim: Claim
    call: _Call
    before: frozenset[str]
    run: _Run | None = None
    is_decided: bool = False  # whether the server took or refused it
    is_over: bool = False
    kept: str | None = None  # the run of which a handle was given
    unsent: set[str] = field(factory=set)  # what was listed while it was not sent yet


class _World:
    """A client and a server, moved by hand."""

    def __init__(self, *, has_others: bool) -> None:
        self.ledger = begun("before")
        self.now = NOW
        self.has_others = has_others
        self.runs = [_Run("before")]
        self.trips: list[_Trip] = []

    def act(self, name: str, number: int) -> None:
        getattr(self, name)(number)

    def _new(self, attempt: int = 1) -> _Run:
        run = _Run(f"r{len(self.runs)}", attempt)
        self.runs.append(run)
        return run

    def _one(self, trips: list[_Trip], number: int) -> _Trip | None:
        return trips[number % len(trips)] if trips else None

    def out(self) -> list[_Trip]:
        return [each for each in self.trips if not each.is_over and each.call.in_flight_since is not None]

    @property
    def progress(self) -> int:
        return len(self.trips) + len(self.out()) + len(self.runs)

    def wait(self, number: int) -> None:
        self.now += (0.0, 0.1, 0.5, 2.5)[number % 4]

    def list(self, _: int) -> None:
        listed = [each for each in self.runs if each.is_listed]
        self.ledger.note(
            [Sighting(each.id, each.attempt, each.has_failed) for each in listed], asked_at=self.now
        )
        for trip in self.trips:
            if not trip.call.was_sent:
                trip.unsent |= {each.id for each in listed}

    def open(self, number: int) -> None:
        self.list(number)
        claim = self.ledger.open(self.now)
        claim.call = call = _Call()
        self.trips.append(_Trip(claim, call, frozenset(each.id for each in self.runs)))

    def send(self, number: int) -> None:
        trip = self._one([each for each in self.trips if not each.call.was_sent], number)
        if trip is not None:
            trip.call.send(self.now)

    def take(self, number: int) -> None:
        trip = self._one([each for each in self.out() if not each.is_decided], number)
        if trip is not None:
            trip.is_decided, trip.run = True, self._new()

    def refuse(self, number: int) -> None:
        trip = self._one([each for each in self.out() if not each.is_decided], number)
        if trip is not None:
            trip.is_decided = True

    def hear_refusal(self, number: int) -> None:
        trip = self._one([each for each in self.out() if each.is_decided and each.run is None], number)
        if trip is not None:
            trip.call.in_flight_since = None
            if number % 2:  # else the next list finds that it is not out
                self.ledger.close(trip.claim, is_begun=False)
                trip.is_over = True

    def lose(self, number: int) -> None:
        trip = self._one(self.out(), number)
        if trip is not None and not trip.claim.has_failed:
            trip.claim.is_lost = True

    def fail(self, number: int) -> None:
        trip = self._one([each for each in self.trips if each.run is not None], number)
        if trip is not None and trip.run is not None:
            trip.run.has_failed = True

    def hear_failure(self, number: int) -> None:
        trip = self._one([each for each in self.out() if each.run and each.run.has_failed], number)
        if trip is not None and not trip.claim.is_lost:
            trip.claim.has_failed = True

    def hear_answer(self, number: int) -> None:
        trip = self._one([each for each in self.out() if each.run and not each.run.has_failed], number)
        if trip is None or trip.run is None or trip.claim.has_failed or trip.claim.is_lost:
            return
        held = {each.kept or each.claim.run_id for each in self.trips if each is not trip}
        is_own = self.ledger.answer(trip.claim, trip.run.id, trip.run.attempt)
        assert is_own == (trip.run.id not in held)
        assert not is_own or trip.claim.run_id == trip.run.id
        self.ledger.left_over(trip.claim)
        self._finish(trip)

    def notice(self, number: int) -> None:
        trip = self._one([each for each in self.out() if each.claim.run_id is not None], number)
        if trip is not None:
            self._finish(trip)

    def give_up(self, number: int) -> None:
        trip = self._one([each for each in self.out() if each.claim.is_lost or each.claim.has_failed], number)
        if trip is not None:
            self._finish(trip)

    def _finish(self, trip: _Trip) -> None:
        trip.kept = trip.claim.run_id
        trip.is_over = True
        self.ledger.close(trip.claim, is_begun=trip.kept is not None)

    def foreign(self, _: int) -> None:
        if self.has_others:
            self._new()

    def scheduled(self, _: int) -> None:
        self._new(attempt=0)

    def age(self, _: int) -> None:
        oldest = next((each for each in self.runs if each.is_listed), None)
        if oldest is not None and not any(not each.is_over for each in self.trips):
            oldest.is_listed = False  # what matters to a call that is out stays in the list

    # What has to hold at any time.

    def check(self) -> None:
        firsts = {each.id for each in self.runs if each.attempt == 1}
        held = [run for each in self.trips if (run := each.kept or each.claim.run_id) is not None]
        assert len(held) == len(set(held)), "two calls have one run"
        assert set(held) <= firsts
        for trip in self.trips:
            run_id = trip.kept or trip.claim.run_id
            assert run_id is None or trip.call.was_sent
            assert run_id not in trip.before
            assert run_id not in trip.unsent or (trip.run is not None and trip.run.id == run_id)
            if trip.is_over and trip.kept is None:
                assert trip.claim.run_id is None

    def check_settled(self) -> None:
        """See what a list settles: all that were out when each of them had begun a run that nobody else has."""
        held = {each.kept or each.claim.run_id for each in self.trips}
        missing = [
            each
            for each in self.trips
            if not each.is_over and each.call.was_sent and each.claim.run_id is None
        ]
        had_failed = [each for each in missing if each.claim.has_failed]
        is_easy = all(
            each.call.in_flight_since is not None and each.run is not None and each.run.id not in held
            for each in missing
        )
        self.list(0)
        for trip in missing if is_easy else ():
            assert trip.claim.run_id is not None
        failed = {each.id for each in self.runs if each.has_failed}
        for trip in had_failed:
            assert trip.claim.run_id is None or trip.claim.run_id in failed
        for trip in self.trips:
            if not trip.is_over and trip.call.was_sent and trip.call.in_flight_since is None:
                assert trip.claim.run_id is None, "a refused call has a run"


_ACTS = (
    *("open", "open", "send", "send", "take", "take", "list", "wait", "notice", "hear_refusal"),
    *("refuse", "lose", "fail", "hear_failure", "hear_answer", "give_up", "foreign", "scheduled", "age"),
)


@settings(max_examples=200, deadline=None)
@given(
    has_others=st.booleans(),
    acts=st.lists(st.tuples(st.sampled_from(_ACTS), st.integers(0, 11)), min_size=5, max_size=60),
)
def test_whatever_server_and_network_do(has_others: bool, acts: list[tuple[str, int]]) -> None:
    """No run is given twice, none that was there before, and each call that began one has one by the next list."""
    fake = _World(has_others=has_others)
    for name, number in acts:
        fake.act(name, number)
        fake.check()
    fake.check_settled()
    fake.check()


@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_calls_that_all_begin_runs(data: Any) -> None:
    """Any number of calls, begun and listed in any order, have one run each by the first list that has them all."""
    fake = _World(has_others=False)
    count = data.draw(st.integers(1, 10))
    todo = [name for name in ("open", "send", "take") for _ in range(count)]
    while todo:
        name = todo.pop(data.draw(st.integers(0, len(todo) - 1)))
        before = fake.progress
        fake.act(name, data.draw(st.integers(0, 9)))
        if fake.progress == before:
            todo.append(name)  # nothing to send or to take yet
        if data.draw(st.booleans()):
            fake.list(0)
        if data.draw(st.booleans()):
            fake.notice(0)
        fake.check()
    fake.list(0)
    assert len({each.kept or each.claim.run_id for each in fake.trips} - {None}) == count
