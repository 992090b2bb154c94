"""What vendors say beside a run's state: when the next poll is wanted, and that nothing changed."""

import math

import pytest

from aioagents import Growing, RetryPolicy, Run, RunState, ServerError
from aioagents.contract import with_hint
from aioagents.model import Reply
from aioagents.observe import RunChanged
from aioagents.polling import Hinted
from aioagents.polling.listeners import Feed
from aioagents.polling.runs import Phase
from tests.fakes import EPOCH
from tests.polling.core_rig import GAP, CoreRig, ids, runs_of, seen
from tests.polling.rig import begin, rig, until_end

_PATIENCE = RetryPolicy().patience


class _Quiet:
    """A webhook that wakes nothing."""

    def will_wake_again(self, _: Run) -> bool:
        return False

    def missed(self) -> None:
        pass


@pytest.mark.parametrize(
    ("hint", "waits_for"),
    [
        (45.0, 45.0),
        (3.0, GAP),
        (0.0, GAP),
        (-5.0, GAP),
        (math.nan, GAP),
        (1e9, _PATIENCE),
        (math.inf, _PATIENCE),
    ],
)
def test_next_poll_is_no_sooner_than_the_hint(hint: float, waits_for: float) -> None:
    """A good poll's hint delays the next planned one, up to the policy's patience, if the gap is shorter."""
    rig = CoreRig()
    run, _ = rig.wait(rig.run(rig.source(), "a"))
    rig.advance(GAP)
    rig.polled(rig.begin_one(), hint=hint)
    assert run.due_at == rig.now + waits_for
    rig.advance(waits_for)
    rig.polled(rig.begin_one())
    assert run.due_at == rig.now + GAP


def test_a_wake_is_not_delayed() -> None:
    """A webhook has news: it is read at once, whatever was hinted before, or with that very poll."""
    rig = CoreRig()
    run, _ = rig.wait(rig.run(rig.source(), "a"))
    rig.advance(GAP)
    rig.polled(rig.begin_one(), hint=60.0)
    rig.core.wake(run, rig.now)
    rig.advance(0.0)
    assert rig.begin_one() is run
    rig.core.wake(run, rig.now)
    rig.polled(run, hint=60.0)
    assert run.due_at == rig.now


@pytest.mark.parametrize("fault", [None, ServerError("away", retry_after=60.0)])
def test_lost_push_brings_no_poll_that_the_server_does_not_want(fault: ServerError | None) -> None:
    """A run whose webhook is gone is polled by the cadence again, but no sooner than the last answer asked for."""
    rig = CoreRig(cadence=Growing(first=1.0, factor=1.01, cap=500.0))
    run, _ = rig.wait(rig.run(rig.source(), "a", push=_Quiet()))
    rig.advance(500.0)
    if fault is None:
        rig.polled(rig.begin_one(), hint=60.0)
    else:
        rig.failed(rig.begin_one(), fault)
    at = rig.now + 60.0
    rig.advance(1.0)
    rig.core.lose_push(run, rig.now)
    assert run.due_at == at


def test_hint_of_a_failed_poll_is_bounded() -> None:
    """No `Retry-After` of a server delays a poll for longer than the policy's patience."""
    rig = CoreRig()
    run, _ = rig.wait(rig.run(rig.source(), "a"))
    rig.advance(GAP)
    rig.failed(rig.begin_one(), ServerError("away", retry_after=1.8e9))
    assert run.due_at == rig.now + _PATIENCE


def test_hint_of_a_list_delays_the_next_list() -> None:
    """No member that a list told of, nor one that joins later, has the list asked for again before the hint says."""
    rig = CoreRig()
    source = rig.source(lists=True)
    runs = rig.wait_all(source, "a0", "a1")
    rig.advance(GAP)
    assert rig.listed(rig.begin_list(), "a0", "a1", hint=45.0) is None
    at = rig.now + 45.0
    rig.advance(5.0)
    runs += rig.wait_all(source, "a2")
    assert [run.due_at for run in runs] == [at, at, at]
    rig.core.wake(runs[0], rig.now)
    rig.advance(0.0)
    assert ids(rig.begin()) == ["a0+a1+a2"]


def test_own_poll_with_a_hint_puts_the_planned_one_off() -> None:
    """What a caller's own poll is told holds for the planned one, unless a webhook asked for that."""
    rig = CoreRig()
    source = rig.source()
    run, _ = rig.wait(rig.run(source, "a"))
    rig.core.reported(run, Hinted(seen(run.ref), 45.0), rig.now, rig.now)
    assert run.due_at == rig.now + 45.0
    rig.core.wake(run, rig.now)
    rig.core.reported(run, Hinted(seen(run.ref), 45.0), rig.now, rig.now)
    assert run.due_at == rig.now


def test_a_hint_that_is_none_ends_its_own_wait_alone() -> None:
    """A reader whose hint is no number fails the waits for that run, and nothing else."""
    rig = CoreRig()
    source = rig.source()
    (run, caller), (other, _) = rig.wait(rig.run(source, "a")), rig.wait(rig.run(source, "b"))
    rig.advance(GAP)
    rig.begin()
    odd: Hinted[Run] = Hinted(seen(run.ref), "soon")  # type: ignore[arg-type]  # which is the point
    rig.core.polled(run, odd, rig.now, rig.now)
    rig.carry_out()
    assert caller.end is not None
    assert isinstance(getattr(caller.end, "__cause__", None), TypeError)
    assert list(source.runs.values()) == [other]


# Nothing changed


def test_unchanged_run_is_not_compared() -> None:
    """A reader that returns the last run itself makes no event, and the run's state goes on as it was."""
    rig = CoreRig()
    run, _ = rig.wait(rig.run(rig.source(), "a"))
    last, since = run.last, run.since
    assert last is not None
    rig.advance(GAP)
    rig.failed(rig.begin_one(), ServerError("away", retry_after=GAP))
    rig.advance(GAP)
    rig.events.clear()
    rig.core.polled(rig.begin_one(), last, rig.now, rig.now)
    rig.carry_out()
    assert (rig.events, run.last, run.since) == ([], last, since)
    assert run.backoff.failures == 0
    assert run.due_at == rig.now + GAP


def test_unchanged_run_is_shown_to_who_listens() -> None:
    """Who began to listen after the last poll learns of the state, though it did not change."""
    rig = CoreRig()
    run, _ = rig.wait(rig.run(rig.source(), "a"))
    last = run.last
    assert last is not None
    run.waiters = Feed(None)
    rig.advance(GAP)
    rig.core.polled(rig.begin_one(), last, rig.now, rig.now)
    rig.carry_out()
    assert rig.shown == [last]


def test_unchanged_runs_of_a_list() -> None:
    """A list may return what was last seen of each run, too."""
    rig = CoreRig()
    runs = rig.wait_all(rig.source(lists=True), "a0", "a1")
    rig.advance(GAP)
    poll = rig.begin_list()
    found = {run.ref: run for run in poll.lasts()}
    assert rig.core.list_polled(poll, found, rig.now, rig.now) is None
    assert rig.core.take_effects() == []
    assert {run.phase for run in runs} == {Phase.PLANNED}


# Pages


def test_group_is_no_larger_than_a_page() -> None:
    """A list is asked for as many runs as it can have: more of one name are read by further lists."""
    rig = CoreRig()
    source = rig.source(lists=True)
    vars(source.lists)["page_size"] = 3
    rig.wait_all(source, *(f"a{number}" for number in range(8)))
    rig.advance(GAP)
    lists = [sorted(run.ref.id for run in runs_of(poll)) for poll in rig.begin()]
    assert sorted(lists) == [["a0", "a1", "a2"], ["a3", "a4", "a5"], ["a6", "a7"]]


# Where they come from


@pytest.mark.parametrize(
    ("header", "seconds"),
    [("30", 30.0), ("Mon, 05 Jan 2026 09:00:15 GMT", 15.0), ("soon", None), (None, None), ("nan", None)],
)
def test_header_of_a_good_reply_is_a_hint(header: str | None, seconds: float | None) -> None:
    """`Retry-After` of a 2xx reply is read in both forms; one that cannot be read is no hint."""
    headers = {} if header is None else {"retry-after": header}
    answer = with_hint("seen", Reply(200, headers), utcnow=EPOCH)
    assert answer == ("seen" if seconds is None else Hinted("seen", seconds))


def test_hint_of_the_body_goes_first() -> None:
    """Where a vendor's body has a hint, that of the header, which a gateway may have set, does not matter."""
    hinted: str | Hinted[str] = Hinted("seen", 5.0)
    answer = with_hint(hinted, Reply(200, {"retry-after": "60"}), utcnow=EPOCH)
    assert answer == Hinted("seen", 5.0)


async def test_good_poll_with_a_retry_after() -> None:
    """A run is polled again after the seconds that a good answer named, and then by the cadence."""
    async with rig(("in_progress", 50.0), "completed") as r:
        after: dict[str, str] = {"retry-after": "35"}
        r.send.after = lambda request, answer: (
            Reply(answer.status, {**answer.headers, **after}, answer.body)
            if request.call == "aop.status" and len(r.polls) == 1
            else answer
        )
        run = await r.start()
        waiter = await begin(until_end(run))
        await r.clock.advance(100)
        assert r.polls == [10, 45, 55]
        assert (await waiter).state is RunState.COMPLETED


async def test_own_poll_returns_the_run_alone() -> None:
    """`poll()` returns the run, whatever was hinted, and puts the planned poll off."""
    async with rig(("in_progress", 500.0), "completed") as r:
        r.send.after = lambda _, answer: Reply(
            answer.status, {**answer.headers, "retry-after": "35"}, answer.body
        )
        run = await r.start()
        await begin(until_end(run))
        assert isinstance(await run.poll(), Run)
        await r.clock.advance(34)
        assert r.polls == [0]
        await r.clock.advance(1)
        assert r.polls == [0, 35]
        assert [event.run.status for event in r.events_of(RunChanged)] == ["in_progress"]
