"""States that were learned otherwise than by a poll, and answers that a newer one overtook."""

import pytest

from aioagents import PoolClosed, RunState
from aioagents.observe import RunChanged
from aioagents.polling import RunHandle
from tests.polling.core_rig import GAP, CoreRig, FakeReader, seen
from tests.polling.rig import begin, rig, until_end

_LONG: tuple[str, float] = ("in_progress", 1e6)


def test_answer_that_a_report_overtook_is_passed_over() -> None:
    """A poll that was asked for before a report's request does not bring an older state back; the plan goes on."""
    rig = CoreRig()
    run, _ = rig.wait(rig.run(rig.source(), "a"))
    rig.advance(GAP)
    asked_at = rig.now
    assert rig.begin_one() is run
    rig.advance(1.0)
    news = seen(run.ref, RunState.PAUSED)
    rig.core.reported(run, news, rig.now, rig.now)
    rig.polled(run, asked_at=asked_at)
    assert run.last is news
    assert run.due_at == rig.now + GAP
    assert len([event for event in rig.events if isinstance(event, RunChanged)]) == 1


def test_report_that_a_poll_overtook_is_passed_over() -> None:
    """What was asked for before the latest poll is old, however late it arrives."""
    rig = CoreRig()
    run, _ = rig.wait(rig.run(rig.source(), "a"))
    asked_at = rig.now
    rig.advance(GAP)
    rig.polled(rig.begin_one(), status="busy")
    last = run.last
    rig.core.reported(run, seen(run.ref, status="idle"), rig.now, asked_at)
    rig.carry_out()
    assert run.last is last
    rig.core.reported(run, seen(run.ref, status="idle"), rig.now, rig.now)
    assert run.last is not last


@pytest.mark.parametrize("state", [RunState.COMPLETED, RunState.FAILED, RunState.ABORTED])
def test_end_counts_however_old_its_request_is(state: RunState) -> None:
    """No state follows an end: one that is reported late ends the waits, and nothing replaces it."""
    rig = CoreRig()
    run, caller = rig.wait(rig.run(rig.source(), "a"))
    rig.advance(GAP)
    rig.polled(rig.begin_one())
    end = seen(run.ref, state)
    rig.core.reported(run, end, rig.now, rig.now - 5.0)
    rig.carry_out()
    assert caller.end is run.last is end
    rig.core.reported(run, seen(run.ref), rig.now + 1.0, rig.now + 1.0)
    assert run.last is end
    rig.check()


# Through handles and sources


async def test_report_ends_the_wait_without_a_poll() -> None:
    """A state that a list or another call had reaches all who wait for the run, and no request is made for it."""
    async with rig(_LONG) as r:
        run = await r.start()
        other = r.leena.item(run.id)
        waits = [await begin(until_end(run)), await begin(until_end(other)), await begin(other.wait())]
        end = seen(run.ref, RunState.COMPLETED)
        r.leena.item(run.id).report(end, asked_at=r.clock.now())
        assert [await wait for wait in waits] == [end] * 3
        assert r.polls == []
        assert [event.run for event in r.events_of(RunChanged)] == [end]
        assert (run.last, other.last) == (end, end)


async def test_report_of_a_start_that_nobody_waits_for() -> None:
    """A handle keeps what is reported to it, also while nobody waits; a wait then ends at once."""
    async with rig(_LONG) as r:
        run = await r.start()
        run.report(seen(run.ref, RunState.ABORTED), asked_at=r.clock.now())
        assert (await run).state is RunState.ABORTED
        assert r.polls == []


async def test_report_of_another_run_is_refused() -> None:
    """A handle takes no state of another run."""
    async with rig(_LONG) as r:
        run = await r.start()
        with pytest.raises(ValueError, match="is not"):
            run.report(seen(r.leena.item("other").ref), asked_at=r.clock.now())


async def test_source_reports_only_what_somebody_waits_for() -> None:
    """For a run that nobody waits for, nothing is kept, made or emitted."""
    async with rig(_LONG) as r:
        run = await r.start()
        source = r.pool.source("key", FakeReader(), "leena")
        handle = RunHandle(source, run.ref)
        end = seen(run.ref, RunState.COMPLETED)
        assert not source.is_awaited(run.ref)
        source.report(end, asked_at=r.clock.now())
        assert handle.last is None
        assert source.source.runs == {}
        waiter = await begin(until_end(handle))
        assert source.is_awaited(run.ref)
        source.report(end, asked_at=r.clock.now())
        assert await waiter is end
        assert not source.is_awaited(run.ref)


async def test_time_of_a_request_is_never_ahead() -> None:
    """A request cannot have been made later than now: the next poll's answer is newer than such a report's."""
    async with rig(("in_progress", 5.0), "completed") as r:
        run = await r.start()
        waiter = await begin(until_end(run))
        run.report(seen(run.ref, RunState.PAUSED), asked_at=r.clock.now() + 1e6)
        assert run.last is not None
        assert run.last.state is RunState.PAUSED
        await r.clock.advance(10)
        assert (await waiter).state is RunState.COMPLETED
        assert r.polls == [10]


async def test_report_in_a_closed_pool() -> None:
    """A report after the pool was closed is kept by its handle, and is of no use to a wait that ended."""
    async with rig(_LONG) as r:
        run = await r.start()
        waiter = await begin(until_end(run))
    with pytest.raises(PoolClosed):
        await waiter
    end = seen(run.ref, RunState.COMPLETED)
    run.report(end, asked_at=r.clock.now())
    assert run.last is end
