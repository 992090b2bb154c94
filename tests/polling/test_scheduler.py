"""What ends a wait and what does not, who polls, and in whose context."""

import asyncio
import gc
import math
from collections import Counter
from collections.abc import Coroutine, Mapping
from contextvars import Context, ContextVar
from datetime import UTC, datetime
from typing import Any

import pytest

from aioagents import (
    AgentsError,
    AuthenticationError,
    DecodeError,
    NotFound,
    NotSent,
    PermissionDenied,
    PoolClosed,
    PoolLimits,
    ReplyLost,
    RetryPolicy,
    RunHandle,
    RunState,
    SessionPool,
    Steady,
    WaitTimeout,
)
from aioagents.contract.fake import RunPlan
from aioagents.model import Reply, Request, Run, RunRef
from aioagents.observe import Dispatcher, Event, PollFailed, RequestDone, RunChanged
from aioagents.polling import Scheduler
from aioagents.providers.leena.fake import AopRules, FakeLeena
from tests.fakes import EPOCH, FakeClock, settle
from tests.polling.rig import TRIAGE, Rig, begin, reply, rig, script, until_end

_LONG: tuple[str, float] = ("in_progress", 1e6)
_PASSING: Mapping[str, Reply | Exception] = {
    "reset": ReplyLost("reset"),
    "no connection": NotSent("refused"),
    "500": reply(500),
    "502": reply(502, b"<html>"),
    "503": reply(503, b""),
    "504": reply(504),
    "599": reply(599),
    "429": reply(429),
    "429 with seconds": reply(429, retry_after="3"),
    "429 with a date": reply(429, retry_after="Mon, 05 Jan 2026 09:00:15 GMT"),
    "503 with seconds": reply(503, retry_after="3"),
}


# Faults that pass


@pytest.mark.parametrize("fault", _PASSING)
async def test_passing_faults_end_no_wait(fault: str) -> None:
    """Faults that pass, twenty in a row, end no wait; the next answer is taken as if nothing had been."""
    async with rig(("in_progress", 25.0), "completed") as r:
        run = await r.start()
        waiter = await begin(until_end(run))
        r.faults += [_PASSING[fault]] * 20
        await r.clock.advance(1000)
        assert (await waiter).state is RunState.COMPLETED
        failed = r.events_of(PollFailed)
        assert [event.failures for event in failed] == list(range(1, 21))
        assert all(event.ref == run.ref for event in failed)
        assert r.pool.statistics().polling.polls_failed == 20


async def test_passing_fault_is_tried_again_sooner_than_the_cadence() -> None:
    """A lost reply is asked for again after a backoff, and never later than the next poll was due."""
    async with rig(_LONG, cadence=Steady(100)) as r:
        waiter = await begin(until_end(await r.start()))
        r.faults += [reply(500)] * 3
        await r.clock.advance(110)
        # Half of 0.5, 1 and 2 seconds, since chance is even.
        assert r.polls == [100, 100.25, 100.75, 101.75]
        waiter.cancel()


async def test_fast_cadence_is_no_slower_for_faults() -> None:
    """Where the cadence is faster than the backoff, the cadence counts."""
    async with rig(_LONG, cadence=Steady(0.1)) as r:
        waiter = await begin(until_end(await r.start()))
        r.faults += [reply(500)] * 20
        await r.clock.advance(5)
        assert len(r.polls) >= 49
        waiter.cancel()


@pytest.mark.parametrize("status", [429, 503])
async def test_retry_after_beats_the_cadence(status: int) -> None:
    """The server's wish for a pause is met, though the cadence would poll sooner."""
    async with rig(_LONG) as r:
        waiter = await begin(until_end(await r.start()))
        r.faults.append(reply(status, retry_after="45"))
        await r.clock.advance(54)
        assert r.polls == [10]
        await r.clock.advance(2)
        assert r.polls == [10, 55]
        waiter.cancel()


async def test_outage_does_not_become_a_storm() -> None:
    """Once the account's retries are spent, failing polls come no more often than the cadence has them."""
    async with rig(_LONG, cadence=Steady(10), retry=RetryPolicy(reserve=5, share=0)) as r:
        waiters = [await begin(until_end(await r.start())) for _ in range(50)]
        r.faults += [reply(500)] * 10_000
        await r.clock.advance(11)
        assert len(r.polls) <= 50 + 5
        await r.clock.advance(50)
        assert len(r.polls) <= 6 * 50 + 10
        assert not any(waiter.done() for waiter in waiters)
        for waiter in waiters:
            waiter.cancel()


async def test_faults_end_at_the_deadline_alone() -> None:
    """A wait through nothing but faults ends with its timeout."""
    async with rig(_LONG) as r:
        waiter = await begin((await r.start()).wait(timeout=60))
        r.faults += [reply(500)] * 10_000
        await r.clock.advance(60)
        assert isinstance(waiter.exception(), WaitTimeout)
        assert r.pool.statistics().polling.runs == 0


async def test_token_endpoint_down_ends_no_wait() -> None:
    """While no token can be had for a passing reason, waits go on; afterwards so do the polls."""
    async with rig(("in_progress", 300.0), "completed") as r:
        run = await r.start()
        r.fake.revoke_all()
        is_down = True
        ask = r.send.before
        assert ask is not None

        def down(request: Request) -> Reply | None:
            return reply(503) if is_down and request.call == "token" else ask(request)

        r.send.before = down
        waiter = await begin(until_end(run))
        await r.clock.advance(290)
        assert not waiter.done()
        assert len(r.send.calls("token")) > 5
        is_down = False
        await r.clock.advance(60)
        assert (await waiter).state is RunState.COMPLETED


async def test_garbled_token_reply_ends_no_wait() -> None:
    """One unreadable answer of the token endpoint is not taken for many of the run's."""
    async with rig(("in_progress", 100.0), "completed") as r:
        run = await r.start()
        r.fake.revoke_all()
        garbled = [reply(200, b"<html>")]
        ask = r.send.before
        assert ask is not None

        def garble(request: Request) -> Reply | None:
            return garbled.pop() if garbled and request.call == "token" else ask(request)

        r.send.before = garble
        waiter = await begin(until_end(run))
        await r.clock.advance(200)
        assert (await waiter).state is RunState.COMPLETED


async def test_token_expiry_is_no_fault() -> None:
    """A wait longer than a token's life goes through renewals without a failed poll."""
    fake = FakeLeena(RunPlan(scripts={TRIAGE: script(("in_progress", 9000.0), "completed")}))
    async with rig(fake=fake, cadence=Steady(60)) as r:
        waiter = await begin(until_end(await r.start()))
        await r.clock.advance(9100)
        assert (await waiter).state is RunState.COMPLETED
        assert r.events_of(PollFailed) == []
        assert len(r.send.calls("token")) == 3


async def test_revoked_token_costs_one_poll_more() -> None:
    """A 401 in the middle of a wait is answered with a new token, at once and once."""
    async with rig(("in_progress", 25.0), "completed") as r:
        waiter = await begin(until_end(await r.start()))
        await r.clock.advance(15)
        r.fake.revoke_all()
        await r.clock.advance(30)
        assert (await waiter).state is RunState.COMPLETED
        assert r.events_of(PollFailed) == []
        assert r.polls == [10, 20, 20, 30]


# Faults that do not pass


@pytest.mark.parametrize(
    ("status", "kind", "polls"),
    [(401, AuthenticationError, 7), (403, PermissionDenied, 1), (404, NotFound, 1)],
)
async def test_refusals_end_the_wait(status: int, kind: type[Exception], polls: int) -> None:
    """What asking again cannot cure ends all waits of the run, with the vendor's refusal and the last run.

    A 401 has to last for a minute, since the account was good before.
    """
    async with rig(_LONG) as r:
        run = await r.start()
        waiters = [await begin(until_end(run)), await begin(run.wait(until={RunState.PAUSED}))]
        await r.clock.advance(35)
        seen = run.last
        r.faults += [reply(status)] * 2 * polls
        await r.clock.advance(10 * polls - 6)
        assert not any(waiter.done() for waiter in waiters)
        await r.clock.advance(6)
        for waiter in waiters:
            with pytest.raises(kind) as caught:
                await waiter
            error: Any = caught.value
            assert (error.status, error.vendor, error.call) == (status, "leena", "aop.status")
            assert error.run is seen
            assert error.ref == run.ref
        assert waiters[0].exception() is not waiters[1].exception()
        assert len(r.polls) == 3 + polls * (1 + (status == 401))
        assert r.pool.statistics().polling.runs == 0


async def test_other_runs_go_on_after_a_refusal() -> None:
    """A refusal ends the waits of its own run alone."""
    async with rig() as r:
        lost = await begin(until_end(r.leena.item("0" * 24)))
        kept = await begin(until_end(await r.start()))
        await r.clock.advance(40)
        assert isinstance(lost.exception(), NotFound)
        assert (await kept).state is RunState.COMPLETED


async def test_fresh_run_may_not_be_found_yet() -> None:
    """For half a minute after our own start a 404 passes, also where a handle made of the id asked first."""
    scripts = {TRIAGE: script(("in_progress", 50.0), "completed")}
    fake = FakeLeena(RunPlan(scripts=scripts), aops=AopRules(hidden_for=25.0))
    async with rig(fake=fake, cadence=Steady(5)) as r:
        run = await r.start()
        waiter = await begin(until_end(run))
        await r.clock.advance(20)
        assert not waiter.done()
        assert r.events_of(PollFailed)
        await r.clock.advance(60)
        assert (await waiter).state is RunState.COMPLETED


async def test_fresh_run_followed_by_id_first() -> None:
    """That we started the run counts for all who wait for it."""
    scripts = {TRIAGE: script(("in_progress", 50.0), "completed")}
    fake = FakeLeena(RunPlan(scripts=scripts), aops=AopRules(hidden_for=25.0))
    async with rig(fake=fake, cadence=Steady(5)) as r:
        run = await r.start()
        by_id = await begin(until_end(r.leena.item(run.id)))
        ours = await begin(until_end(run))
        await r.clock.advance(60)
        assert (await ours) is (await by_id)


async def test_run_never_found_ends_the_wait() -> None:
    """Half a minute after our own start a 404 is final; a run of others' is not found at once."""
    fake = FakeLeena(aops=AopRules(hidden_for=1e6))
    async with rig(fake=fake, cadence=Steady(5)) as r:
        run = await r.start("any")
        ours, theirs = await begin(until_end(run)), await begin(until_end(r.leena.item("a" * 24)))
        await r.clock.advance(5)
        assert isinstance(theirs.exception(), NotFound)
        await r.clock.advance(24)
        assert not ours.done()
        await r.clock.advance(10)
        assert isinstance(ours.exception(), NotFound)


async def test_garbage_in_a_row_ends_the_wait() -> None:
    """Answers that cannot be read, as many as the policy tries, end a wait if there never was another answer."""
    async with rig(_LONG, retry=RetryPolicy(attempts=4)) as r:
        run = r.leena.item("f" * 24)
        waiter = await begin(until_end(run))
        r.faults += [
            reply(200, b"<html>"),
            reply(200, b"[]"),
            reply(200, b'{"status": 5}'),
            reply(200, b"{}"),
        ]
        await r.clock.advance(10)
        assert not waiter.done()
        await r.clock.advance(30)
        with pytest.raises(
            DecodeError, match=r"leena: the answer to aop.status has the wrong shape at \$"
        ) as got:
            await waiter
        assert got.value.run is run.last


async def test_garbage_after_other_faults_counts_by_itself() -> None:
    """Resets do not use up the patience for answers that cannot be read."""
    async with rig(("in_progress", 25.0), "completed") as r:
        waiter = await begin(until_end(await r.start()))
        r.faults += [reply(500)] * 10 + [reply(200, b"<html>")] + [ReplyLost("reset") for _ in range(9)]
        await r.clock.advance(500)
        assert (await waiter).state is RunState.COMPLETED


async def test_fault_of_a_reader_reaches_who_waits() -> None:
    """A bug in a vendor's folder ends the waits of that run with a cause, and no poll worker."""

    class Broken:
        async def poll(self, ref: RunRef, *, age: float | None, last: Run | None) -> Run:
            raise KeyError("oops")

        async def read(self, ref: RunRef, *, age: float | None, last: Run | None) -> Run:
            raise NotImplementedError

        def may_retry(self) -> bool:
            return True

    async with rig(("in_progress", 5.0), "completed") as r:
        source = r.pool.source("broken", Broken(), "broken")
        broken = await begin(until_end(RunHandle(source, RunRef("broken", "", "1"))))
        good = await begin(until_end(await r.start()))
        await r.clock.advance(10)
        error: Any = broken.exception()
        assert "KeyError" in str(error)
        assert isinstance(error.__cause__, KeyError)
        assert (await good).state is RunState.COMPLETED


class _Cancelled:
    """A reader in which somebody else's task, that it waits for, is cancelled."""

    def __init__(self) -> None:
        self.polls = 0

    async def poll(self, ref: RunRef, *, age: float | None, last: Run | None) -> Run:
        self.polls += 1
        if self.polls == 1:
            raise asyncio.CancelledError
        return Run(ref=ref, state=RunState.COMPLETED, status="completed", seen_at=datetime.now(UTC))

    async def read(self, ref: RunRef, *, age: float | None, last: Run | None) -> Run:
        raise NotImplementedError

    def may_retry(self) -> bool:
        return True


async def test_cancellation_from_elsewhere_ends_no_poll_worker() -> None:
    """A cancellation that reaches a poll, and is not its worker's, ends that wait with an error; others go on."""
    async with rig(_LONG, limits=PoolLimits(pollers=1)) as r:
        handle = RunHandle(r.pool.source("v", _Cancelled(), "v"), RunRef("v", "", "1"))
        waiter = await begin(until_end(handle))
        await r.clock.advance(10)
        with pytest.raises(AgentsError, match="RuntimeError") as caught:
            await waiter
        assert caught.value.ref == handle.ref
        again = await begin(until_end(handle))
        await r.clock.advance(10)
        assert (await again).state is RunState.COMPLETED
        assert (r.pool.statistics().polling.pollers, r.pool.statistics().polling.polling) == (1, 0)


# Fairness


class _Vendor:
    """A reader whose polls are answered when the test says so."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.is_stalled = False
        self.inside = 0
        self.most = 0
        self.seen: Counter[str] = Counter()
        self.until = asyncio.Event()

    async def poll(self, ref: RunRef, *, age: float | None, last: Run | None) -> Run:
        self.inside += 1
        self.most = max(self.most, self.inside)
        try:
            if self.is_stalled:
                await self.until.wait()
            else:
                await asyncio.sleep(0)
        finally:
            self.inside -= 1
        self.seen[ref.id] += 1
        return Run(ref=ref, state=RunState.RUNNING, status="running", seen_at=datetime.now(UTC))

    async def read(self, ref: RunRef, *, age: float | None, last: Run | None) -> Run:
        return await self.poll(ref, age=age, last=last)

    def may_retry(self) -> bool:
        return True


async def _crowd(r: Rig, vendor: _Vendor, count: int) -> list[asyncio.Task[Run]]:
    source = r.pool.source(vendor.name, vendor, vendor.name)
    handles = [RunHandle(source, RunRef(vendor.name, "", str(n))) for n in range(count)]
    tasks = [asyncio.create_task(until_end(handle)) for handle in handles]
    await settle()
    return tasks


@pytest.mark.parametrize("pollers", [2, 3, 5, 8, 64])
async def test_stalled_account_leaves_poll_workers_to_the_others(pollers: int) -> None:
    """However many of its polls hang, a vendor holds half of the poll workers at most; others lack nothing."""
    async with rig(limits=PoolLimits(pollers=pollers)) as r:
        stalled, well, third = _Vendor("stalled"), _Vendor("well"), _Vendor("third")
        stalled.is_stalled = True
        tasks = [task for vendor in (stalled, well, third) for task in await _crowd(r, vendor, 200)]
        await r.clock.advance(10)
        for _ in range(20):
            await settle()
        assert stalled.inside == stalled.most <= (pollers + 1) // 2
        assert len(well.seen) == len(third.seen) == 200
        await r.clock.advance(10)
        for _ in range(20):
            await settle()
        assert set(well.seen.values()) == {2}
        assert max(well.most, third.most) <= (pollers + 1) // 2
        assert r.pool.statistics().polling.pollers <= pollers
        stalled.is_stalled = False
        stalled.until.set()
        for _ in range(20):
            await settle()
        assert set(stalled.seen.values()) == {1}
        assert r.pool.statistics().polling.overdue == 0
        for task in tasks:
            task.cancel()


async def test_single_poll_worker_serves_all() -> None:
    """One poll worker polls everything, one after the other."""
    async with rig(limits=PoolLimits(pollers=1)) as r:
        one, two = _Vendor("one"), _Vendor("two")
        tasks = [*await _crowd(r, one, 30), *await _crowd(r, two, 30)]
        await r.clock.advance(10)
        for _ in range(5):
            await settle()
        assert len(one.seen) == len(two.seen) == 30
        assert max(one.most, two.most) == 1
        for task in tasks:
            task.cancel()


async def test_accounts_are_served_in_rotation() -> None:
    """A run of a small account is not polled after all runs of a large one."""
    async with rig(limits=PoolLimits(pollers=2)) as r:
        large, small = _Vendor("large"), _Vendor("small")
        order: list[str] = []
        for vendor in (large, small):
            vendor.seen = _Log(order, vendor.name)
        tasks = [*await _crowd(r, large, 100), *await _crowd(r, small, 3)]
        await r.clock.advance(10)
        for _ in range(10):
            await settle()
        assert len(order) == 103
        assert order.index("small") < 5
        assert max(n for n, name in enumerate(order) if name == "small") < 10
        for task in tasks:
            task.cancel()


class _Log(Counter[str]):
    def __init__(self, order: list[str], name: str) -> None:
        super().__init__()
        self._order = order
        self._name = name

    def __setitem__(self, key: str, value: int) -> None:
        self._order.append(self._name)
        super().__setitem__(key, value)


async def test_poll_workers_are_made_as_needed() -> None:
    """A run that is alone has one poll worker, however often it is polled."""
    async with rig(_LONG) as r:
        waiter = await begin(until_end(await r.start()))
        await r.clock.advance(500)
        assert r.pool.statistics().polling.pollers == 1
        assert len(r.polls) == 50
        waiter.cancel()


async def test_poll_that_everybody_left_before_it_was_made_is_not_made() -> None:
    """Who leaves after the poll was assigned, and before its poll worker takes it up, costs no request."""
    clock, vendor = FakeClock(), _Vendor("v")
    work: list[Coroutine[Any, Any, None]] = []
    scheduler = Scheduler(
        clock=clock,
        cadence=Steady(10),
        retry=RetryPolicy(),
        emit=Dispatcher(),
        spawn=lambda coroutine, _: work.append(coroutine),
        ensure_open=lambda: None,
        pollers=1,
        chance=lambda: 0.5,
    )
    source = scheduler.source(vendor, "v")
    left, stays = (RunHandle(source, RunRef("v", "", name)) for name in ("left", "stays"))
    waiters = [await begin(until_end(left)), await begin(until_end(stays))]
    await clock.advance(10)
    waiters[0].cancel()
    await settle()
    worker = await begin(work.pop())
    assert dict(vendor.seen) == {"stays": 1}
    assert (scheduler.statistics().polls, scheduler.statistics().runs) == (1, 1)
    worker.cancel()
    waiters[1].cancel()


async def test_end_of_a_poll_can_make_room_for_two() -> None:
    """Where the end of one poll lets each of two accounts begin one, an idle poll worker takes the second at once."""
    async with rig(limits=PoolLimits(pollers=3)) as r:
        first, second = _Vendor("first"), _Vendor("second")
        first.is_stalled = second.is_stalled = True
        tasks = await _crowd(r, first, 2)
        await r.clock.advance(5)
        tasks += await _crowd(r, second, 2)
        await r.clock.advance(10)
        assert (first.inside, second.inside, r.pool.statistics().polling.pollers) == (2, 1, 3)
        for vendor in (first, second):
            vendor.until.set()
        await settle()
        for vendor in (first, second):
            vendor.until.clear()
            source = r.pool.source(vendor.name, vendor, vendor.name)
            for number in range(2):
                RunHandle(source, RunRef(vendor.name, "", str(number))).wake()
        await r.clock.advance(0)
        assert (first.inside, second.inside) == (1, 1)
        second.until.set()
        await asyncio.sleep(0)
        second.until.clear()
        await settle()
        assert (first.inside, second.inside) == (2, 1)
        for task in tasks:
            task.cancel()


# Context

_REQUEST: ContextVar[str] = ContextVar("request", default="none")


async def test_polls_are_reported_in_their_waiters_context() -> None:
    """Hooks see the variables of who waits for the run, run by run, whichever poll worker polls it."""
    seen: dict[str, set[str]] = {}

    def note(event: Event) -> None:
        if isinstance(event, RunChanged | PollFailed):
            run = event.run.ref if isinstance(event, RunChanged) else event.ref
            seen.setdefault(run.id, set()).add(_REQUEST.get())

    async with rig(("in_progress", 25.0), "completed", hooks=[note], limits=PoolLimits(pollers=2)) as r:
        runs = [await r.start() for _ in range(6)]

        async def wait(run: RunHandle, name: str) -> None:
            _REQUEST.set(name)
            await run

        tasks = [await begin(wait(run, f"request {n}")) for n, run in enumerate(runs)]
        r.faults += [reply(500)] * 3
        await r.clock.advance(60)
        await asyncio.gather(*tasks)
        assert seen == {run.id: {f"request {n}"} for n, run in enumerate(runs)}
    assert _REQUEST.get() == "none"


async def test_variables_set_before_the_start_are_seen() -> None:
    """A variable set before `execute` is seen with all events of the run, requests included."""
    seen: list[tuple[str, str]] = []

    def note(event: Event) -> None:
        if isinstance(event, RequestDone):
            seen.append((event.call, _REQUEST.get()))

    async with rig(("in_progress", 5.0), "completed", hooks=[note]) as r:

        async def work() -> None:
            _REQUEST.set("ours")
            await (await r.start())

        task = await begin(work())
        await r.clock.advance(20)
        await task
    assert ("aop.execute", "ours") in seen
    assert [name for call, name in seen if call == "aop.status"] == ["ours"]


class _PollContexts:
    """A hook that notes in whose context each poll was."""

    def __init__(self) -> None:
        self.names: list[str] = []

    def __call__(self, event: Event) -> None:
        if isinstance(event, RequestDone) and event.call == "aop.status":
            self.names.append(_REQUEST.get())


def _wait(run: RunHandle, name: str, way: str = "await") -> Coroutine[Any, Any, object]:
    """Wait for a run as `name`, who sets no variable if empty, in one of the ways there are."""

    async def wait() -> object:
        if name:
            _REQUEST.set(name)
        if way == "updates":
            return [seen async for seen in run.updates()]
        return await (run if way == "await" else run.wait(until={RunState.PAUSED}))

    return wait()


async def test_context_is_of_one_who_still_waits() -> None:
    """Of several waiters the first one's variables count, until it has left; who comes back alone brings its own."""
    note = _PollContexts()
    async with rig(_LONG, hooks=[note]) as r:
        run = await r.start()
        first, second = await begin(_wait(run, "first")), await begin(_wait(run, "second"))
        await r.clock.advance(10)
        first.cancel()
        await r.clock.advance(10)
        second.cancel()
        await settle()
        third = await begin(_wait(run, "third"))
        await r.clock.advance(10)
        third.cancel()
    assert note.names == ["first", "second", "third"]


@pytest.mark.parametrize("way", ["await", "until", "updates"])
async def test_context_of_who_left_is_not_used(way: str) -> None:
    """However it waited, no variable of who has left is seen, also where those who stay set none."""
    note = _PollContexts()
    async with rig(_LONG, hooks=[note]) as r:
        run = await r.start()
        tasks = []
        for name in ("a", "", "b", "c", "d"):
            tasks.append(asyncio.create_task(_wait(run, name, way), context=Context()))
            await settle()
        for index in (0, 2, 4, 3):
            await r.clock.advance(10)
            tasks[index].cancel()
            await settle()
        await r.clock.advance(10)
        tasks[1].cancel()
    assert note.names == ["a", "b", "c", "c", "none"]


async def test_contexts_of_who_came_and_went_are_not_kept() -> None:
    """A run that many waited for one after the other, beside one who stays, keeps the variables of few."""
    async with rig(_LONG) as r:
        run = await r.start()
        tasks = [await begin(_wait(run, "stays"))]
        gc.collect()
        before = sum(isinstance(each, Context) for each in gc.get_objects())
        for n in range(200):
            task = await begin(_wait(run, f"passes {n}"))
            task.cancel()
            await settle()
        del task
        gc.collect()
        assert sum(isinstance(each, Context) for each in gc.get_objects()) - before < 10
        tasks[0].cancel()


# The pool's end


async def test_closing_ends_every_wait() -> None:
    """All who wait, in whatever way, get `PoolClosed` with the last run seen; nothing is left behind."""
    async with rig(_LONG) as r:
        run = await r.start()
        await run.poll()

        async def read() -> None:
            async for _ in run.updates():
                pass

        tasks: list[asyncio.Task[Any]] = [
            await begin(until_end(run)),
            await begin(run.wait(timeout=100)),
            await begin(run.wait(until={RunState.PAUSED})),
            await begin(run.result()),
            await begin(read()),
            await begin(until_end(r.leena.item("b" * 24))),
        ]
        held = asyncio.Event()
        r.hold_polls(held)
        await r.clock.advance(10)
        assert r.pool.statistics().polling.polling == 2
        before = asyncio.all_tasks()
    for task in tasks:
        with pytest.raises(PoolClosed, match="the run goes on"):
            await task
    assert getattr(tasks[0].exception(), "run", None) is run.last
    assert r.pool.statistics().polling.runs == 0
    assert r.clock.timers == 0
    assert asyncio.all_tasks() < before
    assert asyncio.all_tasks() == {asyncio.current_task()}


async def test_waits_leave_nothing_behind() -> None:
    """After a thousand waits that came and went, no run, timer or task is held."""
    gc.collect()
    before = sum(isinstance(each, RunHandle) for each in gc.get_objects())
    async with rig() as r:
        for _ in range(100):
            waiters = [await begin(until_end(await r.start())) for _ in range(10)]
            waiters[0].cancel()
            await r.clock.advance(30)
        polling = r.pool.statistics().polling
        assert (polling.runs, polling.waiting, polling.overdue) == (0, 0, 0)
        assert r.clock.timers == 0
        del waiters
        r.send.sent.clear()
        r.events.clear()
        gc.collect()
        # Other tests' parameters may hold a traceback with a handle in it; none of this test's is left.
        assert sum(isinstance(each, RunHandle) for each in gc.get_objects()) <= before


async def test_wall_clock_is_the_pools() -> None:
    """`seen_at` comes from the pool's clock, like everything that has to do with time."""
    async with rig() as r:
        waiter = await begin(until_end(await r.start()))
        await r.clock.advance(40)
        assert ((await waiter).seen_at - EPOCH).total_seconds() == 30


async def test_many_waits_cost_one_timer() -> None:
    """Waits that are not due cost memory alone: one timer, no task of the pool's, no request."""
    clock = FakeClock()
    vendor = _Vendor("many")
    async with SessionPool(clock=clock, cadence=Steady(3600)) as pool:
        source = pool.source("many", vendor, "many")
        futures: list[asyncio.Future[Run]] = []
        for n in range(20_000):
            waiting: Any = RunHandle(source, RunRef("many", "", str(n))).__await__()
            futures.append(next(waiting))
        assert pool.statistics().polling.waiting == 20_000
        assert clock.timers == 1
        await clock.advance(3000)
        assert len(asyncio.all_tasks()) <= 2
        assert not vendor.seen
        for future in futures:
            future.cancel()
        await asyncio.sleep(0)
        assert pool.statistics().polling.runs == 0


async def test_odd_statuses_are_no_number_games() -> None:
    """A Retry-After of nonsense or of ages does not break a wait."""
    async with rig(("in_progress", 5.0), "completed") as r:
        waiter = await begin(until_end(await r.start()))
        r.faults += [reply(429, retry_after=each) for each in ("-5", "nan", "inf", "soon", "", "1e400")]
        await r.clock.advance(200)
        assert (await waiter).state is RunState.COMPLETED
    assert not math.isinf(r.now)


class _Odd:
    """A cadence that returns the gaps it was made with."""

    def __init__(self, *gaps: float) -> None:
        self._gaps = list(gaps)

    def gap(self, elapsed: float, *, key: str = "", chance: float = 0.5) -> float:
        return self._gaps.pop(0)


@pytest.mark.parametrize("gap", [math.nan, 0.0, -1.0])
async def test_gap_that_is_none_loses_no_run(gap: float) -> None:
    """A cadence that returns no time at all fails who waits, at once or after the poll it follows."""
    async with rig(cadence=_Odd(gap)) as r:
        run = await r.start()
        with pytest.raises(ValueError, match="gap of"):
            await run
        assert r.pool.statistics().polling.runs == 0
    async with rig(cadence=_Odd(5.0, gap)) as r:
        wait = await begin(until_end(await r.start()))
        await r.clock.advance(6)
        with pytest.raises(AgentsError) as caught:
            await wait
        assert isinstance(caught.value.__cause__, ValueError)


async def test_waits_end_when_no_poll_worker_can_be_made() -> None:
    """Where all tasks of the pool were cancelled, as by a loop that ends, waits end with `PoolClosed`."""
    complaints: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: complaints.append(context))
    before = asyncio.all_tasks()
    async with rig(_LONG) as r:
        waiter = await begin(until_end(await r.start()))
        for task in asyncio.all_tasks() - before - {waiter}:
            task.cancel()
        await r.clock.advance(300)
        assert waiter.done()
        with pytest.raises(PoolClosed):
            await waiter
    assert not complaints
