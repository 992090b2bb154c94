"""Ends requests that take too long. One timer serves all that have the same time."""

import asyncio
from collections import OrderedDict
from typing import Any, Final

#: Lines that nobody stands in are kept up to so many: times that callers choose may differ each time.
_MOST_LINES: Final = 16


class Deadline:
    """The end of the time that the running task has for a request. Whoever begins it has to end it."""

    __slots__ = ("_before", "_line", "_task", "due_at", "is_over")

    def __init__(self, line: "_Line", due_at: float, task: "asyncio.Task[Any]") -> None:
        self._line = line
        self._task = task
        self._before = task.cancelling()
        self.due_at = due_at
        #: Whether the time was up.
        self.is_over = False

    def expire(self) -> None:
        """Break the task off."""
        self.is_over = True
        self._task.cancel()

    def end(self) -> None:
        """Forget it, since the request is over."""
        self._line.waiting.pop(self, None)

    def broke_off(self, exc: BaseException) -> bool:
        """Say whether `exc` is of this deadline's making, and nobody else has cancelled the task. Ask once."""
        if not self.is_over:
            return False
        is_alone = self._task.uncancel() <= self._before
        return is_alone and isinstance(exc, asyncio.CancelledError)


class _Line:
    """Those that have the same time, in the order of their ends."""

    __slots__ = ("_loop", "_timer", "waiting")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._timer: asyncio.TimerHandle | None = None
        self.waiting: OrderedDict[Deadline, None] = OrderedDict()

    def add(self, seconds: float, task: "asyncio.Task[Any]") -> Deadline:
        due_at = self._loop.time() + seconds
        deadline = Deadline(self, due_at, task)
        self.waiting[deadline] = None
        if self._timer is None:
            self._timer = self._loop.call_at(due_at, self._on_time)
        return deadline

    def close(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _on_time(self) -> None:
        """End those whose time is up, and be back when the next one's is."""
        self._timer = None
        now = self._loop.time()
        while self.waiting:
            deadline = next(iter(self.waiting))
            if deadline.due_at > now:
                self._timer = self._loop.call_at(deadline.due_at, self._on_time)
                return
            del self.waiting[deadline]
            deadline.expire()


class Deadlines:
    """The deadlines of one pool's requests.

    A timer for each request, as aiohttp sets it, costs a tenth of all that a request costs; here most of them set
    none.
    """

    def __init__(self) -> None:
        self._lines: dict[float, _Line] = {}

    def begin(self, seconds: float) -> Deadline:
        """Give the running task so many seconds from now; then it is cancelled."""
        line = self._lines.get(seconds)
        if line is None:
            line = self._new(seconds)
        task = asyncio.current_task()
        if task is None:
            raise RuntimeError("a request is made in a task")
        return line.add(seconds, task)

    def _new(self, seconds: float) -> _Line:
        if len(self._lines) >= _MOST_LINES:
            for old, line in list(self._lines.items()):
                if not line.waiting:
                    line.close()
                    del self._lines[old]
        line = self._lines[seconds] = _Line(asyncio.get_running_loop())
        return line

    def close(self) -> None:
        """Set no timer any more. May be called twice."""
        for line in self._lines.values():
            line.close()
        self._lines.clear()
