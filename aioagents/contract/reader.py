"""Reading a run as most vendors allow it: one GET, and a function that reads its answer."""

from collections.abc import Callable
from datetime import datetime
from typing import Final, TypeVar

from ..calls import Account
from ..errors import NotFound
from ..model import Reply, Request, Run, RunRef
from ..polling import Hinted
from ..pool import SessionPool
from ..retry import read_retry_after

T = TypeVar("T")

# No vendor documents whether a run can be read as soon as its start was accepted. For this many seconds after a
# start of our own, a 404 may be the vendor's delay; later it is final.
GRACE: Final = 30.0


def with_hint(seen: T | Hinted[T], reply: Reply, *, utcnow: datetime) -> T | Hinted[T]:
    """Return what a poll saw, with the pacing hint of a 2xx reply's `Retry-After`; the body's own hint goes first."""
    if "retry-after" not in reply.headers or isinstance(seen, Hinted):
        return seen
    seconds = read_retry_after(reply.headers["retry-after"], utcnow=utcnow)
    return seen if seconds is None else Hinted(seen, seconds)


class RunReader:
    """Reads the runs of one account: `request` builds the GET, `read` makes a `Run` from the reply.

    Where the body itself says when the next poll is wanted, `read` returns a `Hinted` run.
    """

    def __init__(
        self,
        pool: SessionPool,
        account: Account,
        *,
        request: Callable[[RunRef], Request],
        read: Callable[[Reply, RunRef, datetime], Run | Hinted[Run]],
    ) -> None:
        self._pool = pool
        self._account = account
        self._request = request
        self._read = read

    async def poll(self, ref: RunRef, *, age: float | None, last: Run | None) -> Run | Hinted[Run]:  # noqa: ARG002
        """Read a run, with one attempt. A 404 is a passing error shortly after a start of our own."""
        pool = self._pool
        request = self._request(ref)
        try:
            reply = await pool.caller.poll(self._account, request)
        except NotFound as error:
            error.is_passing = age is not None and age < GRACE
            raise
        try:
            run = self._run_in(reply, ref)
        except Exception as error:
            self._account.note_unreadable(error, request, reply, passes=True)
            raise
        self._account.is_proven = True
        return run

    async def read(self, ref: RunRef, *, age: float | None, last: Run | None) -> Run | Hinted[Run]:  # noqa: ARG002
        """Read a run, with retries after passing errors."""
        self._pool.ensure_open()
        try:
            return await self._pool.caller.call(
                self._account, self._request(ref), lambda reply: self._run_in(reply, ref)
            )
        except NotFound as error:
            error.is_passing = age is not None and age < GRACE
            raise

    def _run_in(self, reply: Reply, ref: RunRef) -> Run | Hinted[Run]:
        now = self._pool.clock.utcnow()
        return with_hint(self._read(reply, ref, now), reply, utcnow=now)

    def may_retry(self) -> bool:
        """Spend one retry of the account's budget; False where none is left."""
        return self._account.budget.spend(self._pool.clock.now())
