"""How the common tests use a vendor: what the module `<folder>_adapter` beside the vendor's own tests supplies."""

from collections.abc import AsyncIterable, Awaitable, Callable, Mapping, Sequence
from typing import Any, Final

from attrs import frozen

from aioagents import RunHandle, RunState
from aioagents.contract import BatchRow, RunClient
from aioagents.contract.fake import FakeServer, RunPlan

#: A marker that goes out with each start and must show nowhere.
PRIVATE: Final = "someone@example.com"
URL: Final = "http://127.0.0.1"
#: Secrets that calls are given: in what is started, for a webhook, and for callbacks.
CONTENT: Final = "content-hunter2"
WEBHOOK_SECRET: Final = "webhook/secret+8"
CALLBACK_TOKEN: Final = "callback-token-9"


@frozen(kw_only=True)
class Hunt:
    """How a vendor is hunted for secrets that show.

    `settings` makes the variables of a client for a server at a URL, with `secrets` in them. `calls` are calls of all
    kinds, which send `CONTENT`, `WEBHOOK_SECRET` and `CALLBACK_TOKEN` where that is possible; one that only requests
    a token is called `token`, one whose reply is streamed `stream`, and those that start a run `... start`.
    """

    settings: Callable[[str], Mapping[str, str]]
    secrets: Sequence[str]
    calls: Mapping[str, Callable[[Any], Awaitable[object]]]


async def waited(handle: RunHandle) -> object:
    """Wait for a run, but not for long."""
    return await handle.wait(timeout=0.05)


async def read_all(iterable: AsyncIterable[object]) -> None:
    """Read to the end."""
    async for _ in iterable:
        pass


@frozen(kw_only=True)
class Adapter:
    """One vendor, as the common tests need it.

    `start` starts a run of a target, with `PRIVATE` somewhere in the request. `row` makes a row with a key, whose run
    has the script `target`. `follow` makes a handle of an id. `words` are the vendor's status words of the states in
    scripts. `start_call` and `poll_call` are the names of its requests, `secrets` texts that must be shown nowhere,
    `hunt` what is asked while servers fail, `unreadable` bodies of a successful start that name no run, `refusals`
    bodies of refusals in the vendor's forms, each with the text and the code in it. `finds_lost` says that a run is
    found if the answer to its start was lost; `has_input` that a start takes input; `needs_settings` that without any
    variable set there is no client.

    `cancel_call` is the name of the request that cancels a run, empty where the vendor has none. `ask` makes a run,
    by its id, ask for an answer, and returns the answers that it asks for; None where runs ask nothing.
    """

    name: str
    fake: Callable[[RunPlan], FakeServer]
    start: Callable[[Any, str], Awaitable[RunHandle]]
    row: Callable[[str], BatchRow]
    follow: Callable[[Any, str], RunHandle]
    words: Mapping[RunState, str]
    start_call: str
    poll_call: str
    secrets: Sequence[str]
    hunt: Hunt
    unknown_id: str
    refusals: Sequence[tuple[bytes, str, str]]
    unreadable: Sequence[bytes] = (b"", b"<html>", b"{}", b"[]", b"null")
    has_tokens: bool = False
    finds_lost: bool = False
    has_input: bool = True
    needs_settings: bool = True
    cancel_call: str = ""
    ask: Callable[[Any, str], Sequence[str]] | None = None

    def client(self, kind: type[RunClient], pool: Any, fake: FakeServer) -> RunClient:
        """Make a client with the fake server's credentials."""
        return kind.from_env(pool, fake.environment(URL))
