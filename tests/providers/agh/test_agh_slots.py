"""Waiting for a slot of AGH Runtime, and how refused and ended calls affect concurrent ones."""

import asyncio
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aioagents import Conflict, RunHandle, StartUnknown
from aioagents.clock import sleep
from aioagents.model import Reply, Request
from aioagents.providers.agh.refusals import (
    CONCURRENCY,
    FIRE,
    NAME,
    READ_ONLY,
    REPLAY,
    WEBHOOK_ID,
    slot_delay,
)
from tests.providers.agh.agh_rig import AghRig, agh_rig, script

NOW = datetime(2026, 1, 5, 9, 0, tzinfo=UTC)
SLOW = {"slow": script(("running", 3600.0), "completed")}
_BUSY = Reply(409, {}, b'{"error": "concurrency limit reached active=1 limit=1"}')


def conflict(reason: str, *, retry_in: float | None = None) -> Conflict:
    """Build a refusal that may name a moment."""
    retry_at = None if retry_in is None else NOW + timedelta(seconds=retry_in)
    return Conflict("no", reason=reason, retry_at=retry_at)


@pytest.mark.parametrize(
    ("tries", "retry_in", "seconds"),
    [
        (1, None, 1.0),
        (2, None, 2.0),
        (3, None, 4.0),
        (4, None, 8.0),
        (5, None, 15.0),
        (6, None, 15.0),
        (10**9, None, 15.0),
        (1, 0.5, 1.0),
        (1, 10.0, 10.0),
        (4, 5.0, 8.0),
        (1, 60.0, 60.0),
        (1, 3600.0, 60.0),
        (9, 3600.0, 60.0),
        (1, -3600.0, 1.0),
        (5, -0.1, 15.0),
    ],
)
@pytest.mark.parametrize("reason", [CONCURRENCY, FIRE])
def test_when_there_may_be_a_slot(reason: str, tries: int, retry_in: float | None, seconds: float) -> None:
    """Waits double up to 15 seconds; a moment that the server names is waited for, a minute at most at once."""
    error = conflict(reason, retry_in=retry_in)
    assert slot_delay(error, tries, now=NOW, chance=0.0) == pytest.approx(seconds)
    assert slot_delay(error, tries, now=NOW, chance=0.8) == pytest.approx(seconds * 1.2)


@pytest.mark.parametrize("reason", ["", REPLAY, READ_ONLY, WEBHOOK_ID, NAME, "something new"])
def test_where_waiting_is_of_no_use(reason: str) -> None:
    """Other refusals are not waited for, whatever time they name."""
    assert slot_delay(conflict(reason, retry_in=5.0), 1, now=NOW, chance=0.5) is None


@settings(max_examples=50)
@given(
    tries=st.integers(1, 10**6),
    retry_in=st.none() | st.floats(-1e9, 1e9),
    chance=st.floats(0, 1, exclude_max=True),
)
def test_no_wait_is_short_or_endless(tries: int, retry_in: float | None, chance: float) -> None:
    """Whatever the server says, and whatever its clock shows, a wait takes from one second to 75."""
    delay = slot_delay(conflict(FIRE, retry_in=retry_in), tries, now=NOW, chance=chance)
    assert delay is not None
    assert 1.0 <= delay <= 75.0


# ── what refusals leave to others ───────────────────────────────────────────────────────────────────────


class _LateRefusal:
    """The daemon, whose first refusal takes a while."""

    def __init__(self, seconds: float) -> None:
        self.rig: AghRig | None = None
        self._left = [seconds]

    async def send(
        self, request: Request, *, headers: Mapping[str, str], on_sent: Callable[[], None] | None = None
    ) -> Reply:
        """Refuse the first trigger late; all else is the daemon's."""
        assert self.rig is not None
        if request.call != "jobs.trigger" or not self._left:
            return await self.rig.send.send(request, headers=headers, on_sent=on_sent)
        assert on_sent is not None
        on_sent()
        await sleep(self.rig.clock, self._left.pop())
        return _BUSY


async def test_run_that_a_refused_call_was_given() -> None:
    """A run that was assigned to a call just before its refusal goes to the call that began it."""
    send = _LateRefusal(2.02)
    async with agh_rig(scripts=SLOW, send=send) as rig:
        send.rig = rig
        job = rig.job("slow")
        refused = await rig.begin(rig.agh.jobs.trigger(job))
        await rig.clock.advance(1.76)
        began = await rig.begin(rig.agh.jobs.trigger(job))
        await rig.clock.advance(0.25)  # a poll, by which the older call seems to have begun the run
        assert [refused.done(), began.done()] == [False, False]
        await rig.clock.advance(1.0)
        assert isinstance(refused.exception(), Conflict)
        assert isinstance(began.result(), RunHandle)
        assert rig.fake.starts_by_target[job] == 1


async def test_refusal_takes_no_failed_run_of_anothers() -> None:
    """A call that is refused sooner than a second attempt can come has begun nothing of what failed beside it."""
    async with agh_rig(scripts={"bad": script("failed")}) as rig:
        retry = {"strategy": "backoff", "max_retries": 1, "base_delay": "10s"}
        job = rig.job("bad", retry=retry, fire_limit={"max": 1, "window": "1h"})
        first = await rig.begin(_both(rig, job))
        await rig.clock.advance(30.0)
        handle, refusal = first.result()
        assert isinstance(handle, RunHandle)
        assert isinstance(refusal, Conflict)
        assert rig.fake.starts_by_target[job] == 1


async def _both(rig: AghRig, job: str) -> "list[RunHandle | BaseException]":
    return await asyncio.gather(*(rig.agh.jobs.trigger(job) for _ in range(2)), return_exceptions=True)


async def test_refusal_without_a_readable_history() -> None:
    """With backoff a refusal may follow a run: where the history cannot be read, the call is not made again."""
    async with agh_rig(scripts=SLOW) as rig:
        job = rig.job("slow", retry={"strategy": "backoff", "max_retries": 1, "base_delay": "10ms"})
        was_refused: list[None] = []

        def before(request: Request) -> Reply | None:
            if request.call == "jobs.trigger":
                was_refused.append(None)
                return _BUSY
            return Reply(500, {}, b"{}") if was_refused else None

        rig.send.before = before
        with pytest.raises(StartUnknown) as caught:
            await rig.done(rig.agh.jobs.trigger(job, wait_for_slot=True), within=600.0)
        assert isinstance(caught.value.__cause__, Conflict)
        assert caught.value.__cause__.reason == CONCURRENCY
        assert len(was_refused) == 1


async def test_calls_that_are_over_take_no_run() -> None:
    """A call that ended without a run, whose error is still referred to, gets no run of a later call."""
    async with agh_rig(scripts=SLOW) as rig:
        job = rig.job("slow")
        rig.answer("jobs.trigger", Reply(200, {}, b"{}"))
        errors = await asyncio.gather(rig.done(rig.agh.jobs.trigger(job)), return_exceptions=True)
        assert isinstance(errors[0], StartUnknown)
        handle = await rig.done(rig.agh.jobs.trigger(job), within=1.0)
        assert rig.fake.ended_at(handle.id) is not None
