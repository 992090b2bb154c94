"""Who reads the outcomes of a batch, what is read from, and all that may be wrong with both."""

import asyncio
import math
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import aclosing
from functools import partial
from random import Random
from typing import TYPE_CHECKING, Any, Final

from aioagents.batch import Batch, BatchRow, BatchStatistics, Outcome, RowFault, RowState

from .loop import step

if TYPE_CHECKING:
    from .life import Life

#: By which faults a batch may end with an error.
_CAUSES: Final[Mapping[str, str | tuple[str, ...]]] = {
    "JournalError": "journal.",
    "AuthenticationError": ("start.unauthorized", "poll.unauthorized", "token."),
    "TypeError": "input.type",
    "InputBroke": "input.error",
}


class Reader:
    """Whoever reads the outcomes of one batch."""

    def __init__(self, life: "Life", number: int, batch: Batch) -> None:
        self.life = life
        self.number = number
        self.batch = batch
        self.task: asyncio.Task[Any] | None = None
        self.is_impatient = False
        self.is_stopped = False
        #: Whether the batch was stopping already when all was quiet last: from then on it sends nothing.
        self.is_silent = False
        self.cancelled = 0
        self.has_left = False
        self.is_over = False
        self.error: Exception | None = None
        self.count = 0
        self._leaves_after: int | None = None
        self._drops = False
        self._input = Input(life, life.plan.stream(f"input {life.number} {number}"))

    def plan(self) -> None:
        """Draw when it leaves, is cancelled or stops the batch."""
        life, hit = self.life, self.life.faults.hit
        if hit("reader.leaves"):
            chance = life.stream(f"leaves {self.number}")
            self._leaves_after = chance.randrange(1 + life.plan.rows)
            self._drops = chance.random() < 0.3
            self.is_impatient |= self._drops  # the journal is closed before the batch is
        if hit("reader.cancelled"):
            chance = life.stream(f"cancelled {self.number}")
            at = step(chance)
            for _ in range(chance.choice((1, 1, 2, 3))):
                life.loop.at_step(at, self.cancel)
                at += int(10 ** chance.uniform(0.0, 2.0))
        if hit("batch.stopped"):
            chance = life.stream(f"stopped {self.number}")
            for _ in range(chance.choice((1, 1, 2))):
                grace = chance.choice((0.0, 0.5, 5.0, math.inf, math.inf))
                life.loop.at_step(step(chance), partial(self.stop, grace))

    def cancel(self) -> None:
        """Cancel the reader's task."""
        if self.task is not None and not self.task.done():
            self.cancelled += 1
            self.is_impatient |= self.cancelled > 1
            self.life.checks.note(f"reader {self.number} cancelled")
            self.task.cancel()

    def stop(self, grace: float) -> None:
        """Stop the batch."""
        if not self.is_over:
            self.is_stopped = True
            self.is_impatient |= grace < 1.0
            self.life.checks.note(f"batch {self.number} stopped, grace {grace}")
            self.batch.stop(grace=grace)

    async def read(self) -> None:
        """Read outcomes."""
        try:
            if self._drops:
                async for outcome in self.batch.run(self._input.rows()):
                    self._take(outcome)
                    if self.count == self._leaves_after:
                        self.has_left = True
                        return
            else:
                async with aclosing(self.batch.run(self._input.rows())) as outcomes:
                    async for outcome in outcomes:
                        self._take(outcome)
                        if self.count == self._leaves_after:
                            self.has_left = True
                            return
                        if self.life.faults.hit("reader.slow"):
                            await asyncio.sleep(self.life.chance.uniform(0.0, 5.0))
        except Exception as error:  # noqa: BLE001 - told by the checks
            self.error = error
            self.life.checks.note(f"reader {self.number}: {error!r}")
        self.is_over = not self.has_left

    def _take(self, outcome: Outcome) -> None:
        self.count += 1
        self.life.checks.outcome(self.number, outcome, is_twice="input.twice" in self.life.faults)

    def recount(self) -> None:
        """Compare the batch's own figures with what is seen."""
        batch, fail = self.batch.statistics(), self.life.checks.fail
        options = self.life.plan.batch
        self.is_silent = batch.is_stopping
        for name in ("in_flight", "sending"):
            value = getattr(batch, name)
            if not 0 <= value <= options[name]:
                fail("bound", f"{name} is {value}, allowed are {options[name]}")
        if batch.sending > batch.in_flight:
            fail("recount", f"{batch.sending} rows are sending, of {batch.in_flight} in flight")
        total = sum(batch.states.values()) + batch.faulty
        # An outcome that the journal does not have and nobody reads any more goes to hooks.
        is_reading = not (self.has_left or self.cancelled or self.error or batch.is_stopping)
        if total < self.count + batch.unread or (is_reading and total > self.count + batch.unread):
            fail("recount", f"{total} outcomes by state, {self.count} read, {batch.unread} unread")
        # Besides those ahead there may be a chunk that is being claimed, and rows that were put back.
        most = self.life.plan.ahead * 2 + options["sending"]
        if batch.ready > most:
            fail("bound", f"{batch.ready} rows ahead, allowed are {most}")
        self._recount_rows(batch)

    def _recount_rows(self, batch: BatchStatistics) -> None:
        """Compare rows in flight with what the journal has, where that is all done and nobody has stopped."""
        life, checks = self.life, self.life.checks
        if len(life.journals) != 1 or batch.is_stopping or not life.journals[0].is_idle:
            return
        sending = followed = resumed = 0
        for row in checks.rows.values():
            if row.state is RowState.SENDING:
                sending += row.sending_in == life.number
            elif row.state is RowState.STARTED and not checks.has_outcome(self.number, row.key):
                followed += row.sending_in == life.number
                resumed += row.sending_in != life.number
        if batch.sending != sending:
            checks.fail("recount", f"{batch.sending} rows count as sending, {sending} are")
        least = sending + followed - batch.unread
        if not least <= batch.in_flight <= sending + followed + resumed:
            checks.fail(
                "recount", f"{batch.in_flight} rows count as in flight; {sending}, {followed}, {resumed} are"
            )

    def ended(self) -> None:
        """See that each row had its outcome, where nobody stopped before."""
        checks = self.life.checks
        if self.error is not None and not self._is_expected(self.error):
            checks.fail("error", f"reader {self.number}: {self.error!r}")
        if not self.is_over:
            return
        figures = self.batch.statistics()
        if self.error is None and not self.is_stopped:
            if figures.in_flight or figures.sending or figures.ready or figures.unread:
                checks.fail("recount", f"{figures} of a batch that is over")
            if self.life.plan.batches == 1 or self.life.is_calm:
                for row in self._input.keys:
                    if not checks.outcomes.get((self.number, row)):
                        checks.fail("no outcome", f"{row} has none, the journal has {checks.row(row).state}")
        states = checks.outcomes_of(self.number)
        is_comparable = (
            not (figures.unread or self.error or self.is_stopped)
            and "input.unwritable" not in self.life.faults
        )
        if is_comparable and {state: count for state, count in figures.states.items() if count} != states:
            checks.fail("recount", f"{figures.states} in the figures, {states} seen")

    def _is_expected(self, error: Exception) -> bool:
        """Return whether what went wrong in this life explains an error."""
        life, name = self.life, type(error).__name__
        if life.is_calm:
            return False
        if name == "PoolClosed":
            return life.was_closed
        if name == "AgentsError":
            return life.was_cancelled
        if name == "JournalError" and life.plan.batches > 1:
            return True
        return any(fault.startswith(_CAUSES.get(name, "?")) for fault in life.faults.count)

    def __str__(self) -> str:
        return f"{self.number}: {self.count} outcomes, {self.batch.statistics()}"


class InputBroke(Exception):
    """What the input of a batch raises."""


class Input:
    """The rows of a batch, as an iterator of either kind, with what may be wrong with them."""

    def __init__(self, life: "Life", chance: Random) -> None:
        self._life = life
        self._chance = chance
        self.keys = [f"k{number}" for number in range(life.plan.rows)]
        if life.plan.batches > 1:
            chance.shuffle(self.keys)

    def rows(self) -> Any:
        """Return the rows."""
        kind = self._chance.random()
        if kind < 0.4:
            return self._slow()
        return list(self._rows()) if kind < 0.7 and "input.error" not in self._life.faults else self._rows()

    def _rows(self) -> Iterator[Any]:
        hit, chance = self._life.faults.hit, self._chance
        given: list[BatchRow] = []
        for number, key in enumerate(self.keys):
            if hit("input.error"):
                raise InputBroke
            if hit("input.fault"):
                yield RowFault(number, "no row", chance.choice(("", key + "!")))
            if hit("input.type"):
                yield "no row"
            if hit("input.unwritable"):
                yield BatchRow("\ud800", "t")
            row = BatchRow(key, f"t-{key}", line=chance.choice((None, number)))
            given.append(row)
            yield row
            if hit("input.twice"):
                again = chance.choice(given)
                if not self._life.checks.has_journal:  # then only a row under way is known
                    self._life.checks.row(again.key).resent += 1
                yield again

    async def _slow(self) -> AsyncIterator[Any]:
        pause = self._chance.choice((0.0, 0.0, 0.1, 2.0))
        for row in self._rows():
            if self._chance.random() < 0.3:
                await asyncio.sleep(pause)
            yield row
