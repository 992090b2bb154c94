"""The gate of one account: so many at once, so many a second, starts before polls, nobody lost."""

import asyncio
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aioagents.transport import Limiter, PoolLimits, RateLimit
from tests.fakes import FakeClock, settle


class _Crowd:
    """Those who go through a gate, each for as long as it is told."""

    def __init__(self, limits: PoolLimits) -> None:
        self.clock = FakeClock()
        self.limiter = Limiter(limits, self.clock)
        self.inside = 0
        self.looks_inside = 0
        self.most = 0
        self.most_looks = 0
        self.entered: list[tuple[str, float]] = []
        self.releases: list[asyncio.Event] = []

    async def go(self, *, is_poll: bool, stay: asyncio.Event | None = None) -> None:
        """Enter, stay until released, leave."""
        stay = stay or asyncio.Event()
        await self.limiter.acquire(is_poll=is_poll)
        try:
            self.entered.append(("poll" if is_poll else "start", self.clock.now()))
            self.inside += 1
            self.looks_inside += is_poll
            self.most = max(self.most, self.inside)
            self.most_looks = max(self.most_looks, self.looks_inside)
            self.releases.append(stay)
            await stay.wait()
        finally:
            self.inside -= 1
            self.looks_inside -= is_poll
            self.limiter.release(is_poll=is_poll)

    def release(self) -> None:
        """Let the one that is inside for the longest time leave."""
        self.releases.pop(0).set()

    def assert_empty(self) -> None:
        """See that nobody is inside or in line."""
        numbers = self.limiter.statistics()
        assert (numbers.under_way, numbers.waiting, numbers.waiting_polls) == (0, 0, 0)


def _send(crowd: _Crowd, count: int, *, is_poll: bool) -> list["asyncio.Task[None]"]:
    return [asyncio.ensure_future(crowd.go(is_poll=is_poll)) for _ in range(count)]


async def test_no_queue_for_connections_behind_the_pace() -> None:
    """No more are let out than a host has connections, so that a stall is followed by no burst above the quota."""
    crowd = _Crowd(PoolLimits(requests_at_once=100, per_host=2, requests_per_second=10))
    stay = asyncio.Event()
    tasks = [asyncio.ensure_future(crowd.go(is_poll=False, stay=stay)) for _ in range(10)]
    await settle()
    await crowd.clock.advance(3)
    assert len(crowd.entered) == 2
    stay.set()
    await crowd.clock.advance(3)
    await asyncio.gather(*tasks)
    times = [at for _, at in crowd.entered]
    assert all(later - sooner >= 0.0999 for sooner, later in pairwise(times))
    crowd.assert_empty()


async def test_never_more_than_the_limit_inside() -> None:
    """No more requests are under way than may be at once, and each that leaves lets one in."""
    crowd = _Crowd(PoolLimits(requests_at_once=3))
    tasks = _send(crowd, 10, is_poll=False)
    await settle()
    assert (crowd.inside, crowd.limiter.statistics().waiting) == (3, 7)
    for _ in range(10):
        crowd.release()
        await settle()
    await asyncio.gather(*tasks)
    assert crowd.most == 3
    crowd.assert_empty()


@pytest.mark.parametrize(("places", "polls"), [(1, 1), (2, 1), (8, 7), (16, 14), (100, 88)])
async def test_polls_leave_places_to_the_others(places: int, polls: int) -> None:
    """Looks never take the last eighth of the places, at least one where there are two."""
    crowd = _Crowd(PoolLimits(requests_at_once=places))
    tasks = _send(crowd, 2 * places, is_poll=True)
    await settle()
    assert crowd.inside == polls
    starts = _send(crowd, places - polls, is_poll=False)
    await settle()
    assert crowd.inside == places
    for task in (*tasks, *starts):
        task.cancel()
    await settle()
    crowd.assert_empty()


async def test_starts_before_polls() -> None:
    """A start that comes late overtakes the polls in line; one place in ten still goes to a poll."""
    crowd = _Crowd(PoolLimits(requests_at_once=2))
    holding = _send(crowd, 2, is_poll=False)
    await settle()
    polls = _send(crowd, 5, is_poll=True)
    await settle()
    starts = _send(crowd, 40, is_poll=False)
    await settle()
    for _ in range(47):
        crowd.release()
        await settle()
    await asyncio.gather(*holding, *polls, *starts)
    kinds = [kind for kind, _ in crowd.entered][2:]
    assert kinds[:9] == ["start"] * 9
    assert [kinds[start : start + 10].count("poll") for start in range(0, 40, 10)] == [1, 1, 1, 1]
    crowd.assert_empty()


async def test_a_poll_does_not_slip_past_a_waiting_start() -> None:
    """A look that comes when the next request is just due, and a start waits for it, lets the start go first."""
    crowd = _Crowd(PoolLimits(requests_per_second=1))
    first = _send(crowd, 1, is_poll=False)
    await settle()
    start = _send(crowd, 1, is_poll=False)
    await settle()
    # The timer is late: its moment has come, and it was not called yet.
    crowd.clock._now += 1.0  # noqa: SLF001 - only a clock that skips its timers can be late
    poll = _send(crowd, 1, is_poll=True)
    await settle()
    await crowd.clock.advance(5)
    assert [kind for kind, _ in crowd.entered] == ["start", "start", "poll"]
    for _ in range(3):
        crowd.release()
    await asyncio.gather(*first, *start, *poll)
    crowd.assert_empty()


async def test_starts_do_not_starve_polls_by_slipping_in() -> None:
    """Starts that always come just as a request is due do not keep a waiting look out for ever."""
    crowd = _Crowd(PoolLimits(requests_per_second=1))
    tasks = _send(crowd, 1, is_poll=False)
    await settle()
    tasks += _send(crowd, 1, is_poll=True)
    await settle()
    for _ in range(12):
        crowd.clock._now += 1.0  # noqa: SLF001 - only a clock that skips its timers can be late
        tasks += _send(crowd, 2, is_poll=False)
        await settle()
    assert "poll" in [kind for kind, _ in crowd.entered]
    for task in tasks:
        task.cancel()
    await settle()
    crowd.assert_empty()


async def test_quota_spaces_requests() -> None:
    """Requests leave at the quota's rate, and looks at their own as well."""
    crowd = _Crowd(PoolLimits(requests_per_second=2, polls_per_second=RateLimit(1, 2)))
    began_at = crowd.clock.now()
    tasks = [*_send(crowd, 4, is_poll=True), *_send(crowd, 4, is_poll=False)]
    await crowd.clock.advance(20)
    moments = [round(at - began_at, 6) for _, at in crowd.entered]
    assert moments[:6] == [0.0, 0.5, 1.0, 1.5, 2.0, 2.5]
    assert [round(at - began_at, 6) for kind, at in crowd.entered if kind == "poll"] == [0.0, 2.5, 4.5, 6.5]
    for task in tasks:
        task.cancel()
    await settle()
    crowd.assert_empty()
    assert crowd.clock.timers == 0


@settings(max_examples=25, deadline=None)
@given(
    requests=st.integers(1, 300) | st.integers(1, 8),
    seconds=st.sampled_from([0.5, 1.0, 3.0]),
    batches=st.lists(
        st.tuples(st.integers(1, 10), st.booleans(), st.sampled_from([0.0, 0.01, 0.4, 2.0])), max_size=8
    ),
)
def test_no_window_sees_more_than_the_quota(
    requests: int, seconds: float, batches: list[tuple[int, bool, float]]
) -> None:
    """Whatever pattern requests come in, no half-open window of the quota's length sees more than it allows."""

    async def run() -> list[float]:
        crowd = _Crowd(PoolLimits(requests_per_second=RateLimit(requests, seconds), requests_at_once=1000))
        tasks: list[asyncio.Task[None]] = []
        for count, is_poll, pause in batches:
            tasks += _send(crowd, count, is_poll=is_poll)
            await crowd.clock.advance(pause)
        await crowd.clock.advance(80 * seconds / requests)
        moments = [at for _, at in crowd.entered]
        assert len(moments) == len(tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        crowd.assert_empty()
        return moments

    moments = asyncio.run(run())
    for place, moment in enumerate(moments):
        window = [each for each in moments[place:] if each < moment + seconds * (1 - 1e-9)]
        assert len(window) <= requests


_Action = tuple[str, int, bool]


@settings(max_examples=80, deadline=None)
@given(
    places=st.integers(1, 5),
    per_second=st.sampled_from([None, 5, 200]),
    actions=st.lists(
        st.tuples(
            st.sampled_from(["enter", "enter", "cancel", "release", "release+cancel", "time", "step"]),
            st.integers(0, 30),
            st.booleans(),
        ),
        max_size=60,
    ),
)
def test_every_place_comes_back(places: int, per_second: int | None, actions: list[_Action]) -> None:
    """Whatever sequence of entering, cancelling and leaving: the limits hold, and the gate is empty at the end."""

    async def run() -> None:
        crowd = _Crowd(PoolLimits(requests_at_once=places, requests_per_second=per_second))
        tasks: list[asyncio.Task[None]] = []
        stays: list[asyncio.Event] = []

        for name, number, is_poll in actions:
            if name == "time":
                await crowd.clock.advance(number / 20)
            elif name == "step":
                await asyncio.sleep(0)
            elif name == "enter":
                stays.append(asyncio.Event())
                tasks.append(asyncio.ensure_future(crowd.go(is_poll=is_poll, stay=stays[-1])))
            elif tasks and name == "cancel":
                tasks[number % len(tasks)].cancel()
            elif tasks:
                stays[number % len(tasks)].set()
                if name == "release+cancel":
                    await asyncio.sleep(0)
                    tasks[(number + 1) % len(tasks)].cancel()
            assert crowd.inside <= crowd.limiter.statistics().under_way <= places
        await crowd.clock.advance(1.0)
        for stay in stays:
            stay.set()
        await crowd.clock.advance(100.0)
        assert all(task.done() for task in tasks)  # nobody who was not cancelled waits in vain
        crowd.assert_empty()
        assert crowd.clock.timers == 0
        assert crowd.most <= places
        assert crowd.most_looks <= max(1, places - 1)

    asyncio.run(run())


async def test_those_who_give_up_leave_nothing_behind() -> None:
    """Where nobody gets through, those who come and give up do not pile up behind those who stay."""
    crowd = _Crowd(PoolLimits(requests_at_once=1))
    holding = _send(crowd, 1, is_poll=False)
    await settle()
    patient = _send(crowd, 1, is_poll=False)
    for _ in range(20):
        giving_up = [*_send(crowd, 5, is_poll=False), *_send(crowd, 5, is_poll=True)]
        await asyncio.sleep(0)
        patient += _send(crowd, 1, is_poll=False)
        await asyncio.sleep(0)
        for task in giving_up:
            task.cancel()
        await asyncio.sleep(0)
    await settle()
    assert len(crowd.limiter._queue) == len(patient)  # noqa: SLF001 - memory is not told in statistics
    assert len(crowd.limiter._poll_queue) == 0  # noqa: SLF001 - as above
    for task in (*holding, *patient):
        task.cancel()
    await settle()
    crowd.assert_empty()


async def test_statistics_say_how_the_gate_stands() -> None:
    """The numbers tell who is inside, who waits in which line, and the present rate."""
    crowd = _Crowd(PoolLimits(requests_at_once=1, requests_per_second=10))
    tasks = [*_send(crowd, 2, is_poll=False), *_send(crowd, 3, is_poll=True)]
    await settle()
    numbers = crowd.limiter.statistics()
    assert (numbers.under_way, numbers.waiting, numbers.waiting_polls, numbers.per_second) == (1, 1, 3, 10.0)
    for task in tasks:
        task.cancel()
    await settle()
    crowd.assert_empty()


async def test_nobody_in_line_leaves_no_timer() -> None:
    """When the last one in line is cancelled, the timer for its moment goes too."""
    clock = FakeClock()
    limiter = Limiter(PoolLimits(requests_per_second=0.1), clock)
    await limiter.acquire(is_poll=False)
    waiting = asyncio.create_task(limiter.acquire(is_poll=False))
    await settle()
    assert clock.timers == 1
    waiting.cancel()
    await settle()
    assert clock.timers == 0
