"""Batches: the public face."""

import math
import os
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import AsyncExitStack
from typing import Literal

from ..contract import BatchRow, RunClient
from ..transport import RateLimit
from .driver import BatchDriver
from .journal import Journal
from .outcome import BatchStatistics, Outcome
from .reader import Rows
from .record import BatchJournal, Change, Record, RowState
from .settings import BatchSettings


class Batch:
    """Starts the rows of an input, each once, follows their runs, and yields an outcome for each.

    `journal` is a path, where a `Journal` is kept, or any `BatchJournal`: the process may then be killed at any
    instant, and the same batch, run again, goes on where it was. Without one nothing is remembered from one
    `run` to the next, nor of rows that have ended: a key that stands twice in the input is started twice, unless its
    first row is still waiting or under way.

    At most `in_flight` rows are under way (start sent, or run followed), `sending` of them with their start sent: a
    kill leaves at most so many unknown. Starts are evenly spaced, at most `starts_per_second`. Rows of which an
    earlier run does not know whether their start arrived are reported as unknown, or started once more with
    `on_unknown="resend"`. A run is awaited for `timeout` seconds, without end if None; then its row is left as
    STARTED. After eight failures in a row that may be an outage, rows are tried one at a time, at most 30 seconds
    apart, until one is started. Leaving the iteration waits at most `grace` seconds for starts that were sent; those
    that take longer go on, and are reported as `StartAbandoned`. Raises ValueError for invalid settings.
    """

    def __init__(
        self,
        client: RunClient,
        *,
        journal: BatchJournal | str | os.PathLike[str] | None = None,
        in_flight: int = 1000,
        starts_per_second: float | RateLimit | None = None,
        on_unknown: Literal["report", "resend"] = "report",
        timeout: float | None = None,
        sending: int = 64,
        grace: float = 5.0,
    ) -> None:
        self._client = client
        self._journal = journal
        self._settings = BatchSettings(
            in_flight=in_flight,
            sending=sending,
            starts_per_second=starts_per_second,
            on_unknown=on_unknown,
            timeout=timeout,
            grace=grace,
        )
        self._driver: BatchDriver | None = None
        self._stop: tuple[float, bool] | None = None  # asked for while the journal is being opened
        self._is_running = False

    async def run(self, rows: Rows) -> AsyncGenerator[Outcome, None]:
        """Yield outcomes as they come: `async for outcome in batch.run(rows)`.

        `rows` is any iterable or async iterable, read at most a few hundred rows ahead of what is started.
        Outcomes that nobody reads hold up the starts. One row's failure stops no other. What stops the batch is
        raised here, after the outcomes before it: `JournalError`, `AuthenticationError` and `PoolClosed`, TypeError
        for an item that is no row, and whatever `rows` raises; no start is sent after that. Raises RuntimeError if
        the batch is running already.

        Leaving the iteration, by `break`, `aclose` or cancellation, leaves the runs going and the journal exact; use
        `contextlib.aclosing` so that it is closed when the block ends.
        """
        if self._is_running:
            raise RuntimeError("the batch is running; make another one, with another journal")
        self._is_running = True
        self._driver = self._stop = None
        try:
            async with AsyncExitStack() as stack:
                journal = await self._open_journal(stack)
                driver = self._driver = BatchDriver(self._client, journal, self._settings)
                try:
                    await driver.open(rows)
                    if self._stop is not None:
                        grace, cancel = self._stop
                        driver.stop(grace, cancel=cancel)
                    while (outcome := await driver.next()) is not None:
                        yield outcome
                finally:
                    await driver.aclose()
        finally:
            self._is_running = False

    def stop(self, *, grace: float = math.inf, cancel: bool = False) -> None:
        """Start nothing more; the iteration ends once all starts that were sent are recorded.

        Runs go on. With `cancel`, the vendor is asked to cancel each run that was started and has not ended, also by
        an earlier run of the batch, at most `sending` at a time. Their outcomes come before the iteration ends, with
        `RunCancelled` as the error of what was cancelled; a row whose run the vendor would not cancel is left as
        STARTED, and so is one whose run has not ended 30 seconds after the vendor accepted. Where the vendor has no
        call for it, one outcome says so (`Unsupported`), and the batch stops as without `cancel`.

        Waits at most `grace` seconds; a later call may shorten that. Does nothing where no batch runs. Call it in the
        event loop.
        """
        if self._is_running and self._driver is None:
            before, was_cancel = self._stop or (math.inf, False)
            self._stop = min(grace, before), cancel or was_cancel
        elif self._is_running and self._driver is not None:
            self._driver.stop(grace, cancel=cancel)

    def statistics(self) -> BatchStatistics:
        """Return the numbers of the present run, or of the last one."""
        return BatchStatistics() if self._driver is None else self._driver.statistics()

    async def _open_journal(self, stack: AsyncExitStack) -> BatchJournal:
        """Return the journal, opened within `stack` where that is for the batch to do."""
        journal = self._journal
        if isinstance(journal, str | os.PathLike):
            # Not in a context manager that is a generator itself: a loop that ends closes all generators at once.
            return await stack.enter_async_context(Journal(journal, clock=self._client.pool.clock))
        return _Forgetful() if journal is None else journal

    def __repr__(self) -> str:
        state = "running" if self._is_running else "not running"
        return f"<Batch of {self._client.vendor}, {state}>"


class _Forgetful:
    """A journal that keeps nothing: the batch itself knows what is in flight."""

    async def begin(self) -> None:
        """Do nothing."""

    async def claim(self, rows: Sequence[BatchRow]) -> Sequence[Record]:
        """Return each row as new."""
        return [
            Record(key=row.key, target=row.target, digest=b"", state=RowState.PLANNED, owner="")
            for row in rows
        ]

    async def record(self, changes: Sequence[Change]) -> None:
        """Keep nothing."""

    async def unfinished(self) -> AsyncIterator[Record]:
        """Return nothing."""
        nothing: Sequence[Record] = ()
        for record in nothing:
            yield record
