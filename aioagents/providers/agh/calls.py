"""AGH Runtime: the calls that its resources make, on one account."""

from collections.abc import Callable
from typing import TypeVar

from attrs import frozen

from ...calls import Account, Start
from ...errors import Conflict
from ...model import Reply, Request
from ...pool import SessionPool
from .refusals import read_conflict
from .wire import item_url

T = TypeVar("T")


@frozen
class Calls:
    """Makes calls with one account of one runtime. The facts in a 409 are added to the `Conflict` that is raised."""

    pool: SessionPool
    account: Account
    base_url: str

    def url(self, resource: str) -> str:
        """Return the URL of a resource: `jobs`, `triggers`, `runs`."""
        return f"{self.base_url}/api/automation/{resource}"

    def item(self, resource: str, item_id: str) -> str:
        """Return the URL of one item of a resource. Raises ValueError or TypeError for an impossible id."""
        return item_url(self.url(resource), item_id, f"{resource.removesuffix('s')}_id")

    async def call(self, request: Request, read: Callable[[Reply, str], T]) -> T:
        """Make a call that may be repeated, and return what `read` returns for the reply and the call's name."""
        self.pool.ensure_open()
        try:
            return await self.pool.caller.call(self.account, request, lambda reply: read(reply, request.call))
        except Conflict as error:
            read_conflict(error)
            raise

    async def start(self, start: Start[T]) -> T:
        """Send, once, a request that starts or creates something. Raises as `Caller.start`."""
        self.pool.ensure_open()
        try:
            return await self.pool.caller.start(self.account, start)
        except Conflict as error:
            read_conflict(error)
            raise
