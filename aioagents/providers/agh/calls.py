"""AGH Runtime: the calls that its resources make, on one account."""

from collections.abc import Callable, Mapping
from typing import Final, Generic, TypeVar, Unpack

from attrs import frozen

from ...calls import Account, Start
from ...codec import encode_json
from ...errors import NotFound
from ...model import Reply, Request
from ...pool import SessionPool
from ...tracebacks import hides_locals
from .history import RunFilters, RunHistory
from .wire import create_request, get_request, item_url, list_request, runs_in, update_request

T = TypeVar("T")

_SECRET: Final = "webhook_secret_value"  # noqa: S105 - the name of the member that holds one


@frozen
class Calls:
    """Makes calls with one account of one runtime."""

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
        return await self.pool.caller.call(self.account, request, lambda reply: read(reply, request.call))

    async def start(self, start: Start[T]) -> T:
        """Send, once, a request that starts or creates something. Raises as `Caller.start`."""
        self.pool.ensure_open()
        return await self.pool.caller.start(self.account, start)


class Resource(Generic[T]):
    """The calls of one resource, `jobs`, `triggers` or `runs`, whose items are read as `T`."""

    def __init__(
        self,
        calls: Calls,
        name: str,
        read: Callable[[Reply, str], T],
        read_list: Callable[[Reply, str], list[T]],
    ) -> None:
        self._calls = calls
        self._name = name
        self._read = read
        self._read_list = read_list

    def url(self, item_id: str) -> str:
        """Return the URL of an item. Raises ValueError or TypeError for an impossible id."""
        return self._calls.item(self._name, item_id)

    async def get_all(self, query: Mapping[str, str]) -> list[T]:
        """Return the items that match."""
        request = list_request(self._calls.url(self._name), f"{self._name}.list", query)
        return await self._calls.call(request, self._read_list)

    @hides_locals
    async def create(self, body: Mapping[str, object], name: str) -> T:
        """Create an item called `name`, once. Raises `StartUnknown`, whose body lacks a secret, as `Caller.start`."""
        request = create_request(self._calls.url(self._name), f"{self._name}.create", body)
        shown = {key: value for key, value in body.items() if key != _SECRET}
        start = Start(
            vendor=self._calls.account.vendor,
            request=request,
            read=lambda reply: self._read(reply, request.call),
            target=name,
            advice=f"List the {self._name} and look for one of this name. Names may repeat, so compare the other"
            " members as well.",
            action=f"created a {self._name.removesuffix('s')}",
            is_run=False,
            redacted_body=encode_json(shown) if _SECRET in body else None,
        )
        return await self._calls.start(start)

    async def get(self, item_id: str) -> T:
        """Return an item."""
        return await self._calls.call(get_request(self.url(item_id), f"{self._name}.get"), self._read)

    @hides_locals
    async def update(self, item_id: str, body: Mapping[str, object]) -> T:
        """Change the members in `body`, and return the item."""
        request = update_request(self.url(item_id), f"{self._name}.update", body)
        return await self._calls.call(request, self._read)

    async def delete(self, item_id: str) -> None:
        """Delete an item. A 404 is no error when an earlier attempt of this call may have deleted it."""
        request = Request(method="DELETE", url=self.url(item_id), call=f"{self._name}.delete")
        try:
            await self._calls.call(request, _nothing)
        except NotFound as error:
            if error.tries == 1:
                raise

    def runs(self, item_id: str, **filters: Unpack[RunFilters]) -> RunHistory:
        """Iterate over the runs of an item. Raises ValueError or TypeError that names the argument."""
        url, call = f"{self.url(item_id)}/runs", f"{self._name}.runs"
        return RunHistory(
            lambda query: self._calls.call(list_request(url, call, query), runs_in), {}, **filters
        )


def _nothing(_reply: Reply, _call: str) -> None:
    """Read an answer that has no content."""
