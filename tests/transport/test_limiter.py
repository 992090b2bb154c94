"""The limiter of one account: how many at once, how many a second, starts before polls, no permit lost."""

import asyncio
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aioagents.transport import Limiter, PoolLimits, RateLimit
from tests.fakes import FakeClock, settle


class _Users:
    """Tasks that hold a permit until the test releases it."""

    def __init__(self, limits: PoolLimits) -> None:
        self.clock = FakeClock()
        self.limiter = Limiter(limits, self.clock)
        self.inside = 0
        self.polls_inside = 0
        self.most = 0
        self.most_polls = 0
        self.entered: list[tuple[str, float]] = []
        self.releases: list[asyncio.Event] = []

    async def go(self, *, is_poll: bool, stay: asyncio.Event | None = None) -> None:
        """Acquire a permit, hold it until the test says so, and release it."""
        stay = stay or asyncio.Event()
        await self.limiter.acquire(is_poll=is_poll)
        try:
            self.entered.append(("poll" if is_poll else "start", self.clock.now()))
            self.inside += 1
            self.polls_inside += is_poll
            self.most = max(self.most, self.inside)
            self.most_polls = max(self.most_polls, self.polls_inside)
            self.releases.append(stay)
            await stay.wait()
        finally:
            self.inside -= 1
            self.polls_inside -= is_poll
            self.limiter.release(is_poll=is_poll)

    def release(self) -> None:
        """Make the task that has held a permit for the longest time release it."""
        self.releases.pop(0).set()

    def assert_empty(self) -> None:
        """Assert that no permit is in use, and nobody waits."""
        numbers = self.limiter.statistics()
        assert (numbers.under_way, numbers.waiting, numbers.waiting_polls) == (0, 0, 0)


def _send(users: _Users, count: int, *, is_poll: bool) -> list["asyncio.Task[None]"]:
    return [asyncio.ensure_future(users.go(is_poll=is_poll)) for _ in range(count)]


async def test_no_queue_for_connections_behind_the_limiter() -> None:
    """No more permits than a host has connections are granted, so that no burst follows a stall."""
    users = _Users(PoolLimits(requests_at_once=100, per_host=2, requests_per_second=10))
    stay = asyncio.Event()
    tasks = [asyncio.ensure_future(users.go(is_poll=False, stay=stay)) for _ in range(10)]
    await settle()
    await users.clock.advance(3)
    assert len(users.entered) == 2
    stay.set()
    await users.clock.advance(3)
    await asyncio.gather(*tasks)
    times = [at for _, at in users.entered]
    assert all(later - sooner >= 0.0999 for sooner, later in pairwise(times))
    users.assert_empty()


async def test_never_more_permits_than_the_limit() -> None:
    """No more permits are in use than the limit says, and each that is released is granted again."""
    users = _Users(PoolLimits(requests_at_once=3))
    tasks = _send(users, 10, is_poll=False)
    await settle()
    assert (users.inside, users.limiter.statistics().waiting) == (3, 7)
    for _ in range(10):
        users.release()
        await settle()
    await asyncio.gather(*tasks)
    assert users.most == 3
    users.assert_empty()


@pytest.mark.parametrize(("permits", "polls"), [(1, 1), (2, 1), (8, 7), (16, 14), (100, 88)])
async def test_polls_leave_permits_to_the_others(permits: int, polls: int) -> None:
    """Polls never take the last eighth of the permits, at least one where there are two."""
    users = _Users(PoolLimits(requests_at_once=permits))
    tasks = _send(users, 2 * permits, is_poll=True)
    await settle()
    assert users.inside == polls
    starts = _send(users, permits - polls, is_poll=False)
    await settle()
    assert users.inside == permits
    for task in (*tasks, *starts):
        task.cancel()
    await settle()
    users.assert_empty()


async def test_starts_before_polls() -> None:
    """A start overtakes the polls that wait; one permit in ten still goes to a poll."""
    users = _Users(PoolLimits(requests_at_once=2))
    holding = _send(users, 2, is_poll=False)
    await settle()
    polls = _send(users, 5, is_poll=True)
    await settle()
    starts = _send(users, 40, is_poll=False)
    await settle()
    for _ in range(47):
        users.release()
        await settle()
    await asyncio.gather(*holding, *polls, *starts)
    kinds = [kind for kind, _ in users.entered][2:]
    assert kinds[:9] == ["start"] * 9
    assert [kinds[start : start + 10].count("poll") for start in range(0, 40, 10)] == [1, 1, 1, 1]
    users.assert_empty()


async def test_a_poll_does_not_slip_past_a_waiting_start() -> None:
    """A poll that comes just when the next request is due, and a start waits for it, lets the start go first."""
    users = _Users(PoolLimits(requests_per_second=1))
    first = _send(users, 1, is_poll=False)
    await settle()
    start = _send(users, 1, is_poll=False)
    await settle()
    # The timer is late: it is due, and was not called yet.
    users.clock._now += 1.0  # noqa: SLF001 - only a clock that skips its timers can be late
    poll = _send(users, 1, is_poll=True)
    await settle()
    await users.clock.advance(5)
    assert [kind for kind, _ in users.entered] == ["start", "start", "poll"]
    for _ in range(3):
        users.release()
    await asyncio.gather(*first, *start, *poll)
    users.assert_empty()


async def test_starts_do_not_starve_polls_by_slipping_in() -> None:
    """Starts that always come just when a request is due do not keep a poll waiting without end."""
    users = _Users(PoolLimits(requests_per_second=1))
    tasks = _send(users, 1, is_poll=False)
    await settle()
    tasks += _send(users, 1, is_poll=True)
    await settle()
    for _ in range(12):
        users.clock._now += 1.0  # noqa: SLF001 - only a clock that skips its timers can be late
        tasks += _send(users, 2, is_poll=False)
        await settle()
    assert "poll" in [kind for kind, _ in users.entered]
    for task in tasks:
        task.cancel()
    await settle()
    users.assert_empty()


async def test_quota_spaces_requests() -> None:
    """Requests are sent at the quota's rate, and polls at their own as well."""
    users = _Users(PoolLimits(requests_per_second=2, polls_per_second=RateLimit(1, 2)))
    began_at = users.clock.now()
    tasks = [*_send(users, 4, is_poll=True), *_send(users, 4, is_poll=False)]
    await users.clock.advance(20)
    moments = [round(at - began_at, 6) for _, at in users.entered]
    assert moments[:6] == [0.0, 0.5, 1.0, 1.5, 2.0, 2.5]
    assert [round(at - began_at, 6) for kind, at in users.entered if kind == "poll"] == [0.0, 2.5, 4.5, 6.5]
    for task in tasks:
        task.cancel()
    await settle()
    users.assert_empty()
    assert users.clock.timers == 0


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
        users = _Users(PoolLimits(requests_per_second=RateLimit(requests, seconds), requests_at_once=1000))
        tasks: list[asyncio.Task[None]] = []
        for count, is_poll, pause in batches:
            tasks += _send(users, count, is_poll=is_poll)
            await users.clock.advance(pause)
        await users.clock.advance(80 * seconds / requests)
        moments = [at for _, at in users.entered]
        assert len(moments) == len(tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        users.assert_empty()
        return moments

    moments = asyncio.run(run())
    for index, moment in enumerate(moments):
        window = [each for each in moments[index:] if each < moment + seconds * (1 - 1e-9)]
        assert len(window) <= requests


_Action = tuple[str, int, bool]


@settings(max_examples=80, deadline=None)
@given(
    permits=st.integers(1, 5),
    per_second=st.sampled_from([None, 5, 200]),
    actions=st.lists(
        st.tuples(
            st.sampled_from(["acquire", "acquire", "cancel", "release", "release+cancel", "time", "step"]),
            st.integers(0, 30),
            st.booleans(),
        ),
        max_size=60,
    ),
)
def test_every_permit_is_released(permits: int, per_second: int | None, actions: list[_Action]) -> None:
    """Whatever is acquired, cancelled and released: the limits hold, and no permit is in use at the end."""

    async def run() -> None:
        users = _Users(PoolLimits(requests_at_once=permits, requests_per_second=per_second))
        tasks: list[asyncio.Task[None]] = []
        stays: list[asyncio.Event] = []

        for name, number, is_poll in actions:
            if name == "time":
                await users.clock.advance(number / 20)
            elif name == "step":
                await asyncio.sleep(0)
            elif name == "acquire":
                stays.append(asyncio.Event())
                tasks.append(asyncio.ensure_future(users.go(is_poll=is_poll, stay=stays[-1])))
            elif tasks and name == "cancel":
                tasks[number % len(tasks)].cancel()
            elif tasks:
                stays[number % len(tasks)].set()
                if name == "release+cancel":
                    await asyncio.sleep(0)
                    tasks[(number + 1) % len(tasks)].cancel()
            assert users.inside <= users.limiter.statistics().under_way <= permits
        await users.clock.advance(1.0)
        for stay in stays:
            stay.set()
        await users.clock.advance(100.0)
        assert all(task.done() for task in tasks)  # nobody waits for ever
        users.assert_empty()
        assert users.clock.timers == 0
        assert users.most <= permits
        assert users.most_polls <= max(1, permits - 1)

    asyncio.run(run())


async def test_those_who_give_up_leave_nothing_behind() -> None:
    """While no permit is granted, waiters that are cancelled do not pile up behind those that stay."""
    users = _Users(PoolLimits(requests_at_once=1))
    holding = _send(users, 1, is_poll=False)
    await settle()
    patient = _send(users, 1, is_poll=False)
    for _ in range(20):
        giving_up = [*_send(users, 5, is_poll=False), *_send(users, 5, is_poll=True)]
        await asyncio.sleep(0)
        patient += _send(users, 1, is_poll=False)
        await asyncio.sleep(0)
        for task in giving_up:
            task.cancel()
        await asyncio.sleep(0)
    await settle()
    assert len(users.limiter._queue) == len(patient)  # noqa: SLF001 - memory is not in the statistics
    assert len(users.limiter._poll_queue) == 0  # noqa: SLF001 - as above
    for task in (*holding, *patient):
        task.cancel()
    await settle()
    users.assert_empty()


async def test_statistics() -> None:
    """The numbers say how many permits are in use, how many wait in which queue, and the present rate."""
    users = _Users(PoolLimits(requests_at_once=1, requests_per_second=10))
    tasks = [*_send(users, 2, is_poll=False), *_send(users, 3, is_poll=True)]
    await settle()
    numbers = users.limiter.statistics()
    assert (numbers.under_way, numbers.waiting, numbers.waiting_polls, numbers.per_second) == (1, 1, 3, 10.0)
    for task in tasks:
        task.cancel()
    await settle()
    users.assert_empty()


async def test_an_empty_queue_leaves_no_timer() -> None:
    """When the last one in the queue is cancelled, its timer is cancelled too."""
    clock = FakeClock()
    limiter = Limiter(PoolLimits(requests_per_second=0.1), clock)
    await limiter.acquire(is_poll=False)
    waiting = asyncio.create_task(limiter.acquire(is_poll=False))
    await settle()
    assert clock.timers == 1
    waiting.cancel()
    await settle()
    assert clock.timers == 0
