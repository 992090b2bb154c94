"""Waiting for runs through their handles."""

import asyncio
import math
from typing import Any

import pytest

from aioagents import (
    Growing,
    Leena,
    NotFound,
    PoolClosed,
    Run,
    RunAborted,
    RunFailed,
    RunState,
    Steady,
    WaitTimeout,
)
from aioagents.contract.fake import RunPlan
from aioagents.observe import RunChanged, StatusUnknown
from aioagents.providers.leena.fake import FakeLeena
from tests.fakes import settle
from tests.polling.rig import CREDENTIALS, ENDPOINTS, TRIAGE, begin, reply, rig, script, until_end

_LONG: tuple[str, float] = ("in_progress", 1e6)


# When it is polled


async def test_first_poll_comes_after_the_first_gap() -> None:
    """The first poll comes once the cadence's first gap is over, and the next ones after each gap until the end."""
    async with rig(("in_progress", 25.0), "completed") as r:
        run = await r.start()
        waiter = await begin(until_end(run))
        await r.clock.advance(9.9)
        assert r.polls == []
        await r.clock.advance(30)
        assert r.polls == [10, 20, 30]
        assert (await waiter).state is RunState.COMPLETED
        await r.clock.advance(1000)
        assert r.polls == [10, 20, 30]


async def test_growing_gaps_are_kept() -> None:
    """Each poll comes as much later as the cadence says for the time waited so far."""
    cadence = Growing(first=1, factor=2, cap=8)
    async with rig(("in_progress", 20.0), "completed", cadence=cadence) as r:
        waiter = await begin(until_end(await r.start()))
        await r.clock.advance(100)
        # The first poll sees another word than the start's answer: a new state, whose time counts anew.
        assert r.polls == [1, 2, 4, 8, 16, 24]
        assert (await waiter).is_same_as(waiter.result())


async def test_elapsed_counts_from_the_start_of_the_state() -> None:
    """A run that begins to pause, say, is polled as if it had just begun."""
    asked: list[tuple[float, str]] = []

    class Asked:
        def gap(self, elapsed: float, *, key: str = "", chance: float = 0.5) -> float:
            asked.append((elapsed, key))
            return 10.0

    steps = ("in_progress", 25.0), ("paused", 20.0), "completed"
    async with rig(*steps, cadence=Asked()) as r:
        waiter = await begin(until_end(await r.start()))
        await r.clock.advance(60)
        assert (await waiter).state is RunState.COMPLETED
    assert asked == [
        (0.0, "leena:triage:queued"),
        (0.0, "leena:triage:running"),
        (10.0, "leena:triage:running"),
        (0.0, "leena:triage:paused"),
        (10.0, "leena:triage:paused"),
    ]


async def test_no_poll_while_nobody_waits() -> None:
    """A handle that nobody waits on costs no request."""
    async with rig() as r:
        run = await r.start()
        await r.clock.advance(1000)
        assert r.polls == []
        assert r.clock.timers == 0
        assert run.last is run.accepted
        assert run.last is not None
        assert run.last.state is RunState.QUEUED


async def test_runs_started_at_one_moment_are_spread_by_chance() -> None:
    """The pool's chance goes into every gap."""
    chances = iter([0.0, 0.25, 0.75] + [0.5] * 100)
    async with rig(_LONG, chance=lambda: next(chances)) as r:
        runs = [await r.start() for _ in range(3)]
        waiters = [await begin(until_end(run)) for run in runs]
        await r.clock.advance(11)
        assert r.polls == [9, 9.5, 10.5]
        assert not any(waiter.done() for waiter in waiters)


# Sharing


async def test_many_waiters_share_one_poll_loop() -> None:
    """A thousand waits on one run cost the polls of one, and all learn of the end."""
    async with rig() as r:
        run = await r.start()
        waiters = [asyncio.create_task(until_end(run)) for _ in range(1000)]
        await settle()
        polling = r.pool.statistics().polling
        assert (polling.runs, polling.waiting) == (1, 1000)
        await r.clock.advance(40)
        assert r.polls == [10, 20, 30]
        ends = await asyncio.gather(*waiters)
        assert {end.state for end in ends} == {RunState.COMPLETED}
        assert (r.pool.statistics().polling.runs, r.pool.statistics().polling.polls) == (0, 3)


async def test_handles_of_one_run_share_one_poll_loop() -> None:
    """Handles of `execute`, `item` and `attach` on one run are polled, and counted, once."""
    async with rig() as r:
        run = await r.start()
        handles = [run, r.leena.item(run.id), r.leena.attach(str(run.ref)), r.leena.attach(run.ref)]
        waiters = [await begin(until_end(handle)) for handle in handles]
        polling = r.pool.statistics().polling
        assert (polling.runs, polling.waiting) == (1, 4)
        await r.clock.advance(40)
        assert r.polls == [10, 20, 30]
        assert len({id(await waiter) for waiter in waiters}) == 1
        assert all(handle.last is run.last for handle in handles)
        assert len(r.events_of(RunChanged)) == 2


async def test_clients_with_equal_settings_share_one_poll_loop() -> None:
    """Two clients of one account and region poll a run once."""
    async with rig() as r:
        run = await r.start()
        other = Leena(r.pool, credentials=CREDENTIALS, endpoints=ENDPOINTS).item(run.id)
        waiters = [await begin(until_end(run)), await begin(until_end(other))]
        assert r.pool.statistics().polling.runs == 1
        await r.clock.advance(40)
        assert r.polls == [10, 20, 30]
        assert [(await waiter).state for waiter in waiters] == [RunState.COMPLETED] * 2


async def test_cancelling_one_waiter_disturbs_no_other() -> None:
    """The others go on, at the same times, and the run is not cancelled."""
    async with rig() as r:
        run = await r.start()
        first, second, third = [await begin(until_end(run)) for _ in range(3)]
        await r.clock.advance(15)
        first.cancel()
        await settle()
        assert first.cancelled()
        assert r.pool.statistics().polling.waiting == 2
        await r.clock.advance(25)
        assert r.polls == [10, 20, 30]
        assert (await second) is (await third)


async def test_cancelling_waiters_of_each_kind_in_any_order() -> None:
    """In whatever order callers leave, the polls go on until the last one left."""
    async with rig(_LONG) as r:
        run = await r.start()
        changes: list[Run] = []

        async def read() -> None:
            async for change in run.updates():
                changes.append(change)  # noqa: PERF401 - it is the reading that is tested

        waiters = [
            await begin(until_end(run)),
            await begin(run.wait(timeout=1e5)),
            await begin(run.wait(until={RunState.PAUSED})),
            await begin(read()),
        ]
        assert r.pool.statistics().polling.waiting == 4
        for n, index in enumerate((2, 0, 3, 1), start=1):
            await r.clock.advance(10)
            assert len(r.polls) == n
            waiters[index].cancel()
            await settle()
            assert r.pool.statistics().polling.waiting == 4 - n
        await r.clock.advance(100)
        assert len(r.polls) == 4
        assert r.pool.statistics().polling.runs == 0
        assert r.clock.timers == 0


async def test_polling_stops_and_goes_on_as_planned() -> None:
    """A run that nobody waits for is not polled; who comes back in time gets the poll when it was planned."""
    async with rig(_LONG, cadence=Steady(10)) as r:
        run = await r.start()
        waiter = await begin(until_end(run))
        await r.clock.advance(12)
        waiter.cancel()
        await r.clock.advance(3)
        waiter = await begin(until_end(run))
        await r.clock.advance(4.9)
        assert r.polls == [10]
        await r.clock.advance(0.1)
        assert r.polls == [10, 20]
        waiter.cancel()


async def test_short_waits_in_a_row_poll_in_the_end() -> None:
    """A program that waits a little, does something else and comes back, learns of the end all the same."""
    async with rig(("in_progress", 5.0), "completed", cadence=Steady(10)) as r:
        run = await r.start()
        for _ in range(20):
            waiter = await begin(run.wait(timeout=0.5))
            await r.clock.advance(0.5)
            if waiter.done() and waiter.exception() is None:
                break
            await r.clock.advance(3)
        assert len(r.polls) == 1
        assert r.polls[0] >= 10
        assert run.last is not None
        assert run.last.state is RunState.COMPLETED


async def test_short_waits_in_a_row_poll_no_more_often() -> None:
    """Coming and going does not make the polls come sooner than the cadence has them."""
    async with rig(_LONG, cadence=Steady(10)) as r:
        run = await r.start()
        for _ in range(100):
            waiter = await begin(run.wait(timeout=0.7))
            await r.clock.advance(1)
            assert isinstance(waiter.exception(), WaitTimeout)
        gaps = [later - earlier for earlier, later in zip(r.polls, r.polls[1:], strict=False)]
        assert len(r.polls) >= 5
        assert min(gaps) >= 10


async def test_waiter_who_leaves_during_a_poll_plans_nothing() -> None:
    """A poll that everybody left is the last one; its gap counts for who comes back."""
    async with rig(_LONG) as r:
        run = await r.start()
        held = asyncio.Event()
        r.hold_polls(held)
        waiter = await begin(until_end(run))
        await r.clock.advance(10)
        waiter.cancel()
        await settle()
        held.set()
        await r.clock.advance(5)
        assert r.pool.statistics().polling.runs == 0
        waiter = await begin(until_end(run))
        await r.clock.advance(4.9)
        assert r.polls == [10]
        await r.clock.advance(100)
        assert len(r.polls) > 1
        waiter.cancel()


async def test_ended_run_is_awaited_without_asking() -> None:
    """Who awaits a run that was seen to end gets its end at once, also from another handle's poll."""
    async with rig() as r:
        run = await r.start()
        waiter = await begin(until_end(run))
        await r.clock.advance(40)
        assert await run is await waiter
        assert await run.wait(timeout=0) is await waiter
        assert len(r.polls) == 3


# Timeouts


async def test_timeout_carries_the_last_run() -> None:
    """At the deadline the wait raises a TimeoutError with what was seen last, and the run goes on."""
    async with rig(_LONG) as r:
        run = await r.start()
        waiter = await begin(run.wait(timeout=15))
        await r.clock.advance(14.9)
        assert not waiter.done()
        await r.clock.advance(0.1)
        with pytest.raises(TimeoutError, match="did not end within 15 s; last seen as in_progress") as caught:
            await waiter
        error = caught.value
        assert isinstance(error, WaitTimeout)
        assert error.ref == run.ref
        assert error.run is run.last
        assert error.run is not None
        assert error.run.state is RunState.RUNNING
        assert r.pool.statistics().polling.runs == 0
        await r.clock.advance(1000)
        assert r.polls == [10]
        assert r.clock.timers == 0


async def test_timeout_before_any_poll_says_so() -> None:
    """A run started elsewhere that nobody polled yet has no last state."""
    async with rig() as r:
        waiter = await begin(r.leena.item("0" * 24).wait(timeout=1))
        await r.clock.advance(1)
        with pytest.raises(WaitTimeout, match="not seen yet") as caught:
            await waiter
        assert caught.value.run is None


async def test_timeout_of_zero_asks_nothing() -> None:
    """`timeout=0` is a question about what is known: the end, or a timeout at once."""
    async with rig() as r:
        run = await r.start()
        waiter = await begin(run.wait(timeout=0))
        await r.clock.advance(0)
        with pytest.raises(WaitTimeout):
            await waiter
        assert r.polls == []


@pytest.mark.parametrize("timeout", [-1, -0.001, math.nan, -math.inf])
async def test_odd_timeouts_are_refused(timeout: float) -> None:
    """A negative timeout, or one that is no number, is refused before anything is waited for."""
    async with rig() as r:
        run = await r.start()
        with pytest.raises(ValueError, match="0 or more seconds, or None"):
            await run.wait(timeout=timeout)
        assert r.pool.statistics().polling.runs == 0


async def test_infinite_timeout_is_none() -> None:
    """Waiting for ever may be written as infinity."""
    async with rig() as r:
        waiter = await begin((await r.start()).wait(timeout=math.inf))
        await r.clock.advance(40)
        assert (await waiter).state is RunState.COMPLETED


async def test_one_waiter_times_out_alone() -> None:
    """A deadline is the waiter's own."""
    async with rig() as r:
        run = await r.start()
        short, long = await begin(run.wait(timeout=5)), await begin(run.wait(timeout=50))
        await r.clock.advance(40)
        assert isinstance(short.exception(), WaitTimeout)
        assert (await long).state is RunState.COMPLETED


async def test_asyncio_timeout_works_as_well() -> None:
    """A wait ended from outside leaves nothing behind."""
    async with rig() as r:
        run = await r.start()
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0):
                await run
        assert r.pool.statistics().polling.runs == 0
        await r.clock.advance(1000)
        assert r.polls == []


# States


async def test_pause_ends_no_wait() -> None:
    """A paused run may go on in hours or days, and is waited for."""
    async with rig(("paused", 3600.0), "completed", cadence=Steady(100)) as r:
        waiter = await begin(until_end(await r.start()))
        await r.clock.advance(3599)
        assert not waiter.done()
        await r.clock.advance(100)
        assert (await waiter).state is RunState.COMPLETED


async def test_until_pause() -> None:
    """`until` ends this wait, and no other, at a state of the caller's choice."""
    async with rig(("in_progress", 15.0), ("paused", 30.0), "completed") as r:
        run = await r.start()
        paused = await begin(run.wait(until={RunState.PAUSED}))
        ended = await begin(until_end(run))
        await r.clock.advance(20)
        assert (await paused).state is RunState.PAUSED
        assert not ended.done()
        await r.clock.advance(40)
        assert (await ended).state is RunState.COMPLETED


async def test_until_is_met_by_the_end_too() -> None:
    """A wait for a pause that never comes ends with the run."""
    async with rig(("in_progress", 15.0), "failed") as r:
        waiter = await begin((await r.start()).wait(until=[RunState.PAUSED]))
        await r.clock.advance(20)
        assert (await waiter).state is RunState.FAILED


async def test_until_takes_a_poll() -> None:
    """A state seen before the wait began does not end it: a pause may be over by now."""
    async with rig(("paused", 15.0), "completed") as r:
        run = await r.start()
        assert (await run.poll()).state is RunState.PAUSED
        waiter = await begin(run.wait(until={RunState.PAUSED}))
        assert not waiter.done()
        await r.clock.advance(10)
        assert (await waiter).state is RunState.PAUSED


async def test_until_times_out_and_is_cancelled_as_any_wait() -> None:
    """A wait for a state leaves nothing behind when it ends otherwise."""
    async with rig(_LONG) as r:
        run = await r.start()
        timed = await begin(run.wait(until={RunState.PAUSED}, timeout=5))
        cancelled = await begin(run.wait(until={RunState.PAUSED}))
        cancelled.cancel()
        await r.clock.advance(5)
        assert isinstance(timed.exception(), WaitTimeout)
        assert cancelled.cancelled()
        assert r.pool.statistics().polling.runs == 0


@pytest.mark.parametrize("until", ["paused", RunState.PAUSED, ["paused"], {RunState.PAUSED, "x"}])
async def test_odd_until_is_refused(until: Any) -> None:
    """What is no collection of states is refused, saying what is accepted."""
    async with rig() as r:
        with pytest.raises(TypeError, match="RunState"):
            await r.leena.item("1" * 24).wait(until=until)
        assert r.pool.statistics().polling.runs == 0


async def test_unknown_words_end_no_wait_and_are_reported_once() -> None:
    """A word the library does not know ends nothing; hooks get it once, however many runs show it."""
    steps = ("in-progress", 25.0), ("cancelled", 20.0), "completed"
    async with rig(*steps) as r:
        waiters = [await begin(until_end(await r.start())) for _ in range(3)]
        await r.clock.advance(60)
        assert [(await waiter).state for waiter in waiters] == [RunState.COMPLETED] * 3
        words = [event.run.status for event in r.events_of(StatusUnknown)]
        assert words == ["in-progress", "cancelled"]
        assert {event.run.state for event in r.events_of(StatusUnknown)} == {RunState.UNKNOWN}


# Results


async def test_result_is_the_output() -> None:
    """`result()` returns a completed run's output; Leena has none."""
    async with rig() as r:
        waiter = await begin((await r.start()).result())
        await r.clock.advance(40)
        assert await waiter is None


@pytest.mark.parametrize(("word", "kind"), [("failed", RunFailed), ("aborted", RunAborted)])
async def test_result_of_a_run_that_did_not_complete(
    word: str, kind: type[RunFailed] | type[RunAborted]
) -> None:
    """`result()` raises what the end was, with the run; `await` just returns the run."""
    async with rig(("in_progress", 5.0), word) as r:
        run = await r.start()
        waiter, plain = await begin(run.result()), await begin(until_end(run))
        await r.clock.advance(10)
        with pytest.raises(kind, match=word) as caught:
            await waiter
        assert caught.value.run is await plain
        assert caught.value.ref == run.ref
        assert str(run.ref) in str(caught.value)


# Wakes, and polls of a caller's own


async def test_wake_polls_at_once() -> None:
    """A wake brings the next poll forward to now, whatever the cadence says; the plan goes on from there."""
    async with rig(_LONG, cadence=Steady(1000)) as r:
        run = await r.start()
        waiter = await begin(until_end(run))
        await r.clock.advance(100)
        run.wake()
        await r.clock.advance(0)
        assert r.polls == [100]
        await r.clock.advance(1000)
        assert r.polls == [100, 1100]
        waiter.cancel()


async def test_wake_of_another_handle_polls_at_once() -> None:
    """A wake of any handle of a run is heard."""
    async with rig(_LONG, cadence=Steady(1000)) as r:
        run = await r.start()
        waiter = await begin(until_end(run))
        r.leena.item(run.id).wake()
        await r.clock.advance(0)
        assert r.polls == [0]
        waiter.cancel()


async def test_wake_before_anybody_waits() -> None:
    """A wake that came early is kept, and costs one poll once somebody waits."""
    async with rig(_LONG, cadence=Steady(1000)) as r:
        run = await r.start()
        run.wake()
        run.wake()
        await r.clock.advance(50)
        assert r.polls == []
        waiter = await begin(until_end(run))
        await r.clock.advance(0)
        assert r.polls == [50]
        await r.clock.advance(999)
        assert r.polls == [50]
        waiter.cancel()


async def test_wake_of_a_handle_that_joins_later() -> None:
    """A wake kept by one handle is heard also when somebody waits on another handle already."""
    async with rig(_LONG, cadence=Steady(1000)) as r:
        run = await r.start()
        other = r.leena.item(run.id)
        other.wake()
        first = await begin(until_end(run))
        await r.clock.advance(5)
        second = await begin(until_end(other))
        await r.clock.advance(0)
        assert r.polls == [5]
        for waiter in (first, second):
            waiter.cancel()


async def test_wake_during_a_poll_polls_again() -> None:
    """News that came during a poll may be missing from its answer: one more poll is made at once."""
    async with rig(_LONG, cadence=Steady(10)) as r:
        run = await r.start()
        held = asyncio.Event()
        r.hold_polls(held)
        waiter = await begin(until_end(run))
        await r.clock.advance(10)
        run.wake()
        run.wake()
        await settle()
        assert r.polls == [10]
        held.set()
        await r.clock.advance(0)
        assert r.polls == [10, 10]
        await r.clock.advance(9)
        assert r.polls == [10, 10]
        waiter.cancel()


async def test_wake_of_an_ended_run_asks_nothing() -> None:
    """A late wake is harmless, and so is one on a closed pool."""
    async with rig(("in_progress", 5.0), "completed") as r:
        run = await r.start()
        waiter = await begin(until_end(run))
        await r.clock.advance(10)
        assert waiter.done()
        run.wake()
        await r.clock.advance(100)
        assert r.polls == [10]
    run.wake()


async def test_poll_asks_now_and_informs_who_waits() -> None:
    """`poll()` asks at once, and who waits for the run learns what it saw."""
    async with rig(("in_progress", 5.0), "completed", cadence=Steady(1000)) as r:
        run = await r.start()
        waiter = await begin(until_end(run))
        assert (await r.leena.item(run.id).poll()).state is RunState.RUNNING
        await r.clock.advance(6)
        assert not waiter.done()
        seen = await r.leena.attach(run.ref).poll()
        assert seen.state is RunState.COMPLETED
        assert await waiter == seen
        assert r.polls == [0, 6]


async def test_poll_raises_what_the_vendor_says() -> None:
    """A poll of a caller's own raises the vendor's refusal, and disturbs nobody's wait."""
    async with rig(_LONG) as r:
        run = await r.start()
        waiter = await begin(until_end(run))
        with pytest.raises(NotFound):
            await r.leena.item("f" * 24).poll()
        r.faults.append(reply(404))
        with pytest.raises(NotFound):
            await run.poll()
        assert not waiter.done()
        waiter.cancel()


async def test_poll_tries_again() -> None:
    """A passing fault of a single poll is tried again as the retry policy says."""
    async with rig(_LONG) as r:
        run = await r.start()
        r.faults += [reply(503), reply(502)]
        polling = await begin(run.poll())
        await r.clock.advance(10)
        assert (await polling).state is RunState.RUNNING
        assert len(r.polls) == 3


async def test_late_answer_does_not_revive_an_ended_run() -> None:
    """An answer that was overtaken on its way changes nothing about an end."""
    async with rig(("in_progress", 5.0), "completed") as r:
        run = await r.start()
        waiter = await begin(until_end(run))
        await r.clock.advance(10)
        end = await waiter
        r.faults.append(reply(200, b'{"status": "in_progress"}'))
        assert await run.poll() is end
        assert run.last is end


async def test_an_end_that_was_seen_stays_one() -> None:
    """A handle that saw the end by itself keeps it, though others who did not poll still wait."""
    async with rig(("in_progress", 5.0), "completed", cadence=Steady(1000)) as r:
        run = await r.start()
        await r.clock.advance(6)
        alone = r.leena.item(run.id)
        end = await alone.poll()
        waiter = await begin(until_end(run))
        assert alone.last is end
        assert await alone is end
        assert not waiter.done()
        waiter.cancel()


# What is shown


async def test_repr_says_what_is_known() -> None:
    """A handle shows its reference and its state."""
    async with rig() as r:
        run = await r.start()
        assert repr(run) == f"<RunHandle {run.ref} queued>"
        assert repr(r.leena.item("a" * 24)) == f"<RunHandle leena:127.0.0.1/{'a' * 24} not polled>"


async def test_statistics_count_what_is_going_on() -> None:
    """Polled runs, waits, polls, failures and requests are counted as they are."""
    async with rig(_LONG) as r:
        runs = [await r.start() for _ in range(3)]
        waiters = [await begin(until_end(run)) for run in runs for _ in range(2)]
        held = asyncio.Event()
        r.hold_polls(held)
        await r.clock.advance(10)
        polling = r.pool.statistics().polling
        assert (polling.runs, polling.waiting, polling.polls, polling.polling) == (3, 6, 3, 3)
        assert polling.pollers == 3
        assert polling.overdue == 0
        held.set()
        r.faults += [reply(500)]
        await r.clock.advance(10.1)
        statistics = r.pool.statistics()
        assert statistics.polling.polls_failed == 1
        assert statistics.polling.polling == 0
        assert statistics.polling.overdue == 0
        assert (statistics.starts, statistics.token_requests) == (3, 1)
        assert statistics.requests == len(r.send.sent)
        for waiter in waiters:
            waiter.cancel()


async def test_waiting_on_a_closed_pool() -> None:
    """After the pool closed, each way of waiting says so, before anything is asked."""
    async with rig() as r:
        run = await r.start()
    asked = len(r.send.sent)
    for work in (until_end(run), run.wait(timeout=1), run.wait(until={RunState.PAUSED}), run.poll()):
        with pytest.raises(PoolClosed, match="closed"):
            await work
    with pytest.raises(PoolClosed):
        async for _ in run.updates():
            pass
    assert len(r.send.sent) == asked


async def test_scripts_of_several_targets() -> None:
    """Runs of different lengths end each at its own time."""
    scripts = {
        TRIAGE: script(("in_progress", 15.0), "completed"),
        "slow": script(("in_progress", 95.0), "failed"),
    }
    async with rig(fake=FakeLeena(RunPlan(scripts=scripts))) as r:
        fast, slow = await begin(until_end(await r.start())), await begin(until_end(await r.start("slow")))
        await r.clock.advance(20)
        assert (await fast).state is RunState.COMPLETED
        assert not slow.done()
        await r.clock.advance(80)
        assert (await slow).state is RunState.FAILED
