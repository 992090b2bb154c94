"""A poll worker as the scheduler sees it: what it is to poll, and how it fails."""

import asyncio

from ..errors import TransportError
from .groups import ListPoll
from .runs import PolledRun


class PollWorker:
    """A poll worker: the poll that it was assigned, and what it waits for while it has none."""

    __slots__ = ("_wake", "poll")

    def __init__(self, poll: PolledRun | ListPoll) -> None:
        #: The poll that was assigned and not begun.
        self.poll: PolledRun | ListPoll | None = poll
        self._wake: asyncio.Future[None] | None = None

    def assign(self, poll: PolledRun | ListPoll) -> None:
        """Assign the next poll to a worker that is idle."""
        self.poll = poll
        if self._wake is not None and not self._wake.done():  # else its task is being cancelled
            self._wake.set_result(None)

    async def until_assigned(self) -> None:
        """Wait until a poll is assigned."""
        self._wake = asyncio.get_running_loop().create_future()
        await self._wake

    def take(self) -> PolledRun | ListPoll | None:
        """Return the assigned poll, which is begun now."""
        poll, self.poll = self.poll, None
        return poll


def fault_of_poll(error: Exception | asyncio.CancelledError) -> Exception:
    """Return what a poll failed with. A cancellation is none of the vendor's, and passes."""
    if not isinstance(error, asyncio.CancelledError):
        return error
    task = asyncio.current_task()
    if task is not None and task.cancelling():
        fault: Exception = TransportError("the poll was cancelled together with its poll worker")
    else:
        fault = RuntimeError("a poll was cancelled, though its poll worker was not")
    fault.__cause__ = error
    return fault


def raise_if_cancelled(error: Exception | asyncio.CancelledError) -> None:
    """Raise the cancellation of a poll worker's task, with which its poll failed."""
    task = asyncio.current_task()
    if isinstance(error, asyncio.CancelledError) and (task is None or task.cancelling()):
        raise error
