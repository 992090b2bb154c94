"""Leena AI: AOP runs, as a source of looks."""

from typing import Final

from ...caller import Account
from ...errors import NotFound
from ...model import Run, RunRef
from ...pool import SessionPool
from .wire import read_status, status_request

# Whether a run can be read the moment it was accepted is undocumented: for so many seconds after our own
# execute, a 404 may be the vendor's delay. Outside of it, it is final.
GRACE: Final = 30.0


class AopRuns:
    """Reads the AOP runs of one account in one region."""

    def __init__(self, pool: SessionPool, account: Account, base_url: str) -> None:
        self._pool = pool
        self._account = account
        self._base_url = base_url

    async def look(self, ref: RunRef, *, age: float | None) -> Run:
        """Read a run once. A 404 passes shortly after the start."""
        request = status_request(self._base_url, ref.id)
        clock = self._pool.clock
        try:
            return await self._pool.caller.look(
                self._account, request, lambda reply: read_status(reply, ref=ref, seen_at=clock.utcnow())
            )
        except NotFound as error:
            error.is_passing = age is not None and age < GRACE
            raise

    async def read(self, ref: RunRef, *, age: float | None) -> Run:
        """Read a run, trying again."""
        self._pool.ensure_open()
        request = status_request(self._base_url, ref.id)
        clock = self._pool.clock
        try:
            return await self._pool.caller.call(
                self._account, request, lambda reply: read_status(reply, ref=ref, seen_at=clock.utcnow())
            )
        except NotFound as error:
            error.is_passing = age is not None and age < GRACE
            raise

    def may_retry(self) -> bool:
        """Spend one retry of the account."""
        return self._account.budget.spend(self._pool.clock.now())
