"""What the core of the polling engine decides when something happens, without an event loop."""

import math

import pytest

from aioagents import (
    AgentsError,
    BadRequest,
    DecodeError,
    Growing,
    NotFound,
    NotSent,
    PoolClosed,
    ReplyLost,
    RetryPolicy,
    Run,
    RunRef,
    RunState,
    ServerError,
    Throttled,
)
from aioagents.observe import PollFailed, RunChanged, StatusUnknown
from aioagents.polling.groups import ListPoll
from aioagents.polling.listeners import Feed
from aioagents.polling.runs import Phase, PolledRun, Source
from tests.polling.core_rig import GAP, CoreRig, ids, seen

# When a run is polled


def test_first_poll_comes_after_a_gap() -> None:
    """A run is due one gap after somebody began to wait, and then one gap after each poll."""
    rig = CoreRig()
    run, _ = rig.wait(rig.run(rig.source(), "a"))
    assert rig.core.wake_at == rig.now + GAP
    rig.advance(GAP - 0.1)
    assert rig.begin() == []
    rig.advance(0.1)
    assert rig.begin_one() is run
    rig.advance(3.0)
    rig.polled(run)
    assert (run.phase, run.due_at) == (Phase.PLANNED, rig.now + GAP)


@pytest.mark.parametrize(("away", "waits_for"), [(3.0, 5.0), (8.0, 0.0), (500.0, 0.0)])
def test_who_comes_back_keeps_the_planned_time(away: float, waits_for: float) -> None:
    """Leaving changes no plan: who comes back gets the poll when it was planned, at once if that is past."""
    rig = CoreRig()
    run, caller = rig.wait(rig.run(rig.source(), "a"))
    rig.advance(2.0)
    rig.leave(run, caller)
    assert run.phase is Phase.RESTING
    rig.advance(away)
    assert rig.begin() == []
    rig.wait(run)
    assert run.due_at == rig.now + waits_for


def test_leaving_changes_nobody_elses_plan() -> None:
    """One of two callers leaves, and the run is polled when it was planned."""
    rig = CoreRig()
    run, first = rig.wait(rig.run(rig.source(), "a"))
    rig.advance(2.0)
    rig.wait(run)
    rig.leave(run, first)
    assert (run.phase, run.due_at) == (Phase.PLANNED, rig.now + 8.0)


def test_gap_counts_from_the_start_of_the_state() -> None:
    """A growing gap grows with the time of the present state, not of the wait; a change begins anew."""
    rig = CoreRig(cadence=Growing(first=1.0, factor=2.0, cap=100.0))
    run, _ = rig.wait(rig.run(rig.source(), "a"))
    gaps = []
    for status in ("running", "running", "running", "busy", "busy"):
        rig.advance(run.due_at - rig.now)
        assert rig.begin_one() is run
        rig.polled(run, status=status)
        gaps.append(run.due_at - rig.now)
    assert gaps == [2.0, 4.0, 8.0, 1.0, 2.0]


class _Odd:
    """A cadence that fails, or returns what is no gap, from its n-th question on."""

    def __init__(self, outcome: Exception | float, *, good: int = 0) -> None:
        self._outcome = outcome
        self._good = good

    def gap(self, elapsed: float, *, key: str = "", chance: float = 0.5) -> float:
        self._good -= 1
        if self._good >= 0:
            return GAP
        if isinstance(self._outcome, Exception):
            raise self._outcome
        return self._outcome


@pytest.mark.parametrize("outcome", [LookupError("mine"), math.nan, 0.0, -1.0])
def test_cadence_that_fails_at_once_plans_nothing(outcome: Exception | float) -> None:
    """Where no first poll can be planned, the wait does not begin, and the run is not kept."""
    rig = CoreRig(cadence=_Odd(outcome))
    source = rig.source(lists=True)
    with pytest.raises((LookupError, ValueError)):
        rig.wait(rig.run(source, "a"))
    assert (source.runs, source.groups, rig.core.wake_at) == ({}, {}, math.inf)


@pytest.mark.parametrize("outcome", [LookupError("mine"), math.nan, 0.0, -1.0])
@pytest.mark.parametrize("fault", [None, ServerError("away")])
def test_cadence_that_fails_later_ends_its_own_wait_alone(
    outcome: Exception | float, fault: Exception | None
) -> None:
    """Where the next poll cannot be planned, that wait ends with the cause; the polls of others go on."""
    rig = CoreRig(cadence=_Odd(outcome, good=2))
    source = rig.source()
    (run, caller), (other, _) = rig.wait(rig.run(source, "a")), rig.wait(rig.run(source, "b"))
    rig.advance(GAP)
    rig.begin()
    if fault is None:
        rig.polled(run)
    else:
        rig.failed(run, fault)
    assert isinstance(caller.end, AgentsError)
    assert isinstance(caller.end.__cause__, LookupError | ValueError)
    assert list(source.runs.values()) == [other]
    rig.check(other)


# One polled run for each reference


def test_second_handle_joins_the_run_that_is_known() -> None:
    """A run is polled once however many handles it has; each hands over what it knows of the start, and its wake."""
    rig = CoreRig()
    source = rig.source()
    run, _ = rig.wait(rig.run(source, "a"))
    ref = RunRef("v", "", "a")
    other = PolledRun(source, ref, target="triage", begun_at=900.0)
    other.is_woken = True
    known, _ = rig.wait(other)
    assert known is run
    assert (run.target, run.begun_at, run.due_at) == ("triage", 900.0, rig.now)
    again, _ = rig.wait(PolledRun(source, ref, target="other", begun_at=950.0))
    assert again is run
    assert (run.target, run.begun_at) == ("triage", 900.0)
    rig.advance(0.0)
    assert rig.begin_one() is run


def test_a_late_answer_changes_no_end() -> None:
    """An answer that was overtaken by the end is dropped."""
    rig = CoreRig()
    run, caller = rig.wait(rig.run(rig.source(), "a"))
    rig.advance(GAP)
    rig.begin()
    end = seen(run.ref, RunState.COMPLETED)
    rig.core.seen(run, end, rig.now, rig.now)
    rig.carry_out()
    rig.polled(run)
    assert caller.end is run.last is end
    assert len(rig.events) == 1
    rig.check()


# Wakes


def test_wake_polls_now() -> None:
    """A wake makes the next poll due at once, and the one after it comes a gap later."""
    rig = CoreRig()
    run, _ = rig.wait(rig.run(rig.source(), "a"))
    rig.core.wake(run, rig.now)
    rig.core.wake(run, rig.now)
    assert rig.core.wake_at == rig.now
    rig.advance(0.0)
    rig.polled(rig.begin_one())
    assert run.due_at == rig.now + GAP


def test_wake_is_kept_while_nobody_waits() -> None:
    """A wake that nobody waits for costs nothing until somebody does."""
    rig = CoreRig()
    run = rig.run(rig.source(), "a")
    rig.core.wake(run, rig.now)
    assert rig.core.wake_at == math.inf
    rig.advance(50.0)
    rig.wait(run)
    assert run.due_at == rig.now


def test_wake_during_a_poll_asks_for_one_more() -> None:
    """News that came while a poll was under way may lack in its answer: one more is made at once, and no second."""
    rig = CoreRig()
    run, _ = rig.wait(rig.run(rig.source(), "a"))
    rig.advance(GAP)
    rig.begin()
    rig.core.wake(run, rig.now)
    rig.core.wake(run, rig.now)
    rig.advance(0.0)
    assert rig.begin() == []
    rig.polled(run)
    assert run.due_at == rig.now
    rig.advance(0.0)
    rig.polled(rig.begin_one())
    assert run.due_at == rig.now + GAP


# Pushes


class _Receiver:
    def __init__(self, *confirmed: RunState) -> None:
        self.misses = 0
        self.confirmed = confirmed

    def will_wake_again(self, seen: Run) -> bool:
        return seen.state in self.confirmed

    def missed(self) -> None:
        self.misses += 1


def _pushed(rig: CoreRig, *confirmed: RunState) -> tuple[PolledRun, _Receiver]:
    receiver = _Receiver(*confirmed)
    run, _ = rig.wait(rig.run(rig.source(), "a", push=receiver))
    return run, receiver


def test_pushed_run_is_polled_as_rarely_as_the_cadence_goes() -> None:
    """While a push is expected, each gap is the cadence's longest."""
    rig = CoreRig(cadence=Growing(first=1.0, factor=2.0, cap=100.0))
    run, _ = _pushed(rig)
    assert run.due_at == rig.now + 100.0


def test_push_that_is_lost_brings_the_cadence_back() -> None:
    """Once nothing will wake a run, it is polled by the cadence: from now on, or when somebody comes back."""
    for leaves in (False, True):
        rig = CoreRig(cadence=Growing(first=1.0, factor=2.0, cap=100.0))
        receiver = _Receiver()
        run, caller = rig.wait(rig.run(rig.source(), "a", push=receiver))
        rig.advance(30.0)
        if leaves:
            rig.leave(run, caller)
        rig.core.lose_push(run, rig.now)
        rig.core.lose_push(run, rig.now)
        if leaves:
            rig.wait(run)
        assert run.due_at == rig.now + (1.0 if leaves else 31.0)


def test_lost_push_delays_no_poll() -> None:
    """A poll that is due sooner than the cadence says stays when it is."""
    rig = CoreRig(cadence=Growing(first=1.0, factor=2.0, cap=100.0))
    run, _ = _pushed(rig)
    rig.advance(99.0)
    rig.core.lose_push(run, rig.now)
    assert run.due_at == rig.now + 1.0


def test_cadence_that_fails_when_a_push_is_lost_ends_the_wait() -> None:
    """Where the poll cannot be planned anew, the wait ends with the cause."""
    rig = CoreRig(cadence=_Odd(LookupError("mine"), good=1))
    run, caller = rig.wait(rig.run(rig.source(), "a", push=_Receiver()))
    rig.core.lose_push(run, rig.now)
    rig.carry_out()
    assert isinstance(caller.end, AgentsError)
    rig.check()


@pytest.mark.parametrize("fault", [None, ServerError("away", retry_after=0.0)])
def test_woken_and_not_over_means_no_second_push(fault: Exception | None) -> None:
    """A run that was woken, and whose poll saw no end or failed, is polled by the cadence from then on."""
    rig = CoreRig(cadence=Growing(first=1.0, factor=2.0, cap=100.0))
    run, receiver = _pushed(rig)
    rig.core.wake(run, rig.now)
    rig.advance(0.0)
    rig.begin()
    if fault is None:
        rig.polled(run)
    else:
        rig.failed(run, fault)
    assert run.push is None
    assert run.due_at == rig.now + 1.0
    assert receiver.misses == 0


def test_push_is_kept_while_it_will_wake_again() -> None:
    """A pause that was announced and seen leaves the push in force; a wake whose poll saw something else ends it."""
    rig = CoreRig(cadence=Growing(first=1.0, factor=2.0, cap=100.0))
    run, receiver = _pushed(rig, RunState.PAUSED)
    for _ in range(2):
        rig.core.wake(run, rig.now)
        rig.advance(0.0)
        rig.polled(rig.begin_one(), RunState.PAUSED)
        assert run.push is receiver
        assert run.due_at == rig.now + 100.0
    rig.core.wake(run, rig.now)
    rig.advance(0.0)
    rig.polled(rig.begin_one(), RunState.RUNNING)
    assert run.push is None
    assert run.due_at == rig.now + 1.0


def test_failed_poll_after_a_wake_ends_every_push() -> None:
    """What was announced was not seen, and is not announced again."""
    rig = CoreRig(cadence=Growing(first=1.0, factor=2.0, cap=100.0))
    run, _ = _pushed(rig, *RunState)
    rig.core.wake(run, rig.now)
    rig.advance(0.0)
    rig.failed(rig.begin_one(), ServerError("away", retry_after=0.0))
    assert run.push is None


@pytest.mark.parametrize("is_woken", [True, False])
def test_end_without_a_wake_is_a_miss(is_woken: bool) -> None:
    """An end that the push should have announced and did not is reported to it."""
    rig = CoreRig()
    run, receiver = _pushed(rig)
    if is_woken:
        rig.core.wake(run, rig.now)
    rig.advance(GAP)
    rig.polled(rig.begin_one(), RunState.COMPLETED)
    assert receiver.misses == (0 if is_woken else 1)


# Failures


@pytest.mark.parametrize(
    ("error", "retries", "delay"),
    [
        (ServerError("away"), 1, 0.25),  # half of the first backoff, since chance is even
        (ReplyLost("reset"), 1, 0.25),
        (NotSent("refused"), 1, 0.25),
        (ServerError("away"), 0, GAP),  # the account's budget is spent
        (Throttled("slow"), 1, GAP),
        (Throttled("slow", retry_after=45.0), 1, 45.0),
        (Throttled("slow", retry_after=3.0), 1, GAP),
        (ServerError("away", retry_after=3.0), 1, 3.0),
        (ServerError("away", retry_after=45.0), 0, 45.0),
        (DecodeError("odd"), 1, 0.25),
    ],
)
def test_passing_fault_puts_the_next_poll_off(error: AgentsError, retries: int, delay: float) -> None:
    """The next poll comes after the gap or a backoff, never before what the server asked for."""
    rig = CoreRig()
    run, caller = rig.wait(rig.run(rig.source(retries=retries), "a"))
    rig.advance(GAP)
    rig.failed(rig.begin_one(), error)
    assert run.due_at == pytest.approx(rig.now + delay)
    (event,) = rig.events
    assert isinstance(event, PollFailed)
    assert (event.ref, event.failures) == (run.ref, 1)
    assert event.delay == pytest.approx(delay)
    assert caller.end is None
    assert (rig.core.polls, rig.core.polls_failed) == (1, 1)


def test_wake_during_a_poll_that_fails_does_not_outrun_the_server() -> None:
    """The next poll, in its time, sees that news; one more who waits does not bring it forward."""
    rig = CoreRig()
    run, _ = rig.wait(rig.run(rig.source(), "a"))
    rig.advance(GAP)
    rig.begin()
    rig.core.wake(run, rig.now)
    rig.failed(run, Throttled("slow", retry_after=45.0))
    rig.wait(run)
    assert run.due_at == rig.now + 45.0


def test_failed_polls_are_never_closer_than_a_moment() -> None:
    """However short the backoff, a failed poll is not repeated within a twentieth of a second."""
    rig = CoreRig(retry=RetryPolicy(first=0.001))
    run, _ = rig.wait(rig.run(rig.source(retries=1), "a"))
    rig.advance(GAP)
    rig.failed(rig.begin_one(), ServerError("away"))
    assert run.due_at == rig.now + 0.05


def test_success_resets_the_count_of_failures() -> None:
    """After a good answer, failures and unreadable answers count from the start."""
    rig = CoreRig(retry=RetryPolicy(attempts=3))
    _, caller = rig.wait(rig.run(rig.source(), "a"))
    for _ in range(5):
        for error in (DecodeError("odd"), ServerError("away"), DecodeError("odd"), None):
            rig.advance(GAP)
            if error is None:
                rig.polled(rig.begin_one())
            else:
                rig.failed(rig.begin_one(), error)
    assert caller.end is None
    assert [event.failures for event in rig.events if isinstance(event, PollFailed)] == [1, 2, 3] * 5


def test_unreadable_answers_end_the_wait_after_as_many_as_a_call_is_tried() -> None:
    """Other failures between them do not count."""
    rig = CoreRig(retry=RetryPolicy(attempts=3))
    _, caller = rig.wait(rig.run(rig.source(), "a"))
    for error in (
        DecodeError("1"),
        ServerError("away"),
        DecodeError("2"),
        ServerError("away"),
        DecodeError("3"),
    ):
        assert caller.end is None
        rig.advance(GAP)
        rig.failed(rig.begin_one(), error)
    assert isinstance(caller.end, DecodeError)


def test_final_fault_ends_all_waits_of_its_run() -> None:
    """Each who waits gets an error of its own, with the reference and the last run; other runs go on."""
    rig = CoreRig()
    source = rig.source()
    run, first = rig.wait(rig.run(source, "a"))
    _, second = rig.wait(run)
    other, third = rig.wait(rig.run(source, "b"))
    rig.advance(GAP)
    rig.begin()
    rig.failed(run, NotFound("no such run"))
    assert isinstance(first.end, NotFound)
    assert isinstance(second.end, NotFound)
    assert first.end is not second.end
    assert (first.end.ref, first.end.run) == (run.ref, run.last)
    assert third.end is None
    assert list(source.runs.values()) == [other]
    rig.check(other)


def test_fault_of_a_reader_ends_the_wait_with_its_cause() -> None:
    """What is no `AgentsError` is a bug in a vendor's folder; it is no failed poll."""
    rig = CoreRig()
    _, caller = rig.wait(rig.run(rig.source(), "a"))
    rig.advance(GAP)
    rig.failed(rig.begin_one(), KeyError("oops"))
    assert isinstance(caller.end, AgentsError)
    assert "KeyError" in str(caller.end)
    assert isinstance(caller.end.__cause__, KeyError)
    assert rig.core.polls_failed == 0
    rig.check()


# What is emitted


def test_changes_are_emitted_once() -> None:
    """An event for each change and none for a poll that sees the same; an unknown word is reported once."""
    rig = CoreRig()
    source = rig.source()
    runs = rig.wait_all(source, "a", "b")
    for status, state in (
        ("running", RunState.RUNNING),
        ("odd", RunState.UNKNOWN),
        ("odd", RunState.UNKNOWN),
    ):
        rig.advance(GAP)
        rig.begin()
        for run in runs:
            rig.polled(run, state, status)
    changes = [event for event in rig.events if isinstance(event, RunChanged)]
    assert [(event.run.id, event.run.status) for event in changes] == [("a", "odd"), ("b", "odd")]
    assert [type(event) for event in rig.events].count(StatusUnknown) == 1


def test_listeners_are_shown_each_poll_but_the_end() -> None:
    """Who listens sees what each poll saw; who only waits for the end costs no effect."""
    rig = CoreRig()
    source = rig.source()
    rig.wait(rig.run(source, "a"))
    listening = rig.core.join(rig.run(source, "b"), rig.now)
    listening.waiters = Feed(None)
    for _ in range(2):
        rig.advance(GAP)
        for poll in rig.begin():
            assert isinstance(poll, PolledRun)
            rig.polled(poll)
    assert [each.id for each in rig.shown] == ["b", "b"]


# Which poll is made next


def test_sources_are_served_in_rotation() -> None:
    """A small account does not wait for all runs of a large one."""
    rig = CoreRig()
    rig.wait_all(rig.source("large"), *(f"l{n}" for n in range(6)))
    rig.wait_all(rig.source("small"), "s0", "s1")
    rig.advance(GAP)
    assert [name[0] for name in ids(rig.begin())] == ["l", "s", "l", "s", "l", "l", "l", "l"]


@pytest.mark.parametrize("pollers", [1, 2, 3, 5, 8, 64])
def test_no_source_holds_more_than_half(pollers: int) -> None:
    """However many of its polls hang, a source has at most half of them under way, rounded up; others go on."""
    rig = CoreRig(pollers=pollers)
    stalled, well = rig.source("stalled"), rig.source("well")
    rig.wait_all(stalled, *(f"s{n}" for n in range(200)))
    rig.advance(GAP)
    hanging = rig.begin()
    assert len(hanging) == stalled.polling == (pollers + 1) // 2
    runs = rig.wait_all(well, *(f"w{n}" for n in range(20)))
    rig.advance(GAP)
    polled = 0
    while polls := rig.begin():
        for poll in polls:
            assert poll in runs
            assert isinstance(poll, PolledRun)
            rig.polled(poll)
            polled += 1
    assert polled == (20 if pollers > 1 else 0)
    rig.check(*hanging)


def test_poll_that_nobody_waits_for_is_not_made() -> None:
    """A run whose callers left while its poll was due is passed over, and forgotten."""
    rig = CoreRig()
    source = rig.source()
    run, caller = rig.wait(rig.run(source, "a"))
    other, _ = rig.wait(rig.run(source, "b"))
    rig.advance(GAP)
    caller.has_left = True  # as a future that was cancelled: nobody reports it
    assert rig.begin() == [other]
    assert (run.phase, rig.core.polls, list(source.runs.values())) == (Phase.RESTING, 1, [other])


def test_poll_that_was_begun_and_not_made_is_taken_back() -> None:
    """It is not counted, frees its slot, and leaves the time and the wake for who comes back."""
    rig = CoreRig(pollers=1)
    source = rig.source()
    run, caller = rig.wait(rig.run(source, "a"))
    rig.core.wake(run, rig.now)
    rig.advance(0.0)
    assert rig.begin_one() is run
    caller.has_left = True
    rig.core.not_made(run, rig.now)
    assert rig.begin() == []
    assert (rig.core.polls, source.polling, source.runs) == (0, 0, {})
    rig.wait(run)
    rig.advance(0.0)
    assert rig.begin_one() is run


def test_who_comes_back_while_a_poll_is_due_or_under_way_has_it() -> None:
    """A run that everybody left is polled once if somebody is back before its poll is made, or over."""
    rig = CoreRig(pollers=1)
    source = rig.source()
    run, caller = rig.wait(rig.run(source, "a"))
    rig.advance(GAP)
    rig.leave(run, caller)
    run, caller = rig.wait(run)
    assert rig.begin_one() is run
    rig.leave(run, caller)
    _, caller = rig.wait(run)
    rig.advance(GAP)
    assert rig.begin() == []
    rig.polled(run)
    assert run.due_at == rig.now + GAP
    assert caller.end is None
    rig.check()


def test_close_ends_all_waits() -> None:
    """Each who waits gets `PoolClosed` with the last run; a late answer is harmless, and nothing is due any more."""
    rig = CoreRig()
    source = rig.source(lists=True)
    waits = [rig.wait(rig.run(source, name)) for name in ("a0", "a1", "z0", "z1")]
    rig.advance(GAP)
    _, poll = rig.begin()[:2]
    rig.wait(rig.run(source, "z2"))
    rig.core.close()
    rig.core.close()
    rig.carry_out()
    for run, caller in waits:
        assert isinstance(caller.end, PoolClosed)
        assert (caller.end.ref, caller.end.run) == (run.ref, run.last)
    assert isinstance(poll, PolledRun)
    rig.polled(poll)
    rig.core.wake(poll, rig.now)
    rig.advance(100 * GAP)
    assert (rig.begin(), rig.core.wake_at, source.runs, source.groups) == ([], math.inf, {}, {})


# Groups


def _group(*names: str) -> tuple[CoreRig, Source, list[PolledRun]]:
    rig = CoreRig()
    source = rig.source(lists=True)
    return rig, source, rig.wait_all(source, *names)


def test_one_list_reads_all_of_a_group() -> None:
    """Due runs of one group are one poll, those of two groups are two; what is in no list is polled by itself."""
    rig, _, _ = _group("a0", "a1", "b0", "z0", "b1", "z1", "c0")
    rig.advance(GAP)
    polls = rig.begin()
    assert sorted("+".join(sorted(name.split("+"))) for name in ids(polls)) == [
        "a0+a1",
        "b0+b1",
        "c0",
        "z0",
        "z1",
    ]
    assert rig.core.polls == 5
    rig.check(*polls)


def test_list_takes_early_members_along() -> None:
    """Members that are not due are listed too, and their next poll comes a gap later."""
    rig, source, (first,) = _group("a0")
    rig.advance(6.0)
    (early,) = rig.wait_all(source, "a1")
    rig.advance(4.0)
    poll = rig.begin_list()
    assert (poll.due, poll.early) == ({first.ref: first}, {early.ref: early})
    assert rig.listed(poll, "a0", "a1") is None
    assert first.due_at == early.due_at == rig.now + GAP
    rig.check()


def test_group_takes_a_thousand_members() -> None:
    """No list is asked for more than a thousand runs, counting those that have left."""
    rig, _, runs = _group(*(f"a{n}" for n in range(2500)))
    assert runs[0].group is not runs[1000].group
    rig.advance(GAP)
    assert [len(poll) for poll in rig.begin() if isinstance(poll, ListPoll)] == [1000, 1000, 500]


def test_group_is_by_the_last_state() -> None:
    """A run that was not seen yet is in no group; it enters one with its first poll."""
    rig = CoreRig()
    source = rig.source(lists=True)
    run, _ = rig.wait(rig.run(source, "a0", is_known=False))
    rig.wait_all(source, "a1")
    rig.advance(GAP)
    assert ids(rig.begin()) == ["a0", "a1"]
    rig.polled(run)
    assert run.group is source.groups["a"]


def test_run_changes_its_group_with_its_state() -> None:
    """A run whose state belongs to another list, or to none, leaves the group it was in."""
    rig, source, (run, other) = _group("a0", "a1")
    rig.advance(GAP)
    assert rig.listed(rig.begin_list(), "a0", "a1", status="to b") is None
    assert run.group is other.group is source.groups["b"]
    rig.advance(GAP)
    assert rig.listed(rig.begin_list(), "a0", "a1", status="to z") is None
    assert run.group is None
    assert source.groups == {}


def test_runs_that_nobody_asked_for_are_passed_over() -> None:
    """A list may have runs of others, which are no affair of anybody here."""
    rig, source, _ = _group("a0", "a1")
    stranger = RunRef("v", "", "a9")
    rig.advance(GAP)
    poll = rig.begin_list()
    found = {ref: seen(ref) for ref in (stranger, *poll.due)}
    assert rig.core.list_polled(poll, found, rig.now, rig.now) is None
    assert stranger not in source.runs
    rig.check()


def test_run_that_the_list_left_out_is_polled_by_itself() -> None:
    """The first of them in the list's stead, within its slot; the others are due again, each by itself."""
    rig, source, runs = _group("a0", "a1", "a2", "a3")
    rig.advance(GAP)
    poll = rig.begin_list()
    assert rig.listed(poll, "a1", "a3") is runs[0]
    assert (runs[0].phase, runs[2].phase, source.polling) == (Phase.POLLING, Phase.DUE, 1)
    rig.check(runs[0])
    rig.polled(runs[0])
    assert rig.core.polls == 2
    assert rig.begin_one() is runs[2]
    rig.polled(runs[2])
    rig.advance(GAP)
    assert len(rig.begin_list()) == 4


def test_early_member_that_the_list_left_out_is_polled_by_itself_in_its_time() -> None:
    """No list has it before that; it is listed again once it was polled, well or not."""
    rig, source, (first, other) = _group("a0", "a1")
    rig.advance(6.0)
    ended, failed = rig.wait_all(source, "a2", "a3")
    planned = ended.due_at
    rig.advance(4.0)
    rig.listed(rig.begin_list(), "a0", "a1")
    assert (ended.due_at, failed.due_at) == (planned, planned)
    rig.core.wake(other, rig.now)
    rig.advance(0.0)
    poll = rig.begin_list()
    assert set(poll.runs()) == {first, other}
    assert rig.listed(poll, "a0", "a1") is None
    rig.advance(6.0)
    assert set(rig.begin()) == {ended, failed}
    rig.polled(ended, RunState.COMPLETED)
    rig.failed(failed, ServerError("away"))
    rig.advance(4.0)
    poll = rig.begin_list()
    assert set(poll.runs()) == {first, other, failed}
    rig.check(poll)


def test_woken_run_that_the_list_left_out_is_polled_by_itself_at_once() -> None:
    """News of a run that the latest list left out costs one poll, and no list."""
    rig, source, _ = _group("a0", "a1")
    rig.advance(6.0)
    (early,) = rig.wait_all(source, "a2")
    rig.advance(4.0)
    rig.listed(rig.begin_list(), "a0", "a1")
    rig.core.wake(early, rig.now)
    rig.advance(0.0)
    assert rig.begin_one() is early


def test_run_that_was_left_by_all_meanwhile_is_not_polled_by_itself() -> None:
    """A run that the list left out, and that nobody waits for any more, is forgotten."""
    rig = CoreRig()
    source = rig.source(lists=True)
    _, caller = rig.wait(rig.run(source, "a0"))
    (other,) = rig.wait_all(source, "a1")
    rig.advance(GAP)
    poll = rig.begin_list()
    caller.has_left = True
    assert rig.listed(poll, "a1") is None
    assert list(source.runs.values()) == [other]
    rig.check()


def test_list_that_has_few_of_its_runs_is_not_asked_for_again() -> None:
    """A group of which less than a quarter was found is polled run by run; later runs get a new group."""
    rig, source, runs = _group(*(f"a{n}" for n in range(5)))
    rig.advance(GAP)
    first = rig.listed(rig.begin_list(), "a4")
    assert first is runs[0]
    rig.polled(first)
    assert ids(rig.begin()) == ["a1", "a2", "a3"]
    newer = rig.wait_all(source, "a5", "a6")
    assert newer[0].group is newer[1].group is not runs[0].group


@pytest.mark.parametrize("error", [ServerError("away"), ReplyLost("reset")])
def test_passing_fault_of_a_list_counts_for_those_that_were_due(error: AgentsError) -> None:
    """Each due run has one failed poll and is polled by itself the next time; early ones keep their time."""
    rig, source, runs = _group("a0", "a1")
    rig.advance(6.0)
    (early,) = rig.wait_all(source, "a2")
    planned = early.due_at
    rig.advance(4.0)
    assert rig.list_failed(rig.begin_list(), error) is None
    assert [event.ref.id for event in rig.events if isinstance(event, PollFailed)] == ["a0", "a1"]
    assert rig.core.polls_failed == 1
    assert (early.phase, early.due_at) == (Phase.PLANNED, planned)
    rig.advance(GAP)
    polls = rig.begin()
    assert ids(polls) == ["a2", "a0", "a1"]  # the first is a list of one: the others are to be polled alone
    for run in runs:
        rig.polled(run)
    rig.advance(GAP)
    rig.check(polls[0])


@pytest.mark.parametrize("error", [NotSent("refused"), Throttled("slow")])
def test_fault_that_is_not_the_lists_keeps_the_list(error: AgentsError) -> None:
    """A list that was not sent, or came too often, would fare no better in parts."""
    rig, _, _ = _group("a0", "a1")
    rig.advance(GAP)
    rig.list_failed(rig.begin_list(), error)
    rig.advance(GAP)
    assert ids(rig.begin()) == ["a0+a1"]


@pytest.mark.parametrize("error", [BadRequest("no lists"), DecodeError("odd")])
def test_final_fault_of_a_list_ends_no_wait(error: AgentsError) -> None:
    """After a list that is refused or cannot be read, all due runs are polled by themselves in its stead."""
    rig, _, runs = _group("a0", "a1", "a2")
    rig.advance(GAP)
    assert rig.list_failed(rig.begin_list(), error) is runs[0]
    assert rig.begin() == runs[1:]
    assert rig.events == []
    rig.check(*runs)


def test_fault_of_a_readers_list_ends_the_first_wait_alone() -> None:
    """A bug in a vendor's folder ends one wait, and the others are polled by themselves."""
    rig = CoreRig()
    source = rig.source(lists=True)
    _, caller = rig.wait(rig.run(source, "a0"))
    rest = rig.wait_all(source, "a1", "a2")
    rig.advance(GAP)
    assert rig.list_failed(rig.begin_list(), ZeroDivisionError()) is None
    assert isinstance(caller.end, AgentsError)
    assert rig.begin() == rest
    rig.check(*rest)


def test_woken_member_of_a_list_is_polled_again_at_once() -> None:
    """A wake while the list is under way asks for one more poll, whether the list had the run or not."""
    rig, _, (found, left_out, first) = _group("a0", "a1", "a2")
    rig.core.wake(first, rig.now)
    rig.advance(0.0)
    poll = rig.begin_list()
    assert poll.first is first
    for run in (found, left_out):
        rig.core.wake(run, rig.now)
    assert rig.listed(poll, "a0", "a2") is None
    assert (found.due_at, left_out.due_at, first.due_at) == (rig.now, rig.now, rig.now + GAP)
    rig.check()


def test_emptied_groups_are_not_kept() -> None:
    """A group whose runs are over, have failed or are not waited for is dropped."""
    rig = CoreRig()
    source = rig.source(lists=True)
    left, caller = rig.wait(rig.run(source, "a0"))
    ended, failed = rig.wait_all(source, "a1", "a2")
    rig.leave(left, caller)
    rig.advance(GAP)
    rig.listed(rig.begin_list(), "a1", state=RunState.COMPLETED)
    for poll in rig.begin():
        assert isinstance(poll, PolledRun)
        rig.failed(poll, NotFound("gone"))
    assert ended.group is failed.group is None
    assert source.groups == {}


# Memory, and polls of a caller's own


def test_waits_of_one_moment_share_it() -> None:
    """Runs that are joined within a millisecond hold one moment, so that many waits cost less memory."""
    rig = CoreRig()
    source = rig.source()
    runs = []
    for n in range(10):
        runs += rig.wait_all(source, f"a{n}")
        rig.now += 0.0004
    assert len({id(run.since) for run in runs}) == 4
    assert all(-1e-6 < 1000.0 + 0.0004 * n - run.since < 0.0011 for n, run in enumerate(runs))


def test_own_poll_informs_all_and_plans_nothing() -> None:
    """A poll of a caller's own informs who waits, and plans nothing."""
    rig = CoreRig()
    run, caller = rig.wait(rig.run(rig.source(), "a"))
    planned = run.due_at
    rig.advance(3.0)
    rig.core.seen(run, seen(run.ref, status="busy"), rig.now, rig.now)
    rig.carry_out()
    assert (run.due_at, run.since, caller.end) == (planned, rig.now, None)
    end: Run = seen(run.ref, RunState.FAILED)
    rig.core.seen(run, end, rig.now, rig.now)
    rig.carry_out()
    assert caller.end is end
