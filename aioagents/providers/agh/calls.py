"""AGH Runtime: the one way by which its resources make calls."""

from collections.abc import Callable
from typing import TypeVar

from attrs import frozen

from ...calls import Account, Start
from ...errors import Conflict, NotFound
from ...model import Reply, Request
from ...pool import SessionPool
from .refusals import tell_conflict
from .wire import item_url

T = TypeVar("T")


@frozen
class Calls:
    """Calls with one account of one runtime. What a 409 tells is added to the error on its way out."""

    pool: SessionPool
    account: Account
    base_url: str

    def url(self, resource: str) -> str:
        """Return the URL of a resource: `jobs`, `triggers`, `runs`."""
        return f"{self.base_url}/api/automation/{resource}"

    def item(self, resource: str, item_id: str) -> str:
        """Return the URL of one item of it. Raises ValueError or TypeError for what cannot be an id."""
        return item_url(self.url(resource), item_id, f"{resource.removesuffix('s')}_id")

    async def call(self, request: Request, read: Callable[[Reply, str], T]) -> T:
        """Make a call that may be repeated, and give what `read` makes of the reply and the call's name."""
        self.pool.ensure_open()
        try:
            return await self.pool.caller.call(self.account, request, lambda reply: read(reply, request.call))
        except Conflict as error:
            tell_conflict(error)
            raise

    async def start(self, start: Start[T]) -> T:
        """Send, once, what starts or makes something. Raises as `Caller.start`."""
        self.pool.ensure_open()
        try:
            return await self.pool.caller.start(self.account, start)
        except Conflict as error:
            tell_conflict(error)
            raise

    async def delete(self, resource: str, item_id: str) -> None:
        """Delete an item. When an earlier try of this call may have done it, that it is gone is no error."""
        request = Request(method="DELETE", url=self.item(resource, item_id), call=f"{resource}.delete")
        try:
            await self.call(request, _nothing)
        except NotFound as error:
            if error.tries == 1:
                raise


def _nothing(_reply: Reply, _call: str) -> None:
    """Read an answer in which there is nothing."""
