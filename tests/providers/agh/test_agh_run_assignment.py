"""Which runs are assigned to which calls: tables, and a model of a server that accepts, refuses and loses calls."""

import gc
import math
from typing import Any

import pytest
from attrs import define, field
from hypothesis import given, settings
from hypothesis import strategies as st

from aioagents.providers.agh.run_assignment import Claim, ListedRun, RunAssignment

EARLY, NOW = 10.0, 100.0


@define
class _Call:
    """The state of a trigger call's request."""

    in_flight_since: float | None = None
    was_sent: bool = False

    def send(self, at: float) -> None:
        self.in_flight_since, self.was_sent = at, True


def listed(run_id: str, attempt: int = 1, *, failed: bool = False) -> ListedRun:
    """Return a run as the history lists it."""
    return ListedRun(run_id, attempt, failed)


def sent(assignment: RunAssignment, at: float = EARLY) -> Claim:
    """Return the claim of a call that is in flight since `at`."""
    claim = assignment.open(0.0)
    claim.call = _Call()
    claim.call.send(at)
    return claim


def assignment_with(*runs: str) -> RunAssignment:
    """Return an assignment that knows runs which began before all calls."""
    assignment = RunAssignment()
    assignment.update([listed(each) for each in runs])
    return assignment


# What a list assigns


def test_new_run_is_the_only_call_s() -> None:
    """A new run is assigned to the only call in flight; a run that was there before is not."""
    assignment = assignment_with("old")
    claim = sent(assignment)
    assignment.update([listed("old")], asked_at=NOW)
    assert claim.run_id is None
    assignment.update([listed("old"), listed("new")], asked_at=NOW)
    assert claim.run_id == "new"


def test_claims_exclude_runs_listed_before() -> None:
    """A run that was listed before a call is not assigned to it, though it was new to an earlier call."""
    assignment = assignment_with()
    first = sent(assignment)
    second = sent(assignment)
    assignment.update(
        [listed("a")], asked_at=NOW
    )  # one run for two calls: whose it is cannot be known at first
    third = sent(assignment, NOW)
    assignment.update([listed("a"), listed("b"), listed("c")], asked_at=NOW)
    assert third.run_id in {"b", "c"}
    assert {first.run_id, second.run_id, third.run_id} == {"a", "b", "c"}


@pytest.mark.parametrize("attempt", [0, 2, 7])
def test_scheduled_fires_and_later_attempts_are_not_assigned(attempt: int) -> None:
    """Scheduled runs, and further attempts of a run, are assigned to no call."""
    assignment = assignment_with()
    claim = sent(assignment)
    assignment.update([listed("x", attempt)], asked_at=NOW)
    assert (claim.run_id, assignment.candidates(claim), assignment.assign_oldest(claim)) == (None, [], None)


@pytest.mark.parametrize(
    ("sent_at", "runs", "assigned"),
    [
        ([99.0, 99.0], 1, 0),  # either may have been refused, with the answer still to come
        ([99.0, 99.0], 2, 2),
        ([99.0, 99.0], 3, 2),
        ([99.0, 97.9], 1, 1),  # one has been in flight for so long that it surely arrived
        ([97.9, 97.9], 1, 0),
        ([97.9, 97.9, 99.0], 2, 2),
        ([100.0], 1, 1),
        ([100.1], 1, 0),  # sent after the list was requested, so the run may be another's
        ([99.0, 100.1], 2, 1),
        ([99.0, 100.1], 1, 0),
        ([], 2, 0),
    ],
)
def test_each_call_gets_a_run_or_none_does(sent_at: list[float], runs: int, assigned: int) -> None:
    """Runs are assigned if each call can have one, else to those whose refusal would be known by now."""
    assignment = assignment_with()
    claims = [sent(assignment, at) for at in sent_at]
    assignment.update([listed(f"r{number}") for number in range(runs)], asked_at=NOW)
    given = [claim.run_id for claim in claims if claim.run_id is not None]
    assert len(given) == len(set(given)) == assigned


def test_later_calls_choose_first() -> None:
    """Of two calls, the later one gets the run that only it can have begun, the earlier one the older run."""
    assignment = assignment_with()
    first = sent(assignment, 98.5)
    second = sent(assignment, 98.6)
    assignment.update([listed("a")], asked_at=98.7)
    third = sent(assignment, 98.8)
    assignment.update([listed("a"), listed("b")], asked_at=99.0)
    assert [each.run_id for each in (first, second, third)] == [None, None, None]
    second.call = None  # it was never sent
    assignment.update([listed("a"), listed("b")], asked_at=99.0)
    assert (first.run_id, second.run_id, third.run_id) == ("a", None, "b")


def test_lost_calls_get_what_no_other_call_needs() -> None:
    """A call whose answer was lost gets a run only when no other call is without one."""
    assignment = assignment_with()
    lost, firm = sent(assignment), sent(assignment)
    lost.is_lost = True
    assignment.update([listed("a")], asked_at=NOW)
    assert (lost.run_id, firm.run_id) == (None, "a")
    assignment.update([listed("a"), listed("b")], asked_at=NOW)
    assert lost.run_id == "b"


def test_call_answered_by_500_gets_a_failed_run() -> None:
    """A call that was answered by 500 gets a run only once that has failed, and before calls that still wait."""
    assignment = assignment_with()
    waiting, answered = sent(assignment, 99.0), sent(assignment, 99.0)
    answered.has_failed = True
    assignment.update([listed("a")], asked_at=NOW)
    assert answered.run_id is None
    assert waiting.run_id == "a"
    assignment.update([listed("a", failed=True), listed("b")], asked_at=NOW)
    assert answered.run_id is None
    assignment.update([listed("a", failed=True), listed("b", failed=True)], asked_at=NOW)
    assert answered.run_id == "b"


# Calls that are not in flight


def test_call_that_is_not_sent_yet_gets_nothing() -> None:
    """Runs that are listed while a call waits to be sent are never its own."""
    assignment = assignment_with()
    claim = assignment.open(0.0)
    claim.call = call = _Call()
    assignment.update([listed("foreign")], asked_at=NOW)
    call.send(NOW)
    assignment.update([listed("foreign")], asked_at=NOW + 5)
    assert (claim.run_id, assignment.candidates(claim)) == (None, [])
    assignment.update([listed("foreign"), listed("own")], asked_at=NOW + 5)
    assert claim.run_id == "own"


def test_refused_call_releases_its_run() -> None:
    """The run that was assigned to a call before its refusal goes to the call that really began it."""
    assignment = assignment_with()
    refused = sent(assignment, 90.0)
    began = sent(assignment, 99.9)
    assignment.update([listed("a")], asked_at=NOW)
    assert (refused.run_id, began.run_id) == ("a", None)
    assert isinstance(refused.call, _Call)
    refused.call.in_flight_since = None
    assignment.update([listed("a")], asked_at=NOW)
    assert (refused.run_id, began.run_id) == (None, "a")


def test_released_run_keeps_its_position() -> None:
    """A run that is free again comes before those that began later."""
    assignment = assignment_with()
    refused, other = sent(assignment, 90.0), sent(assignment, 101.0)
    assignment.update([listed("a"), listed("b")], asked_at=NOW)
    assert (refused.run_id, assignment.candidates(other)) == ("a", ["b"])
    assignment.close(refused, has_begun=False)
    assert assignment.candidates(other) == ["a", "b"]


@pytest.mark.parametrize(("has_begun", "expected"), [(True, None), (False, "a")])
def test_closed_call_keeps_only_what_it_began(has_begun: bool, expected: str | None) -> None:
    """A closed claim's run is free again unless the call began it, and no run is assigned to the claim any more."""
    assignment = assignment_with()
    over = sent(assignment, 90.0)
    other = sent(assignment, 99.9)
    assignment.update([listed("a")], asked_at=NOW)
    assignment.close(over, has_begun=has_begun)
    assignment.close(over, has_begun=has_begun)
    assignment.update([listed("a")], asked_at=NOW)
    assert other.run_id == expected
    assignment.update([listed("a"), listed("b")], asked_at=NOW)
    assert other.run_id == (expected or "b")
    assert over.run_id == ("a" if has_begun else None)


def test_closed_claims_delay_no_assignment() -> None:
    """A closed claim, or one that is garbage, needs no run."""
    assignment = assignment_with()
    over, gone, claim = sent(assignment, 99.0), sent(assignment, 99.0), sent(assignment, 99.0)
    assignment.close(over, has_begun=False)
    del gone
    gc.collect()
    assignment.update([listed("a")], asked_at=NOW)
    assert (over.run_id, claim.run_id) == (None, "a")


def test_oldest_open_claim() -> None:
    """The time from which the history matters is that of the oldest open claim."""
    assignment = RunAssignment()
    assert assignment.oldest_opened_at() == math.inf
    claims = [assignment.open(float(number)) for number in range(3)]
    assert assignment.oldest_opened_at() == 0.0
    assignment.close(claims[0], has_begun=True)
    assert assignment.oldest_opened_at() == 1.0


# Answers


def test_answer_before_any_list() -> None:
    """A run that an answer names is that call's, and not new when it is listed for the first time."""
    assignment = assignment_with()
    answered, other = sent(assignment, 99.0), sent(assignment, 99.0)
    assert assignment.record_answer(answered, "a", 1)
    assert assignment.record_answer(answered, "a", 1)
    assignment.update([], asked_at=NOW)
    assignment.update([listed("a")], asked_at=NOW)
    assert (answered.run_id, other.run_id) == ("a", None)


def test_answer_that_names_anothers_run() -> None:
    """When the answered run was assigned to another call, this call gets the oldest free one."""
    assignment = assignment_with()
    early, late = sent(assignment, 90.0), sent(assignment, 99.5)
    assignment.update([listed("a")], asked_at=NOW)
    assert early.run_id == "a"
    assert not assignment.record_answer(late, "a", 1)
    assert (late.run_id, assignment.assign_oldest(late)) == (None, None)
    assignment.update([listed("a"), listed("b"), listed("c")], asked_at=NOW)
    assert assignment.assign_oldest(late) == "b"
    assert assignment.assign_oldest(late) == "b"  # it has one now, and gets no second
    assert late.run_id == "b"
    assert assignment.candidates(early) == ["c"]


def test_answer_of_another_run_than_the_one_given() -> None:
    """An answer corrects the assignment; the run that the call did not begin is free for others."""
    assignment = assignment_with()
    claim = sent(assignment, 90.0)
    assignment.update([listed("a")], asked_at=NOW)
    assert assignment.record_answer(claim, "b", 1)
    other = sent(assignment, 99.0)
    assert claim.run_id == "b"
    assert assignment.candidates(claim) == ["a"]
    assert assignment.candidates(other) == []


def test_two_calls_with_each_others_run() -> None:
    """Two calls that have each other's run keep what they have, so that each has one."""
    assignment = assignment_with()
    first, second = sent(assignment, 98.0), sent(assignment, 98.1)
    assignment.update([listed("a"), listed("b")], asked_at=NOW)
    mine, other = first.run_id, second.run_id
    assert other is not None
    assert not assignment.record_answer(first, other, 1)
    assert assignment.assign_oldest(first) == mine
    assert {first.run_id, second.run_id} == {"a", "b"}


def test_answer_takes_no_other_failed_run() -> None:
    """With an answer that names a first attempt, other runs that failed are free."""
    assignment = assignment_with()
    claim, other = sent(assignment, 99.0), sent(assignment, 99.0)
    assignment.update([listed("a", failed=True)], asked_at=NOW)
    assert assignment.record_answer(claim, "b", 1)
    assert assignment.candidates(other) == ["a"]


@pytest.mark.parametrize("is_assigned", [True, False])
@pytest.mark.parametrize("had_failed", [True, False])
def test_answer_with_a_later_attempt(is_assigned: bool, had_failed: bool) -> None:
    """When the answer names the last of several records, the first one stays this call's too."""
    assignment = assignment_with()
    claim = sent(assignment, 90.0)
    other = sent(assignment, 99.0)
    assignment.update([listed("a", failed=had_failed)] if is_assigned else [], asked_at=NOW)
    assert claim.run_id == ("a" if is_assigned else None)
    assignment.update([listed("a", failed=True), listed("a2", 2)], asked_at=NOW - 20)
    assert assignment.record_answer(claim, "a2", 2)
    assert claim.run_id == "a2"
    assignment.update([listed("a", failed=True), listed("a2", 2)], asked_at=NOW)
    assert (assignment.candidates(claim), other.run_id) == ([], None)


def test_answer_with_a_later_attempt_frees_what_still_runs() -> None:
    """A run that goes on cannot be the first attempt of a run that was answered, and is free for others."""
    assignment = assignment_with()
    claim, other = sent(assignment, 90.0), sent(assignment, 99.5)
    assignment.update([listed("b")], asked_at=NOW)
    assert claim.run_id == "b"
    assert assignment.record_answer(claim, "a2", 2)
    assignment.update([listed("b")], asked_at=NOW)
    assert other.run_id == "b"


# Memory


def test_what_is_listed_no_more_is_forgotten() -> None:
    """Runs of the last list are remembered, and runs that an answer named, until they were listed once."""
    assignment = assignment_with("a", "b", "c")
    claim = sent(assignment, 90.0)
    assert len(assignment) == 3
    assignment.update([listed("c"), listed("d")], asked_at=NOW)
    assert (len(assignment), claim.run_id) == (2, "d")
    assert assignment.record_answer(claim, "e", 1)
    for _ in range(3):
        assignment.update([listed("d")], asked_at=NOW)
        assert len(assignment) == 2
    assignment.update([listed("e"), listed("f")], asked_at=NOW)
    assert len(assignment) == 2
    assignment.update([], asked_at=NOW)
    assert len(assignment) == 0
    assert (assignment.candidates(claim), assignment.assign_oldest(claim)) == ([], "e")


def test_a_hundred_thousand_runs_are_not_kept() -> None:
    """However many runs are listed in time, no more are remembered than one list holds."""
    assignment = assignment_with()
    for number in range(2000):
        assignment.update([listed(f"r{number + each}") for each in range(5)], asked_at=NOW + number)
        assert len(assignment) == 5


# A model of client and server, with actions in any order


@define
class _Run:
    id: str
    attempt: int = 1
    has_failed: bool = False
    is_listed: bool = True


@define(eq=False)
class _TrackedCall:
    """One call: what the client knows of it, and what the server did."""

    claim: Claim
    call: _Call
    before: frozenset[str]
    run: _Run | None = None
    is_decided: bool = False  # whether the server has accepted or refused it
    is_over: bool = False
    kept: str | None = None  # the run whose handle was returned
    unsent: set[str] = field(factory=set)  # runs that were listed before it was sent


class _Model:
    """A client and a server, which do one action at a time."""

    def __init__(self, *, has_others: bool) -> None:
        self.assignment = assignment_with("before")
        self.now = NOW
        self.has_others = has_others
        self.runs = [_Run("before")]
        self.calls: list[_TrackedCall] = []

    def act(self, name: str, number: int) -> None:
        getattr(self, name)(number)

    def _new(self, attempt: int = 1) -> _Run:
        run = _Run(f"r{len(self.runs)}", attempt)
        self.runs.append(run)
        return run

    def _one(self, calls: list[_TrackedCall], number: int) -> _TrackedCall | None:
        return calls[number % len(calls)] if calls else None

    def out(self) -> list[_TrackedCall]:
        return [each for each in self.calls if not each.is_over and each.call.in_flight_since is not None]

    @property
    def progress(self) -> int:
        return len(self.calls) + len(self.out()) + len(self.runs)

    def wait(self, number: int) -> None:
        self.now += (0.0, 0.1, 0.5, 2.5)[number % 4]

    def list(self, _: int) -> None:
        listed = [each for each in self.runs if each.is_listed]
        self.assignment.update(
            [ListedRun(each.id, each.attempt, each.has_failed) for each in listed], asked_at=self.now
        )
        for tracked in self.calls:
            if not tracked.call.was_sent:
                tracked.unsent |= {each.id for each in listed}

    def open(self, number: int) -> None:
        self.list(number)
        claim = self.assignment.open(self.now)
        claim.call = call = _Call()
        self.calls.append(_TrackedCall(claim, call, frozenset(each.id for each in self.runs)))

    def send(self, number: int) -> None:
        tracked = self._one([each for each in self.calls if not each.call.was_sent], number)
        if tracked is not None:
            tracked.call.send(self.now)

    def take(self, number: int) -> None:
        tracked = self._one([each for each in self.out() if not each.is_decided], number)
        if tracked is not None:
            tracked.is_decided, tracked.run = True, self._new()

    def refuse(self, number: int) -> None:
        tracked = self._one([each for each in self.out() if not each.is_decided], number)
        if tracked is not None:
            tracked.is_decided = True

    def hear_refusal(self, number: int) -> None:
        tracked = self._one([each for each in self.out() if each.is_decided and each.run is None], number)
        if tracked is not None:
            tracked.call.in_flight_since = None
            if number % 2:  # else the next list finds that it is not in flight
                self.assignment.close(tracked.claim, has_begun=False)
                tracked.is_over = True

    def lose(self, number: int) -> None:
        tracked = self._one(self.out(), number)
        if tracked is not None and not tracked.claim.has_failed:
            tracked.claim.is_lost = True

    def fail(self, number: int) -> None:
        tracked = self._one([each for each in self.calls if each.run is not None], number)
        if tracked is not None and tracked.run is not None:
            tracked.run.has_failed = True

    def hear_failure(self, number: int) -> None:
        tracked = self._one([each for each in self.out() if each.run and each.run.has_failed], number)
        if tracked is not None and not tracked.claim.is_lost:
            tracked.claim.has_failed = True

    def hear_answer(self, number: int) -> None:
        tracked = self._one([each for each in self.out() if each.run and not each.run.has_failed], number)
        if tracked is None or tracked.run is None or tracked.claim.has_failed or tracked.claim.is_lost:
            return
        delayed = {each.kept or each.claim.run_id for each in self.calls if each is not tracked}
        is_own = self.assignment.record_answer(tracked.claim, tracked.run.id, tracked.run.attempt)
        assert is_own == (tracked.run.id not in delayed)
        assert not is_own or tracked.claim.run_id == tracked.run.id
        self.assignment.assign_oldest(tracked.claim)
        self._finish(tracked)

    def notice(self, number: int) -> None:
        tracked = self._one([each for each in self.out() if each.claim.run_id is not None], number)
        if tracked is not None:
            self._finish(tracked)

    def give_up(self, number: int) -> None:
        tracked = self._one(
            [each for each in self.out() if each.claim.is_lost or each.claim.has_failed], number
        )
        if tracked is not None:
            self._finish(tracked)

    def _finish(self, tracked: _TrackedCall) -> None:
        tracked.kept = tracked.claim.run_id
        tracked.is_over = True
        self.assignment.close(tracked.claim, has_begun=tracked.kept is not None)

    def foreign(self, _: int) -> None:
        if self.has_others:
            self._new()

    def scheduled(self, _: int) -> None:
        self._new(attempt=0)

    def age(self, _: int) -> None:
        oldest = next((each for each in self.runs if each.is_listed), None)
        if oldest is not None and not any(not each.is_over for each in self.calls):
            oldest.is_listed = False  # runs that matter to calls in flight stay in the list

    # What has to hold at any time.

    def check(self) -> None:
        firsts = {each.id for each in self.runs if each.attempt == 1}
        delayed = [run for each in self.calls if (run := each.kept or each.claim.run_id) is not None]
        assert len(delayed) == len(set(delayed)), "two calls have one run"
        assert set(delayed) <= firsts
        for tracked in self.calls:
            run_id = tracked.kept or tracked.claim.run_id
            assert run_id is None or tracked.call.was_sent
            assert run_id not in tracked.before
            assert run_id not in tracked.unsent or (tracked.run is not None and tracked.run.id == run_id)
            if tracked.is_over and tracked.kept is None:
                assert tracked.claim.run_id is None

    def check_settled(self) -> None:
        """Check that a list assigns runs to all calls in flight, if each began a run that no other call has."""
        delayed = {each.kept or each.claim.run_id for each in self.calls}
        missing = [
            each
            for each in self.calls
            if not each.is_over and each.call.was_sent and each.claim.run_id is None
        ]
        had_failed = [each for each in missing if each.claim.has_failed]
        is_easy = all(
            each.call.in_flight_since is not None and each.run is not None and each.run.id not in delayed
            for each in missing
        )
        self.list(0)
        for tracked in missing if is_easy else ():
            assert tracked.claim.run_id is not None
        failed = {each.id for each in self.runs if each.has_failed}
        for tracked in had_failed:
            assert tracked.claim.run_id is None or tracked.claim.run_id in failed
        for tracked in self.calls:
            if not tracked.is_over and tracked.call.was_sent and tracked.call.in_flight_since is None:
                assert tracked.claim.run_id is None, "a refused call has a run"


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
    """No run is assigned twice, none that was there before, and each call that began one has one by the next list."""
    model = _Model(has_others=has_others)
    for name, number in acts:
        model.act(name, number)
        model.check()
    model.check_settled()
    model.check()


@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_calls_that_all_begin_runs(data: Any) -> None:
    """Any number of calls, begun and listed in any order, have one run each by the first list that has them all."""
    model = _Model(has_others=False)
    count = data.draw(st.integers(1, 10))
    todo = [name for name in ("open", "send", "take") for _ in range(count)]
    while todo:
        name = todo.pop(data.draw(st.integers(0, len(todo) - 1)))
        before = model.progress
        model.act(name, data.draw(st.integers(0, 9)))
        if model.progress == before:
            todo.append(name)  # nothing to send or to accept yet
        if data.draw(st.booleans()):
            model.list(0)
        if data.draw(st.booleans()):
            model.notice(0)
        model.check()
    model.list(0)
    assert len({each.kept or each.claim.run_id for each in model.calls} - {None}) == count
