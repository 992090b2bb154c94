"""How runs are read by one GET: what the error for an answer that cannot be read says."""

import pytest

from aioagents import Leap, RetryPolicy, SessionPool
from aioagents.errors import AgentsError, DecodeError, StartUnknown
from tests.transport.raw import Line, serving


async def _page(line: Line) -> None:
    await line.hear()
    await line.write(b"HTTP/1.1 200 OK\r\nX-Request-Id: r-1\r\nContent-Length: 6\r\n\r\n<html>")


@pytest.mark.parametrize("kind", [DecodeError, StartUnknown])
async def test_an_answer_that_cannot_be_read_is_known(kind: type[AgentsError]) -> None:
    """The error for a poll or start whose answer cannot be read has its status and the vendor's id of it."""
    async with serving(_page) as it, SessionPool(retry=RetryPolicy(attempts=1)) as pool:
        leap = Leap(pool, api_key="k", base_url=f"http://127.0.0.1:{it.port}")
        with pytest.raises(kind) as caught:
            await (leap.get("a").poll() if kind is DecodeError else leap.run("w"))
        assert (caught.value.status, caught.value.request_id) == (200, "r-1")
