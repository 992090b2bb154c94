"""One timer for all that have the same number of seconds."""

import asyncio
from collections.abc import Callable
from typing import Any, cast

from hypothesis import given
from hypothesis import strategies as st

from aioagents.transport.deadlines import Deadlines


class Handle:
    """A timer that was set."""

    def __init__(self, at: float, call: Callable[[], object]) -> None:
        self.at = at
        self.call = call
        self.is_cancelled = False

    def cancel(self) -> None:
        """Cancel the call."""
        self.is_cancelled = True


class Loop:
    """An event loop's clock, moved by hand, and its timers."""

    def __init__(self) -> None:
        self.now = 100.0
        self.handles: list[Handle] = []

    def time(self) -> float:
        """Return the time."""
        return self.now

    def call_at(self, at: float, call: Callable[..., object], *arguments: Any) -> Handle:
        """Set a timer."""
        self.handles.append(Handle(at, lambda: call(*arguments)))
        return self.handles[-1]

    @property
    def timers(self) -> list[Handle]:
        """Return the timers that are set."""
        return [handle for handle in self.handles if not handle.is_cancelled]

    def advance(self, seconds: float) -> None:
        """Let time pass, and make the calls that are due, each at its time."""
        ends_at = self.now + seconds
        while due := [handle for handle in self.timers if handle.at <= ends_at]:
            first = min(due, key=lambda handle: handle.at)
            self.now = max(self.now, first.at)
            self.handles.remove(first)
            first.call()
        self.now = ends_at


class Request:
    """A thing with a deadline, and when it expired."""

    due_at = 0.0

    def __init__(self, loop: Loop) -> None:
        self._loop = loop
        self.expired_at: float | None = None

    def expire(self) -> None:
        """Record when."""
        self.expired_at = self._loop.now


def _loop() -> tuple[Loop, asyncio.AbstractEventLoop]:
    loop = Loop()
    return loop, cast("asyncio.AbstractEventLoop", loop)


@given(st.lists(st.tuples(st.floats(0.0, 5.0), st.none() | st.floats(0.0, 12.0)), max_size=30))
def test_each_has_its_deadline(plan: list[tuple[float, float | None]]) -> None:
    """Each expires at its deadline if it is not discarded before; one timer is set at most."""
    loop, as_loop = _loop()
    deadlines = Deadlines(10.0)
    requests: list[tuple[Request, float, float | None]] = []
    for pause, lasts in plan:
        _pass(loop, deadlines, requests, pause)
        request = Request(loop)
        deadlines.add(request, as_loop)
        requests.append((request, loop.now, None if lasts is None else loop.now + lasts))
        assert len(loop.timers) <= 1
    _pass(loop, deadlines, requests, 100.0)
    for request, begun_at, over_at in requests:
        in_time = over_at is not None and over_at < begun_at + 10.0
        assert request.expired_at == (None if in_time else begun_at + 10.0)
    assert (repr(deadlines), loop.timers) == ("<Deadlines of 10 s, waiting=0>", [])


def _pass(
    loop: Loop, deadlines: Deadlines, requests: list[tuple[Request, float, float | None]], seconds: float
) -> None:
    """Let time pass, and discard requests when they end."""
    ends_at = loop.now + seconds
    ending = sorted((over_at, n) for n, (_, _, over_at) in enumerate(requests) if over_at is not None)
    for over_at, number in ending:
        if loop.now <= over_at <= ends_at and requests[number][0].expired_at is None:
            loop.advance(over_at - loop.now)
            deadlines.discard(requests[number][0])
    loop.advance(ends_at - loop.now)


def test_a_thousand_that_are_in_time_set_one_timer() -> None:
    """A thousand requests, one after the other, cost one timer, which is set again for the next deadline."""
    loop, as_loop = _loop()
    deadlines = Deadlines(10.0)
    for _ in range(1000):
        request = Request(loop)
        deadlines.add(request, as_loop)
        loop.advance(0.001)
        deadlines.discard(request)
    assert [handle.at for handle in loop.handles] == [110.0]


def test_closed() -> None:
    """Closing drops all deadlines and the timer; discarding and closing again are harmless."""
    loop, as_loop = _loop()
    deadlines = Deadlines(10.0)
    request = Request(loop)
    deadlines.add(request, as_loop)
    deadlines.close()
    deadlines.close()
    deadlines.discard(request)
    loop.advance(100.0)
    assert (request.expired_at, loop.timers) == (None, [])
