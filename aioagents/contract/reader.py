"""Reading a run as most vendors allow it: one GET, and a function that reads its answer."""

from collections.abc import Callable
from datetime import datetime
from typing import Final

from ..calls import Account, note_reply
from ..errors import DecodeError, NotFound
from ..model import Reply, Request, Run, RunRef
from ..pool import SessionPool

# No vendor documents whether a run can be read as soon as its start was accepted. For this many seconds after a
# start of our own, a 404 may be the vendor's delay; later it is final.
GRACE: Final = 30.0


class RunReader:
    """Reads the runs of one account: `request` builds the GET, `read` makes a `Run` from the reply."""

    def __init__(
        self,
        pool: SessionPool,
        account: Account,
        *,
        request: Callable[[RunRef], Request],
        read: Callable[[Reply, RunRef, datetime], Run],
    ) -> None:
        self._pool = pool
        self._account = account
        self._request = request
        self._read = read

    async def poll(self, ref: RunRef, *, age: float | None, last: Run | None) -> Run:  # noqa: ARG002
        """Read a run, with one attempt. A 404 is a passing error shortly after a start of our own."""
        pool = self._pool
        try:
            reply = await pool.caller.poll(self._account, self._request(ref))
        except NotFound as error:
            error.is_passing = age is not None and age < GRACE
            raise
        try:
            return self._read(reply, ref, pool.clock.utcnow())
        except DecodeError as error:
            note_reply(error, reply)
            raise

    async def read(self, ref: RunRef, *, age: float | None, last: Run | None) -> Run:  # noqa: ARG002
        """Read a run, with retries after passing errors."""
        self._pool.ensure_open()
        try:
            return await self._pool.caller.call(
                self._account,
                self._request(ref),
                lambda reply: self._read(reply, ref, self._pool.clock.utcnow()),
            )
        except NotFound as error:
            error.is_passing = age is not None and age < GRACE
            raise

    def may_retry(self) -> bool:
        """Spend one retry of the account's budget; False where none is left."""
        return self._account.budget.spend(self._pool.clock.now())
