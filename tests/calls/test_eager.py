"""The same promises where the event loop starts tasks eagerly (`asyncio.eager_task_factory`)."""

import asyncio
import sys

import anyio
import pytest

from aioagents.errors import PoolClosed, StartUnknown
from aioagents.observe import StartAbandoned
from tests.calls.rig import CALL, OK, REFUSED, Held, Rig, read_text
from tests.fakes import settle

pytestmark = pytest.mark.skipif(sys.version_info < (3, 12), reason="eager tasks came with Python 3.12")


@pytest.fixture(autouse=True)
async def _eager() -> None:
    """Start every task eagerly."""
    if sys.version_info >= (3, 12):
        asyncio.get_running_loop().set_task_factory(asyncio.eager_task_factory)


async def test_one_token_for_many() -> None:
    """A thousand calls cost one token request, and a refused token one more."""
    async with Rig(REFUSED, OK) as rig:
        tasks = [asyncio.ensure_future(rig.caller.call(rig.account, CALL, read_text)) for _ in range(1000)]
        assert set(await asyncio.gather(*tasks)) == {"ok"}
        assert rig.fetches == 2
        rig.assert_idle()


async def test_token_that_comes_without_waiting() -> None:
    """A token endpoint that answers in the same step, well or badly, leaves nobody waiting."""

    async def fetch() -> tuple[str, float]:
        rig.fetches += 1
        if rig.fetches == 1:
            raise PoolClosed("x")
        return "token", 60.0

    async with Rig(OK, fetch=fetch) as rig:
        assert isinstance(await rig.ends(rig.start()), PoolClosed)
        assert await rig.ends(rig.start()) == "ok"
        rig.assert_idle()


async def test_starts_are_not_forgotten() -> None:
    """Starts end, go on without their callers, or are unknown, as they do where tasks start later."""
    held, lost = Held(), Held()
    async with Rig(OK, held, lost) as rig:
        assert await rig.start() == "ok"
        with anyio.CancelScope() as scope:
            scope.cancel()
            await rig.start()
        assert rig.send.times == 1
        left = await rig.begin(rig.start())
        left.cancel()
        await settle()
        held.reply.set_result(OK)
        await settle()
        assert len(rig.emitted(StartAbandoned)) == 1
        out = await rig.begin(rig.start())
        await rig.supervisor.aclose()
        with pytest.raises(StartUnknown):
            await out
        with pytest.raises(PoolClosed):
            await rig.start()
        rig.assert_idle()
