"""Where the calls that block on a journal's file run: one after the other, in a thread by default."""

import threading
from collections.abc import Callable
from queue import SimpleQueue
from typing import Protocol


class Executor(Protocol):
    """Runs calls one after the other, in the order in which they were submitted."""

    def submit(self, call: Callable[[], object]) -> None:
        """Run `call` after the calls submitted before it. Neither waits nor raises."""
        ...

    def close(self) -> None:
        """Accept no more calls; those submitted before still run."""
        ...

    def join(self) -> None:
        """Wait until the last call has returned."""
        ...


class ThreadExecutor:
    """Runs calls in a thread of its own, which the first call starts."""

    def __init__(self) -> None:
        self._calls: SimpleQueue[Callable[[], object] | None] = SimpleQueue()
        # A daemon: a disk that hangs must not keep the process from ending.
        self._thread = threading.Thread(target=self._run, name="aioagents-journal", daemon=True)

    def submit(self, call: Callable[[], object]) -> None:
        """Run `call` in the thread."""
        self._calls.put(call)
        if self._thread.ident is None:
            self._thread.start()

    def close(self) -> None:
        """End the thread after the calls submitted so far."""
        self._calls.put(None)

    def join(self) -> None:
        """Wait until the thread has ended."""
        self._thread.join()

    def _run(self) -> None:
        while (call := self._calls.get()) is not None:
            call()
