"""Has changes recorded: all that come while the journal is busy go to it together."""

import asyncio
from collections.abc import Callable, Sequence
from itertools import chain
from typing import TYPE_CHECKING, Any, TypeAlias

from .record import BatchJournal, Change

if TYPE_CHECKING:
    from .flow import Flow

_Ask: TypeAlias = "tuple[Sequence[Change], Callable[..., object], tuple[Any, ...]]"


class Recorder:
    """Calls the journal for many rows at a time: a call for each would cost more than the record itself."""

    def __init__(self, flow: "Flow", journal: BatchJournal) -> None:
        self._flow = flow
        self._journal = journal
        self._asks: list[_Ask] = []
        self._going: Sequence[_Ask] = ()
        self._is_serving = False
        #: How many who asked have not gone on yet.
        self.asked = 0

    def post(self, changes: Sequence[Change], then: Callable[..., object], *arguments: Any) -> None:
        """Have `changes` recorded, and call `then` with whether they were, and with `arguments`.

        What could not be recorded ends the batch. Nothing is called where the batch is over before.
        """
        self.asked += 1
        self._asks.append((changes, then, arguments))
        if not self._is_serving:
            self._is_serving = True
            self._flow.spawn(self._serve())

    async def record(self, changes: Sequence[Change]) -> bool:
        """Have `changes` recorded, and say whether they were; if not, the batch ends."""
        answer: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        self.asked += 1  # until whoever asked has gone on
        try:
            self.post(changes, _answer, answer)
            return await answer
        finally:
            self.asked -= 1

    def give_up(self) -> None:
        """Let all who asked go on, as if nothing could be recorded: the batch is over, and what was is not known."""
        asks, self._going, self._asks = [*self._going, *self._asks], (), []
        self._go_on(asks, is_done=False)

    async def _serve(self) -> None:
        try:
            while self._asks:
                self._going, self._asks = self._asks, []
                await self._record(self._going)
                self._going = ()
                self._flow.moved()
        finally:
            self._is_serving = False

    async def _record(self, asks: Sequence[_Ask]) -> None:
        try:
            await self._journal.record(list(chain.from_iterable(changes for changes, _, _ in asks)))
        except Exception as error:  # noqa: BLE001 - whatever ails it, nothing may be started any more
            self._flow.fail(error)
            if len(asks) == 1:
                self._go_on(asks, is_done=False)
                return
            for place, ask in enumerate(asks):  # one row's fault keeps no other from being recorded
                self._going = asks[place:]
                await self._record([ask])
        else:
            self._go_on(asks, is_done=True)

    def _go_on(self, asks: Sequence[_Ask], *, is_done: bool) -> None:
        for _, then, arguments in asks:
            self.asked -= 1
            try:
                then(is_done, *arguments)
            except Exception as error:  # noqa: BLE001 - a fault of ours, which must not cost the others their turn
                self._flow.fail(error)


def _answer(is_done: bool, answer: "asyncio.Future[bool]") -> None:  # noqa: FBT001 - as `then` is called
    if not answer.done():
        answer.set_result(is_done)
