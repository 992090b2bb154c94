"""The journal of worlds against the real one: whatever is asked of both, they tell the same."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import timedelta
from pathlib import Path
from random import Random
from typing import Any

import pytest

from aioagents.batch import BatchRow, Change, Journal, Record, RowState
from aioagents.batch.plan import ENDS
from aioagents.errors import JournalError
from aioagents.model import RunRef
from tests.simulation.checks import Checks
from tests.simulation.disk import Disk
from tests.simulation.faults import Faults
from tests.simulation.journal import ModelJournal
from tests.simulation.loop import EPOCH, SimClock, SimLoop

_KEYS = ("a", "b", "c", "ключ", "\ud800")
#: How often a change to a state names a run.
_REFS = {RowState.STARTED: 0.9, **dict.fromkeys(ENDS.values(), 0.5)}


class _Both:
    """One program for two journals: `do` is given each in turn, and what it returns or raises is compared."""

    def __init__(self, path: Path, seed: int) -> None:
        self.path = path
        self.chance = Random(seed)
        self.disk = Disk()
        self.real_loop = asyncio.new_event_loop()
        self.loop = SimLoop(Random(seed))
        self._number = 0
        self.open()

    def open(self) -> None:
        """Open both, as another process."""
        self._number += 1
        owner = f"owner:{self._number}"
        self.real = Journal(self.path, owner=owner, clock=SimClock(self.loop))
        self.real_loop.run_until_complete(self.real.__aenter__())
        chance = Random(0)
        faults, checks = Faults({}, lambda _: chance), Checks(has_journal=False)
        self.model = ModelJournal(
            self.disk, owner, self.loop, chance=chance, faults=faults, checks=checks, delay=0.0
        )

    def close(self) -> None:
        """Close both."""
        self.real_loop.run_until_complete(self.real.aclose())
        self.model.end_life(is_killed=False)

    def do(self, act: Callable[[Any], Awaitable[Any]]) -> None:
        """Do the same to both."""

        async def attempt(journal: Any) -> Any:
            try:
                return await act(journal)
            except (JournalError, ValueError, TypeError) as error:
                return type(error)

        real = self.real_loop.run_until_complete(attempt(self.real))
        model = self.loop.run_until_complete(attempt(self.model))
        assert real == model

    def see(self) -> None:
        """Compare all that can be asked."""

        async def unfinished(journal: Any) -> list[Record]:
            return [record async for record in journal.unfinished()]

        self.do(unfinished)
        self.do(lambda journal: _list(journal.unemitted(100)))
        self.do(lambda journal: journal.emitted_size())
        self.do(lambda journal: journal.is_output_stale())

    def step(self) -> None:
        """Do one thing."""
        chance = self.chance
        kind = chance.random()
        if kind < 0.3:
            rows = [
                BatchRow(chance.choice(_KEYS), chance.choice(("t", "t", "t", "u")))
                for _ in range(chance.randint(1, 3))
            ]
            self.do(lambda journal: _list(journal.claim(rows)))
        elif kind < 0.8:
            changes = [self._change() for _ in range(chance.randint(1, 3))]
            self.do(lambda journal: journal.record(changes))
        elif kind < 0.88:
            keys, size = (
                [chance.choice(_KEYS[:4]) for _ in range(chance.randint(1, 2))],
                chance.randrange(100),
            )
            self.do(lambda journal: journal.record_emitted(keys, size))
        elif kind < 0.9:
            self.do(lambda journal: journal.reset_emission())
        elif kind < 0.95:
            self.do(lambda journal: journal.begin())
        else:
            self.close()
            self.open()

    def _change(self) -> Change:
        chance = self.chance
        states = tuple(RowState)
        state = chance.choice((*states, RowState.SENDING, RowState.SENDING, RowState.STARTED))
        at = EPOCH + timedelta(seconds=chance.randrange(100))
        return Change(
            key=chance.choice(_KEYS[:4]),
            state=state,
            at=at,
            ref=RunRef("sim", "", "r1") if chance.random() < _REFS.get(state, 0.0) else None,
            status=chance.choice(("", "", "over")),
            kind=chance.choice(("", "", "RunFailed")),
            error=chance.choice(("", "", "no tea")),
            output=chance.choice((None, None, {"cup": 1}, 0, False)),
            ended_at=chance.choice((None, at - timedelta(seconds=chance.randrange(-9, 99)))),
            is_by_hand=chance.random() < 0.2,
        )


async def _list(work: Awaitable[Any]) -> list[Any]:
    return list(await work)


@pytest.mark.parametrize("seed", range(12))
def test_answers_as_the_real_one_does(seed: int, tmp_path: Path) -> None:
    """Claims, changes, results and openings in any order leave both journals with the same rows."""
    both = _Both(tmp_path / "batch.db", seed)
    try:
        for _ in range(120):
            both.step()
            both.see()
    finally:
        both.close()
        both.real_loop.close()
        both.loop.close()
