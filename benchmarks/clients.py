"""Clients of the benchmarks' server, for both sides."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, Final

import aiohttp

from aioagents import Leena, LeenaCredentials, LeenaEndpoints, SessionPool

#: Headers of a bare client, which make both sides' requests the same.
HEADERS: Final = {"Accept": "application/json", "Authorization": f"Bearer {'t' * 40}"}


def make_leena(pool: SessionPool, url: str) -> Leena:
    """Return a client whose three endpoints are all at `url`."""
    return Leena(
        pool,
        credentials=LeenaCredentials(client_id="id", client_secret="secret", username="u", password="p"),
        endpoints=LeenaEndpoints(token=url, aop=url, report=url),
    )


def make_ids(count: int) -> list[str]:
    """Return `count` ids of the vendor's form."""
    return [f"{number:024x}" for number in range(count)]


def status_url(url: str, aop_item_id: str) -> str:
    """Return the URL of one run's status."""
    return f"{url}/api/v1/external/aop/items/{aop_item_id}/status"


async def counts(url: str) -> dict[str, int]:
    """Return the server's counts of requests."""
    async with aiohttp.ClientSession() as session, session.get(f"{url}/counts") as response:
        found: dict[str, int] = await response.json()
        return found


def run_loop(main: Callable[[], Coroutine[Any, Any, None]], *, is_uvloop: bool) -> None:
    """Run `main` in a new event loop, asyncio's or uvloop's."""
    factory: Callable[[], asyncio.AbstractEventLoop] | None = None
    if is_uvloop:
        import uvloop  # noqa: PLC0415 - an extra

        factory = uvloop.new_event_loop
    with asyncio.Runner(loop_factory=factory) as runner:
        runner.run(main())
