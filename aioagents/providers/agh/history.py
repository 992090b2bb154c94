"""AGH Runtime: the history of runs, read page by page.

The server lists runs newest first and has no cursor: the next page is requested with the start of the oldest known
run as upper bound, which is inclusive, so known runs come again and are dropped (AGH automation API, section 6.8).
`Pages`, which is pure, decides what to request next.
"""

from collections import deque
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Final, Self, TypedDict

from .checks import check_number, check_word
from .records import AutomationRun
from .states import RUN_STATES
from .times import Moment, order_of, write_moment

PAGE_SIZE: Final = 200


class RunFilters(TypedDict, total=False):
    """The arguments that narrow a history. `since` and `until` bound, both inclusive, when a run started.

    `limit` is the largest number of runs, None or 0 for all, and `page_size` how many are read at once.
    """

    status: str | None
    since: Moment | None
    until: Moment | None
    limit: int | None
    page_size: int


class Pages:
    """Decides what to request, and which runs of an answer are new. No run comes twice.

    Runs that begin while pages are read are newer than all pages to come. The ids of the last page are remembered,
    and those of earlier pages that ended at the same instant: only runs of that instant can come again.
    """

    def __init__(self, size: int, *, until: str = "") -> None:
        #: The upper bound of the next request, as text.
        self.until = until
        self.size = size
        self.is_over = False
        self._usual = size
        #: Ids that may come again.
        self.seen: set[str] = set()

    def take(self, page: Sequence[AutomationRun]) -> list[AutomationRun]:
        """Add a page that was answered, and return the runs of it that are new."""
        fresh = [run for run in page if run.id not in self.seen]
        oldest = next((run.started_at_text for run in reversed(page) if run.started_at_text), "")
        if len(page) < self.size or not oldest:
            self.is_over = True
        elif all(run.started_at_text == oldest for run in page):
            self.size *= 2  # more runs began at one instant than a page holds: the same page would come again
        elif fresh:
            self.size = self._usual
        else:
            self.is_over = True  # a server that ignores the bound would answer this for ever
        if oldest != self.until:
            self.seen.clear()
        self.seen.update(run.id for run in page)
        self.until = oldest or self.until
        return fresh


class RunHistory:
    """Runs, newest first, as an async iterator: `async for run in agh.runs.list(...)`.

    Pages are read when they are needed, and not kept. When a page cannot be read, the error is raised; further
    iteration requests that page again. Raises `ReplyError`, `TransportError`, `DecodeError`, `PoolClosed`.
    """

    def __init__(
        self,
        read_page: Callable[[Mapping[str, str]], Awaitable[list[AutomationRun]]],
        owner: Mapping[str, str],
        *,
        status: str | None = None,
        since: Moment | None = None,
        until: Moment | None = None,
        limit: int | None = None,
        page_size: int = PAGE_SIZE,
    ) -> None:
        query = dict(owner)
        if status is not None:
            query["status"] = check_word(status, "status", words=RUN_STATES)
        if since is not None:
            query["since"] = write_moment(since, "since")
        last = "" if until is None else write_moment(until, "until")
        if last and since is not None and order_of(last) < order_of(query["since"]):
            raise ValueError(f"until: {last} lies before since, {query['since']}")
        most = 0 if limit is None else check_number(limit, "limit", least=0)
        size = check_number(page_size, "page_size", least=1)
        #: Reads the page that a query asks for.
        self.read_page = read_page
        self._pages = Pages(min(size, most or size), until=last)
        self._query = query
        self._left = most or None
        self._waiting: deque[AutomationRun] = deque()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> AutomationRun:
        while not self._waiting:
            if self._pages.is_over or self._left == 0:
                raise StopAsyncIteration
            await self._read_page()
        if self._left is not None:
            self._left -= 1
        return self._waiting.popleft()

    async def _read_page(self) -> None:
        """Read the next page."""
        query = {**self._query, "limit": str(self._pages.size)}
        if self._pages.until:
            query["until"] = self._pages.until
        fresh = self._pages.take(await self.read_page(query))
        self._waiting.extend(fresh[: self._left])
