"""Leaving a batch: by break, by cancellation, by `stop`; and what is left behind."""

import asyncio
import gc
import warnings
from collections import Counter
from contextlib import aclosing

import anyio
import pytest

from aioagents import BadRequest, PoolClosed, StartUnknown
from aioagents.batch import RowState
from aioagents.observe import StartAbandoned
from tests.batch.batch_rig import Notebook, Rig, fault, ref_of, rig, rows
from tests.fakes import settle


def _tasks() -> set["asyncio.Task[object]"]:
    return asyncio.all_tasks()


async def test_break_leaves_runs_going() -> None:
    """After a break nothing more is started, every start is recorded, and no task is left."""
    before = _tasks()
    async with rig(sending=4, in_flight=10) as r:

        async def read() -> None:
            async with aclosing(r.batch.run(rows(100))) as outcomes:
                async for outcome in outcomes:
                    assert outcome.state is RowState.COMPLETED
                    break

        reader = asyncio.create_task(read())
        await r.clock.advance(40)
        assert reader.done()
        await reader
        states = Counter(r.notebook.states.values())
        assert states[RowState.SENDING] == 0
        begun = [key for key, log in r.notebook.log.items() if RowState.STARTED in log]
        assert sorted(r.client.started) == sorted(begun)
        polls = r.pool.statistics().polling.polls
        await r.clock.advance(100)
        assert r.pool.statistics().polling.polls == polls
        assert r.pool.statistics().polling.runs == 0
    assert _tasks() == before


async def test_break_without_closing() -> None:
    """Even an iteration that is dropped unclosed ends all its tasks, and nothing complains."""
    before = _tasks()
    async with rig(lasts=0.5, sending=4, in_flight=10) as r:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")

            async def read() -> None:
                async for _ in r.batch.run(rows(100)):
                    break

            reader = asyncio.create_task(read())
            await r.clock.advance(40)
            await reader
            del reader
            gc.collect()
            await settle()
        assert [str(each.message) for each in caught] == []
        assert RowState.SENDING not in r.notebook.states.values()
        assert repr(r.batch).endswith("not running>")
    assert _tasks() == before


async def test_iteration_that_never_began() -> None:
    """An iteration that nobody begins costs nothing and holds up no other."""
    async with rig(journal=None) as r:
        unused = r.batch.run(rows(3))
        await r.finish(rows(2))
        assert len(r.outcomes) == 2
        await unused.aclose()
        assert len(r.client.started) == 2


async def _out(r: Rig, count: int = 50) -> "asyncio.Task[None]":
    """Read until four starts are out."""
    r.client.release = asyncio.Event()
    reader = await r.begin(rows(count))
    assert len(r.client.started) == 4
    return reader


async def test_cancelled_reader_waits_for_starts() -> None:
    """A start in flight is never cancelled: a cancelled reader waits until it is recorded."""
    async with rig(sending=4) as r:
        reader = await _out(r)
        reader.cancel()
        await settle()
        assert not reader.done()
        assert r.client.release is not None
        r.client.release.set()
        await settle()
        assert reader.cancelled()
        assert r.client.cancelled == []
        assert Counter(r.notebook.states.values()) == {RowState.STARTED: 4, RowState.PLANNED: 46}


async def test_cancelled_scope_waits_for_starts() -> None:
    """A cancel scope cancels again and again; the reader waits all the same."""
    async with rig(sending=4) as r:
        r.client.release = asyncio.Event()
        with anyio.CancelScope() as scope:

            async def open_later() -> None:
                await settle()
                scope.cancel()
                await settle()
                assert r.client.release is not None
                r.client.release.set()

            opening = asyncio.create_task(open_later())
            await r.read(rows(50))
        await opening
        assert scope.cancelled_caught
        assert r.client.cancelled == []
        assert Counter(r.notebook.states.values()) == {RowState.STARTED: 4, RowState.PLANNED: 46}


async def test_grace_is_bounded() -> None:
    """After the grace, a start that is still out is left as SENDING; the next run calls it unknown."""
    before = _tasks()
    async with rig(sending=4, grace=0.0) as r:
        reader = await _out(r)
        reader.cancel()
        await asyncio.wait([reader])
        await settle()
        assert reader.cancelled()
        assert Counter(r.notebook.states.values()) == {RowState.SENDING: 4, RowState.PLANNED: 46}
    assert _tasks() == before
    async with rig(r.notebook.reopened()) as r:
        await r.finish(rows(50))
        assert Counter(r.states.values()) == {RowState.UNKNOWN: 4, RowState.COMPLETED: 46}


async def test_start_that_outlives_the_batch_is_reported() -> None:
    """A start that is out when the batch is gone is not cut off, and its outcome is emitted to hooks."""
    async with rig(sending=4, grace=0.0) as r:
        r.client.faults = {"1": StartUnknown("no whole reply"), "2": BadRequest("no such tea", status=400)}
        reader = await _out(r)
        reader.cancel()
        await asyncio.wait([reader])
        await r.clock.advance(7)
        assert r.client.release is not None
        r.client.release.set()
        await settle()
        assert r.client.cancelled == []
        abandoned = [event for event in r.events if isinstance(event, StartAbandoned)]
        assert [event.run and event.run.ref for event in abandoned] == [ref_of("0"), None, None, ref_of("3")]
        assert [type(event.error) for event in abandoned] == [
            type(None),
            StartUnknown,
            BadRequest,
            type(None),
        ]
        assert {(r.clock.utcnow() - event.sent_at).total_seconds() for event in abandoned} == {7.0}
        assert set(r.notebook.states.values()) == {RowState.SENDING, RowState.PLANNED}


async def test_rows_not_sent_yet_are_given_back() -> None:
    """A row whose SENDING is recorded after somebody left is not sent, and is planned again."""
    async with rig(sending=4) as r:
        release = r.notebook.release = asyncio.Event()
        reader = await r.begin(rows(50))
        reader.cancel()
        await settle()
        assert not reader.done()
        release.set()
        await settle()
        assert reader.cancelled()
        assert r.client.started == []
        assert set(r.notebook.states.values()) == {RowState.PLANNED}
        assert [log for log in r.notebook.log.values() if log] == [[RowState.SENDING, RowState.PLANNED]] * 4


async def test_stop_ends_the_iteration_once_starts_are_recorded() -> None:
    """`stop` starts nothing more, and the iteration ends by itself when all starts are recorded."""
    async with rig(sending=4) as r:
        await _out(r)
        r.batch.stop()
        await r.clock.advance(1000)
        assert not r.is_over
        assert r.batch.statistics().is_stopping
        assert r.client.release is not None
        r.client.release.set()
        await settle()
        assert (r.is_over, r.error, r.outcomes) == (True, None, [])
        assert Counter(r.notebook.states.values()) == {RowState.STARTED: 4, RowState.PLANNED: 46}
        assert r.pool.statistics().polling.runs == 0


async def test_numbers_after_a_stop() -> None:
    """What is in flight after a stop are the runs that go on: rows that were given back do not count."""
    async with rig(sending=4, in_flight=8) as r:
        await r.begin(rows(8))
        r.batch.stop()
        await settle()
        assert (r.is_over, r.batch.statistics().in_flight) == (True, 8)
    async with rig(sending=4) as r:
        release = r.notebook.release = asyncio.Event()
        await r.begin(rows(8))
        assert r.batch.statistics().in_flight == 4
        r.batch.stop()
        release.set()
        await settle()
        assert (r.is_over, r.batch.statistics().in_flight) == (True, 0)


async def test_second_stop_may_be_shorter() -> None:
    """A second stop may be immediate; starts in flight stay SENDING."""
    async with rig(sending=4, grace=0.0) as r:
        await _out(r)
        r.batch.stop()
        await settle()
        r.batch.stop(grace=2.0)
        await r.clock.advance(1.0)
        assert not r.is_over
        r.batch.stop(grace=0)
        await r.clock.advance(0)
        assert r.is_over
        assert Counter(r.notebook.states.values())[RowState.SENDING] == 4


async def test_start_that_comes_back_late_is_recorded() -> None:
    """A start whose reply comes after the grace, while the reader is busy elsewhere, is recorded all the same."""
    async with rig(sending=1) as r, aclosing(r.batch.run([fault(), *rows(3)])) as outcomes:
        release = r.client.release = asyncio.Event()
        assert await anext(outcomes)
        await settle()
        r.batch.stop(grace=0)
        await r.clock.advance(0)
        assert r.notebook.log["0"] == [RowState.SENDING]
        release.set()
        await settle()
        assert r.notebook.log["0"] == [RowState.SENDING, RowState.STARTED]
        assert r.pool.statistics().polling.runs == 0
        assert await anext(outcomes, None) is None


async def test_stop_forgets_what_was_to_come() -> None:
    """A row that waits for the rate limiter, and deadlines of runs, leave no timer behind."""
    async with rig(starts_per_second=0.1, timeout=500) as r:
        await r.begin(rows(3))
        assert len(r.client.started) == 1
        r.batch.stop()
        await settle()
        assert r.is_over
    assert r.clock.timers == 0


async def test_stop_gives_ends_that_were_seen() -> None:
    """Ends that are being recorded when `stop` is called are reported before the iteration ends."""
    async with rig() as r:
        await r.begin(rows(5))
        r.notebook.release = asyncio.Event()
        await r.clock.advance(40)
        r.batch.stop()
        await settle()
        assert not r.is_over
        r.notebook.release.set()
        await settle()
        assert r.is_over
        assert r.states == dict.fromkeys("01234", RowState.COMPLETED)


async def test_stop_of_an_input_that_waits() -> None:
    """An input that would take its time is not waited for."""
    forever = asyncio.Event()

    async def hold() -> object:
        await forever.wait()
        return None

    class _Slow:
        def __aiter__(self) -> "_Slow":
            return self

        async def __anext__(self) -> object:
            return await hold()

    async with rig() as r:
        await r.begin(_Slow())
        assert not r.is_over
        r.batch.stop()
        await settle()
        assert (r.is_over, r.error) == (True, None)


async def test_stop_where_nothing_runs() -> None:
    """`stop` before and after a run is harmless."""
    async with rig() as r:
        r.batch.stop()
        await r.finish(rows(2))
        r.batch.stop()
        assert len(r.outcomes) == 2


async def test_stopped_batch_goes_on_when_run_again() -> None:
    """What was left by `stop` is followed and started by the next run, each row once."""
    book = Notebook()
    async with rig(book, in_flight=10) as r:
        await r.begin(rows(30))
        r.batch.stop()
        await settle()
        begun = dict.fromkeys(r.client.started)
        assert len(begun) == 10
    async with rig(book.reopened()) as r:
        for key in begun:
            r.client.begin(key)
        outcomes = await r.finish(rows(30))
        assert len(outcomes) == 30
        assert not set(begun) & set(r.client.started)
        assert len(r.client.started) == 20


@pytest.mark.parametrize("at_once", [True, False])
async def test_tasks_cancelled_by_a_stranger(at_once: bool) -> None:
    """Cancelling all tasks of the loop ends the batch; no row is lost."""
    async with rig(sending=2) as r:
        r.client.release = asyncio.Event()
        if at_once:
            r.client.release.set()
        await r.begin(rows(10))
        work = ("_make_start", "_save_all", "_claim", "RowReader.read")
        strangers = [task for task in _tasks() if any(f"{name}()" in repr(task) for name in work)]
        assert strangers or at_once
        for task in strangers:
            task.cancel()
        await r.clock.advance(60)
        assert r.is_over
        states = Counter(r.notebook.states.values())
        assert states[RowState.SENDING] == len(r.client.cancelled)


async def test_pool_closed_under_a_batch() -> None:
    """A pool that closes while rows wait for the rate limiter ends the batch with `PoolClosed`; none is sent."""
    async with rig(sending=4, starts_per_second=0.01) as r:
        await r.begin(rows(4))
        await r.clock.advance(150)
        assert len(r.client.started) == 2
        await r.pool.aclose()
        await r.clock.advance(60)
        assert r.is_over
        assert isinstance(r.error, PoolClosed)
        states = Counter(r.notebook.states.values())
        assert states[RowState.SENDING] == states[RowState.UNKNOWN] == 0
