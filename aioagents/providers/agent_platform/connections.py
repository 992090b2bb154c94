"""Kore Agent Platform: connections to other companies' models, and to one's own."""

from collections.abc import Mapping
from typing import Any, Final, TypeAlias

from attrs import frozen

from ...contract import path_segment
from .calls import Calls
from .checks import check_whole, check_word
from .connection_wire import Connection, FieldValues, ModelProvider, creation_body, field_values, shown
from .wire import KORE, request

_ADVICE: Final = "List the connections and look for one of this name; names are not unique."
_STATUSES: Final = ("ACTIVE", "INACTIVE")
_Connections: TypeAlias = list[Connection]  # in the class, `list` is its method


class Connections:
    """The connections of an account, available as `AgentPlatform.connections`.

    Methods raise and retry as in `Sessions`. The platform never returns secrets, but asterisks in place of
    them, and publishes no call that deletes a connection.
    """

    def __init__(self, calls: Calls) -> None:
        self._calls = calls
        self._url = f"{calls.url}/connections"

    async def list(
        self, *, provider: str | None = None, status: str | None = None, limit: int | None = None
    ) -> _Connections:
        """Return the connections, without their fields.

        `provider` is a `ModelProvider`, `status` is `ACTIVE` or `INACTIVE`. There are no pages: a `limit` cuts the
        list off. Agent Platform API, section 9.5.
        """
        query: dict[str, str] = {}
        if provider is not None:
            query["provider"] = check_word(provider, ModelProvider, "provider")
        if status is not None:
            query["status"] = check_word(status, _STATUSES, "status")
        if limit is not None:
            query["limit"] = str(check_whole(limit, "limit"))
        listing = request(self._url, "connections.list", method="GET", query=query)
        return list((await self._calls.call(listing, _read_list)).connections)

    async def get(self, connection_id: str) -> Connection:
        """Return a connection, with its fields. Raises `NotFound`."""
        reading = request(self._item(connection_id), "connections.get", method="GET")
        return await self._calls.call(reading, _read)

    async def create(
        self,
        *,
        provider: str,
        name: str,
        model: str | None = None,
        model_type: str | None = None,
        fields: FieldValues | None = None,
        settings: Mapping[str, Any] | None = None,
    ) -> Connection:
        """Create a connection. The request is sent once.

        `Open AI` and `Anthropic` need `model` and the field `API_KEY`, `Azure Open AI` in addition the fields
        `api_version`, `your_resource_name` and `deployment_id`; `model_type` has a default for the latter two. `API`
        needs the fields `BASE_URL`, `API_KEY` and `MODEL_NAME`, as in the vendor's table, or in `settings` the
        members of its samples: `endpointUrl`, `headers`, `status` ... A value may be a `Secret`. Raises
        `StartUnknown`, which holds no secret, if the connection may have been created. Agent Platform API, section
        9.5.
        """
        body = creation_body(
            provider, name, model=model, model_type=model_type, fields=fields, settings=settings
        )
        return await self._calls.create(
            request(self._url, "connections.create", body),
            _read,
            target=name,
            advice=_ADVICE,
            action="created a connection",
            redacted_body=shown(body),
        )

    async def update(self, connection_id: str, *, fields: FieldValues) -> Connection:
        """Change fields of a connection; `API_KEY` is required. The platform refuses this for the provider `API`."""
        body = {"fields": field_values(fields)}
        change = request(self._item(connection_id), "connections.update", body, method="PATCH")
        return await self._calls.call(change, _read)

    def _item(self, connection_id: str) -> str:
        return f"{self._url}/{path_segment(connection_id, 'connection_id')}"


@frozen
class _List:
    connections: tuple[Connection, ...]


_read: Final = KORE.reader(Connection)
_read_list: Final = KORE.reader(_List)
