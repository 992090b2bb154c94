"""Many runs of one list: polled together, and by themselves where the list leaves them out."""

import asyncio
import gc
import itertools
from collections.abc import Callable, Coroutine, Mapping, Sequence
from typing import Any, Self

import pytest
from attrs import define
from hypothesis import given, settings
from hypothesis import strategies as st

from aioagents import (
    AgentsError,
    BadRequest,
    DecodeError,
    NotFound,
    NotSent,
    PoolClosed,
    PoolLimits,
    ReplyLost,
    Run,
    RunHandle,
    RunRef,
    RunState,
    ServerError,
    SessionPool,
    Steady,
    Throttled,
)
from aioagents.observe import Event, PollFailed
from aioagents.polling import Cadence, ListReader
from aioagents.polling.runs import Group
from tests.fakes import FakeClock, settle

GAP = 10.0


class _Vendor:
    """A vendor whose runs are listed by their first letter; runs of `z` stand in no list."""

    def __init__(self, clock: FakeClock) -> None:
        self._clock = clock
        self.ends: dict[str, float] = {}
        self.hidden: set[str] = set()
        self.lists_ended = True  # whether lists have runs that are over
        self.singles: list[str] = []
        self.lists: list[tuple[str, list[str]]] = []
        self.fault: Exception | None = None
        self.single_fault: Exception | None = None
        self.until: asyncio.Event | None = None

    def _run(self, ref: RunRef) -> Run:
        state = RunState.COMPLETED if self.ends.get(ref.id, 1e9) <= self._clock.now() else RunState.RUNNING
        return Run(ref=ref, state=state, status=state.value, seen_at=self._clock.utcnow())

    async def poll(self, ref: RunRef, *, age: float | None, last: Run | None) -> Run:
        self.singles.append(ref.id)
        if self.until is not None:
            await self.until.wait()
        if self.single_fault is not None:
            raise self.single_fault
        if ref.id.startswith("x"):
            raise NotFound("no such run")
        return self._run(ref)

    async def read(self, ref: RunRef, *, age: float | None, last: Run | None) -> Run:
        return await self.poll(ref, age=age, last=last)

    def may_retry(self) -> bool:
        return False

    page_size = 1000

    def group_of(self, run: Run) -> str | None:
        return None if run.ref.id.startswith("z") else run.ref.id[0]

    async def poll_many(self, group: str, runs: Sequence[Run]) -> Mapping[RunRef, Run]:
        self.lists.append((group, [run.id for run in runs]))
        if self.until is not None:
            await self.until.wait()
        if self.fault is not None:
            raise self.fault
        found = [self._run(run.ref) for run in runs if run.id not in self.hidden]
        return {run.ref: run for run in found if self.lists_ended or not run.state.is_terminal}


class _Rig:
    """A pool with one source, on a clock moved by hand."""

    def __init__(
        self, *, chance: Callable[[], float] = lambda: 0.5, cadence: Cadence | None = None, **options: Any
    ) -> None:
        self.clock = FakeClock()
        self.vendor = _Vendor(self.clock)
        self.events: list[Event] = []
        self.tasks: list[asyncio.Task[Run]] = []
        self.pool = SessionPool(
            clock=self.clock,
            cadence=cadence or Steady(GAP),
            chance=chance,
            hooks=[self.events.append],
            **options,
        )
        self.source = self.pool.source("v", self.vendor, "v")

    async def __aenter__(self) -> Self:
        await self.pool.__aenter__()
        return self

    async def __aexit__(self, *_: object) -> None:
        for task in self.tasks:
            task.cancel()
        await self.pool.aclose()
        await asyncio.gather(*self.tasks, return_exceptions=True)

    def handle(self, name: str, *, is_seen: bool = True) -> RunHandle:
        ref = RunRef("v", "", name)
        seen = Run(ref=ref, state=RunState.RUNNING, status="running", seen_at=self.clock.utcnow())
        return RunHandle(self.source, ref, accepted=seen if is_seen else None)

    async def wait(self, *names: str, **more: Any) -> list["asyncio.Task[Run]"]:
        tasks = [asyncio.create_task(self.handle(name, **more).wait()) for name in names]
        self.tasks += tasks
        await settle()
        return tasks


def _spread() -> Callable[[], float]:
    """Return a source of chances that are spread evenly."""
    numbers = itertools.count()
    return lambda: (next(numbers) * 0.618034) % 1.0


def names(letter: str, count: int) -> list[str]:
    """Return the ids of runs of one list."""
    return [f"{letter}{index:04}" for index in range(count)]


def test_reader_with_lists_is_known() -> None:
    """A reader that can list runs is known by its methods."""
    assert isinstance(_Vendor(FakeClock()), ListReader)


async def test_one_list_for_all_that_are_due() -> None:
    """Runs of one list that fall due together cost one list and no single poll."""
    async with _Rig() as rig:
        tasks = await rig.wait(*names("a", 300), *names("b", 2), "c0")
        await rig.clock.advance(GAP)
        assert sorted((group, len(ids)) for group, ids in rig.vendor.lists) == [("a", 300), ("b", 2)]
        assert rig.vendor.singles == ["c0"]
        rig.vendor.ends = dict.fromkeys((task_name for task_name in names("a", 300)), 0.0)
        await rig.clock.advance(GAP)
        assert [task.done() for task in tasks].count(True) == 300
        assert rig.pool.statistics().polling.polls == 6


async def test_those_not_due_come_along() -> None:
    """A list also reads runs whose poll was not due yet, and their next poll is planned from there."""
    async with _Rig() as rig:
        await rig.wait("a0")
        await rig.clock.advance(6.0)
        await rig.wait("a1")
        await rig.clock.advance(4.0)
        assert rig.vendor.lists == [("a", ["a0", "a1"])]
        await rig.clock.advance(9.9)
        assert len(rig.vendor.lists) == 1
        await rig.clock.advance(0.2)
        assert len(rig.vendor.lists) == 2
        assert rig.vendor.singles == []


async def test_a_thousand_runs_cost_few_lists() -> None:
    """A thousand waiting runs with jitter cost at most three lists in each of the cadence's gaps."""
    async with _Rig(chance=_spread()) as rig:
        await rig.wait(*names("a", 1000))
        await rig.clock.advance(10 * GAP)
        assert 9 <= len(rig.vendor.lists) <= 30
        assert rig.vendor.singles == []


async def test_more_than_a_thousand_are_asked_in_parts() -> None:
    """No list is asked for more than a thousand runs."""
    async with _Rig() as rig:
        await rig.wait(*names("a", 2500))
        await rig.clock.advance(GAP)
        assert sorted(len(ids) for _, ids in rig.vendor.lists) == [500, 1000, 1000]


async def test_what_the_list_leaves_out_is_polled_alone() -> None:
    """A due run that the list leaves out is read by itself at once."""
    async with _Rig() as rig:
        rig.vendor.hidden = {"a0", "a2"}
        tasks = await rig.wait(*names("a", 0), "a0", "a1", "a2", "a3")
        rig.vendor.ends = {"a2": 0.0}
        await rig.clock.advance(GAP)
        assert tasks[2].done()
        assert sorted(rig.vendor.singles) == ["a0", "a2"]


@pytest.mark.parametrize(("count", "seconds"), [(80, 80.0), (150, 120.0)])
async def test_runs_that_end_one_after_another_share_lists(count: int, seconds: float) -> None:
    """A run that its list leaves out when it is over costs one poll of its own, and no list."""
    async with _Rig(chance=_spread()) as rig:
        ids, began_at = names("a", count), rig.clock.now()
        rig.vendor.lists_ended = False
        rig.vendor.ends = {name: began_at + seconds * n / count for n, name in enumerate(ids, 1)}
        tasks = await rig.wait(*ids)
        await rig.clock.advance(seconds + 1.1 * GAP)
        assert all(task.result().state is RunState.COMPLETED for task in tasks)
        assert len(rig.vendor.lists) <= 15
        assert len(rig.vendor.singles) == count


async def test_many_runs_that_end_together_share_lists() -> None:
    """A thousand runs of which most end at once cost few lists in each gap, and one poll for each that ended."""
    async with _Rig(chance=_spread()) as rig:
        ids = names("a", 1000)
        rig.vendor.lists_ended = False
        tasks = await rig.wait(*ids)
        await rig.clock.advance(2.5 * GAP)
        rig.vendor.ends = dict.fromkeys(ids[:600], rig.clock.now())
        await rig.clock.advance(1.1 * GAP)
        assert [task.done() for task in tasks].count(True) == 600
        await rig.clock.advance(2 * GAP)
        assert len(rig.vendor.lists) <= 3 * 5.6
        assert sorted(rig.vendor.singles) == ids[:600]


async def test_running_runs_that_a_list_leaves_out_are_polled_once_in_a_gap() -> None:
    """Runs that lists never have, though they go on, cost one poll each in a gap, and no list of their own."""
    async with _Rig(chance=_spread()) as rig:
        ids = names("a", 1000)
        rig.vendor.hidden = set(ids[:600])
        await rig.wait(*ids)
        await rig.clock.advance(5 * GAP)
        assert len(rig.vendor.lists) <= 3 * 5
        assert set(rig.vendor.singles) == rig.vendor.hidden
        assert max(map(rig.vendor.singles.count, ids[::50])) <= 5 / 0.9


async def test_a_list_that_has_few_of_its_runs_is_asked_no_more() -> None:
    """Once a list had less than a quarter of its runs, these are read one by one; newer ones are listed."""
    async with _Rig() as rig:
        rig.vendor.hidden = set(names("a", 5))
        await rig.wait(*names("a", 6))
        await rig.clock.advance(2 * GAP)
        assert len(rig.vendor.lists) == 1
        assert len(rig.vendor.singles) == 5 + 6
        await rig.wait("a7", "a8")
        await rig.clock.advance(GAP)
        assert rig.vendor.lists[1:] == [("a", ["a7", "a8"])]


async def test_unseen_runs_are_polled_alone_first() -> None:
    """A run that was never seen is in no group until its first poll showed which one it is in."""
    async with _Rig() as rig:
        await rig.wait("a0", "a1", is_seen=False)
        await rig.clock.advance(GAP)
        assert (sorted(rig.vendor.singles), rig.vendor.lists) == (["a0", "a1"], [])
        await rig.clock.advance(GAP)
        assert rig.vendor.lists == [("a", ["a0", "a1"])]


async def test_runs_of_no_list_stay_alone() -> None:
    """What the reader puts in no group is read by itself for ever."""
    async with _Rig() as rig:
        await rig.wait("z0", "z1")
        await rig.clock.advance(2 * GAP)
        assert (len(rig.vendor.singles), rig.vendor.lists) == (4, [])


async def test_a_passing_fault_puts_off_those_that_were_due() -> None:
    """When a list fails for a passing reason, each due run has one failed poll, and the others keep their time."""
    async with _Rig() as rig:
        await rig.wait("a0", "a1")
        await rig.clock.advance(1.0)
        tasks = await rig.wait("a2")
        rig.vendor.fault = ServerError("away")
        await rig.clock.advance(9.0)
        failed = [event.ref.id for event in rig.events if isinstance(event, PollFailed)]
        assert failed == ["a0", "a1"]
        rig.vendor.fault = None
        rig.vendor.ends = {"a2": 0.0}
        await rig.clock.advance(1.0)
        assert tasks[0].done()
        assert rig.vendor.singles == []


async def test_a_list_that_never_works_keeps_no_wait_from_its_end() -> None:
    """Runs whose list failed are read by themselves the next time, and listed again after that."""
    async with _Rig() as rig:
        tasks = await rig.wait("a0", "a1", "a2")
        rig.vendor.fault = ServerError("query failed")
        await rig.clock.advance(GAP)
        assert (len(rig.vendor.lists), rig.vendor.singles) == (1, [])
        await rig.clock.advance(GAP)
        assert (len(rig.vendor.lists), sorted(rig.vendor.singles)) == (1, ["a0", "a1", "a2"])
        rig.vendor.ends = dict.fromkeys(("a0", "a1", "a2"), 0.0)
        await rig.clock.advance(2 * GAP)
        assert len(rig.vendor.lists) == 2
        assert all(task.result().state is RunState.COMPLETED for task in tasks)
        assert dict(rig.source.source.runs) == {}


async def test_those_read_alone_hold_up_no_list_and_are_held_up_by_none() -> None:
    """While a list of the others hangs, those whose list failed before are read when they are due."""
    async with _Rig() as rig:
        await rig.wait("a0", "a1")
        rig.vendor.fault = ReplyLost("too slow")
        await rig.clock.advance(6.0)
        await rig.wait("a2")
        await rig.clock.advance(4.0)
        rig.vendor.until = asyncio.Event()
        await rig.clock.advance(6.0)
        assert rig.vendor.lists == [("a", ["a0", "a1", "a2"]), ("a", ["a2"])]
        await rig.clock.advance(4.0)
        assert sorted(rig.vendor.singles) == ["a0", "a1"]
        rig.vendor.fault = None
        rig.vendor.until.set()
        await settle()
        await rig.clock.advance(GAP)
        assert sorted(rig.vendor.lists[-1][1]) == ["a0", "a1", "a2"]


@pytest.mark.parametrize("fault", [NotSent("refused"), Throttled("slow")])
async def test_faults_of_no_list_are_answered_by_lists(fault: AgentsError) -> None:
    """A list that was not sent, or came too soon, would fare no better in parts: it is asked for again as it is."""
    async with _Rig() as rig:
        await rig.wait("a0", "a1")
        rig.vendor.fault = fault
        await rig.clock.advance(3 * GAP)
        assert (len(rig.vendor.lists), rig.vendor.singles) == (3, [])


async def test_retry_after_of_a_list_is_heeded() -> None:
    """A throttled list is not asked again before the time that the vendor named."""
    async with _Rig() as rig:
        await rig.wait("a0", "a1")
        rig.vendor.fault = Throttled("slow", retry_after=55.0)
        await rig.clock.advance(GAP)
        rig.vendor.fault = None
        await rig.clock.advance(54.0)
        assert len(rig.vendor.lists) == 1
        await rig.clock.advance(2.0)
        assert len(rig.vendor.lists) == 2


async def test_a_list_that_is_refused_is_replaced_by_single_polls() -> None:
    """A list that the vendor refuses for good, or that cannot be read, ends no wait: each run is read alone."""
    for fault in (BadRequest("no lists here"), DecodeError("odd")):
        async with _Rig() as rig:
            tasks = await rig.wait("a0", "a1", "a2")
            rig.vendor.fault = fault
            rig.vendor.ends = dict.fromkeys(("a0", "a1", "a2"), 0.0)
            await rig.clock.advance(GAP)
            assert all(task.done() for task in tasks)
            assert (len(rig.vendor.lists), len(rig.vendor.singles)) == (1, 3)


async def test_a_fault_of_ours_ends_one_wait_and_no_poll_worker() -> None:
    """A reader that breaks ends the wait it was asked for; the others are read by themselves."""
    async with _Rig() as rig:
        tasks = await rig.wait("a0", "a1")
        rig.vendor.fault = ZeroDivisionError()
        rig.vendor.ends = {"a1": 0.0}
        await rig.clock.advance(GAP)
        assert isinstance(tasks[0].exception(), AgentsError)
        assert tasks[1].result().state is RunState.COMPLETED
        assert rig.pool.statistics().polling.polling == 0


async def test_leaving_during_a_list() -> None:
    """A wait that is cancelled while its list is under way is forgotten, and the others go on."""
    async with _Rig() as rig:
        tasks = await rig.wait("a0", "a1", "a2")
        rig.vendor.until = asyncio.Event()
        await rig.clock.advance(GAP)
        tasks[0].cancel()
        tasks[1].cancel()
        await settle()
        rig.vendor.until.set()
        rig.vendor.ends = {"a2": 0.0}
        await settle()
        assert tasks[2].result().state is RunState.COMPLETED
        assert rig.pool.statistics().polling.runs == 0


async def test_no_run_is_polled_twice_at_once() -> None:
    """While a list is under way, its runs are neither listed again nor read, even when they are woken."""
    async with _Rig() as rig:
        handles = [rig.handle("a0"), rig.handle("a1")]
        tasks = [asyncio.create_task(handle.wait()) for handle in handles]
        await settle()
        rig.vendor.until = asyncio.Event()
        await rig.clock.advance(GAP)
        for handle in handles:
            handle.wake()
        await rig.clock.advance(3 * GAP)
        assert (len(rig.vendor.lists), rig.vendor.singles) == (1, [])
        rig.vendor.until.set()
        await settle()
        await rig.clock.advance(0.0)
        assert len(rig.vendor.lists) >= 2  # the news came while the answer was on its way
        for task in tasks:
            task.cancel()


async def test_waking_one_of_a_group_polls_all_of_it() -> None:
    """News of one run costs one list, after which all of its group were seen."""
    async with _Rig() as rig:
        await rig.wait("a1", "a2")
        woken = rig.handle("a0")
        task = asyncio.create_task(woken.wait())
        await settle()
        woken.wake()
        await rig.clock.advance(0.0)
        assert [(group, sorted(ids)) for group, ids in rig.vendor.lists] == [("a", ["a0", "a1", "a2"])]
        await rig.clock.advance(9.0)
        assert len(rig.vendor.lists) == 1
        task.cancel()


async def test_closing_the_pool_while_a_list_is_under_way() -> None:
    """Closing ends waits whose list is under way, and leaves nothing behind."""
    async with _Rig() as rig:
        tasks = await rig.wait("a0", "a1")
        rig.vendor.until = asyncio.Event()
        await rig.clock.advance(GAP)
        await rig.pool.aclose()
        await settle()
        assert all(isinstance(task.exception(), PoolClosed) for task in tasks)


@define
class _Failing:
    """A cadence that fails from its n-th gap on."""

    good: int

    def gap(self, elapsed: float, *, key: str = "", chance: float = 0.5) -> float:
        self.good -= 1
        if self.good < 0:
            raise LookupError("mine")
        return GAP


@pytest.mark.parametrize("fault", [None, ServerError("away")])
async def test_a_cadence_that_fails_ends_its_own_wait_alone(fault: Exception | None) -> None:
    """Where the next poll cannot be planned, that wait ends with an error; no poll worker does, and no other wait."""
    async with _Rig(cadence=_Failing(good=4), limits=PoolLimits(pollers=1)) as rig:
        tasks = await rig.wait("a0", "a1", "a2")
        rig.vendor.fault = fault
        await rig.clock.advance(GAP)
        ended = [task for task in tasks if task.done()]
        assert [type(task.exception()) for task in ended] == [AgentsError, AgentsError]
        rig.vendor.fault = None
        rig.vendor.ends = dict.fromkeys(("a0", "a1", "a2"), 0.0)
        await rig.clock.advance(GAP)
        assert [type(task.exception()) for task in tasks].count(type(None)) == 1
        assert (rig.pool.statistics().polling.polling, len(rig.source.source.runs)) == (0, 0)


async def test_a_cadence_that_fails_loses_no_poll_worker_of_single_runs() -> None:
    """A single poll that failed, and whose next one cannot be planned, ends its wait and no poll worker."""
    async with _Rig(cadence=_Failing(good=2), limits=PoolLimits(pollers=1)) as rig:
        rig.vendor.single_fault = ServerError("away")
        first, second = await rig.wait("z0", "z1")
        await rig.clock.advance(GAP)
        assert all(isinstance(task.exception(), AgentsError) for task in (first, second))
        assert rig.pool.statistics().polling.polling == 0


async def test_a_wait_after_a_broken_reader_is_polled_again() -> None:
    """A run that is waited for once more after a fault of its reader's is polled as before."""
    async with _Rig() as rig:
        handles = [rig.handle("a0"), rig.handle("a1")]
        rig.vendor.fault = ZeroDivisionError()
        tasks = [asyncio.create_task(handle.wait()) for handle in handles]
        await rig.clock.advance(GAP)
        assert isinstance(tasks[0].exception(), AgentsError)
        rig.vendor.fault = None
        rig.vendor.ends = {"a0": 0.0}
        again = asyncio.create_task(handles[0].wait())
        await rig.clock.advance(GAP)
        assert again.result().state is RunState.COMPLETED
        tasks[1].cancel()


@pytest.mark.parametrize("is_direct", [False, True])
async def test_who_left_while_the_list_was_under_way_is_read_no_more(is_direct: bool) -> None:
    """A due run that the list leaves out is not read by itself when nobody waits for it any more."""
    async with _Rig() as rig:
        handles = [rig.handle(name) for name in ("a0", "a1", "a2")]
        tasks = [asyncio.create_task(_follow(handle, is_direct=is_direct)) for handle in handles]
        await settle()
        rig.vendor.hidden = {"a0", "a1"}
        rig.vendor.until = asyncio.Event()
        await rig.clock.advance(GAP)
        for task in tasks[:2]:
            task.cancel()
        await settle()
        rig.vendor.until.set()
        await settle()
        assert (len(rig.vendor.lists), rig.vendor.singles) == (1, [])
        assert [ref.id for ref in rig.source.source.runs] == ["a2"]
        tasks[2].cancel()


def _follow(handle: RunHandle, *, is_direct: bool) -> "Coroutine[Any, Any, Run]":
    async def follow() -> Run:
        return await handle

    return follow() if is_direct else handle.wait()


@pytest.mark.parametrize("letter", ["a", "z"])
async def test_who_was_cancelled_during_a_poll_is_forgotten(letter: str) -> None:
    """A handle that is awaited directly and cancelled during its poll leaves nothing behind."""
    async with _Rig() as rig:
        tasks = [asyncio.create_task(_follow(rig.handle(name), is_direct=True)) for name in names(letter, 3)]
        await settle()
        rig.vendor.until = asyncio.Event()
        await rig.clock.advance(GAP)
        for task in tasks:
            task.cancel()
        await settle()
        rig.vendor.until.set()
        await settle()
        assert dict(rig.source.source.runs) == {}
        await rig.clock.advance(10 * GAP)
        assert len(rig.vendor.lists) + len(rig.vendor.singles) == (1 if letter == "a" else 3)


async def test_nobody_leaves_groups_behind() -> None:
    """However many groups there were, none is kept whose runs are over, have failed or are not waited for."""
    async with _Rig(limits=PoolLimits(pollers=1)) as rig:
        for generation in range(5):
            ended, left = f"q{generation}e", f"q{generation}l"
            rig.vendor.ends[ended] = rig.clock.now()
            tasks = await rig.wait(ended, left, "x0")
            await rig.clock.advance(GAP)
            tasks[1].cancel()
            await settle()
        assert len(rig.vendor.lists) == 5
        assert dict(rig.source.source.runs) == {}
        gc.collect()
        kept = [each for each in gc.get_objects() if isinstance(each, Group) and each.name == "q"]
        assert len(kept) <= 1  # the only poll worker remembers what it polled last


async def test_huge_groups_starve_no_other_account() -> None:
    """While one account's lists all hang, another account's runs are polled when they are due."""
    async with _Rig(limits=PoolLimits(pollers=4)) as rig:
        other = _Vendor(rig.clock)
        source = rig.pool.source("w", other, "w")
        await rig.wait(*names("a", 1500), *names("b", 500), *names("c", 500))
        rig.vendor.until = asyncio.Event()
        await rig.clock.advance(GAP)
        ref = RunRef("w", "", "z9")
        other.ends = {"z9": 0.0}
        task = asyncio.create_task(RunHandle(source, ref).wait())
        await rig.clock.advance(GAP)
        assert task.result().state is RunState.COMPLETED
        assert len(rig.vendor.lists) == 2  # half of the poll workers


async def test_a_list_costs_no_more_than_its_runs() -> None:
    """News of many runs of one group cost one list, however many there are."""
    async with _Rig(chance=_spread()) as rig:
        handles = [rig.handle(name) for name in names("a", 3000)]
        waits = [handle.__await__() for handle in handles]
        for wait in waits:
            next(wait)
        await rig.clock.advance(GAP)
        before = len(rig.vendor.lists)
        for handle in handles[::97]:
            handle.wake()
        await rig.clock.advance(0.0)
        assert len(rig.vendor.lists) - before == 3  # one for each group, however many of it were woken
        assert rig.vendor.singles == []


@settings(max_examples=40, deadline=None)
@given(st.data())
async def test_every_run_is_found_out(data: st.DataObject) -> None:
    """Whatever is hidden, fails or joins late, each run's end is seen within two gaps."""
    async with _Rig(chance=lambda: data.draw(st.floats(0, 0.99))) as rig:
        ids = [
            f"{data.draw(st.sampled_from('abz'))}{index}" for index in range(data.draw(st.integers(1, 12)))
        ]
        rig.vendor.hidden = set(data.draw(st.lists(st.sampled_from(ids), unique=True)))
        tasks = []
        for name in ids:
            tasks += await rig.wait(name, is_seen=data.draw(st.booleans()))
            await rig.clock.advance(data.draw(st.floats(0, 5)))
            rig.vendor.fault = data.draw(
                st.sampled_from([None, None, ServerError("x"), BadRequest("x"), DecodeError("x")])
            )
        rig.vendor.fault = None
        now = rig.clock.now()
        rig.vendor.ends = dict.fromkeys(ids, now)
        await rig.clock.advance(2.2 * GAP)
        assert all(task.done() and task.result().state is RunState.COMPLETED for task in tasks)
        assert rig.pool.statistics().polling.runs == 0
