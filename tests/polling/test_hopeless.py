"""Waits that may be hopeless: what is reported, how often, and what a caller can ask."""

import asyncio
import pickle

import pytest

from aioagents import (
    AgentsError,
    BadRequest,
    DecodeError,
    NotSent,
    PoolClosed,
    RetryPolicy,
    RunState,
    ServerError,
    Steady,
    Throttled,
    WaitTimeout,
)
from aioagents.errors import copy_of
from aioagents.observe import PollFailed, PollsFailing
from aioagents.polling.backoff import HOPELESS, NO_BACKOFF, Reported
from tests.fakes import settle
from tests.polling.core_rig import CoreRig, runs_of
from tests.polling.rig import begin, reply, rig, until_end

_LONG: tuple[str, float] = ("in_progress", 1e6)


def _fail(rig: CoreRig, error: AgentsError, times: int) -> None:
    """Let so many polls fail, one after the other."""
    while times:
        rig.advance(rig.core.wake_at - rig.now + 0.001)
        for poll in rig.begin():
            rig.failed(runs_of(poll)[0], copy_of(error))
            times -= 1


def _warnings(rig: CoreRig) -> list[PollsFailing]:
    return [event for event in rig.events if isinstance(event, PollsFailing)]


def test_ten_failures_alike_are_reported_once() -> None:
    """The tenth poll in a row that failed for the same reason is reported, and none after it."""
    rig = CoreRig()
    run, caller = rig.wait(rig.run(rig.source(), "a"))
    _fail(rig, ServerError("away", status=503), HOPELESS - 1)
    assert _warnings(rig) == []
    _fail(rig, ServerError("away", status=503), 100)
    (warning,) = _warnings(rig)
    assert (warning.ref, warning.failures, warning.runs) == (run.ref, HOPELESS, 1)
    assert isinstance(warning.error, ServerError)
    assert caller.end is None


@pytest.mark.parametrize(
    "other", [ServerError("away", status=500), NotSent("refused"), ServerError("away", status=503, code="E7")]
)
def test_other_reasons_are_counted_apart(other: AgentsError) -> None:
    """Another class, status or code of the vendor's is another reason; failures in a row are counted all the same."""
    rig = CoreRig()
    run, _ = rig.wait(rig.run(rig.source(), "a"))
    for _ in range(8):
        _fail(rig, ServerError("away", status=503), HOPELESS - 1)
        _fail(rig, other, 1)
    assert _warnings(rig) == []
    assert (run.backoff.failures, run.backoff.alike) == (8 * HOPELESS, 1)


def test_many_runs_that_fail_alike_are_reported_once() -> None:
    """However many runs of an account fail for the same reason, it is one warning; another account has its own."""
    rig = CoreRig(pollers=10_000, cadence=Steady(60.0))
    for vendor in ("v", "w"):
        rig.wait_all(rig.source(vendor), *(f"r{number}" for number in range(300)))
    for _ in range(80):
        rig.advance(66.0)
        for _ in range(120):
            for poll in rig.begin():
                rig.failed(runs_of(poll)[0], ServerError("away", status=503))
            rig.advance(0.25)
    failed = [event for event in rig.events if isinstance(event, PollFailed)]
    assert max(event.failures for event in failed) > 2 * HOPELESS
    assert sorted((warning.vendor, warning.runs) for warning in _warnings(rig)) == [("v", 300), ("w", 300)]


def test_reason_is_new_again_after_a_while() -> None:
    """Once no run has kept failing for a reason for ten minutes, it is reported again."""
    reported, backoff = Reported(), NO_BACKOFF
    for _ in range(HOPELESS):
        assert not reported.is_new(backoff, 0.0)
        backoff = backoff.after(ServerError("away", status=503), 0.0)
    assert reported.is_new(backoff, 0.0)
    assert not reported.is_new(backoff, 500.0)
    assert not reported.is_new(backoff, 1100.0)
    assert reported.is_new(backoff, 1701.0)


def test_success_begins_the_count_anew() -> None:
    """After a poll that succeeded, ten more have to fail."""
    rig = CoreRig()
    run, _ = rig.wait(rig.run(rig.source(), "a"))
    _fail(rig, ServerError("away"), HOPELESS - 1)
    rig.advance(rig.core.wake_at - rig.now + 0.001)
    rig.polled(rig.begin_one())
    assert run.backoff is NO_BACKOFF
    _fail(rig, ServerError("away"), HOPELESS - 1)
    assert _warnings(rig) == []


def test_unreadable_answers_end_a_wait_before_that() -> None:
    """Replies that cannot be read end a wait after the policy's attempts, with or without others in between."""
    rig = CoreRig(retry=RetryPolicy(attempts=3))
    _, caller = rig.wait(rig.run(rig.source(), "a"))
    for error in (DecodeError("a page"), ServerError("away"), DecodeError("a page")):
        _fail(rig, error, 1)
    assert caller.end is None
    _fail(rig, DecodeError("a page"), 1)
    assert isinstance(caller.end, DecodeError)


def test_kept_error_holds_nothing_alive() -> None:
    """The error of the last poll is kept without its traceback and cause, whose frames would be kept as well."""
    error = Throttled("slow", status=429, retry_after=3.0)
    with pytest.raises(Throttled):
        _raise_from(error, OSError("cut"))
    kept = NO_BACKOFF.after(error, 0.0).error
    assert error.__traceback__ is not None
    assert isinstance(kept, Throttled)
    assert (str(kept), kept.status, kept.retry_after) == ("slow", 429, 3.0)
    assert (kept.__traceback__, kept.__cause__, kept.__context__) == (None, None, None)


def _raise_from(error: AgentsError, cause: Exception) -> None:
    raise error from cause


class _Odd(AgentsError):
    """An error whose class is made in another way."""

    is_passing = True

    def __init__(self, one: str, two: str) -> None:
        super().__init__(one + two)
        self.two = two


def test_errors_of_any_kind_are_copied() -> None:
    """A copy needs none of the arguments that its class is made with."""
    copy = copy_of(_Odd("a", "b"))
    assert isinstance(copy, _Odd)
    assert (str(copy), copy.two) == ("ab", "b")


# What callers see


async def test_timeout_says_what_failed() -> None:
    """`WaitTimeout` has the last poll's error and how many failed in a row, and survives pickling."""
    async with rig(_LONG) as r:
        run = await r.start()
        r.faults += [reply(503)] * 3 + [reply(502)]
        waiter = await begin(run.wait(timeout=12))
        await r.clock.advance(12)
        with pytest.raises(
            WaitTimeout, match=r"the last \d polls failed \(ServerError 50\d\); it goes on"
        ) as caught:
            await waiter
        error = pickle.loads(pickle.dumps(caught.value))  # noqa: S301 - what was just pickled
        assert isinstance(error.last_error, ServerError)
        assert error.failures == len(r.polls) > 1
        assert error.run is not None
        waiter = await begin(run.wait(timeout=30))
        await r.clock.advance(30)
        with pytest.raises(WaitTimeout) as caught:
            await waiter
        assert (caught.value.last_error, caught.value.failures) == (None, 0)
        assert "failed" not in str(caught.value)


async def test_handle_and_statistics_say_what_fails() -> None:
    """A run whose polls fail is counted, and its handle shows how many did and why, until one succeeds."""
    async with rig(_LONG) as r:
        run = await r.start()
        r.faults += [reply(503, retry_after="10")] * 2
        await begin(until_end(run))
        assert r.pool.statistics().polling.failing == 0
        await r.clock.advance(10)
        assert r.pool.statistics().polling.failing == 1
        assert repr(run) == f"<RunHandle {run.ref} queued, the last poll failed (ServerError 503)>"
        await r.clock.advance(10)
        assert "the last 2 polls failed" in repr(run)
        await r.clock.advance(10)
        assert repr(run) == f"<RunHandle {run.ref} running>"
        assert r.pool.statistics().polling.failing == 0


async def test_wait_is_explained() -> None:
    """`explain()` says what was seen, who waits, when the next poll is due, and what failed."""
    async with rig(_LONG) as r:
        run = await r.start()
        assert str(run.explain()) == f"{run.ref}: last seen as accepted, nobody waits, so it is not polled"
        assert run.explain().next_poll_in is None
        await begin(until_end(run))
        await begin(until_end(run))
        await r.clock.advance(3)
        told = run.explain()
        assert (told.waiting, told.next_poll_in, told.is_polling, told.is_pushed) == (2, 7.0, False, False)
        assert (
            str(told)
            == f"{run.ref}: last seen as accepted, the next poll is due in 7.0 s, no webhook wakes it"
        )
        r.faults += [reply(503, retry_after="10")] * 2
        await r.clock.advance(17)
        told = run.explain()
        assert (told.failures, told.next_poll_in) == (2, 10.0)
        assert isinstance(told.error, ServerError)
        assert str(told).endswith("no webhook wakes it, the last 2 polls failed (ServerError 503)")
        elsewhere = r.leena.item("elsewhere")
        assert str(elsewhere.explain()).startswith(f"{elsewhere.ref}: not seen yet")


async def test_explains_a_poll_under_way_and_an_end() -> None:
    """A wait whose poll is under way says so, and one that is over too."""
    async with rig(("in_progress", 5.0), "completed") as r:
        run = await r.start()
        waiter = await begin(until_end(run))
        release = asyncio.Event()
        r.hold_polls(release)
        await r.clock.advance(10)
        assert run.explain().is_polling
        assert "a poll is under way" in str(run.explain())
        release.set()
        await settle()
        assert (await waiter).state is RunState.COMPLETED
        assert str(run.explain()) == f"{run.ref}: last seen as completed, it is over"


async def test_final_refusal_is_no_hopeless_wait() -> None:
    """A refusal ends the wait with itself."""
    async with rig(_LONG) as r:
        run = await r.start()
        r.faults += [reply(400)]
        waiter = await begin(until_end(run))
        await r.clock.advance(10)
        with pytest.raises(BadRequest):
            await waiter
        assert r.events_of(PollsFailing) == []
    with pytest.raises(PoolClosed):
        await run
