"""Kore Agent Platform: connections to other companies' models, and to one's own."""

from collections.abc import Mapping
from typing import Any, Final, TypeAlias
from urllib.parse import quote, urlencode

from ... import codec
from ...calls import Start
from ...contract import path_segment
from ...model import Purpose, Request
from .calls import Calls
from .connection_wire import (
    Connection,
    FieldValues,
    check_provider,
    creation_body,
    field_values,
    read_connection,
    read_connections,
    shown,
)
from .session_wire import JSON
from .settings import VENDOR

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
            query["provider"] = check_provider(provider).value
        if status is not None:
            if status not in _STATUSES:
                raise ValueError(f"status has to be one of {', '.join(_STATUSES)}, not {status!r}")
            query["status"] = status
        if limit is not None:
            if isinstance(limit, bool) or not isinstance(limit, int) or limit < 1:
                raise ValueError(f"limit has to be a whole number above 0, not {limit!r}")
            query["limit"] = str(limit)
        suffix = f"?{urlencode(query, quote_via=quote)}" if query else ""
        request = Request(method="GET", url=self._url + suffix, call="connections.list")
        return await self._calls.call(request, read_connections)

    async def get(self, connection_id: str) -> Connection:
        """Return a connection, with its fields. Raises `NotFound`."""
        request = Request(method="GET", url=self._item(connection_id), call="connections.get")
        return await self._calls.call(request, read_connection)

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
        request = Request(
            method="POST",
            url=self._url,
            call="connections.create",
            purpose=Purpose.START,
            headers=JSON,
            body=codec.encode_json(body),
        )
        return await self._calls.start(
            Start(
                vendor=VENDOR,
                request=request,
                read=lambda reply: read_connection(reply, request.call),
                target=name,
                advice=_ADVICE,
                action="created a connection",
                is_run=False,
                redacted_body=shown(body),
            )
        )

    async def update(self, connection_id: str, *, fields: FieldValues) -> Connection:
        """Change fields of a connection; `API_KEY` is required. The platform refuses this for the provider `API`."""
        body = codec.encode_json({"fields": field_values(fields)})
        request = Request(
            method="PATCH",
            url=self._item(connection_id),
            call="connections.update",
            headers=JSON,
            body=body,
        )
        return await self._calls.call(request, read_connection)

    def _item(self, connection_id: str) -> str:
        return f"{self._url}/{path_segment(connection_id, 'connection_id')}"
