"""Has changes recorded: all that come while the journal is busy go to it together."""

import asyncio
from collections.abc import Sequence
from itertools import chain
from typing import TYPE_CHECKING, TypeAlias

from .record import BatchJournal, Change

if TYPE_CHECKING:
    from .flow import Flow

_Ask: TypeAlias = "tuple[Sequence[Change], asyncio.Future[bool]]"


class Recorder:
    """Calls the journal for many rows at a time: a call for each would cost more than the record itself."""

    def __init__(self, flow: "Flow", journal: BatchJournal) -> None:
        self._flow = flow
        self._journal = journal
        self._asks: list[_Ask] = []
        self._is_serving = False
        #: How many who asked have not gone on yet.
        self.asked = 0

    async def record(self, changes: Sequence[Change]) -> bool:
        """Have `changes` recorded, and say whether they were; if not, the batch ends."""
        answer: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        self._asks.append((changes, answer))
        self.asked += 1
        try:
            if not self._is_serving:
                self._is_serving = True
                self._flow.spawn(self._serve())
            return await answer
        finally:
            self.asked -= 1

    async def _serve(self) -> None:
        asks: list[_Ask] = []
        try:
            while self._asks:
                asks, self._asks = self._asks, []
                await self._record(asks)
        finally:
            self._is_serving = False
            _answer(asks, is_done=False)  # cancelled amid them

    async def _record(self, asks: Sequence[_Ask]) -> None:
        try:
            await self._journal.record(list(chain.from_iterable(changes for changes, _ in asks)))
        except Exception as error:  # noqa: BLE001 - whatever ails it, nothing may be started any more
            self._flow.fail(error)
            if len(asks) == 1:
                _answer(asks, is_done=False)
                return
            for ask in asks:  # one row's fault keeps no other from being recorded: nothing was changed yet
                await self._record([ask])
        else:
            _answer(asks, is_done=True)


def _answer(asks: Sequence[_Ask], *, is_done: bool) -> None:
    for _, answer in asks:
        if not answer.done():
            answer.set_result(is_done)
